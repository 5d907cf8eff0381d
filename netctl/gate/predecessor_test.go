package gate_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// oldNames are the names of chains and sets in an earlier release, by their current names.
var oldNames = map[string]string{
	"PAS-NAT-NEW": "PAS-FIRST", "PAS-MASQ": "PAS-LEAVE", "PAS-CHARGED": "PAS-PAID", "PAS-UNCHARGED": "PAS-UNPAID",
	"PAS-ISOLATE": "PAS-APART", "PAS-SPOOF": "PAS-STRAY", "PAS-DROP6": "PAS-NONE", "PAS-REJECT": "PAS-REFUSE",
	"PAS-PREROUTING": "PAS-PRE", "PAS-SAVED": "PAS-BEFORE", "PAS-INPUT": "PAS-IN",
	"pas-clients": "pas-who", "pas-accounting": "pas-class", "pas-usage": "pas-day",
}

var usageEntry = regexp.MustCompile(`(?m)^add pas-.*\n`)

// TestPredecessor checks that a gate removes the rules and sets of an earlier release, which had other names. The tranches continue
// with what was left of them, and the machine's own settings are restored when the gate closes. That day's usage is lost.
func TestPredecessor(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 1, Uplinks: 2})
	kernel := &realKernel{lab: l, t: t}
	initial := kernel.String()
	l.config.Donations[0].Cap = 1e9
	l.config.Limits.Data = 500e6
	p := l.sharing(0)
	l.apply(t, p)
	l.authorize(t, 0)
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 100_500}))
	if n := l.flood(t, 0, 40); n != 40 {
		t.Fatalf("%d packets of 40 passed", n)
	}
	must(t, l.gate.End(address(0)))
	l.apply(t, p)
	state := func() string { return usageEntry.ReplaceAllString(kernel.String(), "") }
	want := state()

	script := `set -e
iptables-save -c >$d/4; ip6tables-save -c >$d/6
nft flush ruleset
`
	rename := "sed -i"
	for now, old := range oldNames {
		rename += " -e 's/\\b" + now + "\\b/" + old + "/g'"
		if strings.HasPrefix(now, netctl.SetPrefix) {
			script += "until ipset rename " + now + " " + old + "; do sleep 0.01; done\n"
		}
	}
	script = "d=" + t.TempDir() + "\n" + script + rename + " $d/4 $d/6\niptables-restore -c <$d/4; ip6tables-restore -c <$d/6\n"
	l.sh(t, script)
	if state() == want {
		t.Fatal("the earlier release's state equals the current one")
	}

	l.gate = l.newGate(t)
	l.apply(t, p)
	l.apply(t, p)
	if got := state(); got != want {
		t.Errorf("the kernel differs from one without a predecessor:\n%s", cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
	}
	tranches := ok(l.gate.ReadCounters())(t).Tranches
	if len(tranches) != 1 || tranches[0].ID != 1 || tranches[0].Used != 40_000 {
		t.Errorf("tranches %+v, want one of which 40000 bytes are used", tranches)
	}
	l.authorize(t, 0)
	if n := l.flood(t, 0, 100); n != 60 {
		t.Errorf("%d packets passed, want the 60 that were left", n)
	}
	must(t, l.gate.Close(t.Context()))
	if got := kernel.String(); got != initial {
		t.Errorf("after the gate closed:\n%s", cmp.Diff(strings.Split(initial, "\n"), strings.Split(got, "\n")))
	}
}
