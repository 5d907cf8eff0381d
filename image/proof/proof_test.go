package proof

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"passerelle/appliance/health"
	"passerelle/appliance/state"
	"passerelle/image/slot"
	"passerelle/image/update"
)

// onTrial returns the Prover of a box that booted slot b for the first of its tries.
func onTrial(t *testing.T, works func(context.Context) error) (p Prover, log *strings.Builder) {
	t.Helper()
	dir := t.TempDir()
	log = &strings.Builder{}
	start := time.Now()
	p = Prover{
		Card: slot.Card{Running: slot.B, Device: filepath.Join(dir, "card0")}, Note: filepath.Join(dir, "note.json"), State: dir,
		Works: works, Uptime: func() time.Duration { return time.Since(start) }, Ready: func(string) {},
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	if err := os.WriteFile(p.Card.Device, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Card.Update(func(s slot.State) slot.State { return s.Choose(slot.B, update.Tries).Boot() }); err != nil {
		t.Fatal(err)
	}
	return p, log
}

// noted returns the note that the prover wrote.
func noted(t *testing.T, p Prover) slot.Note {
	t.Helper()
	text, err := os.ReadFile(p.Note)
	if err != nil {
		t.Fatal(err)
	}
	n, err := slot.ReadNote(os.DirFS(machine(t, string(text))))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// machine returns a folder with /proc and /run of a machine that booted slot b and has a note.
func machine(t *testing.T, note string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"proc/cmdline": "passerelle.slot=b", slot.NotePath[1:]: note} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestReasons checks that a slot that does not prove itself leaves the reason, in words and as a code, and is not marked good. A
// slot that proves itself is marked good, and leaves nothing.
func TestReasons(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		works func(at time.Duration) error
		code  state.TrialReason
		why   string
	}{
		"never answers": {func(time.Duration) error { return fs.ErrNotExist }, state.TrialSilent, "file does not exist"},
		"a plan that fails": {func(time.Duration) error {
			return health.Proves(state.Status{State: state.Fault, Why: "hostapd keeps ending"})
		},
			state.TrialFault, "the box is in state fault: hostapd keeps ending"},
		"never a plan": {func(time.Duration) error { return health.Proves(state.Status{State: state.Starting, Why: "soon"}) },
			state.TrialStarts, "the box is in state starting: soon"},
		"works": {func(time.Duration) error { return nil }, "", ""},
		"not at first": {func(at time.Duration) error {
			if at < time.Minute {
				return errors.New("not yet")
			}
			return nil
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				p, _ := onTrial(t, func(context.Context) error { return x.works(time.Since(start)) })
				err := p.Run(t.Context())
				if (err != nil) != (x.code != "") {
					t.Errorf("the trial ends with %v", err)
				}
				got, readErr := update.ReadTrial(p.State)
				if want := (update.Trial{Slot: slot.B, Why: x.why, Code: string(x.code)}); got != want || readErr != nil {
					t.Errorf("it leaves %+v, %v, want %+v", got, readErr, want)
				}
				if n := noted(t, p); n.Proven() != (x.code == "") {
					t.Errorf("the note is %+v", n)
				}
			})
		})
	}
}

// TestNothingOnTrial checks that a good slot is not judged, and that no reason is written.
func TestNothingOnTrial(t *testing.T) {
	t.Parallel()
	p, _ := onTrial(t, func(context.Context) error { panic("it is asked") })
	p.Card.Running = slot.A // slot b was chosen meanwhile
	if err := p.Run(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(p.State, "trial.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a trial is left: %v", err)
	}
}

// TestMarkGood checks that a card that cannot be written does not restart the box, and that the slot is marked good once it can.
func TestMarkGood(t *testing.T) {
	t.Parallel()
	p, log := onTrial(t, nil)
	device := p.Card.Device
	p.Card.Device += "-away"
	ended, end := context.WithCancel(t.Context())
	end()
	if err := p.markGood(ended); err != nil || !strings.Contains(log.String(), "cannot be written") {
		t.Errorf("%v, log %q", err, log)
	}
	p.Card.Device = device
	if err := p.markGood(t.Context()); err != nil {
		t.Error(err)
	}
	want := slot.State{Serial: 20, Slot: slot.B, Good: slot.B}
	if s, _, err := p.Card.Read(); err != nil || s != want {
		t.Errorf("the card has %+v, %v, want %+v", s, err, want)
	}
	if n := noted(t, p); !n.Proven() {
		t.Errorf("the note is %+v", n)
	}
}
