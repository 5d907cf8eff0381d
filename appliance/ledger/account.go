package ledger

import (
	"math"
	"slices"
	"time"

	"passerelle/netctl"
)

// Reading is what the box reads of a donation at one moment. The tranches are read before the counter: a byte that passes between
// the two may be counted twice, but none is missed. If the kernel cannot be read, there is no reading. One without tranches would
// mean that the kernel holds none, and more would be granted on top of those it holds.
type Reading struct {
	Now      time.Time             // in the box's zone
	Trusted  bool                  // Now is known to be correct
	Boot     string                // identifies this boot of the machine
	Counter  Counter               // of the uplink
	Tranches []netctl.TrancheUsage // in the kernel, of all donations
}

// Counter is the byte counter of an uplink's interface.
type Counter struct {
	Name  string // name in the configuration
	Index int    // the kernel's interface index, new at each plugging in; 0: there is no such interface
	Bytes uint64 // received and sent since the interface appeared

	// Bytes broadcast by the line's own network, as counted before and after Bytes was read. These counts go back when they are
	// lost.
	BroadcastsBefore, BroadcastsAfter uint64
}

// part is one of the two parts of a cap. Each has its own chain and tranches.
type part uint8

const (
	general part = iota // for everybody
	reserve             // for essential services only
	partCount
)

// tranche is a tranche in the kernel.
type tranche struct {
	part  part
	id    uint64
	bytes uint64
	used  uint64
}

// Account is a donation's account. Make one with [Open]. Call Observe with every reading before any other method.
type Account struct {
	r      Record
	stored bool // r comes from the store, or has been written

	unobserved    bool      // the line has not been read since Open
	ranOut        bool      // a part's last tranche was used up between the last two readings
	periodChanged bool      // a period began, or its kind changed, since the last write
	extraMargin   uint64    // r.ExtraMargin, grown
	writtenDate   Date      // the date of r.Today at the last write
	now           time.Time // the last trusted time, in the box's zone; zero if there was none
	scratch       []tranche // reused for the next reading's tranches
	days          []Day     // the days that are over
}

// Open returns an account that continues a stored record and its days' sums. For a nil record it returns a new account.
func Open(r *Record, days []Day) *Account {
	if r == nil {
		return &Account{}
	}
	c := r.clone()
	a := &Account{r: c, stored: true, unobserved: true, extraMargin: c.ExtraMargin, writtenDate: c.Today.Date, days: slices.Clone(days)}
	if n := len(days); c.LastDay.Date != 0 && (n == 0 || days[n-1].Date < c.LastDay.Date) {
		a.days = append(a.days, c.LastDay)
	}
	return a
}

// Days returns the sums of the days that are over, oldest first, at most [KeepDays].
func (a *Account) Days() []Day { return slices.Clone(a.days) }

// Observe accounts for what happened since the last reading.
func (a *Account) Observe(pol Policy, in Reading) {
	before := a.used()
	rebooted := a.observeBoot(in.Boot)
	charged, ranOut := a.observeTranches(pol, in.Tranches)
	a.observeCounter(pol, in.Counter, charged, ranOut || a.ranOut)
	a.ranOut = ranOut

	// The margin was too small: after a power cut now, the record would commit less than was used.
	if committed := a.r.Committed; pol.Cap != 0 && a.stored && !rebooted && committed != 0 && a.used() > committed {
		a.extraMargin = max(a.extraMargin, min(a.r.ExtraMargin+a.used()-committed, pol.limit()/extraPart))
	}
	carried := a.used() - before
	if in.Trusted {
		a.now = in.Now
		a.observeDay(dateOf(in.Now))
	}
	a.r.Today.Bytes += carried
	if in.Trusted {
		a.rollPeriod(pol, in.Now)
		a.r.TrustedUsed, a.r.TrustedCounted = a.used(), a.r.Counted
	}
}

// used returns the bytes that count in this period.
func (a *Account) used() uint64 { return a.r.used() }

// unspent returns the bytes that the kernel may still let through of a part. The unlimited tranche of a donation without a cap is
// not counted.
func (a *Account) unspent(p part) (bytes uint64) {
	for _, k := range a.r.tranches {
		if k.part == p && k.bytes < netctl.Unlimited {
			bytes += k.bytes - k.used
		}
	}
	return bytes
}

// outstanding returns what the line may still carry for the tranches of both parts in the kernel.
func (a *Account) outstanding() uint64 {
	return onWire(a.unspent(general)) + onWire(a.unspent(reserve))
}

// observeBoot accounts for a reboot: the kernel and its counters have restarted at 0. Committed bytes count as spent, unless they
// were seen unspent.
func (a *Account) observeBoot(id string) (rebooted bool) {
	if a.r.Boot == id {
		return false
	}
	if rebooted = a.r.Boot != ""; rebooted {
		a.rebase(max(a.used(), a.r.Committed))
		a.r.Reserve = max(a.r.Reserve, a.r.ReserveCommitted)
		a.r.tranches = nil
		a.r.Counter.Index, a.r.Counter.Bytes = 0, 0
		a.unobserved = false
	}
	a.r.Boot = id
	return rebooted
}

// rebase makes used the base, and restarts the counts of counter and charges at 0.
func (a *Account) rebase(used uint64) {
	a.r.Base, a.r.Counted, a.r.Charged, a.r.TrustedCounted = used, 0, 0, 0
}

// observeTranches takes the donation's tranches from those in the kernel. It returns the bytes charged since the last reading, and
// whether a part ran out.
func (a *Account) observeTranches(pol Policy, sample []netctl.TrancheUsage) (charged uint64, ranOut bool) {
	had := [partCount]uint64{a.unspent(general), a.unspent(reserve)}
	now := a.scratch[:0]
	for _, s := range sample {
		p, ok := pol.part(s.Chain)
		if !ok {
			continue
		}
		g := tranche{p, s.ID, s.Bytes, min(s.Used, s.Bytes)}
		if s.Exhausted {
			g.bytes = g.used // the rest can no longer be spent
		}
		now = append(now, g)
		a.r.LastID = max(a.r.LastID, s.ID) // the record may have been lost
	}
	for _, k := range now {
		var was uint64
		for _, o := range a.r.tranches {
			if o.part == k.part && o.id == k.id {
				was = min(o.used, k.used)
			}
		}
		charged += a.charge(k.part, k.used-was)
	}
	for _, o := range a.r.tranches {
		gone, later := true, false
		for _, k := range now {
			gone = gone && (k.part != o.part || k.id != o.id)
			later = later || k.part == o.part && k.id > o.id
		}
		// The gate removes used-up tranches, which a later one follows. A tranche that was removed otherwise charges nothing more.
		if gone && later && o.bytes < netctl.Unlimited {
			charged += a.charge(o.part, o.bytes-o.used)
		}
	}
	a.r.tranches, a.scratch = now, a.r.tranches
	for p, had := range had {
		ranOut = ranOut || had >= packetBytes && a.unspent(part(p)) < packetBytes
	}
	return charged, ranOut
}

// charge adds bytes charged to a part's tranche, and returns them.
func (a *Account) charge(p part, bytes uint64) uint64 {
	if p == reserve {
		a.r.Reserve += bytes
	}
	return bytes
}

// observeCounter accounts for what the line carried. The line's counter tells, as long as it continues. The charges are a lower
// bound.
func (a *Account) observeCounter(pol Policy, l Counter, charged uint64, ranOut bool) {
	was := a.r.Counter
	switch {
	case l.Index == 0:
		if !a.unobserved { // otherwise it is not known yet whether its counter is lost
			a.rebase(a.usedWithoutCounter(charged, ranOut))
		}
		return
	case l.Index == was.Index && l.Bytes >= was.Bytes:
		a.r.Counted += a.billed(pol, l)
		a.r.Charged += charged
	default:
		a.rebase(a.usedWithoutCounter(charged, ranOut))
		if was.Index != 0 {
			a.r.Base += replugBytes
		}
		if l.Name == was.Name {
			a.r.Counted = l.Bytes // plugged in again: its counter restarted at 0
		}
	}
	a.r.Counter, a.unobserved = l, false
}

// billed returns the bytes that count of those the line has carried since the last reading: all but broadcasts of its own
// network, which nobody bills. Only broadcasts that were certainly counted between the two readings of the line are left out,
// since only they are certainly in the bytes carried.
func (a *Account) billed(pol Policy, l Counter) uint64 {
	carried := l.Bytes - a.r.Counter.Bytes
	broadcasts := min(sub(l.BroadcastsBefore, a.r.Counter.BroadcastsAfter), carried)
	a.r.Broadcasts += broadcasts
	if pol.Broadcast {
		return carried
	}
	return carried - broadcasts
}

// usedWithoutCounter returns what counts as used when the line's counter is gone: the bytes charged. Two things are not charged:
// what senders still transmit for a moment after a cut, and the box's own traffic while the daemon is down. If there may have been
// either, all bytes committed for them count.
func (a *Account) usedWithoutCounter(charged uint64, ranOut bool) uint64 {
	used := a.used() + onWire(charged)
	if a.unobserved || ranOut {
		used = max(used, sub(a.r.Committed, a.outstanding()))
	}
	return used
}

// observeDay begins a new day if the date is later. The day that is over waits in LastDay until the next write.
func (a *Account) observeDay(date Date) {
	switch {
	case a.r.Today.Date == 0:
		a.r.Today.Date = date
	case date > a.r.Today.Date:
		a.r.LastDay, a.r.Today = a.r.Today, Day{Date: date}
		a.days = append(a.days, a.r.LastDay)
		a.days = a.days[max(0, len(a.days)-KeepDays):]
	}
}

// rollPeriod begins a new period once the old one is over. Bytes carried since time was last trusted count in both, since it is
// unknown on which side of midnight they were carried. The line's own count of them is a second bound: if bytes were counted twice
// because they passed between the two readings, the bytes used grow by less than the line carries, until it has caught up.
func (a *Account) rollPeriod(pol Policy, now time.Time) {
	over := a.r.End != 0 && now.Unix() >= a.r.End
	switch {
	case a.r.Period == pol.Period && a.r.Resets == pol.Resets && !over:
		return
	case a.r.Period == "": // time is trusted for the first time, or for the first time since a backup was restored
		if start := time.Unix(a.r.Start, 0); now.Before(start) {
			now = start.In(now.Location())
		}
		if over { // the backup's period; what was used in the present one remains unknown
			a.rebase(a.notBefore())
			a.r.Reserve, a.r.Broadcasts, a.r.Stated, a.r.Lowered = 0, 0, 0, 0
		}
		a.r.Start = max(a.r.Start, unix(PeriodStart(now, pol.Period, pol.Resets)))
	case a.r.Period != pol.Period || a.r.Resets != pol.Resets:
		// A changed policy does not forgive what was used: it counts until the new period's first reset.
		if start := time.Unix(a.r.Start, 0); now.Before(start) {
			now = start.In(now.Location())
		}
	default:
		a.r.Start = unix(PeriodStart(now, pol.Period, pol.Resets))
		a.rebase(a.notBefore())
		a.r.Reserve, a.r.Broadcasts, a.r.Stated, a.r.Lowered, a.r.Lost = 0, 0, 0, 0, false
	}
	a.r.Period, a.r.Resets = pol.Period, pol.Resets
	a.r.End = unix(PeriodEnd(now, pol.Period, pol.Resets))
	a.periodChanged = true
}

// notBefore returns the used bytes that may have been carried after the period was over.
func (a *Account) notBefore() uint64 {
	return max(sub(a.used(), a.r.TrustedUsed), sub(a.r.Counted, a.r.TrustedCounted))
}

// unix returns seconds since 1970; 0 for the zero time.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// SetResidents records how many residents have come so far today, see [Sharing.Residents]. The day's highest number counts,
// because a caller that restarted knows of fewer.
func (a *Account) SetResidents(people float64) {
	a.r.Today.Residents = max(a.r.Today.Residents, uint32(min(math.Round(people), math.MaxUint32)))
}

// Write is a record that must be on disk before the grants may be given to the kernel.
type Write struct {
	Record Record
	Grants []netctl.Tranche
}

// Due returns what must be written now, if anything. It grants tranches only if the donation is the chosen one. The caller stores
// the record, calls ConfirmWrite, hands each grant to the kernel, and calls ConfirmGrant for each grant that the kernel took.
func (a *Account) Due(pol Policy, chosen bool) (w Write, due bool) {
	if a.unobserved {
		return w, false // the committed bytes cover what was not observed; nothing passes on a line that is not there
	}
	var bytes, fromReserve uint64
	if chosen {
		w.Grants, bytes, fromReserve = a.grants(pol)
	}
	must := a.used() + a.outstanding() + pol.inFlight(a.extraMargin)
	settled := pol.Cap != 0 && a.r.Committed >= pol.limit() // spent: committing more changes nothing
	due = len(w.Grants) > 0 || a.periodChanged || !a.stored || a.r.Today.Date != a.writtenDate || must > a.r.Committed && !settled
	if due {
		w.Record = a.record(must+onWire(bytes)+onWire(fromReserve)+pol.slack(), fromReserve)
		w.Record.LastID += uint64(len(w.Grants))
	}
	return w, due
}

// Final returns the record to write when the daemon stops. The gate must have revoked the tranches, and a last reading must have
// been observed: then nothing of the tranches is lost.
func (a *Account) Final(pol Policy) (r Record, due bool) {
	if a.unobserved {
		return Record{}, false
	}
	return a.record(a.used()+a.outstanding()+pol.slack(), 0), true
}

// record returns the account as it is written, with the bytes that count as used if the power fails.
func (a *Account) record(committed, fromReserve uint64) Record {
	r := a.r.clone()
	r.Committed, r.ReserveCommitted = committed, a.r.Reserve+a.unspent(reserve)+fromReserve
	r.ExtraMargin = a.extraMargin
	return r
}

// ConfirmWrite records that the write is on disk.
func (a *Account) ConfirmWrite(w Write) {
	a.r.Committed, a.r.ReserveCommitted = w.Record.Committed, w.Record.ReserveCommitted
	a.r.ExtraMargin, a.r.LastID = w.Record.ExtraMargin, w.Record.LastID
	a.stored, a.periodChanged, a.writtenDate = true, false, w.Record.Today.Date
}

// ConfirmGrant records that the kernel has the tranche.
func (a *Account) ConfirmGrant(pol Policy, g netctl.Tranche) {
	if p, ok := pol.part(g.Chain); ok {
		a.r.tranches = append(a.r.tranches, tranche{part: p, id: g.ID, bytes: g.Bytes})
	}
}

// grants returns the tranches to grant now, and their bytes in total and from the reserve.
func (a *Account) grants(pol Policy) (list []netctl.Tranche, bytes, fromReserve uint64) {
	next := a.r.LastID + 1
	if pol.Cap == 0 {
		if a.unlimited() {
			return nil, 0, 0
		}
		return []netctl.Tranche{{Chain: pol.Chain, ID: next, Bytes: netctl.Unlimited}}, 0, 0
	}
	if a.overcommitted(pol) {
		return nil, 0, 0
	}
	if bytes = a.nextTranche(pol); bytes > 0 && a.unspent(general) < pol.lowWater() {
		return []netctl.Tranche{{Chain: pol.Chain, ID: next, Bytes: bytes}}, bytes, 0
	}
	ending := a.unspent(general) < pol.lowWater() && a.unspent(reserve) < pol.reserveLowWater()
	if fromReserve = a.nextReserveTranche(pol); fromReserve > 0 && ending {
		return []netctl.Tranche{{Chain: pol.ReserveChain, ID: next, Bytes: fromReserve}}, 0, fromReserve
	}
	return nil, 0, 0
}

// nextTranche returns the size of the general part's next tranche, 0 if nothing is left.
func (a *Account) nextTranche(pol Policy) uint64 {
	return trancheSize(pol.limit(), pol.lowWater(), a.unspent(general), a.free(pol))
}

// free returns the bytes of the cap that are neither used, nor granted, nor set aside.
func (a *Account) free(pol Policy) uint64 {
	set := onWire(a.unspent(reserve)) + pol.selfAllowance() + pol.inFlight(a.extraMargin)
	if aside := pol.reserve(); aside > a.r.Reserve {
		set = max(set, aside-a.r.Reserve+pol.selfAllowance()+pol.inFlight(a.extraMargin))
	}
	return sub(pol.limit(), a.usedAtMost()+onWire(a.unspent(general))+set)
}

// nextReserveTranche returns the size of the reserve's next tranche, 0 if nothing is left.
func (a *Account) nextReserveTranche(pol Policy) uint64 {
	held := a.unspent(reserve)
	free := min(
		onWire(sub(pol.reserve(), a.r.Reserve+held)),
		sub(pol.limit(), a.usedAtMost()+a.outstanding()+pol.selfAllowance()+pol.inFlight(a.extraMargin)))
	return trancheSize(pol.reserve(), pol.reserveLowWater(), held, free)
}

// usedAtMost returns the upper bound of the bytes used. It is all of the cap if the account was lost.
func (a *Account) usedAtMost() uint64 {
	switch {
	case a.r.Lost:
		return maxCap
	case a.unobserved:
		return max(a.used(), sub(a.r.Committed, a.outstanding()))
	}
	return a.used()
}

// overcommitted tells whether the kernel holds more than the policy leaves. That happens when the policy changed, or when the line
// carries more beside the tranches than the margin allows for. While the kernel holds no tranche, it is false.
func (a *Account) overcommitted(pol Policy) bool {
	if pol.Cap == 0 {
		return false
	}
	held := a.outstanding()
	return a.unlimited() || held > 0 && a.usedAtMost()+held+pol.inFlight(a.extraMargin) > pol.limit()
}

// unlimited tells whether the kernel has the tranche of a donation without a cap.
func (a *Account) unlimited() bool {
	for _, k := range a.r.tranches {
		if k.part == general && k.bytes >= netctl.Unlimited {
			return true
		}
	}
	return false
}

// sub returns a-b, but not less than 0.
func sub(a, b uint64) uint64 { return a - min(a, b) }
