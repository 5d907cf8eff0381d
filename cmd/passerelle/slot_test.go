package main

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/state"
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
