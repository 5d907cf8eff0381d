package months

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/state"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string) *Months {
	t.Helper()
	m, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestCounts: time, sessions and lessons count for the month and the donation that they belong to, and are read back from the file.
func TestCounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := open(t, dir)
	s := Sample{Now: noon, Trusted: true, Shared: "Fibre", Sessions: 100, Lessons: 7}
	m.Add(s) // what was before the first sample does not count: it is unknown when that was
	step := func(passed time.Duration, change func()) (over bool) {
		s.Now = s.Now.Add(passed)
		if change != nil {
			change()
		}
		return m.Add(s)
	}
	step(time.Minute, func() { s.Sessions, s.Lessons = 103, 9 })
	step(time.Minute, func() { s.Shared = "4G" })                  // the donation changed: no time counts
	step(time.Minute, func() { s.Sessions = 2 })                   // the daemon was restarted
	step(time.Hour, nil)                                           // the machine was suspended
	step(time.Minute, func() { s.Shared = "" })                    // nothing is shared
	step(time.Minute, func() { s.Trusted, s.Lessons = false, 20 }) // the time is not trusted
	step(time.Minute, func() { s.Trusted = true })
	if !step(12*time.Hour, func() { s.Shared, s.Lessons = "Fibre", 21 }) {
		t.Error("a month is over, and nobody says so")
	}
	step(-time.Hour, nil) // the clock is set back: no time counts, and no month appears twice
	want := []Month{
		{"2026-11", map[string]Loan{"Fibre": {60, 3}, "4G": {60 + 120, 2}}, 2},
		{"2026-12", nil, 1},
	}
	if diff := cmp.Diff(want, m.All()); diff != "" {
		t.Error(diff)
	}
	if err := m.Save(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, open(t, dir).All()); diff != "" {
		t.Errorf("from the file: %s", diff)
	}
}

// TestBounds: the numbers of months and loans are limited, whatever happens to the clock and to the names.
func TestBounds(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir())
	for n := range 100 {
		for i := range 2 * keepLoans {
			m.Add(Sample{Now: noon.AddDate(0, n-n%2*3, 0), Trusted: true, Shared: string(rune('A' + i)), Sessions: uint64(n*1000 + i)})
		}
	}
	all := m.All()
	if len(all) != KeepMonths {
		t.Errorf("%d months", len(all))
	}
	for i, x := range all {
		if len(x.Loans) > keepLoans || i > 0 && x.Month <= all[i-1].Month {
			t.Errorf("%s has %d loans", x.Month, len(x.Loans))
		}
	}
}

// TestWatch: it saves every hour and at the end. Nothing is lost while the disk fails.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "counts")
		if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the folder should be
			t.Fatal(err)
		}
		m, _ := Open(dir)
		failed := 0
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			status := state.Status{State: state.Sharing, Clock: state.Clock{Trusted: true}, Donations: []state.Donation{{Name: "Fibre", Chosen: true}}}
			m.Watch(ctx, func() Sample { return SampleOf(status, time.Now(), 0) }, func(error) { failed++ })
		}()
		time.Sleep(saving + time.Second)
		synctest.Wait()
		if failed != 1 {
			t.Errorf("the disk failed %d times", failed)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		all := open(t, dir).All()
		if len(all) == 0 || all[0].Loans["Fibre"].Seconds < 3500 || all[0].Loans["Fibre"].Seconds > 3700 {
			t.Errorf("kept are %+v", all)
		}
	})
}
