package appliance

import (
	"testing"

	"passerelle/appliance/fleet/command"
	"passerelle/appliance/state"
)

// obey gives the box a command of the fleet.
func (h *testBox) obey(a command.Action, want command.Verdict) {
	h.Helper()
	if v, err := h.box.Obey(h.Context(), a, "Samira"); err != nil || v != want {
		h.Errorf("%s: %s, %v, want %s", a, v, err, want)
	}
}

// TestObey: the fleet pauses and resumes unless people at the box have decided. They can end the fleet's pause, and the fleet cannot
// end theirs.
func TestObey(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.start(fleetText, h.stop())
		h.state(state.Sharing)
		h.obey(command.Resume, command.Nothing)
		h.obey(command.Pause, command.Done)
		h.state(state.Paused)
		if by := h.box.Status().PausedBy; by != "the fleet: Samira" {
			t.Errorf("paused by %q", by)
		}
		h.obey(command.Pause, command.Nothing)
		h.obey(command.Resume, command.Done)
		h.state(state.Sharing)
		// Staff end the fleet's pause.
		h.obey(command.Pause, command.Done)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(h.box.Resume(h.Context()))
		h.state(state.Sharing)
		h.obey(command.Resume, command.Nothing)
		// The fleet neither ends a pause of theirs nor takes it over.
		for what, pause := range map[string]func() error{
			"a pause":             func() error { return h.box.Pause(h.Context(), "staff") },
			"one until tomorrow":  func() error { return h.box.PauseUntilTomorrow(h.Context(), "staff") },
			"one from the button": func() error { return h.box.TogglePause(h.Context(), "the button") },
		} {
			must(pause())
			by := h.box.Status().PausedBy
			h.obey(command.Pause, command.Yields)
			h.obey(command.Resume, command.Yields)
			h.state(state.Paused)
			if now := h.box.Status().PausedBy; now != by {
				t.Errorf("%s: paused by %q, then by %q", what, by, now)
			}
			must(h.box.Resume(h.Context()))
		}
		// Staff who pause again take over the fleet's pause: only they can end it then.
		h.obey(command.Pause, command.Done)
		must(h.box.Pause(h.Context(), "staff"))
		h.obey(command.Resume, command.Yields)
		must(h.box.Resume(h.Context()))
		// The daemon is killed: it is still the fleet's pause.
		h.obey(command.Pause, command.Done)
		h.inLoop(func() { h.gate.dead = true })
		h.stop()
		h.start(fleetText, Handover{})
		h.state(state.Paused)
		h.obey(command.Resume, command.Done)
		// A box that leaves the fleet is not paused by it any more.
		h.obey(command.Pause, command.Done)
		h.reconfigure(alwaysText)
		h.state(state.Sharing)
	})
}
