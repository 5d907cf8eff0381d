package gate

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// Connections of a session that ended, or of a line that is no longer used. The rules reset whoever sends something: the
// device by INPUT's refusal, the other side by FORWARD's; by another line, the other side knows nothing of the connection
// and resets it. A device that only receives would wait for ever, so it is nudged: it gets an empty segment from the other
// side's address that fits nowhere, which TCP must answer with what it expects (RFC 9293, section 3.10.7.4), and that
// answer is reset in a way that fits. When a line's interface or address goes, the kernel itself forgets the connections
// masqueraded with it: whom to nudge is not known then.

// Messages and attributes of connection tracking (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctGet    = 1
	ctDelete = 2

	ctaTupleOrig = 1
	ctaFilter    = 25

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaProtoNum   = 1
	ctaProtoSrc   = 2
	ctaProtoDst   = 3

	ctaFilterOrig  = 1
	ctaFilterIPSrc = 1 << 0 // CTA_FILTER_F_CTA_IP_SRC, kernel 5.8 on; older ones list all
)

func ctType(cmd int) int { return unix.NFNL_SUBSYS_CTNETLINK<<8 | cmd }

// connection is a tracked connection, as its first packet had it.
type connection struct {
	proto    uint8
	src, dst netip.AddrPort
	tuple    []byte // the kernel's own words for it
}

// cut ends residents' connections to the internet. Those to the box stay.
func (g *Gate) cut(of residents) error {
	if len(of) == 0 {
		return nil
	}
	all, err := g.connections(of)
	if err != nil {
		return fmt.Errorf("list residents' connections: %w", err)
	}
	// Forgotten, so that what comes from either side is answered as what it is: no connection's.
	var forget []request
	for _, c := range all {
		forget = append(forget, request{
			kind: ctType(ctDelete), body: slices.Concat(netfilterHeader(unix.AF_INET), nest(ctaTupleOrig, c.tuple)),
			deed: "forget a connection", moot: []unix.Errno{unix.ENOENT},
		})
	}
	if err := g.netfilter.do(forget...); err != nil {
		return err
	}
	if err := g.nudge(of, all); err != nil {
		return fmt.Errorf("nudge connections: %w", err)
	}
	return nil
}

// cutAll ends the connections of all sessions, which go on.
func (g *Gate) cutAll() error {
	all := residents{}
	for addr, s := range g.sessions {
		all[addr] = s.MAC
	}
	return g.cut(all)
}

// connections lists what the residents have begun, but for what they have to say to the box. The kernel goes through all
// connections for that, so it is asked once for all residents.
func (g *Gate) connections(of residents) (all []connection, err error) {
	question := [][]byte{netfilterHeader(unix.AF_INET)}
	if len(of) == 1 {
		for addr := range of {
			question = append(question,
				nest(ctaTupleOrig, nest(ctaTupleIP, attr(ctaIPv4Src, addr.AsSlice()))),
				nest(ctaFilter, attr(ctaFilterOrig, native32(ctaFilterIPSrc))))
		}
	}
	bodies, err := g.netfilter.get(ctType(ctGet), unix.NLM_F_DUMP, question...)
	if err != nil {
		return nil, err
	}
	for _, body := range bodies {
		for kind, value := range attrs(after(netfilterHeaderSize, body)) {
			if kind != ctaTupleOrig {
				continue
			}
			c := readConnection(value)
			if _, ok := of[c.src.Addr()]; ok && c.dst.Addr() != g.plan.Hotspot.Address.Addr() {
				all = append(all, c)
			}
		}
	}
	return all, nil
}

func readConnection(tuple []byte) connection {
	c := connection{tuple: tuple}
	var src, dst netip.Addr
	var from, to uint16
	for part, value := range attrs(tuple) {
		for kind, b := range attrs(value) {
			switch {
			case part == ctaTupleIP && kind == ctaIPv4Src:
				src, _ = netip.AddrFromSlice(b)
			case part == ctaTupleIP && kind == ctaIPv4Dst:
				dst, _ = netip.AddrFromSlice(b)
			case part == ctaTupleProto && kind == ctaProtoNum && len(b) == 1:
				c.proto = b[0]
			case part == ctaTupleProto && kind == ctaProtoSrc && len(b) == 2:
				from = binary.BigEndian.Uint16(b)
			case part == ctaTupleProto && kind == ctaProtoDst && len(b) == 2:
				to = binary.BigEndian.Uint16(b)
			}
		}
	}
	c.src, c.dst = netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to)
	return c
}

// nudge sends the devices an empty segment of each TCP connection, as if from the other side. It goes straight to the
// interface: connection tracking would take it for the beginning of a connection, and what the device answers for that
// one's, which is not masqueraded.
func (g *Gate) nudge(of residents, all []connection) error {
	to := unix.SockaddrLinklayer{
		Protocol: binary.NativeEndian.Uint16([]byte{unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff}),
		Ifindex:  g.hotspot, Halen: uint8(len(netctl.MAC{})),
	}
	for _, c := range all {
		if c.proto != unix.IPPROTO_TCP {
			continue
		}
		mac := of[c.src.Addr()]
		copy(to.Addr[:], mac[:])
		err := unix.Sendto(g.packets, segment(c.dst, c.src), unix.MSG_DONTWAIT, &to)
		switch {
		case isErrno(err, unix.ENXIO, unix.ENODEV, unix.ENETDOWN):
			return nil // without the hotspot, nobody can be nudged
		case err != nil && !isErrno(err, unix.ENOBUFS, unix.EAGAIN): // its queue is full
			return err
		}
	}
	return nil
}

// segment returns an IPv4 packet with an empty TCP segment, an acknowledgement of nothing in particular.
func segment(from, to netip.AddrPort) []byte {
	const ipLen, tcpLen = 20, 20
	p := make([]byte, ipLen+tcpLen)
	src, dst := from.Addr().As4(), to.Addr().As4()
	ip, tcp := p[:ipLen], p[ipLen:]
	ip[0] = 4<<4 | ipLen/4
	binary.BigEndian.PutUint16(ip[2:], uint16(len(p)))
	ip[8] = 64 // hops
	ip[9] = unix.IPPROTO_TCP
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	binary.BigEndian.PutUint16(ip[10:], checksum(0, ip))
	binary.BigEndian.PutUint16(tcp[0:], from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	tcp[12] = tcpLen / 4 << 4
	tcp[13] = 1 << 4 // ACK
	// It covers a pseudo header too (RFC 9293, section 3.1).
	binary.BigEndian.PutUint16(tcp[16:], checksum(unix.IPPROTO_TCP+tcpLen, src[:], dst[:], tcp))
	return p
}

// checksum is the internet checksum (RFC 1071) of a number and some parts of even length.
func checksum(sum uint32, parts ...[]byte) uint16 {
	for _, part := range parts {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
