package ledger

import (
	"math"
	"math/rand/v2"
)

// Month is a simulated month in which residents share a donation.
type Month struct {
	Cap       uint64  // bytes of the donation
	Days      int     // that the cap must last
	Residents float64 // who come each day, on average
	Typical   uint64  // bytes: half of the residents want less
	Spread    float64 // sigma of the log-normal distribution of what residents want: 0: all alike, 1.5: a few want most
	Limit     uint64  // bytes a resident may use in a day, 0: no limit
}

// MonthDay is the outcome of a simulated day.
type MonthDay struct {
	Residents int
	Wanted    uint64 // bytes
	Given     uint64
	Short     int // residents who got less than half of the typical wish, though they wanted more
}

// Simulate plays the month, with fair shares or first come, first served. Residents come one after the other, and each at once uses
// what he wants and may use. The same source of randomness brings the same residents.
func (m Month) Simulate(r *rand.Rand, fair bool) []MonthDay {
	left := m.Cap
	var sums []Day
	out := make([]MonthDay, m.Days)
	for i := range out {
		d := &out[i]
		d.Residents = poisson(r, m.Residents)
		ration := DailyBudget(left, 0, m.Days-i)
		expected := Expected(sums)
		today := Sharing{DailyBudget: ration, Limit: m.Limit, Expected: expected, DayFraction: 1}
		for range d.Residents {
			want := uint64(min(float64(m.Typical)*math.Exp(m.Spread*r.NormFloat64()), 1e15))
			may := min(left, want)
			if m.Limit != 0 {
				may = min(may, m.Limit)
			}
			if fair {
				s := today // earlier residents are gone
				s.Left = min(LeftToday(ration, d.Given), left)
				may = min(may, s.Remaining(0))
			}
			today.Count(may, false)
			d.Wanted += want
			d.Given += may
			left -= may
			if may < want && may < m.Typical/2 {
				d.Short++
			}
		}
		sums = append(sums, Day{Date: Date(i + 1), Bytes: d.Given, Residents: uint32(math.Round(today.Residents()))})
	}
	return out
}

// poisson returns a number with the given mean (Knuth's method, in steps that don't underflow).
func poisson(r *rand.Rand, mean float64) (n int) {
	for ; mean > 30; mean -= 30 {
		n += poisson(r, 30)
	}
	for p := r.Float64(); p > math.Exp(-mean); p *= r.Float64() {
		n++
	}
	return n
}
