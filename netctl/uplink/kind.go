package uplink

import (
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/mdlayher/wifi"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// USB stands for the interface of the phone that is plugged in: the interface's own name and index change each time.
const USB = "usb"

// kind is what an interface is, according to its driver.
type kind struct {
	words string // plain English
	usb   usb
}

// usb says how likely an interface is a phone.
type usb int

const (
	noPhone usb = iota
	modem       // a modem stick that has to be connected first (image/modem does it)
	maybePhone
	surelyPhone
)

// ModemNotes is the folder, below the machine's root, with a file for each modem's interface. The file says why the modem has
// no connection; it is empty if the modem is connected.
const ModemNotes = "run/passerelle-modem"

// usbKinds are the drivers in the kernel's drivers/net/usb for phones and modem sticks. Android tethers by RNDIS (rndis_host),
// and since version 11 also by CDC-NCM, the USB class of network adapters, which a few real adapters use as well. Adapters
// with drivers of their own (r8152, ax88179_178a, smsc95xx, ...) count as network cables.
var usbKinds = map[string]kind{
	"rndis_host":     {"phone on USB (Android)", surelyPhone},
	"ipheth":         {"iPhone on USB", surelyPhone},
	"cdc_ether":      {"phone or network adapter on USB (CDC-ECM)", maybePhone},
	"cdc_eem":        {"phone or network adapter on USB (CDC-EEM)", maybePhone},
	"cdc_ncm":        {"phone or network adapter on USB (CDC-NCM)", maybePhone},
	"cdc_mbim":       {"mobile modem on USB (MBIM)", modem},
	"qmi_wwan":       {"mobile modem on USB (QMI)", modem},
	"huawei_cdc_ncm": {"mobile modem on USB (Huawei)", maybePhone},
}

// cable is the kind of a wired interface.
const cable = "network cable"

// kindOf returns the kind of a link. Virtual interfaces (bridges, tunnels, veths) have none.
func kindOf(link netlink.Link, driver string, isWiFi func(index int) bool) kind {
	if k, ok := usbKinds[driver]; ok {
		return k
	}
	switch {
	case link.Type() != "device" || link.Attrs().EncapType != "ether":
		return kind{}
	case isWiFi(link.Attrs().Index):
		return kind{words: "Wi-Fi"}
	}
	return kind{words: cable}
}

// identity is the key of a cached kind. The driver is queried by name. Another interface may have that name by then, so an
// interface with a new name is queried again.
type identity struct {
	index int
	name  string
}

// kinds returns the kind of each link. It queries only new links.
func (r *Reader) kinds(links []netlink.Link) map[identity]kind {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := make(map[identity]kind, len(links))
	for _, link := range links {
		id := identity{link.Attrs().Index, link.Attrs().Name}
		k, ok := r.known[id]
		if !ok {
			k = kindOf(link, r.driver(id.name), isWiFi)
		}
		now[id] = k
	}
	r.known = now
	return now
}

// askDriver returns the name of the interface's driver, as `ethtool -i` prints it; "" if it has none. The request needs no
// privilege and works on a socket of any family (sock_do_ioctl in net/socket.c).
func (r *Reader) askDriver(name string) string {
	info, err := unix.IoctlGetEthtoolDrvinfo(r.netfilter.Socket.GetFd(), name)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(info.Driver[:])
}

// isWiFi tells whether the interface is a radio's, in the calling thread's network namespace.
func isWiFi(index int) bool {
	c, err := wifi.New()
	if err != nil {
		return false // the kernel has no Wi-Fi
	}
	defer c.Close()
	all, err := c.Interfaces()
	return err == nil && slices.ContainsFunc(all, func(i *wifi.Interface) bool { return i.Index == index })
}

// openSocket returns a netlink socket of the namespace, for messages that the library does not build.
func openSocket(ns netns.NsHandle, protocol int) (*nl.SocketHandle, error) {
	socket, err := nl.GetNetlinkSocketAt(ns, netns.None(), protocol)
	if err != nil {
		return nil, fmt.Errorf("open netlink protocol %d: %w", protocol, err)
	}
	if err := socket.SetReceiveTimeout(&nl.SocketTimeoutTv); err != nil {
		socket.Close()
		return nil, fmt.Errorf("limit how long netlink protocol %d takes: %w", protocol, err)
	}
	return &nl.SocketHandle{Socket: socket}, nil
}

// phone finds the phone on USB among the links that are not named explicitly. It prefers a link that works, then one that is
// more likely a phone, then the one that was plugged in first.
func (s snapshot) phone(kinds map[identity]kind, named []string) Status {
	best := Status{Interface: USB, Why: "no phone is plugged in by USB"}
	for _, link := range s.links {
		a := link.Attrs()
		if kinds[identity{a.Index, a.Name}].usb == noPhone || slices.Contains(named, a.Name) {
			continue
		}
		if st := s.status(a.Name); !best.Present || better(st, best, kinds) {
			best = st
		}
	}
	return best
}

// noted returns why a modem has no connection, as its service says, or "" if the service says nothing.
func (r *Reader) noted(name string) string {
	text, _ := fs.ReadFile(r.root, path.Join(ModemNotes, name)) // on a machine without that service there is no file
	return string(text)
}

func (st Status) identity() identity { return identity{st.Index, st.Interface} }

func better(a, b Status, kinds map[identity]kind) bool {
	if a.Works != b.Works {
		return a.Works
	}
	if x, y := kinds[a.identity()].usb, kinds[b.identity()].usb; x != y {
		return x > y
	}
	return a.Index < b.Index
}
