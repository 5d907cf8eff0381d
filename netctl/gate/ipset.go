package gate

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/nlmsg"
)

// Messages and attributes of ipset (include/uapi/linux/netfilter/ipset/ip_set.h, protocol 6). Numbers are in network byte order, and
// attributes with a number are marked so (NLA_F_NET_BYTEORDER).
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
	ipsetAttrMaxElem = 19
	ipsetAttrBytes   = 24
	ipsetAttrPackets = 25
	ipsetAttrMark    = 27
	ipsetAttrPrio    = 28

	ipsetAttrIPv4 = 1

	ipsetFlagListHeader = 1 << 2

	ipsetFlagWithCounters = 1 << 3
	ipsetFlagWithSkbinfo  = 1 << 6

	ipsetRevision = 3 // of bitmap:ip and bitmap:ip,mac: the first with skbinfo (Linux 3.18)
	hashRevision  = 0 // of hash:ip: nothing newer is needed

	hashMaxElem = 4096 // of a set that dnsmasq fills
)

// entry is one element of a set.
type entry struct {
	addr    netip.Addr
	mac     netctl.MAC // sets of type bitmap:ip,mac only
	timeout time.Duration
	bytes   uint64 // only in sets with counters, like packets
	packets uint64
	mark    uint32 // under netctl.MarkMask; 0 for none
	class   uint32 // HTB class ID; 0 for none
}

// netOrder marks an attribute as a number in network byte order.
const netOrder = unix.NLA_F_NET_BYTEORDER

func ipsetType(cmd int) int { return unix.NFNL_SUBSYS_IPSET<<8 | cmd }

// ipsetMessage begins a message about a set.
func ipsetMessage(name string) []byte {
	return slices.Concat(netfilterHeader(unix.AF_INET), attr(ipsetAttrProtocol, []byte{ipsetProtocol}), attr(ipsetAttrSetname, text(name)))
}

func encodeIP(kind uint16, a netip.Addr) []byte {
	return nest(kind, attr(ipsetAttrIPv4|netOrder, a.AsSlice()))
}

// createSet creates an empty set.
func (g *Gate) createSet(s netctl.Set) error {
	revision, options := byte(hashRevision), attr(ipsetAttrMaxElem|netOrder, big32(hashMaxElem))
	if s.Bitmap() {
		flags := uint32(ipsetFlagWithSkbinfo)
		if s.Counters {
			flags |= ipsetFlagWithCounters
		}
		revision, options = ipsetRevision, slices.Concat(
			encodeIP(ipsetAttrIP, s.Network.Addr()),
			encodeIP(ipsetAttrIPTo, netctl.LastAddr(s.Network)),
			attr(ipsetAttrCADT|netOrder, big32(flags)))
	}
	return g.netfilter.do(request{
		kind: ipsetType(ipsetCreate), flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL,
		body: slices.Concat(ipsetMessage(s.Name),
			attr(ipsetAttrTypename, text(s.Type)),
			attr(ipsetAttrRevision, []byte{revision}),
			attr(ipsetAttrFamily, []byte{unix.AF_INET}),
			nest(ipsetAttrData, options, attr(ipsetAttrTimeout|netOrder, big32(uint32(s.Timeout/time.Second))))),
		op: "create set " + s.Name,
	})
}

// destroySet destroys a set if it exists. The kernel frees deleted rules a little after it reports their deletion, and a set cannot be
// destroyed before the last rule that uses it is freed.
func (g *Gate) destroySet(ctx context.Context, name string) error {
	r := request{
		kind: ipsetType(ipsetDestroy), body: ipsetMessage(name),
		op: "destroy set " + name, ignoredErrnos: []unix.Errno{unix.ENOENT},
	}
	var err error
	for range 100 {
		if err = g.netfilter.do(r); !isErrno(err, unix.EBUSY) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	return err
}

// putEntry adds an entry, or replaces the one with its address. It sends every field: given only a timeout, the kernel would erase the
// class, and would revive the counters of an expired entry.
func putEntry(set netctl.Set, x entry) request {
	fields := [][]byte{
		encodeIP(ipsetAttrIP, x.addr),
		attr(ipsetAttrTimeout|netOrder, big32(seconds(x.timeout))),
		attr(ipsetAttrMark|netOrder, big64(uint64(x.mark)<<32|uint64(netctl.MarkMask))),
		attr(ipsetAttrPrio|netOrder, big32(x.class)),
	}
	if set.Type == "bitmap:ip,mac" {
		fields = append(fields, attr(ipsetAttrEther, x.mac[:]))
	}
	if set.Counters {
		fields = append(fields, attr(ipsetAttrBytes|netOrder, big64(x.bytes)), attr(ipsetAttrPackets|netOrder, big64(x.packets)))
	}
	return request{
		kind: ipsetType(ipsetAdd), body: slices.Concat(ipsetMessage(set.Name), nest(ipsetAttrData, fields...)),
		op: "add an entry to set " + set.Name,
	}
}

// deleteEntry deletes an entry. It is idempotent.
func deleteEntry(set netctl.Set, addr netip.Addr) request {
	return request{
		kind: ipsetType(ipsetDel),
		body: slices.Concat(ipsetMessage(set.Name), nest(ipsetAttrData, encodeIP(ipsetAttrIP, addr))),
		op:   "delete an entry from set " + set.Name, ignoredErrnos: []unix.Errno{unix.ENOENT},
	}
}

// setDump is a set in the kernel.
type setDump struct {
	set     netctl.Set
	entries map[netip.Addr]entry
}

// ownSets returns the names of all our sets in the kernel.
func (g *Gate) ownSets() (names []string, err error) {
	bodies, err := g.netfilter.get(ipsetType(ipsetList), unix.NLM_F_DUMP, netfilterHeader(unix.AF_INET),
		attr(ipsetAttrProtocol, []byte{ipsetProtocol}), attr(ipsetAttrFlags|netOrder, big32(ipsetFlagListHeader)))
	if err != nil {
		return nil, fmt.Errorf("list sets: %w", err)
	}
	for _, body := range bodies {
		for kind, value := range nlmsg.Attributes(skipHeader(netfilterHeaderSize, body)) {
			if name := textOf(value); kind == ipsetAttrSetname && strings.HasPrefix(name, netctl.SetPrefix) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// dumpSet reads a set, with its entries or without; ok is false if it does not exist.
func (g *Gate) dumpSet(name string, entries bool) (l setDump, ok bool, err error) {
	message := ipsetMessage(name)
	if !entries {
		message = append(message, attr(ipsetAttrFlags|netOrder, big32(ipsetFlagListHeader))...)
	}
	bodies, err := g.netfilter.get(ipsetType(ipsetList), unix.NLM_F_DUMP, message)
	if isErrno(err, unix.ENOENT) {
		return l, false, nil
	}
	if err != nil {
		return l, false, fmt.Errorf("list set %s: %w", name, err)
	}
	l = setDump{netctl.Set{Name: name}, map[netip.Addr]entry{}}
	for _, body := range bodies {
		for kind, value := range nlmsg.Attributes(skipHeader(netfilterHeaderSize, body)) {
			switch kind {
			case ipsetAttrTypename:
				l.set.Type = textOf(value)
			case ipsetAttrData:
				l.readHeader(value)
			case ipsetAttrADT:
				for _, b := range nlmsg.Attributes(value) {
					x := decodeEntry(b)
					l.entries[x.addr] = x
				}
			}
		}
	}
	return l, true, nil
}

func (l *setDump) readHeader(b []byte) {
	var first, last netip.Addr
	for kind, value := range nlmsg.Attributes(b) {
		switch kind {
		case ipsetAttrIP:
			first = decodeIP(value)
		case ipsetAttrIPTo:
			last = decodeIP(value)
		case ipsetAttrTimeout:
			l.set.Timeout = time.Duration(big32Of(value)) * time.Second
		case ipsetAttrCADT:
			l.set.Counters = big32Of(value)&ipsetFlagWithCounters != 0
		}
	}
	for bits := 32; first.IsValid() && bits >= 0; bits-- {
		if p := netip.PrefixFrom(first, bits); p.Masked() == p && netctl.LastAddr(p) == last {
			l.set.Network = p
		}
	}
}

func decodeEntry(b []byte) (x entry) {
	for kind, value := range nlmsg.Attributes(b) {
		switch kind {
		case ipsetAttrIP:
			x.addr = decodeIP(value)
		case ipsetAttrEther:
			copy(x.mac[:], value)
		case ipsetAttrTimeout:
			x.timeout = time.Duration(big32Of(value)) * time.Second
		case ipsetAttrBytes:
			x.bytes = big64Of(value)
		case ipsetAttrPackets:
			x.packets = big64Of(value)
		case ipsetAttrMark:
			x.mark = uint32(big64Of(value) >> 32)
		case ipsetAttrPrio:
			x.class = big32Of(value)
		}
	}
	return x
}

func decodeIP(b []byte) (a netip.Addr) {
	for kind, value := range nlmsg.Attributes(b) {
		if kind == ipsetAttrIPv4 && len(value) == 4 {
			a = netip.AddrFrom4([4]byte(value))
		}
	}
	return a
}

// seconds rounds a timeout up: 0 would mean no timeout.
func seconds(d time.Duration) uint32 {
	return uint32(max(1, (d+time.Second-1)/time.Second))
}
