package gate_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/gate"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// TestFlushedTablesClose checks with real connections that flushed tables close the gate to new connections. Open ones stop too,
// except with the nat table, which sees only the first packet of a connection; all limits still apply to them. Without the routing
// rules authorized residents use the machine's own routes; for captive devices the gate stays closed.
func TestFlushedTablesClose(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script     string
		up, down   bool // an open connection continues
		authorized bool // everything works for the authorized resident
	}{
		"mangle":         {script: "iptables -t mangle -F"},
		"nat":            {script: "iptables -t nat -F", up: true, down: true},
		"filter":         {script: "iptables -F"},
		"filter, chains": {script: "iptables -F; iptables -X"},
		"ruleset":        {script: "nft flush ruleset"},
		// Our own table keeps connection tracking and NAT active. Incoming packets were charged when they arrived.
		"tables":          {down: true, script: "for t in mangle nat filter; do nft delete table ip $t; done"},
		"upwards":         {script: "iptables -t mangle -F PAS-PREROUTING"},
		"uncharged":       {script: "iptables -F PAS-CHARGED; iptables -F PAS-REJECT"},
		"no tranches":     {script: "iptables -F PAS-CAP-badb9ecf"},
		"routing rules":   {script: "ip rule del pref 8010; ip rule del pref 8011", up: true, down: true, authorized: true},
		"routing tables":  {script: "ip route flush table 8010; ip route flush table 8011", up: true, down: true, authorized: true},
		"who may send":    {script: "ipset flush pas-clients"},
		"who may receive": {script: "ipset flush pas-accounting", up: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, netlab.Options{Residents: 2})
			l.share(t)
			l.authorize(t, 0)
			if chain := l.sharing(0).Cap; strings.Contains(c.script, "PAS-CAP") && !strings.Contains(c.script, chain) {
				t.Fatalf("the quota chain's name is %s", chain)
			}
			must(t, l.Internet.ServeHTTP("192.0.2.80:7000", nil))
			must(t, dial(t, l.Residents[0].Host, "tcp", "192.0.2.80:7000", soon))
			before := ok(l.gate.Sessions())(t)
			old := l.connect(t, 0)
			if !old.works() {
				t.Fatal("a connection through the gate does not work")
			}
			l.sh(t, c.script)
			for k, r := range l.Residents {
				if k == 0 && c.authorized {
					continue
				}
				if err := dial(t, r.Host, "tcp", "192.0.2.80:7000", never); err == nil {
					t.Errorf("resident %d: a new connection to the internet was made", k)
				}
				if body, err := get(t, r.Host, "http://192.0.2.80/", never); body == netlab.InternetPage {
					t.Errorf("resident %d: the internet's page came (%v)", k, err)
				}
			}
			up, down := passes(old.client, old.server, never), passes(old.server, old.client, never)
			if up != c.up || down != c.down {
				t.Errorf("an open connection: up %v, down %v, want %v, %v", up, down, c.up, c.down)
			}

			if changes := l.apply(t, l.sharing(0)); len(changes) == 0 {
				t.Error("nothing was repaired")
			}
			if again := l.apply(t, l.sharing(0)); len(again) != 0 {
				t.Errorf("applied again, it changed %q", again)
			}
			if body, err := get(t, l.Residents[0].Host, "http://192.0.2.80/", soon); err != nil || body != netlab.InternetPage {
				t.Errorf("repaired, the authorized resident gets %q, %v", body, err)
			}
			if body, err := get(t, l.Residents[1].Host, "http://192.0.2.80/", soon); err != nil || body != boxPage {
				t.Errorf("repaired, the other resident gets %q, %v", body, err)
			}
			after := ok(l.gate.Sessions())(t)
			if len(after) != 1 || after[0].Addr != before[0].Addr || after[0].MAC != before[0].MAC ||
				after[0].Left > before[0].Left || after[0].Left < before[0].Left-time.Minute {
				t.Errorf("the sessions were %+v and are %+v", before, after)
			}
		})
	}
}

// TestOthersAreLeftAlone checks that the gate does not change other programs' objects.
func TestOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 1, Uplinks: 2})
	l.config.Limits.Download, l.config.Limits.Upload = 8e6, 4e6
	l.sh(t, `
for table in mangle nat filter; do
	iptables -t $table -N OTHERS
	iptables -t $table -A OTHERS -s 198.51.100.7 -m comment --comment "not ours -j PAS-PREROUTING" -j RETURN
	iptables -t $table -A OTHERS -p udp --dport 4242 -m limit --limit 7/min -j ACCEPT
	iptables -t $table -A OUTPUT -d 198.51.100.7 -j OTHERS
	iptables -t $table -A OUTPUT -d 198.51.100.8 -j ACCEPT
done
iptables -t mangle -A PREROUTING -i eth1 -j MARK --set-mark 7
iptables -A FORWARD -i eth1 -o lo -j ACCEPT
iptables -P FORWARD DROP
ip6tables -A INPUT -p udp --dport 4242 -j DROP
nft 'add table inet others { chain input { type filter hook input priority 5; tcp dport 4243 drop; }; }'
ipset create others hash:ip timeout 600 && ipset add others 198.51.100.9 timeout 0
ip rule add pref 900 fwmark 7 lookup 77
ip rule add pref 9000 iif wlan0 to 198.51.100.0/24 lookup 77
ip route add 198.51.100.0/24 via 192.168.2.1 table 77
ip route add 198.51.100.7 via 192.168.1.1
tc qdisc add dev eth1 root handle 1: htb default 1
tc class add dev eth1 parent 1: classid 1:1 htb rate 9mbit
ip address add 10.99.0.1/24 dev wlan0
`)
	const look = `
iptables-save; ip6tables-save; nft list table inet others; ipset save; ip rule
ip route show table 77; ip route show; ip -o -4 address show dev wlan0; iptables -S | grep -e ^-P; tc qdisc show dev eth1; tc class show dev eth1`
	others := func() string {
		lines := strings.Split(l.sh(t, look), "\n")
		lines = slices.DeleteFunc(lines, func(line string) bool {
			ours := strings.Contains(line, "PAS-") && !strings.Contains(line, "not ours") || strings.Contains(line, "pas-") ||
				strings.Contains(line, "8009") || strings.Contains(line, "8010") || strings.Contains(line, "8011") || strings.Contains(line, "10.80.0.")
			return ours || strings.HasPrefix(line, "#")
		})
		text := strings.Join(lines, "\n")
		for _, c := range changing {
			text = c.ReplaceAllString(text, c.by)
		}
		return text
	}
	before := others()
	for _, want := range []string{"not ours", "--limit 7/min", "4243", "198.51.100.9", "9Mbit", "10.99.0.1", "fwmark 0x7"} {
		if !strings.Contains(before, want) {
			t.Fatalf("%q is not there: the test is wrong\n%s", want, before)
		}
	}
	check := func(when string) {
		t.Helper()
		if d := cmp.Diff(strings.Split(before, "\n"), strings.Split(others(), "\n")); d != "" {
			t.Errorf("%s, what is not ours was changed:\n%s", when, d)
		}
	}
	l.share(t)
	check("by the first plan")
	l.authorize(t, 0)
	l.apply(t, l.paused())
	l.apply(t, l.sharing(0))
	check("by other plans")
	l.sh(t, "nft delete table ip filter || true; iptables -t mangle -F PAS-PREROUTING; ip rule del pref 8010") // another program's changes
	l.sh(t, "iptables -P FORWARD DROP")
	l.apply(t, l.sharing(0))
	before = others()
	l.gate = l.newGate(t)
	l.apply(t, l.sharing(0))
	check("by the next gate")
	must(t, l.gate.Close(t.Context()))
	check("by closing")
}

// TestOursStandFirst checks that the gate moves its jumps back to the head after another program inserted rules.
func TestOursStandFirst(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 1})
	l.share(t)
	heads := `iptables-save | grep -e '^-A [A-Z]* '`
	before := l.sh(t, heads)
	others := []string{
		"-t mangle -I PREROUTING -p tcp -j ACCEPT", "-t nat -I PREROUTING -p tcp -j ACCEPT", "-I FORWARD -j ACCEPT",
		"-I INPUT -j ACCEPT", "-t mangle -I FORWARD 2 -j ACCEPT",
	}
	for _, o := range others {
		l.sh(t, "iptables "+o)
	}
	if changes := l.apply(t, l.sharing(0)); len(changes) == 0 {
		t.Error("nothing was repaired")
	}
	for _, table := range []string{"mangle", "nat", "filter"} {
		others := map[string]bool{} // chains with a rule of another program
		for line := range strings.Lines(l.sh(t, "iptables-save -t "+table)) {
			words := strings.Fields(line)
			switch {
			case words[0] != "-A":
			case !strings.Contains(line, "PAS-"):
				others[words[1]] = true
			case others[words[1]]:
				t.Errorf("in table %s another program's rule is before %s", table, line)
			}
		}
	}
	after := l.sh(t, heads)
	if got, want := strings.Count(after, "\n"), strings.Count(before, "\n")+len(others); got != want {
		t.Errorf("there are %d rules in built-in chains, want %d:\n%s", got, want, after)
	}
}

// TestUnchangedRulesAreRecognised checks that counters, and a new generation of the ruleset, change nothing on their own.
func TestUnchangedRulesAreRecognised(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 2})
	l.config.Limits.Data, l.config.Limits.Download = 500e6, 100e6
	l.share(t)
	l.authorize(t, 0)
	l.apply(t, l.sharing(0))
	for _, r := range l.Residents {
		for _, to := range []string{"192.0.2.80:7", "10.80.0.1:53", "10.80.0.1:54", "10.80.0.1:55", "10.80.0.1:67", "192.0.2.53:53"} {
			c := ok(r.Dial(t.Context(), "udp", to))(t)
			for range 10 {
				c.Write([]byte("hello"))
			}
			c.Close()
		}
		for _, to := range []string{"192.0.2.80:80", "192.0.2.80:25", "10.80.0.1:80"} {
			for range 5 {
				dial(t, r.Host, "tcp", to, soon) // refused or not, it is counted
			}
		}
	}
	l.sh(t, "iptables -t mangle -A OUTPUT -d 198.51.100.7 -j ACCEPT")
	if changes := l.apply(t, l.sharing(0)); len(changes) != 0 {
		t.Errorf("after traffic and another program's rule, it changed %q", changes)
	}
}

// TestRulesAreFew counts rules with one session and with many.
func TestRulesAreFew(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 1})
	l.config.Limits.Data, l.config.Limits.Download, l.config.Limits.Upload = 500e6, 8e6, 4e6
	l.share(t)
	count := func() string {
		return l.sh(t, "iptables-save | grep -c -e -A; ip rule | wc -l; ip route show table all | wc -l")
	}
	l.authorize(t, 0)
	one := count()
	for k := 1; k < 500; k++ {
		s := l.session(0)
		s.Addr = boxAddress.Addr()
		for range k + 300 {
			s.Addr = s.Addr.Next()
		}
		s.MAC[4], s.MAC[5] = byte(k>>8), byte(k)
		must(t, l.gate.Authorize(s))
	}
	if n := len(ok(l.gate.Sessions())(t)); n != 500 {
		t.Fatalf("there are %d sessions", n)
	}
	l.apply(t, l.sharing(0))
	if many := count(); many != one {
		t.Errorf("rules, routing rules and routes: %s with one session, %s with 500", one, many)
	}
	if classes := strings.TrimSpace(l.sh(t, "tc class show dev wlan0 | grep -c 'class htb'")); classes != "500" {
		t.Errorf("there are %s classes for 500 sessions", classes)
	}
}

func TestLegacyIsRefused(t *testing.T) {
	labtest.Root(t)
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/iptables", []byte("#!/bin/sh\necho 'iptables v1.8.9 (legacy)'\n"), 0o755))
	t.Setenv("PATH", dir)
	if _, err := gate.New(t.Context(), time.Now); err == nil || !strings.Contains(err.Error(), "update-alternatives") {
		t.Errorf("on the legacy backend: %v, want instructions to choose the other", err)
	}
}

// TestUplinkChange changes the egress while residents have open connections.
func TestUplinkChange(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 1, Uplinks: 2})
	l.share(t)
	second := l.sharing(1)
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: second.Cap, Bytes: netctl.Unlimited}))
	l.authorize(t, 0)
	c := l.connect(t, 0)
	if !c.works() {
		t.Fatal("a connection through the gate does not work")
	}
	l.apply(t, second)
	if err := reset(t, c.client); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		t.Errorf("on another uplink, the resident's open connection: %v, want a reset", err)
	}
	_, before, err := l.Internet.Counters(l.Lenders[1].InternetIface)
	must(t, err)
	if !l.connect(t, 0).works() {
		t.Error("on another uplink, a new connection does not work")
	}
	if _, after, err := l.Internet.Counters(l.Lenders[1].InternetIface); err != nil || after == before {
		t.Errorf("nothing came by the second uplink (%v)", err)
	}
	// The uplink's interface disappears, and comes back with another index.
	must(t, l.Lenders[1].Unplug())
	l.apply(t, l.sharing(0))
	if !l.connect(t, 0).works() {
		t.Error("back on the first uplink, a new connection does not work")
	}
	must(t, l.Lenders[1].Plug())
	l.apply(t, second)
	if !l.connect(t, 0).works() {
		t.Error("on the uplink that came back, a new connection does not work")
	}
	if all := ok(l.gate.Sessions())(t); len(all) != 1 {
		t.Errorf("the sessions are %+v", all)
	}
}

// TestTakeover replaces a crashed gate by another one while residents have open connections.
func TestTakeover(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 1})
	l.config.Limits.Download, l.config.Limits.Data = 8e6, 500e6
	l.share(t)
	s := l.session(0)
	s.Data = 1e9
	must(t, l.gate.Authorize(s))
	c := l.connect(t, 0)
	for range 3 {
		if !c.works() {
			t.Fatal("a connection does not outlive a gate")
		}
		l.gate = l.newGate(t)
		l.apply(t, l.sharing(0))
	}
	// Without any gate, packets pass and are counted.
	before := ok(l.gate.ReadCounters())(t)
	if n := l.flood(t, 0, 100); n != 100 {
		t.Errorf("%d of 100 packets passed", n)
	}
	after := ok(l.newGate(t).Sessions())(t)
	if used := before.Sessions[0].Data - after[0].Data; used < 100_000 || used > 110_000 {
		t.Errorf("100 kB were counted as %d bytes", used)
	}
}

// TestCloseEndsConnections closes the gate of a machine that forwarded before: residents' tracked connections must not stay
// masqueraded.
func TestCloseEndsConnections(t *testing.T) {
	t.Parallel()
	for _, forwarding := range []string{"0", "1"} {
		t.Run("ip_forward="+forwarding, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, netlab.Options{Residents: 1})
			must(t, l.Box.Sysctl("net/ipv4/ip_forward", forwarding))
			must(t, l.Box.AddAddress("wlan0", boxAddress))
			// Another program uses NAT too, so that connection tracking stays active.
			l.sh(t, "iptables -t nat -A PREROUTING -d 198.51.100.7 -j DNAT --to 198.51.100.8; iptables -t nat -A POSTROUTING -d 198.51.100.7 -j MASQUERADE")
			l.share(t)
			l.authorize(t, 0)
			c := l.connect(t, 0)
			if !c.works() {
				t.Fatal("a connection through the gate does not work")
			}
			must(t, l.gate.Close(t.Context()))
			if passes(c.client, c.server, never) || passes(c.server, c.client, never) {
				t.Error("after the gate was closed, an open connection works")
			}
			if got := strings.TrimSpace(l.sh(t, "cat /proc/sys/net/ipv4/ip_forward")); got != forwarding {
				t.Errorf("ip_forward was %s and is %s", forwarding, got)
			}
		})
	}
}
