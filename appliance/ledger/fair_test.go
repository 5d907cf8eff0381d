package ledger

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// day returns a day's Sharing, in the morning unless DayFraction is changed.
func day(left, budget, limit uint64, expected float64) Sharing {
	return Sharing{Left: left, DailyBudget: budget, Limit: limit, Expected: expected, DayFraction: 1}
}

// with returns the day after devices used these bytes; those in here have a session.
func (s Sharing) with(here, gone []uint64) Sharing {
	for _, n := range here {
		s.Count(n, true)
	}
	for _, n := range gone {
		s.Count(n, false)
	}
	return s
}

// each returns the uses of a number of devices that used the same.
func each(devices int, used uint64) []uint64 { return slices.Repeat([]uint64{used}, devices) }

func TestRest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		sharing Sharing
		used    uint64
		want    uint64
	}{
		{"plenty", day(100e9, 100e9, 500e6, 20).with(each(1, 0), nil), 0, 500e6},
		{"plenty, some used", day(100e9, 100e9, 500e6, 20).with(each(1, 200e6), nil), 200e6, 300e6},
		{"the first of ten", day(100, 100, 0, 10).with(each(1, 0), nil), 0, 10},
		{"who had it all", day(90, 100, 0, 10).with(each(1, 10), nil), 10, 0},
		{"the second, and the first stayed", day(90, 100, 0, 10).with([]uint64{10, 0}, nil), 0, 10},
		{"the second, and the first has just come", day(100, 100, 0, 10).with(each(2, 0), nil), 0, 10},
		{"the second, and the first is gone", day(90, 100, 0, 10).with(each(1, 0), each(1, 10)), 0, 10},
		{"the first left all", day(100, 100, 0, 10).with(each(1, 0), each(1, 0)), 0, 10},
		{"half of a day is over", Sharing{Left: 100, DailyBudget: 100, Expected: 10, DayFraction: 0.5}.with(each(1, 0), nil), 0, 18},
		{"more than ever", day(100, 800, 0, 8).with(each(1, 0), each(30, 100)), 0, 20},
		{"nothing left", day(0, 100, 5, 10).with(each(3, 4), nil), 0, 0},
		{"no cap, no limit", day(math.MaxUint64, 0, 0, 10).with(each(3, 1e9), nil), 1e9, math.MaxUint64},
		{"no cap", day(math.MaxUint64, 0, 5, 10).with(each(3, 3), nil), 3, 2},
	} {
		if got := c.sharing.Remaining(c.used); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestLastOnesShare: on a day that brings no more residents than expected, each one finds no less than the first did, however much
// the earlier ones wanted, and whether or not they stayed. The day is never overdrawn.
func TestLastOnesShare(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 3))
	for range 20_000 {
		budget := r.Uint64N(1e10)
		left, expected, limit := budget, 1+r.IntN(60), r.Uint64N(1e9)
		var here, gone []uint64 // what each of them used
		first := uint64(0)
		for come := 1; come <= expected-(expected+7)/8; come++ {
			if r.IntN(2) == 0 {
				here, gone = nil, append(gone, here...) // they left
			}
			here = append(here, 0)
			now := func() Sharing { return day(left, budget, limit, float64(expected)).with(here, gone) }
			s := now()
			share := s.Remaining(0)
			if come == 1 {
				first = share
			}
			if float64(share) < float64(first)*0.999-float64(come) { // but for the rounding
				t.Fatalf("of %d bytes the first of %d had %d, number %d %d", budget, expected, first, come, share)
			}
			for i := range here {
				s := now()
				n := min(s.Remaining(here[i]), r.Uint64N(2*budget/uint64(expected)+2))
				if n > left {
					t.Fatalf("%d of %d", n, left)
				}
				here[i] += n
				left -= n
			}
		}
	}
}

// TestFakeDevices: fake devices take no more of the day from a newcomer than they used. That holds for any donation, hour and
// earlier residents, with and without running sessions.
func TestFakeDevices(t *testing.T) {
	t.Parallel()
	for _, monthly := range []uint64{3e9, 10e9, 30e9, 200e9, math.MaxUint64} {
		for _, coming := range []float64{1, 0.8, 0.5, 0.2, 0} {
			for _, honest := range []int{0, 3, 8} {
				for _, made := range []struct {
					devices int
					used    uint64
				}{{150, 20e3}, {20_000, 0}} {
					s := Sharing{Left: monthly, Limit: 500e6, Expected: 10, DayFraction: coming}
					var had []uint64
					lost := 1.0 // what the fake devices left of what there was
					if monthly != math.MaxUint64 {
						s.DailyBudget = monthly / 30
						had = each(honest, min(s.Limit, s.DailyBudget/10))
						s.Left = LeftToday(s.DailyBudget, sum(had))
						lost = 1 - float64(made.devices)*float64(made.used)/float64(s.Left)
					}
					before := s.with(each(1, 0), had)
					want := float64(before.Remaining(0))
					if lost < 1 {
						s.Left = uint64(float64(s.Left) * lost)
					}
					for _, stay := range []bool{true, false} {
						here, gone := each(1, 0), slices.Clone(had)
						if fakes := each(made.devices, made.used); stay {
							here = append(here, fakes...)
						} else {
							gone = append(gone, fakes...)
						}
						after := s.with(here, gone)
						if got := float64(after.Remaining(0)); got < 0.95*lost*want || got > 1.05*want {
							t.Errorf("a donation of %d a month, %v of the day to come, %d honest residents before, %+v made up (here: %t): "+
								"a newcomer has %.0f bytes, %.0f without them", monthly, coming, honest, made, stay, got, want)
						}
						if people := after.Residents() - before.Residents(); people > 0.1 {
							t.Errorf("a donation of %d a month: %+v made up count as %.2f residents", monthly, made, people)
						}
					}
				}
			}
		}
	}
}

// TestResidents: a device that used a tenth of a share counts as one resident, however the share is found.
func TestResidents(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		s     Sharing
		tenth uint64
	}{
		{"by the limit", day(math.MaxUint64, 0, 500e6, 10), 50e6},
		{"by the limit of a large donation", day(1e12, 1e12, 500e6, 10), 50e6},
		{"by the budget", day(1, 100e6, 500e6, 10), 1e6},
		{"by the budget, without a limit", day(1, 100e6, 0, 10), 1e6},
		{"nothing known", day(math.MaxUint64, 0, 0, 10), assumedShare / 10},
	} {
		count := func(used ...uint64) float64 {
			s := c.s.with(used, nil)
			return s.Residents()
		}
		if n := count(c.tenth, 5*c.tenth, math.MaxUint64); n != 3 {
			t.Errorf("%s, three who used a tenth or more count as %v", c.name, n)
		}
		if n := count(c.tenth / 2); n < 0.2 || n > 0.5 {
			t.Errorf("%s, who used half a tenth counts as %v", c.name, n)
		}
		if n := count(each(1000, 0)...); n != 0 {
			t.Errorf("%s, a thousand who used nothing count as %v", c.name, n)
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
	// days returns days of use with these numbers of residents, each followed by a day on which nobody came.
	days := func(residents ...uint32) (all []Day) {
		for _, n := range residents {
			all = append(all, Day{Residents: n}, Day{})
		}
		return all
	}
	fortnight := []uint32{20, 21, 20, 21, 20, 21, 20, 21, 20, 21, 20, 21, 20, 21}
	for _, c := range []struct {
		name string
		days []Day
		want float64
	}{
		{"before the first day", nil, assumedResidents},
		{"after any first day", days(20_000), assumedResidents},
		{"after two days", days(30, 30), 20},
		{"after four days", days(30, 30, 30, 30), 30},
		{"after two weeks", days(append([]uint32{900}, fortnight...)...), 20.5},
		{"after an attack", days(append(fortnight, 20_000)...), 20.625},
		{"after three days of it", days(append(fortnight, 20_000, 20_000, 20_000)...), 20.75},
		{"after an empty day", days(append(fortnight, 1)...), 20.5},
	} {
		if got := Expected(c.days); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestOneBadDay: whatever the count of one day, the expectation lies within what the other days brought.
func TestOneBadDay(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		good := make([]uint32, 3+r.IntN(learnDays-3))
		var days []Day
		for i := range good {
			good[i] = 1 + uint32(poisson(r, 20))
			days = append(days, Day{Residents: good[i]})
		}
		days = slices.Insert(days, r.IntN(len(days)+1), Day{Residents: 1 + r.Uint32N(math.MaxUint32)})
		least, most := float64(slices.Min(good)), float64(slices.Max(good))
		if got := Expected(days); got < least || got > most {
			t.Fatalf("by %v %v are expected", days, got)
		}
	}
}

func TestRation(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 200e9, Rate: 25e6})
	s := d.round()
	if want := s.Left / 21; s.DailyBudget != want { // the 10th to the 30th
		t.Errorf("a day may use %d, not %d", s.DailyBudget, want)
	}
	d.use(1e6)
	if again := d.round(); again.DailyBudget != s.DailyBudget {
		t.Errorf("when some is used, today's budget becomes %d from %d", again.DailyBudget, s.DailyBudget)
	}
	d.reading.Now = d.reading.Now.AddDate(0, 0, 20)
	if s := d.round(); s.DailyBudget != s.Left {
		t.Errorf("the last day may use %d of %d", s.DailyBudget, s.Left)
	}
}

// TestMonth: with first come, first served, a donation that is too small is gone long before the month is over. With fair shares it
// lasts, and fewer residents leave with next to nothing.
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
