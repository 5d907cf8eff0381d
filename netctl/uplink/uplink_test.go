package uplink

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

const upAndLinked = unix.IFF_UP | unix.IFF_LOWER_UP

func device(index int, name string, flags uint32) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{
		Index: index, Name: name, RawFlags: flags, Statistics: &netlink.LinkStatistics{RxBytes: 1, TxBytes: 2},
	}}
}

func network(s string) *net.IPNet {
	p := netip.MustParsePrefix(s)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

func address(index int, s string) netlink.Addr {
	return netlink.Addr{LinkIndex: index, IPNet: network(s), Scope: unix.RT_SCOPE_UNIVERSE}
}

func defaultVia(index int, gateway string, metric int) netlink.Route {
	r := netlink.Route{LinkIndex: index, Dst: network("0.0.0.0/0"), Priority: metric, Type: unix.RTN_UNICAST}
	if gateway != "" {
		r.Gw = net.ParseIP(gateway).To4()
	}
	return r
}

// through returns a route to a prefix.
func through(index int, dst, gateway string, metric int) netlink.Route {
	r := defaultVia(index, gateway, metric)
	r.Dst = network(dst)
	return r
}

func onLink(index int, dst string) netlink.Route {
	return netlink.Route{LinkIndex: index, Dst: network(dst), Type: unix.RTN_UNICAST, Scope: unix.RT_SCOPE_LINK}
}

var compareAddrs = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

func TestStatus(t *testing.T) {
	t.Parallel()
	lan := netip.MustParsePrefix("192.168.1.7/24")
	lanOnly := []netip.Prefix{lan.Masked()}
	linked := Status{Interface: "eth0", Index: 2, Present: true, Up: true, Carrier: true, RxBytes: 1, TxBytes: 2}
	with := func(change func(*Status)) Status {
		st := linked
		change(&st)
		return st
	}
	for name, c := range map[string]struct {
		in   snapshot
		want Status
	}{
		"nothing there": {
			snapshot{links: []netlink.Link{device(1, "lo", upAndLinked)}},
			Status{Interface: "eth0", Why: "eth0 does not exist"},
		},
		"switched off": {
			snapshot{links: []netlink.Link{device(2, "eth0", 0)}},
			with(func(st *Status) { st.Up, st.Carrier, st.Why = false, false, "eth0 is switched off" }),
		},
		"no link, but still an address and a route": {
			snapshot{
				links:  []netlink.Link{device(2, "eth0", unix.IFF_UP)},
				addrs:  []netlink.Addr{address(2, "192.168.1.7/24")},
				routes: []netlink.Route{defaultVia(2, "192.168.1.1", 0)},
			},
			with(func(st *Status) {
				st.Carrier, st.Why, st.Routed = false, "eth0 has no link", true
				st.Address, st.Networks, st.Gateway = lan, lanOnly, netip.MustParseAddr("192.168.1.1")
			}),
		},
		"an address of the link alone, a deprecated one, another interface's": {
			snapshot{
				links: []netlink.Link{device(2, "eth0", upAndLinked), device(3, "eth1", upAndLinked)},
				addrs: []netlink.Addr{
					{LinkIndex: 2, IPNet: network("169.254.3.4/16"), Scope: unix.RT_SCOPE_LINK},
					{LinkIndex: 2, IPNet: network("192.168.1.6/24"), Flags: unix.IFA_F_DEPRECATED},
					address(3, "192.168.3.7/24"),
				},
				routes: []netlink.Route{defaultVia(3, "192.168.3.1", 0)},
			},
			with(func(st *Status) {
				st.Networks = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), lan.Masked()}
				st.Why = "eth0 has a link but no address"
			}),
		},
		"no default route, but an unreachable one and another interface's": {
			snapshot{
				links: []netlink.Link{device(2, "eth0", upAndLinked)},
				addrs: []netlink.Addr{address(2, "192.168.1.7/24")},
				routes: []netlink.Route{
					onLink(2, "192.168.1.0/24"),
					{LinkIndex: 2, Type: unix.RTN_UNREACHABLE},
					defaultVia(3, "192.168.3.1", 0),
				},
			},
			with(func(st *Status) {
				st.Address, st.Networks, st.Why = lan, lanOnly, "eth0 has a link but no default route"
			}),
		},
		"the lowest metric counts, and a dead hop does not": {
			snapshot{
				links: []netlink.Link{device(2, "eth0", upAndLinked)},
				addrs: []netlink.Addr{address(2, "192.168.1.7/24"), address(2, "192.168.1.8/24")},
				routes: []netlink.Route{
					{LinkIndex: 2, Gw: net.IPv4(192, 168, 1, 5), Flags: unix.RTNH_F_DEAD, Type: unix.RTN_UNICAST},
					defaultVia(3, "192.168.3.1", 1),
					defaultVia(2, "192.168.1.3", 300),
					defaultVia(2, "192.168.1.1", 100),
					defaultVia(2, "192.168.1.2", 200),
				},
			},
			with(func(st *Status) {
				st.Address, st.Networks, st.Gateway = lan, lanOnly, netip.MustParseAddr("192.168.1.1")
				st.Routed, st.Works = true, true
			}),
		},
		"one of several hops": {
			snapshot{
				links: []netlink.Link{device(2, "eth0", upAndLinked)},
				addrs: []netlink.Addr{address(2, "192.168.1.7/24")},
				routes: []netlink.Route{{Type: unix.RTN_UNICAST, MultiPath: []*netlink.NexthopInfo{
					{LinkIndex: 3, Gw: net.IPv4(192, 168, 3, 1)}, {LinkIndex: 2, Gw: net.IPv4(192, 168, 1, 1)},
				}}},
			},
			with(func(st *Status) {
				st.Address, st.Networks, st.Gateway = lan, lanOnly, netip.MustParseAddr("192.168.1.1")
				st.Routed, st.Works = true, true
			}),
		},
		"point to point": {
			snapshot{
				links: []netlink.Link{device(2, "eth0", upAndLinked)},
				addrs: []netlink.Addr{{
					LinkIndex: 2, IPNet: network("100.64.0.9/32"), Peer: network("100.64.0.1/32"),
				}},
				routes: []netlink.Route{defaultVia(2, "", 0)},
			},
			with(func(st *Status) {
				st.Address = netip.MustParsePrefix("100.64.0.9/32")
				st.Networks = []netip.Prefix{netip.MustParsePrefix("100.64.0.1/32"), st.Address}
				st.Routed, st.Works = true, true
			}),
		},
		"two halves of a default route, without a gateway": {
			snapshot{
				links:  []netlink.Link{device(2, "eth0", upAndLinked)},
				addrs:  []netlink.Addr{address(2, "192.168.1.7/24")},
				routes: []netlink.Route{onLink(2, "0.0.0.0/1"), onLink(2, "128.0.0.0/1")},
			},
			with(func(st *Status) {
				st.Address, st.Networks, st.Routed, st.Works = lan, lanOnly, true, true
			}),
		},
		"half of a default route": {
			snapshot{
				links:  []netlink.Link{device(2, "eth0", upAndLinked)},
				addrs:  []netlink.Addr{address(2, "192.168.1.7/24")},
				routes: []netlink.Route{through(2, "0.0.0.0/1", "192.168.1.1", 0), through(3, "128.0.0.0/1", "192.168.3.1", 0)},
			},
			with(func(st *Status) {
				st.Address, st.Networks, st.Why = lan, lanOnly, "eth0 has a link but no default route"
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, c.in.status("eth0"), compareAddrs); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// besides returns routes through interface 2 to every address outside the networks.
func besides(networks ...netip.Prefix) (routes []netlink.Route) {
	var add func(netip.Prefix)
	add = func(to netip.Prefix) {
		switch {
		case slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Bits() <= to.Bits() && n.Overlaps(to) }):
		case !slices.ContainsFunc(networks, to.Overlaps):
			routes = append(routes, through(2, to.String(), "192.168.1.1", 0))
		default:
			half := netip.PrefixFrom(to.Addr(), to.Bits()+1)
			add(half)
			add(netip.PrefixFrom(netctl.LastAddr(half).Next(), half.Bits()))
		}
	}
	add(netip.MustParsePrefix("0.0.0.0/0"))
	return routes
}

// TestSplitDefaultRoute checks that routes that together cover the internet count as a default route, however they are split.
func TestSplitDefaultRoute(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		routes []netlink.Route
		want   string // the gateway; "": there is no default route
	}{
		{"halves", []netlink.Route{through(2, "0.0.0.0/1", "192.168.1.1", 0), through(2, "128.0.0.0/1", "192.168.1.1", 0)}, "192.168.1.1"},
		{"one half twice", []netlink.Route{through(2, "0.0.0.0/1", "192.168.1.1", 0), through(2, "0.0.0.0/1", "192.168.1.1", 5)}, ""},
		{"the widest has the gateway", []netlink.Route{
			through(2, "0.0.0.0/2", "192.168.1.2", 0), through(2, "64.0.0.0/2", "192.168.1.2", 0),
			through(2, "128.0.0.0/1", "192.168.1.1", 9),
		}, "192.168.1.1"},
		{"a default route goes before halves", []netlink.Route{
			through(2, "0.0.0.0/1", "192.168.1.2", 0), through(2, "128.0.0.0/1", "192.168.1.2", 0), defaultVia(2, "192.168.1.1", 100),
		}, "192.168.1.1"},
		{"all but what is nobody's", []netlink.Route{
			through(2, "1.0.0.0/8", "192.168.1.1", 0), through(2, "2.0.0.0/7", "192.168.1.1", 0), through(2, "4.0.0.0/6", "192.168.1.1", 0),
			through(2, "8.0.0.0/7", "192.168.1.1", 0), through(2, "11.0.0.0/8", "192.168.1.1", 0), through(2, "12.0.0.0/6", "192.168.1.1", 0),
			through(2, "16.0.0.0/4", "192.168.1.1", 0), through(2, "32.0.0.0/3", "192.168.1.1", 0), through(2, "64.0.0.0/2", "192.168.1.1", 0),
			through(2, "128.0.0.0/2", "192.168.1.1", 0), through(2, "192.0.0.0/3", "192.168.1.1", 0),
		}, "192.168.1.1"},
		{"all but each special-purpose network", besides(netctl.SpecialPurpose...), "192.168.1.1"},
		{"all but a network of the internet", []netlink.Route{
			through(2, "0.0.0.0/1", "192.168.1.1", 0), through(2, "128.0.0.0/2", "192.168.1.1", 0), through(2, "208.0.0.0/4", "192.168.1.1", 0),
		}, ""},
		{"through another interface", []netlink.Route{through(3, "0.0.0.0/1", "192.168.1.1", 0), through(2, "128.0.0.0/1", "192.168.1.1", 0)}, ""},
	} {
		gateway, found := snapshot{routes: c.routes}.defaultRoute(2)
		if want, _ := netip.ParseAddr(c.want); gateway != want || found != want.IsValid() {
			t.Errorf("%s: gateway %v, %t; want %q", c.name, gateway, found, c.want)
		}
	}
}

func TestNetworksLeaveOutRoutesThatAreNotConnected(t *testing.T) {
	t.Parallel()
	s := snapshot{
		links: []netlink.Link{device(1, "lo", upAndLinked), device(2, "eth0", upAndLinked)},
		addrs: []netlink.Addr{address(1, "127.0.0.1/8"), address(2, "192.168.1.7/24")},
		routes: []netlink.Route{
			onLink(2, "192.168.1.0/24"),
			onLink(2, "203.0.113.0/28"),
			defaultVia(2, "192.168.1.1", 0),
			{LinkIndex: 2, Dst: network("10.9.0.0/16"), Gw: net.IPv4(192, 168, 1, 2), Type: unix.RTN_UNICAST},
			{LinkIndex: 2, Dst: network("10.8.0.0/16"), Type: unix.RTN_BLACKHOLE},
		},
	}
	got := s.networks(func(l *netlink.LinkAttrs) bool { return l.Name == "eth0" })
	want := []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("203.0.113.0/28")}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestReadThisMachine checks that reading needs no privilege.
func TestReadThisMachine(t *testing.T) {
	t.Parallel()
	r, err := Open(os.DirFS("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.Read([]string{"no-such-device", "lo"})
	if err != nil {
		t.Fatal(err)
	}
	missing := Status{Interface: "no-such-device", Why: "no-such-device does not exist"}
	if diff := cmp.Diff(missing, got[0], compareAddrs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if lo := got[1]; lo.Interface != "lo" || !lo.Present || lo.Index == 0 || lo.Works {
		t.Errorf("the loopback: %+v", lo)
	}
	networks, err := r.Networks("")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range networks {
		if n.Addr().IsLoopback() {
			t.Errorf("the loopback's network is in %v", networks)
		}
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for kind, want := range map[uint16]Change{
		unix.RTM_NEWLINK: Links, unix.RTM_DELADDR: Links, unix.RTM_NEWROUTE: Routes, unix.RTM_DELRULE: Rules,
		unix.RTM_DELQDISC: Shaping, unix.RTM_NEWTCLASS: Shaping, unix.RTM_NEWNEIGH: 0,
	} {
		if got := classifyRoute(kind); got != want {
			t.Errorf("message %d: %v, want %v", kind, got, want)
		}
	}
	if got := classifyNetfilter(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE); got != Firewall {
		t.Errorf("a new rule: %v", got)
	}
	if got := classifyNetfilter(unix.NFNL_SUBSYS_CTNETLINK << 8); got != 0 {
		t.Errorf("conntrack: %v", got)
	}
	if got := (Links | Firewall).String(); got != "links+firewall" {
		t.Errorf("String: %q", got)
	}
	if got := Change(0).String(); got != "nothing" {
		t.Errorf("String: %q", got)
	}
}
