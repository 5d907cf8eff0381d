package daemon

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/config"
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
	status := r.status
	r.status = func() state.Status { t.Error("a box in no fleet has its status read"); return s }
	passes(time.Minute, 3)
	r.status = status
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

// What one fleet's hub has shown of a day is told to the next fleet too.
func TestReportsOfNextFleet(t *testing.T) {
	t.Parallel()
	r := newReporter(t.TempDir(), "v0.4.2")
	s := state.Status{State: state.Sharing, Clock: state.Clock{Trusted: true, Now: time.Date(2026, 12, 1, 22, 0, 0, 0, time.UTC)}}
	r.status, r.member, r.failed = func() state.Status { return s }, func() bool { return true }, func(err error) { t.Error(err) }
	r.observe(time.Minute)
	first := r.pending()
	if len(first) != 1 {
		t.Fatalf("%v is pending", first)
	}
	r.shown(first[0])
	if left := r.pending(); len(left) != 0 {
		t.Errorf("%v is pending, and was shown", left)
	}
	r.leave()
	if again := r.pending(); !cmp.Equal(again, first) {
		t.Errorf("after it left, %v is pending, want %v", again, first)
	}
}

// A box that went back from a release, or knows more of it, tells it at once, and so does one that has only just started; what is not yet
// a day is not told. With it go the languages that it shows.
func TestReportsNews(t *testing.T) {
	t.Parallel()
	news := 0
	s := state.Status{State: state.Starting, Clock: state.Clock{Now: time.Date(2026, 12, 1, 22, 0, 0, 0, time.UTC), Trusted: true}, Updates: &state.Updates{}}
	r := newReporter(t.TempDir(), "v0.4.2")
	r.status, r.member, r.news = func() state.Status { return s }, func() bool { return true }, func() { news++ }
	r.failed = func(err error) { t.Error(err) }
	r.shows = func() []report.Language { return offered(config.Factory()) }
	step := func(when string, known bool, want int, fell *report.Fell) {
		t.Helper()
		news = 0
		if got := r.observe(time.Second); got != known || news != want {
			t.Errorf("%s: all is known: %t, and %d times news, want %t and %d", when, got, news, known, want)
		}
		if r.day == "" {
			return
		}
		text, err := r.days.Text("2026-12-01")
		if err != nil {
			t.Fatal(err)
		}
		x, err := report.Parse(text)
		if diff := cmp.Diff(fell, x.Fell); err != nil || diff != "" || len(x.Languages) == 0 {
			t.Errorf("%s: %v, languages %+v, fell (-want +got):\n%s", when, err, x.Languages, diff)
		}
	}
	step("while it starts", false, 0, nil)
	s.State = state.Sharing
	step("at first", true, 1, nil)
	step("a second later", true, 0, nil)
	s.Updates.FellBack = "?"
	step("it went back", false, 1, &report.Fell{Why: report.Unknown})
	s.Updates.FellBack, s.Updates.FellBackCode, s.Updates.Read = "0.5.0", state.TrialNames, true
	step("it knows from what", true, 1, &report.Fell{Version: "0.5.0", Why: "names"})
	step("nothing new", true, 0, &report.Fell{Version: "0.5.0", Why: "names"})
	s.Updates.FellBack, s.Updates.FellBackCode = "", ""
	step("another one takes its place", true, 1, nil)
}

// Every language that a box can show is one that a report can have.
func TestLanguagesOfReports(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir("../../captive/web/words")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d languages, %v", len(files), err)
	}
	for _, f := range files {
		if code, found := strings.CutSuffix(f.Name(), ".toml"); found && !slices.Contains(report.LanguageCodes, report.Word(code)) {
			t.Errorf("a report has no language %s", code)
		}
	}
}
