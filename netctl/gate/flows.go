package gate

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/nlmsg"
)

// Connections are dropped when a session has ended, or when the egress changes. A side that sends something is reset by the rules: the
// device by INPUT's REJECT, the remote side by FORWARD's. After a change of egress, the remote side does not know the connection and
// resets it. A device that only receives would wait for ever, so the gate makes it send: it sends the device an empty segment from the
// remote address that is out of sequence. TCP answers with a challenge ACK (RFC 9293, section 3.10.7.4), and that is reset in
// sequence. Package nlmsg says why the library does not drop the connections.
//
// When the egress changes, the connections are listed before the routes change. Afterwards the kernel itself drops a masqueraded
// connection when its device sends a packet, and the packet too (nf_nat_oif_changed in net/netfilter/nf_nat_core.c). If that packet
// was the device's last acknowledgement, the gate would not know the device's connection any more. The connections of an uplink whose
// interface or address disappears are dropped before the gate can list them: see resetDestroyed.

// Attributes of connection tracking that the library does not name (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctaFilter = 25

	ctaFilterOrig  = 1
	ctaFilterIPSrc = 1 << 0 // CTA_FILTER_F_CTA_IP_SRC, from kernel 5.8; older ones list all
)

func ctType(cmd int) int { return unix.NFNL_SUBSYS_CTNETLINK<<8 | cmd }

// flow is a tracked connection, in its original direction.
type flow struct {
	nlmsg.Tuple
	raw []byte // the tuple as the kernel encodes it
}

// dropFlows drops residents' connections to the internet, and those listed earlier. Those to the box stay.
func (g *Gate) dropFlows(of residents, earlier ...flow) error {
	if len(of) == 0 {
		return nil
	}
	all, err := g.flows(of)
	if err != nil {
		return err
	}
	listed := map[nlmsg.Tuple]bool{}
	for _, c := range all {
		listed[c.Tuple] = true
	}
	for _, c := range earlier {
		if !listed[c.Tuple] {
			all = append(all, c)
		}
	}
	// After that a packet of either side belongs to no connection, and is rejected.
	var forget []request
	for _, c := range all {
		forget = append(forget, request{
			kind: ctType(nl.IPCTNL_MSG_CT_DELETE), body: slices.Concat(netfilterHeader(unix.AF_INET), nest(nl.CTA_TUPLE_ORIG, c.raw)),
			op: "forget a connection", ignoredErrnos: []unix.Errno{unix.ENOENT},
		})
	}
	if err := g.netfilter.do(forget...); err != nil {
		return err
	}
	if err := g.elicitRST(of, all); err != nil {
		return fmt.Errorf("elicit resets: %w", err)
	}
	return nil
}

// online returns the residents with sessions.
func (g *Gate) online() residents {
	all := residents{}
	for addr, s := range g.sessions {
		all[addr] = s.MAC
	}
	return all
}

// flows lists the connections that the residents opened, except those to the box. A dump walks the kernel's whole table, so
// there is one for all residents.
func (g *Gate) flows(of residents) ([]flow, error) {
	if len(of) == 0 {
		return nil, nil
	}
	question := [][]byte{netfilterHeader(unix.AF_INET)}
	if len(of) == 1 {
		for addr := range of {
			question = append(question,
				nest(nl.CTA_TUPLE_ORIG, nest(nl.CTA_TUPLE_IP, attr(nl.CTA_IP_V4_SRC, addr.AsSlice()))),
				nest(ctaFilter, attr(ctaFilterOrig, native32(ctaFilterIPSrc))))
		}
	}
	bodies, err := g.netfilter.get(ctType(nl.IPCTNL_MSG_CT_GET), unix.NLM_F_DUMP, question...)
	if err != nil {
		return nil, fmt.Errorf("list residents' connections: %w", err)
	}
	return g.readFlows(of, bodies), nil
}

// readFlows parses the residents' connections, except those to the box.
func (g *Gate) readFlows(of residents, bodies [][]byte) (all []flow) {
	for _, body := range bodies {
		for kind, value := range nlmsg.Attributes(skipHeader(netfilterHeaderSize, body)) {
			if kind != nl.CTA_TUPLE_ORIG {
				continue
			}
			c := flow{nlmsg.ReadTuple(value), value}
			if _, ok := of[c.Src.Addr()]; ok && c.Dst.Addr() != g.plan.Hotspot.Address.Addr() {
				all = append(all, c)
			}
		}
	}
	return all
}

// elicitRST sends the devices an empty segment for each TCP connection, as if from the remote side. It bypasses connection tracking.
// Otherwise that would see a new connection that is not masqueraded, and the device's answer as a part of it.
func (g *Gate) elicitRST(of residents, all []flow) error {
	to := unix.SockaddrLinklayer{
		Protocol: binary.NativeEndian.Uint16([]byte{unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff}),
		Ifindex:  g.hotspot, Halen: uint8(len(netctl.MAC{})),
	}
	for _, c := range all {
		if c.Proto != unix.IPPROTO_TCP {
			continue
		}
		mac := of[c.Src.Addr()]
		copy(to.Addr[:], mac[:])
		err := unix.Sendto(g.packets, segment(c.Dst, c.Src), unix.MSG_DONTWAIT, &to)
		switch {
		case isErrno(err, unix.ENXIO, unix.ENODEV, unix.ENETDOWN):
			return nil // the hotspot is gone
		case err != nil && !isErrno(err, unix.ENOBUFS, unix.EAGAIN): // the interface's queue is full
			return err
		}
	}
	return nil
}

// segment returns an IPv4 packet with an empty TCP segment that acknowledges nothing in particular.
func segment(from, to netip.AddrPort) []byte {
	const ipLen, tcpLen = 20, 20
	p := make([]byte, ipLen+tcpLen)
	src, dst := from.Addr().As4(), to.Addr().As4()
	ip, tcp := p[:ipLen], p[ipLen:]
	ip[0] = 4<<4 | ipLen/4
	binary.BigEndian.PutUint16(ip[2:], uint16(len(p)))
	ip[8] = 64 // TTL
	ip[9] = unix.IPPROTO_TCP
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	binary.BigEndian.PutUint16(ip[10:], checksum(0, ip))
	binary.BigEndian.PutUint16(tcp[0:], from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	tcp[12] = tcpLen / 4 << 4
	tcp[13] = 1 << 4 // ACK
	// It also covers a pseudo header (RFC 9293, section 3.1).
	binary.BigEndian.PutUint16(tcp[16:], checksum(unix.IPPROTO_TCP+tcpLen, src[:], dst[:], tcp))
	return p
}

// checksum returns the internet checksum (RFC 1071) of a number and some parts of even length.
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
