// Package hostile builds the frames of a malicious device and sends them from a host of a netlab world. The caller chooses every
// field of a frame, including values that no kernel would send: spoofed addresses, or an inner hardware address that differs
// from the frame's. The package knows protocols, not what is attacked. It needs CAP_NET_RAW.
package hostile

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab"
)

// RawSocket is a packet socket on one interface of a host. It sends frames as they are, and receives all incoming frames, for
// all destinations. It does not see the host's own frames. Sending is safe for concurrent use. Only one call at a time may
// receive (Receive, Lease, AnswerARP, a Counter): open another RawSocket for more.
type RawSocket struct {
	name   string // for errors
	socket *os.File
	fd     int // the socket's descriptor, which the socket owns
}

// receiveBuffer is the size of the receive buffer in bytes: enough for half a second of a flood.
const receiveBuffer = 32 << 20

// Open opens a raw socket on an interface of the host. It sends and receives only while the interface is up.
func Open(host *netlab.Host, name string) (*RawSocket, error) {
	s := &RawSocket{name: fmt.Sprintf("%s on %s", name, host.Name())}
	if err := host.Do(func() error { return s.open(name) }); err != nil {
		return nil, fmt.Errorf("open a raw socket at %s: %w", s.name, err)
	}
	return s, nil
}

// open opens the socket in the calling thread's namespace.
func (s *RawSocket) open(name string) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	// With protocol 0 the socket receives nothing yet, so that no frame of another interface is queued before the bind (packet(7)).
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		// Promiscuous mode, for frames to other devices. It ends with the socket.
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(link.Index), Type: unix.PACKET_MR_PROMISC}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: link.Index}),
	)
	if err != nil {
		unix.Close(fd)
		return err
	}
	s.fd, s.socket = fd, os.NewFile(uintptr(fd), "raw socket")
	return nil
}

func networkOrder(n uint16) uint16 { return n<<8 | n>>8 }

// Close closes the socket and ends a pending receive.
func (s *RawSocket) Close() error { return s.socket.Close() }

// Send sends frames in order.
func (s *RawSocket) Send(frames ...[]byte) error {
	for _, f := range frames {
		if _, err := s.socket.Write(f); err != nil {
			return fmt.Errorf("send a frame at %s: %w", s.name, err)
		}
	}
	return nil
}

// floodTick is how often Flood sends the frames that are due.
const floodTick = 5 * time.Millisecond

// Flood sends the frames that frame returns for 0, 1, 2 …, at a rate in frames a second, until the context ends. A rate of 0
// means as fast as possible. Flood returns how many frames it sent.
func (s *RawSocket) Flood(ctx context.Context, rate int, frame func(n int) []byte) (sent int, err error) {
	start := time.Now()
	tick := time.NewTicker(floodTick)
	defer tick.Stop()
	for ctx.Err() == nil {
		due := sent + 1
		if rate > 0 {
			due = 1 + int(time.Since(start).Seconds()*float64(rate))
		}
		for ; sent < due; sent++ {
			if err := s.Send(frame(sent)); err != nil {
				return sent, err
			}
		}
		if rate > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}
	return sent, nil
}

// maxFrame is the longest frame that can arrive, with segmentation offload, in bytes.
const maxFrame = 64<<10 + 18

// Receive returns the next frame that matches. The error is the context's if none came in time.
func (s *RawSocket) Receive(ctx context.Context, wanted func(frame []byte) bool) ([]byte, error) {
	if err := s.socket.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	// The end of the context interrupts this read, but not the next one.
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		s.socket.SetReadDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	frame := make([]byte, maxFrame)
	for {
		n, err := s.socket.Read(frame)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("receive a frame at %s: %w", s.name, ctx.Err())
		case errors.Is(err, unix.ENETDOWN): // reported once, when the interface goes down
		case err != nil:
			return nil, fmt.Errorf("receive a frame at %s: %w", s.name, err)
		case wanted(frame[:n]):
			return frame[:n], nil
		}
	}
}

// AnswerARP answers ARP requests until the context ends, with the hardware address that owner returns for the requested address.
// If owner returns nil, it does not answer. So a raw socket can act as many devices, or impersonate one.
func (s *RawSocket) AnswerARP(ctx context.Context, owner func(netip.Addr) net.HardwareAddr) error {
	for {
		frame, err := s.Receive(ctx, func(frame []byte) bool {
			q, ok := ReadARP(frame)
			return ok && !q.Reply && owner(q.Target) != nil
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		q, _ := ReadARP(frame)
		mac := owner(q.Target)
		answer := ARP{Link: Link{To: q.SenderMAC, From: mac}, Reply: true, Sender: q.Target, TargetMAC: q.SenderMAC, Target: q.Sender}
		if err := s.Send(answer.Frame()); err != nil {
			return err
		}
	}
}
