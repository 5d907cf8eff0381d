// Package hostile makes the frames that a device in bad faith sends, and sends them from a host of a netlab world. Every
// field of a frame is the caller's, also one that no kernel would send: another's addresses, a hardware address within
// that is not the frame's. It knows protocols, not what is attacked. It needs CAP_NET_RAW.
package hostile

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab"
)

// Wire is a raw socket on one interface of a host: it sends frames as they are, and receives all that come in there,
// for all receivers. What the host itself sends it does not see. Sending is safe for concurrent use; only one call at
// a time may receive (Receive, Lease, AnswerARP, a Tally): for more, open another Wire.
type Wire struct {
	name   string // for errors
	socket *os.File
	fd     int // of the socket, which owns it
}

// roomForFrames is how much may wait to be received, in bytes: half a second of a flood.
const roomForFrames = 32 << 20

// Open opens a wire on an interface of the host. It hears and sends only while the interface is up.
func Open(host *netlab.Host, name string) (*Wire, error) {
	w := &Wire{name: fmt.Sprintf("%s on %s", name, host.Name())}
	if err := host.Do(func() error { return w.open(name) }); err != nil {
		return nil, fmt.Errorf("open a raw socket at %s: %w", w.name, err)
	}
	return w, nil
}

// open works in the calling thread's namespace.
func (w *Wire) open(name string) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	// Protocol 0 receives nothing yet, so that no frame of another interface is queued before the bind (packet(7)).
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, roomForFrames),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		// For frames to other devices. It ends with the socket.
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(link.Index), Type: unix.PACKET_MR_PROMISC}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: link.Index}),
	)
	if err != nil {
		unix.Close(fd)
		return err
	}
	w.fd, w.socket = fd, os.NewFile(uintptr(fd), "wire")
	return nil
}

func networkOrder(n uint16) uint16 { return n<<8 | n>>8 }

// Close ends what is being received.
func (w *Wire) Close() error { return w.socket.Close() }

// Send sends frames, one after the other.
func (w *Wire) Send(frames ...[]byte) error {
	for _, f := range frames {
		if _, err := w.socket.Write(f); err != nil {
			return fmt.Errorf("send a frame at %s: %w", w.name, err)
		}
	}
	return nil
}

// step is how often Flood sends what is due.
const step = 5 * time.Millisecond

// Flood sends the frames that make returns for 0, 1, 2 …, so many a second, until the context ends. It
// returns how many it sent. A rate of 0 is as fast as it can.
func (w *Wire) Flood(ctx context.Context, rate int, frame func(n int) []byte) (sent int, err error) {
	start := time.Now()
	tick := time.NewTicker(step)
	defer tick.Stop()
	for ctx.Err() == nil {
		due := sent + 1
		if rate > 0 {
			due = 1 + int(time.Since(start).Seconds()*float64(rate))
		}
		for ; sent < due; sent++ {
			if err := w.Send(frame(sent)); err != nil {
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

// longest is the longest frame that can come, with segmentation offload, in bytes.
const longest = 64<<10 + 18

// Receive returns the first frame that is wanted, of those not received yet. The error is the context's when none came in
// its time.
func (w *Wire) Receive(ctx context.Context, wanted func(frame []byte) bool) ([]byte, error) {
	if err := w.socket.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	// A context that ends wakes the read, now or later, but not the next one.
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		w.socket.SetReadDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	frame := make([]byte, longest)
	for {
		n, err := w.socket.Read(frame)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("receive a frame at %s: %w", w.name, ctx.Err())
		case errors.Is(err, unix.ENETDOWN): // said once, when the interface goes down
		case err != nil:
			return nil, fmt.Errorf("receive a frame at %s: %w", w.name, err)
		case wanted(frame[:n]):
			return frame[:n], nil
		}
	}
}

// Tally counts frames.
type Tally struct {
	wire   *Wire
	cancel context.CancelFunc
	done   chan struct{}

	mu            sync.Mutex
	frames, bytes int
	err           error
}

// Tally counts the wanted frames that come from now on until its Stop.
func (w *Wire) Tally(wanted func(frame []byte) bool) *Tally {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Tally{wire: w, cancel: cancel, done: make(chan struct{})}
	w.lost() // before now
	go func() {
		defer close(t.done)
		for {
			frame, err := w.Receive(ctx, wanted)
			t.mu.Lock()
			if err != nil {
				if ctx.Err() == nil {
					t.err = err
				}
				t.mu.Unlock()
				return
			}
			t.frames++
			t.bytes += len(frame)
			t.mu.Unlock()
		}
	}()
	return t
}

// Count returns how many came so far, and how many bytes with their Ethernet headers.
func (t *Tally) Count() (frames, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.frames, t.bytes
}

// Stop ends the count and returns it. It is an error if frames came faster than they were read, since then there may
// have been more.
func (t *Tally) Stop() (frames, bytes int, err error) {
	t.cancel()
	<-t.done
	lost, err := t.wire.lost()
	if lost > 0 {
		err = fmt.Errorf("count frames at %s: %d came too fast", t.wire.name, lost)
	}
	frames, bytes = t.Count()
	return frames, bytes, errors.Join(t.err, err)
}

// lost returns how many frames found no room since it was asked last (PACKET_STATISTICS of packet(7)).
func (w *Wire) lost() (int, error) {
	stats, err := unix.GetsockoptTpacketStats(w.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("read what was lost at %s: %w", w.name, err)
	}
	return int(stats.Drops), nil
}

// AnswerARP answers who asks for an address with the hardware address that owner returns for it, none for nil, until the
// context ends. So a wire can be many devices, or pose as one.
func (w *Wire) AnswerARP(ctx context.Context, owner func(netip.Addr) net.HardwareAddr) error {
	for {
		frame, err := w.Receive(ctx, func(frame []byte) bool {
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
		if err := w.Send(answer.Frame()); err != nil {
			return err
		}
	}
}
