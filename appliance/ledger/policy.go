package ledger

import "cmp"

// Policy is what the lender agreed to.
type Policy struct {
	Cap          uint64 // bytes in a period, both directions; 0: none
	Reserve      uint64 // the part of Cap that only essential services may use
	Period       string // "day", "week", "month" or "once"
	Resets       int    // the period's first day, as in the configuration
	Broadcast    bool   // broadcasts of the line's own network count
	Rate         uint64 // bit/s that are lent, both directions together; 0: the line's full rate
	Chain        string // the quota chain that all residents are charged to
	ReserveChain string // the quota chain of essential services, once Chain is spent
}

// Sizes. The package comment sums up what they cost and what failures lose with them.
const (
	trancheParts   = 256
	trancheMin     = 1 << 20
	trancheMax     = 256 << 20
	packetBytes    = 64 << 10 // the largest packet: a rest smaller than this counts as nothing
	assumedRate    = 100e6    // bit/s, assumed of a line that is lent without a rate limit
	selfPart       = 128      // of the cap, for the box's own traffic until the period is over
	selfMax        = 8 << 20
	selfPerReading = 64 << 10 // the box's own traffic between two readings, at most
	replugBytes    = 4 << 10  // the box's own traffic between the last reading of a line and its unplugging
	inFlightPart   = 32       // of the cap: the most that is kept for bytes in flight if the cap is small
	extraPart      = 16       // of the cap: the most that the margin grows by
	uncappedSlack  = 64 << 20 // without a cap: the most that a power cut counts as used, though it may not have been
	maxCap         = 1 << 60  // bytes: a larger cap is no limit, and sums of a few of these still fit
)

// onWire returns the bytes that the line carries for bytes charged to a tranche. Link headers, and headers that offload hides from
// the kernel's rules, add 3 % (2.5 % were measured with full-size packets).
func onWire(bytes uint64) uint64 {
	if bytes == 0 {
		return 0
	}
	return bytes + bytes/32 + 1
}

func (pol Policy) limit() uint64   { return min(pol.Cap, maxCap) }
func (pol Policy) reserve() uint64 { return min(pol.Reserve, pol.limit()) }

// bytesPerSecond is the rate of the line.
func (pol Policy) bytesPerSecond() uint64 { return cmp.Or(pol.Rate, assumedRate) / 8 }

// inFlight returns what is kept for bytes that arrive without a tranche to charge them to: what senders still transmit after the
// cut, estimated as 100 ms of the line, and the box's own traffic until the next reading.
func (pol Policy) inFlight(extra uint64) uint64 {
	return min(pol.bytesPerSecond()/10+selfPerReading, pol.limit()/inFlightPart) + min(extra, pol.limit()/extraPart)
}

// selfAllowance returns what is kept for the box's own traffic, so that time, names and health checks work after the residents'
// part is spent.
func (pol Policy) selfAllowance() uint64 { return min(pol.limit()/selfPart, selfMax) }

// slack returns what a record commits beyond the tranches, so that not every bit of the box's own traffic needs a write.
func (pol Policy) slack() uint64 {
	if pol.Cap == 0 {
		return uncappedSlack
	}
	return min(pol.selfAllowance(), max(trancheFor(pol.limit())/16, selfPerReading))
}

// trancheFor returns the tranche size for a cap or a reserve of this many bytes.
func trancheFor(bytes uint64) uint64 {
	return max(packetBytes, min(max(bytes/trancheParts, trancheMin), trancheMax, bytes/16))
}

// lowWater returns the low-water mark of the kernel's tranches, while there is more to grant: a second of the line, so that no
// connection breaks while a busy board grants the next tranche, but at most a quarter of a small cap.
func (pol Policy) lowWater() uint64 {
	return min(max(pol.bytesPerSecond(), 2*packetBytes), max((pol.limit()-pol.reserve())/4, packetBytes))
}

func (pol Policy) reserveLowWater() uint64 {
	return min(pol.lowWater(), max(pol.reserve()/8, packetBytes))
}

// trancheSize returns the size of the next tranche of a part of this size, of which the kernel holds held bytes; free bytes are
// free on the line. It is 0 if too little is left.
func trancheSize(of, low, held, free uint64) uint64 {
	n := min(max(trancheFor(of), sub(low, held)), free/33*32)
	if n < max(packetBytes, trancheFor(of)/16) {
		return 0
	}
	return n
}

func (pol Policy) part(chain string) (part, bool) {
	switch chain {
	case pol.Chain:
		return general, true
	case pol.ReserveChain:
		return reserve, pol.ReserveChain != ""
	}
	return 0, false
}
