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

// Shape is the rates and queue of a link.
type Shape struct {
	Down, Up uint64        // bit/s, Ethernet headers included
	Queue    time.Duration // the time to drain a full queue; the queue is a plain FIFO, as in cheap modems
}

// SlowLink is a slow link between two hosts: a separate host, which bridges two cables and queues the packets that leave through
// each. Its cables have segmentation offload off, so packets are as on a real wire.
type SlowLink struct {
	Near, Far *Cable // the cables to the subscriber, at Near's first end, and to the provider, at Far's second end
	host      *Host
}

const (
	linkBridge = "br0"
	nearPort   = "near"
	farPort    = "far"

	maxFrame = 1514 // bytes of an Ethernet frame with MTU 1500, as the queueing discipline counts it
)

// AddSlowLink adds a slow link, whose host gets the name, from a subscriber to a provider.
func (w *World) AddSlowLink(name string, subscriber, provider End, shape Shape) (*SlowLink, error) {
	l, err := w.addSlowLink(name, subscriber, provider, shape)
	if err != nil {
		return nil, fmt.Errorf("add slow link %q: %w", name, err)
	}
	return l, nil
}

func (w *World) addSlowLink(name string, subscriber, provider End, shape Shape) (*SlowLink, error) {
	host, err := w.AddHost(name)
	if err != nil {
		return nil, err
	}
	l := &SlowLink{host: host}
	if err := host.AddBridge(linkBridge); err != nil {
		return nil, err
	}
	if l.Near, err = w.Connect(subscriber, End{Host: host, Interface: nearPort, Bridge: linkBridge}); err != nil {
		return nil, err
	}
	if l.Far, err = w.Connect(End{Host: host, Interface: farPort, Bridge: linkBridge}, provider); err != nil {
		return nil, err
	}
	if err := errors.Join(l.Near.SetOffload(false), l.Far.SetOffload(false)); err != nil {
		return nil, err
	}
	return l, l.SetShape(shape)
}

// SetShape changes the link's rates and queues. Queued packets stay.
func (l *SlowLink) SetShape(s Shape) error {
	if err := l.host.shape(nearPort, s.Down, s.Queue); err != nil {
		return err
	}
	return l.host.shape(farPort, s.Up, s.Queue)
}

// shape limits an interface's egress to a rate in bit/s, with a FIFO before it. It uses HTB with a bfifo leaf instead of tbf,
// which small kernels lack.
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
	burst := uint32(bytes/1000 + 2*maxFrame) // about a millisecond: a modem sends no bursts
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

// replaceFIFO adds or replaces the bfifo below a class, in the calling thread's namespace; limit is in bytes. The netlink package
// has no type for bfifo. Its options are a bare struct tc_fifo_qopt (linux/pkt_sched.h).
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
