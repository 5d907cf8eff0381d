package ledger

// Merge joins two accounts of a donation: an earlier one that could not be read for a while and now can, and the present one that
// was kept in its place. The bytes used of both add up until the earlier account's period is over; after that only the present one
// counts. If the present account is lost only because the earlier one was, it is no longer lost. Bytes that the earlier one
// committed and nobody observed count as used, as after a power cut.
func Merge(earlier, present Record) Record {
	j := present.clone()
	add := func(used, sure uint64) {
		j.Base += used
		j.TrustedUsed += sure
		j.Committed += used
	}
	used := max(earlier.used(), earlier.Committed)
	over := earlier.End != 0 && present.Start >= earlier.End
	switch {
	case !over:
		add(used, earlier.TrustedUsed)
		reserve := max(earlier.Reserve, earlier.ReserveCommitted)
		j.Reserve += reserve
		j.ReserveCommitted += reserve
		j.Broadcasts += earlier.Broadcasts
		j.Stated += earlier.Stated
		j.Lowered += earlier.Lowered
		j.Lost = earlier.Lost
		if earlier.Period != "" {
			j.Start, j.End, j.Period, j.Resets = earlier.Start, earlier.End, earlier.Period, earlier.Resets
		}
	case present.Lost:
		// It is unknown on which side of the boundary this was carried, so it counts here too: see Account.rollPeriod.
		unsure := sub(used, earlier.TrustedUsed)
		add(unsure, unsure)
		j.Lost = false
	}
	j.ExtraMargin, j.LastID = max(earlier.ExtraMargin, present.ExtraMargin), max(earlier.LastID, present.LastID)
	if j.Today.Date == 0 {
		j.Today.Date = earlier.Today.Date
	}
	if j.Today.Date == earlier.Today.Date {
		j.Today = j.Today.Add(earlier.Today)
	}
	return j
}

// Add returns the sums of two parts of a day. A resident who came in both may count twice.
func (d Day) Add(other Day) Day {
	return Day{Date: d.Date, Bytes: d.Bytes + other.Bytes, Residents: d.Residents + other.Residents}
}
