package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Shape is what a line lets through.
type Shape struct {
	Down, Up uint64        // bit/s, Ethernet headers included
	Queue    time.Duration // what a full queue takes to drain; the queue is a plain FIFO, as in cheap modems
}

// Line is a slow line between two hosts: a host of its own, which bridges two cables and queues what leaves by each. Its
// cables have segmentation offload off, so what enters are packets as on a real wire.
type Line struct {
	Near, Far *Cable // at the subscriber's and the provider's side; the first end of Near and the last of Far are theirs
	host      *Host
}

const (
	lineBridge = "br0"
	nearPort   = "near"
	farPort    = "far"

	maxFrame = 1514 // bytes of an Ethernet frame with MTU 1500, as the queueing discipline counts it
)

// AddLine lays a line, whose host gets the name, from a subscriber to a provider.
func (w *World) AddLine(name string, subscriber, provider End, shape Shape) (*Line, error) {
	l, err := w.addLine(name, subscriber, provider, shape)
	if err != nil {
		return nil, fmt.Errorf("add line %q: %w", name, err)
	}
	return l, nil
}

func (w *World) addLine(name string, subscriber, provider End, shape Shape) (*Line, error) {
	host, err := w.AddHost(name)
	if err != nil {
		return nil, err
	}
	l := &Line{host: host}
	if err := host.AddBridge(lineBridge); err != nil {
		return nil, err
	}
	if l.Near, err = w.Connect(subscriber, End{Host: host, Interface: nearPort, Bridge: lineBridge}); err != nil {
		return nil, err
	}
	if l.Far, err = w.Connect(End{Host: host, Interface: farPort, Bridge: lineBridge}, provider); err != nil {
		return nil, err
	}
	if err := errors.Join(l.Near.SetOffload(false), l.Far.SetOffload(false)); err != nil {
		return nil, err
	}
	return l, l.SetShape(shape)
}

// SetShape changes the line's rates and queues. What is queued stays.
func (l *Line) SetShape(s Shape) error {
	if err := l.host.shape(nearPort, s.Down, s.Queue); err != nil {
		return err
	}
	return l.host.shape(farPort, s.Up, s.Queue)
}

// shape bounds what leaves by an interface to a rate in bit/s, before which it waits in a FIFO. HTB with a bfifo leaf
// does what tbf would, which small kernels lack.
func (h *Host) shape(name string, rate uint64, queue time.Duration) error {
	link, err := h.link(name)
	if err != nil {
		return err
	}
	root, class := netlink.MakeHandle(1, 0), netlink.MakeHandle(1, 1)
	attrs := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: root, Parent: netlink.HANDLE_ROOT}
	htb := netlink.NewHtb(attrs)
	htb.Defcls = 1
	if err := h.ns.link.QdiscAdd(htb); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add htb to %s on %s: %w", name, h.name, err)
	}
	bytes := rate / 8
	burst := uint32(bytes/1000 + 2*maxFrame) // a millisecond's: a modem sends no bursts
	err = h.ns.link.ClassReplace(netlink.NewHtbClass(
		netlink.ClassAttrs{LinkIndex: attrs.LinkIndex, Parent: root, Handle: class},
		netlink.HtbClassAttrs{Rate: rate, Ceil: rate, Buffer: burst, Cbuffer: burst, Quantum: maxFrame},
	))
	if err != nil {
		return fmt.Errorf("set rate of %s on %s to %d bit/s: %w", name, h.name, rate, err)
	}
	limit := max(uint32(float64(bytes)*queue.Seconds()), maxFrame)
	if err := h.Do(func() error { return replaceFIFO(attrs.LinkIndex, class, limit) }); err != nil {
		return fmt.Errorf("set queue of %s on %s to %d bytes: %w", name, h.name, limit, err)
	}
	return nil
}

// replaceFIFO puts a bfifo of so many bytes below a class, in the calling thread's namespace. The netlink package has no
// type for it: its options are a bare struct tc_fifo_qopt (linux/pkt_sched.h).
func replaceFIFO(link int, parent, limit uint32) error {
	request := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	request.AddData(&nl.TcMsg{
		Family:  nl.FAMILY_ALL,
		Ifindex: int32(link),
		Handle:  netlink.MakeHandle(2, 0),
		Parent:  parent,
	})
	request.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bfifo")))
	request.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, binary.NativeEndian.AppendUint32(nil, limit)))
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
