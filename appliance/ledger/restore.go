package ledger

// Restore returns a donation's account after a backup that holds saved was restored. present is the box's own account, nil if it
// has none. same tells that the backup was made from the box's present ledger.
//
// A ledger that has counted since the backup knows more than the backup: its account stays. Otherwise the line may have carried
// anything since then, on another box, or on this one before it lost its ledger. The larger use of the two counts, and the account
// is lost. So all of the cap counts as used until the period in which time is next trusted is over, or until somebody states what
// was used, see [Account.StateUse]. That period is the one that time tells then, and not the backup's: the old box may have lent
// beyond its end.
func Restore(saved Record, present *Record, same bool) Record {
	if same && present != nil && present.covers(saved) {
		return present.clone()
	}
	used := max(saved.used(), saved.Committed)
	unsure := saved.unsure(used)
	j := Record{LastDay: saved.LastDay, Today: saved.Today, Stated: saved.Stated, Lowered: saved.Lowered}
	if present != nil {
		j = present.clone()
		unsure += present.unsure(max(present.used(), present.Committed))
	}
	more := sub(used, j.used())
	j.Base += more
	j.Committed = max(j.Committed+more, j.used())
	j.TrustedUsed = sub(j.used(), unsure)
	j.Start, j.End = max(saved.Start, j.Start), max(saved.End, j.End)
	j.Period, j.Resets, j.Lost = "", 0, true
	j.Reserve = max(saved.Reserve, saved.ReserveCommitted, j.Reserve)
	j.ReserveCommitted = max(j.Reserve, j.ReserveCommitted)
	j.ExtraMargin, j.LastID = max(saved.ExtraMargin, j.ExtraMargin), max(saved.LastID, j.LastID)
	j.Broadcasts = max(saved.Broadcasts, j.Broadcasts)
	return j
}

// Undo returns a donation's account after a restored backup was undone. present has counted since the restore, and before was the
// box's account before it. What the restored backup made unknown is known again. The larger use stays.
func Undo(before, present Record) Record {
	j := present.clone()
	if j.Lost && !before.Lost {
		j.State(0)
	}
	return j
}

// covers tells whether r is a later state of the same ledger's account than earlier.
func (r *Record) covers(earlier Record) bool {
	switch {
	case r.LastID < earlier.LastID || r.Start < earlier.Start:
		return false
	case r.Start > earlier.Start:
		return true
	}
	return r.used() >= earlier.used()
}

// unsure returns how many of the used bytes may have been carried after the end of the record's period.
func (r *Record) unsure(used uint64) uint64 {
	if r.End == 0 {
		return used
	}
	return sub(used, r.TrustedUsed)
}

// State makes a lost account known again: the line has carried this many bytes in the period, and no less than is known.
func (r *Record) State(bytes uint64) {
	r.Base, r.Counted, r.Charged, r.TrustedCounted = max(bytes+r.Lowered, r.used()), 0, 0, 0
	r.Lost = false
	if r.Period == "" {
		r.End = 0 // the statement is about the period that time will tell
	}
}

// StateUse records what the line has carried in the running period, as stated by somebody who knows, such as a technician with the
// provider's figure. The account is then no longer lost. What is known to have been used counts in any case. If the account is not
// lost, StateUse changes nothing and returns false.
func (a *Account) StateUse(bytes uint64) bool {
	if !a.r.Lost {
		return false
	}
	a.r.State(bytes)
	a.periodChanged = true // it must be on the disk before it is granted
	return true
}

// Summary is the part of a record that is needed to compare accounts. Sizes are in bytes.
type Summary struct {
	Used       uint64 // in the period, including what counts as used after a power cut
	Start, End int64  // of the period, in Unix seconds; 0: not known, or it never ends
	Lost       bool
}

// Summary returns the record's summary.
func (r Record) Summary() Summary {
	return Summary{Used: max(r.used(), r.Committed), Start: r.Start, End: r.End, Lost: r.Lost}
}
