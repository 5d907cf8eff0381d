package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"

	"passerelle/netctl/netlab"
	"passerelle/netctl/nlmsg"
)

// usbDrivers is the folder in which devices are unbound from the USB core, and bound again.
const usbDrivers = "/sys/bus/usb/drivers/usb"

// The hardware addresses of the machine's PCI network adapters, as image/vm/run sets them: of the far end of the USB phone's cable,
// and of the cable that leads out of the machine.
var (
	phoneMAC   = net.HardwareAddr{2, 0, 0, 0, 1, 1}
	outsideMAC = net.HardwareAddr{2, 0, 0, 0, 1, 2}
)

// takeAdapter moves the machine's network adapter with that address into a host, where it gets the name and is down.
func takeAdapter(h *netlab.Host, mac net.HardwareAddr, name string) error {
	links, err := nlmsg.RetryInterruptedDump(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list the machine's network adapters: %w", err)
	}
	i := slices.IndexFunc(links, func(l netlink.Link) bool { return slices.Equal(l.Attrs().HardwareAddr, mac) })
	if i < 0 {
		return fmt.Errorf("the machine has no network adapter %s", mac)
	}
	return takeLink(h, links[i], name)
}

// USBPhone is a phone with USB tethering: the machine's emulated USB network adapter, whose other end is one of its PCI network
// adapters. Its methods are for one goroutine at a time.
type USBPhone struct {
	*netlab.Host
	port string // the USB port of the adapter
}

// AddUSBPhone adds a phone that is not plugged in. A machine has only one.
func AddUSBPhone(ctx context.Context, in *netlab.Internet, w *netlab.World) (*USBPhone, error) {
	h, err := addPhoneHost(in, w)
	if err != nil {
		return nil, err
	}
	if err := takeAdapter(h, phoneMAC, "usb"); err != nil {
		return nil, fmt.Errorf("give the phone its end of the cable: %w", err)
	}
	p := &USBPhone{Host: h}
	if err := errors.Join(h.AddAddress("usb", phoneAddress), h.SetUp("usb", true)); err != nil {
		return nil, err
	}
	link, err := p.adapter(ctx)
	if err != nil {
		return nil, err
	}
	device, err := filepath.EvalSymlinks("/sys/class/net/" + link.Attrs().Name + "/device")
	if err != nil {
		return nil, fmt.Errorf("find where the phone is plugged in: %w", err)
	}
	p.port = filepath.Base(filepath.Dir(device))
	return p, p.Unplug()
}

func firstOf(pattern string) string {
	found, _ := filepath.Glob(pattern) // fails only if the pattern is invalid
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// adapter waits for the machine's USB network adapter.
func (p *USBPhone) adapter(ctx context.Context) (netlink.Link, error) {
	for {
		for _, driver := range []string{"cdc_ether", "rndis_host"} {
			if found := firstOf("/sys/bus/usb/drivers/" + driver + "/*/net/*"); found != "" {
				return netlink.LinkByName(filepath.Base(found))
			}
		}
		if err := pause(ctx, pollInterval); err != nil {
			return nil, fmt.Errorf("there is no USB network adapter: %w", err)
		}
	}
}

// Plug plugs the phone into a host. There the interface gets a new index from the kernel, and an address and a default route as from
// the system.
func (p *USBPhone) Plug(ctx context.Context, into *netlab.Host, name string) error {
	if err := os.WriteFile(usbDrivers+"/bind", []byte(p.port), 0o200); err != nil {
		return fmt.Errorf("plug the phone in: %w", err)
	}
	link, err := p.adapter(ctx)
	if err != nil {
		return err
	}
	address := netip.PrefixFrom(phoneAddress.Addr().Next(), phoneAddress.Bits())
	if err := errors.Join(takeLink(into, link, name), into.AddAddress(name, address), into.SetUp(name, true)); err != nil {
		return err
	}
	if link, err = into.Netlink().LinkByName(name); err == nil {
		err = into.Netlink().RouteAdd(&netlink.Route{
			LinkIndex: link.Attrs().Index, Gw: phoneAddress.Addr().AsSlice(), Priority: 600, // differs from that of a cable's route
		})
	}
	if err != nil {
		return fmt.Errorf("route by the phone: %w", err)
	}
	return nil
}

// takeLink moves an interface of the machine's own namespace into a host, where it gets the name and is down.
func takeLink(h *netlab.Host, link netlink.Link, name string) error {
	ns, err := os.Open(h.NamespacePath())
	if err != nil {
		return err
	}
	defer ns.Close()
	moveMu.Lock()
	defer moveMu.Unlock()
	err = errors.Join(netlink.LinkSetDown(link), netlink.LinkSetName(link, "moving"), netlink.LinkSetNsFd(link, int(ns.Fd())))
	var moved netlink.Link
	if err == nil {
		moved, err = h.Netlink().LinkByName("moving")
	}
	if err == nil {
		err = h.Netlink().LinkSetName(moved, name)
	}
	if err != nil {
		return fmt.Errorf("move %s to %s: %w", link.Attrs().Name, h.Name(), err)
	}
	return nil
}

// Unplug unplugs the cable.
func (p *USBPhone) Unplug() error {
	if err := os.WriteFile(usbDrivers+"/unbind", []byte(p.port), 0o200); err != nil {
		return fmt.Errorf("unplug the phone: %w", err)
	}
	return nil
}
