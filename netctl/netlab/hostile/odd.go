package hostile

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Packet is a frame with the name of its kind.
type Packet struct {
	Kind  string
	Frame []byte
}

// OddPackets returns packets from one address to another, of kinds that a filter may miss: many protocols, TCP in every state,
// fragments, options, and malformed IPv4. Each contains the mark, which identifies it on any interface.
func OddPackets(l Link, source, destination netip.Addr, mark []byte) []Packet {
	var all []Packet
	add := func(kind string, frame []byte) { all = append(all, Packet{kind, frame}) }
	ip := IPv4{Link: l, Source: source, Destination: destination, Payload: mark}
	port := func(a netip.Addr, n uint16) netip.AddrPort { return netip.AddrPortFrom(a, n) }

	for flags, name := range map[byte]string{
		SYN: "SYN", ACK: "ACK", RST: "RST", FIN: "FIN", SYN | ACK: "SYN and ACK", SYN | FIN: "SYN and FIN", RST | ACK: "RST and ACK",
		0: "no flag", FIN | PSH | URG: "FIN, PSH and URG", PSH | ACK: "data midway",
	} {
		add("TCP, "+name, TCP{Link: l, Source: port(source, 4001), Destination: port(destination, 7000), Flags: flags, Ack: 7, Payload: mark}.Frame())
	}
	for _, n := range []uint16{0, 22, 25, 853, 8080} {
		add(fmt.Sprintf("TCP to port %d", n),
			TCP{Link: l, Source: port(source, 4002), Destination: port(destination, n), Flags: SYN, Payload: mark}.Frame())
	}
	for _, n := range []uint16{0, 7, 67, 123, 443, 500, 1194, 5353, 51820} {
		add(fmt.Sprintf("UDP to port %d", n),
			UDP{Link: l, Source: port(source, 4003), Destination: port(destination, n), Payload: mark}.Frame())
	}
	add("UDP from port 53", UDP{Link: l, Source: port(source, 53), Destination: port(destination, 4003), Payload: mark}.Frame())
	for kind, name := range map[byte]string{
		0: "an answer", 3: "unreachable", 5: "redirect", 8: "a question", 11: "time exceeded", 13: "time", 17: "mask", 42: "an unknown kind",
	} {
		add("ICMP, "+name, ICMP{Link: l, Source: source, Destination: destination, Type: kind, Rest: 1, Payload: mark}.Frame())
	}
	for _, protocol := range []byte{0, 2, 4, 33, 41, 47, 50, 51, 89, 103, 112, 132, 136, 253, 255} {
		other := ip
		other.Protocol = protocol
		add(fmt.Sprintf("protocol %d", protocol), other.Frame())
	}

	datagram, _ := ReadIPv4(UDP{Link: l, Source: port(source, 4004), Destination: port(destination, 7), Payload: mark}.Frame())
	for name, change := range map[string]func(*IPv4){
		"a first fragment":         func(p *IPv4) { p.Fragment = 0x2000 },
		"a later fragment":         func(p *IPv4) { p.Fragment = 0x2000 | 185 },
		"a last fragment":          func(p *IPv4) { p.Fragment = 185 },
		"TTL 1":                    func(p *IPv4) { p.TTL = 1 },
		"the reserved flag":        func(p *IPv4) { p.Fragment = 0x8000 },
		"a loose source route":     func(p *IPv4) { p.Options = slices.Concat([]byte{131, 7, 4}, bytes4(destination), []byte{0}) },
		"a strict source route":    func(p *IPv4) { p.Options = slices.Concat([]byte{137, 7, 4}, bytes4(destination), []byte{0}) },
		"a record of the route":    func(p *IPv4) { p.Options = []byte{7, 7, 4, 0, 0, 0, 0, 0} },
		"a router alert":           func(p *IPv4) { p.Options = []byte{148, 4, 0, 0} },
		"a wrong checksum of UDP":  func(p *IPv4) { p.Payload[6] ^= 0x55 },
		"a longer length of UDP's": func(p *IPv4) { p.Payload[5] += 9 },
	} {
		p := datagram
		p.Payload = slices.Clone(datagram.Payload)
		change(&p)
		add("UDP with "+name, p.Frame())
	}

	plain := datagram.Frame()
	for name, tags := range map[string][]byte{
		"a VLAN's tag": {0x81, 0, 0, 1}, "priority's tag": {0x81, 0, 0xe0, 0}, "two tags": {0x88, 0xa8, 0, 1, 0x81, 0, 0, 1},
		"the kind of PPPoE": {0x88, 0x64, 0x11, 0, 0, 1, 0, byte(len(plain) - 12), 0, 0x21},
	} {
		add("a frame with "+name, slices.Concat(plain[:12], tags, plain[12:]))
	}
	six := l.frame(unix.ETH_P_IPV6)
	six = append(six, 0x60, 0, 0, 0, 0, byte(8+len(mark)), unix.IPPROTO_UDP, 64)
	six = append(append(six, netip.MustParseAddr("2001:db8::7").AsSlice()...), netip.MustParseAddr("2001:db8::80").AsSlice()...)
	six = append(append(six, 15, 164, 0, 7, 0, byte(8+len(mark)), 0, 1), mark...)
	add("IPv6", six)
	return all
}
