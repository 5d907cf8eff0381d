// Package uplink watches uplinks: their links, addresses, default routes and resolvers as the kernel and the machine's network
// daemon have them (Reader), changes of these (Reader.Watch), and whether the internet is reachable (Prober). It configures
// nothing: systemd-networkd or NetworkManager does that. It must not know donations, caps or sessions, nor which uplink is
// chosen. A line is an uplink together with its path to the internet.
//
// The kernel is queried by netlink, and for drivers by ethtool's ioctl, never by sysfs: in a network namespace /sys/class/net
// may still show another namespace's interfaces. Everything here is IPv4, because the box shares IPv4 only.
//
// vishvananda/netlink lists links, addresses and routes and subscribes to changes; mdlayher/wifi tells which interfaces are
// radios. Tracked connections are parsed with package nlmsg, which says why.
package uplink

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/nlmsg"
)

// Status is an uplink's state in the kernel.
type Status struct {
	Interface string // as the kernel calls it, or USB while no phone is plugged in
	Kind      string // what it is, in plain English, e.g. "network cable" or "phone on USB (Android)"; "" if not known
	Index     int    // interface index, which changes each time the interface reappears; 0 if it does not exist
	Present   bool   // the interface exists
	Up        bool   // it is administratively up
	Carrier   bool   // it has a link: a connected cable, an associated Wi-Fi network
	MTU       int    // in bytes

	Address  netip.Prefix   // its first global address, with the prefix length
	Routed   bool           // the main routing table has a default route through it, or routes that together cover the internet
	Gateway  netip.Addr     // of the default route with the lowest metric; not valid for a point-to-point uplink
	Networks []netip.Prefix // directly connected, sorted
	DNS      []netip.Addr   // its resolvers, the preferred one first
	NotDNS   []string       // if DNS is empty: its resolvers that cannot be queried through it

	Works bool   // it has link, address and default route
	Why   string // why it doesn't work, in plain English; else ""

	RxBytes, TxBytes uint64 // since the interface was made, link headers included
}

// Reader reads uplinks from the kernel of one network namespace. Its methods are safe for concurrent use.
type Reader struct {
	ns        netns.NsHandle
	h         *netlink.Handle
	netfilter *nl.SocketHandle // for connections; used by one goroutine at a time
	root      fs.FS
	dns       dnsCache
	driver    func(name string) string // of an interface; "" for none; replaced by tests

	mu    sync.Mutex
	known map[identity]kind // of the interfaces in the last read
}

// Open returns a Reader of the calling thread's network namespace. It reads the machine's files (resolvers) below root,
// os.DirFS("/") except in tests.
func Open(root fs.FS) (*Reader, error) { return openAt(netns.None(), root) }

// openAt returns a Reader of the namespace, which the caller closes after the Reader. Whether an interface is a radio's is
// always read in the calling thread's namespace: the library supports no other.
func openAt(ns netns.NsHandle, root fs.FS) (*Reader, error) {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	r := &Reader{ns: ns, h: h, root: root}
	if r.netfilter, err = openSocket(ns, unix.NETLINK_NETFILTER); err != nil {
		h.Close()
		return nil, err
	}
	r.driver = r.askDriver
	return r, nil
}

// Close closes the Reader's sockets.
func (r *Reader) Close() {
	r.h.Close()
	r.netfilter.Close()
}

// Read returns the status of each named interface, in the order of names. The name USB stands for the phone that is plugged in,
// unless names contains the phone's interface explicitly. Read costs three netlink dumps, and for each new interface two
// queries and a few reads of small files. Watch refreshes what the files say; without Watch each Read reads them. A missing
// interface is not an error.
func (r *Reader) Read(names []string) ([]Status, error) {
	s, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	kinds := r.kinds(s.links)
	list := make([]Status, len(names))
	for i, name := range names {
		if name == USB {
			list[i] = s.phone(kinds, names)
		} else {
			list[i] = s.status(name)
		}
		if list[i].Present {
			k := kinds[list[i].identity()]
			list[i].Kind = k.words
			if k.usb == modem && !list[i].Works {
				list[i].Why = cmp.Or(r.noted(list[i].Interface), list[i].Why)
			}
			list[i].DNS, list[i].NotDNS = r.dns.of(r.root, list[i].Index)
		}
	}
	return list, nil
}

// Networks returns every network that the machine is directly connected to, through any interface except the loopback and the
// one named except, sorted and without duplicates. They are closed to residents.
func (r *Reader) Networks(except string) ([]netip.Prefix, error) {
	s, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	return s.networks(func(link *netlink.LinkAttrs) bool {
		return link.Name != except && link.RawFlags&unix.IFF_LOOPBACK == 0
	}), nil
}

// snapshot is the kernel's links, addresses and routes.
type snapshot struct {
	links  []netlink.Link
	addrs  []netlink.Addr
	routes []netlink.Route // of the main table
}

func (r *Reader) snapshot() (s snapshot, err error) {
	if s.links, err = nlmsg.RetryInterruptedDump(r.h.LinkList); err != nil {
		return s, fmt.Errorf("list interfaces: %w", err)
	}
	if s.addrs, err = nlmsg.RetryInterruptedDump(func() ([]netlink.Addr, error) { return r.h.AddrList(nil, netlink.FAMILY_V4) }); err != nil {
		return s, fmt.Errorf("list addresses: %w", err)
	}
	if s.routes, err = nlmsg.RetryInterruptedDump(func() ([]netlink.Route, error) { return r.h.RouteList(nil, netlink.FAMILY_V4) }); err != nil {
		return s, fmt.Errorf("list routes: %w", err)
	}
	return s, nil
}

// status returns an uplink's status without its resolvers.
func (s snapshot) status(name string) Status {
	st := Status{Interface: name}
	i := slices.IndexFunc(s.links, func(l netlink.Link) bool { return l.Attrs().Name == name })
	if i < 0 {
		st.Why = name + " does not exist"
		return st
	}
	link := s.links[i].Attrs()
	st.Index = link.Index
	st.Present = true
	st.MTU = link.MTU
	st.Up = link.RawFlags&unix.IFF_UP != 0
	st.Carrier = st.Up && link.RawFlags&unix.IFF_LOWER_UP != 0
	if link.Statistics != nil {
		st.RxBytes, st.TxBytes = link.Statistics.RxBytes, link.Statistics.TxBytes
	}
	st.Address = s.address(st.Index)
	st.Gateway, st.Routed = s.defaultRoute(st.Index)
	st.Networks = s.networks(func(other *netlink.LinkAttrs) bool { return other.Index == st.Index })
	switch {
	case !st.Up:
		st.Why = name + " is switched off"
	case !st.Carrier:
		st.Why = name + " has no link"
	case !st.Address.IsValid():
		st.Why = name + " has a link but no address"
	case !st.Routed:
		st.Why = name + " has a link but no default route"
	default:
		st.Works = true
	}
	return st
}

// address returns the interface's first address of global scope (169.254/16 is not) that is not deprecated.
func (s snapshot) address(index int) netip.Prefix {
	for _, a := range s.addrs {
		if a.LinkIndex != index || a.Scope != unix.RT_SCOPE_UNIVERSE || a.Flags&unix.IFA_F_DEPRECATED != 0 {
			continue
		}
		if p, ok := prefix(a.IPNet); ok {
			return p
		}
	}
	return netip.Prefix{}
}

// defaultRoute finds the interface's default route with the lowest metric, or routes that together cover the internet
// (0.0.0.0/1 and 128.0.0.0/1, as some DHCP clients and tunnels configure them). In that case the gateway is that of the
// shortest prefix, and among equal ones of the lowest metric.
func (s snapshot) defaultRoute(index int) (gateway netip.Addr, found bool) {
	var best netip.Prefix
	var lowest uint32
	var all []netip.Prefix
	for _, r := range s.routes {
		to, ok := destination(r)
		if !ok {
			continue
		}
		metric := uint32(r.Priority) // an int may overflow
		hops := r.MultiPath
		if len(hops) == 0 {
			hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Flags: r.Flags}}
		}
		for _, hop := range hops {
			if hop.LinkIndex != index || hop.Flags&unix.RTNH_F_DEAD != 0 {
				continue
			}
			all = append(all, to)
			if !best.IsValid() || cmp.Or(cmp.Compare(to.Bits(), best.Bits()), cmp.Compare(metric, lowest)) < 0 {
				gateway, _ = netip.AddrFromSlice(hop.Gw)
				gateway, lowest, best = gateway.Unmap(), metric, to
			}
			break
		}
	}
	if !coverTheInternet(all) {
		return netip.Addr{}, false
	}
	return gateway, true
}

// destination returns a unicast route's destination.
func destination(r netlink.Route) (netip.Prefix, bool) {
	if r.Type != unix.RTN_UNICAST {
		return netip.Prefix{}, false
	}
	if r.Dst == nil {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), true
	}
	to, ok := prefix(r.Dst)
	return to.Masked(), ok
}

// coverTheInternet tells whether every address of the internet is in one of the prefixes. Routes that replace a default route may
// leave out the special-purpose networks, which residents never reach.
func coverTheInternet(all []netip.Prefix) bool {
	all = append(slices.Clone(netctl.SpecialPurpose), all...)
	slices.SortFunc(all, netip.Prefix.Compare)
	next := uint64(0) // the first address that is not covered yet
	for _, p := range all {
		first := p.Addr().As4()
		from := uint64(binary.BigEndian.Uint32(first[:]))
		if from > next {
			return false
		}
		next = max(next, from+1<<(32-p.Bits()))
	}
	return next == 1<<32
}

// maxSplitBits is the longest prefix length that counts as a part of a split default route, not as a connected network.
const maxSplitBits = 7

func wide(r netlink.Route) bool {
	to, ok := destination(r)
	return ok && to.Bits() <= maxSplitBits
}

// networks returns the networks directly connected to the wanted interfaces: those of their addresses, of point-to-point peers,
// and of every route without a gateway. The list is sorted and without duplicates.
func (s snapshot) networks(wanted func(*netlink.LinkAttrs) bool) []netip.Prefix {
	on := make(map[int]bool)
	for _, l := range s.links {
		on[l.Attrs().Index] = wanted(l.Attrs())
	}
	var list []netip.Prefix
	add := func(index int, n *net.IPNet) {
		if p, ok := prefix(n); ok && on[index] {
			list = append(list, p.Masked())
		}
	}
	for _, a := range s.addrs {
		add(a.LinkIndex, a.IPNet)
		add(a.LinkIndex, a.Peer)
	}
	for _, r := range s.routes {
		if r.Type == unix.RTN_UNICAST && !wide(r) && r.Gw == nil && r.Via == nil {
			add(r.LinkIndex, r.Dst)
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}

// prefix converts n. It returns false if n is not an IPv4 network.
func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if bits == 128 {
		ones -= 96
	}
	p := netip.PrefixFrom(addr.Unmap(), ones)
	return p, ok && p.IsValid() && p.Addr().Is4()
}
