package gate

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The kernel drops the masqueraded connections of an uplink whose interface or address disappears (net/netfilter/nf_nat_masquerade.c).
// It reports each of them to one of our sockets, as it reports every connection that ends. The socket's filter accepts the reports of
// those that were in use. They stay in the socket's receive buffer until the next Apply: no goroutine reads them, and an Apply that
// fails leaves them for the next one.

// destroyedBuffer has room for some 5000 reports. Any more are lost, and the devices notice by their own keepalive.
const destroyedBuffer = 3 << 20 // bytes; the kernel doubles it

// tcpEstablished is a state of a TCP connection (enum tcp_conntrack of include/uapi/linux/netfilter/nf_conntrack_tcp.h). In the states
// after it, one side has ended the connection.
const tcpEstablished = 3

// droppedInUse accepts a report (Documentation/networking/filter.rst) if the kernel itself dropped an IPv4 TCP connection that was
// established and had not timed out. Kernels before 5.11 report neither the state nor the time left, so no report of theirs is
// accepted.
var droppedInUse = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 4}, // nlmsg_pid: who dropped it
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.LoadAbsolute{Off: unix.SizeofNlMsghdr, Size: 1}, // nfgen_family
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.LoadConstant{Dst: bpf.RegA, Val: unix.SizeofNlMsghdr + netfilterHeaderSize},
	bpf.LoadConstant{Dst: bpf.RegX, Val: nl.CTA_TIMEOUT}, // not found: 0
	bpf.LoadExtension{Num: bpf.ExtNetlinkAttr},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.LoadConstant{Dst: bpf.RegA, Val: unix.SizeofNlMsghdr + netfilterHeaderSize},
	bpf.LoadConstant{Dst: bpf.RegX, Val: nl.CTA_PROTOINFO},
	bpf.LoadExtension{Num: bpf.ExtNetlinkAttr},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.LoadConstant{Dst: bpf.RegX, Val: nl.CTA_PROTOINFO_TCP},
	bpf.LoadExtension{Num: bpf.ExtNetlinkAttrNested},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.LoadConstant{Dst: bpf.RegX, Val: nl.CTA_PROTOINFO_TCP_STATE},
	bpf.LoadExtension{Num: bpf.ExtNetlinkAttrNested},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.TAX{},
	bpf.LoadIndirect{Off: unix.SizeofNlAttr, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: tcpEstablished, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.RetConstant{Val: receiveSize},
}

// dialDestroyed opens a socket that receives the reports. It does not block.
func dialDestroyed() (*nlConn, error) {
	program, err := bpf.Assemble(droppedInUse)
	if err != nil {
		return nil, fmt.Errorf("assemble a filter: %w", err)
	}
	var filter []unix.SockFilter
	for _, i := range program {
		filter = append(filter, unix.SockFilter{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	c, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		unix.SetNonblock(c.fd, true),
		unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, destroyedBuffer),
		// Otherwise, once the buffer was full, the kernel adds nothing until all of it has been read.
		unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1),
		unix.SetsockoptSockFprog(c.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_CONNTRACK_DESTROY),
	); err != nil {
		c.close()
		return nil, fmt.Errorf("subscribe to destroyed connections: %w", err)
	}
	return c, nil
}

// resetDestroyed makes the devices end the connections that the kernel dropped since the last call.
func (g *Gate) resetDestroyed() error {
	reports, err := g.readDestroyed()
	if err != nil || len(reports) == 0 {
		return err
	}
	of := g.online()
	if err := g.elicitRST(of, g.readFlows(of, reports)); err != nil {
		return fmt.Errorf("elicit resets: %w", err)
	}
	return nil
}

// readDestroyed returns the bodies of the reports since its last call.
func (g *Gate) readDestroyed() (bodies [][]byte, err error) {
	for {
		reports, err := g.destroyed.receive()
		if isErrno(err, unix.EAGAIN) {
			return bodies, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read destroyed connections: %w", err)
		}
		for _, r := range reports {
			bodies = append(bodies, r.Data)
		}
	}
}
