package ledger

// Join returns the account that goes on when an earlier one, which could not be read for a while, can be read again, and
// the one that was kept in its place meanwhile. Until the earlier one's period is over, what was used of both adds up;
// later only the present one counts, and an account that was lost with the earlier one no longer is. What the earlier one
// promised and nobody saw counts as used, as after a power cut.
func Join(earlier, present Record) Record {
	j := present.clone()
	add := func(used, sure uint64) {
		j.Base += used
		j.Sure += sure
		j.Promised += used
	}
	used := max(earlier.used(), earlier.Promised)
	over := earlier.End != 0 && present.Start >= earlier.End
	switch {
	case !over:
		add(used, earlier.Sure)
		reserve := max(earlier.Reserve, earlier.ReservePromised)
		j.Reserve += reserve
		j.ReservePromised += reserve
		j.Broadcasts += earlier.Broadcasts
		j.Lost = earlier.Lost
		if earlier.Period != "" {
			j.Start, j.End, j.Period, j.Resets = earlier.Start, earlier.End, earlier.Period, earlier.Resets
		}
	case present.Lost:
		// Nobody knows on which side of the boundary that was carried, so it counts here, too: see Book.turn.
		unsure := sub(used, earlier.Sure)
		add(unsure, unsure)
		j.Lost = false
	}
	j.Extra, j.LastID = max(earlier.Extra, present.Extra), max(earlier.LastID, present.LastID)
	if j.Today.Date == 0 {
		j.Today.Date = earlier.Today.Date
	}
	if j.Today.Date == earlier.Today.Date {
		j.Today = j.Today.Join(earlier.Today)
	}
	return j
}

// Join returns the sums of two parts of a day. Who came in both may count twice.
func (d Day) Join(other Day) Day {
	return Day{Date: d.Date, Bytes: d.Bytes + other.Bytes, Residents: d.Residents + other.Residents}
}
