package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/fleet/command"
	"passerelle/appliance/state"
)

// obeyingBox records what it was asked for.
type obeyingBox struct {
	conf  *config.Config
	clock state.Clock
	did   []command.Action
	fails error
}

func (b *obeyingBox) Obey(_ context.Context, a command.Action, _ string) (command.Verdict, error) {
	b.did = append(b.did, a)
	return command.Done, b.fails
}
func (b *obeyingBox) Status() state.Status    { return state.Status{Clock: b.clock} }
func (b *obeyingBox) Written() *config.Config { return b.conf }

// TestCommands: a command is carried out once, also after a restart. One that could not be recorded is not carried out. The status
// shows the list.
func TestCommands(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	dir, ctx := t.TempDir(), t.Context()
	b := &obeyingBox{conf: &config.Config{Fleet: config.Fleet{Hubs: []string{"un.flotte.fr"}}}, clock: state.Clock{Now: now, Trusted: true}}
	searches := 0
	open := func() *commands { return newCommands(dir, b, func() { searches++ }) }
	c := open()
	asks := func(id string, a command.Action, expires time.Time, want command.Verdict) {
		t.Helper()
		text := fmt.Appendf(nil, `{"id":"command-%s","action":%q,"expires":%q,"by":"Samira"}`, id, a, expires.Format(time.RFC3339))
		v, err := c.take(ctx, text)
		if v != want || (err != nil) != (want == command.Failed || want == "") {
			t.Errorf("%s %s: %s, %v, want %s", id, a, v, err, want)
		}
	}
	soon := now.Add(time.Hour)
	asks("1", command.Pause, soon, command.Done)
	asks("1", command.Pause, soon, command.Seen)
	c = open()
	asks("1", command.Resume, soon, command.Seen)
	asks("2", command.Resume, now, command.Expired)
	asks("3", command.Diagnose, soon, command.Done)
	b.clock.Trusted = false
	asks("4", command.Resume, soon, command.Undated)
	b.clock.Trusted = true
	b.fails = errors.New("the kernel refuses")
	asks("4", command.Resume, soon, command.Failed)
	b.fails = nil
	if fmt.Sprint(b.did) != "[pause resume]" || searches != 1 {
		t.Errorf("did %v, %d searches", b.did, searches)
	}
	var s state.Status
	c.addTo(&s, time.UTC)
	var shown []string
	for _, x := range s.Commands {
		shown = append(shown, x.Action+" "+x.Verdict)
	}
	if got := fmt.Sprint(shown); got != "[resume failed diagnose done resume expired pause done]" || s.Commands[0].Why == "" {
		t.Errorf("shown: %s", got)
	}
	// Not a command, and a box in no fleet.
	if _, err := c.take(ctx, []byte(`{"action":"reboot"}`)); !errors.Is(err, control.ErrRefused) {
		t.Error(err)
	}
	b.conf.Fleet.Hubs = nil
	if _, err := c.take(ctx, []byte(`{"id":"command-9","action":"pause","expires":"2026-12-01T11:00:00Z","by":"x"}`)); !errors.Is(err, control.ErrRefused) {
		t.Error(err)
	}
	b.conf.Fleet.Hubs = []string{"un.flotte.fr"}
	// The list cannot be written: nothing is done.
	b.did = nil
	if err := os.Remove(c.file.Path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(c.file.Path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if v, err := c.take(ctx, []byte(`{"id":"command-9","action":"pause","expires":"2026-12-01T11:00:00Z","by":"x"}`)); err == nil || v == command.Done && len(b.did) > 0 {
		t.Errorf("%s, %v, did %v", v, err, b.did)
	}
}
