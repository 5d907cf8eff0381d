package ledger

import "math"

// Fair shares. A lender's gift is meant for all who come. What a day may use is the rest of the gift, shared evenly
// among the days it must last (Ration); what is not used today is shared anew tomorrow. Within the day, whoever asks
// may have, with what he already had, an equal share of what there is for those who are here and those still expected:
//
//	share = (left + had by those here) / (here + still expected), at most the configured limit of a resident's day
//
// While there is plenty that is the limit, and the rule is not felt. When a gift runs low everybody's share shrinks by
// the same measure, at whatever hour they come: if all who are here used all that they may, those who are still
// expected would find a share no smaller. Who goes with less leaves the rest to the others. Only sums are needed.

// assumedResidents is how many are expected in a day before anything is known.
const assumedResidents = 10

// learnDays is of how many days of use the number of residents is learned: two weeks, so that each weekday counts.
const learnDays = 14

// Ration returns what a day may use in all, when so much of the gift is left, so much was used today, and it must last
// so many days with this one.
func Ration(left, today uint64, days int) uint64 {
	return (min(left, maxCap) + min(today, maxCap)) / uint64(max(days, 1))
}

// DayRest returns what a day may still use, when so much of its ration was used. Once all of it is, a 32nd goes on being
// shared: who comes last is not sent away while there is a gift, and the days to come have that much less.
func DayRest(ration, today uint64) uint64 { return max(sub(ration, today), ration/32) }

// Expected returns how many residents a day brings, from the sums of the days before, oldest first.
func Expected(days []Day) int {
	var sum, n uint64
	for i := len(days) - 1; i >= 0 && n < learnDays; i-- {
		if days[i].Residents > 0 {
			sum += uint64(days[i].Residents)
			n++
		}
	}
	if n == 0 {
		return assumedResidents
	}
	return int((sum + n - 1) / n)
}

// Sharing is what is known, in sums, when somebody asks for a share of the day.
type Sharing struct {
	Left     uint64 // bytes that today may still use; math.MaxUint64: no cap
	Expected int    // residents on a day like this
	Come     int    // who have come today, he who asks among them
	Here     int    // who have a session, he who asks among them
	Had      uint64 // bytes that those who are here used today
	Limit    uint64 // bytes a resident may use in a day, 0: no limit
}

// Rest returns how many bytes a resident who used so many today may still use, math.MaxUint64 for no limit.
func (s Sharing) Rest(used uint64) uint64 {
	if s.Left == math.MaxUint64 && s.Limit == 0 {
		return math.MaxUint64
	}
	// More may come than ever did: an eighth is always kept, and left to tomorrow if nobody comes.
	coming := max(s.Expected-s.Come, (s.Expected+7)/8, 0)
	share := (min(s.Left, maxCap) + min(s.Had, maxCap)) / uint64(max(s.Here, 1)+coming)
	if s.Limit != 0 {
		share = min(share, s.Limit)
	}
	return min(sub(share, used), s.Left)
}
