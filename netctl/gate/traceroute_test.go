package gate_test

import (
	"slices"
	"strings"
	"testing"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// TestTraceroute checks that a captive device sees the box as the only hop, with every kind of probe, and never the destination. An
// authorized device sees the real path.
func TestTraceroute(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "traceroute")
	probes := [][]string{{}, {"-U", "-p", "443"}, {"-I"}, {"-T", "-p", "443"}, {"-T", "-p", "80"}}
	l := newLab(t, netlab.Options{Residents: 1 + len(probes)})
	// hops returns which address answered a resident at each hop, "*" for none.
	hops := func(k int, words ...string) (all []string) {
		t.Helper()
		words = append([]string{"traceroute", "-n", "-q", "1", "-N", "1", "-m", "4", netlab.WebAddr.String()}, words...)
		out, err := l.Residents[k].Run(t.Context(), words...)
		must(t, err)
		for line := range strings.Lines(out) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] != "traceroute" {
				all = append(all, fields[1])
			}
		}
		return all
	}
	box := boxAddress.Addr().String()
	// One traceroute for each resident: the kernel sends a resident two such errors at once, and then one every two seconds.
	held := func() {
		t.Helper()
		for k, words := range probes {
			if got := hops(1+k, words...); !slices.Equal(got, []string{box}) {
				t.Errorf("by %q the hops are %q", words, got)
			}
		}
	}
	l.apply(t, l.paused())
	held()
	l.share(t)
	held()
	l.authorize(t, 0)
	for _, words := range [][]string{{"-I"}, {"-T", "-p", "80"}} {
		if got := hops(0, words...); len(got) != 3 || got[0] != box || got[2] != netlab.WebAddr.String() {
			t.Errorf("by %q of an authorized resident the hops are %q", words, got)
		}
	}
}
