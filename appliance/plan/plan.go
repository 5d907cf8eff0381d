// Package plan compiles configuration and decision into the desired kernel state (netctl.Plan) and the desired
// children. It is pure: the same input gives the same text, which golden files hold. It owns every rule, route, class
// and dnsmasq option of the box and the reasons for them; it neither reads nor changes anything.
//
// # The path of a packet
//
// From a resident, a frame is first checked against the bindings of addresses to devices (frames.go), and a DNS query
// is assigned to one of the box's name servers (names.go). Then mangle/PREROUTING looks up the sender's IP and MAC in
// the set of admitted residents, whose entry carries the mark (one array look-up, which sets the mark: no match, no
// second rule). The mark selects the routing table of the chosen uplink; a packet without it is routed into the box
// itself, whose INPUT resets TCP and rejects the rest. In the uplink's table the special-purpose ranges and every
// network that the box is connected to are routed there as well: the lender's network is closed by routing, at no cost
// for each packet, and rejected at once. (A prohibit route would answer by ICMP, which the kernel soon limits to one a
// second for each resident.)
//
// To a resident: mangle/FORWARD looks up the receiver, and sets the same mark if it is admitted. A resident whose data
// of the day is spent gets the class of his slow lane there, in either direction, or loses the mark if he has none.
//
// In both directions filter/FORWARD sends a marked packet to the quota chain, which charges the packet and removes the
// mark; mangle/POSTROUTING drops packets that still have it. So flushing any table closes the gate: without mangle no packet gets a
// mark, without filter no packet loses it, and without nat no new connection has an address that the internet can answer.
//
// Once a packet has the mark, rules match the mark and not the interface: a number is cheaper than a name, of which
// nft_meta_store_ifname (net/netfilter/nft_meta.c) copies 16 bytes for each rule that matches it.
//
// Essential services are a walled garden with a mark of its own: https to an address that dnsmasq has resolved for one
// of their names is marked for every sender except an admitted resident, who has more. It is charged to the general
// part of the cap first, and when that is spent to the reserve. An address is only an approximation of the service: on
// a shared host, the other sites are reachable too. The rate limit of all together and the reserve bound that.
//
// Rules that need to match only once a connection (the portal's port 80, DNS, port 25, the connection limits) are in
// the nat table, where only a connection's first packet passes; they redirect what they refuse to a port of the box
// that INPUT rejects. Packets with a low TTL, as traceroute sends them, are rejected there by a prohibit route, whose
// error comes from the box's own address.
//
// # The slow lane
//
// When a session has used its data, the kernel itself moves it to the slow lane: the same rule that would cut it off gives its
// packets another class, that of the session's entry in a second set. This needs no daemon, breaks no connection, and fails closed:
// without an entry the packet is refused, and the entry exists only while its class does. The lane is charged to the cap like
// everything else, so a spent tranche ends it too. Each resident has a class of his own, with the lane's rate as its ceiling: no
// one can use up another's, and neither another press nor another flow gets more. What a resident sent in the lane counts as used,
// so a new session starts in the lane. Essential services are as fast for him as for everybody. All lanes together are below one
// class with a part of the line (netctl/gate), so that made-up devices get no more than that; residents with data left take
// precedence.
//
// # Two kernel parameters that are less obvious
//
// With policy routing, the kernel looks up the reverse path of every packet it forwards (fib_validate_source in
// net/ipv4/fib_frontend.c), and finds the table of the unauthenticated there; accept_local with rp_filter off on the
// two interfaces skips that check. Nothing depends on it: a resident's address is checked against the set, and a packet
// from a line must be the answer to a masqueraded connection. ip_early_demux looks for a local socket for each
// forwarded packet, which is wasted on a router (Documentation/networking/ip-sysctl.rst).
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
	"passerelle/netctl/autorate"
)

// Ports of the box that residents may reach, besides those for names (names.go).
const (
	PortPortal  = 80
	PortSecure  = 443 // the lenders' pages
	portRefused = 9   // discard (RFC 863): nothing of ours listens, INPUT rejects it
)

// Lifetimes of essential services' names. dnsmasq adds an address to the set when it resolves a name, not when it
// answers from its cache, and a phone caches the answer too: the set's entry must outlive both caches together. An hour
// keeps a connection open whose name nobody resolves again.
const (
	essentialTTL  = 5 * time.Minute
	essentialKept = time.Hour
)

// lowTTL is below the TTL of any device's own packets on arrival: initial TTLs are 64 or more, and 32 on the oldest
// systems. Packets with less are path discovery, and the box's own address answers them with an error: a reset or an
// error that seems to come from the destination would name this as the next hop.
const lowTTL = 16

// Limits for one resident, so that none can exhaust the table.
const (
	maxConns          = 512 // tracked connections to the internet, of each protocol
	maxPortalConns    = 64  // connections to the box
	maxEssentialConns = 64  // connections to essential services
)

// One device's part of the reserve for essential services: a part of the reserve's daily budget, but enough for a form.
const (
	reservePart = 10
	reserveMin  = 2_000_000 // bytes
)

// Input is the input of Compile.
type Input struct {
	Config   *config.Config
	Decision decide.Decision
	IfName   string         // the chosen donation's interface; "": as configured
	Gateway  netip.Addr     // of the chosen uplink; invalid for a point-to-point line
	Networks []netip.Prefix // connected to the machine other than by the hotspot: unreachable for residents
	LANs     []LAN          // the present lines of donations
	ClampMSS bool           // the chosen uplink's MTU is smaller than the hotspot's: clamp the TCP MSS

	NameServers  int    // of the chosen uplink, in use
	NamesUser    string // user ID of DNSUser; "": it does not exist, so no name server of the box runs
	Memory       uint64 // of the machine in bytes; 0: not known
	ConntrackMax uint64 // nf_conntrack_max; 0: not known
}

// bogons6 are IPv6 addresses that lead to a device itself, its link or its site (RFC 4291, RFC 4193).
var bogons6 = []netip.Prefix{
	netip.MustParsePrefix("::/127"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// Matches on marks, and targets that set them. A packet has one of our marks only until it is charged.
var (
	admitted       = marked(netctl.MarkAuthorized, netctl.MarkMask)
	essential      = marked(netctl.MarkGarden, netctl.MarkMask)
	dnsMarked      = marked(netctl.MarkUpstreamDNS, netctl.MarkMask)
	unmarked       = marked(0, netctl.MarkMask)
	uncharged      = marked(netctl.MarkUncharged, netctl.MarkUncharged)
	notPlain       = marked(0, netctl.MarkPlain)
	resolverChosen = fmt.Sprintf("-m mark ! --mark 0x0/%#x", netctl.MarkDNSMask) // a name server is assigned
	unmark         = fmt.Sprintf("-j MARK --set-xmark 0x0/%#x", netctl.MarkMask)
	markEssential  = fmt.Sprintf("-j MARK --set-xmark %#x/%#x", netctl.MarkGarden, netctl.MarkMask)
)

func marked(mark, mask uint32) string { return fmt.Sprintf("-m mark --mark %#x/%#x", mark, mask) }

// Matches for the walled garden: https to its addresses, and ICMP errors about its connections. Without the errors for packets that
// are too large, an upload would hang if the path MTU is smaller than the line's.
const (
	relatedErrors = "-p icmp -m conntrack --ctstate RELATED"
	redirect      = "-p icmp -m icmp --icmp-type 5"

	toEssential   = "-p tcp -m tcp --dport 443 -m set --match-set " + netctl.SetGarden + " dst"
	fromEssential = "-p tcp -m tcp --sport 443 -m set --match-set " + netctl.SetGarden + " src"
)

var anyAddress = netip.MustParsePrefix("0.0.0.0/0")

// compiler is the shared input of a plan's parts.
type compiler struct {
	Input
	hotspot   string
	box       netip.Addr
	network   netip.Prefix
	uplink    *config.Donation // nil: no uplink
	egress    string           // its interface; without internet and essential, only DNS uses it
	internet  bool             // admitted residents reach the internet
	essential bool             // everybody reaches essential services
	shaped    bool             // residents have classes
	slow      uint64           // rate of the slow lane, in bit/s; 0 if a session passes nothing more once its data is used
}

// Compile returns the desired kernel state.
func Compile(in Input) netctl.Plan {
	c := compiler{
		Input:    in,
		hotspot:  Hotspot(in.Config),
		box:      in.Config.Hotspot.Address.Addr(),
		network:  in.Config.Hotspot.Address.Masked(),
		internet: in.Decision.Internet == decide.AllInternet,
	}
	if in.Config.Limits.Data != 0 {
		c.slow = uint64(in.Config.Limits.After)
	}
	d := in.Decision
	services := len(in.Config.Essential.Names) > 0 && (c.internet || d.Internet == decide.EssentialOnly)
	if d.Donation >= 0 && (c.internet || services || d.Names) {
		c.uplink = &in.Config.Donations[d.Donation]
		c.egress = cmp.Or(in.IfName, c.uplink.Interface)
		c.essential = services
		l := in.Config.Limits
		c.shaped = c.internet && (l.Download != 0 || l.Upload != 0 || c.uplink.Download != 0 || c.uplink.Upload != 0)
	}
	return c.compile()
}

// forwards tells whether residents' packets are forwarded at all. Otherwise the absence of rules, routes and NAT closes
// the gate.
func (c compiler) forwards() bool { return c.uplink != nil && (c.internet || c.essential) }

// onlyEssential tells whether only essential services are reachable, so that only their names are resolved.
func (c compiler) onlyEssential() bool { return c.essential && !c.internet }

func (c compiler) compile() netctl.Plan {
	limits := c.Config.Limits
	p := netctl.Plan{
		Hotspot: netctl.Interface{Name: c.hotspot, Address: c.Config.Hotspot.Address, MAC: c.bridgeMAC()},
		Sets: []netctl.Set{
			{Name: netctl.SetClients, Type: "bitmap:ip,mac", Network: c.network},
			{Name: netctl.SetAccounting, Type: "bitmap:ip", Network: c.network, Counters: true},
			{Name: netctl.SetSlow, Type: "bitmap:ip", Network: c.network},
			{Name: netctl.SetUsage, Type: "bitmap:ip,mac", Network: c.network, Counters: true},
			{Name: netctl.SetGarden, Type: "hash:ip", Timeout: essentialKept},
		},
		Class: netctl.Class{Download: uint64(limits.Download), Upload: uint64(limits.Upload), Slow: c.slow},
		Routes: []netctl.Route{
			{Table: netctl.TableCaptive, Kind: "local", To: anyAddress, Device: "lo"},
			{Table: netctl.TableReject, Kind: "prohibit", To: anyAddress},
		},
		Rules: []netctl.Rule{
			{Priority: netctl.TableReject, In: c.hotspot, Mark: netctl.MarkLowTTL, Mask: netctl.MarkLowTTL, Table: netctl.TableReject},
			{Priority: netctl.TableAuthorized, In: c.hotspot, Mark: netctl.MarkUncharged, Mask: netctl.MarkUncharged, Table: netctl.TableAuthorized},
			{Priority: netctl.TableCaptive, In: c.hotspot, Table: netctl.TableCaptive},
		},
	}
	interfaces := []string{c.hotspot}
	if c.uplink != nil {
		interfaces = append(interfaces, c.egress)
		p.Cap = Chain(*c.uplink)
		if c.internet {
			p.Egress = c.egress
			if c.Gateway.IsValid() {
				p.Egress += " via " + c.Gateway.String()
			}
		}
		if c.essential && c.uplink.Reserve != 0 {
			p.Reserve = ReserveChain(*c.uplink)
		}
		if c.forwards() {
			p.Routes = append(p.Routes, netctl.Route{
				Table: netctl.TableAuthorized, Kind: "unicast", To: anyAddress, Device: c.egress, Gateway: c.Gateway,
			})
		}
		p.Shapers = c.shapers()
	}
	p.Sysctls = c.sysctls(interfaces)
	for _, n := range unreachable(c.Networks) {
		p.Routes = append(p.Routes, netctl.Route{Table: netctl.TableAuthorized, Kind: "local", To: n, Device: "lo"})
	}
	p.Tables = c.withLANs([]netctl.Table{c.raw(), c.mangle(), c.nat(), c.filter(p.Cap, p.Reserve), c.ipv6()})
	p.NFTables = []netctl.NFTable{c.arpFilter(), c.bindingFilter(), c.connFilter()}
	return p
}

// Hotspot returns the name of the interface towards residents.
func Hotspot(c *config.Config) string {
	if c.Hotspot.Radio == "hostapd" {
		return netctl.Bridge
	}
	return c.Hotspot.Interface
}

// bridgeMAC returns the hardware address of the box's own bridge, zero if it has none. It is stable, so that devices
// recognise the box, and locally administered (IEEE 802-2014, 8.4); it is never seen on another network.
func (c compiler) bridgeMAC() (mac netctl.MAC) {
	if c.hotspot == netctl.Bridge {
		mac[0] = 2
		sum := fnv.New32a()
		sum.Write([]byte(c.Config.Box.Hostname))
		sum.Sum(mac[2:2])
	}
	return mac
}

// Chain returns the name of the chain with a donation's tranches. It differs with and without a cap: an unlimited rule
// must not be found after a cap was set.
func Chain(d config.Donation) string {
	if d.Cap == 0 {
		return netctl.ChainOf(d.Name + " without a cap")
	}
	return netctl.ChainOf(d.Name)
}

// ReserveChain returns the name of the chain with the tranches of a donation's reserve for essential services.
func ReserveChain(d config.Donation) string {
	return netctl.ChainOf(d.Name + " for essential services")
}

// unreachable returns the networks that residents never reach, without those that are part of another.
func unreachable(connected []netip.Prefix) []netip.Prefix {
	all := slices.Clone(netctl.SpecialPurpose)
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
	tableSize := fmt.Sprint(ConntrackMax(c.Memory))
	s := []netctl.Sysctl{
		{Path: "net/ipv4/ip_forward", Value: "1"},
		{Path: "net/ipv4/ip_early_demux", Value: "0"},
		{Path: "net/ipv4/conf/all/rp_filter", Value: "0"},
		{Path: "net/netfilter/nf_conntrack_buckets", Value: tableSize, AtLeast: true},
		{Path: "net/netfilter/nf_conntrack_max", Value: tableSize, AtLeast: true},
		// Residents' completed exchanges prove that a line works (netctl/uplink); without byte counters the box must
		// probe instead.
		{Path: "net/netfilter/nf_conntrack_acct", Value: "1", AtLeast: true},
	}
	for _, state := range []string{"time_wait", "close"} { // see maxClosed
		s = append(s, netctl.Sysctl{
			Path: "net/netfilter/nf_conntrack_tcp_timeout_" + state, Value: fmt.Sprint(closedSeconds),
		})
	}
	// The neighbour table must hold the hotspot's network, and the machine's others.
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
			// The plan chooses the next hop; ICMP redirects must not.
			netctl.Sysctl{Path: conf + "accept_redirects", Value: "0"},
			// Every address is local to unauthenticated devices (TableCaptive), and the kernel would answer ARP for all of
			// the box's addresses on every link: arp_ignore restricts it to the link's own address, and arp_announce
			// uses that as the source.
			netctl.Sysctl{Path: conf + "arp_ignore", Value: "1"},
			netctl.Sysctl{Path: conf + "arp_announce", Value: "2"},
			netctl.Sysctl{Path: conf + "proxy_arp", Value: "0"},
			// Unicast IP in a link-layer multicast is dropped (RFC 1122, section 3.3.6).
			netctl.Sysctl{Path: conf + "drop_unicast_in_l2_multicast", Value: "1"},
		)
	}
	return s
}

// autorateCeiling is the highest rate, in bit/s, of a line whose lender set none: more than a phone or a small board's radio
// carries in practice.
const autorateCeiling = 100e6

// AutorateLimits returns the highest rates of a donation with autorate, in bit/s.
func AutorateLimits(d config.Donation) (down, up uint64) {
	return cmp.Or(uint64(d.Download), autorateCeiling), cmp.Or(uint64(d.Upload), autorateCeiling)
}

// floorOf returns the lowest rate of a line with autorate, in bit/s.
func floorOf(lent uint64) uint64 { return uint64(float64(lent) * autorate.FloorPart) }

// shapers returns the HTB trees, none if nothing is limited: an unlimited queue still costs 10 to 15 % of the
// throughput (make bench).
func (c compiler) shapers() []netctl.Shaper {
	l, d := c.Config.Limits, c.uplink
	var essential uint64
	if c.essential {
		essential = uint64(c.Config.Essential.Rate)
	}
	down, up := uint64(d.Download), uint64(d.Upload)
	var floorDown, floorUp uint64
	if d.Autorate {
		down, up = AutorateLimits(*d)
		floorDown, floorUp = floorOf(down), floorOf(up)
	}
	var s []netctl.Shaper
	if c.forwards() && (l.Download != 0 || down != 0 || essential != 0 || c.slow != 0) {
		s = append(s, netctl.Shaper{
			Device: c.hotspot, Direction: netctl.Download, Total: down, Floor: floorDown, Garden: essential,
		})
	}
	if l.Upload != 0 || up != 0 || essential != 0 || c.internet && c.slow != 0 {
		names := allGuestNames + admittedNames // bytes a second
		if c.onlyEssential() {
			names = 0 // DNS is part of essential services
		}
		s = append(s, netctl.Shaper{
			Device: c.egress, Direction: netctl.Upload, Total: up, Floor: floorUp, Own: up, Garden: essential,
			DNS: uint64(8 * names),
		})
	}
	return s
}

// mangle decides which packets may pass, and in which class.
func (c compiler) mangle() netctl.Table {
	pre := netctl.Chain{Name: "PAS-PREROUTING", Rules: []string{redirect + " -j DROP"}}
	line := netctl.Chain{Name: "PAS-UPLINK"}
	up := netctl.Chain{Name: "PAS-UPLOAD"}
	down := netctl.Chain{Name: "PAS-DOWNLOAD"}
	services := netctl.Chain{Name: "PAS-GARDEN"}
	data := c.Config.Limits.Data != 0
	var others []netctl.Chain // that these jump to
	if len(c.LANs) > 0 {
		// Broadcasts are counted before any rule drops them.
		line.Rules = append(line.Rules, notUnicast+" -j "+netctl.ChainBroadcasts)
	}
	// Only answers reach a resident: here an answer still has the line's address as its destination, because conntrack
	// translates it to the resident's only after mangle.
	line.Rules = append(line.Rules, fmt.Sprintf("-d %s -j PAS-SPOOF", c.network))
	if c.internet {
		pre.Rules = append(pre.Rules, "-j SET --map-set "+netctl.SetClients+" src,src --map-mark")
		down.Rules = append(down.Rules, redirect+" -j DROP")
		// Each look-up counts the packet, so there is only one.
		admit := "-j SET --map-set " + netctl.SetAccounting + " dst --map-mark"
		if c.shaped || data {
			up.Rules = append(up.Rules, "-j SET --map-set "+netctl.SetAccounting+" src --map-prio")
			admit += " --map-prio"
		}
		down.Rules = append(down.Rules, admit)
	}
	if c.internet && data {
		upSpent, downSpent := unmark, unmark
		if c.slow != 0 {
			toLane, fromLane := slowLane("PAS-SLOW-SRC", "src"), slowLane("PAS-SLOW-DST", "dst")
			if c.essential {
				toLane.Rules = append(toLane.Rules, toEssential+" "+markEssential)
				fromLane.Rules = append(fromLane.Rules, fromEssential+" "+markEssential)
			}
			others = append(others, toLane, fromLane)
			upSpent, downSpent = "-j "+toLane.Name, "-j "+fromLane.Name
		}
		up.Rules = append(up.Rules, spent("src")+upSpent)
		down.Rules = append(down.Rules, spent("dst")+downSpent)
	}
	if c.essential {
		related := netctl.Chain{Name: "PAS-GARDEN-ICMP"}
		for _, kind := range []int{3, 11, 12} { // unreachable (which includes too large), time exceeded, parameter problem
			related.Rules = append(related.Rules, fmt.Sprintf("-p icmp -m icmp --icmp-type %d %s", kind, markEssential))
		}
		// For an admitted resident's packets, a single match skips these chains.
		to := netctl.Chain{Name: "PAS-GARDEN-DST", Rules: []string{toEssential + " " + markEssential, relatedErrors + " -j " + related.Name}}
		from := netctl.Chain{Name: "PAS-GARDEN-SRC", Rules: []string{fromEssential + " " + markEssential, relatedErrors + " -j " + related.Name}}
		others = append(others, related, to, from)
		pre.Rules = append(pre.Rules, unmarked+" -j "+to.Name)
		down.Rules = append(down.Rules, unmarked+" -j "+from.Name)
		services.Rules = append(services.Rules,
			fmt.Sprintf("-j CLASSIFY --set-class %04x:%04x", netctl.HTBMajor, netctl.MinorGarden))
	}
	if c.ClampMSS {
		const clamp = "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"
		up.Rules = append(up.Rules, clamp)
		down.Rules = append(down.Rules, clamp)
		services.Rules = append(services.Rules, clamp)
	}
	t := netctl.Table{
		Name: "mangle",
		Jumps: []netctl.Jump{
			// An INVALID packet would leave untranslated, with a resident's address.
			{From: "PREROUTING", Match: "-i " + c.hotspot + " -m conntrack ! --ctstate INVALID", To: pre.Name},
			{From: "PREROUTING", Match: "! -i " + c.hotspot, To: line.Name},
		},
		Chains: append(others, pre, line, netctl.Chain{Name: "PAS-SPOOF", Rules: []string{"-i lo -j RETURN", "-j DROP"}}),
	}
	if c.uplink == nil {
		return t
	}

	addJump := func(from, match string, to netctl.Chain) {
		t.Jumps = append(t.Jumps, netctl.Jump{From: from, Match: match, To: to.Name})
		t.Chains = append(t.Chains, to)
	}
	if c.internet && len(up.Rules) > 0 {
		addJump("FORWARD", admitted, up)
	}
	if c.forwards() {
		addJump("FORWARD", unmarked, down)
	}
	if c.essential {
		addJump("FORWARD", essential, services)
	}
	addJump("POSTROUTING", uncharged, netctl.Chain{Name: "PAS-UNCHARGED", Rules: []string{"-j DROP"}})
	return t
}

// spent matches packets of a session whose data is used up. It counts nothing.
func spent(end string) string {
	return fmt.Sprintf("-m set ! --match-set %s %s ! --update-counters --bytes-lt %d ", netctl.SetAccounting, end, netctl.CountLimit)
}

// slowLane gives a packet the class of its session's slow lane. Without one, the packet loses its mark and is rejected.
func slowLane(name, end string) netctl.Chain {
	return netctl.Chain{Name: name, Rules: []string{
		fmt.Sprintf("-m set ! --match-set %s %s %s", netctl.SetSlow, end, unmark),
		fmt.Sprintf("-j SET --map-set %s %s --map-prio", netctl.SetSlow, end),
	}}
}

// nat sees each connection's first packet.
func (c compiler) nat() netctl.Table {
	refuse := fmt.Sprintf("-j DNAT --to-destination %s:%d", c.box, portRefused)
	above := func(most int) string {
		return fmt.Sprintf("-m connlimit --connlimit-above %d --connlimit-mask 32 --connlimit-saddr %s", most, refuse)
	}
	first := netctl.Chain{Name: "PAS-NAT-NEW", Rules: append(c.dnsRedirects(), fmt.Sprintf("-d %s -j RETURN", c.box))}
	// A connection from before a change of line, or from before the gate, is reset at once: nothing beyond the line may
	// answer for it.
	const nonSYN = " -p tcp -m tcp ! --syn "
	if c.internet {
		first.Rules = append(first.Rules,
			admitted+nonSYN+refuse,
			admitted+" -p tcp -m tcp --dport 25 "+refuse,
			admitted+" -p tcp "+above(maxConns),
			admitted+" -p udp "+above(maxConns),
			admitted+" -j RETURN")
	}
	if c.essential {
		first.Rules = append(first.Rules, essential+nonSYN+refuse, essential+" -p tcp "+above(maxEssentialConns), essential+" -j RETURN")
	}
	probe := marked(netctl.MarkLowTTL, netctl.MarkLowTTL)
	first.Rules = append(first.Rules,
		fmt.Sprintf("-m ttl --ttl-lt %d -j MARK --set-xmark %#x/%#x", lowTTL, netctl.MarkLowTTL, netctl.MarkLowTTL),
		probe+" -j RETURN",
		fmt.Sprintf("-p tcp -m tcp --dport 80 -j DNAT --to-destination %s:%d", c.box, PortPortal),
		// A reset may have any source address, an ICMP error only one of the box's own: the DNAT makes it so. Limited
		// broadcasts are exempt.
		"! -d 255.255.255.255/32 -p udp "+refuse)
	t := netctl.Table{
		Name:   "nat",
		Jumps:  []netctl.Jump{{From: "PREROUTING", Match: "-i " + c.hotspot, To: "PAS-NAT-NEW"}},
		Chains: []netctl.Chain{first},
	}
	if c.forwards() {
		t.Jumps = append(t.Jumps, netctl.Jump{
			From: "POSTROUTING", Match: fmt.Sprintf("-s %s -o %s", c.network, c.egress), To: "PAS-MASQ",
		})
		t.Chains = append(t.Chains, netctl.Chain{Name: "PAS-MASQ", Rules: []string{"-j MASQUERADE"}})
	}
	return t
}

// filter charges and rejects. quota and reserve are the chains to charge, "" for none.
func (c compiler) filter(quota, reserve string) netctl.Table {
	box := c.box
	refuse := []string{
		"-p tcp -j REJECT --reject-with tcp-reset",
		"-j REJECT --reject-with icmp-port-unreachable",
	}
	in := netctl.Chain{Name: "PAS-INPUT", Rules: []string{
		// Also from an address of another network, so that the client gets a DHCPNAK.
		"-p udp -m udp --dport 67 -j ACCEPT",
		fmt.Sprintf("! -s %s -j DROP", c.network),
		"-m conntrack --ctstate INVALID -j DROP",
		// A name server answers only queries that were assigned to it.
		fmt.Sprintf("-d %s -p udp -m multiport --dports %d,%d,%d %s -j ACCEPT", box, PortDNS, PortGuest, PortCaptive, resolverChosen),
		fmt.Sprintf("-d %s -p tcp -m tcp --syn -m connlimit --connlimit-above %d --connlimit-mask 32 --connlimit-saddr -j REJECT --reject-with tcp-reset", box, maxPortalConns),
		fmt.Sprintf("-d %s -p tcp -m multiport --dports %d,%d -j ACCEPT", box, PortPortal, PortSecure),
		fmt.Sprintf("-d %s -p tcp -m multiport --dports %d,%d,%d %s -j ACCEPT", box, PortDNS, PortGuest, PortCaptive, resolverChosen),
		fmt.Sprintf("-d %s -p icmp -m icmp --icmp-type 8 -m hashlimit --hashlimit-upto 10/sec --hashlimit-burst 50 --hashlimit-mode srcip --hashlimit-name pas-ping -j ACCEPT", box),
	}}
	// Errors about tracked connections, e.g. an answer that a phone no longer waits for.
	in.Rules = append(in.Rules, "-p icmp -j DROP")
	in.Rules = append(in.Rules, refuse...)

	t := netctl.Table{
		Name:  "filter",
		Jumps: []netctl.Jump{{From: "INPUT", Match: "-i " + c.hotspot, To: "PAS-INPUT"}},
	}
	if c.uplink != nil {
		billed, more := c.billed(quota)
		t.Keep = []string{quota}
		queries, replies := c.markDNS()
		t.Chains = append(t.Chains, queries, replies)
		t.Chains = append(t.Chains, more...)
		if c.NamesUser != "" {
			t.Jumps = append(t.Jumps, netctl.Jump{From: "OUTPUT", Match: "-o " + c.egress + c.dnsOwner(), To: queries.Name})
		}
		t.Jumps = append(t.Jumps, netctl.Jump{From: "INPUT", Match: "-i " + c.egress, To: replies.Name})
		// The box's own traffic is charged as well, and never refused. DNS is.
		if c.forwards() {
			t.Jumps = append(t.Jumps, netctl.Jump{From: "FORWARD", Match: uncharged, To: quota})
		}
		t.Jumps = append(t.Jumps,
			netctl.Jump{From: "INPUT", Match: "-i " + c.egress, To: billed},
			netctl.Jump{From: "OUTPUT", Match: "-o " + c.egress, To: quota})
	}
	if reserve != "" {
		t.Keep = append(t.Keep, reserve)
		pay := netctl.Chain{Name: "PAS-RESERVE", Rules: []string{
			essential + " -j " + reserve,
			toEssential + " -j " + reserve, // of an admitted resident, once the general part is spent
			fromEssential + " -j " + reserve,
		}}
		t.Jumps = append(t.Jumps, netctl.Jump{From: "FORWARD", Match: uncharged, To: pay.Name})
		if !c.internet { // DNS is only for essential services
			pay.Rules = append(pay.Rules, dnsMarked+" -j "+reserve)
			t.Jumps = append(t.Jumps,
				netctl.Jump{From: "INPUT", Match: "-i " + c.egress + " " + dnsMarked, To: pay.Name},
				netctl.Jump{From: "OUTPUT", Match: "-o " + c.egress + " " + dnsMarked, To: pay.Name})
		}
		t.Chains = append(t.Chains, pay)
	}
	if c.uplink != nil {
		t.Jumps = append(t.Jumps, netctl.Jump{From: "INPUT", Match: "-i " + c.egress + " " + dnsMarked, To: "PAS-UNCHARGED"})
		t.Chains = append(t.Chains, netctl.Chain{Name: "PAS-UNCHARGED", Rules: []string{"-j DROP"}})
	}
	t.Jumps = append(t.Jumps,
		netctl.Jump{From: "FORWARD", Match: "-i " + c.hotspot, To: "PAS-REJECT"},
		netctl.Jump{From: "FORWARD", Match: "-o " + c.hotspot, To: "PAS-REJECT"})
	// A tranche's rule jumps to PAS-CHARGED, which accepts forwarded packets and lets the box's own return to the
	// administrator's rules.
	paid := netctl.Chain{Name: netctl.ChainCharged, Rules: []string{
		unmarked + " -j RETURN",
		unmark,
		"-j ACCEPT",
	}}
	// The DHCP server sends its answer to the address that the client claims, which may be on any network: it is
	// allowed on the hotspot only.
	if c.NamesUser != "" {
		t.Jumps = append(t.Jumps, netctl.Jump{
			From: "OUTPUT", Match: "! -o " + c.hotspot + " -p udp -m udp --sport 67" + c.dnsOwner(), To: "PAS-ISOLATE",
		})
	}
	// A forwarding box must not connect its lenders' networks, under any interface name.
	t.Jumps = append(t.Jumps, netctl.Jump{
		From: "FORWARD", Match: fmt.Sprintf("! -i %s ! -o %s", c.hotspot, c.hotspot), To: "PAS-ISOLATE",
	})
	isolate := netctl.Chain{Name: "PAS-ISOLATE", Rules: []string{"-j DROP"}}
	t.Chains = append(t.Chains, in, netctl.Chain{Name: "PAS-REJECT", Rules: refuse}, paid, isolate)
	return t
}

// ipv6 blocks IPv6, which would bypass the gate and the accounting. Only the machine's loopback may use it: a line with
// another name, or one that appears later, is blocked too.
func (c compiler) ipv6() netctl.Table {
	const to = "PAS-DROP6"
	return netctl.Table{
		IPv6:   true,
		Name:   "mangle",
		Chains: []netctl.Chain{{Name: to, Rules: []string{"-j DROP"}}},
		Jumps:  []netctl.Jump{{From: "PREROUTING", Match: "! -i lo", To: to}, {From: "OUTPUT", Match: "! -o lo", To: to}},
	}
}

// reservePerDevice returns how many bytes of the reserve one device may use in a day.
func (c compiler) reservePerDevice() uint64 {
	days := map[string]uint64{"week": 7, "month": 30}[c.uplink.Period]
	return max(reserveMin, uint64(c.uplink.Reserve)/max(1, days)/reservePart)
}
