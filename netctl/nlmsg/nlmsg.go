// Package nlmsg parses netlink messages that no library parses well enough. It owns the loop over attributes, the retry of an
// interrupted dump, and the tuples of tracked connections, for the packages that speak netlink. It must not know what they
// are used for, and opens no socket.
//
// vishvananda/netlink v1.3.1 also lists and deletes tracked connections (ConntrackDeleteFilters with a custom filter). It is
// used where time does not matter. But it does not support the kernel's filter for a dump (CTA_FILTER), decodes every flow by
// reflection, and waits for an answer to each deletion: with 5000 connections, ending a session took several times as long
// (BenchmarkDropAmongThousands of package gate). So dumps are parsed here.
package nlmsg

import (
	"encoding/binary"
	"errors"
	"iter"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes yields the attributes in b by type, without flags, up to the first that is truncated.
func Attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofNlAttr || size > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.SizeofNlAttr:size]) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// RetryInterruptedDump repeats a dump, up to ten times, while the kernel marks it as interrupted: a change happened during the
// dump, and entries may be missing.
func RetryInterruptedDump[T any](dump func() ([]T, error)) (all []T, err error) {
	for range 10 {
		if all, err = dump(); !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// Tuple is one direction of a tracked connection. Ports are 0 for a protocol that has none.
type Tuple struct {
	Proto    uint8
	Src, Dst netip.AddrPort
}

// ReadTuple reads the value of CTA_TUPLE_ORIG or CTA_TUPLE_REPLY (include/uapi/linux/netfilter/nfnetlink_conntrack.h) of an
// IPv4 connection.
func ReadTuple(b []byte) (t Tuple) {
	var src, dst netip.Addr
	var from, to uint16
	for part, value := range Attributes(b) {
		for kind, b := range Attributes(value) {
			switch {
			case part == nl.CTA_TUPLE_IP && kind == nl.CTA_IP_V4_SRC:
				src, _ = netip.AddrFromSlice(b)
			case part == nl.CTA_TUPLE_IP && kind == nl.CTA_IP_V4_DST:
				dst, _ = netip.AddrFromSlice(b)
			case part == nl.CTA_TUPLE_PROTO && kind == nl.CTA_PROTO_NUM && len(b) == 1:
				t.Proto = b[0]
			case part == nl.CTA_TUPLE_PROTO && kind == nl.CTA_PROTO_SRC_PORT && len(b) == 2:
				from = binary.BigEndian.Uint16(b)
			case part == nl.CTA_TUPLE_PROTO && kind == nl.CTA_PROTO_DST_PORT && len(b) == 2:
				to = binary.BigEndian.Uint16(b)
			}
		}
	}
	t.Src, t.Dst = netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to)
	return t
}
