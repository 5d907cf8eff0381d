package uplink

import (
	"cmp"
	"math"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interface is an interface of the machine, as shown to a technician.
type Interface struct {
	Status
	Wired bool // it is an Ethernet port, or one end of a veth pair, which stands for one
	Phone bool // it is, or may be, a phone or modem on USB, which the name USB stands for
	Port  bool // it is a port of another interface, such as a bridge

	Bridge bool // it is a bridge
}

// Interfaces returns all interfaces except the loopback: first those with a default route, by metric, then the others by
// index.
func (r *Reader) Interfaces() ([]Interface, error) {
	s, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(s.routes, func(a, b netlink.Route) int {
		return cmp.Compare(uint32(a.Priority), uint32(b.Priority))
	})
	rank := func(l Interface) int {
		for i := range s.routes {
			one := snapshot{routes: s.routes[i : i+1]}
			if _, routed := one.defaultRoute(l.Index); routed {
				return i
			}
		}
		return math.MaxInt
	}
	kinds := r.kinds(s.links)
	var list []Interface
	for _, link := range s.links {
		a := link.Attrs()
		if a.RawFlags&unix.IFF_LOOPBACK != 0 {
			continue
		}
		k := kinds[identity{a.Index, a.Name}]
		l := Interface{Status: s.status(a.Name), Phone: k.usb != noPhone, Port: a.MasterIndex != 0, Bridge: link.Type() == "bridge"}
		l.Kind = k.words
		l.Wired = k.words == cable || link.Type() == "veth"
		l.DNS, _ = resolvers(r.root, l.Index)
		list = append(list, l)
	}
	slices.SortStableFunc(list, func(a, b Interface) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Index, b.Index))
	})
	return list, nil
}
