package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/hostile"
)

// madeUp returns the MAC address of a device that does not exist. number identifies it within its kind.
func madeUp(kind byte, number int) net.HardwareAddr {
	return net.HardwareAddr{2, 0xee, kind, byte(number >> 16), byte(number >> 8), byte(number)}
}

// tagged adds priority tags (IEEE 802.1Q with VLAN 0) to a frame.
func tagged(frame []byte, kinds ...uint16) []byte {
	var tags []byte
	for _, k := range kinds {
		tags = append(binary.BigEndian.AppendUint16(tags, k), 0, 0)
	}
	return bytes.Join([][]byte{frame[:12], tags, frame[12:]}, nil)
}

// questions sends ARP requests and returns which of them the box answers. It waits for all wanted answers, and for the others until a
// later request is answered.
func (b *box) questions(w *hostile.RawSocket, all []hostile.ARP, wanted []bool) (answered []bool) {
	b.t.Helper()
	answered = make([]bool, len(all))
	for _, q := range all {
		b.must(w.Send(q.Frame()))
	}
	last := madeUp(0xff, 0)
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	b.must(w.Send(hostile.ARP{Link: hostile.Link{From: last}, Target: hotspot.Addr()}.Frame()))
	for over := false; !over || missing(answered, wanted); {
		frame, err := w.Receive(ctx, func(f []byte) bool { a, ok := hostile.ReadARP(f); return ok && a.Reply })
		if err != nil {
			if !over {
				b.t.Fatal("the box answers nobody")
			}
			return answered
		}
		a, _ := hostile.ReadARP(frame)
		if bytes.Equal(a.To, last) && !over {
			over = true
			cancel()
			ctx, cancel = context.WithTimeout(b.t.Context(), brief)
			defer cancel()
		}
		for i, q := range all {
			if bytes.Equal(a.To, q.From) && a.Sender == q.Target {
				answered[i] = true
			}
		}
	}
	return answered
}

// missing tells whether something that is wanted is missing.
func missing(have, wanted []bool) bool {
	for i := range wanted {
		if wanted[i] && !have[i] {
			return true
		}
	}
	return false
}

// boxMAC returns the box's MAC address.
func (b *box) boxMAC(w *hostile.RawSocket) net.HardwareAddr {
	b.t.Helper()
	var mac net.HardwareAddr
	me := madeUp(0xfe, 0)
	wait(b.t, "the box's hardware address", func() error {
		b.must(w.Send(hostile.ARP{Link: hostile.Link{From: me}, Target: hotspot.Addr()}.Frame()))
		ctx, cancel := context.WithTimeout(b.t.Context(), brief)
		defer cancel()
		frame, err := w.Receive(ctx, func(f []byte) bool {
			a, ok := hostile.ReadARP(f)
			return ok && a.Reply && a.Sender == hotspot.Addr() && bytes.Equal(a.To, me)
		})
		a, _ := hostile.ReadARP(frame)
		mac = a.SenderMAC
		return err
	})
	return mac
}

// TestWhoAnswersARP: while the daemon runs, the box answers for its own address on the hotspot, and for no other, although for captive
// residents every address is local to the box. It answers devices without an address, and devices that have the address that they claim.
func TestWhoAnswersARP(t *testing.T) {
	t.Parallel()
	own, other := netip.MustParseAddr("10.80.1.77"), netip.MustParseAddr("10.80.1.88")
	senders := map[string]netip.Addr{
		"probe": {}, "own": own, "stranger": netip.MustParseAddr("10.80.1.99"), "foreign": netip.MustParseAddr("192.168.7.50"),
	}
	table := []struct {
		target       string
		before, with string // which requests are answered
	}{
		{"10.80.0.1", "probe own stranger foreign", "probe own"},
		{own.String(), "", ""},   // an announcement, or an ARP probe
		{other.String(), "", ""}, // another device's address; that device answers itself
		{"10.80.2.2", "", ""},    // an address that nobody has
		{"10.80.0.0", "", ""},
		{"10.80.3.255", "", ""},
		{"192.168.1.2", "probe own stranger foreign", ""}, // the box's address on a line
		{"192.168.1.1", "", ""},
		{"192.0.2.80", "", ""},
		{"8.8.8.8", "", ""},
		{"169.254.1.1", "", ""},
		{"127.0.0.1", "", ""},
		{"0.0.0.0", "", ""},
		{"224.0.0.1", "", ""},
		{"255.255.255.255", "", ""},
	}
	for name, ports := range map[string]bool{"interface": false, "bridge": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newScene(t, settings{}, netlab.Options{Residents: 2, Ports: ports})
			b.must(b.scene.Box.AddAddress("wlan0", hotspot)) // before the daemon creates the network
			r := b.scene.Residents[0]
			w := b.rawSocket(r)
			b.byHand(b.scene.Residents[1], other)
			look := func(with bool) {
				t.Helper()
				box := b.boxMAC(w)
				var all []hostile.ARP
				var wanted []bool
				var names []string
				for _, row := range table {
					who := row.before
					if with {
						who = row.with
					}
					for kind, sender := range senders {
						for _, to := range []net.HardwareAddr{hostile.Broadcast, box} {
							from := madeUp(0, len(all))
							if kind == "own" {
								from = r.MAC
							}
							all = append(all, hostile.ARP{
								Link: hostile.Link{To: to, From: from}, Sender: sender, Target: netip.MustParseAddr(row.target),
							})
							wanted = append(wanted, slices.Contains(strings.Fields(who), kind))
							names = append(names, fmt.Sprintf("%s asked for by %s at %s", row.target, kind, to))
						}
					}
				}
				for i, is := range b.questions(w, all, wanted) {
					if is != wanted[i] {
						t.Errorf("with the daemon: %v. %s: answered: %v", with, names[i], is)
					}
				}
			}
			look(false)
			b.start()
			b.waitState("sharing")
			if got := b.leases(w, r.MAC, own); got != own {
				t.Fatalf("the device got %s", got)
			}
			look(true)
		})
	}
}

// packet is a packet that a device sends, and the answer to it.
type packet struct {
	name   string
	frame  func(l hostile.Link, own netip.Addr, number uint16) []byte
	answer string
}

// answerTo describes an answer, and returns the port or identifier of its request.
func answerTo(frame []byte) (number uint16, what string) {
	p, ok := hostile.ReadIPv4(frame)
	switch {
	case !ok:
	case p.Protocol == unix.IPPROTO_UDP:
		if d, ok := hostile.ReadUDP(frame); ok {
			return d.Destination.Port(), "datagram"
		}
	case p.Protocol == unix.IPPROTO_TCP:
		s, ok := hostile.ReadTCP(frame)
		switch {
		case !ok:
		case s.Flags&hostile.RST != 0:
			return s.Destination.Port(), "reset"
		case s.Flags&hostile.SYN != 0:
			return s.Destination.Port(), "connection"
		}
	case p.Protocol == unix.IPPROTO_ICMP && len(p.Payload) >= 8:
		if p.Payload[0] != 3 {
			return binary.BigEndian.Uint16(p.Payload[4:]), fmt.Sprintf("icmp %d", p.Payload[0])
		}
		if inner := p.Payload[8:]; len(inner) >= 22 {
			return binary.BigEndian.Uint16(inner[20:]), "unreachable"
		}
	}
	return 0, fmt.Sprintf("protocol %d", p.Protocol)
}

// icmp returns an ICMP packet with the number as its identifier.
func icmp(l hostile.Link, from netip.Addr, to string, kind byte, number uint16, options ...byte) []byte {
	m := make([]byte, 20)
	m[0] = kind
	binary.BigEndian.PutUint16(m[4:], number)
	var sum uint32
	for i := 0; i < len(m); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(m[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(m[2:], ^uint16(sum+sum>>16))
	return hostile.IPv4{
		Link: l, Source: from, Destination: netip.MustParseAddr(to), Protocol: unix.IPPROTO_ICMP, Options: options, Payload: m,
	}.Frame()
}

func toICMP(to string, kind byte, options ...byte) func(hostile.Link, netip.Addr, uint16) []byte {
	return func(l hostile.Link, own netip.Addr, number uint16) []byte {
		return icmp(l, own, to, kind, number, options...)
	}
}

func toTCP(to string) func(hostile.Link, netip.Addr, uint16) []byte {
	return func(l hostile.Link, own netip.Addr, number uint16) []byte {
		return hostile.TCP{
			Link: l, Source: netip.AddrPortFrom(own, number), Destination: netip.MustParseAddrPort(to), Flags: hostile.SYN,
		}.Frame()
	}
}

func toUDP(to string) func(hostile.Link, netip.Addr, uint16) []byte {
	return func(l hostile.Link, own netip.Addr, number uint16) []byte {
		return hostile.UDP{
			Link: l, Source: netip.AddrPortFrom(own, number), Destination: netip.MustParseAddrPort(to),
			Payload: hostile.Query(number, "www.example", dnsmessage.TypeA),
		}.Frame()
	}
}

// everyone turns a frame into a broadcast.
func everyone(frame func(hostile.Link, netip.Addr, uint16) []byte) func(hostile.Link, netip.Addr, uint16) []byte {
	return func(l hostile.Link, own netip.Addr, number uint16) []byte {
		l.To = hostile.Broadcast
		return frame(l, own, number)
	}
}

// packets are requests that captive residents send to the box's kernel.
var packets = []packet{
	{"ping of the box", toICMP("10.80.0.1", 8), "icmp 0"},
	{"ping of a free address", toICMP("10.80.2.2", 8), ""},
	{"ping of the box's address on a line", toICMP("192.168.1.2", 8), ""},
	{"ping of the lender's router", toICMP("192.168.1.1", 8), ""},
	{"ping of the internet", toICMP("8.8.8.8", 8), ""},
	{"ping of everybody on the network", toICMP("10.80.3.255", 8), ""},
	{"ping of the network", toICMP("10.80.0.0", 8), ""},
	{"ping of everybody", toICMP("255.255.255.255", 8), ""},
	{"ping of a group", toICMP("224.0.0.1", 8), ""},
	{"ping by way of another", toICMP("10.80.0.1", 8, 0x83, 7, 4, 8, 8, 8, 8, 0), ""},
	{"ping of the box, at everybody", everyone(toICMP("10.80.0.1", 8)), ""},
	{"what time is it", toICMP("10.80.0.1", 13), ""},
	{"what is the mask", toICMP("10.80.0.1", 17), ""},
	{"who is a router", toICMP("10.80.0.1", 10), ""},
	{"a redirect", toICMP("10.80.0.1", 5), ""},

	{"the box's page", toTCP("10.80.0.1:80"), "connection"},
	{"a page of the internet", toTCP("8.8.8.8:80"), "connection"},
	{"a secure page of the internet", toTCP("8.8.8.8:443"), "reset"},
	{"another port of the box", toTCP("10.80.0.1:22"), "reset"},
	{"a page, at everybody", everyone(toTCP("10.80.0.1:80")), ""},
	{"a page of everybody on the network", toTCP("10.80.3.255:80"), ""},
	{"a page of everybody", toTCP("255.255.255.255:80"), ""},
	{"a page of a group", toTCP("224.0.0.1:80"), ""},

	{"a name", toUDP("10.80.0.1:53"), "datagram"},
	{"a name of another server", toUDP("8.8.8.8:53"), "datagram"},
	{"a name of everybody on the network", toUDP("10.80.3.255:53"), ""},
	{"a name of everybody", toUDP("255.255.255.255:53"), ""},
	{"a name of a group", toUDP("224.0.0.251:53"), ""},
	{"a name, at everybody", everyone(toUDP("10.80.0.1:53")), ""},
	{"mDNS", toUDP("224.0.0.251:5353"), ""},
	{"SSDP", toUDP("239.255.255.250:1900"), ""},
	{"another port of the box", toUDP("10.80.0.1:4242"), "unreachable"},
	{"a port of the internet", toUDP("8.8.8.8:4242"), "unreachable"},
	{"a port of everybody on the network", toUDP("10.80.3.255:4242"), ""},
	{"a port of everybody", toUDP("255.255.255.255:4242"), ""},

	{"who is in which group", func(l hostile.Link, own netip.Addr, _ uint16) []byte {
		return hostile.IPv4{
			Link: l, Source: own, Destination: netip.MustParseAddr("224.0.0.1"), Protocol: unix.IPPROTO_IGMP,
			TTL: 1, Options: []byte{0x94, 4, 0, 0}, Payload: []byte{0x11, 1, 0xee, 0xfe, 0, 0, 0, 0},
		}.Frame()
	}, ""},
}

// exchange sends the packets and returns the answers by the packets' indexes. It waits for the wanted answers, and for the others until
// a ping and a DNS query that were sent later are answered. An answer that belongs to no packet is an error.
func (b *box) exchange(w *hostile.RawSocket, mac net.HardwareAddr, own netip.Addr, frames [][]byte, first uint16, wanted map[int]string) map[int]string {
	b.t.Helper()
	link := hostile.Link{To: b.boxMAC(w), From: mac}
	for _, f := range frames {
		b.must(w.Send(f))
	}
	count := uint16(len(frames))
	b.must(w.Send(icmp(link, own, "10.80.0.1", 8, first+count), toUDP("10.80.0.1:53")(link, own, first+count+1)))
	got := map[int]string{}
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	for {
		short := len(got) == 0
		for i, what := range wanted {
			short = short || got[i] != what
		}
		if !short && got[int(count)] != "" && got[int(count)+1] != "" {
			break
		}
		frame, err := w.Receive(ctx, func(f []byte) bool {
			p, ok := hostile.ReadIPv4(f)
			return ok && bytes.Equal(p.From, link.To)
		})
		if err != nil {
			return got
		}
		number, what := answerTo(frame)
		if number < first || number > first+count+1 {
			b.t.Errorf("the box sends %s, number %d, which nobody asked for", what, number)
			continue
		}
		got[int(number-first)] = what
	}
	delete(got, int(count))
	delete(got, int(count)+1)
	return got
}

// TestWhoIsAnswered: the kernel itself answers captive residents, since for them every address is local. It answers only for the box's own
// address, and never a sender with a foreign address.
func TestWhoIsAnswered(t *testing.T) {
	t.Parallel()
	for name, ports := range map[string]bool{"interface": false, "bridge": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, settings{}, netlab.Options{Residents: 2, Ports: ports})
			r, other := b.scene.Residents[0], b.scene.Residents[1]
			w := b.rawSocket(r)
			own := b.leases(w, r.MAC, netip.Addr{})
			others := b.newcomer(other).Address.Addr()
			link := hostile.Link{To: b.boxMAC(w), From: r.MAC}
			// The test answers the box's ARP requests, because the device has no kernel that would.
			b.byHand(r, own)

			wanted := map[int]string{}
			var frames [][]byte
			const first = 20000
			for i, p := range packets {
				if p.answer != "" {
					wanted[i] = p.answer
				}
				frames = append(frames, p.frame(link, own, first+uint16(i)))
			}
			got := b.exchange(w, r.MAC, own, frames, first, wanted)
			for i, p := range packets {
				if got[i] != p.answer {
					t.Errorf("%s is answered with %q, want %q", p.name, got[i], p.answer)
				}
			}

			// The same from foreign addresses, sent by this device and by one without an address.
			frames = nil
			next := uint16(first + 1000)
			var names []string
			add := func(name string, frame []byte) {
				frames = append(frames, frame)
				names = append(names, name)
				next++
			}
			for _, from := range []string{
				"10.80.2.2", others.String(), "10.80.0.1", "10.80.0.0", "10.80.3.255", "255.255.255.255", "0.0.0.0", "127.0.0.1",
				"224.0.0.1", "192.168.1.2", "192.168.1.50", "8.8.8.8",
			} {
				for _, p := range packets {
					add(p.name+" from "+from, p.frame(link, netip.MustParseAddr(from), next))
				}
			}
			for _, p := range packets {
				add(p.name+" by another device", p.frame(hostile.Link{To: link.To, From: madeUp(0, 1)}, own, next))
				for _, tags := range [][]uint16{{unix.ETH_P_8021Q, unix.ETH_P_8021Q}, {unix.ETH_P_8021AD, unix.ETH_P_8021Q}} {
					add(p.name+" by another device, in tags", tagged(p.frame(hostile.Link{To: link.To, From: madeUp(0, 1)}, own, next), tags...))
					add(p.name+" from another address, in tags", tagged(p.frame(link, others, next), tags...))
				}
			}
			got = b.exchange(w, r.MAC, own, frames, first+1000, nil)
			for _, i := range slices.Sorted(maps.Keys(got)) {
				t.Errorf("%s is answered with %q", names[i], got[i])
			}
		})
	}
}
