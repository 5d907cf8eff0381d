package gate

import (
	"net/netip"
	"time"

	"passerelle/netctl"
)

// The slow lane. A session whose data is used up continues slowly, if the plan's Class.Slow is not 0. The rules move its packets to
// the class in its entry of netctl.SetSlow; without an entry they reject them. So the kernel does it on its own, and an entry exists
// only while its class does.
//
// Each resident has his own leaf with the lane's rate as its ceiling, so nobody can use up another one's lane. All of them are below
// one inner class, which limits what they take together, however many devices there are: an eighth of the line, or sixteen lanes if
// the line's rate is not limited, and always at least one lane. A sixteenth of the lowest total is guaranteed to them. For the rest
// they get what residents with data left do not use, since these have a higher priority.
const (
	slowPart       = 8 // of the total, for all slow lanes together
	slowGuaranteed = 16
	slowLanes      = 16 // where there is no total
	slowPriority   = 2
	slowQueue      = 2 // seconds at the lane's rate
)

// slowClasses returns the class of all slow lanes of a shaper, and that of each resident with 0 as its minor. Their ceilings are 0 if
// there is no slow lane. No lane is faster than the resident's own limit.
func slowClasses(s netctl.Shaper, c netctl.Class, sessions int) (all, each class) {
	lane, total := c.Slow/8, s.Total/8
	if own := s.Each(c) / 8; own != 0 {
		lane = min(lane, own)
	}
	if lane == 0 {
		return all, each
	}
	all = class{minor: netctl.MinorSlow, rate: lane * slowLanes, ceil: lane * slowLanes, quantum: quantum(lane * slowLanes)}
	if total != 0 {
		least := total
		if s.Floor != 0 {
			least = s.Floor / 8
		}
		lane = min(lane, total)
		all.parent, all.ceil = netctl.MinorTotal, max(total/slowPart, lane)
		all.rate = max(1, min(least/slowGuaranteed, all.ceil))
		all.quantum = quantum(all.ceil)
	}
	return all, class{
		parent: netctl.MinorSlow,
		rate:   max(1, min(all.rate/uint64(powerOfTwo(max(8, sessions))), lane)), ceil: lane,
		quantum: quantum(lane), prio: slowPriority, leaf: true, split: needsSplit(lane),
	}
}

// slowMinor returns the minor of the slow lane of the resident whose own class has this minor.
func slowMinor(minor uint16) uint16 { return netctl.MinorSlowLanes + minor }

// slowQueueBytes returns the length of a slow lane's queue. Without TBF, a longer offloaded packet is dropped, so that its sender makes
// smaller ones: one of 64 kB would fill the lane for seconds.
func slowQueueBytes(ceil uint64) uint32 { return uint32(max(slowQueue*ceil, 4*frame)) }

// slow tells whether sessions have a slow lane.
func (g *Gate) slow() bool { return g.plan.Class.Slow != 0 }

// repairSlow returns the requests that correct the kernel's slow lane entries, each with its session's timeout.
func (g *Gate) repairSlow(entries map[netip.Addr]entry, now time.Time) (todo []request) {
	wanted := map[netip.Addr]bool{}
	for addr, s := range g.sessions {
		left := s.ends.Sub(now)
		wanted[addr] = g.slow()
		if x := entries[addr]; g.slow() && left >= 2*time.Second &&
			(x.class != g.slowClassID(addr) || !sameTimeout(x.timeout, left)) {
			todo = append(todo, g.putSlowEntry(addr, left))
		}
	}
	for addr := range entries {
		if !wanted[addr] {
			todo = append(todo, deleteEntry(g.sets[netctl.SetSlow], addr))
		}
	}
	return todo
}

func (g *Gate) slowClassID(addr netip.Addr) uint32 {
	return handle(slowMinor(uint16(g.classID(addr))))
}

func (g *Gate) putSlowEntry(addr netip.Addr, left time.Duration) request {
	return putEntry(g.sets[netctl.SetSlow], entry{addr: addr, timeout: left, class: g.slowClassID(addr)})
}
