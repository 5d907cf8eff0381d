package gate_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// gardenLab is a lab that shares the first lender's connection, with the address of service.example in the walled garden.
func gardenLab(t *testing.T, residents int) *lab {
	t.Helper()
	l := newLab(t, netlab.Options{Residents: residents})
	l.config.Essential = config.Essential{Names: []string{"service.example"}, Rate: 2e6}
	l.config.Donations[0].Cap, l.config.Donations[0].Reserve = 100e6, 10e6
	must(t, l.Internet.ServeHTTP(":443", netlab.Web()))
	must(t, l.Internet.ServeHTTP(":8443", netlab.Web()))
	l.apply(t, l.sharing(0))
	l.sh(t, "ipset add pas-garden "+netlab.ServiceAddr.String()) // as dnsmasq does
	return l
}

// exhausted compiles the plan for a cap with only the reserve left.
func (l *lab) exhausted() netctl.Plan {
	return plan.Compile(plan.Input{
		NamesUser: "65533",
		Config:    &l.config,
		Decision:  decide.Decision{State: state.Exhausted, Internet: decide.EssentialOnly},
		Gateway:   l.Lenders[0].Gateway,
		Networks:  []netip.Prefix{l.Lenders[0].Box.Masked()},
	})
}

// TestGarden checks that every device reaches the walled garden on port 443 and nothing else, and that all of it is charged: first to
// the general part, then to the reserve, which nothing else is charged to.
func TestGarden(t *testing.T) {
	t.Parallel()
	const service, web = "203.0.113.80:443", "192.0.2.80:443"
	l := gardenLab(t, 2)
	l.authorize(t, 0)
	authorized, other := l.Residents[0].Host, l.Residents[1].Host
	reached := func(when string, from *netlab.Host, want map[string]bool) {
		t.Helper()
		for to, open := range want {
			err := dial(t, from, "tcp", to, soon)
			if open && err != nil || !open && !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s, %s to %s: %v, want open to be %t", when, from.Name(), to, err, open)
			}
		}
	}
	nothing := map[string]bool{service: false, web: false, "203.0.113.80:8443": false}
	services := map[string]bool{service: true, web: false, "203.0.113.80:8443": false, "198.51.100.80:443": false}
	all := map[string]bool{service: true, web: true, "203.0.113.80:8443": true}

	p := l.sharing(0)
	grant := func(chain string, id, bytes uint64) {
		t.Helper()
		must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: chain, ID: id, Bytes: bytes}))
	}
	reached("without a tranche", other, nothing)
	grant(p.Reserve, 1, 1e6)
	reached("with a reserve alone", other, services)
	reached("with a reserve alone", authorized, services)
	grant(p.Cap, 1, 1e6)
	reached("sharing", other, services)
	reached("sharing", authorized, all)
	spent := func(chain string) (used uint64) {
		for _, s := range ok(l.gate.ReadCounters())(t).Tranches {
			if s.Chain == chain {
				used += s.Used
			}
		}
		return used
	}
	c := ok(other.Dial(t.Context(), "udp", service))(t)
	defer c.Close()
	ok(c.Write([]byte("x")))(t)
	c.SetReadDeadline(time.Now().Add(soon))
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a datagram to a service's secure port: %v", err)
	}
	before := spent(p.Reserve)
	if _, err := get(t, other, "http://"+service+"/", soon); err != nil {
		t.Error(err)
	}
	if spent(p.Cap) == 0 || spent(p.Reserve) != before {
		t.Errorf("%d bytes were charged to the general part, %d more to the reserve", spent(p.Cap), spent(p.Reserve)-before)
	}
	for _, device := range []string{"wlan0", "eth0"} {
		class := l.sh(t, "tc -s class show dev "+device+" classid 7a5:fffd")
		if !strings.Contains(class, "ceil 2Mbit") || strings.Contains(class, "Sent 0 bytes") {
			t.Errorf("the class of the walled garden on %s is\n%s", device, class)
		}
	}

	l.apply(t, l.exhausted())
	reached("exhausted", other, services)
	reached("exhausted", authorized, services)
	if changes := l.apply(t, l.exhausted()); len(changes) > 0 {
		t.Errorf("applied again: %q", changes)
	}
	l.apply(t, l.paused())
	reached("paused", other, nothing)
	reached("paused", authorized, nothing)
	if set := l.sh(t, "ipset list pas-garden"); !strings.Contains(set, netlab.ServiceAddr.String()) {
		t.Errorf("the addresses were lost with other plans:\n%s", set)
	}
	// A set with another definition is created again, and the sessions stay.
	l.sh(t, "iptables -t mangle -F; ipset destroy pas-garden; ipset create pas-garden hash:net")
	l.apply(t, l.sharing(0))
	reached("with another set", authorized, map[string]bool{web: true})
	reached("with another set", other, nothing)
}

// TestNarrowPath checks that path MTU discovery works for a captive device's upload to the walled garden: ICMP "fragmentation needed"
// passes, redirects do not.
func TestNarrowPath(t *testing.T) {
	t.Parallel()
	l := gardenLab(t, 1)
	p := l.sharing(0)
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 50e6}))
	// The MTU of the router's egress, which neither end of a connection knows.
	router := l.Lenders[0].Router.Netlink()
	must(t, router.LinkSetMTU(ok(router.LinkByName("wan"))(t), 1280))
	ctx, cancel := context.WithTimeout(t.Context(), 4*soon)
	defer cancel()
	if _, err := l.Residents[0].Post(ctx, "http://"+netip.AddrPortFrom(netlab.ServiceAddr, 443).String()+"/", strings.NewReader(strings.Repeat("x", 300e3))); err != nil {
		t.Errorf("an upload over a narrow path: %v", err)
	}
	if rules := l.sh(t, "iptables -t mangle -S"); strings.Count(rules, "--icmp-type 5 -j DROP") != 2 {
		t.Errorf("redirects are not dropped in both directions:\n%s", rules)
	}
}

// TestGardenInSlowLane checks that a device whose data is used up reaches the walled garden at the garden's rate while its own lane is
// full, and that none of that goes through the lane.
func TestGardenInSlowLane(t *testing.T) {
	t.Parallel()
	l := gardenLab(t, 1)
	const size = 250_000 // bytes: at the lane's rate they take 16 s, at the garden's 1 s
	l.config.Limits.Data, l.config.Limits.After = 500e6, 128e3
	l.config.Donations[0].Download, l.config.Donations[0].Upload = 20e6, 10e6
	p := l.sharing(0)
	l.apply(t, p)
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 50e6}))
	s := l.session(0)
	s.Data = 0
	must(t, l.gate.Authorize(s))
	// What was sent in the class is the proof; a server that ends a request early would reset the connection.
	upload := func(when string) {
		t.Helper()
		before := l.sent(t, "eth0", netctl.MinorGarden)
		c := ok(l.Residents[0].Dial(t.Context(), "tcp", netip.AddrPortFrom(netlab.ServiceAddr, 443).String()))(t)
		defer c.Close()
		must(t, c.SetDeadline(time.Now().Add(time.Minute)))
		ok(fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: service.example\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size)))(t)
		ok(c.Read(make([]byte, 1)))(t) // the server has answered
		waitFor(t, when+", that the class of the walled garden has sent it", func() bool {
			return l.sent(t, "eth0", netctl.MinorGarden)-before >= size
		})
	}
	upload("with nothing else")
	if n := l.sent(t, "eth0", lane(0)); n != 0 {
		t.Errorf("%d bytes of the walled garden went through the lane", n)
	}
	full := ok(l.bulk(0, 4, false).Start(t.Context()))(t)
	defer full.Stop()
	waitFor(t, "that the lane is full", func() bool {
		return regexp.MustCompile(`backlog [1-9]\d*b`).MatchString(l.sh(t, fmt.Sprintf("tc -s class show dev eth0 classid 7a5:%x", lane(0))))
	})
	upload("beside a full lane")
}

// TestGardenWithoutLimits checks that the walled garden is limited where nothing else is.
func TestGardenWithoutLimits(t *testing.T) {
	t.Parallel()
	l := gardenLab(t, 1)
	p := l.sharing(0)
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 50e6}))
	l.authorize(t, 0)
	if classes := l.sh(t, "tc class show dev wlan0; tc class show dev eth0"); strings.Count(classes, "class htb") != 3 ||
		strings.Count(classes, "class htb 7a5:fffd root") != 2 || strings.Count(classes, "class htb 7a5:fffc root") != 1 {
		t.Errorf("the classes are\n%s", classes)
	}
	if body, err := get(t, l.Residents[0].Host, "http://192.0.2.80/", soon); err != nil || body != netlab.InternetPage {
		t.Errorf("an authorized resident without a class: %q, %v", body, err)
	}
}
