package uplink

import (
	"cmp"
	"math"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Line is an interface of the machine, as somebody who sets the box up would see it.
type Line struct {
	Status
	Wired bool // it takes a network cable, or is the end of a veth, which stands in for one
	Phone bool // it is a phone's on USB, most likely: the name USB stands for it
	Port  bool // it is part of another interface, such as a bridge
}

// Lines returns all interfaces but the loopback. First come those that have a default route, the one that the machine's
// own packets take before the others; then the others, in the order in which they came.
func (r *Reader) Lines() ([]Line, error) {
	s, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(s.routes, func(a, b netlink.Route) int {
		return cmp.Compare(uint32(a.Priority), uint32(b.Priority))
	})
	rank := func(l Line) int {
		for i := range s.routes {
			one := snapshot{routes: s.routes[i : i+1]}
			if _, routed := one.defaultRoute(l.Index); routed {
				return i
			}
		}
		return math.MaxInt
	}
	kinds := r.kinds(s.links)
	var list []Line
	for _, link := range s.links {
		a := link.Attrs()
		if a.RawFlags&unix.IFF_LOOPBACK != 0 {
			continue
		}
		k := kinds[identity{a.Index, a.Name}]
		l := Line{Status: s.status(a.Name), Phone: k.usb != noPhone, Port: a.MasterIndex != 0}
		l.Kind = k.words
		l.Wired = k.words == cable || link.Type() == "veth"
		l.DNS, _ = resolvers(r.root, l.Index)
		list = append(list, l)
	}
	slices.SortStableFunc(list, func(a, b Line) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Index, b.Index))
	})
	return list, nil
}
