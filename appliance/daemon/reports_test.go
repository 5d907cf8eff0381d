package daemon

import (
	"testing"
	"time"

	"passerelle/appliance/fleet/report"
	"passerelle/appliance/state"
)

// A day's report has what began on that day, whatever restarts meanwhile. Without a fleet nothing is kept, and without a clock nothing
// is told of any day.
func TestReports(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Date(2026, 12, 1, 22, 0, 0, 0, time.UTC)
	s := state.Status{State: state.Sharing, Clock: state.Clock{Trusted: true}}
	member := true
	start := func() *reporter {
		r := newReporter(dir, "v0.4.2")
		r.status = func() state.Status { s.Clock.Now = now; return s }
		r.member, r.failed = func() bool { return member }, func(err error) { t.Error(err) }
		return r
	}
	r := start()
	kept := func(day report.Day, sessions, refused report.Count) {
		t.Helper()
		text, err := r.days.Text(day)
		if err != nil {
			t.Error(err)
			return
		}
		x, err := report.Parse(text)
		if err != nil || x.Sessions != sessions || x.Refused != refused {
			t.Errorf("%s: %+v, %v, want %d sessions and %d refused", day, x, err, sessions, refused)
		}
	}
	passes := func(d time.Duration, began uint64) {
		now = now.Add(d)
		s.Residents.Started += began
		s.Residents.Refused.Busy += began
		r.observe(d)
	}
	member = false
	passes(time.Minute, 3)
	s.Clock.Trusted, member = false, true
	passes(time.Minute, 3)
	if days, err := r.days.List(); err != nil || days != nil {
		t.Fatalf("%v, %v", days, err)
	}
	s.Clock.Trusted = true
	passes(time.Minute, 10)
	kept("2026-12-01", 10, 10) // those before are of no day
	passes(time.Minute, 10)
	kept("2026-12-01", 10, 10)
	passes(time.Hour, 0)
	kept("2026-12-01", 20, 20)
	r.keep(s) // it ends
	r = start()
	s.Residents = state.Residents{}
	passes(time.Minute, 7)
	kept("2026-12-01", 27, 27)
	passes(2*time.Hour, 6) // midnight
	kept("2026-12-01", 27, 27)
	kept("2026-12-02", 6, 6)
	// The clock was ahead, and is set back: the day that was reported stays, and goes on when it comes.
	now = now.AddDate(0, 0, -1)
	passes(time.Hour, 5)
	kept("2026-12-01", 27, 27)
	kept("2026-12-02", 11, 11)
}
