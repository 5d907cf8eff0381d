package ledger

// What a lender keeps back counts as used until the period is over, though the line did not carry it. It is a part of
// Record.Base, so that an older release, which does not know these sums, keeps to it as well. No method gives anything back:
// a lender's word can only lower what is left.

// CountAtLeast notes what the lender's provider says was used in this period, in bytes. What the box did not count of it counts
// as used from now on, at most up to the cap. A smaller figure than the box's own changes nothing. While time is not trusted,
// nobody knows which period the figure is of, and it counts in the next one, too. The caller writes [Account.Record].
func (a *Account) CountAtLeast(pol Policy, figure uint64, trusted bool) {
	a.r.Stated += a.withhold(pol, sub(figure, a.used()-min(a.used(), a.r.Lowered)), trusted)
}

// LowerTo lowers the cap to so many bytes until the period is over. A cap that is not lower changes nothing. Time is as for
// CountAtLeast. The caller writes [Account.Record].
func (a *Account) LowerTo(pol Policy, limit uint64, trusted bool) {
	a.r.Lowered += a.withhold(pol, sub(sub(pol.limit(), limit), a.r.Lowered), trusted)
}

// withhold makes so many bytes more count as used, as far as the cap has them, and returns how many.
func (a *Account) withhold(pol Policy, bytes uint64, trusted bool) uint64 {
	bytes = min(bytes, sub(pol.limit(), a.used()))
	a.r.Base += bytes
	a.r.Committed += bytes
	if trusted { // they are of this period alone
		a.r.TrustedUsed += bytes
	}
	return bytes
}

// Record returns the account as it is to be written after CountAtLeast or LowerTo. It commits what the last write did, and what
// was withheld.
func (a *Account) Record() Record {
	r := a.r.clone()
	r.Committed = max(r.Committed, a.used())
	r.ExtraMargin = a.extraMargin
	return r
}
