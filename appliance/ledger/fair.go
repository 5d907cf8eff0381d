package ledger

import (
	"math"
	"slices"
)

// Fair shares. A lender's gift is meant for all who come. What a day may use is the rest of the gift, shared evenly
// among the days it must last (Ration); what is not used today is shared again tomorrow. Within the day, he who asks
// may have, with what he already had, an equal share of what there is for those who are here and those still expected:
//
//	share = (left + had by those here) / (here + still expected), at most the configured limit of a resident's day
//
// While there is plenty that is the limit, and the rule is not felt. When a gift runs low everybody's share shrinks by
// the same measure, at whatever hour they come: if all who are here used all that they may, those who are still
// expected would find a share no smaller. Who goes with less leaves the rest to the others. Only sums are needed.
//
// # People, not presses
//
// A hardware address costs nothing, so a device counts by what it used (weight): as one resident from a tenth of a share
// on, below that by the square of its part of the tenth. A press alone is nobody. The square, because the plain part
// would let small use count ten times what it costs: beside shares of 10 MB, 150 devices that use 20 kB each would be
// three residents of ten, and take a fifth of a newcomer's share with 3 % of the day.
//
// Who has not used anything yet is still among the expected, and he who asks counts as one. When more come at once than
// are expected, they are first promised more than there is for all, and their shares shrink as they use them: before
// anybody looks again, that is what the line carries in a round of the loop.

const (
	// assumedResidents is how many are expected in a day before anything is known.
	assumedResidents = 10
	// learnDays is of how many days of use the number of residents is learned: two weeks, so that each weekday counts.
	learnDays = 14
	// trimmed is the part of these days that is left out at either end, the fullest and the emptiest.
	trimmed = 4

	wholePart    = 10        // of a share: who used it counts as one resident
	assumedShare = 100 << 20 // bytes of a resident's day where neither a cap nor a limit says what that is
)

// Ration returns what a day may use in all, when so much of the gift is left, so much was used today, and it must last
// so many days with this one.
func Ration(left, today uint64, days int) uint64 {
	return (min(left, maxCap) + min(today, maxCap)) / uint64(max(days, 1))
}

// DayRest returns what a day may still use, when so much of its ration was used. Once all of it is, a 32nd goes on being
// shared: who comes last is not sent away while there is a gift, and the days to come have that much less.
func DayRest(ration, today uint64) uint64 { return max(sub(ration, today), ration/32) }

// Expected returns how many residents a day brings, from the sums of the days before, oldest first: the mean of the
// middle half of the last days of use. A day that was full of made-up devices is left out with the fullest, and while
// fewer than four days are known, assumed ones stand in for the others.
func Expected(days []Day) float64 {
	var seen []uint32
	for i := len(days) - 1; i >= 0 && len(seen) < learnDays; i-- {
		if days[i].Residents > 0 {
			seen = append(seen, days[i].Residents)
		}
	}
	for len(seen) < trimmed {
		seen = append(seen, assumedResidents)
	}
	slices.Sort(seen)
	out := len(seen) / trimmed
	middle := seen[out : len(seen)-out]
	var sum float64
	for _, n := range middle {
		sum += float64(n)
	}
	return sum / float64(len(middle))
}

// Sharing is what is known, in sums, when somebody asks for a share of the day. Make one with what concerns the day, then
// Count all who came.
type Sharing struct {
	Left     uint64  // bytes that today may still use; math.MaxUint64: no cap
	Ration   uint64  // bytes that today may use in all; 0: not known
	Limit    uint64  // bytes a resident may use in a day, 0: no limit
	Expected float64 // residents on a day like this
	Coming   float64 // the part of the day that is still to come, 0 to 1

	come, here float64 // residents, by weight: of today, and of those who have a session
	had        uint64  // bytes that those who have a session used today
}

// Count counts a device that used so many bytes today; here tells whether it has a session.
func (s *Sharing) Count(used uint64, here bool) {
	w := s.weight(used)
	s.come += w
	if here {
		s.here += w
		s.had += min(used, maxCap)
	}
}

// People returns how many residents have come today.
func (s *Sharing) People() float64 { return s.come }

// usual is a share as it is when as many come as are expected: it does not depend on who came.
func (s *Sharing) usual() float64 {
	share := math.Inf(1)
	if s.Ration != 0 {
		share = float64(s.Ration) / max(s.Expected, 1)
	}
	if s.Limit != 0 {
		share = min(share, float64(s.Limit))
	}
	if math.IsInf(share, 1) {
		share = assumedShare
	}
	return share
}

// weight returns how much a device that used so many bytes counts as a resident, 0 to 1.
func (s *Sharing) weight(used uint64) float64 {
	w := min(1, float64(used)*wholePart/s.usual())
	return w * w
}

// Rest returns how many bytes a resident who used so many today, and was counted as one who is here, may still use;
// math.MaxUint64 for no limit.
func (s *Sharing) Rest(used uint64) uint64 {
	if s.Left == math.MaxUint64 && s.Limit == 0 {
		return math.MaxUint64
	}
	asking := 1 - s.weight(used)
	come, here := s.come+asking, s.here+asking
	// More may come than ever did: an eighth is always kept, and left to tomorrow if nobody comes.
	coming := max(0, s.Expected-come) * s.Coming
	coming = max(coming, (come+coming)/8)
	share := uint64(float64(min(s.Left, maxCap)+min(s.had, maxCap)) / (here + coming))
	if s.Limit != 0 {
		share = min(share, s.Limit)
	}
	return min(sub(share, used), s.Left)
}
