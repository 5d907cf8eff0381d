package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// wire is a netlink socket of one family, for the messages that no library builds: ipsets with classes, HTB, connections,
// and the firewall's rules and generation. One goroutine at a time may use it.
//
// The kernel carries out what is sent before the call that sends it returns, so that nobody ever waits for its answers.
type wire struct {
	fd     int
	port   uint32 // the socket's number: what the kernel tells others of changes made through it bears that
	serial uint32 // of the last message
	buffer []byte // for what is received
}

const (
	bunch   = 64       // requests sent at once: should all of them fail, their answers fit in the socket's queue
	largest = 64 << 10 // bytes received at once: the kernel makes lists of at most 32 kB (netlink_dump)
)

func dial(family int) (*wire, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket of family %d: %w", family, err)
	}
	w := &wire{fd: fd, buffer: make([]byte, largest)}
	var own unix.Sockaddr
	if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err == nil {
		own, err = unix.Getsockname(fd)
	}
	if err == nil {
		w.port = own.(*unix.SockaddrNetlink).Pid
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("open netlink socket of family %d: %w", family, err)
	}
	return w, nil
}

func (w *wire) close() { unix.Close(w.fd) }

// request is a message that changes something.
type request struct {
	kind, flags int
	body        []byte
	deed        string       // what it does, for errors
	moot        []unix.Errno // errors that say that it is so already
}

// do has the kernel carry out requests, in their order. One that fails does not keep it from those after it.
func (w *wire) do(all ...request) (err error) {
	for some := range slices.Chunk(all, bunch) {
		err = errors.Join(err, w.doBunch(some))
	}
	return err
}

func (w *wire) doBunch(all []request) (err error) {
	var b []byte
	first, last := w.serial+1, uint32(len(all)-1)
	for i, r := range all {
		if uint32(i) == last {
			r.flags |= unix.NLM_F_ACK // errors are answered in any case
		}
		b = w.appendMessage(b, r.kind, r.flags, r.body)
	}
	if err := w.send(b); err != nil {
		return fmt.Errorf("%s: %w", all[0].deed, err)
	}
	for {
		answers, recvErr := w.receive()
		if recvErr != nil {
			return errors.Join(err, fmt.Errorf("%s: %w", all[last].deed, recvErr))
		}
		for _, a := range answers {
			n := a.Header.Seq - first
			if n > last || a.Header.Type != unix.NLMSG_ERROR {
				continue
			}
			if errno := errnoOf(a); errno != 0 && !slices.Contains(all[n].moot, errno) {
				err = errors.Join(err, fmt.Errorf("%s: %w", all[n].deed, errno))
			}
			if n == last {
				return err
			}
		}
	}
}

// get sends one question and returns the bodies of its answers.
func (w *wire) get(kind, flags int, body ...[]byte) ([][]byte, error) {
	return untorn(func() ([][]byte, error) { return w.ask(kind, flags, slices.Concat(body...)) })
}

func (w *wire) ask(kind, flags int, body []byte) (bodies [][]byte, err error) {
	if err := w.send(w.appendMessage(nil, kind, flags, body)); err != nil {
		return nil, err
	}
	for {
		answers, recvErr := w.receive()
		if recvErr != nil {
			return nil, recvErr
		}
		for _, a := range answers {
			if a.Header.Seq != w.serial {
				continue
			}
			if a.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
				err = nl.ErrDumpInterrupted
			}
			if a.Header.Type == unix.NLMSG_ERROR || a.Header.Type == unix.NLMSG_DONE {
				if errno := errnoOf(a); errno != 0 {
					return nil, errno
				}
				return bodies, err
			}
			bodies = append(bodies, a.Data)
			if a.Header.Flags&unix.NLM_F_MULTI == 0 {
				return bodies, err
			}
		}
	}
}

// appendMessage adds the next message to b.
func (w *wire) appendMessage(b []byte, kind, flags int, body []byte) []byte {
	w.serial++
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, uint16(kind))
	b = binary.NativeEndian.AppendUint16(b, uint16(flags|unix.NLM_F_REQUEST))
	b = binary.NativeEndian.AppendUint32(b, w.serial)
	b = binary.NativeEndian.AppendUint32(b, w.port)
	b = append(b, body...)
	return append(b, make([]byte, -len(b)&3)...) // the kernel aligns messages to four bytes
}

func (w *wire) send(b []byte) error {
	return whole(func() error { return unix.Sendto(w.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) })
}

// receive returns the kernel's next messages.
func (w *wire) receive() ([]syscall.NetlinkMessage, error) {
	var n int
	var from unix.Sockaddr
	err := whole(func() (err error) { n, from, err = unix.Recvfrom(w.fd, w.buffer, 0); return err })
	if err != nil {
		return nil, err
	}
	if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
		return nil, nil // not the kernel
	}
	return syscall.ParseNetlinkMessage(slices.Clone(w.buffer[:(n+3)&^3])) // the last one's length may be odd
}

// whole makes a call again that a signal interrupted.
func whole(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// errnoOf reads the negative number that an answer of NLMSG_ERROR begins with, 0 for success; one of NLMSG_DONE may.
func errnoOf(m syscall.NetlinkMessage) unix.Errno { return unix.Errno(-int32(native32Of(m.Data))) }

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
