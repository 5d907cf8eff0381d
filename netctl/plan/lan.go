package plan

import (
	"fmt"
	"net/netip"

	"passerelle/netctl"
)

// LAN is a line that is there, and what is connected to it: its lender's own network.
type LAN struct {
	Interface string         // as the kernel calls it
	Networks  []netip.Prefix // IPv4; none on a line where everything is beyond a gateway
}

const (
	// What somebody on the line's side asks, whom the box did not ask first, is taken so often: in no second, the first
	// ones included, more than ten times.
	lanQuestions      = 5 // a second, of a line's all together
	lanQuestionsBurst = 5

	chainBilled = netctl.Prefix + "BILLED"
	chainAsked  = netctl.Prefix + "ASKED"
)

// Broadcasts are told by the frame (pkttype is what the link's destination says), since only a frame to all or several
// stays on the lender's network; its packet may name whom it likes. The box's own come back to it without having crossed
// the line once more (ip_mc_output in net/ipv4/ip_output.c): they are not counted.
//
// What a rule counts is less than the line does, never more: it does not see the link header, nor what fills up a short
// frame. Adding the header would hide bytes that are billed, since some drivers don't count it either: usbnet_skb_return
// (drivers/net/usb/usbnet.c), of most phones on USB, and gem_rx (drivers/net/ethernet/cadence/macb_main.c), of the
// Raspberry Pi 5, take the length of what is behind it.
const (
	notUnicast = "-m pkttype ! --pkt-type unicast"
	notOurs    = "-m addrtype ! --src-type LOCAL"
)

// linkLocal are the sources that no router lets off the link (RFC 4291, 2.5.6): of IPv6, which the box does not take part
// in, it knows no other network.
var linkLocal = netip.MustParsePrefix("fe80::/10")

// fromOwn matches what came from the line's own network, once for each network of the family.
func (l LAN) fromOwn(ipv6 bool) (matches []string) {
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

// withLANs adds what concerns the lenders' own networks: their broadcasts are counted, before anything drops them, and
// what they ask of the box is bounded.
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
			t.Chains = append(t.Chains, c.asked())
		}
	}
	return tables
}

// broadcasts counts each of them once.
func (c compiler) broadcasts(ipv6 bool) netctl.Chain {
	count := netctl.Chain{Name: netctl.ChainBroadcasts}
	for _, l := range c.LANs {
		for _, own := range l.fromOwn(ipv6) {
			count.Rules = append(count.Rules, fmt.Sprintf("%s %s -m comment --comment %s%s -j RETURN",
				own, notOurs, netctl.CommentBroadcasts, l.Interface))
		}
	}
	return count
}

// asked drops what is asked too often. What belongs to a connection is no question, but an echo is one each time, though
// connection tracking takes all of one number for a connection. The kernel does not answer datagrams to all or several, and
// a network that is full of them must not use up the bound.
func (c compiler) asked() netctl.Chain {
	asked := netctl.Chain{Name: chainAsked, Rules: []string{
		"! -p icmp -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
		"-p icmp -m conntrack --ctdir REPLY -j RETURN",
		notUnicast + " -p udp -j RETURN",
	}}
	for _, l := range c.LANs {
		asked.Rules = append(asked.Rules,
			fmt.Sprintf("-i %s -m limit --limit %d/sec --limit-burst %d -j RETURN", l.Interface, lanQuestions, lanQuestionsBurst),
			fmt.Sprintf("-i %s -j DROP", l.Interface))
	}
	return asked
}

// billed returns where packets for the box pay that came in by the chosen line: all of them from the quota chain, but for
// broadcasts where those don't count.
func (c compiler) billed(quota string) (to string, chains []netctl.Chain) {
	billed := netctl.Chain{Name: chainBilled}
	for _, l := range c.LANs {
		if l.Interface != c.line || c.uplink.Broadcast {
			continue
		}
		for _, own := range l.fromOwn(false) {
			billed.Rules = append(billed.Rules, own+" "+notUnicast+" -j RETURN")
		}
	}
	if len(billed.Rules) == 0 {
		return quota, nil
	}
	billed.Rules = append(billed.Rules, "-j "+quota)
	return billed.Name, []netctl.Chain{billed}
}
