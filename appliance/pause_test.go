package appliance

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/appliance/clock"
	"passerelle/appliance/hours"
	"passerelle/appliance/state"
	"passerelle/testdata"
)

// TestNextDay: a pause until the next day ends at the desk's opening, otherwise at the loans' first opening, otherwise at six, and not
// before a loan is open. A lender's pause considers only the lender's own loan.
func TestNextDay(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		x, err := time.ParseInLocation("2006-01-02 15:04", text, zone)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for _, c := range []struct {
		desk  string
		loans []string // "" for one without hours
		began string
		want  string
	}{
		{"", []string{""}, "2026-11-27 17:00", "2026-11-28 06:00"},
		{"", nil, "2026-11-27 17:00", "2026-11-28 06:00"},
		{"", []string{"Mo-Fr 08:30-19:00"}, "2026-11-26 17:00", "2026-11-27 08:30"},
		{"", []string{"Mo-Fr 08:30-19:00"}, "2026-11-27 17:00", "2026-11-30 08:30"},                   // a Friday
		{"", []string{"Mo-Fr 08:30-19:00", "Sa 10:00-12:00"}, "2026-11-27 17:00", "2026-11-28 10:00"}, // the first one
		{"", []string{"Mo-Fr 08:30-19:00", ""}, "2026-11-27 17:00", "2026-11-28 06:00"},               // one has no hours
		{"Mo-Fr 09:00-12:00,14:00-18:00", []string{""}, "2026-11-26 10:00", "2026-11-27 09:00"},       // the desk's
		{"Mo-Fr 09:00-12:00", []string{"Mo-Su 07:00-22:00"}, "2026-11-26 10:00", "2026-11-27 09:00"},  // before the loans'
		{"24/7", []string{"Mo-Su 07:00-22:00"}, "2026-11-26 10:00", "2026-11-27 07:00"},               // it never opens
		{"", []string{"Mo-Su 00:00-20:00,21:00-24:00"}, "2026-11-26 10:00", "2026-11-27 06:00"},       // open at midnight
		{"", []string{"Mo-Su 18:00-02:00"}, "2026-11-26 20:00", "2026-11-27 18:00"},                   // the night before
		{"", []string{"Mo-Su 00:00-04:00"}, "2026-11-26 20:00", "2026-11-27 00:00"},                   // opens with the day
		{"2026 Nov 01 09:00-10:00", []string{""}, "2026-11-26 20:00", "2026-11-27 06:00"},             // it opens no more
		{"", []string{""}, "2026-11-27 00:00", "2026-11-28 06:00"},                                    // a day's first moment
		{"", []string{""}, "2026-11-27 23:59", "2026-11-28 06:00"},                                    // and its last
		{"", []string{""}, "2026-10-24 12:00", "2026-10-25 06:00"},                                    // the clock is put back
		{"", []string{""}, "2026-12-31 12:00", "2027-01-01 06:00"},                                    // the year ends
		{"Mo-Fr 09:00-12:00; PH off", []string{""}, "2026-12-24 12:00", "2026-12-28 09:00"},           // a holiday
		{"Mo-Fr 09:00-12:00", []string{"Mo-Fr 10:00-19:00"}, "2026-11-26 10:00", "2026-11-27 10:00"},  // the desk is there before
		{"Mo-Fr 09:00-12:00", []string{"Mo-Fr 10:00-19:00", "Mo-Fr 08:00-20:00"}, "2026-11-26 10:00", "2026-11-27 09:00"},
		{"Mo-Fr 09:00-12:00", []string{"Sa 10:00-12:00"}, "2026-11-26 10:00", "2026-11-28 10:00"},
		{"Mo-Fr 09:00-12:00", []string{"2026 Nov 01 09:00-10:00"}, "2026-11-26 10:00", "2026-11-27 09:00"}, // it opens no more
		{"", []string{"Mo-Su 02:30-05:00"}, "2027-03-27 12:00", "2027-03-28 03:00"},                        // that hour is left out
		{"", []string{"Mo-Su 03:30-05:00"}, "2026-10-24 12:00", "2026-10-25 03:30"},                        // the clock is put back
		{"Mo-Su 08:30-19:00", []string{""}, "2027-03-27 23:59", "2027-03-28 08:30"},                        // the clock is put forward
	} {
		parse := func(text string) *hours.Schedule {
			if text == "" {
				return nil
			}
			s, err := hours.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		var loans []*hours.Schedule
		for _, l := range c.loans {
			loans = append(loans, parse(l))
		}
		if got, want := nextDay(at(c.began), parse(c.desk), loans...), at(c.want); !got.Equal(want) {
			t.Errorf("desk %q, loans %q: from %s until %s, want %s", c.desk, c.loans, c.began, got.Format("2006-01-02 15:04"), c.want)
		}
	}
}

// alwaysText is a configuration without hours.
var alwaysText = testdata.Box

// untilTomorrow pauses.
func (h *testBox) untilTomorrow() {
	h.Helper()
	if err := h.box.PauseUntilTomorrow(h.Context(), "staff"); err != nil {
		h.Fatal(err)
	}
	h.state(state.Paused)
}

// passes lets time pass, in which the box reconciles several times.
func (h *testBox) passes(d time.Duration) {
	h.Helper()
	h.inLoop(func() { h.clock.off += d })
	h.settle()
}

// clockIs sets the clock, and who confirmed it.
func (h *testBox) clockIs(by string, off time.Duration) {
	h.Helper()
	h.inLoop(func() { h.clock.by, h.clock.off = by, off })
}

// diskIs sets the error of the disk.
func (h *testBox) diskIs(err error) {
	h.Helper()
	h.inLoop(func() { h.pauseFull = err })
}

// onDisk is the stored pause.
func (h *testBox) onDisk() (p Pause) {
	h.Helper()
	h.inLoop(func() { p = h.pause })
	return p
}

// now is the time of day.
func (h *testBox) now() time.Time { return time.Now().Add(h.clock.off) }

// crash kills the daemon and starts it again. A power cut also loses what is in memory.
func (h *testBox) crash(powerCut bool) {
	h.Helper()
	h.inLoop(func() { h.gate.dead = true })
	h.stop()
	if powerCut {
		h.saved, h.boot = RuntimeState{}, h.boot+"+"
	}
	h.start(alwaysText, Handover{})
}

// TestPauseEndsNextDay: a pause lasts until six on the next day, across kills, stops and power cuts, and ends automatically, once.
func TestPauseEndsNextDay(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.start(alwaysText, h.stop())
		h.state(state.Sharing)
		h.untilTomorrow()
		s := h.box.Status()
		six := time.Date(2000, 1, 2, 5, 0, 0, 0, time.UTC) // in Paris
		if !s.PauseEnds || !s.PausedUntil.Equal(six) || !s.Tomorrow.Equal(six) || s.PausedBy != "staff" || !strings.Contains(s.Why, "staff, until Sun 2 Jan 06:00") {
			t.Errorf("the status: %+v", s)
		}
		for what, again := range map[string]func(){
			"kill":      func() { h.crash(false) },
			"power cut": func() { h.crash(true) },
			"stop":      func() { h.start(alwaysText, h.stop()) },
		} {
			again()
			h.state(state.Paused)
			if s := h.box.Status(); !s.PausedUntil.Equal(six) || s.PausedBy != "staff" {
				t.Errorf("after a %s: %+v", what, s)
			}
		}
		h.passes(six.Sub(h.now()) - time.Minute)
		h.state(state.Paused)
		h.passes(time.Minute)
		h.state(state.Sharing)
		if p := h.onDisk(); p != (Pause{}) {
			t.Errorf("kept after its end: %+v", p)
		}
		h.crash(true)
		h.state(state.Sharing)
	})
}

// TestPauseEndsWhileOff: a box that had no power when the pause ended shares once it knows the time.
func TestPauseEndsWhileOff(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.start(alwaysText, h.stop())
		h.untilTomorrow()
		h.inLoop(func() { h.gate.dead = true })
		h.stop()
		time.Sleep(48 * time.Hour)
		h.saved, h.boot = RuntimeState{}, "second"
		h.clock.by, h.clock.off = "", -30*24*time.Hour // a board without a battery
		h.start(alwaysText, Handover{})
		h.state(state.Paused)
		h.clockIs(clock.ByServer, 0)
		h.state(state.Sharing)
	})
}

// TestPauseUnderWrongClock: no pause ends while the clock is not trusted, whatever it shows. Once it is trusted, the pause ends on the
// day after the one on which it began.
func TestPauseUnderWrongClock(t *testing.T) {
	for name, c := range map[string]struct {
		off  time.Duration // of the clock while nobody trusts it
		kill bool
	}{
		"behind": {off: -400 * 24 * time.Hour}, "ahead": {off: 400 * 24 * time.Hour}, "right": {},
		"ahead, and killed": {off: 400 * 24 * time.Hour, kill: true}, "right, and killed": {kill: true},
	} {
		t.Run(name, func(t *testing.T) {
			withBox(t, 23, func(h *testBox) {
				before := h.stop()
				h.clock.by, h.clock.off = "", c.off
				h.start(alwaysText, before)
				h.untilTomorrow()
				if s := h.box.Status(); !s.PauseEnds || !s.PausedUntil.IsZero() || !s.Tomorrow.IsZero() {
					t.Errorf("it has a time under that clock: %+v", s)
				}
				time.Sleep(65 * time.Minute) // past midnight
				if c.kill {
					h.crash(false)
				}
				h.state(state.Paused)
				h.clockIs("", 0) // set, but not trusted
				h.state(state.Paused)
				h.clockIs(clock.ByServer, 0)
				h.state(state.Paused)
				want := time.Date(2000, 1, 2, 5, 0, 0, 0, time.UTC)
				if c.kill { // the new daemon does not know when the pause began
					want = want.AddDate(0, 0, 1)
				}
				if s := h.box.Status(); !s.PausedUntil.Equal(want) {
					t.Errorf("until %v, want %v", s.PausedUntil, want)
				}
				h.clockIs("", 400*24*time.Hour) // somebody sets it far ahead
				h.state(state.Paused)
				h.clockIs(clock.ByServer, 0)
				h.passes(want.Sub(h.now()) - time.Minute)
				h.state(state.Paused)
				h.passes(time.Minute)
				h.state(state.Sharing)
			})
		})
	}
}

// TestPauseIsReplaced: resume, the button and a plain pause each replace a pause until tomorrow, also across a power cut. Of two
// people who press at the same time, both get what they pressed for.
func TestPauseIsReplaced(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.start(alwaysText, h.stop())
		for _, c := range []struct {
			press func() error
			then  state.State
			off   state.State // after a power cut
		}{
			{func() error { return h.box.Resume(h.Context()) }, state.Sharing, state.Sharing},
			{func() error { return h.box.TogglePause(h.Context(), "the button") }, state.Sharing, state.Sharing},
			{func() error { return h.box.Pause(h.Context(), "a technician") }, state.Paused, state.Sharing},
			{func() error { return h.box.PauseUntilTomorrow(h.Context(), "a technician") }, state.Paused, state.Paused},
		} {
			h.untilTomorrow()
			if err := c.press(); err != nil {
				t.Fatal(err)
			}
			h.state(c.then)
			h.crash(true)
			h.state(c.off)
			if err := h.box.Resume(h.Context()); err != nil {
				t.Fatal(err)
			}
		}
		both := make(chan error, 2)
		for range 2 {
			go func() { both <- h.box.PauseUntilTomorrow(h.Context(), "staff") }()
		}
		if err := errors.Join(<-both, <-both); err != nil {
			t.Error(err)
		}
		h.state(state.Paused)
	})
}

// TestPauseOnFullDisk: a pause until tomorrow that cannot be stored is refused, and changes nothing. Resume works anyway, and is
// stored once the disk works again.
func TestPauseOnFullDisk(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.start(alwaysText, h.stop())
		h.diskIs(syscall.ENOSPC)
		if err := h.box.PauseUntilTomorrow(h.Context(), "staff"); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("on a full disk: %v", err)
		}
		h.state(state.Sharing)
		h.diskIs(nil)
		h.untilTomorrow()
		h.diskIs(syscall.EROFS)
		if err := h.box.Resume(h.Context()); err != nil {
			t.Error(err)
		}
		h.state(state.Sharing)
		if !h.hasProblem(state.DiskFails, syscall.EROFS) {
			t.Errorf("the problems: %+v", h.box.Status().Problems)
		}
		h.diskIs(nil)
		h.settle()
		if p := h.onDisk(); p != (Pause{}) {
			t.Errorf("the disk still has %+v", p)
		}
	})
}
