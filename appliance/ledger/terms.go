package ledger

import "cmp"

// Terms are what a lender agreed to.
type Terms struct {
	Cap          uint64 // bytes a period, both directions; 0: none
	Reserve      uint64 // the part of Cap that only essential services may use
	Period       string // "day", "week", "month" or "once"
	Resets       int    // the period's first day, as in the configuration
	Broadcast    bool   // broadcasts that come from the line's own network count
	Rate         uint64 // bit/s that are lent, both directions together; 0: as fast as the line is
	Chain        string // the quota chain that everybody pays from
	ReserveChain string // the one of essential services once that is spent
}

// Sizes. What they cost and what they lose is summed up in the package comment.
const (
	trancheParts = 256
	trancheFloor = 1 << 20
	trancheTop   = 256 << 20
	packetBytes  = 64 << 10 // the largest packet: less than it left is nothing left
	assumedRate  = 100e6    // bit/s of a line that is lent without a limit
	ownPart      = 128      // of the cap, for what the box itself asks until the period is over
	ownTop       = 8 << 20
	ownRound     = 64 << 10 // what it asks between two readings, at most
	replugBytes  = 4 << 10  // what it asks between the last reading of a line and its being unplugged
	flightPart   = 32       // of a small cap: no more is kept for what is under way
	maxExtra     = 16       // of the cap: no more is kept for what was once under way beyond that
	uncapped     = 64 << 20 // without a cap, a power cut counts so much at most that nobody may have used
	maxCap       = 1 << 60  // bytes: more is no limit, and sums of a few of them still fit
)

// onLine returns what the line carries when so many bytes are paid from a tranche: link headers, and those that offload
// hides from the kernel's rules, are 3 % (2.5 % were measured with packets of full size).
func onLine(bytes uint64) uint64 {
	if bytes == 0 {
		return 0
	}
	return bytes + bytes/32 + 1
}

func (t Terms) limit() uint64   { return min(t.Cap, maxCap) }
func (t Terms) reserve() uint64 { return min(t.Reserve, t.limit()) }

// second is what the line carries in a second.
func (t Terms) second() uint64 { return cmp.Or(t.Rate, assumedRate) / 8 }

// flight is what is kept for bytes that arrive although no tranche pays for them: what senders pour in after the cut,
// taken as 100 ms of the line, and the box's own questions until the next look.
func (t Terms) flight(extra uint64) uint64 {
	return min(t.second()/10+ownRound, t.limit()/flightPart) + min(extra, t.limit()/maxExtra)
}

// own is the allowance of the box itself, which keeps time, names and health checks alive when residents' part is
// spent.
func (t Terms) own() uint64 { return min(t.limit()/ownPart, ownTop) }

// slack is what a record promises beyond the tranches, so that the box's own questions don't need a write each.
func (t Terms) slack() uint64 {
	if t.Cap == 0 {
		return uncapped
	}
	return min(t.own(), max(tranche256(t.limit())/16, ownRound))
}

// tranche256 is the size of the tranches of a cap, or of a reserve.
func tranche256(bytes uint64) uint64 {
	return max(packetBytes, min(max(bytes/trancheParts, trancheFloor), trancheTop, bytes/16))
}

// low is what the kernel shall hold at the least while there is more: a second of the line, so that no resident's
// connection breaks while a busy board grants the next tranche, but not more than a quarter of a small gift.
func (t Terms) low() uint64 {
	return min(max(t.second(), 2*packetBytes), max((t.limit()-t.reserve())/4, packetBytes))
}

func (t Terms) lowReserve() uint64 { return min(t.low(), max(t.reserve()/8, packetBytes)) }

// size returns the size of the next tranche of a part of so many bytes, when so many are free on the line.
func size(of, low, held, free uint64) uint64 {
	n := min(max(tranche256(of), sub(low, held)), free/33*32)
	if n < max(packetBytes, tranche256(of)/16) {
		return 0
	}
	return n
}

func (t Terms) part(chain string) (part, bool) {
	switch chain {
	case t.Chain:
		return general, true
	case t.ReserveChain:
		return reserve, t.ReserveChain != ""
	}
	return 0, false
}
