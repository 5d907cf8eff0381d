package ledger

import (
	"math"
	"slices"
	"time"

	"passerelle/netctl"
)

// Reading is what the box sees of a donation at one moment. The tranches are read before the line: between the two a
// byte may then be counted twice, but none is missed. When the kernel could not be read there is no reading: without
// tranches it would say that the kernel holds none, and more would be granted beside them.
type Reading struct {
	Now      time.Time      // in the box's zone
	Trusted  bool           // Now is known to be true
	Boot     string         // names this boot of the machine
	Line     Line           // the uplink
	Tranches []netctl.Spent // in the kernel, of all donations
}

// Line is an uplink's interface and its byte counter.
type Line struct {
	Name  string // as the configuration says
	Index int    // the kernel's number, another one each time it is plugged in; 0: it is not there
	Bytes uint64 // received and sent since then

	// Broadcasts that came from the line's own network, in bytes since some moment, as counted before Bytes was read and
	// after. The counts go back when they were lost.
	BroadcastsBefore, BroadcastsAfter uint64
}

// part is one of the two parts of a cap, each with a chain and tranches of its own.
type part uint8

const (
	general part = iota // for everybody
	reserve             // for essential services alone
	partCount
)

// granted is a tranche in the kernel.
type granted struct {
	part  part
	id    uint64
	bytes uint64
	used  uint64
}

// Book is a donation's account. Make one with [Open], and show it every reading with Observe before asking it anything.
type Book struct {
	r     Record
	known bool // r comes from the store, or has been written

	blind bool      // nobody has looked at the line since r was written
	cut   bool      // a part's last tranche was used up between the last two readings
	reset bool      // a period began or got other terms since r was written
	extra uint64    // r.Extra, grown
	date  int32     // of r.Today when r was written
	now   time.Time // the last one that was sure, in the box's zone; zero if there was none
	spare []granted // room for the next reading's
	days  []Day     // that are over
}

// Open returns the account that goes on from a record and the sums of days that the store had, or a new one for nil.
func Open(r *Record, days []Day) *Book {
	if r == nil {
		return &Book{}
	}
	c := r.clone()
	b := &Book{r: c, known: true, blind: true, extra: c.Extra, date: c.Today.Date, days: slices.Clone(days)}
	if n := len(days); c.Last.Date != 0 && (n == 0 || days[n-1].Date < c.Last.Date) {
		b.days = append(b.days, c.Last)
	}
	return b
}

// Days returns the sums of the days that are over, oldest first: at most [KeepDays].
func (b *Book) Days() []Day { return slices.Clone(b.days) }

// Observe books what happened since the last reading.
func (b *Book) Observe(t Terms, in Reading) {
	before := b.used()
	rebooted := b.boot(in.Boot)
	paid, cut := b.collect(t, in.Tranches)
	b.line(t, in.Line, paid, cut || b.cut)
	b.cut = cut

	// A margin that was too small: what a power cut would now lose is more than the record says.
	if promised := b.r.Promised; t.Cap != 0 && b.known && !rebooted && promised != 0 && b.used() > promised {
		b.extra = max(b.extra, min(b.r.Extra+b.used()-promised, t.limit()/maxExtra))
	}
	carried := b.used() - before
	if in.Trusted {
		b.now = in.Now
		b.today(dateOf(in.Now))
	}
	b.r.Today.Bytes += carried
	if in.Trusted {
		b.turn(t, in.Now)
		b.r.Sure, b.r.SureLink = b.used(), b.r.Link
	}
}

// used returns the bytes that count in this period.
func (b *Book) used() uint64 { return b.r.used() }

// held returns what the kernel may still spend of a part; the tranche of a donation without a cap is beside the point.
func (b *Book) held(p part) (bytes uint64) {
	for _, k := range b.r.tranches {
		if k.part == p && k.bytes < netctl.Unlimited {
			bytes += k.bytes - k.used
		}
	}
	return bytes
}

// committed is what the kernel may still let through of both parts, with what comes on top of it on the line.
func (b *Book) committed() uint64 { return onLine(b.held(general)) + onLine(b.held(reserve)) }

// boot takes up that the machine started anew: kernel and counters have begun at 0, and what was promised and not seen
// to be unspent is spent.
func (b *Book) boot(id string) (rebooted bool) {
	if b.r.Boot == id {
		return false
	}
	if rebooted = b.r.Boot != ""; rebooted {
		b.settle(max(b.used(), b.r.Promised))
		b.r.Reserve = max(b.r.Reserve, b.r.ReservePromised)
		b.r.tranches = nil
		b.r.Line.Index, b.r.Line.Bytes = 0, 0
		b.blind = false
	}
	b.r.Boot = id
	return rebooted
}

// settle makes what was used so far the base from which line and tranches count on.
func (b *Book) settle(used uint64) { b.r.Base, b.r.Link, b.r.Paid, b.r.SureLink = used, 0, 0, 0 }

// collect takes over what the kernel says of the donation's tranches. It returns the bytes that were paid since the
// last reading, and whether a part came to its end.
func (b *Book) collect(t Terms, sample []netctl.Spent) (paid uint64, cut bool) {
	had := [partCount]uint64{b.held(general), b.held(reserve)}
	now := b.spare[:0]
	for _, s := range sample {
		p, ok := t.part(s.Chain)
		if !ok {
			continue
		}
		g := granted{p, s.ID, s.Bytes, min(s.Used, s.Bytes)}
		if s.Over {
			g.bytes = g.used // what is left of it can no longer be spent
		}
		now = append(now, g)
		b.r.LastID = max(b.r.LastID, s.ID) // the record may have been lost
	}
	for _, k := range now {
		var was uint64
		for _, o := range b.r.tranches {
			if o.part == k.part && o.id == k.id {
				was = min(o.used, k.used)
			}
		}
		paid += b.pay(k.part, k.used-was)
	}
	for _, o := range b.r.tranches {
		gone, later := true, false
		for _, k := range now {
			gone = gone && (k.part != o.part || k.id != o.id)
			later = later || k.part == o.part && k.id > o.id
		}
		// The gate takes out those that are used up. One that somebody else took out pays for nothing more.
		if gone && later && o.bytes < netctl.Unlimited {
			paid += b.pay(o.part, o.bytes-o.used)
		}
	}
	b.r.tranches, b.spare = now, b.r.tranches
	for p, had := range had {
		cut = cut || had >= packetBytes && b.held(part(p)) < packetBytes
	}
	return paid, cut
}

// pay books bytes that were paid from a part's tranche, and returns them.
func (b *Book) pay(p part, bytes uint64) uint64 {
	if p == reserve {
		b.r.Reserve += bytes
	}
	return bytes
}

// line books what the line carried. Its counter says it, as long as it goes on; what was paid says the least that it
// can have been.
func (b *Book) line(t Terms, l Line, paid uint64, cut bool) {
	was := b.r.Line
	switch {
	case l.Index == 0:
		if !b.blind { // else it is not known yet whether its counter is lost
			b.settle(b.unseen(paid, cut))
		}
		return
	case l.Index == was.Index && l.Bytes >= was.Bytes:
		b.r.Link += b.billed(t, l)
		b.r.Paid += paid
	default:
		b.settle(b.unseen(paid, cut))
		if was.Index != 0 {
			b.r.Base += replugBytes
		}
		if l.Name == was.Name {
			b.r.Link = l.Bytes // plugged in again: all it carried is since then
		}
	}
	b.r.Line, b.blind = l, false
}

// billed returns what counts of what the line has carried since the last reading: all but broadcasts of its own network,
// which nobody bills. Only those are left out that were counted after the line was read the last time and before it was
// read now: they are all in what it has carried since.
func (b *Book) billed(t Terms, l Line) uint64 {
	carried := l.Bytes - b.r.Line.Bytes
	broadcasts := min(sub(l.BroadcastsBefore, b.r.Line.BroadcastsAfter), carried)
	b.r.Broadcasts += broadcasts
	if t.Broadcast {
		return carried
	}
	return carried - broadcasts
}

// unseen returns what counts as used when the counter that saw it is gone: what was paid. But after a cut senders still
// pour in for a moment, and while the daemon was dead the box asked questions: then all that was promised for it
// counts.
func (b *Book) unseen(paid uint64, cut bool) uint64 {
	used := b.used() + onLine(paid)
	if b.blind || cut {
		used = max(used, sub(b.r.Promised, b.committed()))
	}
	return used
}

// today begins a new day. One that is over waits in Last until the next write.
func (b *Book) today(date int32) {
	switch {
	case b.r.Today.Date == 0:
		b.r.Today.Date = date
	case date > b.r.Today.Date:
		b.r.Last, b.r.Today = b.r.Today, Day{Date: date}
		b.days = append(b.days, b.r.Last)
		b.days = b.days[max(0, len(b.days)-KeepDays):]
	}
}

// turn begins a new period once the old one is over. What was carried since time was last sure counts in both: nobody
// knows on which side of midnight it was. The line's own count of it is asked, too: where bytes were booked twice, because
// they passed between the two readings, what was used grows by less than the line carries until it has caught up.
func (b *Book) turn(t Terms, now time.Time) {
	over := b.r.End != 0 && now.Unix() >= b.r.End
	switch {
	case b.r.Period == t.Period && b.r.Resets == t.Resets && !over:
		return
	case b.r.Period == "": // the first time that time is sure
		b.r.Start = unix(PeriodStart(now, t.Period, t.Resets))
	case b.r.Period != t.Period || b.r.Resets != t.Resets:
		// Other terms don't forgive what was used: it counts until they first reset.
		if start := time.Unix(b.r.Start, 0); now.Before(start) {
			now = start.In(now.Location())
		}
	default:
		b.r.Start = unix(PeriodStart(now, t.Period, t.Resets))
		b.settle(max(sub(b.used(), b.r.Sure), sub(b.r.Link, b.r.SureLink)))
		b.r.Reserve, b.r.Broadcasts, b.r.Lost = 0, 0, false
	}
	b.r.Period, b.r.Resets = t.Period, t.Resets
	b.r.End = unix(PeriodEnd(now, t.Period, t.Resets))
	b.reset = true
}

// unix returns seconds since 1970, 0 for the zero time.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// Came notes how many residents have come today until now, see [Sharing.People]. Who forgot some says fewer: the most
// that was said of the day counts.
func (b *Book) Came(people float64) {
	b.r.Today.Residents = max(b.r.Today.Residents, uint32(min(math.Round(people), math.MaxUint32)))
}

// Write is a record that must be on disk before the grants may be given to the kernel.
type Write struct {
	Record Record
	Grants []netctl.Tranche
}

// Due returns what is to be written now, if anything. Tranches are granted only to a donation that residents use. The
// caller stores the record, calls Wrote, hands each grant to the kernel and calls Granted for those that it took.
func (b *Book) Due(t Terms, chosen bool) (w Write, due bool) {
	if b.blind {
		return w, false // the old promise holds for what nobody could see; nothing passes on a line that is not there
	}
	var bytes, fromReserve uint64
	if chosen {
		w.Grants, bytes, fromReserve = b.grants(t)
	}
	must := b.used() + b.committed() + t.flight(b.extra)
	settled := t.Cap != 0 && b.r.Promised >= t.limit() // spent: a higher promise says no more
	due = len(w.Grants) > 0 || b.reset || !b.known || b.r.Today.Date != b.date || must > b.r.Promised && !settled
	if due {
		w.Record = b.record(must+onLine(bytes)+onLine(fromReserve)+t.slack(), fromReserve)
		w.Record.LastID += uint64(len(w.Grants))
	}
	return w, due
}

// Final returns what to write when the daemon stops, after the gate took the tranches out and a last reading was
// observed: nothing of them is lost then.
func (b *Book) Final(t Terms) (r Record, due bool) {
	if b.blind {
		return Record{}, false
	}
	return b.record(b.used()+b.committed()+t.slack(), 0), true
}

// record returns the account as it is to be written, with what counts as used if the power fails.
func (b *Book) record(promised, fromReserve uint64) Record {
	r := b.r.clone()
	r.Promised, r.ReservePromised = promised, b.r.Reserve+b.held(reserve)+fromReserve
	r.Extra = b.extra
	return r
}

// Wrote takes up that the record is on disk.
func (b *Book) Wrote(w Write) {
	b.r.Promised, b.r.ReservePromised = w.Record.Promised, w.Record.ReservePromised
	b.r.Extra, b.r.LastID = w.Record.Extra, w.Record.LastID
	b.known, b.reset, b.date = true, false, w.Record.Today.Date
}

// Granted takes up that the kernel has the tranche.
func (b *Book) Granted(t Terms, g netctl.Tranche) {
	if p, ok := t.part(g.Chain); ok {
		b.r.tranches = append(b.r.tranches, granted{part: p, id: g.ID, bytes: g.Bytes})
	}
}

// grants returns the tranches to give now, and the bytes of those for everybody and of those from the reserve.
func (b *Book) grants(t Terms) (list []netctl.Tranche, bytes, fromReserve uint64) {
	next := b.r.LastID + 1
	if t.Cap == 0 {
		if b.unlimited() {
			return nil, 0, 0
		}
		return []netctl.Tranche{{Chain: t.Chain, ID: next, Bytes: netctl.Unlimited}}, 0, 0
	}
	if b.excess(t) {
		return nil, 0, 0
	}
	if bytes = b.room(t); bytes > 0 && b.held(general) < t.low() {
		return []netctl.Tranche{{Chain: t.Chain, ID: next, Bytes: bytes}}, bytes, 0
	}
	ending := b.held(general) < t.low() && b.held(reserve) < t.lowReserve()
	if fromReserve = b.roomReserve(t); fromReserve > 0 && ending {
		return []netctl.Tranche{{Chain: t.ReserveChain, ID: next, Bytes: fromReserve}}, 0, fromReserve
	}
	return nil, 0, 0
}

// room returns the size of the next tranche for everybody, 0 if there is none left.
func (b *Book) room(t Terms) uint64 {
	set := onLine(b.held(reserve)) + t.own() + t.flight(b.extra)
	if aside := t.reserve(); aside > b.r.Reserve {
		set = max(set, aside-b.r.Reserve+t.own()+t.flight(b.extra))
	}
	return size(t.limit(), t.low(), b.held(general), sub(t.limit(), b.spent()+onLine(b.held(general))+set))
}

// roomReserve returns the size of the next tranche from the reserve.
func (b *Book) roomReserve(t Terms) uint64 {
	held := b.held(reserve)
	free := min(
		onLine(sub(t.reserve(), b.r.Reserve+held)),
		sub(t.limit(), b.spent()+b.committed()+t.own()+t.flight(b.extra)))
	return size(t.reserve(), t.lowReserve(), held, free)
}

// spent is the most that can have been used: all, of an account that was lost.
func (b *Book) spent() uint64 {
	switch {
	case b.r.Lost:
		return maxCap
	case b.blind:
		return max(b.used(), sub(b.r.Promised, b.committed()))
	}
	return b.used()
}

// excess tells whether the kernel holds more than the terms leave: they were changed, or the line carries more beside
// the tranches than they allow for. A kernel that holds nothing holds no excess, however much was used.
func (b *Book) excess(t Terms) bool {
	if t.Cap == 0 {
		return false
	}
	held := b.committed()
	return b.unlimited() || held > 0 && b.spent()+held+t.flight(b.extra) > t.limit()
}

// unlimited tells whether the kernel has the tranche of a donation without a cap.
func (b *Book) unlimited() bool {
	for _, k := range b.r.tranches {
		if k.part == general && k.bytes >= netctl.Unlimited {
			return true
		}
	}
	return false
}

// sub returns a-b, or 0.
func sub(a, b uint64) uint64 { return a - min(a, b) }
