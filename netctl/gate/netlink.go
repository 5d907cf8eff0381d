package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"passerelle/netctl/nlmsg"
)

// nlConn is a netlink socket of one family, for the messages that no library builds: ipsets with classes, HTB, connections, and the
// firewall's rules and generation. It is not safe for concurrent use.
//
// The kernel handles a message before the call that sends it returns, so receiving the answer does not block.
type nlConn struct {
	fd     int
	portID uint32 // of the socket: notifications of changes made through it carry this ID
	seq    uint32 // of the last message
	buffer []byte // for received data
}

const (
	batch       = 64       // requests sent at once: even if all of them fail, the answers fit in the socket's buffer
	receiveSize = 64 << 10 // bytes received at once: the kernel sends at most 32 kB of a dump at a time (netlink_dump)
)

func dial(family int) (*nlConn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket of family %d: %w", family, err)
	}
	c := &nlConn{fd: fd, buffer: make([]byte, receiveSize)}
	var own unix.Sockaddr
	if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err == nil {
		own, err = unix.Getsockname(fd)
	}
	if err == nil {
		c.portID = own.(*unix.SockaddrNetlink).Pid
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("open netlink socket of family %d: %w", family, err)
	}
	return c, nil
}

func (c *nlConn) close() { unix.Close(c.fd) }

// request is a message that changes something.
type request struct {
	kind, flags   int
	body          []byte
	op            string       // what it does, for errors
	ignoredErrnos []unix.Errno // errors that mean that there was nothing to do
}

// do sends requests to the kernel, in order. It continues after one that failed.
func (c *nlConn) do(all ...request) (err error) {
	for some := range slices.Chunk(all, batch) {
		err = errors.Join(err, c.doBatch(some))
	}
	return err
}

func (c *nlConn) doBatch(all []request) (err error) {
	var b []byte
	first, last := c.seq+1, uint32(len(all)-1)
	for i, r := range all {
		if uint32(i) == last {
			r.flags |= unix.NLM_F_ACK // errors are always answered
		}
		b = c.appendMessage(b, r.kind, r.flags, r.body)
	}
	if err := c.send(b); err != nil {
		return fmt.Errorf("%s: %w", all[0].op, err)
	}
	for {
		answers, recvErr := c.receive()
		if recvErr != nil {
			return errors.Join(err, fmt.Errorf("%s: %w", all[last].op, recvErr))
		}
		for _, a := range answers {
			n := a.Header.Seq - first
			if n > last || a.Header.Type != unix.NLMSG_ERROR {
				continue
			}
			if errno := errnoOf(a); errno != 0 && !slices.Contains(all[n].ignoredErrnos, errno) {
				err = errors.Join(err, fmt.Errorf("%s: %w", all[n].op, errno))
			}
			if n == last {
				return err
			}
		}
	}
}

// get sends a query and returns the bodies of its answers.
func (c *nlConn) get(kind, flags int, body ...[]byte) ([][]byte, error) {
	return nlmsg.RetryInterruptedDump(func() ([][]byte, error) { return c.ask(kind, flags, slices.Concat(body...)) })
}

func (c *nlConn) ask(kind, flags int, body []byte) (bodies [][]byte, err error) {
	if err := c.send(c.appendMessage(nil, kind, flags, body)); err != nil {
		return nil, err
	}
	for {
		answers, recvErr := c.receive()
		if recvErr != nil {
			return nil, recvErr
		}
		for _, a := range answers {
			if a.Header.Seq != c.seq {
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
func (c *nlConn) appendMessage(b []byte, kind, flags int, body []byte) []byte {
	c.seq++
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, uint16(kind))
	b = binary.NativeEndian.AppendUint16(b, uint16(flags|unix.NLM_F_REQUEST))
	b = binary.NativeEndian.AppendUint32(b, c.seq)
	b = binary.NativeEndian.AppendUint32(b, c.portID)
	b = append(b, body...)
	return append(b, make([]byte, -len(b)&3)...) // the kernel aligns messages to four bytes
}

func (c *nlConn) send(b []byte) error {
	return retryEINTR(func() error { return unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) })
}

// receive returns the kernel's next messages.
func (c *nlConn) receive() ([]syscall.NetlinkMessage, error) {
	var n int
	var from unix.Sockaddr
	err := retryEINTR(func() (err error) { n, from, err = unix.Recvfrom(c.fd, c.buffer, 0); return err })
	if err != nil {
		return nil, err
	}
	if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
		return nil, nil // not the kernel
	}
	return syscall.ParseNetlinkMessage(slices.Clone(c.buffer[:(n+3)&^3])) // the last one's length may be odd
}

// retryEINTR repeats a call that a signal interrupted.
func retryEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// errnoOf returns the error of an NLMSG_ERROR message, or of an NLMSG_DONE that has one; 0 for success.
func errnoOf(m syscall.NetlinkMessage) unix.Errno { return unix.Errno(-int32(native32Of(m.Data))) }

// attr encodes an attribute whose value is the concatenation of parts.
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

// nest encodes a nested attribute.
func nest(kind uint16, children ...[]byte) []byte { return attr(kind|unix.NLA_F_NESTED, children...) }

// The values of attributes. A value that is too short, which the kernel does not send, reads as 0.

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

// skipHeader returns b without a header of that size.
func skipHeader(size int, b []byte) []byte { return b[min(size, len(b)):] }

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
