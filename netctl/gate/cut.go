package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Connections of a session that ended. The rules reset whoever sends something: the device by INPUT's refusal, the other
// side by FORWARD's. A device that only receives would wait for ever, so it is nudged: it gets an empty segment from the
// other side's address that fits nowhere, which TCP must answer with what it expects (RFC 9293, section 3.10.7.4), and
// that answer is refused with a reset that fits.

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

// cut ends a resident's connections to the internet. Those to the box stay.
func (g *Gate) cut(addr netip.Addr) error {
	all, err := g.connections(addr)
	if err != nil {
		return fmt.Errorf("list a resident's connections: %w", err)
	}
	for _, c := range all {
		if c.dst.Addr() == g.plan.Hotspot.Address.Addr() {
			continue
		}
		// Forgotten, so that what comes from either side is answered as what it is: no connection's.
		err := g.netfilter.do(ctType(ctDelete), 0, netfilterHeader(unix.AF_INET), nest(ctaTupleOrig, c.tuple))
		if err != nil && !isErrno(err, unix.ENOENT) {
			return fmt.Errorf("forget a connection: %w", err)
		}
		if c.proto != unix.IPPROTO_TCP {
			continue
		}
		// A device that is gone cannot be nudged.
		if err := g.nudge(c); err != nil && !isErrno(err, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENODEV, unix.ENOBUFS) {
			return fmt.Errorf("nudge a connection: %w", err)
		}
	}
	return nil
}

// cutAll ends the connections of all sessions, which go on.
func (g *Gate) cutAll() (err error) {
	for addr := range g.sessions {
		err = errors.Join(err, g.cut(addr))
	}
	return err
}

// connections lists what the address has begun.
func (g *Gate) connections(addr netip.Addr) ([]connection, error) {
	bodies, err := g.netfilter.get(ctType(ctGet), unix.NLM_F_DUMP, netfilterHeader(unix.AF_INET),
		nest(ctaTupleOrig, nest(ctaTupleIP, attr(ctaIPv4Src, addr.AsSlice()))),
		nest(ctaFilter, attr(ctaFilterOrig, native32(ctaFilterIPSrc))))
	if err != nil {
		return nil, err
	}
	var all []connection
	for _, body := range bodies {
		for kind, value := range attrs(after(netfilterHeaderSize, body)) {
			if kind != ctaTupleOrig {
				continue
			}
			if c := readConnection(value); c.src.Addr() == addr {
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

// nudge sends the device an empty segment of the connection, as if from the other side.
func (g *Gate) nudge(c connection) (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.BindToDevice(fd, g.plan.Hotspot.Name); err != nil {
		return err
	}
	return unix.Sendto(fd, segment(c.dst, c.src), unix.MSG_DONTWAIT, &unix.SockaddrInet4{Addr: c.src.Addr().As4()})
}

// segment returns an IPv4 packet with an empty TCP segment, an acknowledgement of nothing in particular. The kernel fills
// in the IP header's length, identification and checksum (raw(7)).
func segment(from, to netip.AddrPort) []byte {
	const ipLen, tcpLen = 20, 20
	p := make([]byte, ipLen+tcpLen)
	src, dst := from.Addr().As4(), to.Addr().As4()
	p[0] = 4<<4 | ipLen/4
	p[8] = 64 // hops
	p[9] = unix.IPPROTO_TCP
	copy(p[12:], src[:])
	copy(p[16:], dst[:])
	tcp := p[ipLen:]
	binary.BigEndian.PutUint16(tcp[0:], from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	tcp[12] = tcpLen / 4 << 4
	tcp[13] = 1 << 4 // ACK
	// The checksum covers a pseudo header too (RFC 9293, section 3.1).
	sum := uint32(unix.IPPROTO_TCP + tcpLen)
	for _, part := range [][]byte{src[:], dst[:], tcp} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(tcp[16:], ^uint16(sum))
	return p
}
