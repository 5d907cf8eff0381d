package guest_test

import (
	"testing"
	"time"

	"passerelle/appliance/decide"
	"passerelle/hw"
	"passerelle/netctl/netlab"
	"passerelle/vm/guest"
)

// TestBox: the box on a wired hotspot. Its queues are this kernel's fair ones, its light shows what it does, its button
// asks for what the hold says, through the kernel's character device, and the watchdog hears that it works.
func TestBox(t *testing.T) {
	needMachine(t)
	chip, err := guest.NewChip("panel", 8)
	must(t, err)
	t.Cleanup(func() {
		if err := chip.Close(); err != nil {
			t.Error(err)
		}
	})
	scene, err := netlab.Standard(patience(t, time.Minute), netlab.Options{Name: "box"})
	must(t, err)
	closeWorld(t, scene.World)
	light, button := chip.Light(2), chip.Button(5)
	box := startBox(t, scene, `
[hw]
led = "panel 2 high"
button = "panel 5 low"
watchdog = "/dev/watchdog0"
`)
	shows := func(t *testing.T, s decide.State) {
		t.Helper()
		waitState(t, box, s)
		waitMatch(t, light, hw.States[s], 15*time.Second)
		waitState(t, box, s)
	}
	hold := func(t *testing.T, d time.Duration) {
		t.Helper()
		must(t, button.Hold(patience(t, time.Minute), d))
	}

	t.Run("shares with fair queues", func(t *testing.T) {
		shows(t, decide.Sharing)
		s, err := box.Status(patience(t, 10*time.Second))
		must(t, err)
		if s.Hotspot.Queue != "fq_codel" {
			t.Errorf("residents' queues are %q", s.Hotspot.Queue)
		}
	})
	t.Run("a press pauses and another resumes", func(t *testing.T) {
		hold(t, 300*time.Millisecond)
		shows(t, decide.Paused)
		hold(t, 300*time.Millisecond)
		shows(t, decide.Sharing)
	})
	t.Run("five seconds open the window for technicians, and close it", func(t *testing.T) {
		hold(t, 6*time.Second)
		shows(t, decide.Setup)
		if s, err := box.Status(patience(t, 10*time.Second)); err != nil || s.Setup == nil {
			t.Errorf("status says nothing of the window: %v", err)
		}
		hold(t, 6*time.Second)
		shows(t, decide.Sharing)
	})
	t.Run("a contact that bounces is one press", func(t *testing.T) {
		must(t, button.Bounce(20*time.Millisecond, true))
		must(t, button.Hold(t.Context(), 300*time.Millisecond))
		must(t, button.Bounce(20*time.Millisecond, false))
		shows(t, decide.Paused)
		hold(t, 300*time.Millisecond)
		shows(t, decide.Sharing)
	})
	t.Run("a line that fails shows", func(t *testing.T) {
		must(t, scene.Lenders[0].LAN.Cut())
		shows(t, decide.Offline)
		must(t, scene.Lenders[0].LAN.Mend())
		must(t, scene.Lenders[0].Configure())
		shows(t, decide.Sharing)
	})
	t.Run("a stuck button asks for nothing", func(t *testing.T) {
		must(t, button.Set(true))
		// Held, the light promises what letting go would do; stuck, it shows the State again.
		waitMatch(t, light, hw.Holds[hw.Nothing], 20*time.Second)
		waitMatch(t, light, hw.States[decide.Sharing], 45*time.Second)
		must(t, button.Set(false))
		s, err := box.Status(patience(t, 10*time.Second))
		must(t, err)
		if s.State != decide.Sharing || s.Setup != nil {
			t.Errorf("it is %s: %s", s.State, s.Why)
		}
		hold(t, 300*time.Millisecond)
		shows(t, decide.Paused)
	})
	t.Run("the watchdog has heard of it, and ends with it", func(t *testing.T) {
		ctx := patience(t, 30*time.Second)
		if state, err := guest.Watchdog(ctx); err != nil || state != "active" {
			t.Errorf("the watchdog is %q: %v", state, err)
		}
		must(t, box.Stop())
		if state, err := guest.Watchdog(ctx); err != nil || state != "inactive" {
			t.Errorf("without the daemon the watchdog is %q: %v", state, err)
		}
	})
}

// slack is how much too long or too short a stretch of light may be on an emulated machine. Patterns differ by more:
// TestMatchTellsPatternsApart.
const slack = 80 * time.Millisecond

// waitMatch waits until the light shows a pattern.
func waitMatch(t *testing.T, l *guest.Light, p hw.Pattern, limit time.Duration) {
	t.Helper()
	must(t, l.Await(patience(t, limit), p, slack))
}
