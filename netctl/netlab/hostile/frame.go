package hostile

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// Broadcast is the broadcast address.
var Broadcast = net.HardwareAddr{255, 255, 255, 255, 255, 255}

// Link is the destination and source of a frame.
type Link struct {
	To, From net.HardwareAddr // To: nil is Broadcast
}

const ethernetLength = 14

// frame starts a frame with an EtherType.
func (l Link) frame(kind uint16) []byte {
	to := l.To
	if to == nil {
		to = Broadcast
	}
	f := make([]byte, ethernetLength, 128)
	copy(f, to)
	copy(f[6:], l.From)
	binary.BigEndian.PutUint16(f[12:], kind)
	return f
}

// readLink returns the frame's addresses and payload, if it has the EtherType.
func readLink(frame []byte, kind uint16) (l Link, payload []byte, ok bool) {
	if len(frame) < ethernetLength || binary.BigEndian.Uint16(frame[12:]) != kind {
		return l, nil, false
	}
	return Link{To: hardware(frame[:6]), From: hardware(frame[6:12])}, frame[ethernetLength:], true
}

func hardware(b []byte) net.HardwareAddr { return append(net.HardwareAddr(nil), b...) }

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }

// bytes4 returns an address's bytes, those of 0.0.0.0 for an invalid one.
func bytes4(a netip.Addr) []byte {
	if !a.Is4() {
		return make([]byte, 4)
	}
	return a.AsSlice()
}

// ARP is an ARP request or reply (RFC 826). A request for the sender's own address is an announcement, a request with an invalid
// Sender is a probe (RFC 5227).
type ARP struct {
	Link
	Reply     bool
	SenderMAC net.HardwareAddr // nil: the frame's
	Sender    netip.Addr       // invalid: 0.0.0.0
	TargetMAC net.HardwareAddr // nil: zeros
	Target    netip.Addr
}

const arpLength = 28

// Frame returns the frame.
func (a ARP) Frame() []byte {
	f := append(a.frame(unix.ETH_P_ARP), 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, their lengths, request
	if a.Reply {
		f[len(f)-1] = 2
	}
	sender := a.SenderMAC
	if sender == nil {
		sender = a.From
	}
	target := a.TargetMAC
	if target == nil {
		target = make([]byte, 6)
	}
	f = append(append(f, sender...), bytes4(a.Sender)...)
	return append(append(f, target...), bytes4(a.Target)...)
}

// ReadARP parses a frame; ok is false if it is not ARP for Ethernet and IPv4.
func ReadARP(frame []byte) (a ARP, ok bool) {
	l, b, ok := readLink(frame, unix.ETH_P_ARP)
	if !ok || len(b) < arpLength || [6]byte(b[:6]) != [6]byte{0, 1, 8, 0, 6, 4} {
		return a, false
	}
	return ARP{
		Link: l, Reply: binary.BigEndian.Uint16(b[6:]) == 2,
		SenderMAC: hardware(b[8:14]), Sender: addr4(b[14:18]),
		TargetMAC: hardware(b[18:24]), Target: addr4(b[24:28]),
	}, true
}

// IPv4 is a packet with the caller's payload.
type IPv4 struct {
	Link
	Source, Destination netip.Addr // invalid: 0.0.0.0
	Protocol            byte
	TTL                 byte   // 0: 64
	ID                  uint16 // of a fragmented packet
	Fragment            uint16 // flags and offset, as in the header
	Options             []byte // header options: a multiple of 4 bytes, at most 40
	Payload             []byte
}

const ipv4Length = 20

// Frame returns the frame.
func (p IPv4) Frame() []byte {
	f := append(p.frame(unix.ETH_P_IP), make([]byte, ipv4Length)...)
	f = append(f, p.Options...)
	h := f[ethernetLength:]
	h[0] = 4<<4 | byte(len(h)/4)
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(p.Payload)))
	binary.BigEndian.PutUint16(h[4:], p.ID)
	binary.BigEndian.PutUint16(h[6:], p.Fragment)
	if h[8] = p.TTL; h[8] == 0 {
		h[8] = 64
	}
	h[9] = p.Protocol
	copy(h[12:], bytes4(p.Source))
	copy(h[16:], bytes4(p.Destination))
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return append(f, p.Payload...)
}

// ReadIPv4 parses a frame; ok is false if it is not IPv4. TCP and UDP headers are in the payload.
func ReadIPv4(frame []byte) (p IPv4, ok bool) {
	l, b, ok := readLink(frame, unix.ETH_P_IP)
	if !ok || len(b) < ipv4Length || b[0]>>4 != 4 {
		return p, false
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < ipv4Length || total < header || total > len(b) {
		return p, false
	}
	return IPv4{
		Link: l, Source: addr4(b[12:16]), Destination: addr4(b[16:20]), Protocol: b[9], TTL: b[8],
		ID: binary.BigEndian.Uint16(b[4:]), Fragment: binary.BigEndian.Uint16(b[6:]),
		Options: b[ipv4Length:header], Payload: b[header:total],
	}, true
}

// UDP is a datagram.
type UDP struct {
	Link
	Source, Destination netip.AddrPort
	Payload             []byte
}

const udpLength = 8

// Frame returns the frame.
func (d UDP) Frame() []byte {
	b := make([]byte, udpLength, udpLength+len(d.Payload))
	binary.BigEndian.PutUint16(b[0:], d.Source.Port())
	binary.BigEndian.PutUint16(b[2:], d.Destination.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(udpLength+len(d.Payload)))
	b = append(b, d.Payload...)
	sum := transportChecksum(unix.IPPROTO_UDP, d.Source.Addr(), d.Destination.Addr(), b)
	if sum == 0 {
		sum = 0xffff // 0 means no checksum (RFC 768)
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return IPv4{Link: d.Link, Source: d.Source.Addr(), Destination: d.Destination.Addr(), Protocol: unix.IPPROTO_UDP, Payload: b}.Frame()
}

// ReadUDP parses a frame; ok is false if it is not a whole datagram.
func ReadUDP(frame []byte) (d UDP, ok bool) {
	p, ok := ReadIPv4(frame)
	b := p.Payload
	if !ok || p.Protocol != unix.IPPROTO_UDP || p.Fragment&0x3fff != 0 || len(b) < udpLength {
		return d, false
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < udpLength || length > len(b) {
		return d, false
	}
	return UDP{
		Link:        p.Link,
		Source:      netip.AddrPortFrom(p.Source, binary.BigEndian.Uint16(b[0:])),
		Destination: netip.AddrPortFrom(p.Destination, binary.BigEndian.Uint16(b[2:])),
		Payload:     b[udpLength:length],
	}, true
}

// Flags of TCP (RFC 9293).
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// TCP is a segment without options.
type TCP struct {
	Link
	Source, Destination netip.AddrPort
	Flags               byte
	Sequence, Ack       uint32
	Payload             []byte
}

const tcpLength = 20

// Frame returns the frame.
func (s TCP) Frame() []byte {
	b := make([]byte, tcpLength, tcpLength+len(s.Payload))
	binary.BigEndian.PutUint16(b[0:], s.Source.Port())
	binary.BigEndian.PutUint16(b[2:], s.Destination.Port())
	binary.BigEndian.PutUint32(b[4:], s.Sequence)
	binary.BigEndian.PutUint32(b[8:], s.Ack)
	b[12], b[13] = tcpLength/4<<4, s.Flags
	binary.BigEndian.PutUint16(b[14:], 0xffff) // window
	b = append(b, s.Payload...)
	binary.BigEndian.PutUint16(b[16:], transportChecksum(unix.IPPROTO_TCP, s.Source.Addr(), s.Destination.Addr(), b))
	return IPv4{Link: s.Link, Source: s.Source.Addr(), Destination: s.Destination.Addr(), Protocol: unix.IPPROTO_TCP, Payload: b}.Frame()
}

// ReadTCP parses a frame; ok is false if it is not a whole segment. Options are skipped.
func ReadTCP(frame []byte) (s TCP, ok bool) {
	p, ok := ReadIPv4(frame)
	b := p.Payload
	if !ok || p.Protocol != unix.IPPROTO_TCP || p.Fragment&0x3fff != 0 || len(b) < tcpLength {
		return s, false
	}
	header := int(b[12]>>4) * 4
	if header < tcpLength || header > len(b) {
		return s, false
	}
	return TCP{
		Link:        p.Link,
		Source:      netip.AddrPortFrom(p.Source, binary.BigEndian.Uint16(b[0:])),
		Destination: netip.AddrPortFrom(p.Destination, binary.BigEndian.Uint16(b[2:])),
		Flags:       b[13], Sequence: binary.BigEndian.Uint32(b[4:]), Ack: binary.BigEndian.Uint32(b[8:]),
		Payload: b[header:],
	}, true
}

// ICMP is an ICMP message (RFC 792).
type ICMP struct {
	Link
	Source, Destination netip.Addr
	Type, Code          byte
	Rest                uint32 // the rest of the header: in an echo, identifier and sequence number
	Payload             []byte
}

const icmpLength = 8

// Frame returns the frame.
func (m ICMP) Frame() []byte {
	b := make([]byte, icmpLength, icmpLength+len(m.Payload))
	b[0], b[1] = m.Type, m.Code
	binary.BigEndian.PutUint32(b[4:], m.Rest)
	b = append(b, m.Payload...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return IPv4{Link: m.Link, Source: m.Source, Destination: m.Destination, Protocol: unix.IPPROTO_ICMP, Payload: b}.Frame()
}

// ReadICMP parses a frame; ok is false if it is not a whole message.
func ReadICMP(frame []byte) (m ICMP, ok bool) {
	p, ok := ReadIPv4(frame)
	b := p.Payload
	if !ok || p.Protocol != unix.IPPROTO_ICMP || p.Fragment&0x3fff != 0 || len(b) < icmpLength {
		return m, false
	}
	return ICMP{
		Link: p.Link, Source: p.Source, Destination: p.Destination,
		Type: b[0], Code: b[1], Rest: binary.BigEndian.Uint32(b[4:]), Payload: b[icmpLength:],
	}, true
}

// Query returns a DNS query for the name. It panics if the name is invalid.
func Query(id uint16, name string, kind dnsmessage.Type) []byte {
	if name[len(name)-1] != '.' {
		name += "."
	}
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	b, err := q.Pack()
	if err != nil {
		panic(err) // an invalid name
	}
	return b
}

// checksum returns the internet checksum (RFC 1071).
func checksum(b []byte) uint16 { return ^fold(sum(0, b)) }

// transportChecksum returns the checksum of TCP and UDP, with the pseudo-header (RFC 9293, 3.1).
func transportChecksum(protocol byte, source, destination netip.Addr, b []byte) uint16 {
	s := sum(sum(uint32(protocol)+uint32(len(b)), bytes4(source)), bytes4(destination))
	return ^fold(sum(s, b))
}

func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) > 0 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
