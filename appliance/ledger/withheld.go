package ledger

// What a lender withholds counts as used until the period is over, though the line did not carry it. It is a part of Record.Base,
// so an older release, which does not know these sums, respects it as well. No method gives anything back: a lender's word can only
// lower what is left.

// CountAtLeast records how many bytes were used in this period by the count of the lender's provider. What exceeds the box's own
// count counts as used from now on, at most up to the cap. A figure below the box's own changes nothing. While time is not trusted,
// it is unknown which period the figure is for, so it counts in the next one, too. The caller writes [Account.Record].
func (a *Account) CountAtLeast(pol Policy, figure uint64, trusted bool) {
	a.r.Stated += a.withhold(pol, sub(figure, a.used()-min(a.used(), a.r.Lowered)), trusted)
}

// LowerTo lowers the cap to this many bytes until the period is over. A cap that is not lower changes nothing. While time is not
// trusted, it counts in the next period, too, as with CountAtLeast. The caller writes [Account.Record].
func (a *Account) LowerTo(pol Policy, limit uint64, trusted bool) {
	a.r.Lowered += a.withhold(pol, sub(sub(pol.limit(), limit), a.r.Lowered), trusted)
}

// withhold makes more bytes count as used, at most what is left of the cap, and returns how many.
func (a *Account) withhold(pol Policy, bytes uint64, trusted bool) uint64 {
	bytes = min(bytes, sub(pol.limit(), a.used()))
	a.r.Base += bytes
	a.r.Committed += bytes
	if trusted { // they are of this period alone
		a.r.TrustedUsed += bytes
	}
	return bytes
}

// Record returns the account as it is written after CountAtLeast or LowerTo. It commits what the last write did, plus what was
// withheld.
func (a *Account) Record() Record {
	r := a.r.clone()
	r.Committed = max(r.Committed, a.used())
	r.ExtraMargin = a.extraMargin
	return r
}
