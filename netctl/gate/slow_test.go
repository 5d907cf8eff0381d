package gate_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// slowLab is a lab with a slow lane of 128 kbit/s and the first lender's connection.
func slowLab(t *testing.T, o netlab.Options) *lab {
	t.Helper()
	l := newLab(t, o)
	l.config.Limits.Download, l.config.Limits.Upload = 8e6, 4e6
	l.config.Limits.Data, l.config.Limits.After = 500e6, 128e3
	l.config.Donations[0].Download, l.config.Donations[0].Upload = 20e6, 10e6
	l.share(t)
	return l
}

// lane returns the minor of the k-th resident's slow lane.
func lane(k int) uint32 {
	return netctl.MinorSlowLanes + netctl.AddrOffset(boxAddress, address(k))
}

// sent returns the bytes that a class has sent.
func (l *lab) sent(t *testing.T, device string, minor uint32) uint64 {
	t.Helper()
	show := fmt.Sprintf("tc -s class show dev %s classid %x:%x", device, netctl.HTBMajor, minor)
	m := regexp.MustCompile(`Sent (\d+) bytes`).FindStringSubmatch(l.sh(t, show))
	if m == nil {
		t.Fatalf("no such class: %s", show)
	}
	return ok(strconv.ParseUint(m[1], 10, 64))(t)
}

// TestSlowLane: the kernel alone, without another call of the gate, moves a session whose data is used up to its lane. Its connections
// continue, many of them get no more than one, nobody takes from another one's lane, and residents with data left keep their own rate.
func TestSlowLane(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]netlab.Options{
		"offload": {Residents: 4}, "frames": {Residents: 4, NoOffload: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := slowLab(t, o)
			for k := range 3 {
				s := l.session(k)
				s.Data = 300_000
				must(t, l.gate.Authorize(s))
			}
			l.authorize(t, 3)
			var transfers []*netlab.Transfer
			for _, b := range []netlab.Bulk{l.bulk(0, 1, true), l.bulk(1, 16, true), l.bulk(2, 1, false), l.bulk(3, 1, true)} {
				x := ok(b.Start(t.Context()))(t)
				transfers = append(transfers, x)
				defer x.Stop()
			}
			sent := func() []uint64 {
				return []uint64{l.sent(t, "wlan0", lane(0)), l.sent(t, "wlan0", lane(1)), l.sent(t, "eth0", lane(2))}
			}
			// A connection that falls from 8 Mbit/s to its lane loses most of what is on its way, and first repeats that.
			waitFor(t, "that all are in the lane", func() bool { return slices.Min(sent()) > 128e3/8*4 })
			const run = 10 * time.Second
			before, start := sent(), time.Now()
			must(t, transfers[3].Run(t.Context(), run))
			after, took := sent(), time.Since(start)
			for k := range before {
				rate := float64(after[k]-before[k]) * 8 / took.Seconds() / 128e3
				t.Logf("resident %d: %.3f of the rate", k, rate)
				if rate > 1.05 || rate < 0.9 {
					t.Errorf("resident %d has %.3f of 128 kbit/s", k, rate)
				}
			}
			within(t, "who has data left", transfers[3].Rate(transfers[3].Elapsed()-run, transfers[3].Elapsed()), 8e6)
			counted := ok(l.gate.ReadCounters())(t).Sessions
			for _, s := range counted[:3] {
				if !s.Spent || s.Used < 300_000+uint64(128e3/8*run.Seconds()*0.9) {
					t.Errorf("in the lane a session is %+v", s)
				}
			}
		})
	}
}

// TestSlowLaneCloses: without its entry, or without a lane in the plan, a session whose data is used up passes nothing. The plan
// restores entries and classes after another program removed them.
func TestSlowLaneCloses(t *testing.T) {
	t.Parallel()
	l := slowLab(t, netlab.Options{Residents: 1})
	s := l.session(0)
	s.Data = 0
	must(t, l.gate.Authorize(s))
	mails := newMailbox(t, l.Internet.Host, netlab.WebAddr)
	passes := func(when string, want bool) {
		t.Helper()
		limit := soon
		if !want {
			limit = never
		}
		mails.post(t, l.Residents[0].Host, when)
		if mails.got(when, limit) != want {
			t.Errorf("%s a packet passes: %t", when, !want)
		}
	}
	passes("in the lane", true)
	l.sh(t, "ipset flush "+netctl.SetSlow)
	passes("without an entry", false)
	if c := strings.Join(l.apply(t, l.sharing(0)), "\n"); !strings.Contains(c, "1 entries restored") {
		t.Errorf("the plan restored %q", c)
	}
	passes("restored", true)
	if c := l.apply(t, l.sharing(0)); len(c) != 0 {
		t.Errorf("applied again, it changed %q", c)
	}
	lanes := func() []string {
		return regexp.MustCompile(`7a5:8\w{3} `).FindAllString(l.sh(t, "tc class show dev wlan0; tc class show dev eth0"), -1)
	}
	if n := len(lanes()); n != 2 {
		t.Errorf("there are %d lanes", n)
	}
	l.config.Limits.After = 0
	l.apply(t, l.sharing(0))
	passes("in a plan without one", false)
	if all := lanes(); len(all) != 0 {
		t.Errorf("without one, there are %q", all)
	}
	l.config.Limits.After = 64e3
	l.apply(t, l.sharing(0))
	passes("in a plan with another one", true)
	// The next gate knows it, and so does the kernel while no daemon runs.
	l.gate = l.newGate(t)
	passes("before the next gate's plan", true)
	if c := strings.Join(l.apply(t, l.sharing(0)), "\n"); strings.Contains(c, "entries") {
		t.Errorf("the next gate changed %q", c)
	}
	passes("with the next gate", true)
	must(t, l.gate.End(s.Addr))
	passes("after the session", false)
	if out := l.sh(t, "ipset list "+netctl.SetSlow) + fmt.Sprint(lanes()); strings.Contains(out, s.Addr.String()) || len(lanes()) != 0 {
		t.Errorf("the session left behind:\n%s", out)
	}
}

// TestSlowLanesTogether: however many devices are in the lane, what is guaranteed to them and what they may take together is only a
// part of the line.
func TestSlowLanesTogether(t *testing.T) {
	t.Parallel()
	l := slowLab(t, netlab.Options{Residents: 1})
	for k := range 60 {
		s := numbered(l, k)
		s.Data = 0
		must(t, l.gate.Authorize(s))
	}
	l.apply(t, l.sharing(0))
	out := l.sh(t, "tc class show dev wlan0")
	if !regexp.MustCompile(`class htb 7a5:fffb parent 7a5:ffff .*rate 1250Kbit ceil 2500Kbit`).MatchString(out) {
		t.Errorf("all lanes together:\n%s", out)
	}
	if n := len(regexp.MustCompile(`7a5:8\w{3} parent 7a5:fffb leaf .* prio 2 rate \S+ ceil 128Kbit`).FindAllString(out, -1)); n != 60 {
		t.Errorf("%d lanes of 60:\n%s", n, out)
	}
}
