package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/bpf"

	"passerelle/netctl"
)

// # Bindings
//
// A resident is an address and a hardware address, bound to each other: by the device's DHCP lease, by its session, or
// because it alone answered the box's ARP probe for the address. Packets from an address that is not bound to their
// sender are dropped on ingress, before conntrack, DNS or any log. The same holds for ARP: no device can claim
// another's address to the box. Only ARP replies to the box are accepted from any device, because they create bindings;
// they reach the prober (netctl/arp), and not the kernel, which accepts only marked ARP.
//
// The kernel creates a lease's binding itself, from the DHCPACK on egress, so that a device may send as soon as it has
// its address, and no binding outlives its lease by more than the daemon's lifetime.
//
// These tables are nf_tables ones, because iptables sees no frames and keeps no state by hardware address.
const (
	portDHCP     = 67
	dhcpMessages = 4 // a second, of one device; a client without an answer retries after 1 to 4 s
	dhcpBurst    = 10
	arpMessages  = 50 // a second, of one device
	arpBurst     = 100

	// Newcomers are devices with a lease that are not settled yet. Their number on a port is limited: a device that
	// spoofs hardware addresses exhausts the pool for nobody on another port. Their leases are short.
	newcomers    = 64
	firstLease   = 2 * time.Minute
	maxStrangers = 64 // on a port, between two reads

	// acknowledgement matches a DHCPACK of dnsmasq, which puts the message type first (RFC 2132, section 9.6), after
	// the 8 bytes of UDP, the fixed part of 236 and the cookie of four.
	acknowledgement = "@th,1984,24 0x350105"
)

// Parts of a frame, as nft(8) writes payload: a base, an offset and a length, in bits.
const (
	senderMAC  = "@ll,48,48"
	sender     = "@ll,48,48 . @nh,96,32"  // hardware address and IPv4 source
	arpSender  = "@ll,48,48 . @nh,112,32" // hardware address and ARP's protocol address of the sender
	arpClaim   = "@nh,64,48 . @nh,112,32" // ARP's own hardware address and protocol address of the sender
	leased     = "@th,288,48 . @th,192,32"
	leasedMAC  = "@th,288,48" // chaddr (RFC 2131, figure 1), after 8 bytes of UDP
	leasedAddr = "@th,192,32" // yiaddr
)

// spoofedDHCP matches a DHCP message with another hardware address or address type than the frame's, since a device has
// one lease; one with yiaddr set, which dnsmasq would echo; and one of a relay. It is classic BPF, the only match that
// compares two fields of a packet.
var spoofedDHCP = func() string {
	const (
		linkLayer = 0xffe00000 // SKF_LL_OFF in include/uapi/linux/filter.h
		source    = linkLayer + 6

		// Behind the IPv4 header and eight bytes of UDP (RFC 2131, figure 1).
		hardware = 8 + 1 // htype and hlen
		yiaddr   = 8 + 16
		giaddr   = 8 + 24
		chaddr   = 8 + 28

		ethernet = 0x0106 // addresses of six bytes
	)
	skip := func(from, to int) uint8 { return uint8(to - from - 1) }
	const match, noMatch = 18, 19
	program, err := bpf.Assemble([]bpf.Instruction{
		0:       bpf.LoadMemShift{},
		1:       bpf.LoadIndirect{Off: hardware, Size: 2},
		2:       bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: ethernet, SkipTrue: skip(2, match)},
		3:       bpf.LoadIndirect{Off: yiaddr, Size: 4},
		4:       bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: skip(4, match)},
		5:       bpf.LoadIndirect{Off: giaddr, Size: 4},
		6:       bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: skip(6, match)},
		7:       bpf.LoadAbsolute{Off: source, Size: 4},
		8:       bpf.StoreScratch{Src: bpf.RegA, N: 0},
		9:       bpf.LoadIndirect{Off: chaddr, Size: 4},
		10:      bpf.LoadScratch{Dst: bpf.RegX, N: 0},
		11:      bpf.JumpIfX{Cond: bpf.JumpNotEqual, SkipTrue: skip(11, match)},
		12:      bpf.LoadAbsolute{Off: source + 4, Size: 2},
		13:      bpf.StoreScratch{Src: bpf.RegA, N: 0},
		14:      bpf.LoadMemShift{},
		15:      bpf.LoadIndirect{Off: chaddr + 4, Size: 2},
		16:      bpf.LoadScratch{Dst: bpf.RegX, N: 0},
		17:      bpf.JumpIfX{Cond: bpf.JumpEqual, SkipTrue: skip(17, noMatch)},
		match:   bpf.RetConstant{Val: 1},
		noMatch: bpf.RetConstant{Val: 0},
	})
	if err != nil {
		panic(err)
	}
	code := []string{strconv.Itoa(len(program))}
	for _, i := range program {
		code = append(code, fmt.Sprintf("%d %d %d %d", i.Op, i.Jt, i.Jf, i.K))
	}
	return fmt.Sprintf("-m bpf --bytecode %q", strings.Join(code, ","))
}()

// bindingFilter checks frames against the bindings.
func (c compiler) bindingFilter() netctl.NFTable {
	hosts := 1 << (32 - c.network.Bits())
	const dynamic = "flags dynamic,timeout; "
	keyed := func(key string, size int, timeout time.Duration) string {
		return fmt.Sprintf("%s; size %d; %stimeout %s;", key, size, dynamic, seconds(timeout))
	}
	const device = "type ether_addr"
	on := func(hook, device string, priority int) string {
		return fmt.Sprintf(`type filter hook %s device "%s" priority %d; policy accept;`, hook, device, priority)
	}
	// over applies a verdict to what a device sends above a rate.
	over := func(set, rate, verdict string) string {
		return fmt.Sprintf("update @%s { ether saddr limit rate over %s } %s", set, rate, verdict)
	}
	const ip, arp = "meta protocol ip ", "meta protocol arp "
	mark := func(m uint32) string { return fmt.Sprintf("meta mark set %#x", m) }
	bound := mark(netctl.MarkBound)
	plain := mark(netctl.MarkBound|netctl.MarkPlain) + " accept"
	own := fmt.Sprintf("{ %s, %s, %s }", c.network.Addr(), c.box, netctl.LastAddr(c.network))
	// to separates DHCP and DNS from all else, which mostly goes to a higher port: a comparison is cheaper than a
	// look-up. Residents must not send to the name servers' other ports; only the box redirects there.
	to := func(leases string) []string {
		last := portDHCP
		ways := []string{fmt.Sprintf("udp . %d : %s", portDHCP, leases)}
		for _, protocol := range nameProtocols {
			for _, a := range dnsServers {
				last = max(last, int(a.port))
				way := "drop"
				if a.port == PortDNS {
					way = "goto names"
				}
				ways = append(ways, fmt.Sprintf("%s . %d : %s", protocol, a.port, way))
			}
		}
		return []string{
			fmt.Sprintf("th dport > %d %s", last, plain),
			"meta l4proto . th dport vmap { " + strings.Join(ways, ", ") + " }",
			plain,
		}
	}
	// The kernel strips a priority tag after the hooks (__netif_receive_skb_core in net/core/dev.c): behind two of them
	// any packet would pass unseen.
	const tagged = "meta protocol { 8021q, 8021ad } drop"
	arpAccepted := []string{
		"arp saddr ip 0.0.0.0 " + bound + " accept", // an ARP probe (RFC 5227, section 1.1)
		arpClaim + " @" + netctl.SetBindings + " " + arpSender + " @" + netctl.SetBindings + " " + bound + " accept",
		fmt.Sprintf("arp operation reply arp daddr ip %s accept", c.box),
	}
	strange := "add @strangers-" + netctl.PortNumber
	return netctl.NFTable{
		Family: "netdev",
		Sets: []netctl.NFSet{
			{Name: netctl.SetBindings, Spec: fmt.Sprintf("typeof %s; size %d; flags dynamic,timeout;", sender, 2*hosts)},
			{Name: netctl.SetSettled, Spec: fmt.Sprintf("typeof %s; size %d; flags timeout;", senderMAC, 2*hosts)},
			{Name: "newcomers-" + netctl.PortNumber, Spec: keyed(device, newcomers, firstLease), EachPort: true},
			{Name: "strangers-" + netctl.PortNumber, Spec: keyed("typeof "+sender, maxStrangers, 10*time.Second), EachPort: true},
			{Name: "dhcp-rate", Spec: keyed(device, 2*hosts, time.Minute)},
			{Name: "arp-rate", Spec: keyed(device, 2*hosts, time.Minute)},
			{Name: "names-rate", Spec: keyed(device, 2*hosts, time.Minute)},
			{Name: "guest-rate", Spec: keyed(device, 2*hosts, time.Minute)},
			{Name: "answer-rate", Spec: keyed(device, 2*hosts, time.Minute)},
		},
		Chains: []netctl.NFChain{
			{Name: "dhcp-" + netctl.PortNumber, EachPort: true, Rules: []string{
				"ether saddr and 01:00:00:00:00:00 != 00:00:00:00:00:00 drop", // a group address: everybody would get the answers
				over("dhcp-rate", fmt.Sprintf("%d/second burst %d packets", dhcpMessages, dhcpBurst), "drop"),
				senderMAC + " @" + netctl.SetSettled + " accept",
				"ether saddr @newcomers-" + netctl.PortNumber + " accept",
				"add @newcomers-" + netctl.PortNumber + " { ether saddr } accept",
				"drop",
			}},
			{Name: "arp-" + netctl.PortNumber, EachPort: true, Rules: slices.Concat(
				[]string{over("arp-rate", fmt.Sprintf("%d/second burst %d packets", arpMessages, arpBurst), "drop")},
				arpAccepted,
				[]string{fmt.Sprintf("arp saddr ip %s arp saddr ip != %s %s { %s }", c.network, own, strange, arpSender), "drop"},
			)},
			{Name: "names", Rules: []string{
				bound,
				"meta l4proto tcp accept",
				over("names-rate", fmt.Sprintf("%d/second burst %d packets", admittedNames/c.queryCost(), admittedBurst), "drop"),
				over("guest-rate", fmt.Sprintf("%d/minute burst %d packets", 60*guestNames/c.queryCost(), guestBurst/c.queryCost()),
					mark(netctl.MarkBound|netctl.MarkDNSCaptive)),
				"accept",
			}},
			{Name: "bound-" + netctl.PortNumber, EachPort: true, Rules: to("goto dhcp-" + netctl.PortNumber)},
			{Name: "port-" + netctl.PortNumber, EachPort: true, Hook: on("ingress", netctl.PortName, -310), Rules: []string{
				ip + sender + " @" + netctl.SetBindings + " goto bound-" + netctl.PortNumber,
				ip + "udp dport 67 goto dhcp-" + netctl.PortNumber,
				arp + "goto arp-" + netctl.PortNumber,
				fmt.Sprintf("%sip saddr %s ip saddr != %s %s { %s }", ip, c.network, own, strange, sender),
				ip + "drop",
				tagged,
			}},
			// Frames from a port that has no chain yet.
			{Name: "bound", Bridged: true, Rules: to("accept")},
			{Name: "hotspot", Bridged: true, Hook: on("ingress", c.hotspot, -300), Rules: []string{
				fmt.Sprintf("%smeta mark and %#x != 0 accept", ip, netctl.MarkBound),
				ip + "udp dport 67 accept",
				ip + sender + " @" + netctl.SetBindings + " goto bound",
				ip + "drop",
				arp + "goto claims",
				tagged,
			}},
			{Name: "claims", Bridged: true, Rules: append(slices.Clone(arpAccepted), "drop")},
			// Only the box's own packets have a socket here. Most packets are forwarded.
			{Name: "answers", Hook: on("egress", c.hotspot, 0), Rules: []string{"meta skuid >= 0 goto own"}},
			{Name: "own", Rules: []string{
				fmt.Sprintf("ip saddr %s udp sport 67 ", c.box) + acknowledgement + " " + leasedAddr + " != 0 goto leases",
				fmt.Sprintf("tcp sport 53 update @answer-rate { ether daddr limit rate over %d bytes/second burst %d bytes } drop",
					tcpNames, tcpNamesBurst),
			}},
			{Name: "leases", Rules: []string{
				fmt.Sprintf("%s @%s update @%s { %s timeout %s } accept",
					leasedMAC, netctl.SetSettled, netctl.SetBindings, leased, seconds(max(firstLease, c.Config.Hotspot.Lease))),
				fmt.Sprintf("update @%s { %s timeout %s }", netctl.SetBindings, leased, seconds(firstLease)),
			}},
		},
	}
}

// arpFilter drops all ARP of the hotspot that bindingFilter has not marked.
func (c compiler) arpFilter() netctl.NFTable {
	return netctl.NFTable{Family: "arp", Chains: []netctl.NFChain{
		{Name: "taken", Hook: "type filter hook input priority 0; policy accept;", Rules: []string{
			fmt.Sprintf("iifname %q meta mark and %#x == 0 drop", c.hotspot, netctl.MarkBound),
		}},
	}}
}

// Limits on a device's tracked connections, as parts of the conntrack table. The kernel's connection count excludes
// closed connections (already_closed in net/netfilter/nf_conncount.c), but the table keeps them for a while: the rate of new
// connections is limited, so that the closed ones are bounded too.
const (
	maxTracked       = 1200
	ConnRate         = 30  // new TCP connections a second
	ConnBurst        = 200 // a page with many pictures, twice
	closedSeconds    = 10  // for which a closed one stays in the table
	maxClosed        = ConnBurst + ConnRate*closedSeconds
	admittedPart     = 8
	unadmittedPart   = 16
	conntrackMin     = 16384
	conntrackCeiling = 262144
	memoryPerConn    = 32 << 10 // of memory for each connection in the table: one takes some 320 bytes
)

// ConntrackMax returns the conntrack table's size, in connections, for a machine with that many bytes of memory.
func ConntrackMax(memory uint64) uint64 {
	return min(max(conntrackMin, memory/memoryPerConn), conntrackCeiling)
}

// connFilter limits connections by device.
func (c compiler) connFilter() netctl.NFTable {
	size := c.ConntrackMax
	if size == 0 {
		size = conntrackMin
	}
	// open returns the limit of open connections for a part of the table. In a table that is too small for this, each
	// device still has a few.
	open := func(part uint64) uint64 {
		if most := min(maxTracked, size/part); most > 2*maxClosed {
			return most - maxClosed
		}
		return max(1, size/part/2)
	}
	hosts := 1 << (32 - c.network.Bits())
	counted := func(name string) netctl.NFSet {
		return netctl.NFSet{Name: name, Spec: fmt.Sprintf("type ether_addr; size %d; flags dynamic;", 2*hosts)}
	}
	begunBy := func(name string) netctl.NFSet {
		return netctl.NFSet{Name: name, Spec: fmt.Sprintf("type ether_addr; size %d; flags dynamic,timeout; timeout 1m;", 2*hosts)}
	}
	count := func(set string, most uint64, verdict string) string {
		return fmt.Sprintf("add @%s { ether saddr ct count over %d } %s", set, most, verdict)
	}
	isAdmitted := fmt.Sprintf("meta mark and %#x == %#x ", netctl.MarkMask, netctl.MarkAuthorized)
	notAdmitted := fmt.Sprintf("meta mark and %#x != %#x ", netctl.MarkMask, netctl.MarkAuthorized)
	f := netctl.NFTable{
		Family: "ip",
		Sets: []netctl.NFSet{
			counted("admitted"), counted("others"), counted("asking"),
			begunBy("begun"), begunBy("begun-names"),
			{Name: netctl.SetSecondary, Spec: fmt.Sprintf("type ipv4_addr; size %d; flags timeout;", hosts)},
			{Name: "essential", Spec: fmt.Sprintf("type ipv4_addr; size %d; flags dynamic,timeout; timeout 1d;", hosts)},
		},
		Chains: []netctl.NFChain{
			// After mangle, which sets the mark. Only a connection's first packet passes here.
			{Name: "first", Hook: "type nat hook prerouting priority -101; policy accept;", Rules: []string{
				fmt.Sprintf("iifname != %q accept", c.hotspot),
				"fib daddr type { broadcast, multicast } drop", // the box would answer for everybody
				"tcp dport 53 " + count("asking", maxDNSConns, "reject with tcp reset"),
				fmt.Sprintf("tcp dport 53 update @begun-names { ether saddr limit rate over %d/minute burst %d packets } reject with tcp reset",
					tcpConnRate, tcpConnBurst),
				fmt.Sprintf("meta l4proto tcp update @begun { ether saddr limit rate over %d/second burst %d packets } drop", ConnRate, ConnBurst),
				isAdmitted + count("admitted", open(admittedPart), "drop"),
				notAdmitted + count("others", open(unadmittedPart), "drop"),
			}},
		},
	}
	// While essential services are charged to the reserve, each device has its part of it.
	if c.essential && !c.internet && c.uplink.Reserve != 0 {
		spend := func(end, verdict string) string {
			return fmt.Sprintf("add @essential { %s quota over %d bytes } %s", end, c.reservePerDevice(), verdict)
		}
		up, down := fmt.Sprintf("iifname %q ", c.hotspot), fmt.Sprintf("oifname %q ", c.hotspot)
		f.Chains = append(f.Chains, netctl.NFChain{Name: "essential", Hook: "type filter hook forward priority -149; policy accept;", Rules: []string{
			fmt.Sprintf("meta mark and %#x != %#x accept", netctl.MarkMask, netctl.MarkGarden),
			up + "ip saddr @" + netctl.SetSecondary + " reject with tcp reset",
			down + "ip daddr @" + netctl.SetSecondary + " drop",
			up + "meta l4proto tcp " + spend("ip saddr", "reject with tcp reset"),
			up + "meta l4proto != tcp " + spend("ip saddr", "drop"),
			down + spend("ip daddr", "drop"),
		}})
	}
	return f
}

// seconds formats a duration for nft(8).
func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }

// FirstLease returns the first lease time of a device, given that of settled devices.
func FirstLease(lease time.Duration) time.Duration { return min(firstLease, lease) }
