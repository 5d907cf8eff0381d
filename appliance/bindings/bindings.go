// Package bindings keeps the book of which device has which address on the hotspot: by its lease, by its session, or
// because it alone answered when the box asked who has the address. It owns that judgement, the bounds on it, and what
// dnsmasq is told so that an address in use is never leased to another. It is pure: what it knows is handed in, what is to
// be done is returned, and nothing of it outlives the process.
package bindings

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"passerelle/netctl"
	"passerelle/netctl/plan"
)

const (
	// A device that keeps its address over a power cut of the box, or has it set by hand, is asked for; each question is a
	// broadcast to everybody.
	questionsPerSecond = 5
	questionBurst      = 40
	askAgain           = 2 * time.Second  // the same address, at the earliest
	confirmAgain       = 30 * time.Second // the same known device, which may be asleep

	mostAddresses = 2  // of one device
	mostKnown     = 64 // by their answers, on a port of the hotspot: each is an address that nobody else gets

	knownFor   = 10 * time.Minute // after its last answer
	confirmAt  = 5 * time.Minute  // before that ends, it is asked again
	settleTime = 30 * time.Second // after which a device is one that stays, if it has shown that it is still there
	disputes   = 4                // after as many addresses that it and another claimed, a device's answers count no more
	disputeFor = 10 * time.Minute

	// leaseGrace is how long a lease counts that the file of leases no longer has: dnsmasq empties the file and writes it again,
	// and who reads it meanwhile sees some of it, or nothing.
	leaseGrace = 3 * time.Second

	renewal = 10 * time.Second // by which a lease ends later when it was renewed, and not because clocks drift apart
)

// Lease is an address that dnsmasq gave to a device.
type Lease struct {
	Addr netip.Addr
	MAC  netctl.MAC
	Left time.Duration
}

// Observation is what is known of the hotspot's devices at a time.
type Observation struct {
	Now       time.Time // monotonic
	Leases    []Lease
	Sessions  []netctl.Session
	Strangers []netctl.Stranger // that spoke since the last observation
	Answers   []netctl.Claim    // to questions that earlier results asked for
}

// Result is what follows from it.
type Result struct {
	Bindings []netctl.Binding // by address
	Hosts    []plan.Host      // by address and device
	Ask      []netip.Addr     // who has it?
}

// Book is the book. Make one with New.
type Book struct {
	network netip.Prefix // with the box's address
	leases  map[netip.Addr]lease
	known   map[netip.Addr]known
	seen    map[netctl.MAC]stay
	quarrel map[netctl.MAC]quarrel
	asked   map[netip.Addr]asked
	tokens  float64
	at      time.Time
}

// lease is a lease as it was last seen in the file.
type lease struct {
	mac        netctl.MAC
	ends, seen time.Time
}

// known is a device that answered for an address.
type known struct {
	mac   netctl.MAC
	port  int // that it was first heard from
	until time.Time
}

// asked is a question that is not asked again for a while.
type asked struct {
	port  int // of who made it be asked
	until time.Time
}

// stay is since when, and when last, a device had an address, and whether it has shown meanwhile that it is still there: a
// made-up device need not be there to have a lease.
type stay struct {
	first, last time.Time
	shown       bool
}

// quarrel lists addresses that a device claimed beside another one.
type quarrel struct {
	addrs []netip.Addr
	until time.Time
}

// New returns an empty book for a network, which is given with the box's address.
func New(network netip.Prefix) *Book {
	return &Book{
		network: network,
		leases:  map[netip.Addr]lease{},
		known:   map[netip.Addr]known{},
		seen:    map[netctl.MAC]stay{},
		quarrel: map[netctl.MAC]quarrel{},
		asked:   map[netip.Addr]asked{},
		tokens:  questionBurst,
	}
}

// Update takes an observation and returns what follows.
func (b *Book) Update(o Observation) Result {
	b.pass(o.Now)
	o.Leases = b.current(o)
	held := b.held(o)
	for _, a := range o.Answers {
		b.learn(a, held, o.Now)
	}
	for addr, k := range b.known {
		if h, ok := held[addr]; ok && h.MAC != k.mac {
			delete(b.known, addr) // leased to another since
		} else if !ok {
			held[addr] = netctl.Binding{Addr: addr, MAC: k.mac, Left: k.until.Sub(o.Now)}
		}
	}
	b.settle(held, o)
	return Result{Bindings: b.bindings(held, o), Hosts: b.hosts(held, o), Ask: b.questions(held, o)}
}

// pass forgets what is over.
func (b *Book) pass(now time.Time) {
	if !b.at.IsZero() {
		b.tokens = min(questionBurst, b.tokens+now.Sub(b.at).Seconds()*questionsPerSecond)
	}
	b.at = now
	maps.DeleteFunc(b.known, func(_ netip.Addr, k known) bool { return !k.until.After(now) })
	maps.DeleteFunc(b.asked, func(_ netip.Addr, a asked) bool { return !a.until.After(now) })
	maps.DeleteFunc(b.quarrel, func(_ netctl.MAC, q quarrel) bool { return !q.until.After(now) })
	maps.DeleteFunc(b.seen, func(_ netctl.MAC, s stay) bool { return now.Sub(s.last) > knownFor })
}

// current returns the leases that count: those of the file, and those that it had a moment ago, unless their devices have
// others.
func (b *Book) current(o Observation) (all []Lease) {
	has := map[netctl.MAC]bool{}
	for _, l := range o.Leases {
		if b.possible(l.Addr) && l.Left > 0 {
			ends := o.Now.Add(l.Left)
			// It was renewed, or is one that only a device gets that stays.
			before := b.leases[l.Addr]
			if before.mac == l.MAC && ends.Sub(before.ends) > renewal || plan.FirstLease(l.Left) < l.Left {
				b.show(l.MAC)
			}
			b.leases[l.Addr] = lease{l.MAC, ends, o.Now}
			has[l.MAC] = true
		}
	}
	maps.DeleteFunc(b.leases, func(_ netip.Addr, l lease) bool {
		return !l.ends.After(o.Now) || o.Now.Sub(l.seen) >= leaseGrace || l.seen.Before(o.Now) && has[l.mac]
	})
	for addr, l := range b.leases {
		all = append(all, Lease{Addr: addr, MAC: l.mac, Left: l.ends.Sub(o.Now)})
	}
	return all
}

// held returns what leases and sessions say, by address.
func (b *Book) held(o Observation) map[netip.Addr]netctl.Binding {
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

// possible tells whether an address may be a resident's.
func (b *Book) possible(a netip.Addr) bool {
	n := b.network.Masked()
	return n.Contains(a) && a != b.network.Addr() && a != n.Addr() && n.Contains(a.Next()) && plan.Resident(n, a)
}

// learn takes an answer.
func (b *Book) learn(a netctl.Claim, held map[netip.Addr]netctl.Binding, now time.Time) {
	if !b.possible(a.Addr) {
		return
	}
	here, isKnown := b.known[a.Addr]
	holder, isHeld := held[a.Addr]
	if isHeld && (!isKnown || !slices.Contains(a.MACs, holder.MAC)) {
		return // what else gives the address to its device need not be answered for
	}
	claims := slices.DeleteFunc(slices.Clone(a.MACs), func(m netctl.MAC) bool {
		// No device has an address of a group (IEEE 802, 8.2.2), nor none.
		return m[0]&1 != 0 || m == netctl.MAC{} || len(b.quarrel[m].addrs) >= disputes ||
			m != here.mac && b.addresses(m, held) >= mostAddresses
	})
	port := b.asked[a.Addr].port
	switch {
	case isKnown && slices.Contains(claims, here.mac): // who was there first, and still is, stays
		b.known[a.Addr] = known{here.mac, here.port, now.Add(knownFor)}
		b.show(here.mac)
	case !isKnown && len(claims) == 1 && b.knownOn(port) < mostKnown:
		b.known[a.Addr] = known{claims[0], port, now.Add(knownFor)}
		b.show(claims[0])
	}
	if len(claims) > 1 {
		for _, m := range claims {
			if m != here.mac {
				b.dispute(m, a.Addr, now)
			}
		}
	}
}

// dispute notes that a device claimed an address beside another one.
func (b *Book) dispute(m netctl.MAC, addr netip.Addr, now time.Time) {
	q := b.quarrel[m]
	if !slices.Contains(q.addrs, addr) {
		q.addrs = append(q.addrs, addr)
	}
	q.until = now.Add(disputeFor)
	b.quarrel[m] = q
}

// addresses counts a device's.
func (b *Book) addresses(m netctl.MAC, held map[netip.Addr]netctl.Binding) (n int) {
	for _, h := range held {
		if h.MAC == m {
			n++
		}
	}
	for addr, k := range b.known {
		if _, ok := held[addr]; !ok && k.mac == m {
			n++
		}
	}
	return n
}

// knownOn counts the addresses that devices on a port have by their answers.
func (b *Book) knownOn(port int) (n int) {
	for _, k := range b.known {
		if k.port == port {
			n++
		}
	}
	return n
}

// show notes that a device is there.
func (b *Book) show(m netctl.MAC) {
	s := b.seen[m]
	s.shown = true
	b.seen[m] = s
}

// settle notes who has been here for how long.
func (b *Book) settle(held map[netip.Addr]netctl.Binding, o Observation) {
	for _, h := range held {
		s := b.seen[h.MAC]
		if s.first.IsZero() {
			s.first = o.Now
		}
		s.last = o.Now
		b.seen[h.MAC] = s
	}
	for _, x := range o.Sessions { // who pressed need not wait
		if s, ok := b.seen[x.MAC]; ok {
			b.seen[x.MAC] = stay{s.last.Add(-settleTime), s.last, true}
		}
	}
}

func (b *Book) settled(m netctl.MAC) bool {
	s, ok := b.seen[m]
	return ok && s.shown && s.last.Sub(s.first) >= settleTime
}

func (b *Book) bindings(held map[netip.Addr]netctl.Binding, o Observation) []netctl.Binding {
	online := map[netip.Addr]bool{}
	for _, s := range o.Sessions {
		online[s.Addr] = true
	}
	leased := map[netip.Addr]bool{}
	for _, l := range o.Leases {
		leased[l.Addr] = true
	}
	// Of a device's addresses, the first in this order is the one it has essential services from.
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
		h.Settled, h.Extra = b.settled(h.MAC), has[h.MAC]
		has[h.MAC] = true
		all = append(all, h)
	}
	slices.SortFunc(all, func(x, y netctl.Binding) int { return x.Addr.Compare(y.Addr) })
	return all
}

// hosts returns what dnsmasq must know: which addresses are taken although it did not lease them, and whose lease is long.
func (b *Book) hosts(held map[netip.Addr]netctl.Binding, o Observation) (all []plan.Host) {
	leased := map[netip.Addr]netctl.MAC{}
	told, leases := map[netctl.MAC]bool{}, map[netctl.MAC]bool{}
	for _, l := range o.Leases {
		leased[l.Addr], leases[l.MAC] = l.MAC, true
	}
	for addr, h := range held {
		if m, ok := leased[addr]; ok && m == h.MAC {
			continue
		}
		host := plan.Host{MAC: h.MAC, Addr: addr, Settled: b.settled(h.MAC)}
		if leases[h.MAC] {
			host = plan.Host{Addr: addr} // its lease is for another address, and stays so
		} else {
			told[h.MAC] = true
		}
		all = append(all, host)
	}
	for _, l := range o.Leases {
		if b.settled(l.MAC) && !told[l.MAC] {
			all = append(all, plan.Host{MAC: l.MAC, Settled: true})
			told[l.MAC] = true
		}
	}
	slices.SortFunc(all, func(x, y plan.Host) int {
		return cmp.Or(x.Addr.Compare(y.Addr), slices.Compare(x.MAC[:], y.MAC[:]))
	})
	return all
}

// questions returns whom to ask for, as far as the bound allows: known devices whose time is nearly up, and strangers, of
// whom each port has its turn.
func (b *Book) questions(held map[netip.Addr]netctl.Binding, o Observation) (ask []netip.Addr) {
	add := func(a netip.Addr, port int, again time.Duration) {
		if _, did := b.asked[a]; !did && b.tokens >= 1 {
			b.tokens--
			b.asked[a] = asked{port, o.Now.Add(again)}
			ask = append(ask, a)
		}
	}
	byPort := map[int][]netip.Addr{}
	for _, s := range o.Strangers {
		if _, taken := held[s.Addr]; !taken && b.possible(s.Addr) && b.addresses(s.MAC, held) < mostAddresses && b.knownOn(s.Port) < mostKnown {
			byPort[s.Port] = append(byPort[s.Port], s.Addr)
		}
	}
	ports := slices.Sorted(maps.Keys(byPort))
	for turn := 0; len(ports) > 0; turn++ {
		ports = slices.DeleteFunc(ports, func(p int) bool { return len(byPort[p]) <= turn })
		for _, p := range ports {
			add(byPort[p][turn], p, askAgain)
		}
	}
	for _, addr := range slices.SortedFunc(maps.Keys(b.known), netip.Addr.Compare) {
		if b.known[addr].until.Sub(o.Now) < confirmAt {
			add(addr, b.known[addr].port, confirmAgain)
		}
	}
	return ask
}
