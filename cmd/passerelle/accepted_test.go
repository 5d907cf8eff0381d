package main

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestConfigurationRefused: a box with an invalid configuration uses the last one that it accepted, and reports that until the file is
// corrected. If there is none, residents get the pages, with the reason why nothing is shared.
func TestConfigurationRefused(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	r := b.scene.Residents[0]
	b.newcomer(r)
	b.stop()
	newer := settings{}.String() + "\nnew_key = 1\n"
	mustWrite(t, b.Config, strings.Replace(newer, "des Lilas", "des Roses", 1))

	const why = `:22: donation.new_key: unknown key; `
	refused := func(s state.Status) {
		t.Helper()
		if s.Centre != "Centre social des Lilas" || len(s.Problems) != 1 || !strings.Contains(s.Problems[0].String(), b.Config+why) {
			t.Errorf("%q: %q", s.Centre, s.Problems)
		}
		if out := b.mustDo("status"); strings.Count(out, "the configuration "+b.Config+" is refused: ") != 1 {
			t.Errorf("status does not say why, once:\n%s", out)
		}
		reply, err := r.Get(t.Context(), portal+"/healthz")
		if err != nil || reply.Status != http.StatusOK {
			t.Errorf("/healthz: %d, %v", reply.Status, err)
		}
	}
	refused(b.restart())
	b.waitOnline(r)
	b.signal(syscall.SIGHUP)
	wait(t, "the refusal of the same again", func() error {
		if !strings.Contains(b.Log(), "reload failed; keeping current configuration") {
			return errors.New("the log does not say so")
		}
		return nil
	})
	s, err := b.Status(b.t.Context())
	b.must(err)
	refused(s)
	if out, err := program("check", "--config", b.Config).CombinedOutput(); !strings.Contains(string(out), why) || err == nil {
		t.Errorf("check says %s, %v", out, err)
	}
	b.reload(settings{data: "400MB"})
	if s, err := b.Status(b.t.Context()); err != nil || len(s.Problems) > 0 || s.Residents.Data != 400e6 {
		t.Errorf("mended, it is %+v, %v", s, err)
	}
	b.stop()

	mustWrite(t, b.Config, newer)
	mustWrite(t, filepath.Join(b.State, "accepted", "last.toml"), newer)
	b.start()
	s = b.waitState(state.Setup)
	refused(s)
	if !strings.Contains(s.Why, "nothing is shared") {
		t.Errorf("why: %s", s.Why)
	}
	b.join(r)
	b.shows(r, "setup.title")
	b.blocked(r)
	b.configure(settings{})
	b.signal(syscall.SIGHUP)
	if s := b.waitState(state.Sharing); len(s.Problems) > 0 {
		t.Errorf("configured, its problems are %q", s.Problems)
	}
}
