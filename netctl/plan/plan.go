// Package plan compiles configuration and decision into the desired kernel (netctl.Plan) and the desired children. It is
// pure: the same input gives the same text, which golden files hold. It owns every rule, route, class and dnsmasq option
// of the box and the reasons for them; it neither reads nor changes anything.
//
// # How a packet goes
//
// From a resident: mangle/PREROUTING looks the sender's IP and MAC up in the set of admitted residents, whose entry
// carries the mark (one array look-up, which sets the mark: no match, no second rule). The mark leads to the table of
// the chosen uplink; without it a packet is routed into the box itself, whose INPUT resets TCP and rejects the rest. In
// the uplink's table the special-purpose ranges and every network the box is connected to lead there as well: the
// lender's network is closed by routing, at no cost a packet, and refused at once. (A prohibit route would answer by ICMP,
// of which the kernel soon sends a resident no more than one a second.)
//
// To a resident: mangle/FORWARD looks the receiver up, and the same mark says that it is admitted. Whose data of the day
// is spent loses the mark there, in either direction.
//
// Either way filter/FORWARD sends a marked packet to the quota chain, in the end of which the packet is paid for and
// loses the mark; mangle/POSTROUTING drops what still has it. So whoever flushes a table closes the gate: without mangle
// nobody gets a mark, without filter nobody loses it, and without nat nobody new has an address the internet knows.
//
// Once a packet has the mark, rules ask for the mark and not for the interface: a number is compared in a third of the
// time of a name (make bench; nft_meta_store_ifname copies 16 bytes for each rule that asks).
//
// Rules that need looking at only once a connection (the portal's port 80, names, port 25, the bound on connections)
// stand in the nat table, where only a connection's first packet passes; what they refuse they turn towards a port of
// the box that INPUT refuses.
//
// # Two kernel parameters that are less obvious
//
// With routing rules present, the kernel looks up the way back of every packet it forwards (fib_validate_source in
// net/ipv4/fib_frontend.c), and finds our table of the held there; accept_local with rp_filter off on the two interfaces
// leaves that check out. Nothing depends on it: a resident's address is checked against the set, and what comes from
// a line must be the answer to a masqueraded connection. ip_early_demux looks for a local socket for each forwarded
// packet, a search in vain on a router (Documentation/networking/ip-sysctl.rst).
package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/netctl"
)

// Ports of the box that residents may reach.
const (
	PortDNS     = 53   // truthful names
	PortCaptive = 5300 // every name is the box
	PortPortal  = 80
	portRefused = 9 // discard (RFC 863): nothing of ours listens, INPUT refuses it
)

// Bounds on what one resident may hold or ask, so that none can take it all.
const (
	connections       = 512 // tracked connections to the internet
	portalConnections = 64  // to the box's page
	nameQueries       = 100 // queries a second of one address, whose answers are truthful for the admitted
	heldNameQueries   = 10  // of one that is not admitted: enough to be shown the page, too little for a tunnel
	dhcpRequests      = 20  // a second, of all devices that have no address yet
)

// Input is what a plan is made from.
type Input struct {
	Config   *config.Config
	Decision decide.Decision
	Gateway  netip.Addr     // of the chosen donation's uplink; invalid for a point-to-point line
	Networks []netip.Prefix // connected to the machine elsewhere than on the hotspot: closed to residents
	Narrow   bool           // the chosen uplink takes only smaller packets than the hotspot: TCP must learn of it
}

// special are the blocks of IANA's IPv4 special-purpose registry (RFC 6890 and its updates) and multicast, but for the
// three documentation blocks (RFC 5737), which are nobody's network.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.31.196.0/24"),
	netip.MustParsePrefix("192.52.193.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("192.175.48.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

// admitted matches a packet to or from an admitted resident that has not been paid for, notAdmitted any other.
var (
	admitted    = fmt.Sprintf("-m mark --mark %#x/%#x", netctl.MarkAdmitted, netctl.MarkMask)
	notAdmitted = fmt.Sprintf("-m mark ! --mark %#x/%#x", netctl.MarkAdmitted, netctl.MarkMask)
	unmark      = fmt.Sprintf("-j MARK --set-xmark 0x0/%#x", netctl.MarkMask)
)

var everywhere = netip.MustParsePrefix("0.0.0.0/0")

// Compile returns the desired kernel.
func Compile(in Input) netctl.Plan {
	c := in.Config
	hotspot := c.Hotspot.Interface
	network := c.Hotspot.Address.Masked()
	p := netctl.Plan{
		Hotspot: netctl.Interface{Name: hotspot, Address: c.Hotspot.Address},
		Sets: []netctl.Set{
			{Name: netctl.SetWho, Type: "bitmap:ip,mac", Network: network},
			{Name: netctl.SetClass, Type: "bitmap:ip", Network: network, Counters: true},
		},
		Class: netctl.Class{Download: uint64(c.Limits.Download), Upload: uint64(c.Limits.Upload)},
		Routes: []netctl.Route{
			{Table: netctl.TableHeld, Kind: "local", To: everywhere, Device: "lo"},
		},
		Rules: []netctl.Rule{
			{Priority: netctl.TableOnline, In: hotspot, Mark: netctl.MarkAdmitted, Mask: netctl.MarkMask, Table: netctl.TableOnline},
			{Priority: netctl.TableHeld, In: hotspot, Table: netctl.TableHeld},
		},
	}
	interfaces := []string{hotspot}
	var uplink *config.Donation
	if d := in.Decision; d.Internet != decide.NoInternet && d.Donation >= 0 {
		uplink = &c.Donations[d.Donation]
	}
	if uplink != nil {
		interfaces = append(interfaces, uplink.Interface)
		p.Cap = Chain(*uplink)
		p.Routes = append(p.Routes, netctl.Route{
			Table: netctl.TableOnline, Kind: "unicast", To: everywhere, Device: uplink.Interface, Gateway: in.Gateway,
		})
		p.Shapers = shapers(c, uplink)
	}
	p.Sysctls = sysctls(interfaces)
	for _, n := range closed(in.Networks) {
		p.Routes = append(p.Routes, netctl.Route{Table: netctl.TableOnline, Kind: "local", To: n, Device: "lo"})
	}
	counted := len(p.Shapers) > 0 || c.Limits.Data != 0
	p.Tables = []netctl.Table{
		mangle(in, uplink, counted),
		nat(c, uplink, in.Decision.Names),
		filter(c, uplink, p.Cap),
		ipv6(c),
	}
	return p
}

// Chain returns the name of the chain that holds a donation's tranches. One without a cap has another than the same with
// one: a rule without an end must not be found where a cap was set since.
func Chain(d config.Donation) string {
	if d.Cap == 0 {
		return netctl.ChainOf(d.Name + " without a cap")
	}
	return netctl.ChainOf(d.Name)
}

// closed returns the networks that residents never reach, without those that lie within another.
func closed(connected []netip.Prefix) []netip.Prefix {
	all := slices.Clone(special)
	for _, n := range connected {
		if n.Addr().Is4() && n.Bits() > 0 {
			all = append(all, n.Masked())
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var kept []netip.Prefix
	for _, n := range all {
		if len(kept) == 0 || !kept[len(kept)-1].Contains(n.Addr()) {
			kept = append(kept, n)
		}
	}
	return kept
}

func sysctls(interfaces []string) []netctl.Sysctl {
	s := []netctl.Sysctl{
		{Path: "net/ipv4/ip_forward", Value: "1"},
		{Path: "net/ipv4/ip_early_demux", Value: "0"},
		{Path: "net/ipv4/conf/all/rp_filter", Value: "0"},
	}
	for _, i := range interfaces {
		conf := "net/ipv4/conf/" + i + "/"
		s = append(s,
			netctl.Sysctl{Path: conf + "rp_filter", Value: "0"},
			netctl.Sysctl{Path: conf + "accept_local", Value: "1"},
			// The way is the plan's to choose; nobody on the network may advise another.
			netctl.Sysctl{Path: conf + "accept_redirects", Value: "0"},
		)
	}
	return s
}

// shapers returns the HTB trees, none where nothing is limited: a queue that limits nothing still costs 10 to 15 % of
// the throughput (make bench).
func shapers(c *config.Config, d *config.Donation) []netctl.Shaper {
	var s []netctl.Shaper
	if c.Limits.Download != 0 || d.Download != 0 {
		s = append(s, netctl.Shaper{
			Device: c.Hotspot.Interface, Direction: netctl.Download, Total: uint64(d.Download),
		})
	}
	if c.Limits.Upload != 0 || d.Upload != 0 {
		s = append(s, netctl.Shaper{
			Device: d.Interface, Direction: netctl.Upload, Total: uint64(d.Upload), Own: uint64(d.Upload),
		})
	}
	return s
}

func mangle(in Input, uplink *config.Donation, counted bool) netctl.Table {
	hotspot, network := in.Config.Hotspot.Interface, in.Config.Hotspot.Address.Masked()
	t := netctl.Table{
		Name: "mangle",
		Jumps: []netctl.Jump{
			{From: "PREROUTING", Match: "-i " + hotspot, To: "PAS-PRE"},
			// Nobody reaches a resident but by answering: an answer is addressed to the line's address here, since
			// connection tracking turns it to the resident's only after mangle.
			{From: "PREROUTING", Match: fmt.Sprintf("-d %s ! -i %s", network, hotspot), To: "PAS-STRAY"},
		},
		Chains: []netctl.Chain{
			{Name: "PAS-PRE"},
			{Name: "PAS-STRAY", Rules: []string{"-i lo -j RETURN", "-j DROP"}},
		},
	}
	if uplink == nil {
		return t
	}
	t.Chains[0].Rules = []string{"-j SET --map-set " + netctl.SetWho + " src,src --map-mark"}
	up := netctl.Chain{Name: "PAS-UP"}
	down := netctl.Chain{Name: "PAS-DOWN"}
	// Each look-up counts the packet.
	admit := "-j SET --map-set " + netctl.SetClass + " dst --map-mark"
	if counted {
		up.Rules = append(up.Rules, "-j SET --map-set "+netctl.SetClass+" src --map-prio")
		admit += " --map-prio"
	}
	down.Rules = append(down.Rules, admit)
	if in.Config.Limits.Data != 0 {
		spent := func(end string) string {
			return fmt.Sprintf("-m set ! --match-set %s %s ! --update-counters --bytes-lt %d %s",
				netctl.SetClass, end, netctl.CountLimit, unmark)
		}
		up.Rules = append(up.Rules, spent("src"))
		down.Rules = append(down.Rules, spent("dst"))
	}
	if in.Narrow {
		const clamp = "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"
		up.Rules = append(up.Rules, clamp)
		down.Rules = append(down.Rules, clamp)
	}
	if len(up.Rules) > 0 {
		t.Chains = append(t.Chains, up)
		t.Jumps = append(t.Jumps, netctl.Jump{From: "FORWARD", Match: admitted, To: up.Name})
	}
	t.Chains = append(t.Chains, down, netctl.Chain{Name: "PAS-UNPAID", Rules: []string{"-j DROP"}})
	t.Jumps = append(t.Jumps,
		netctl.Jump{From: "FORWARD", Match: notAdmitted, To: down.Name},
		netctl.Jump{From: "POSTROUTING", Match: admitted, To: "PAS-UNPAID"})
	return t
}

func nat(c *config.Config, uplink *config.Donation, truly bool) netctl.Table {
	hotspot := c.Hotspot.Interface
	box := c.Hotspot.Address.Addr()
	names := PortCaptive
	if truly {
		names = PortDNS
	}
	refuse := fmt.Sprintf("-j DNAT --to-destination %s:%d", box, portRefused)
	first := netctl.Chain{Name: "PAS-FIRST", Rules: []string{
		fmt.Sprintf("-p udp -m udp --dport 53 -j DNAT --to-destination %s:%d", box, names),
		fmt.Sprintf("-p tcp -m tcp --dport 53 -j DNAT --to-destination %s:%d", box, names),
		fmt.Sprintf("-d %s -j RETURN", box),
	}}
	if uplink != nil {
		first.Rules = append(first.Rules,
			admitted+" -p tcp -m tcp --dport 25 "+refuse,
			fmt.Sprintf("%s -p tcp -m connlimit --connlimit-above %d --connlimit-mask 32 --connlimit-saddr %s", admitted, connections, refuse),
			fmt.Sprintf("%s -p udp -m connlimit --connlimit-above %d --connlimit-mask 32 --connlimit-saddr %s", admitted, connections, refuse),
			admitted+" -j RETURN")
	}
	first.Rules = append(first.Rules,
		fmt.Sprintf("-p tcp -m tcp --dport 80 -j DNAT --to-destination %s:%d", box, PortPortal),
		// A reset may come from any address, an ICMP error only from one of the box's own: this makes it so. Who asks all
		// for an address is left alone.
		"! -d 255.255.255.255/32 -p udp "+refuse)
	t := netctl.Table{
		Name:   "nat",
		Jumps:  []netctl.Jump{{From: "PREROUTING", Match: "-i " + hotspot, To: "PAS-FIRST"}},
		Chains: []netctl.Chain{first},
	}
	if uplink != nil {
		t.Jumps = append(t.Jumps, netctl.Jump{
			From: "POSTROUTING", Match: fmt.Sprintf("-s %s -o %s", c.Hotspot.Address.Masked(), uplink.Interface), To: "PAS-LEAVE",
		})
		t.Chains = append(t.Chains, netctl.Chain{Name: "PAS-LEAVE", Rules: []string{"-j MASQUERADE"}})
	}
	return t
}

func filter(c *config.Config, uplink *config.Donation, quota string) netctl.Table {
	hotspot := c.Hotspot.Interface
	box := c.Hotspot.Address.Addr()
	refuse := []string{
		"-p tcp -j REJECT --reject-with tcp-reset",
		"-j REJECT --reject-with icmp-port-unreachable",
	}
	upto := func(name string, perSecond int, match string) string {
		return fmt.Sprintf("%s -m hashlimit --hashlimit-upto %d/sec --hashlimit-burst %d --hashlimit-mode srcip --hashlimit-name %s -j ACCEPT",
			match, perSecond, 5*perSecond, name)
	}
	in := netctl.Chain{Name: "PAS-IN", Rules: []string{
		// Who holds an address renews it from there; who has none yet shares a bound, so that made-up devices fill the
		// pool slowly and those who hold an address go on.
		fmt.Sprintf("-s 0.0.0.0/32 -p udp -m udp --dport 67 -m limit --limit %d/sec --limit-burst %d -j ACCEPT", dhcpRequests, 5*dhcpRequests),
		"-s 0.0.0.0/32 -j DROP",
		fmt.Sprintf("! -s %s -j DROP", c.Hotspot.Address.Masked()),
		"-p udp -m udp --dport 67 -j ACCEPT",
		upto("pas-dns", nameQueries, fmt.Sprintf("%s -d %s -p udp -m multiport --dports %d,%d", admitted, box, PortDNS, PortCaptive)),
		admitted + fmt.Sprintf(" -d %s -p udp -m multiport --dports %d,%d -j DROP", box, PortDNS, PortCaptive),
		upto("pas-dns-held", heldNameQueries, fmt.Sprintf("-d %s -p udp -m multiport --dports %d,%d", box, PortDNS, PortCaptive)),
		fmt.Sprintf("-d %s -p udp -m multiport --dports %d,%d -j DROP", box, PortDNS, PortCaptive),
		fmt.Sprintf("-d %s -p tcp -m tcp --syn -m connlimit --connlimit-above %d --connlimit-mask 32 --connlimit-saddr -j REJECT --reject-with tcp-reset", box, portalConnections),
		fmt.Sprintf("-d %s -p tcp -m multiport --dports %d,%d,%d -j ACCEPT", box, PortDNS, PortCaptive, PortPortal),
		upto("pas-ping", 10, fmt.Sprintf("-d %s -p icmp -m icmp --icmp-type 8", box)),
	}}
	// Errors about connections that are tracked, e.g. an answer that a phone no longer waits for.
	in.Rules = append(in.Rules, "-p icmp -j DROP")
	in.Rules = append(in.Rules, refuse...)

	t := netctl.Table{
		Name:  "filter",
		Jumps: []netctl.Jump{{From: "INPUT", Match: "-i " + hotspot, To: "PAS-IN"}},
	}
	if uplink != nil {
		t.Keep = []string{quota}
		// What the box itself sends and gets pays as well; it is not refused here, whatever is left.
		t.Jumps = append(t.Jumps,
			netctl.Jump{From: "FORWARD", Match: admitted, To: quota},
			netctl.Jump{From: "INPUT", Match: "-i " + uplink.Interface, To: quota},
			netctl.Jump{From: "OUTPUT", Match: "-o " + uplink.Interface, To: quota})
	}
	t.Jumps = append(t.Jumps,
		netctl.Jump{From: "FORWARD", Match: "-i " + hotspot, To: "PAS-REFUSE"},
		netctl.Jump{From: "FORWARD", Match: "-o " + hotspot, To: "PAS-REFUSE"})
	// A tranche's rule goes to PAS-PAID, which accepts what is forwarded and lets the box's own packets return to the
	// rules of whoever administers the machine.
	paid := netctl.Chain{Name: netctl.ChainPaid, Rules: []string{
		notAdmitted + " -j RETURN",
		unmark,
		"-j ACCEPT",
	}}
	// A box that forwards must not join its lenders' networks.
	apart := netctl.Chain{Name: "PAS-APART"}
	for _, d := range c.Donations {
		t.Jumps = append(t.Jumps, netctl.Jump{From: "FORWARD", Match: "-i " + d.Interface, To: "PAS-APART"})
		apart.Rules = append(apart.Rules, "-o "+d.Interface+" -j DROP")
	}
	t.Chains = []netctl.Chain{in, {Name: "PAS-REFUSE", Rules: refuse}, paid, apart}
	return t
}

// ipv6 closes IPv6 until it is built properly: it would pass beside the gate and beside the count.
func ipv6(c *config.Config) netctl.Table {
	t := netctl.Table{
		IPv6:   true,
		Name:   "mangle",
		Chains: []netctl.Chain{{Name: "PAS-NONE", Rules: []string{"-j DROP"}}},
		Jumps:  []netctl.Jump{{From: "PREROUTING", Match: "-i " + c.Hotspot.Interface, To: "PAS-NONE"}},
	}
	t.Jumps = append(t.Jumps, netctl.Jump{From: "OUTPUT", Match: "-o " + c.Hotspot.Interface, To: "PAS-NONE"})
	for _, d := range c.Donations {
		t.Jumps = append(t.Jumps,
			netctl.Jump{From: "PREROUTING", Match: "-i " + d.Interface, To: "PAS-NONE"},
			netctl.Jump{From: "OUTPUT", Match: "-o " + d.Interface, To: "PAS-NONE"})
	}
	return t
}
