package gate_test

import (
	"slices"
	"strings"
	"testing"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// TestTraceroute: to who is held the box is the first hop and the last, by every kind of probe, and whom they look for is
// never said to be there; who is admitted sees the way as it is.
func TestTraceroute(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "traceroute")
	probes := [][]string{{}, {"-U", "-p", "443"}, {"-I"}, {"-T", "-p", "443"}, {"-T", "-p", "80"}}
	l := newLab(t, netlab.Options{Residents: 1 + len(probes)})
	// hops returns who answered a resident at each hop, "*" for nobody.
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
	// Each looks in a way of its own: the kernel sends a resident two such errors at once, and then one in two seconds.
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
	l.admit(t, 0)
	for _, words := range [][]string{{"-I"}, {"-T", "-p", "80"}} {
		if got := hops(0, words...); len(got) != 3 || got[0] != box || got[2] != netlab.WebAddr.String() {
			t.Errorf("by %q of who is admitted the hops are %q", words, got)
		}
	}
}
