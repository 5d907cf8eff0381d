package ledger

import "time"

// Bounds of a tranche. A 256th of the cap lets little of a small gift be lost with the kernel's memory and keeps the
// number of grants in a period small.
const (
	parts      = 256
	MinTranche = 4 << 20
	MaxTranche = 256 << 20
)

// Account is a donation's account in one period. Its zero value is a new one.
type Account struct {
	Period  time.Time `json:"period"`  // when it began
	Used    uint64    `json:"used"`    // bytes that crossed the line, both directions
	Granted uint64    `json:"granted"` // number of the last tranche
	Counter uint64    `json:"counter"` // the line's byte counter when it was last read
	Index   int       `json:"index"`   // the interface that counter was of
}

// Count books what the line's counter says. A counter of another interface, or one that went back, began at 0.
func (a *Account) Count(index int, counter uint64) {
	if a.Index == index && counter >= a.Counter {
		a.Used += counter - a.Counter
	} else if a.Index != 0 {
		a.Used += counter
	}
	a.Index, a.Counter = index, counter
}

// Begin starts a new period.
func (a *Account) Begin(period time.Time) {
	a.Period, a.Used = period, 0
}

// Usable returns how much of a cap residents may have, on a line that is lent at so many bit/s in both directions together
// (0: as fast as it is). The rest is kept for what the line carries without its being paid from a tranche: the links'
// headers and those that offload hides, 3 % of what the kernel holds; what senders pour in after the cut, taken as 100 ms
// of the line; and the box's own questions. It is at most a 64th, so that a small gift still is one.
func Usable(limit, rate uint64) uint64 {
	if rate == 0 {
		rate = assumedRate
	}
	return limit - min(limit/64, tranche(limit)/16+rate/8/10)
}

// tranche is the size of a cap's tranches.
func tranche(limit uint64) uint64 { return min(max(limit/parts, MinTranche), MaxTranche) }

// Next returns how many bytes to grant now, 0 for none, when the kernel still holds so many unspent ones.
func (a *Account) Next(limit, held uint64) uint64 {
	size := tranche(limit)
	if held >= size/2 || a.Used+held >= limit {
		return 0
	}
	if left := limit - a.Used - held; left < size {
		size = left
	}
	if size < packetBytes {
		return 0
	}
	return size
}

// Spent tells whether the cap is used up: nothing more can be granted and the kernel holds nothing worth a packet.
func (a *Account) Spent(limit, held uint64) bool {
	return limit != 0 && held < packetBytes && a.Next(limit, held) == 0
}
