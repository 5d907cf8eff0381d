package guest_test

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/hw"
	"passerelle/image/vm/guest"
	"passerelle/netctl/netlab"
)

// TestBox tests the box on a wired hotspot, with the kernel in the state of a board that was just switched on. The queues are this
// kernel's fair queues. The light shows what the box does, and the button requests what the time of the hold says, through the
// kernel's GPIO character device.
func TestBox(t *testing.T) {
	needMachine(t)
	if _, err := guest.Parameter(trackedMost); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the kernel tracks connections before the box has it do so: this test must be the machine's first (%v)", err)
	}
	chip, err := guest.NewChip("panel", 8)
	must(t, err)
	t.Cleanup(func() {
		if err := chip.Close(); err != nil {
			t.Error(err)
		}
	})
	scene, err := netlab.Standard(patience(t, time.Minute), netlab.Options{Name: "box", Direct: true}) // without a masquerading router
	must(t, err)
	closeWorld(t, scene.World)
	light, button := chip.Light(2), chip.Button(5)
	box := startBox(t, scene, `
[hw]
led = "panel 2 high"
button = "panel 5 low"
`)
	shows := func(t *testing.T, s state.State) {
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
		shows(t, state.Sharing)
		s, err := box.Status(patience(t, 10*time.Second))
		must(t, err)
		if s.Hotspot.Queue != "fq_codel" {
			t.Errorf("residents' queues are %q", s.Hotspot.Queue)
		}
	})
	t.Run("a press pauses and another resumes, though its contact bounces", func(t *testing.T) {
		hold(t, 300*time.Millisecond)
		shows(t, state.Paused)
		must(t, button.Bounce(20*time.Millisecond, true))
		hold(t, 300*time.Millisecond)
		must(t, button.Bounce(20*time.Millisecond, false))
		shows(t, state.Sharing)
	})
	t.Run("a stuck button asks for nothing, and a line that fails shows", func(t *testing.T) {
		must(t, button.Set(true))
		// While the button is held, the light shows what a release would do. When the button is stuck, it shows the State again.
		waitMatch(t, light, hw.Holds[hw.Nothing], 20*time.Second)
		must(t, scene.Lenders[0].LAN.Cut())
		waitMatch(t, light, hw.States[state.Offline], 45*time.Second)
		must(t, scene.Lenders[0].LAN.Restore())
		must(t, scene.Lenders[0].Configure())
		waitState(t, box, state.Sharing)
		must(t, button.Set(false))
		shows(t, state.Sharing)
	})
	t.Run("five seconds open the window for technicians", func(t *testing.T) {
		must(t, button.Set(true))
		waitMatch(t, light, hw.Holds[hw.Setup], 14*time.Second)
		must(t, button.Set(false))
		shows(t, state.Setup)
		if s, err := box.Status(patience(t, 10*time.Second)); err != nil || s.Setup.IsZero() {
			t.Errorf("status says nothing of the window: %v", err)
		}
	})
}

// slack is by how much an interval of the light may be too long or too short on an emulated machine. Patterns differ by more, as
// TestMatchTellsPatternsApart checks.
const slack = 80 * time.Millisecond

// waitMatch waits until the light shows a pattern.
func waitMatch(t *testing.T, l *guest.Light, p hw.Pattern, limit time.Duration) {
	t.Helper()
	must(t, l.Await(patience(t, limit), p, slack))
}
