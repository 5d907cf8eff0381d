package nlmsg

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestDumpIsRepeatedWhenInterrupted(t *testing.T) {
	t.Parallel()
	calls := 0
	all, err := RetryInterruptedDump(func() ([]int, error) {
		if calls++; calls < 3 {
			return []int{1}, nl.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	})
	if err != nil || len(all) != 2 {
		t.Errorf("got %v, %v", all, err)
	}
	if _, err := RetryInterruptedDump(func() ([]int, error) { return nil, nl.ErrDumpInterrupted }); err == nil {
		t.Error("no error of a dump that never ends well")
	}
}

func attribute(kind uint16, parts ...[]byte) []byte {
	value := slices.Concat(parts...)
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

func TestReadTuple(t *testing.T) {
	t.Parallel()
	tuple := slices.Concat(
		attribute(nl.CTA_TUPLE_IP|unix.NLA_F_NESTED, attribute(nl.CTA_IP_V4_SRC, []byte{10, 80, 0, 7}), attribute(nl.CTA_IP_V4_DST, []byte{192, 0, 2, 1})),
		attribute(nl.CTA_TUPLE_PROTO|unix.NLA_F_NESTED, attribute(nl.CTA_PROTO_NUM, []byte{unix.IPPROTO_TCP}),
			attribute(nl.CTA_PROTO_SRC_PORT, []byte{0x9c, 0x40}), attribute(nl.CTA_PROTO_DST_PORT, []byte{1, 0xbb})))
	want := Tuple{unix.IPPROTO_TCP, netip.MustParseAddrPort("10.80.0.7:40000"), netip.MustParseAddrPort("192.0.2.1:443")}
	if got := ReadTuple(tuple); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	ping := slices.Concat(
		attribute(nl.CTA_TUPLE_IP, attribute(nl.CTA_IP_V4_SRC, []byte{10, 80, 0, 7}), attribute(nl.CTA_IP_V4_DST, []byte{192, 0, 2, 1})),
		attribute(nl.CTA_TUPLE_PROTO, attribute(nl.CTA_PROTO_NUM, []byte{unix.IPPROTO_ICMP})))
	want = Tuple{unix.IPPROTO_ICMP, netip.MustParseAddrPort("10.80.0.7:0"), netip.MustParseAddrPort("192.0.2.1:0")}
	if got := ReadTuple(ping); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzReadTuple(f *testing.F) {
	f.Add(attribute(nl.CTA_TUPLE_IP, attribute(nl.CTA_IP_V4_SRC, []byte{10, 80, 0, 7})))
	f.Add([]byte{3, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for _, value := range Attributes(b) {
			n += unix.SizeofNlAttr + len(value)
		}
		if n > len(b) {
			t.Errorf("attributes of %d bytes in %d", n, len(b))
		}
		ReadTuple(b)
	})
}
