// Package uplink watches the connections that are lent to the box: their links, addresses, default routes and resolvers
// as the kernel and the machine's network daemon have them (Reader), what changes there (Reader.Watch), and whether the
// way out really works (Prober). It configures nothing: systemd-networkd or NetworkManager does that. It must not know
// donations, caps or residents, nor who is chosen.
//
// The kernel is asked by netlink, and for drivers by ethtool's ioctl, but never by sysfs: in a network namespace
// /sys/class/net may still show another one's interfaces. Everything here is IPv4, as is what the box shares.
package uplink

import (
	"cmp"
	"encoding/binary"
	"errors"
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
)

// Status is what an uplink is now.
type Status struct {
	Interface string // as the kernel calls it, or USB while no phone is plugged in
	Kind      string // what it is, in plain English, e.g. "network cable" or "phone on USB (Android)"; "" if not known
	Index     int    // the kernel's number of the interface, another one each time it comes back; 0 if it isn't there
	Present   bool   // the interface exists
	Up        bool   // somebody has switched it on
	Carrier   bool   // it has a link: a cable with something at the other end, a joined Wi-Fi network
	MTU       int    // bytes of the largest IP packet that it takes

	Address  netip.Prefix   // its first lasting address, with the network's length
	Routed   bool           // the main routing table has a default route through it, or several that together are one
	Gateway  netip.Addr     // of the default route with the lowest metric; not valid for a point-to-point uplink
	Networks []netip.Prefix // what is connected to it directly, sorted
	DNS      []netip.Addr   // the resolvers that came with it, the preferred one first
	NotDNS   []string       // what came with it as a resolver where DNS is empty, but cannot be asked through it

	Works bool   // all that the kernel knows of says that it works: link, address and default route
	Why   string // if it doesn't work, why, in plain English; else ""

	RxBytes, TxBytes uint64 // since the interface exists, link headers included
}

// Reader reads uplinks from the kernel of one network namespace. Its methods are safe for concurrent use.
type Reader struct {
	ns        netns.NsHandle
	h         *netlink.Handle
	generic   *nl.SocketHandle // generic netlink, for what rtnetlink doesn't tell
	netfilter *nl.SocketHandle // for connections; used by one goroutine at a time
	root      fs.FS
	driver    func(name string) string // of an interface; "" for none; replaced by tests

	mu    sync.Mutex
	known map[identity]kind // of the interfaces that were there last
}

// Open returns a Reader of the calling thread's network namespace. The machine's files (resolvers) are read below root,
// os.DirFS("/") but in tests.
func Open(root fs.FS) (*Reader, error) { return OpenAt(netns.None(), root) }

// OpenAt returns a Reader of the namespace, which stays the caller's to close, after the Reader.
func OpenAt(ns netns.NsHandle, root fs.FS) (*Reader, error) {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	r := &Reader{ns: ns, h: h, root: root}
	if r.generic, err = openSocket(ns, unix.NETLINK_GENERIC); err != nil {
		h.Close()
		return nil, err
	}
	if r.netfilter, err = openSocket(ns, unix.NETLINK_NETFILTER); err != nil {
		h.Close()
		r.generic.Close()
		return nil, err
	}
	r.driver = r.askDriver
	return r, nil
}

// Close gives up the Reader's sockets.
func (r *Reader) Close() {
	r.h.Close()
	r.generic.Close()
	r.netfilter.Close()
}

// Read returns the status of each named interface, in the order of names. The name USB stands for the phone that is
// plugged in, other than the interfaces that names has by their own names. It costs three netlink dumps, a few reads of
// small files, and two questions about each interface that is new. The errors are the kernel's; an interface that isn't
// there is none.
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
			list[i].Kind = kinds[list[i].identity()].words
			list[i].DNS, list[i].NotDNS = resolvers(r.root, list[i].Index)
		}
	}
	return list, nil
}

// Networks returns every network that the machine is connected to directly, through whatever interface but the loopback
// and the one named except, sorted and without duplicates. Residents have no business there.
func (r *Reader) Networks(except string) ([]netip.Prefix, error) {
	s, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	return s.networks(func(link *netlink.LinkAttrs) bool {
		return link.Name != except && link.RawFlags&unix.IFF_LOOPBACK == 0
	}), nil
}

// snapshot is what the kernel says, in its own words.
type snapshot struct {
	links  []netlink.Link
	addrs  []netlink.Addr
	routes []netlink.Route // of the main table
}

func (r *Reader) snapshot() (s snapshot, err error) {
	if s.links, err = dump(r.h.LinkList); err != nil {
		return s, fmt.Errorf("list interfaces: %w", err)
	}
	if s.addrs, err = dump(func() ([]netlink.Addr, error) { return r.h.AddrList(nil, netlink.FAMILY_V4) }); err != nil {
		return s, fmt.Errorf("list addresses: %w", err)
	}
	if s.routes, err = dump(func() ([]netlink.Route, error) { return r.h.RouteList(nil, netlink.FAMILY_V4) }); err != nil {
		return s, fmt.Errorf("list routes: %w", err)
	}
	return s, nil
}

// dump lists something anew if it changed meanwhile, which makes the kernel leave things out.
func dump[T any](list func() ([]T, error)) (all []T, err error) {
	for range 5 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// status finds out what one uplink is, short of its resolvers.
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

// address returns the interface's first address that is good beyond its link (169.254/16 is not) and not deprecated.
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

// defaultRoute finds the way to everywhere through the interface: its default route with the lowest metric, or routes that
// together cover what a default route would (0.0.0.0/1 and 128.0.0.0/1, as some DHCP clients and tunnels write it). Of
// those, the widest with the lowest metric has the gateway.
func (s snapshot) defaultRoute(index int) (gateway netip.Addr, found bool) {
	var best netip.Prefix
	var lowest uint32
	var all []netip.Prefix
	for _, r := range s.routes {
		to, ok := destination(r)
		if !ok {
			continue
		}
		metric := uint32(r.Priority) // an int may have no room for it
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

// destination returns where a route leads, if it leads anywhere.
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

// elsewhere are the parts of the address space that are nobody's on the internet, which routes that stand for a default
// route may leave out (IANA's special-purpose registry, RFC 6890, and multicast).
var elsewhere = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("224.0.0.0/3"),
}

// coverTheInternet tells whether every address of the internet is in one of the prefixes.
func coverTheInternet(all []netip.Prefix) bool {
	all = append(slices.Clone(elsewhere), all...)
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

// widest is the length of the longest prefix that is no network of a line's but a part of the way to everywhere.
const widest = 7

func wide(r netlink.Route) bool {
	to, ok := destination(r)
	return ok && to.Bits() <= widest
}

// networks returns what is connected directly to the wanted interfaces: their addresses' networks, those of
// point-to-point peers, and every network that has a route without a gateway.
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

// prefix is the same as n, for IPv4.
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
