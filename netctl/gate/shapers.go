package gate

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// shaperState is the state for which a device's tree was last written.
type shaperState struct {
	link  int
	mtu   int
	spec  string
	share int // the number of sessions that the guaranteed rates were computed for, as a power of two; 0 if the rates differ
}

// applyShapers reconciles the queues of all devices: those in the plan have our queues, all others have none of ours.
func (g *Gate) applyShapers() (changes []string, err error) {
	reread := g.dirty.Swap(false) || !g.applied
	defer func() {
		if err != nil && reread {
			g.dirty.Store(true) // not all of them were read
		}
	}()
	share := powerOfTwo(max(8, len(g.sessions)))
	minors := g.minors()
	now := map[string]shaperState{}
	maps.DeleteFunc(g.rates, func(device string, r lineRate) bool { s, _ := g.shaper(device); return s != r.of })
	for _, s := range g.plan.Shapers {
		d := device{name: s.Device, link: g.hotspot, mtu: g.mtu}
		if s.Device != g.plan.Hotspot.Name {
			link, err := g.links.LinkByName(s.Device)
			if err != nil {
				return changes, fmt.Errorf("shape %s: %w", s.Device, err)
			}
			d.link, d.mtu = link.Attrs().Index, link.Attrs().MTU
		}
		want := shaperState{link: d.link, mtu: d.mtu, spec: fmt.Sprint(s, g.plan.Class), share: share}
		now[s.Device] = want
		if !reread && g.shaped[s.Device] == want {
			continue
		}
		more, err := g.applyShaper(d, s, g.plan.Class, minors)
		changes = append(changes, more...)
		if err != nil {
			return changes, err
		}
	}
	gone := maps.Clone(g.shaped)
	g.shaped = now
	if reread {
		roots, err := g.roots()
		if err != nil {
			return changes, err
		}
		for _, link := range roots {
			gone[fmt.Sprintf("number %d", link)] = shaperState{link: link}
		}
	}
	kept := map[int]bool{}
	for _, s := range now {
		kept[s.link] = true
	}
	for name, s := range gone {
		if kept[s.link] {
			continue
		}
		kept[s.link] = true
		r := device{name: name, link: s.link}.deleteRoot()
		if err := g.route.do(r); err != nil {
			return changes, err
		}
		changes = append(changes, r.op)
	}
	return changes, nil
}

// lineRate is the rate of a shaper's total.
type lineRate struct {
	of   netctl.Shaper // if the device gets another shaper, the rate no longer applies
	bits uint64        // a second
}

// shaper returns the plan's shaper for a device.
func (g *Gate) shaper(device string) (s netctl.Shaper, ok bool) {
	i := slices.IndexFunc(g.plan.Shapers, func(s netctl.Shaper) bool { return s.Device == device })
	if i < 0 {
		return s, false
	}
	return g.plan.Shapers[i], true
}

// SetRate implements netctl.Gate.
func (g *Gate) SetRate(name string, rate uint64) error {
	s, ok := g.shaper(name)
	have, made := g.shaped[name]
	if !ok || !made || s.Floor == 0 {
		return nil
	}
	g.rates[name] = lineRate{s, rate}
	if err := g.route.do(device{name: name, link: have.link}.putClass(totalClass(s, rate))); err != nil {
		g.dirty.Store(true) // the next Apply reads the current state
		return fmt.Errorf("set the rate of %s: %w", name, err)
	}
	return nil
}

// ShaperLoad implements netctl.Gate.
func (g *Gate) ShaperLoad(name string) (l netctl.ShaperLoad, err error) {
	have, made := g.shaped[name]
	if !made {
		return l, nil
	}
	root, err := g.statistics(unix.RTM_GETQDISC, have.link, handle(0))
	if err == nil {
		l.Backlog = root.backlog
		root, err = g.statistics(unix.RTM_GETTCLASS, have.link, handle(netctl.MinorTotal))
		l.Sent = root.sent
	}
	if err != nil {
		return netctl.ShaperLoad{}, fmt.Errorf("read the queue of %s: %w", name, err)
	}
	return l, nil
}

// statistics returns those of the qdisc or class with the handle, all zero if it or the device does not exist.
func (g *Gate) statistics(kind int, link int, handle uint32) (s statistics, err error) {
	// Without NLM_F_ECHO the kernel notifies everybody but the sender of the request (qdisc_notify of net/sched/sch_api.c).
	bodies, err := g.route.get(kind, unix.NLM_F_ECHO, trafficHeader(link, handle, 0))
	if isErrno(err, absentErrnos...) {
		return s, nil
	}
	for _, m := range bodies {
		if h, ok := trafficOf(m); ok && h.handle == handle {
			s = h.statistics()
		}
	}
	return s, err
}

// minors returns the minor class numbers of the sessions.
func (g *Gate) minors() []uint16 {
	m := make([]uint16, 0, len(g.sessions))
	for addr := range g.sessions {
		m = append(m, uint16(g.classID(addr)))
	}
	slices.Sort(m)
	return m
}

// roots returns the devices whose root queue is ours.
func (g *Gate) roots() (links []int, err error) {
	qdiscs, err := g.route.get(unix.RTM_GETQDISC, unix.NLM_F_DUMP, trafficHeader(0, 0, 0))
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	for _, m := range qdiscs {
		if h, ok := trafficOf(m); ok && h.handle == netctl.HTBMajor<<16 {
			links = append(links, h.link)
		}
	}
	return links, nil
}

// addResident creates a new resident's classes. If there are more residents than the guaranteed rates were computed for, the next
// Apply corrects them. Until then each new resident gets the rate for a full network, so that the sum never exceeds the total.
func (g *Gate) addResident(addr netip.Addr) error {
	full := 2 << (32 - g.plan.Hotspot.Address.Bits())
	return g.putClasses(func(best leafQueue) (todo []request) {
		for _, s := range g.plan.Shapers {
			have, ok := g.shaped[s.Device]
			if !ok {
				continue
			}
			share := have.share
			if len(g.sessions) > share {
				share, have.share = full, 0
				g.shaped[s.Device] = have
			}
			_, c := wantedClasses(s, 0, g.plan.Class, share)
			c.minor = uint16(g.classID(addr))
			_, slow := slowClasses(s, g.plan.Class, share)
			slow.minor = slowMinor(c.minor)
			d := device{s.Device, have.link, have.mtu}
			for _, c := range []class{c, slow} {
				if c.ceil != 0 {
					// A class left over from the address's last session may have other rates and a full queue.
					todo = append(append(todo, d.deleteClass(c.minor), d.putClass(c)), d.putLeaf(c, best)...)
				}
			}
		}
		return todo
	})
}

// freeClasses deletes residents' classes on all devices.
func (g *Gate) freeClasses(of residents) error {
	var todo []request
	for name, s := range g.shaped {
		for addr := range of {
			minor, d := uint16(g.classID(addr)), device{name: name, link: s.link}
			todo = append(todo, d.deleteClass(minor))
			if g.slow() {
				todo = append(todo, d.deleteClass(slowMinor(minor)))
			}
		}
	}
	return g.route.do(todo...)
}
