package appliance

import (
	"errors"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
)

const fibre = "Fibre du centre"

// TestPausedUntilTomorrow: a lender's pause until tomorrow ends when the desk's does, at the next day's opening, also after a
// restart. If the time was not known, it ends on the day after the one on which it began, once the time is known.
func TestPausedUntilTomorrow(t *testing.T) {
	for name, trusted := range map[string]bool{"with the time": true, "without": false} {
		t.Run(name, func(t *testing.T) { testPausedUntilTomorrow(t, trusted) })
	}
}

func testPausedUntilTomorrow(t *testing.T, trusted bool) {
	withBox(t, 10, func(h *testBox) {
		h.start(strings.Replace(confText, "[hotspot]", "[centre]\nhours = \"Mo-Su 08:30-19:00\"\n[hotspot]", 1), h.stop())
		later := func(d time.Duration) {
			h.inLoop(func() { h.clock.off += d })
			h.settle()
		}
		opening := time.Date(2000, 1, 2, 7, 30, 0, 0, time.UTC) // in Paris
		if d, s := h.donation(), h.box.Status(); !d.Tomorrow.Equal(opening) || !s.Tomorrow.Equal(opening) {
			h.Errorf("it would end %s, the centre's %s, want %s", d.Tomorrow, s.Tomorrow, opening)
		}
		if !trusted {
			h.inLoop(func() { h.clock.by = "" })
			h.settle()
		}
		if err := h.box.PauseDonationUntilTomorrow(h.Context(), fibre, "its lender"); err != nil {
			h.Fatal(err)
		}
		d := h.donation()
		if d.PausedBy != "its lender" || d.PausedUntil.IsZero() == trusted || d.PausedDay == trusted || d.Tomorrow.IsZero() == trusted {
			h.Errorf("trusted %t: paused by %q until %s, with the day %t; tomorrow is %s", trusted, d.PausedBy, d.PausedUntil, d.PausedDay, d.Tomorrow)
		}
		if !trusted {
			later(50 * time.Hour) // a clock that is wrong
			if h.donation().PausedBy == "" {
				h.Fatal("the pause ended though nobody knew the time")
			}
			h.inLoop(func() { h.clock.by, h.clock.off = "NTP", 0 })
			h.settle()
		}
		if d = h.donation(); !d.PausedUntil.Equal(opening) {
			h.Fatalf("it ends at %s, want %s", d.PausedUntil, opening)
		}
		h.restart(confText)
		later(opening.Sub(h.box.Status().Clock.Now) - time.Minute)
		if h.donation().PausedBy == "" {
			h.Error("it ended before the opening")
		}
		later(2 * time.Minute)
		if d := h.donation(); d.PausedBy != "" || !d.PausedUntil.IsZero() {
			h.Errorf("then it is paused by %q until %s", d.PausedBy, d.PausedUntil)
		}
		h.restart(confText)
		if d := h.donation(); d.PausedBy != "" {
			h.Errorf("after a restart it is paused by %q", d.PausedBy)
		}
	})
}

// TestPauseWaitsForTheDisk: a pause whose end cannot be written goes on until it can.
func TestPauseWaitsForTheDisk(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		if err := h.box.PauseDonationUntilTomorrow(h.Context(), fibre, "its lender"); err != nil {
			h.Fatal(err)
		}
		h.inLoop(func() { h.store.full = errors.New("no space left") })
		h.inLoop(func() { h.clock.off += 40 * time.Hour })
		h.settle()
		if h.donation().PausedBy == "" || !h.hasProblem(state.DiskFails, errors.New("no space left")) {
			h.Errorf("paused by %q, with %q", h.donation().PausedBy, h.box.Status().Problems)
		}
		h.inLoop(func() { h.store.full = nil })
		time.Sleep(2 * writeRetry)
		h.settle()
		if by := h.donation().PausedBy; by != "" {
			h.Errorf("paused by %q", by)
		}
	})
}

// TestLenderLowers: a provider's figure and a lower cap take effect at once, in the kernel too, and survive a power cut.
func TestLenderLowers(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.setCap("1GB")
		h.admit(anna)
		h.download(20e6)
		before := h.donation()
		if err := h.box.CountAtLeast(h.Context(), fibre, 10e6); err != nil {
			h.Fatal(err)
		}
		if d := h.donation(); d.Stated != 0 || d.Left < before.Left {
			h.Errorf("a smaller figure: %+v", d)
		}
		if err := h.box.CountAtLeast(h.Context(), fibre, 700e6); err != nil {
			h.Fatal(err)
		}
		d := h.donation()
		if d.Used+d.Stated != 700e6 || d.Left > 300e6 || d.Used != before.Used {
			h.Errorf("a larger figure: %+v", d)
		}
		if err := h.box.LowerThisPeriod(h.Context(), fibre, 800e6); err != nil {
			h.Fatal(err)
		}
		if d = h.donation(); d.Lowered != 200e6 || d.Left > 100e6 || d.Spent {
			h.Errorf("lowered: %+v", d)
		}
		if passed := h.download(400e6); passed > 100e6 || passed < 50e6 {
			h.Errorf("%d bytes pass then", passed)
		}
		if r := h.record(); r.Stated == 0 || r.Lowered != 200e6 {
			h.Errorf("on disk is %+v", r)
		}
		if err := h.box.LowerThisPeriod(h.Context(), "Mairie", 1); !errors.Is(err, state.ErrNoDonation) {
			h.Errorf("an unknown donation: %v", err)
		}
	})
}

// TestLoweredOnAFullDisk: a lender's change takes effect even if it cannot be written, and the lender gets an error.
func TestLoweredOnAFullDisk(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.setCap("1GB")
		full := errors.New("no space left")
		h.inLoop(func() { h.store.full = full })
		if err := h.box.LowerThisPeriod(h.Context(), fibre, 100e6); !errors.Is(err, full) {
			h.Errorf("the error is %v", err)
		}
		h.inLoop(func() { h.store.full = nil })
		time.Sleep(2 * writeRetry)
		h.settle()
		if d, r := h.donation(), h.record(); d.Lowered != 900e6 || r.Lowered != 900e6 || d.Left > 100e6 {
			h.Errorf("then %+v, on disk %+v", d, r)
		}
	})
}

// TestLentOfAClosedLoan: what a donation carried is still known after it is removed from the configuration.
func TestLentOfAClosedLoan(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.setCap("1GB")
		h.admit(anna)
		h.download(20e6)
		if _, ok := h.box.Lent(h.Context(), "Mairie"); ok {
			h.Error("an unknown donation is known")
		}
		other := h.config(strings.Replace(confText, fibre, "Mairie", 1))
		if _, err := h.box.Reconfigure(h.Context(), other); err != nil {
			h.Fatal(err)
		}
		days, ok := h.box.Lent(h.Context(), fibre)
		if !ok || len(days) != 1 || days[0].Bytes < 20e6 {
			h.Errorf("it gave %v, %t", days, ok)
		}
	})
}

// TestSessionsStarted: a new session counts once, and one that continues does not count.
func TestSessionsStarted(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		h.admit(anna)
		h.admit(bilo)
		if err := h.box.End(h.Context(), bilo); err != nil {
			h.Fatal(err)
		}
		h.admit(bilo)
		h.settle()
		if n := h.box.Status().Residents.Started; n != 3 {
			h.Errorf("%d sessions began", n)
		}
	})
}

// TestLenderStopsInUse: when a loan that residents are using is removed from the configuration, their sessions continue over another
// one, and what the loan carried stays known.
func TestLenderStopsInUse(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		head, _, _ := strings.Cut(strings.Replace(confText, "500MB", "0", 1), "[[donation]]")
		phone := "[[donation]]\nname = \"Élise\"\ninterface = \"eth1\"\ncap = \"1GB\"\nperiod = \"once\"\npriority = 1\n"
		fibre := "[[donation]]\nname = \"Fibre\"\ninterface = \"eth0\"\ncap = \"100GB\"\npriority = 2\n"
		reload := func(text string) {
			h.Helper()
			if _, err := h.box.Reconfigure(h.Context(), h.config(head+text)); err != nil {
				h.Fatal(err)
			}
			h.settle()
		}
		reload(phone + fibre)
		if d := h.donation(); d.Name != "Élise" || !d.Chosen {
			h.Fatalf("in use is %+v", h.box.Status().Donations)
		}
		h.admit(anna)
		before, _ := h.box.Session(anna)
		if passed := h.download(20e6); passed < 20e6 {
			h.Fatalf("%d bytes pass", passed)
		}
		reload(fibre)
		h.state(state.Sharing)
		if s := h.box.Status(); len(s.Donations) != 1 || !s.Donations[0].Chosen {
			h.Errorf("after the stop: %+v", s.Donations)
		}
		if now, ok := h.box.Session(anna); !ok || now.Left > before.Left || now.Left < before.Left-time.Hour/2 {
			h.Errorf("the session is %+v, %t, and was %+v", now, ok, before)
		}
		if passed := h.kernel.Pass(anna, 1e6); passed != 1e6 {
			h.Errorf("%d bytes pass by the other line", passed)
		}
		if days, ok := h.box.Lent(h.Context(), "Élise"); !ok || len(days) == 0 || days[0].Bytes < 20e6 {
			h.Errorf("what it carried: %v, %t", days, ok)
		}
	})
}
