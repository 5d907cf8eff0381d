package main

import (
	"bytes"
	"testing"

	"passerelle/appliance/fleet/updates"
	"passerelle/appliance/state"
)

func TestDescribeUpdates(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		updates state.Updates
		want    string
	}{
		{state.Updates{}, "releases: the slots have not been read yet\n  they come on a USB stick only: no address is configured\n"},
		{
			state.Updates{Read: true, From: "releases.example.org", Auto: true},
			"releases: a system that is none of the releases it has seen is running\n",
		},
		{
			state.Updates{Read: true, Version: "2026.1", Newest: "2026.1", Current: true, From: "releases.example.org", Auto: true},
			"releases: 2026.1 is running\n  that is the newest one\n",
		},
		{
			state.Updates{Read: true, Version: "2026.1", Newest: "2026.2", Done: 150e6, Size: 190e6, From: "a.example", Auto: true, Code: "failed", Error: "the server answers 503"},
			"releases: 2026.1 is running\n  release 2026.2: 150MB of 190MB are in their place\n  the last attempt failed: the server answers 503\n",
		},
		{
			state.Updates{Read: true, Version: "2026.1", Other: "2026.2", Ready: true, Starts: string(updates.Residents), From: "a.example", Auto: true},
			"releases: 2026.1 is running, 2026.2 is in the other slot\n  release 2026.2 is ready; it is not started now: residents are online\n",
		},
		{
			state.Updates{Read: true, Version: "2026.1", Other: "2026.2", Ready: true, From: "a.example", Auto: true},
			"releases: 2026.1 is running, 2026.2 is in the other slot\n  release 2026.2 is ready, and about to be started\n",
		},
		{
			state.Updates{Read: true, Version: "2026.1", Other: "2026.2", Ready: true, From: "a.example"},
			"releases: 2026.1 is running, 2026.2 is in the other slot\n  release 2026.2 is ready; to start it: passerelle slot other\n",
		},
		{
			state.Updates{Read: true, Version: "2026.1", Other: "2026.2", FellBack: "2026.2", FellBackWhy: "the portal does not answer", From: "a.example"},
			"releases: 2026.1 is running, 2026.2 is in the other slot\n  the box went back from release 2026.2: the portal does not answer\n",
		},
		{
			state.Updates{Read: true, Version: "2026.1", FellBack: "?", From: "a.example"},
			"releases: 2026.1 is running\n  the box went back from the other system: it never started\n",
		},
	} {
		var b bytes.Buffer
		if describeUpdates(&b, x.updates); b.String() != x.want {
			t.Errorf("of %+v it says\n%swant\n%s", x.updates, b.String(), x.want)
		}
	}
}
