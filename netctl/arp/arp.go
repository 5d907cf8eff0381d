// Package arp sends ARP requests and collects the replies (RFC 826). It owns the socket, which is open only while it waits for
// replies. It must not know the purpose of a request.
package arp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

const (
	// timeout is how long to wait for replies. A sleeping device wakes for broadcasts a few times a second.
	timeout = 400 * time.Millisecond

	size      = 28 // bytes of a packet for IPv4 on Ethernet
	opRequest = 1
	opReply   = 2
	maxClaims = 4 // devices recorded for one address
)

// Asker sends ARP requests. Make one with New; its methods are safe for concurrent use.
type Asker struct {
	device string
	from   netip.Addr
	log    *slog.Logger
	wake   func()
	todo   chan []netip.Addr

	mu      sync.Mutex
	answers []netctl.Claim
}

// New returns an Asker for the device, with one of the box's addresses as sender. Wake is called, from any goroutine, when
// there are replies.
func New(device string, from netip.Addr, log *slog.Logger, wake func()) *Asker {
	return &Asker{device: device, from: from, log: log, wake: wake, todo: make(chan []netip.Addr, 1)}
}

// String names the task in the daemon's log.
func (a *Asker) String() string { return "ARP requests" }

// Ask requests addresses in the background. While earlier requests wait for replies, a further call may be dropped: the caller
// tries again.
func (a *Asker) Ask(addrs []netip.Addr) {
	if len(addrs) == 0 {
		return
	}
	select {
	case a.todo <- slices.Clone(addrs):
	default:
	}
}

// Answers returns the replies since the last call.
func (a *Asker) Answers() []netctl.Claim {
	a.mu.Lock()
	defer a.mu.Unlock()
	answers := a.answers
	a.answers = nil
	return answers
}

// Run sends requests until ctx ends.
func (a *Asker) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case addrs := <-a.todo:
			answers, err := a.ask(ctx, addrs)
			if err != nil {
				// The device may be gone; the caller tries again.
				a.log.Debug("cannot send ARP requests", "error", err)
				continue
			}
			a.mu.Lock()
			a.answers = append(a.answers, answers...)
			a.mu.Unlock()
			a.wake()
		}
	}
}

// Ask sends ARP requests on a device, with one of the box's addresses as sender, and collects replies for 400 ms. It returns a
// claim for each address; the claim has no devices if nobody answered for the address.
func Ask(ctx context.Context, device string, from netip.Addr, addrs []netip.Addr) ([]netctl.Claim, error) {
	return (&Asker{device: device, from: from}).ask(ctx, addrs)
}

// ask sends the requests and collects the replies.
func (a *Asker) ask(ctx context.Context, addrs []netip.Addr) (answers []netctl.Claim, err error) {
	link, err := net.InterfaceByName(a.device)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", a.device, err)
	}
	if len(link.HardwareAddr) != len(netctl.MAC{}) {
		return nil, fmt.Errorf("%s is not Ethernet", a.device)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	// The filter accepts replies only, so that nothing else wakes this process.
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: opReply},
		{Code: unix.BPF_RET | unix.BPF_K, K: size},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return nil, fmt.Errorf("filter a packet socket: %w", err)
	}
	protocol := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ARP >> 8, unix.ETH_P_ARP & 0xff})
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Index}); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a.device, err)
	}
	all := unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	claims := map[netip.Addr][]netctl.MAC{}
	for _, addr := range addrs {
		claims[addr] = nil
		if err := unix.Sendto(fd, question(netctl.MAC(link.HardwareAddr), a.from, addr), 0, &all); err != nil {
			return nil, fmt.Errorf("ask on %s: %w", a.device, err)
		}
	}
	for deadline := time.Now().Add(timeout); ctx.Err() == nil; {
		left := time.Until(deadline)
		if left <= 0 {
			break
		}
		timeout := unix.NsecToTimeval(int64(max(left, time.Millisecond)))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			return nil, fmt.Errorf("wait for answers: %w", err)
		}
		var b [size]byte
		n, from, err := unix.Recvfrom(fd, b[:], 0)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read answers: %w", err)
		}
		sender, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		addr, mac, ok := claim(b[:n], netctl.MAC(sender.Addr[:6]), a.from)
		if known, asked := claims[addr]; ok && asked && len(known) < maxClaims && !slices.Contains(known, mac) {
			claims[addr] = append(known, mac)
		}
	}
	for _, addr := range addrs {
		answers = append(answers, netctl.Claim{Addr: addr, MACs: claims[addr]})
	}
	return answers, nil
}

// question returns an ARP request for an address.
func question(mac netctl.MAC, from, addr netip.Addr) []byte {
	b := make([]byte, 0, size)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, opRequest) // Ethernet, IPv4, their address lengths, operation
	b = append(b, mac[:]...)
	b = append(b, from.AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, addr.AsSlice()...)
}

// claim parses a reply to the box. ok is false if the frame's sender is not the device that the reply names as sender.
func claim(b []byte, sender netctl.MAC, to netip.Addr) (addr netip.Addr, mac netctl.MAC, ok bool) {
	if len(b) < size || !slices.Equal(b[:8], []byte{0, 1, 8, 0, 6, 4, 0, opReply}) {
		return addr, mac, false
	}
	mac = netctl.MAC(b[8:14])
	addr = netip.AddrFrom4([4]byte(b[14:18]))
	return addr, mac, mac == sender && netip.AddrFrom4([4]byte(b[24:28])) == to
}
