package netlab

import (
	"errors"
	"fmt"
	"net"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl/nlmsg"
)

// End is one end of a cable.
type End struct {
	Host      *Host
	Interface string
	MAC       net.HardwareAddr // nil: the kernel assigns one
	Bridge    string           // the host's bridge that the interface is a port of, "" for none
	Isolated  bool             // the port does not exchange frames with other isolated ports
}

// Cable is a veth pair between two hosts. Its methods are for one goroutine at a time.
type Cable struct {
	a, b       End
	mtu        int
	offloadOff bool
}

// Connect adds a cable and brings both ends up, with MTU 1500 and segmentation offload on.
func (w *World) Connect(a, b End) (*Cable, error) {
	c := &Cable{a: a, b: b, mtu: 1500}
	return c, c.Plug()
}

func (c *Cable) String() string {
	return fmt.Sprintf("cable %s:%s to %s:%s", c.a.Host.name, c.a.Interface, c.b.Host.name, c.b.Interface)
}

// Plug recreates the cable's interfaces after Unplug. They keep their MTU, offload setting and configured MAC addresses, but not
// their index and IP addresses.
func (c *Cable) Plug() error {
	if err := c.plug(); err != nil {
		return fmt.Errorf("plug in %s: %w", c, err)
	}
	return nil
}

func (c *Cable) plug() error {
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: c.a.Interface, HardwareAddr: c.a.MAC, MTU: c.mtu, TxQLen: -1})
	veth.PeerName = c.b.Interface
	veth.PeerHardwareAddr = c.b.MAC
	veth.PeerMTU = uint32(c.mtu)
	veth.PeerNamespace = netlink.NsFd(int(c.b.Host.ns.net.Fd()))
	if err := c.a.Host.ns.link.LinkAdd(veth); err != nil {
		return err
	}
	if c.offloadOff {
		if err := c.SetOffload(false); err != nil {
			return err
		}
	}
	for _, end := range []End{c.a, c.b} {
		if err := end.attach(); err != nil {
			return err
		}
	}
	for _, end := range []End{c.a, c.b} {
		if err := end.Host.waitCarrier(end.Interface, true); err != nil {
			return err
		}
		if end.Bridge != "" {
			if err := end.Host.waitCarrier(end.Bridge, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// carrierLimit bounds how long the kernel may take to detect a change of carrier. It checks at once or a second later
// (net/core/link_watch.c).
const carrierLimit = 5 * time.Second

// waitCarrier waits until the kernel has detected that an interface's carrier came or went. Until then the kernel drops
// packets.
func (h *Host) waitCarrier(name string, want bool) error {
	for deadline := time.Now().Add(carrierLimit); ; time.Sleep(time.Millisecond) {
		link, err := h.link(name)
		if err != nil {
			return err
		}
		if state := link.Attrs().OperState; (state == netlink.OperUp) == want {
			return nil
		} else if time.Now().After(deadline) {
			return fmt.Errorf("%s on %s is still %v", name, h.name, state)
		}
	}
}

// attach makes the interface a port of its bridge and brings it up.
func (e End) attach() error {
	if e.Bridge != "" {
		port, err := e.Host.link(e.Interface)
		if err != nil {
			return err
		}
		bridge, err := e.Host.link(e.Bridge)
		if err != nil {
			return err
		}
		if err := e.Host.ns.link.LinkSetMaster(port, bridge); err != nil {
			return fmt.Errorf("join %s to %s: %w", e.Interface, e.Bridge, err)
		}
		if err := e.Host.ns.link.LinkSetIsolated(port, e.Isolated); err != nil {
			return fmt.Errorf("isolate %s: %w", e.Interface, err)
		}
	}
	return e.Host.SetUp(e.Interface, true)
}

// Unplug removes both interfaces, as when a phone is unplugged from USB.
func (c *Cable) Unplug() error {
	link, err := c.a.Host.link(c.a.Interface)
	if err == nil {
		err = c.a.Host.ns.link.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("unplug %s: %w", c, err)
	}
	return nil
}

// Cut takes the second end down: the first keeps its interface and addresses but loses its carrier.
func (c *Cable) Cut() error { return c.setFarEnd(false) }

// Restore undoes Cut.
func (c *Cable) Restore() error { return c.setFarEnd(true) }

func (c *Cable) setFarEnd(up bool) error {
	if err := c.b.Host.SetUp(c.b.Interface, up); err != nil {
		return err
	}
	return c.a.Host.waitCarrier(c.a.Interface, up)
}

// SetMTU sets both ends' MTU.
func (c *Cable) SetMTU(mtu int) error {
	c.mtu = mtu
	for _, end := range []End{c.a, c.b} {
		link, err := end.Host.link(end.Interface)
		if err != nil {
			return err
		}
		if err := end.Host.ns.link.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("set MTU of %s to %d: %w", c, mtu, err)
		}
	}
	return nil
}

// SetOffload turns segmentation offload on or off at both ends. With offload, TCP sends packets of up to 64 kB through the
// cable, as between two programs on one machine. Without it, packets are as on a real wire.
func (c *Cable) SetOffload(on bool) error {
	c.offloadOff = !on
	for _, end := range []End{c.a, c.b} {
		if err := end.Host.Do(func() error { return setOffload(end.Interface, on) }); err != nil {
			return fmt.Errorf("set offload of %s: %w", c, err)
		}
	}
	return nil
}

// offloadFeatures are the ethtool commands that set the features tso, gso and gro of `ethtool -K`.
var offloadFeatures = []uint32{unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_SGRO}

// setOffload acts on an interface in the calling thread's namespace.
func setOffload(name string, on bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, feature := range offloadFeatures {
		value := struct{ command, data uint32 }{command: feature} // struct ethtool_value of linux/ethtool.h
		if on {
			value.data = 1
		}
		request := struct { // struct ifreq of linux/if.h, as large as its largest form
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: unsafe.Pointer(&value)}
		copy(request.name[:unix.IFNAMSIZ-1], name)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
		if errno != 0 {
			return fmt.Errorf("ethtool command %#x on %s: %w", feature, name, errno)
		}
	}
	return nil
}

// AddBridge adds a bridge without an address. Bridged packets bypass the host's iptables.
func (h *Host) AddBridge(name string) error {
	if err := h.addBridge(name); err != nil {
		return fmt.Errorf("add bridge %s on %s: %w", name, h.name, err)
	}
	return nil
}

func (h *Host) addBridge(name string) error {
	// The kernel has this parameter only if it can filter bridged packets at all. If so, it is 1 in a new namespace.
	if err := h.Sysctl("net/bridge/bridge-nf-call-iptables", "0"); ignoreMissing(err) != nil {
		return err
	}
	if err := h.ns.link.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1}}); err != nil {
		return err
	}
	return h.SetUp(name, true)
}

// SetMAC sets an interface's hardware address.
func (h *Host) SetMAC(name string, mac net.HardwareAddr) error {
	link, err := h.link(name)
	if err != nil {
		return err
	}
	if err := h.ns.link.LinkSetHardwareAddr(link, mac); err != nil {
		return fmt.Errorf("set hardware address of %s on %s to %s: %w", name, h.name, mac, err)
	}
	return nil
}

// RemoveAddresses removes all IPv4 addresses of an interface, and with them its routes.
func (h *Host) RemoveAddresses(name string) error {
	link, err := h.link(name)
	if err != nil {
		return err
	}
	addrs, err := nlmsg.RetryInterruptedDump(func() ([]netlink.Addr, error) { return h.ns.link.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("list addresses of %s on %s: %w", name, h.name, err)
	}
	var errs []error
	for _, addr := range addrs {
		errs = append(errs, h.ns.link.AddrDel(link, &addr))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove addresses of %s on %s: %w", name, h.name, err)
	}
	return nil
}
