package ledger

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestRest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		sharing Sharing
		used    uint64
		want    uint64
	}{
		{"plenty", Sharing{Left: 100e9, Expected: 20, Come: 1, Here: 1, Limit: 500e6}, 0, 500e6},
		{"plenty, some used", Sharing{Left: 100e9, Expected: 20, Come: 1, Here: 1, Limit: 500e6}, 200e6, 300e6},
		{"the first of ten", Sharing{Left: 100, Expected: 10, Come: 1, Here: 1}, 0, 10},
		{"who had it all", Sharing{Left: 90, Expected: 10, Come: 1, Here: 1, Had: 10}, 10, 0},
		{"the second, and the first stayed", Sharing{Left: 90, Expected: 10, Come: 2, Here: 2, Had: 10}, 0, 10},
		{"the second, and the first is gone", Sharing{Left: 90, Expected: 10, Come: 2, Here: 1}, 0, 10},
		{"the first left all", Sharing{Left: 100, Expected: 10, Come: 2, Here: 1}, 0, 11},
		{"more than ever", Sharing{Left: 100, Expected: 8, Come: 30, Here: 1}, 0, 50},
		{"nothing left", Sharing{Expected: 10, Come: 3, Here: 3, Limit: 5}, 0, 0},
		{"no cap, no limit", Sharing{Left: math.MaxUint64, Expected: 10, Come: 3, Here: 3}, 1e9, math.MaxUint64},
		{"no cap", Sharing{Left: math.MaxUint64, Expected: 10, Come: 3, Here: 3, Limit: 5}, 3, 2},
	} {
		if got := c.sharing.Rest(c.used); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestLastOnesShare: on a day that brings no more residents than expected, whoever comes finds no less than the first
// did, however much those before him wanted and whether they stayed; and the day is never overdrawn.
func TestLastOnesShare(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 3))
	for range 20_000 {
		ration := r.Uint64N(1e10)
		s := Sharing{Left: ration, Expected: 1 + r.IntN(60), Limit: r.Uint64N(1e9)}
		var here []uint64 // what each of them used
		first := uint64(0)
		for s.Come = 1; s.Come <= s.Expected-(s.Expected+7)/8; s.Come++ {
			if r.IntN(2) == 0 {
				here = nil // they went
			}
			here = append(here, 0)
			s.Here, s.Had = len(here), sum(here)
			share := s.Rest(0)
			if s.Come == 1 {
				first = share
			}
			if share+uint64(s.Come) < first { // but for the rounding
				t.Fatalf("of %d bytes the first of %d had %d, number %d %d", ration, s.Expected, first, s.Come, share)
			}
			for i := range here {
				n := min(s.Rest(here[i]), r.Uint64N(2*ration/uint64(s.Expected)+2))
				if n > s.Left {
					t.Fatalf("%d of %d", n, s.Left)
				}
				here[i] += n
				s.Had += n
				s.Left -= n
			}
		}
	}
}

func sum(all []uint64) (total uint64) {
	for _, n := range all {
		total += n
	}
	return total
}

func TestExpected(t *testing.T) {
	t.Parallel()
	if got := Expected(nil); got != assumedResidents {
		t.Errorf("before the first day %d", got)
	}
	days := []Day{{1, 0, 900}}
	for i := range 14 {
		days = append(days, Day{int32(2 + i), 0, uint32(20 + i%2)}, Day{Date: int32(20 + i)})
	}
	if got := Expected(days); got != 21 {
		t.Errorf("after two weeks of 20 and 21: %d", got)
	}
}

func TestRation(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Terms{Cap: 200e9, Rate: 25e6})
	s := d.round()
	if want := s.Left / 21; s.Ration != want { // the 10th to the 30th
		t.Errorf("a day may use %d, not %d", s.Ration, want)
	}
	d.use(1e6)
	if again := d.round(); again.Ration != s.Ration {
		t.Errorf("when some is used, today's ration becomes %d from %d", again.Ration, s.Ration)
	}
	d.reading.Now = d.reading.Now.AddDate(0, 0, 20)
	if s := d.round(); s.Ration != s.Left {
		t.Errorf("the last day may use %d of %d", s.Ration, s.Left)
	}
}

// TestMonth: first come, first served, a gift that is too small is gone long before the month is; shared fairly it
// lasts, and fewer go away with next to nothing.
func TestMonth(t *testing.T) {
	t.Parallel()
	m := Month{Cap: 30e9, Days: 30, Residents: 20, Typical: 60e6, Spread: 1.2, Limit: 500e6}
	play := func(fair bool) (given uint64, short, last int) {
		for i, d := range m.Simulate(rand.New(rand.NewPCG(1, 1)), fair) {
			given += d.Given
			short += d.Short
			if d.Given > 0 {
				last = i + 1
			}
		}
		return given, short, last
	}
	given, short, last := play(true)
	greedy, left, gone := play(false)
	if last != m.Days || given > m.Cap || given < m.Cap/20*17 {
		t.Errorf("shared fairly, %d bytes lasted until day %d", given, last)
	}
	if gone > m.Days-5 || greedy > m.Cap {
		t.Errorf("first come, first served, %d bytes lasted until day %d", greedy, gone)
	}
	if short*2 > left {
		t.Errorf("%d went with next to nothing, %d where the first were served first", short, left)
	}
}
