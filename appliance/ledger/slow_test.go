package ledger

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestSlowLane: when the lane is open.
func TestSlowLane(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		s    Sharing
		want bool
	}{
		{"no cap", day(math.MaxUint64, 0, 500e6, 10).with(each(3, 900e6), nil), true},
		{"plenty", day(50e9, 100e9, 500e6, 10).with(each(3, 900e6), nil), true},
		{"scarce, a share is used", day(900e6, 1e9, 0, 10).with(each(1, 100e6), nil), true},
		{"scarce, an eighth of the rest beyond it", day(788e6, 1e9, 0, 10).with(each(1, 212e6), nil), false},
		{"the same of a device that is gone", day(788e6, 1e9, 0, 10).with(nil, each(1, 212e6)), false},
		{"scarce, many beyond it", day(490e6, 1e9, 0, 10).with(each(5, 102e6), nil), true},
		{"scarce, too many beyond it", day(400e6, 1e9, 0, 10).with(each(5, 120e6), nil), false},
		{"the day's budget is used", day(LeftToday(1e9, 1e9), 1e9, 0, 10).with(each(10, 100e6), nil), false},
		{"the day's budget is used, where each has the limit", day(LeftToday(100e9, 100e9), 100e9, 500e6, 10).with(each(10, 900e6), nil), false},
		{"the cap is used", day(0, 1e9, 500e6, 10).with(each(1, 900e6), nil), false},
		{"nobody came, nobody is expected", Sharing{Left: 1e9, DailyBudget: 1e9}, true},
	} {
		if got := c.s.SlowLane(); got != c.want {
			t.Errorf("%s: open %t", c.name, got)
		}
	}
}

// TestSlowLaneTakesFromAll: on any day, however long others go on slowly, a newcomer finds at least 8/9 of the first one's share.
// All use stays within the day's budget, except for what is kept for late residents.
func TestSlowLaneTakesFromAll(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	slow := 0
	for range 300 {
		budget := 1e6 + r.Uint64N(1e10)
		left, expected, limit := budget, 1+r.IntN(60), r.Uint64N(1e9)
		step := budget / 2000 // what the lane carries in an interval of the loop
		var here, gone []uint64
		now := func() Sharing { return day(left, budget, limit, float64(expected)).with(here, gone) }
		use := func(of *uint64, n uint64) {
			*of += n
			left -= n
		}
		first := uint64(0)
		for come := 1; come <= expected-(expected+7)/8; come++ {
			if r.IntN(4) == 0 {
				here, gone = nil, append(gone, here...)
			}
			here = append(here, 0)
			s := now()
			share := s.Remaining(0)
			if come == 1 {
				first = share
			}
			// Except for rounding, and the last step of each open lane.
			if float64(share) < float64(first)*8/9-float64(come)-float64(step) {
				t.Fatalf("of %d bytes the first of %d had %d, number %d %d", budget, expected, first, come, share)
			}
			for i := range here {
				s := now()
				use(&here[i], min(s.Remaining(here[i]), r.Uint64N(2*budget/uint64(expected)+2)))
			}
			for range r.IntN(40) {
				i := r.IntN(len(here))
				s := now()
				if s.Remaining(here[i]) == 0 && s.SlowLane() {
					use(&here[i], min(step, left))
					slow++
				}
			}
		}
	}
	if slow < 100 {
		t.Errorf("the lane was used %d times", slow)
	}
}
