// Package plan compiles configuration and decision into the desired kernel (netctl.Plan) and the desired children. It is
// pure: the same input gives the same text, which golden files hold. It owns every rule, route, class and dnsmasq option
// of the box and the reasons for them; it neither reads nor changes anything.
//
// # How a packet goes
//
// From a resident, a frame is first held against the bindings of addresses to devices (frames.go), and a question for a name
// is given to one of the box's name servers (names.go). Then mangle/PREROUTING looks the sender's IP and MAC up in the set of admitted residents, whose entry
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
// Once a packet has the mark, rules ask for the mark and not for the interface: a number is cheaper than a name, of which
// nft_meta_store_ifname (net/netfilter/nft_meta.c) copies 16 bytes for each rule that asks.
//
// Essential services have a mark of their own: https to an address that dnsmasq has found for one of their names is marked
// whoever sends it, unless an admitted resident does, who has more. The general part of the cap pays for them first, and
// when that refuses, the reserve. An address says little of what is behind it: on a host that several share, the others
// are reached as well. The rate of all together and the reserve are the walls behind that.
//
// Rules that need looking at only once a connection (the portal's port 80, names, port 25, the bound on connections)
// stand in the nat table, where only a connection's first packet passes; what they refuse they turn towards a port of
// the box that INPUT refuses. What has few hops left, as traceroute sends it, is refused there by a prohibit route, whose
// error comes from the box's own address.
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
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/netctl"
)

// Ports of the box that residents may reach, besides those for names (names.go).
const (
	PortPortal  = 80
	PortSecure  = 443 // the lenders' pages
	portRefused = 9   // discard (RFC 863): nothing of ours listens, INPUT refuses it
)

// How long names of essential services are remembered. dnsmasq adds an address to the set when it asks for a name, not
// when it remembers it, and a phone remembers what it was told: an address must stay longer than both together. An hour
// lets a connection that is in use go on, whose name nobody asks for again.
const (
	essentialTTL  = 5 * time.Minute
	essentialKept = time.Hour
)

// probeHops is below the hops that any device's own packets have left when they come, 64 or more at first, and 32 of the
// oldest. What has fewer looks for the routers on its way, and is told by the box's own address that it goes no further: a
// reset or an error that seems to come from whom it asked would say that this one is the next hop.
const probeHops = 16

// Bounds on what one resident may hold, so that none can take it all.
const (
	connections       = 512 // tracked connections to the internet, of each protocol
	portalConnections = 64  // to the box
	essentialConns    = 64  // connections to essential services
)

// What one device may use of the reserve for essential services: a part of what the reserve has for a day, but enough for
// a form.
const (
	reservePart  = 10
	reserveLeast = 2_000_000 // bytes
)

// Input is what a plan is made from.
type Input struct {
	Config   *config.Config
	Decision decide.Decision
	Line     string         // the chosen donation's interface as the kernel calls it; "": as the configuration does
	Gateway  netip.Addr     // of the chosen donation's uplink; invalid for a point-to-point line
	Networks []netip.Prefix // connected to the machine elsewhere than on the hotspot: closed to residents
	LANs     []LAN          // the donations' lines that are there
	Narrow   bool           // the chosen uplink takes only smaller packets than the hotspot: TCP must learn of it

	NameServers int    // of the chosen uplink, that names are asked of
	NamesUser   string // the number of the user DNSUser; "": there is none, and so no name server of the box's runs
	Memory      uint64 // bytes of the machine's; 0: not known
	Tracked     uint64 // connections that the kernel has room for; 0: not known
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

// special6 are the addresses of IPv6 that lead to a device itself or to who is on a link or site with it (RFC 4291, RFC 4193).
var special6 = []netip.Prefix{
	netip.MustParsePrefix("::/127"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// Matches of marks, and what sets them. A packet has one of ours only until it has been paid for.
var (
	admitted      = marked(netctl.MarkAdmitted, netctl.MarkMask)
	essential     = marked(netctl.MarkEssential, netctl.MarkMask)
	asked         = marked(netctl.MarkNames, netctl.MarkMask)
	unmarked      = marked(0, netctl.MarkMask)
	unpaid        = marked(netctl.MarkUnpaid, netctl.MarkUnpaid)
	notPlain      = marked(0, netctl.MarkPlain)
	chosen        = fmt.Sprintf("-m mark ! --mark 0x0/%#x", netctl.MarkResolverMask) // who answers
	unmark        = fmt.Sprintf("-j MARK --set-xmark 0x0/%#x", netctl.MarkMask)
	markEssential = fmt.Sprintf("-j MARK --set-xmark %#x/%#x", netctl.MarkEssential, netctl.MarkMask)
)

func marked(mark, mask uint32) string { return fmt.Sprintf("-m mark --mark %#x/%#x", mark, mask) }

// Secure pages of essential services, and errors about connections to them: without those that say that a packet is too
// large, an upload hangs where the line's path is narrower than the line.
const (
	relatedErrors = "-p icmp -m conntrack --ctstate RELATED"
	redirect      = "-p icmp -m icmp --icmp-type 5"

	toEssential   = "-p tcp -m tcp --dport 443 -m set --match-set " + netctl.SetEssential + " dst"
	fromEssential = "-p tcp -m tcp --sport 443 -m set --match-set " + netctl.SetEssential + " src"
)

var everywhere = netip.MustParsePrefix("0.0.0.0/0")

// compiler is what the parts of a plan are made from.
type compiler struct {
	Input
	hotspot   string
	box       netip.Addr
	network   netip.Prefix
	uplink    *config.Donation // nil: nothing leads out
	line      string           // its interface; without all and essential, names alone go by it
	all       bool             // to all of the internet, for admitted residents
	essential bool             // to essential services, for everybody
	limited   bool             // residents have classes
}

// Compile returns the desired kernel.
func Compile(in Input) netctl.Plan {
	c := compiler{
		Input:   in,
		hotspot: Hotspot(in.Config),
		box:     in.Config.Hotspot.Address.Addr(),
		network: in.Config.Hotspot.Address.Masked(),
		all:     in.Decision.Internet == decide.AllInternet,
	}
	d := in.Decision
	services := len(in.Config.Essential.Names) > 0 && (c.all || d.Internet == decide.EssentialOnly)
	if d.Donation >= 0 && (c.all || services || d.Names) {
		c.uplink = &in.Config.Donations[d.Donation]
		c.line = cmp.Or(in.Line, c.uplink.Interface)
		c.essential = services
		l := in.Config.Limits
		c.limited = c.all && (l.Download != 0 || l.Upload != 0 || c.uplink.Download != 0 || c.uplink.Upload != 0)
	}
	return c.compile()
}

// forwards tells whether anything of residents' is forwarded. What is not is closed by having no rule, route or translation.
func (c compiler) forwards() bool { return c.uplink != nil && (c.all || c.essential) }

// onlyEssential tells whether no more than essential services is reached, so that only their names are asked for.
func (c compiler) onlyEssential() bool { return c.essential && !c.all }

func (c compiler) compile() netctl.Plan {
	limits := c.Config.Limits
	p := netctl.Plan{
		Hotspot: netctl.Interface{Name: c.hotspot, Address: c.Config.Hotspot.Address, MAC: c.bridge()},
		Sets: []netctl.Set{
			{Name: netctl.SetWho, Type: "bitmap:ip,mac", Network: c.network},
			{Name: netctl.SetClass, Type: "bitmap:ip", Network: c.network, Counters: true},
			{Name: netctl.SetDay, Type: "bitmap:ip,mac", Network: c.network, Counters: true},
			{Name: netctl.SetEssential, Type: "hash:ip", Timeout: essentialKept},
		},
		Class: netctl.Class{Download: uint64(limits.Download), Upload: uint64(limits.Upload)},
		Routes: []netctl.Route{
			{Table: netctl.TableHeld, Kind: "local", To: everywhere, Device: "lo"},
			{Table: netctl.TableRefused, Kind: "prohibit", To: everywhere},
		},
		Rules: []netctl.Rule{
			{Priority: netctl.TableRefused, In: c.hotspot, Mark: netctl.MarkProbe, Mask: netctl.MarkProbe, Table: netctl.TableRefused},
			{Priority: netctl.TableOnline, In: c.hotspot, Mark: netctl.MarkUnpaid, Mask: netctl.MarkUnpaid, Table: netctl.TableOnline},
			{Priority: netctl.TableHeld, In: c.hotspot, Table: netctl.TableHeld},
		},
	}
	interfaces := []string{c.hotspot}
	if c.uplink != nil {
		interfaces = append(interfaces, c.line)
		p.Cap = Chain(*c.uplink)
		if c.all {
			p.Way = c.line
			if c.Gateway.IsValid() {
				p.Way += " via " + c.Gateway.String()
			}
		}
		if c.essential && c.uplink.Reserve != 0 {
			p.Reserve = ReserveChain(*c.uplink)
		}
		if c.forwards() {
			p.Routes = append(p.Routes, netctl.Route{
				Table: netctl.TableOnline, Kind: "unicast", To: everywhere, Device: c.line, Gateway: c.Gateway,
			})
		}
		p.Shapers = c.shapers()
	}
	p.Sysctls = c.sysctls(interfaces)
	for _, n := range closed(c.Networks) {
		p.Routes = append(p.Routes, netctl.Route{Table: netctl.TableOnline, Kind: "local", To: n, Device: "lo"})
	}
	p.Tables = c.withLANs([]netctl.Table{c.raw(), c.mangle(), c.nat(), c.filter(p.Cap, p.Reserve), c.ipv6()})
	p.Filters = []netctl.Filter{c.arpTaken(), c.frames(), c.connected()}
	return p
}

// Hotspot returns the name of the interface that residents' packets come in by.
func Hotspot(c *config.Config) string {
	if c.Hotspot.Radio == "hostapd" {
		return netctl.Bridge
	}
	return c.Hotspot.Interface
}

// bridge returns the hardware address of the box's own bridge, none where it has none. It is the same each time, so that
// devices which know it find the box again, and administered locally (IEEE 802-2014, 8.4); on another network than this
// one it is never seen.
func (c compiler) bridge() (mac netctl.MAC) {
	if c.hotspot == netctl.Bridge {
		mac[0] = 2
		sum := fnv.New32a()
		sum.Write([]byte(c.Config.Box.Hostname))
		sum.Sum(mac[2:2])
	}
	return mac
}

// Chain returns the name of the chain that holds a donation's tranches. One without a cap has another than the same with
// one: a rule without an end must not be found where a cap was set since.
func Chain(d config.Donation) string {
	if d.Cap == 0 {
		return netctl.ChainOf(d.Name + " without a cap")
	}
	return netctl.ChainOf(d.Name)
}

// ReserveChain returns the name of the chain that holds the tranches of what a donation keeps for essential services.
func ReserveChain(d config.Donation) string {
	return netctl.ChainOf(d.Name + " for essential services")
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

func (c compiler) sysctls(interfaces []string) []netctl.Sysctl {
	room := fmt.Sprint(Tracked(c.Memory))
	s := []netctl.Sysctl{
		{Path: "net/ipv4/ip_forward", Value: "1"},
		{Path: "net/ipv4/ip_early_demux", Value: "0"},
		{Path: "net/ipv4/conf/all/rp_filter", Value: "0"},
		{Path: "net/netfilter/nf_conntrack_buckets", Value: room, AtLeast: true},
		{Path: "net/netfilter/nf_conntrack_max", Value: room, AtLeast: true},
		// Residents' exchanges are evidence that a line works (netctl/uplink); without their bytes the box asks instead.
		{Path: "net/netfilter/nf_conntrack_acct", Value: "1", AtLeast: true},
	}
	for _, state := range []string{"time_wait", "close"} { // see mostClosed
		s = append(s, netctl.Sysctl{
			Path: "net/netfilter/nf_conntrack_tcp_timeout_" + state, Value: fmt.Sprint(closedSeconds),
		})
	}
	// The neighbour table has room for the network, and for the machine's others.
	hosts := 1 << (32 - c.network.Bits())
	for i, times := range []int{1, 2, 4} {
		s = append(s, netctl.Sysctl{
			Path: fmt.Sprintf("net/ipv4/neigh/default/gc_thresh%d", i+1), Value: fmt.Sprint(times * max(hosts, 256)), AtLeast: true,
		})
	}
	for _, i := range interfaces {
		conf := "net/ipv4/conf/" + i + "/"
		s = append(s,
			netctl.Sysctl{Path: conf + "rp_filter", Value: "0"},
			netctl.Sysctl{Path: conf + "accept_local", Value: "1"},
			// The way is the plan's to choose; nobody on the network may advise another.
			netctl.Sysctl{Path: conf + "accept_redirects", Value: "0"},
			// Every address is local to who is held (TableHeld), and all of the box's are on every link: it answers ARP for
			// those of the link alone, and asks with one of them.
			netctl.Sysctl{Path: conf + "arp_ignore", Value: "1"},
			netctl.Sysctl{Path: conf + "arp_announce", Value: "2"},
			netctl.Sysctl{Path: conf + "proxy_arp", Value: "0"},
			// What is addressed to one is not said to all (RFC 1122, section 3.3.6).
			netctl.Sysctl{Path: conf + "drop_unicast_in_l2_multicast", Value: "1"},
		)
	}
	return s
}

// shapers returns the HTB trees, none where nothing is limited: a queue that limits nothing still costs 10 to 15 % of
// the throughput (make bench).
func (c compiler) shapers() []netctl.Shaper {
	l, d := c.Config.Limits, c.uplink
	var essential uint64
	if c.essential {
		essential = uint64(c.Config.Essential.Rate)
	}
	var s []netctl.Shaper
	if c.forwards() && (l.Download != 0 || d.Download != 0 || essential != 0) {
		s = append(s, netctl.Shaper{
			Device: c.hotspot, Direction: netctl.Download, Total: uint64(d.Download), Essential: essential,
		})
	}
	if l.Upload != 0 || d.Upload != 0 || essential != 0 {
		names := allGuestNames + admittedNames // bytes a second
		if c.onlyEssential() {
			names = 0 // they are essential services'
		}
		s = append(s, netctl.Shaper{
			Device: c.line, Direction: netctl.Upload, Total: uint64(d.Upload), Own: uint64(d.Upload), Essential: essential,
			Names: uint64(8 * names),
		})
	}
	return s
}

// mangle decides who may pass and in which class.
func (c compiler) mangle() netctl.Table {
	pre := netctl.Chain{Name: "PAS-PRE", Rules: []string{redirect + " -j DROP"}}
	line := netctl.Chain{Name: "PAS-BEYOND"}
	up := netctl.Chain{Name: "PAS-UP"}
	down := netctl.Chain{Name: "PAS-DOWN"}
	services := netctl.Chain{Name: "PAS-ESSENTIAL"}
	data := c.Config.Limits.Data != 0
	var others []netctl.Chain // that those lead to
	if len(c.LANs) > 0 {
		// They are counted before anything drops them.
		line.Rules = append(line.Rules, notUnicast+" -j "+netctl.ChainBroadcasts)
	}
	// Nobody reaches a resident but by answering: an answer is addressed to the line's address here, since connection tracking
	// turns it to the resident's only after mangle.
	line.Rules = append(line.Rules, fmt.Sprintf("-d %s -j PAS-STRAY", c.network))
	if c.all {
		pre.Rules = append(pre.Rules, "-j SET --map-set "+netctl.SetWho+" src,src --map-mark")
		down.Rules = append(down.Rules, redirect+" -j DROP")
		// Each look-up counts the packet.
		admit := "-j SET --map-set " + netctl.SetClass + " dst --map-mark"
		if c.limited || data {
			up.Rules = append(up.Rules, "-j SET --map-set "+netctl.SetClass+" src --map-prio")
			admit += " --map-prio"
		}
		down.Rules = append(down.Rules, admit)
	}
	if c.all && data {
		spent := func(end string) string {
			return fmt.Sprintf("-m set ! --match-set %s %s ! --update-counters --bytes-lt %d %s",
				netctl.SetClass, end, netctl.CountLimit, unmark)
		}
		up.Rules = append(up.Rules, spent("src"))
		down.Rules = append(down.Rules, spent("dst"))
	}
	if c.essential {
		related := netctl.Chain{Name: "PAS-RELATED"}
		for _, kind := range []int{3, 11, 12} { // unreachable (too large is one), time exceeded, wrong parameter
			related.Rules = append(related.Rules, fmt.Sprintf("-p icmp -m icmp --icmp-type %d %s", kind, markEssential))
		}
		// Of an admitted resident's packets it takes one look to know that they are none.
		to := netctl.Chain{Name: "PAS-TO-ESSENTIAL", Rules: []string{toEssential + " " + markEssential, relatedErrors + " -j " + related.Name}}
		from := netctl.Chain{Name: "PAS-OF-ESSENTIAL", Rules: []string{fromEssential + " " + markEssential, relatedErrors + " -j " + related.Name}}
		others = append(others, related, to, from)
		pre.Rules = append(pre.Rules, unmarked+" -j "+to.Name)
		down.Rules = append(down.Rules, unmarked+" -j "+from.Name)
		services.Rules = append(services.Rules,
			fmt.Sprintf("-j CLASSIFY --set-class %04x:%04x", netctl.HTBMajor, netctl.MinorEssential))
	}
	if c.Narrow {
		const clamp = "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"
		up.Rules = append(up.Rules, clamp)
		down.Rules = append(down.Rules, clamp)
		services.Rules = append(services.Rules, clamp)
	}
	t := netctl.Table{
		Name: "mangle",
		Jumps: []netctl.Jump{
			// What belongs to no connection would leave as it came, with a resident's address.
			{From: "PREROUTING", Match: "-i " + c.hotspot + " -m conntrack ! --ctstate INVALID", To: pre.Name},
			{From: "PREROUTING", Match: "! -i " + c.hotspot, To: line.Name},
		},
		Chains: append(others, pre, line, netctl.Chain{Name: "PAS-STRAY", Rules: []string{"-i lo -j RETURN", "-j DROP"}}),
	}
	if c.uplink == nil {
		return t
	}

	lead := func(from, match string, to netctl.Chain) {
		t.Jumps = append(t.Jumps, netctl.Jump{From: from, Match: match, To: to.Name})
		t.Chains = append(t.Chains, to)
	}
	if c.all && len(up.Rules) > 0 {
		lead("FORWARD", admitted, up)
	}
	if c.forwards() {
		lead("FORWARD", unmarked, down)
	}
	if c.essential {
		lead("FORWARD", essential, services)
	}
	lead("POSTROUTING", unpaid, netctl.Chain{Name: "PAS-UNPAID", Rules: []string{"-j DROP"}})
	return t
}

// nat looks at each connection once.
func (c compiler) nat() netctl.Table {
	refuse := fmt.Sprintf("-j DNAT --to-destination %s:%d", c.box, portRefused)
	above := func(most int) string {
		return fmt.Sprintf("-m connlimit --connlimit-above %d --connlimit-mask 32 --connlimit-saddr %s", most, refuse)
	}
	first := netctl.Chain{Name: "PAS-FIRST", Rules: append(c.toAnswerers(), fmt.Sprintf("-d %s -j RETURN", c.box))}
	// A connection that was begun over another line, or before the box knew it, is reset at once: nobody beyond the line may
	// answer for it.
	const midway = " -p tcp -m tcp ! --syn "
	if c.all {
		first.Rules = append(first.Rules,
			admitted+midway+refuse,
			admitted+" -p tcp -m tcp --dport 25 "+refuse,
			admitted+" -p tcp "+above(connections),
			admitted+" -p udp "+above(connections),
			admitted+" -j RETURN")
	}
	if c.essential {
		first.Rules = append(first.Rules, essential+midway+refuse, essential+" -p tcp "+above(essentialConns), essential+" -j RETURN")
	}
	probe := marked(netctl.MarkProbe, netctl.MarkProbe)
	first.Rules = append(first.Rules,
		fmt.Sprintf("-m ttl --ttl-lt %d -j MARK --set-xmark %#x/%#x", probeHops, netctl.MarkProbe, netctl.MarkProbe),
		probe+" -j RETURN",
		fmt.Sprintf("-p tcp -m tcp --dport 80 -j DNAT --to-destination %s:%d", c.box, PortPortal),
		// A reset may come from any address, an ICMP error only from one of the box's own: this makes it so. Who asks all
		// for an address is left alone.
		"! -d 255.255.255.255/32 -p udp "+refuse)
	t := netctl.Table{
		Name:   "nat",
		Jumps:  []netctl.Jump{{From: "PREROUTING", Match: "-i " + c.hotspot, To: "PAS-FIRST"}},
		Chains: []netctl.Chain{first},
	}
	if c.forwards() {
		t.Jumps = append(t.Jumps, netctl.Jump{
			From: "POSTROUTING", Match: fmt.Sprintf("-s %s -o %s", c.network, c.line), To: "PAS-LEAVE",
		})
		t.Chains = append(t.Chains, netctl.Chain{Name: "PAS-LEAVE", Rules: []string{"-j MASQUERADE"}})
	}
	return t
}

// filter lets pay, and refuses. Quota and reserve are the chains to pay from, "" for none.
func (c compiler) filter(quota, reserve string) netctl.Table {
	box := c.box
	refuse := []string{
		"-p tcp -j REJECT --reject-with tcp-reset",
		"-j REJECT --reject-with icmp-port-unreachable",
	}
	in := netctl.Chain{Name: "PAS-IN", Rules: []string{
		// Also from an address of another network, to be told that it is none here.
		"-p udp -m udp --dport 67 -j ACCEPT",
		fmt.Sprintf("! -s %s -j DROP", c.network),
		"-m conntrack --ctstate INVALID -j DROP",
		// A name server answers who was given to it: where nothing chose one, nobody is.
		fmt.Sprintf("-d %s -p udp -m multiport --dports %d,%d,%d %s -j ACCEPT", box, PortDNS, PortGuest, PortCaptive, chosen),
		fmt.Sprintf("-d %s -p tcp -m tcp --syn -m connlimit --connlimit-above %d --connlimit-mask 32 --connlimit-saddr -j REJECT --reject-with tcp-reset", box, portalConnections),
		fmt.Sprintf("-d %s -p tcp -m multiport --dports %d,%d -j ACCEPT", box, PortPortal, PortSecure),
		fmt.Sprintf("-d %s -p tcp -m multiport --dports %d,%d,%d %s -j ACCEPT", box, PortDNS, PortGuest, PortCaptive, chosen),
		fmt.Sprintf("-d %s -p icmp -m icmp --icmp-type 8 -m hashlimit --hashlimit-upto 10/sec --hashlimit-burst 50 --hashlimit-mode srcip --hashlimit-name pas-ping -j ACCEPT", box),
	}}
	// Errors about connections that are tracked, e.g. an answer that a phone no longer waits for.
	in.Rules = append(in.Rules, "-p icmp -j DROP")
	in.Rules = append(in.Rules, refuse...)

	t := netctl.Table{
		Name:  "filter",
		Jumps: []netctl.Jump{{From: "INPUT", Match: "-i " + c.hotspot, To: "PAS-IN"}},
	}
	if c.uplink != nil {
		billed, more := c.billed(quota)
		t.Keep = []string{quota}
		ask, told := c.onLine()
		t.Chains = append(t.Chains, ask, told)
		t.Chains = append(t.Chains, more...)
		if c.NamesUser != "" {
			t.Jumps = append(t.Jumps, netctl.Jump{From: "OUTPUT", Match: "-o " + c.line + c.ofNames(), To: ask.Name})
		}
		t.Jumps = append(t.Jumps, netctl.Jump{From: "INPUT", Match: "-i " + c.line, To: told.Name})
		// What the box itself sends and gets pays as well; it is not refused, whatever is left. Names are.
		if c.forwards() {
			t.Jumps = append(t.Jumps, netctl.Jump{From: "FORWARD", Match: unpaid, To: quota})
		}
		t.Jumps = append(t.Jumps,
			netctl.Jump{From: "INPUT", Match: "-i " + c.line, To: billed},
			netctl.Jump{From: "OUTPUT", Match: "-o " + c.line, To: quota})
	}
	if reserve != "" {
		t.Keep = append(t.Keep, reserve)
		pay := netctl.Chain{Name: "PAS-RESERVE", Rules: []string{
			essential + " -j " + reserve,
			toEssential + " -j " + reserve, // of an admitted resident, when the general part is spent
			fromEssential + " -j " + reserve,
		}}
		t.Jumps = append(t.Jumps, netctl.Jump{From: "FORWARD", Match: unpaid, To: pay.Name})
		if !c.all { // names are those of essential services
			pay.Rules = append(pay.Rules, asked+" -j "+reserve)
			t.Jumps = append(t.Jumps,
				netctl.Jump{From: "INPUT", Match: "-i " + c.line + " " + asked, To: pay.Name},
				netctl.Jump{From: "OUTPUT", Match: "-o " + c.line + " " + asked, To: pay.Name})
		}
		t.Chains = append(t.Chains, pay)
	}
	if c.uplink != nil {
		t.Jumps = append(t.Jumps, netctl.Jump{From: "INPUT", Match: "-i " + c.line + " " + asked, To: "PAS-UNPAID"})
		t.Chains = append(t.Chains, netctl.Chain{Name: "PAS-UNPAID", Rules: []string{"-j DROP"}})
	}
	t.Jumps = append(t.Jumps,
		netctl.Jump{From: "FORWARD", Match: "-i " + c.hotspot, To: "PAS-REFUSE"},
		netctl.Jump{From: "FORWARD", Match: "-o " + c.hotspot, To: "PAS-REFUSE"})
	// A tranche's rule goes to PAS-PAID, which accepts what is forwarded and lets the box's own packets return to the
	// rules of whoever administers the machine.
	paid := netctl.Chain{Name: netctl.ChainPaid, Rules: []string{
		unmarked + " -j RETURN",
		unmark,
		"-j ACCEPT",
	}}
	// The server of leases answers where a client says it is, which may be anywhere: on the hotspot only.
	if c.NamesUser != "" {
		t.Jumps = append(t.Jumps, netctl.Jump{
			From: "OUTPUT", Match: "! -o " + c.hotspot + " -p udp -m udp --sport 67" + c.ofNames(), To: "PAS-APART",
		})
	}
	// A box that forwards must not join its lenders' networks, whatever their interfaces are called.
	t.Jumps = append(t.Jumps, netctl.Jump{
		From: "FORWARD", Match: fmt.Sprintf("! -i %s ! -o %s", c.hotspot, c.hotspot), To: "PAS-APART",
	})
	apart := netctl.Chain{Name: "PAS-APART", Rules: []string{"-j DROP"}}
	t.Chains = append(t.Chains, in, netctl.Chain{Name: "PAS-REFUSE", Rules: refuse}, paid, apart)
	return t
}

// ipv6 closes IPv6 until it is built properly: it would pass beside the gate and beside the count. Only the machine itself
// may use it for itself: a line that has another name, or appears later, is closed too.
func (c compiler) ipv6() netctl.Table {
	const to = "PAS-NONE"
	return netctl.Table{
		IPv6:   true,
		Name:   "mangle",
		Chains: []netctl.Chain{{Name: to, Rules: []string{"-j DROP"}}},
		Jumps:  []netctl.Jump{{From: "PREROUTING", Match: "! -i lo", To: to}, {From: "OUTPUT", Match: "! -o lo", To: to}},
	}
}

// essentialEach returns how many bytes of the reserve one device may use in a day.
func (c compiler) essentialEach() uint64 {
	days := map[string]uint64{"week": 7, "month": 30}[c.uplink.Period]
	return max(reserveLeast, uint64(c.uplink.Reserve)/max(1, days)/reservePart)
}
