package gate_test

import (
	"regexp"
	"strings"
	"testing"

	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// adaptive returns the plan that shares the first lender's connection, with totals that may fall to a twentieth.
func (l *lab) adaptive() netctl.Plan {
	p := l.sharing(0)
	for i := range p.Shapers {
		p.Shapers[i].Floor = p.Shapers[i].Total / 20
	}
	return p
}

// classRates returns the rates of the class of a device's total, and those of the leaves, as tc shows them.
func (l *lab) classRates(t *testing.T, device string) (total string, leaves []string) {
	t.Helper()
	shown := regexp.MustCompile(`class htb 7a5:(\w+) .*?(rate \S+ ceil \S+)`)
	for line := range strings.Lines(l.sh(t, "tc class show dev "+device)) {
		if m := shown.FindStringSubmatch(line); m != nil && m[1] == "ffff" {
			total = m[2]
		} else if m != nil {
			leaves = append(leaves, m[1]+" "+m[2])
		}
	}
	return total, leaves
}

// TestSetRate: only a total changes, within its bounds, and an Apply keeps it until the line changes.
func TestSetRate(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 1, Uplinks: 2})
	l.config.Donations[0].Download, l.config.Donations[0].Upload = 20e6, 10e6
	l.config.Donations[1].Download = 20e6
	must(t, l.gate.SetRate("wlan0", 1e6)) // nothing is shaped yet
	l.apply(t, l.adaptive())
	l.authorize(t, 0)
	total, leaves := l.classRates(t, "wlan0")
	queues := l.sh(t, "tc qdisc show dev wlan0") // a replaced queue has another number
	if want := "rate 20Mbit ceil 20Mbit"; total != want {
		t.Errorf("the total begins with %q, want %q", total, want)
	}
	for _, c := range []struct {
		rate uint64
		want string
	}{{7e6, "7Mbit"}, {1, "1Mbit"}, {1e9, "20Mbit"}, {9e6, "9Mbit"}} {
		must(t, l.gate.SetRate("wlan0", c.rate))
		got, now := l.classRates(t, "wlan0")
		if want := "rate " + c.want + " ceil " + c.want; got != want {
			t.Errorf("at %d the total has %q, want %q", c.rate, got, want)
		}
		if a, b := strings.Join(leaves, "\n"), strings.Join(now, "\n"); a != b {
			t.Errorf("at %d the leaves changed from\n%s\nto\n%s", c.rate, a, b)
		}
		if now := l.sh(t, "tc qdisc show dev wlan0"); now != queues {
			t.Errorf("at %d the queues changed from\n%s\nto\n%s", c.rate, queues, now)
		}
	}
	if changes := l.apply(t, l.adaptive()); len(changes) != 0 {
		t.Errorf("an unchanged plan changed %q", changes)
	}
	l.sh(t, "tc class change dev wlan0 parent 7a5: classid 7a5:ffff htb rate 3mbit ceil 3mbit")
	must(t, l.gate.SetRate("wlan0", 9e6))
	if got, _ := l.classRates(t, "wlan0"); got != "rate 9Mbit ceil 9Mbit" {
		t.Errorf("after another program changed it, the total has %q", got)
	}
	must(t, l.gate.SetRate("nothing", 1e6))
	// A fixed total does not change.
	l.apply(t, l.sharing(1))
	must(t, l.gate.SetRate("wlan0", 5e6))
	if got, _ := l.classRates(t, "wlan0"); got != "rate 20Mbit ceil 20Mbit" {
		t.Errorf("the total of another line has %q", got)
	}
	// A line that went away and came back does not keep its old rate.
	l.apply(t, l.adaptive())
	if got, _ := l.classRates(t, "wlan0"); got != "rate 20Mbit ceil 20Mbit" {
		t.Errorf("the total of the first line has %q afterwards", got)
	}
}

// TestSetRateUnderLoad: transfers continue at the rate that was set, and ShaperLoad shows what is queued.
func TestSetRateUnderLoad(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 2, NoOffload: true})
	l.config.Donations[0].Download, l.config.Donations[0].Upload = 40e6, 10e6
	l.apply(t, l.adaptive())
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: l.adaptive().Cap, Bytes: netctl.Unlimited}))
	l.authorize(t, 0)
	l.authorize(t, 1)
	if n := ok(l.gate.ShaperLoad("wlan0"))(t).Backlog; n != 0 {
		t.Errorf("%d bytes wait on an idle line", n)
	}
	if n := ok(l.gate.ShaperLoad("nothing"))(t); n != (netctl.ShaperLoad{}) {
		t.Errorf("a device without queues has %+v", n)
	}
	must(t, l.gate.SetRate("wlan0", 6e6))
	x := ok(l.bulk(0, 4, true).Start(t.Context()))(t)
	waitFor(t, "packets that wait", func() bool { return ok(l.gate.ShaperLoad("wlan0"))(t).Backlog > 10_000 })
	must(t, l.gate.SetRate("wlan0", 2e6))
	if n := ok(l.gate.ShaperLoad("wlan0"))(t).Backlog; n < 5000 {
		t.Errorf("after another rate %d bytes wait", n)
	}
	must(t, l.gate.SetRate("wlan0", 6e6))
	must(t, x.Stop())
	before := ok(l.gate.ShaperLoad("wlan0"))(t).Sent
	r := rates(t, l.bulk(0, 4, true), l.bulk(1, 1, true))
	within(t, "the total", r[0]+r[1], 6e6)
	const measured = 3 // seconds
	if sent := float64(ok(l.gate.ShaperLoad("wlan0"))(t).Sent - before); sent < (r[0]+r[1])*measured/8 {
		t.Errorf("%.0f bytes were sent, of which residents received %.0f", sent, (r[0]+r[1])*measured/8)
	}
	must(t, l.gate.SetRate("wlan0", 20e6))
	r = rates(t, l.bulk(0, 4, true), l.bulk(1, 1, true))
	within(t, "the total", r[0]+r[1], 20e6)
}
