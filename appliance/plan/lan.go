package plan

import (
	"fmt"
	"net/netip"

	"passerelle/netctl"
)

// LAN is a present line and the network on it: its lender's own network.
type LAN struct {
	Interface string         // the kernel's name
	Networks  []netip.Prefix // IPv4; none on a line with nothing but a gateway
}

const (
	// Unsolicited requests from the line's side are rate-limited: in no second, the burst included, more than ten.
	lanRequestRate  = 5 // a second, of all on a line together
	lanRequestBurst = 5

	chainBilled = netctl.Prefix + "BILLED"
	chainAsked  = netctl.Prefix + "LAN-LIMIT"
)

// Broadcasts are identified by the frame (pkttype is the type of the link-layer destination), because only a broadcast
// or multicast frame stays on the lender's network; its packet may have any destination. The box's own ones loop back
// without having crossed the line again (ip_mc_output in net/ipv4/ip_output.c): they are not counted.
//
// A rule counts less than the line does, never more: it does not see the link header, nor the padding of a short frame.
// Adding the header would exempt bytes that are billed, because some drivers don't count it either: usbnet_skb_return
// (drivers/net/usb/usbnet.c), of most phones on USB, and gem_rx (drivers/net/ethernet/cadence/macb_main.c), of the
// Raspberry Pi 5, count only the payload behind it.
const (
	notUnicast = "-m pkttype ! --pkt-type unicast"
	notOurs    = "-m addrtype ! --src-type LOCAL"
)

// linkLocal are the sources that no router forwards (RFC 4291, 2.5.6): the only IPv6 network of a line that the box,
// which does not use IPv6, knows.
var linkLocal = netip.MustParsePrefix("fe80::/10")

// localSources matches packets from the line's own network, one match for each network of the family.
func (l LAN) localSources(ipv6 bool) (matches []string) {
	if ipv6 {
		return []string{fmt.Sprintf("-i %s -s %s", l.Interface, linkLocal)}
	}
	for _, n := range l.Networks {
		if n.Addr().Is4() && n.Bits() > 0 {
			matches = append(matches, fmt.Sprintf("-i %s -s %s", l.Interface, n.Masked()))
		}
	}
	return matches
}

// withLANs adds the rules for the lenders' own networks: their broadcasts are counted before anything drops them, and
// their requests to the box are rate-limited.
func (c compiler) withLANs(tables []netctl.Table) []netctl.Table {
	if len(c.LANs) == 0 {
		return tables
	}
	for i := range tables {
		switch t := &tables[i]; {
		case t.Name == "mangle":
			if t.IPv6 {
				t.Jumps = append([]netctl.Jump{{From: "PREROUTING", Match: notUnicast, To: netctl.ChainBroadcasts}}, t.Jumps...)
			}
			t.Chains = append(t.Chains, c.broadcasts(t.IPv6))
		case t.Name == "filter":
			t.Jumps = append(t.Jumps, netctl.Jump{
				From: "INPUT", Match: "! -i " + c.hotspot, To: chainAsked,
			})
			t.Chains = append(t.Chains, c.requests())
		}
	}
	return tables
}

// broadcasts counts each broadcast once.
func (c compiler) broadcasts(ipv6 bool) netctl.Chain {
	count := netctl.Chain{Name: netctl.ChainBroadcasts}
	for _, l := range c.LANs {
		for _, own := range l.localSources(ipv6) {
			count.Rules = append(count.Rules, fmt.Sprintf("%s %s -m comment --comment %s%s -j RETURN",
				own, notOurs, netctl.CommentBroadcasts, l.Interface))
		}
	}
	return count
}

// requests drops requests above the rate limit. Packets of a connection are exempt, except echo requests: each is a
// request, though conntrack treats those with one identifier as a connection. The kernel does not answer UDP
// broadcasts, and a network full of them must not use up the limit.
func (c compiler) requests() netctl.Chain {
	requests := netctl.Chain{Name: chainAsked, Rules: []string{
		"! -p icmp -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
		"-p icmp -m conntrack --ctdir REPLY -j RETURN",
		notUnicast + " -p udp -j RETURN",
	}}
	for _, l := range c.LANs {
		requests.Rules = append(requests.Rules,
			fmt.Sprintf("-i %s -m limit --limit %d/sec --limit-burst %d -j RETURN", l.Interface, lanRequestRate, lanRequestBurst),
			fmt.Sprintf("-i %s -j DROP", l.Interface))
	}
	return requests
}

// billed returns the chain that charges packets for the box from the chosen line: the quota chain, except for
// broadcasts where those don't count.
func (c compiler) billed(quota string) (to string, chains []netctl.Chain) {
	billed := netctl.Chain{Name: chainBilled}
	for _, l := range c.LANs {
		if l.Interface != c.egress || c.uplink.Broadcast {
			continue
		}
		for _, own := range l.localSources(false) {
			billed.Rules = append(billed.Rules, own+" "+notUnicast+" -j RETURN")
		}
	}
	if len(billed.Rules) == 0 {
		return quota, nil
	}
	billed.Rules = append(billed.Rules, "-j "+quota)
	return billed.Name, []netctl.Chain{billed}
}
