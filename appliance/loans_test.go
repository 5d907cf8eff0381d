package appliance

import (
	"errors"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
)

const fibre = "Fibre du centre"

// TestPausedUntilTomorrow: a lender's pause until tomorrow ends at midnight, also after a restart, and not while the clock is
// not trusted.
func TestPausedUntilTomorrow(t *testing.T) {
	for name, trusted := range map[string]bool{"with the time": true, "without": false} {
		t.Run(name, func(t *testing.T) { testPausedUntilTomorrow(t, trusted) })
	}
}

func testPausedUntilTomorrow(t *testing.T, trusted bool) {
	withBox(t, 10, func(h *testBox) {
		later := func(d time.Duration) {
			h.inLoop(func() { h.clock.off += d })
			h.settle()
		}
		if !trusted {
			h.inLoop(func() { h.clock.by = "" })
			h.settle()
		}
		if err := h.box.PauseDonationUntilTomorrow(h.Context(), fibre, "its lender"); err != nil {
			h.Fatal(err)
		}
		d := h.donation()
		if d.PausedBy != "its lender" || d.PausedUntil.IsZero() == trusted || d.PausedDay == trusted {
			h.Errorf("trusted %t: paused by %q until %s, with the day %t", trusted, d.PausedBy, d.PausedUntil, d.PausedDay)
		}
		h.restart(confText)
		if !trusted {
			later(50 * time.Hour)
			if h.donation().PausedBy == "" {
				h.Fatal("the pause ended though nobody knew the time")
			}
			h.inLoop(func() { h.clock.by = "NTP" })
			h.settle()
			d = h.donation()
		}
		midnight := d.PausedUntil.Sub(h.box.Status().Clock.Now)
		if midnight <= 0 || midnight > 25*time.Hour {
			h.Fatalf("it ends at %s", d.PausedUntil)
		}
		later(midnight - time.Minute)
		if h.donation().PausedBy == "" {
			h.Error("it ended before midnight")
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
		h.inLoop(func() { h.clock.off += 25 * time.Hour })
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

// TestLenderLowers: a provider's figure and a lower cap hold at once, in the kernel too, and after a power cut.
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

// TestLoweredOnAFullDisk: what a lender said holds though it cannot be written, and the lender hears of it.
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

// TestLentOfAClosedLoan: what a donation gave is known after it left the configuration.
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

// TestSessionsStarted: a new session counts once, and one that goes on does not.
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
