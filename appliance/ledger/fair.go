package ledger

import (
	"cmp"
	"math"
	"slices"
)

// Fair shares. A donation is for all residents who come. The bytes left are spread evenly over the days that they must last
// (DailyBudget). What is not used today is shared again tomorrow. Within a day, every resident who asks gets an equal share of what
// there is for active and still expected residents. What a resident already used is part of that share:
//
//	share = (left + used by the active) / (active + still expected), at most the configured limit of a resident's day
//
// While there is plenty, the share is the limit, and the rule has no effect. When a donation runs low, all shares shrink equally,
// at any hour: if all active residents used all that they may, those still expected would find a share no smaller. What a resident
// does not use is left to the others. Only sums are needed.
//
// # People, not presses
//
// A hardware address costs nothing, so a device counts by what it used (its weight). From a tenth of a share on, it counts as one
// resident; below that, by the square of its part of the tenth. A press of the button alone counts as nobody. The weight is squared
// because a linear one would let small use count ten times what it costs: with shares of 10 MB, 150 devices that use 20 kB each
// would be three residents out of ten, and take a fifth of a newcomer's share with 3 % of the day.
//
// A resident who has not used anything yet is still among the expected ones. One who asks counts as one. If more come at once than
// are expected, their first shares add up to more than there is, and shrink as they are used. Until the next reconciliation, that
// is at most what the line carries in one interval of the loop.
//
// # The slow lane
//
// A resident whose share is used up may go on slowly (netctl.Class.Slow). What he uses in the slow lane counts towards the cap,
// the day and his own use, like all other use. By then he counts as one resident, so it changes no weight. Two rules protect the
// shares of the others:
//
//   - A resident who used more than a share has had his. He is left out of both sums, and what is left is spread over the others.
//     So the lane takes from all of them equally, and not from the last one.
//   - The lane is open (SlowLane) while all use beyond shares is less than an eighth of what the day has left: a newcomer finds at
//     least 8/9 of the share that he would find without the lane. It is also open if all have what the limit allows and more is
//     left. It never takes from the days to come: it closes at the end of the day's budget.
//
// When the lane is closed, a resident is cut off, as without a lane.
const (
	// assumedResidents are expected in a day before anything is known.
	assumedResidents = 10
	// learnDays is the window of days with use that the expectation is learned from: two weeks, so each weekday counts.
	learnDays = 14
	// trimmed is the fraction of these days, one in four, that is left out at either end (trimmed mean): the fullest and the
	// emptiest.
	trimmed = 4

	latePart = 32 // of a day's budget, for residents who come when it is used up
	slowPart = 8  // of what the day has left, for use beyond shares

	wholePart    = 10        // of a share: a device that used that much counts as one resident
	assumedShare = 100 << 20 // bytes of a resident's day if neither a cap nor a limit says how many
)

// DailyBudget returns the bytes that a day may use in all. left is what is left of the cap, today is what was used today, and days
// is how many days both must last, including today.
func DailyBudget(left, today uint64, days int) uint64 {
	return (min(left, maxCap) + min(today, maxCap)) / uint64(max(days, 1))
}

// LeftToday returns the bytes that the day may still use, from the day's budget and what was used today. Once the budget is used
// up, 1/32 of it is still shared: a late resident is not turned away while the cap lasts. The days to come have that much less.
func LeftToday(ration, today uint64) uint64 { return max(sub(ration, today), ration/latePart) }

// Expected returns how many residents a day brings, from the sums of earlier days, oldest first. It is the trimmed mean of the last
// days with use. A day full of fake devices is left out as one of the fullest. While fewer than four days are known, assumed days
// fill in.
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

// Sharing holds the sums that are known when a resident asks for a share of the day. Set the day's fields, then call Count for each
// device that came.
type Sharing struct {
	Left        uint64  // bytes that may still be used today; math.MaxUint64: no cap
	DailyBudget uint64  // bytes that may be used today in all; 0: not known
	Limit       uint64  // bytes a resident may use in a day, 0: no limit
	Expected    float64 // residents on a day like this
	DayFraction float64 // the fraction of the day that is still to come, 0 to 1

	admittedToday, active float64 // residents by weight: admitted today, and with a session now
	used                  uint64  // bytes that active residents used today

	devices []counted
	sorted  bool // devices are sorted, those that used most first
}

// counted is a device that was counted today.
type counted struct {
	used   uint64
	weight float64
	active bool
}

// Count counts a device and the bytes that it used today; active tells whether it has a session.
func (s *Sharing) Count(used uint64, active bool) {
	w := s.weight(used)
	used = min(used, maxCap)
	s.admittedToday += w
	if active {
		s.active += w
		s.used += used
	}
	s.devices, s.sorted = append(s.devices, counted{used, w, active}), false
}

// Residents returns how many residents have come today, by weight.
func (s *Sharing) Residents() float64 { return s.admittedToday }

// typicalShare returns the share if as many residents come as are expected. It does not depend on who came.
func (s *Sharing) typicalShare() float64 {
	share := math.Inf(1)
	if s.DailyBudget != 0 {
		share = float64(s.DailyBudget) / max(s.Expected, 1)
	}
	if s.Limit != 0 {
		share = min(share, float64(s.Limit))
	}
	if math.IsInf(share, 1) {
		share = assumedShare
	}
	return share
}

// weight returns what fraction of a resident a device counts as, 0 to 1, from the bytes that it used.
func (s *Sharing) weight(used uint64) float64 {
	w := min(1, float64(used)*wholePart/s.typicalShare())
	return w * w
}

// Remaining returns the bytes that a resident may still use; math.MaxUint64 for no limit. used is what the resident used today, which
// was counted as active.
func (s *Sharing) Remaining(used uint64) uint64 {
	if s.Left == math.MaxUint64 && s.Limit == 0 {
		return math.MaxUint64
	}
	share := s.share(1 - s.weight(used))
	if s.Limit != 0 {
		share = min(share, s.Limit)
	}
	return min(sub(share, used), s.Left)
}

// share returns an equal share of what there is, in bytes, before the limit of a resident is applied. asking is the weight that a
// resident who asks gains, since from then on he counts as one.
func (s *Sharing) share(asking float64) uint64 {
	admitted, active := s.admittedToday+asking, s.active+asking
	// More may come than ever before: an eighth is always set aside. If nobody comes, it is left to tomorrow.
	coming := max(0, s.Expected-admitted) * s.DayFraction
	coming = max(coming, (admitted+coming)/8)
	used := s.used
	share := func() uint64 { return uint64(float64(min(s.Left, maxCap)+used) / max(active+coming, 1./8)) }
	s.sort()
	for _, d := range s.devices {
		if !d.active {
			continue
		}
		if d.used <= share() {
			break
		}
		active, used = active-d.weight, used-d.used
	}
	return share()
}

// sort sorts the devices, those that used most first.
func (s *Sharing) sort() {
	if !s.sorted {
		slices.SortFunc(s.devices, func(a, b counted) int { return cmp.Compare(b.used, a.used) })
		s.sorted = true
	}
}

// SlowLane tells whether residents whose share is used up may go on slowly.
func (s *Sharing) SlowLane() bool {
	if s.Left == math.MaxUint64 || s.DailyBudget == 0 {
		return true
	}
	if s.Left <= s.DailyBudget/latePart {
		return false // what is left is for residents who come late
	}
	share := s.share(0)
	if s.Limit != 0 && share > s.Limit {
		return true
	}
	var beyond uint64
	s.sort()
	for _, d := range s.devices {
		if d.used <= share {
			break
		}
		beyond += d.used - share
	}
	return beyond < s.Left/slowPart
}
