// Package bindings keeps the binding table of the hotspot: which device has which address, by its lease, by its
// session, or because it alone answered an ARP probe of the box. It owns this decision, its bounds, and the hosts list
// that keeps dnsmasq from leasing an address in use to another device. It is pure: its inputs are passed in, its
// actions are returned, and it stores nothing beyond the process.
package bindings

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"passerelle/appliance/plan"
	"passerelle/netctl"
)

const (
	// A device that keeps its address over a power cut of the box, or has it configured statically, is probed; each
	// probe is a broadcast to everybody.
	probesPerSecond = 5
	probeBurst      = 40
	probeInterval   = 2 * time.Second  // at least this between two probes of an address
	confirmInterval = 30 * time.Second // at least this between two probes of a bound device, which may be asleep

	maxAddresses = 2  // of one device
	maxProbed    = 64 // bound by probes, on a port of the hotspot: each takes an address from the others

	noPort = -1 // of an address that a session bound

	probedLifetime = 10 * time.Minute // after its last answer, or its session
	confirmBefore  = 5 * time.Minute  // how long before that ends it is probed again
	settleAfter    = 30 * time.Second // after this time a device is settled, if it has confirmed that it is still there
	maxConflicts   = 4                // addresses that a device and another one claimed, after which the device's answers are ignored
	conflictHold   = 10 * time.Minute

	// leaseGrace is how long a lease counts that the lease file no longer has: dnsmasq truncates the file and rewrites it, and a
	// reader meanwhile sees a part of it, or nothing.
	leaseGrace = 3 * time.Second

	renewalMargin = 10 * time.Second // a lease is renewed if its end moved by more than this, which clock drift does not reach
)

// Lease is an address that dnsmasq leased to a device.
type Lease struct {
	Addr netip.Addr
	MAC  netctl.MAC
	Left time.Duration
}

// Observation is what is known about the hotspot's devices at one time.
type Observation struct {
	Now            time.Time // monotonic
	Leases         []Lease
	Sessions       []netctl.Session
	UnknownSources []netctl.UnknownSource // unbound devices that sent since the last observation
	Answers        []netctl.Claim         // to the probes of earlier results
}

// Result is the outcome of an observation.
type Result struct {
	Bindings []netctl.Binding // by address
	Hosts    []plan.Host      // by address and device
	Probe    []netip.Addr     // addresses to probe
}

// Table is the binding table. Make one with New.
type Table struct {
	network   netip.Prefix // with the box's address
	leases    map[netip.Addr]lease
	probed    map[netip.Addr]probed
	presence  map[netctl.MAC]presence
	conflicts map[netctl.MAC]conflict
	pending   map[netip.Addr]pendingProbe
	tokens    float64
	updatedAt time.Time
}

// lease is a lease as last seen in the file.
type lease struct {
	mac        netctl.MAC
	ends, seen time.Time
}

// probed is a device that answered a probe for an address, or had a session there.
type probed struct {
	mac   netctl.MAC
	port  int // where it was first seen, or noPort
	until time.Time
}

// pendingProbe is an address that is not probed again for a while.
type pendingProbe struct {
	port  int // of the device that caused the probe
	until time.Time
}

// presence says since when and until when a device had an address, and whether it has confirmed meanwhile that it is still there:
// a fake device can have a lease without being there.
type presence struct {
	first, last time.Time
	confirmed   bool
}

// conflict lists the addresses that both a device and another one claimed.
type conflict struct {
	addrs []netip.Addr
	until time.Time
}

// New returns an empty table for a network, which is given with the box's address.
func New(network netip.Prefix) *Table {
	return &Table{
		network:   network,
		leases:    map[netip.Addr]lease{},
		probed:    map[netip.Addr]probed{},
		presence:  map[netctl.MAC]presence{},
		conflicts: map[netctl.MAC]conflict{},
		pending:   map[netip.Addr]pendingProbe{},
		tokens:    probeBurst,
	}
}

// Update processes an observation and returns the result.
func (t *Table) Update(o Observation) Result {
	t.expire(o.Now)
	o.Leases = t.currentLeases(o)
	held := t.assigned(o)
	for _, a := range o.Answers {
		t.learn(a, held, o.Now)
	}
	t.keepSessions(held, o)
	for addr, k := range t.probed {
		if h, ok := held[addr]; ok && h.MAC != k.mac {
			delete(t.probed, addr) // leased to another since
		} else if !ok {
			held[addr] = netctl.Binding{Addr: addr, MAC: k.mac, Left: k.until.Sub(o.Now)}
		}
	}
	t.updatePresence(held, o)
	return Result{Bindings: t.bindings(held, o), Hosts: t.hosts(held, o), Probe: t.probes(held, o)}
}

// expire removes expired entries.
func (t *Table) expire(now time.Time) {
	if !t.updatedAt.IsZero() {
		t.tokens = min(probeBurst, t.tokens+now.Sub(t.updatedAt).Seconds()*probesPerSecond)
	}
	t.updatedAt = now
	maps.DeleteFunc(t.probed, func(_ netip.Addr, k probed) bool { return !k.until.After(now) })
	maps.DeleteFunc(t.pending, func(_ netip.Addr, a pendingProbe) bool { return !a.until.After(now) })
	maps.DeleteFunc(t.conflicts, func(_ netctl.MAC, q conflict) bool { return !q.until.After(now) })
	maps.DeleteFunc(t.presence, func(_ netctl.MAC, s presence) bool { return now.Sub(s.last) > probedLifetime })
}

// currentLeases returns the valid leases: those of the file, and those that it had a moment ago, unless their devices
// have others.
func (t *Table) currentLeases(o Observation) (all []Lease) {
	has := map[netctl.MAC]bool{}
	for _, l := range o.Leases {
		if t.assignable(l.Addr) && l.Left > 0 {
			ends := o.Now.Add(l.Left)
			// A renewal, or a full-length lease, which only a settled device gets.
			before := t.leases[l.Addr]
			if before.mac == l.MAC && ends.Sub(before.ends) > renewalMargin || plan.FirstLease(l.Left) < l.Left {
				t.confirm(l.MAC)
			}
			t.leases[l.Addr] = lease{l.MAC, ends, o.Now}
			has[l.MAC] = true
		}
	}
	maps.DeleteFunc(t.leases, func(_ netip.Addr, l lease) bool {
		return !l.ends.After(o.Now) || o.Now.Sub(l.seen) >= leaseGrace || l.seen.Before(o.Now) && has[l.mac]
	})
	for addr, l := range t.leases {
		all = append(all, Lease{Addr: addr, MAC: l.mac, Left: l.ends.Sub(o.Now)})
	}
	return all
}

// assigned returns the bindings by lease and session, by address.
func (t *Table) assigned(o Observation) map[netip.Addr]netctl.Binding {
	held := map[netip.Addr]netctl.Binding{}
	for _, l := range o.Leases {
		held[l.Addr] = netctl.Binding{Addr: l.Addr, MAC: l.MAC, Left: l.Left}
	}
	for _, s := range o.Sessions {
		h, ok := held[s.Addr]
		switch {
		case !ok:
			held[s.Addr] = netctl.Binding{Addr: s.Addr, MAC: s.MAC, Left: s.Left}
		case h.MAC == s.MAC && s.Left > h.Left:
			h.Left = s.Left
			held[s.Addr] = h
		}
	}
	return held
}

// keepSessions makes bindings that exist only by a session last longer than the session, as if their devices had just answered a
// probe: the address of a device that stays is never free for others. This is needed because a device is not probed during its
// session, and a new process knows only the session.
func (t *Table) keepSessions(held map[netip.Addr]netctl.Binding, o Observation) {
	for _, s := range o.Sessions {
		h := held[s.Addr]
		if h.MAC != s.MAC || slices.ContainsFunc(o.Leases, func(l Lease) bool { return l.Addr == s.Addr }) {
			continue
		}
		k, ok := t.probed[s.Addr]
		if !ok || k.mac != s.MAC {
			if t.countKept(s.MAC) >= maxAddresses {
				continue
			}
			k = probed{mac: s.MAC, port: noPort}
		}
		k.until = o.Now.Add(probedLifetime)
		t.probed[s.Addr] = k
		h.Left = max(h.Left, probedLifetime)
		held[s.Addr] = h
	}
}

// assignable tells whether an address may be a resident's.
func (t *Table) assignable(a netip.Addr) bool {
	n := t.network.Masked()
	return n.Contains(a) && a != t.network.Addr() && a != n.Addr() && n.Contains(a.Next()) && plan.Resident(n, a)
}

// learn processes the answers to a probe.
func (t *Table) learn(a netctl.Claim, held map[netip.Addr]netctl.Binding, now time.Time) {
	if !t.assignable(a.Addr) {
		return
	}
	here, isKnown := t.probed[a.Addr]
	holder, isHeld := held[a.Addr]
	if isHeld && (!isKnown || !slices.Contains(a.MACs, holder.MAC)) {
		return // bound by lease or session: no answer is needed
	}
	claims := slices.DeleteFunc(slices.Clone(a.MACs), func(m netctl.MAC) bool {
		// No device has a group address (IEEE 802, 8.2.2) or a zero one.
		return m[0]&1 != 0 || m == netctl.MAC{} || len(t.conflicts[m].addrs) >= maxConflicts ||
			m != here.mac && t.countAddresses(m, held) >= maxAddresses
	})
	port := t.pending[a.Addr].port
	switch {
	case isKnown && slices.Contains(claims, here.mac): // the first device keeps the address as long as it answers
		t.probed[a.Addr] = probed{here.mac, here.port, now.Add(probedLifetime)}
		t.confirm(here.mac)
	case !isKnown && len(claims) == 1 && t.countProbed(port) < maxProbed:
		t.probed[a.Addr] = probed{claims[0], port, now.Add(probedLifetime)}
		t.confirm(claims[0])
	}
	if len(claims) > 1 {
		for _, m := range claims {
			if m != here.mac {
				t.recordConflict(m, a.Addr, now)
			}
		}
	}
}

// recordConflict records that a device claimed an address that another one claimed too.
func (t *Table) recordConflict(m netctl.MAC, addr netip.Addr, now time.Time) {
	q := t.conflicts[m]
	if !slices.Contains(q.addrs, addr) {
		q.addrs = append(q.addrs, addr)
	}
	q.until = now.Add(conflictHold)
	t.conflicts[m] = q
}

// countAddresses counts a device's addresses.
func (t *Table) countAddresses(m netctl.MAC, held map[netip.Addr]netctl.Binding) (n int) {
	for _, h := range held {
		if h.MAC == m {
			n++
		}
	}
	for addr, k := range t.probed {
		if _, ok := held[addr]; !ok && k.mac == m {
			n++
		}
	}
	return n
}

// countKept counts the addresses that a device has by its answers, or had by its sessions.
func (t *Table) countKept(m netctl.MAC) (n int) {
	for _, k := range t.probed {
		if k.mac == m {
			n++
		}
	}
	return n
}

// countProbed counts the addresses that devices on a port have by their answers.
func (t *Table) countProbed(port int) (n int) {
	for _, k := range t.probed {
		if k.port == port {
			n++
		}
	}
	return n
}

// confirm records that a device is there.
func (t *Table) confirm(m netctl.MAC) {
	s := t.presence[m]
	s.confirmed = true
	t.presence[m] = s
}

// updatePresence records since when devices are present.
func (t *Table) updatePresence(held map[netip.Addr]netctl.Binding, o Observation) {
	for _, h := range held {
		s := t.presence[h.MAC]
		if s.first.IsZero() {
			s.first = o.Now
		}
		s.last = o.Now
		t.presence[h.MAC] = s
	}
	for _, x := range o.Sessions { // a device with a session is settled at once
		if s, ok := t.presence[x.MAC]; ok {
			t.presence[x.MAC] = presence{s.last.Add(-settleAfter), s.last, true}
		}
	}
}

func (t *Table) settled(m netctl.MAC) bool {
	s, ok := t.presence[m]
	return ok && s.confirmed && s.last.Sub(s.first) >= settleAfter
}

func (t *Table) bindings(held map[netip.Addr]netctl.Binding, o Observation) []netctl.Binding {
	online := map[netip.Addr]bool{}
	for _, s := range o.Sessions {
		online[s.Addr] = true
	}
	leased := map[netip.Addr]bool{}
	for _, l := range o.Leases {
		leased[l.Addr] = true
	}
	// A device uses essential services from the first of its addresses in this order.
	rank := func(a netip.Addr) int {
		switch {
		case online[a]:
			return 0
		case leased[a]:
			return 1
		}
		return 2
	}
	order := slices.SortedFunc(maps.Keys(held), func(x, y netip.Addr) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), x.Compare(y))
	})
	has := map[netctl.MAC]bool{}
	var all []netctl.Binding
	for _, addr := range order {
		h := held[addr]
		h.Settled, h.Secondary = t.settled(h.MAC), has[h.MAC]
		has[h.MAC] = true
		all = append(all, h)
	}
	slices.SortFunc(all, func(x, y netctl.Binding) int { return x.Addr.Compare(y.Addr) })
	return all
}

// hosts returns dnsmasq's hosts list: the addresses that are taken although dnsmasq did not lease them, and the devices that get a
// full-length lease.
func (t *Table) hosts(held map[netip.Addr]netctl.Binding, o Observation) (all []plan.Host) {
	leased := map[netip.Addr]netctl.MAC{}
	told, leases := map[netctl.MAC]bool{}, map[netctl.MAC]bool{}
	for _, l := range o.Leases {
		leased[l.Addr], leases[l.MAC] = l.MAC, true
	}
	for addr, h := range held {
		if m, ok := leased[addr]; ok && m == h.MAC {
			continue
		}
		host := plan.Host{MAC: h.MAC, Addr: addr, Settled: t.settled(h.MAC)}
		if leases[h.MAC] {
			host = plan.Host{Addr: addr} // its lease is for another address, and remains
		} else {
			told[h.MAC] = true
		}
		all = append(all, host)
	}
	for _, l := range o.Leases {
		if t.settled(l.MAC) && !told[l.MAC] {
			all = append(all, plan.Host{MAC: l.MAC, Settled: true})
			told[l.MAC] = true
		}
	}
	slices.SortFunc(all, func(x, y plan.Host) int {
		return cmp.Or(x.Addr.Compare(y.Addr), slices.Compare(x.MAC[:], y.MAC[:]))
	})
	return all
}

// probes returns the addresses to probe, within the rate limit: those of bound devices whose time is nearly up, and of strangers,
// in round robin over the ports.
func (t *Table) probes(held map[netip.Addr]netctl.Binding, o Observation) (ask []netip.Addr) {
	add := func(a netip.Addr, port int, again time.Duration) {
		if _, did := t.pending[a]; !did && t.tokens >= 1 {
			t.tokens--
			t.pending[a] = pendingProbe{port, o.Now.Add(again)}
			ask = append(ask, a)
		}
	}
	byPort := map[int][]netip.Addr{}
	for _, s := range o.UnknownSources {
		if _, taken := held[s.Addr]; !taken && t.assignable(s.Addr) && t.countAddresses(s.MAC, held) < maxAddresses && t.countProbed(s.Port) < maxProbed {
			byPort[s.Port] = append(byPort[s.Port], s.Addr)
		}
	}
	ports := slices.Sorted(maps.Keys(byPort))
	for turn := 0; len(ports) > 0; turn++ {
		ports = slices.DeleteFunc(ports, func(p int) bool { return len(byPort[p]) <= turn })
		for _, p := range ports {
			add(byPort[p][turn], p, probeInterval)
		}
	}
	for _, addr := range slices.SortedFunc(maps.Keys(t.probed), netip.Addr.Compare) {
		if t.probed[addr].until.Sub(o.Now) < confirmBefore {
			add(addr, t.probed[addr].port, confirmInterval)
		}
	}
	return ask
}
