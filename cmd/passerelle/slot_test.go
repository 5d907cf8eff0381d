package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/state"
	"passerelle/image/slot"
	"passerelle/image/update"
)

func TestDescribeSlots(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		slots state.Slots
		want  string
	}{
		{state.Slots{Running: "a", Good: "a", Next: "a"}, "slot a is running, and has proved itself\n"},
		{state.Slots{Running: "a", Good: "a", Next: "b", Tries: 1}, "slot a is running, and has proved itself\n" +
			"  at the next restart the box boots slot b, 1 more time, and then slot a unless b has proved itself\n"},
		{state.Slots{Running: "b", Good: "a", Next: "b"}, "slot b is running, and is on trial; slot a was the last to prove itself\n" +
			"  at the next restart the box goes back to slot a, unless b has proved itself by then\n"},
		{state.Slots{Running: "b", Good: "a", Next: "a"}, "slot b is running, and is on trial; slot a was the last to prove itself\n" +
			"  at the next restart the box boots slot a\n"},
		{state.Slots{Running: "a", Good: "a", Next: "a", Failed: "b"}, "slot a is running, and has proved itself\n" +
			"  slot b was tried and did not work: the box went back by itself\n"},
		{state.Slots{Running: "b"}, "slot b is running, and counts as on trial: the state of the slots cannot be read\n"},
	} {
		var b bytes.Buffer
		describeSlots(&b, c.slots)
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.slots, diff)
		}
	}
}

// TestMarkGood: the running slot is good once the card has it, and a card that cannot be written does not restart the box.
func TestMarkGood(t *testing.T) {
	t.Parallel()
	c := slot.Card{Running: slot.B, Device: filepath.Join(t.TempDir(), "card0")}
	var log strings.Builder
	var told []slot.State
	mark := func(ctx context.Context) {
		t.Helper()
		if err := markGood(ctx, slog.New(slog.NewTextHandler(&log, nil)), c, func(s slot.State) { told = append(told, s) }); err != nil {
			t.Error(err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if mark(ended); told != nil || !strings.Contains(log.String(), "cannot be written") {
		t.Errorf("told %+v, log %q", told, &log)
	}
	if err := os.WriteFile(c.Device, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Update(func(s slot.State) slot.State { return s.Choose(slot.B, update.Tries) }); err != nil {
		t.Fatal(err)
	}
	mark(t.Context())
	want := slot.State{Serial: 20, Slot: slot.B, Good: slot.B}
	if s, _, err := c.Read(); err != nil || s != want || !cmp.Equal(told, []slot.State{want}) {
		t.Errorf("the card has %+v, told %+v, %v", s, told, err)
	}
}
