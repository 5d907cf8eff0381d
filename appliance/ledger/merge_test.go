package ledger

import (
	"testing"
	"time"
)

// TestJoin: an account that could not be read for a while continues with what was used before and meanwhile.
func TestJoin(t *testing.T) {
	t.Parallel()
	const before, meanwhile = 300e6, 5e6
	november := time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC)
	december := time.Date(2026, 12, 3, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		period   string
		lost     bool        // the earlier account was lost itself
		days     []time.Time // on which the line carried something meanwhile
		untimed  bool        // the time was not known on those days
		from, to uint64      // what counts as used then
		isLost   bool
	}{
		"in the same month":      {"month", false, []time.Time{november}, false, before + meanwhile, before + meanwhile + 20e6, false},
		"with an unknown time":   {"month", false, []time.Time{november}, true, before + meanwhile, before + meanwhile + 20e6, false},
		"lost before that":       {"month", true, []time.Time{november}, false, before + meanwhile, before + meanwhile + 20e6, true},
		"in the month after":     {"month", false, []time.Time{december}, false, meanwhile, meanwhile + 20e6, false},
		"from month to month":    {"month", false, []time.Time{november, december}, false, meanwhile, meanwhile + 1e6, false},
		"of what is lent once":   {"once", false, []time.Time{november, december}, false, before + 2*meanwhile, before + 2*meanwhile + 20e6, false},
		"of what nobody touched": {"month", false, nil, false, before, before + 20e6, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := Policy{Cap: 2e9, Rate: 25e6, Period: test.period, Resets: 1}
			d := newDesk(t, policy)
			for range 100 {
				d.use(before / 100)
				d.round()
			}
			earlier := d.disk.clone()
			earlier.Lost = test.lost

			lost := LostRecord()
			d.disk = &lost
			d.powerCut()
			for _, day := range test.days {
				d.reading.Now, d.reading.Trusted = day, !test.untimed
				d.round()
				d.reading.Counter.Bytes += meanwhile
				d.round()
			}
			if s := d.account.Balance(d.policy); len(test.days) == 1 && (!s.Lost || !s.Spent) {
				t.Errorf("meanwhile it is %+v", s)
			}
			if len(test.days) > 0 {
				r, _ := d.account.Final(d.policy)
				d.disk = &r
			}
			d.reading.Tranches = nil

			joined := Merge(earlier, *d.disk)
			d.account = Open(&joined, nil)
			d.reading.Trusted = true
			s := d.round()
			if s.Used < test.from || s.Used > test.to || s.Lost != test.isLost || s.Spent != test.isLost {
				t.Errorf("then it is %+v, with %.1f MB used; want %.1f to %.1f MB, lost %t", s, float64(s.Used)/1e6,
					float64(test.from)/1e6, float64(test.to)/1e6, test.isLost)
			}
		})
	}
}

// TestJoinDays: the day on which one account replaced the other has the sums of both.
func TestJoinDays(t *testing.T) {
	t.Parallel()
	day := Day{Date: 20261122, Bytes: 5, Residents: 2}
	later := Day{Date: 20261123, Bytes: 7, Residents: 1}
	for _, test := range []struct{ earlier, present, want Day }{
		{day, Day{Date: day.Date, Bytes: 1, Residents: 1}, Day{Date: day.Date, Bytes: 6, Residents: 3}},
		{day, later, later},
		{day, Day{Bytes: 1}, Day{Date: day.Date, Bytes: 6, Residents: 2}},
	} {
		if got := Merge(Record{Today: test.earlier}, Record{Today: test.present}).Today; got != test.want {
			t.Errorf("%+v and %+v make %+v, want %+v", test.earlier, test.present, got, test.want)
		}
	}
	if j := Merge(Record{LastID: 9, tranches: []tranche{{general, 9, 2, 1}}}, Record{LastID: 3}); j.LastID != 9 || len(j.tranches) > 0 {
		t.Errorf("tranches that the kernel no longer has: %+v", j)
	}
}
