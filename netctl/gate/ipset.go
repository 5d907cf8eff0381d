package gate

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// Messages and attributes of ipset (include/uapi/linux/netfilter/ipset/ip_set.h, protocol 6). Numbers are in network
// byte order, and attributes that hold one say so (NLA_F_NET_BYTEORDER).
const (
	ipsetProtocol = 6

	ipsetCreate  = 2
	ipsetDestroy = 3
	ipsetList    = 7
	ipsetAdd     = 9
	ipsetDel     = 10

	ipsetAttrProtocol = 1
	ipsetAttrSetname  = 2
	ipsetAttrTypename = 3
	ipsetAttrRevision = 4
	ipsetAttrFamily   = 5
	ipsetAttrFlags    = 6
	ipsetAttrData     = 7
	ipsetAttrADT      = 8

	ipsetAttrIP      = 1
	ipsetAttrIPTo    = 2
	ipsetAttrTimeout = 6
	ipsetAttrCADT    = 8
	ipsetAttrEther   = 17
	ipsetAttrBytes   = 24
	ipsetAttrPackets = 25
	ipsetAttrMark    = 27
	ipsetAttrPrio    = 28

	ipsetAttrIPv4 = 1

	ipsetFlagListHeader   = 1 << 2
	ipsetFlagWithCounters = 1 << 3
	ipsetFlagWithSkbinfo  = 1 << 6

	ipsetRevision = 3 // of bitmap:ip and bitmap:ip,mac: the first with skbinfo (Linux 3.18)
)

// entry is one element of a set.
type entry struct {
	addr    netip.Addr
	mac     netctl.MAC // sets of type bitmap:ip,mac only
	timeout time.Duration
	bytes   uint64 // sets with counters only
	mark    uint32 // under netctl.MarkMask, 0: none
	class   uint32 // HTB class id, 0: none
}

func ipsetType(cmd int) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_IPSET<<8 | cmd)
}

func ipsetMessage(name string, fill func(*netlink.AttributeEncoder)) ([]byte, error) {
	return attributes(netfilterHeader(unix.AF_INET), func(e *netlink.AttributeEncoder) {
		e.ByteOrder = binary.BigEndian
		e.Uint8(ipsetAttrProtocol, ipsetProtocol)
		e.String(ipsetAttrSetname, name)
		if fill != nil {
			fill(e)
		}
	})
}

// nested encodes a nested attribute; the encoder's byte order carries over.
func nested(e *netlink.AttributeEncoder, kind uint16, fill func(*netlink.AttributeEncoder)) {
	e.Nested(kind, func(n *netlink.AttributeEncoder) error {
		n.ByteOrder = binary.BigEndian
		fill(n)
		return nil
	})
}

func encodeIP(e *netlink.AttributeEncoder, kind uint16, a netip.Addr) {
	b := a.As4()
	nested(e, kind, func(n *netlink.AttributeEncoder) { n.Bytes(ipsetAttrIPv4|netlink.NetByteOrder, b[:]) })
}

// setCommand sends a command that needs no more than the set's name.
func (g *Gate) setCommand(cmd int, name string) error {
	b, err := ipsetMessage(name, nil)
	if err != nil {
		return err
	}
	return g.netfilter.do(ipsetType(cmd), 0, b)
}

// createSet makes an empty set.
func (g *Gate) createSet(s netctl.Set) error {
	b, err := ipsetMessage(s.Name, func(e *netlink.AttributeEncoder) {
		e.String(ipsetAttrTypename, s.Type)
		e.Uint8(ipsetAttrRevision, ipsetRevision)
		e.Uint8(ipsetAttrFamily, unix.AF_INET)
		nested(e, ipsetAttrData, func(n *netlink.AttributeEncoder) {
			encodeIP(n, ipsetAttrIP, s.Network.Addr())
			encodeIP(n, ipsetAttrIPTo, lastAddr(s.Network))
			n.Uint32(ipsetAttrTimeout|netlink.NetByteOrder, 0) // timeouts are the entries' own
			flags := uint32(ipsetFlagWithSkbinfo)
			if s.Counters {
				flags |= ipsetFlagWithCounters
			}
			n.Uint32(ipsetAttrCADT|netlink.NetByteOrder, flags)
		})
	})
	if err != nil {
		return err
	}
	if err := g.netfilter.do(ipsetType(ipsetCreate), netlink.Create|netlink.Excl, b); err != nil {
		return fmt.Errorf("create set %s: %w", s.Name, err)
	}
	return nil
}

// destroySet removes a set; that there is none is no error. The kernel lets go of deleted rules a little later than it
// says, and of a set only with the last rule that names it.
func (g *Gate) destroySet(ctx context.Context, name string) error {
	var err error
	for range 100 {
		if err = g.setCommand(ipsetDestroy, name); !isErrno(err, unix.EBUSY) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err != nil && !isErrno(err, unix.ENOENT) {
		return fmt.Errorf("destroy set %s: %w", name, err)
	}
	return nil
}

// put adds an entry or replaces the one with its address. Every field is sent: with a timeout alone the kernel would
// erase the class, and an expired entry's counters would come back to life.
func (g *Gate) put(set netctl.Set, x entry) error {
	b, err := ipsetMessage(set.Name, func(e *netlink.AttributeEncoder) {
		nested(e, ipsetAttrData, func(n *netlink.AttributeEncoder) {
			encodeIP(n, ipsetAttrIP, x.addr)
			if set.Type == "bitmap:ip,mac" {
				n.Bytes(ipsetAttrEther, x.mac[:])
			}
			n.Uint32(ipsetAttrTimeout|netlink.NetByteOrder, seconds(x.timeout))
			if set.Counters {
				n.Uint64(ipsetAttrBytes|netlink.NetByteOrder, x.bytes)
				n.Uint64(ipsetAttrPackets|netlink.NetByteOrder, 0)
			}
			n.Uint64(ipsetAttrMark|netlink.NetByteOrder, uint64(x.mark)<<32|netctl.MarkMask)
			n.Uint32(ipsetAttrPrio|netlink.NetByteOrder, x.class)
		})
	})
	if err != nil {
		return err
	}
	if err := g.netfilter.do(ipsetType(ipsetAdd), 0, b); err != nil {
		return fmt.Errorf("add an entry to set %s: %w", set.Name, err)
	}
	return nil
}

// remove deletes an entry; that there is none is no error.
func (g *Gate) remove(set netctl.Set, addr netip.Addr) error {
	b, err := ipsetMessage(set.Name, func(e *netlink.AttributeEncoder) {
		nested(e, ipsetAttrData, func(n *netlink.AttributeEncoder) { encodeIP(n, ipsetAttrIP, addr) })
	})
	if err != nil {
		return err
	}
	if err := g.netfilter.do(ipsetType(ipsetDel), 0, b); err != nil && !isErrno(err, unix.ENOENT) {
		return fmt.Errorf("delete an entry from set %s: %w", set.Name, err)
	}
	return nil
}

// listing is what the kernel says of a set.
type listing struct {
	set     netctl.Set
	entries []entry
}

// list reads a set; ok is false if there is none. With headerOnly its entries are left out.
func (g *Gate) list(name string, headerOnly bool) (l listing, ok bool, err error) {
	b, err := ipsetMessage(name, func(e *netlink.AttributeEncoder) {
		if headerOnly {
			e.Uint32(ipsetAttrFlags|netlink.NetByteOrder, ipsetFlagListHeader)
		}
	})
	if err != nil {
		return l, false, err
	}
	bodies, err := g.netfilter.get(ipsetType(ipsetList), netlink.Dump, b)
	if isErrno(err, unix.ENOENT) {
		return l, false, nil
	}
	if err != nil {
		return l, false, fmt.Errorf("list set %s: %w", name, err)
	}
	l.set.Name = name
	for _, body := range bodies {
		if len(body) < 4 {
			return l, false, fmt.Errorf("list set %s: an answer of %d bytes", name, len(body))
		}
		if err := decode(body[4:], l.read); err != nil {
			return l, false, fmt.Errorf("list set %s: %w", name, err)
		}
	}
	return l, true, nil
}

func (l *listing) read(d *netlink.AttributeDecoder) {
	switch d.Type() {
	case ipsetAttrTypename:
		l.set.Type = d.String()
	case ipsetAttrData:
		var first, last netip.Addr
		d.Nested(func(n *netlink.AttributeDecoder) error {
			n.ByteOrder = binary.BigEndian
			for n.Next() {
				switch n.Type() {
				case ipsetAttrIP:
					first = decodeIP(n)
				case ipsetAttrIPTo:
					last = decodeIP(n)
				case ipsetAttrCADT:
					l.set.Counters = n.Uint32()&ipsetFlagWithCounters != 0
				}
			}
			return nil
		})
		for bits := 32; first.IsValid() && bits >= 0; bits-- {
			if p := netip.PrefixFrom(first, bits); p.Masked() == p && lastAddr(p) == last {
				l.set.Network = p
			}
		}
	case ipsetAttrADT:
		d.Nested(func(n *netlink.AttributeDecoder) error {
			for n.Next() {
				n.Nested(func(f *netlink.AttributeDecoder) error {
					f.ByteOrder = binary.BigEndian
					l.entries = append(l.entries, decodeEntry(f))
					return nil
				})
			}
			return nil
		})
	}
}

func decodeEntry(f *netlink.AttributeDecoder) (x entry) {
	for f.Next() {
		switch f.Type() {
		case ipsetAttrIP:
			x.addr = decodeIP(f)
		case ipsetAttrEther:
			copy(x.mac[:], f.Bytes())
		case ipsetAttrTimeout:
			x.timeout = time.Duration(f.Uint32()) * time.Second
		case ipsetAttrBytes:
			x.bytes = f.Uint64()
		case ipsetAttrMark:
			x.mark = uint32(f.Uint64() >> 32)
		case ipsetAttrPrio:
			x.class = f.Uint32()
		}
	}
	return x
}

func decodeIP(d *netlink.AttributeDecoder) (a netip.Addr) {
	d.Nested(func(n *netlink.AttributeDecoder) error {
		for n.Next() {
			if b := n.Bytes(); n.Type() == ipsetAttrIPv4 && len(b) == 4 {
				a = netip.AddrFrom4([4]byte(b))
			}
		}
		return nil
	})
	return a
}

// seconds rounds a timeout up: 0 would mean for ever.
func seconds(d time.Duration) uint32 {
	return uint32(max(1, (d+time.Second-1)/time.Second))
}

func lastAddr(n netip.Prefix) netip.Addr {
	b := n.Masked().Addr().As4()
	v := binary.BigEndian.Uint32(b[:]) | uint32(uint64(1)<<(32-n.Bits())-1)
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}

// offset returns an address's place in its network: a resident's class number.
func offset(n netip.Prefix, a netip.Addr) uint32 {
	x, y := n.Masked().Addr().As4(), a.As4()
	return binary.BigEndian.Uint32(y[:]) - binary.BigEndian.Uint32(x[:])
}
