package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// wire is a netlink socket of one family, for the messages that no library builds: ipsets with classes, HTB, and the
// firewall's rules and generation. The kernel answers each request before it reads the next.
type wire struct {
	family  int
	sockets map[int]*nl.SocketHandle
}

func dial(family int) (wire, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), family)
	if err != nil {
		return wire{}, fmt.Errorf("open netlink socket of family %d: %w", family, err)
	}
	if err := socket.SetReceiveTimeout(&unix.Timeval{Sec: 10}); err != nil {
		socket.Close()
		return wire{}, fmt.Errorf("open netlink socket of family %d: %w", family, err)
	}
	return wire{family, map[int]*nl.SocketHandle{family: {Socket: socket}}}, nil
}

func (w wire) close() {
	for _, s := range w.sockets {
		s.Close()
	}
}

func (w wire) execute(kind, flags int, body []byte) ([][]byte, error) {
	r := nl.NewNetlinkRequest(kind, flags)
	r.Sockets = w.sockets
	r.AddRawData(body)
	return r.Execute(w.family, 0)
}

// do sends one request and waits for its acknowledgement.
func (w wire) do(kind, flags int, body ...[]byte) error {
	_, err := w.execute(kind, flags|unix.NLM_F_ACK, slices.Concat(body...))
	return err
}

// get sends one request and returns the bodies of its answers.
func (w wire) get(kind, flags int, body ...[]byte) ([][]byte, error) {
	return untorn(func() ([][]byte, error) { return w.execute(kind, flags, slices.Concat(body...)) })
}

// untorn reads a list again that was changed while it was read.
func untorn[T any](read func() ([]T, error)) (list []T, err error) {
	for range 10 {
		if list, err = read(); !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}

// attr encodes an attribute whose value is the parts, one after the other.
func attr(kind uint16, parts ...[]byte) []byte {
	size := unix.SizeofRtAttr
	for _, p := range parts {
		size += len(p)
	}
	b := make([]byte, 0, size+3)
	b = binary.NativeEndian.AppendUint16(b, uint16(size))
	b = binary.NativeEndian.AppendUint16(b, kind)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b[:(size+3)&^3] // the kernel aligns attributes to four bytes
}

// nest encodes an attribute that consists of attributes.
func nest(kind uint16, children ...[]byte) []byte { return attr(kind|unix.NLA_F_NESTED, children...) }

// attrs goes through the attributes in b. Their kinds come without flags.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofRtAttr || size > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// The values of attributes. What is too short reads as 0: the kernel sends nothing of the kind.

func text(s string) []byte { return append([]byte(s), 0) }

func textOf(b []byte) string { return unix.ByteSliceToString(b) }

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func native64(v uint64) []byte { return binary.NativeEndian.AppendUint64(nil, v) }

func native32Of(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func native64Of(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b)
}

func big32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func big64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func big32Of(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func big64Of(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// after returns what follows a header of so many bytes.
func after(size int, b []byte) []byte { return b[min(size, len(b)):] }

// netfilterHeader is struct nfgenmsg (include/uapi/linux/netfilter/nfnetlink.h).
func netfilterHeader(family byte) []byte { return []byte{family, 0, 0, 0} }

const netfilterHeaderSize = 4

func isErrno(err error, codes ...unix.Errno) bool {
	for _, c := range codes {
		if errors.Is(err, c) {
			return true
		}
	}
	return false
}
