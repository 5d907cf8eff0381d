package guest_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/image/vm/guest"
	"passerelle/netctl/netlab"
	"passerelle/testdata"
)

var vm = flag.Bool("vm", false, "run the tests that need the virtual machine; fail if they cannot run")

// needMachine skips the test unless the flag -vm is given. With the flag, a test fails if the machine lacks something that it needs.
func needMachine(t *testing.T) {
	t.Helper()
	if !*vm {
		t.Skip("needs the virtual machine: run it with `make test-vm`")
	}
}

// patience returns a context with a timeout for something that the test waits for. Emulated machines are slow.
func patience(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// closeWorld closes a world at the test's end, and fails it if anything is left behind.
func closeWorld(t *testing.T, w *netlab.World) {
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// newStation adds a resident's phone to a world. The phone's MAC is made from its number, which differs among worlds that run at the
// same time.
func newStation(t *testing.T, w *netlab.World, number byte) *guest.Station {
	t.Helper()
	s, err := guest.AddStation(patience(t, time.Minute), w, fmt.Sprintf("station%d", number), stationMAC(number))
	must(t, err)
	t.Cleanup(func() {
		if err := s.Leave(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// stationMAC returns a locally administered address.
func stationMAC(number byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, number} }

// startBox starts the daemon on the box of a scene, with its uplink and more lines of configuration, and waits until it shares.
func startBox(t *testing.T, s *netlab.Scene, more string) *guest.Box {
	t.Helper()
	b := startBoxOn(t, s, `
[[donation]]
name = "Fibre du centre"
interface = "eth0"
download = "40mbit"
upload = "20mbit"
cap = "0"
`+more)
	waitState(t, b, state.Sharing)
	return b
}

// startBoxOn starts the daemon on the box of a scene, on the veth hotspot, with more lines of configuration.
func startBoxOn(t *testing.T, s *netlab.Scene, more string) *guest.Box {
	t.Helper()
	return startConfigured(t, s, wired(netlab.HotspotInterface, more))
}

// startConfigured starts the daemon on the box of a scene with a configuration, "" for none.
func startConfigured(t *testing.T, s *netlab.Scene, configuration string) *guest.Box {
	t.Helper()
	b, err := guest.StartBox(patience(t, 2*time.Minute), s.Box, configuration)
	must(t, err)
	stops(t, b)
	return b
}

// stops stops the daemon at the test's end, and shows its output if the test failed.
func stops(t *testing.T, b *guest.Box) {
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the daemon wrote:\n%s", b.Log())
		}
	})
}

// wired returns a configuration whose hotspot is an existing network, with more lines.
func wired(hotspot, more string) string {
	head, _, _ := strings.Cut(testdata.Box, "[[donation]]")
	return strings.Replace(head, "wlan0", hotspot, 1) + more
}

// waitState waits until the box is in a State.
func waitState(t *testing.T, b *guest.Box, want state.State) state.Status {
	t.Helper()
	s, err := b.WaitFor(patience(t, time.Minute), "it is "+string(want), func(s state.Status) bool {
		return s.State == want
	})
	must(t, err)
	return s
}
