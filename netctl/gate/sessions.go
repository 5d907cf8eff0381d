package gate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"passerelle/netctl"
)

// session is an authorized session.
type session struct {
	netctl.Session
	ends    time.Time // by the monotonic clock
	start   uint64    // the byte counter's value when the device's usage was Used
	counter uint64    // its last value read: if the sets are flushed, the session continues from it
}

// used returns the usage of the session's device at a value of its counter.
func (s session) used(counter uint64) uint64 { return s.Used + counter - min(s.start, counter) }

// residents maps residents' addresses to their devices.
type residents map[netip.Addr]netctl.MAC

// applySessions makes the sets match the sessions. The first call adopts the sessions from the sets instead.
func (g *Gate) applySessions(dumps map[string]setDump) (changes []string, err error) {
	clients, accounting := dumps[netctl.SetClients].entries, dumps[netctl.SetAccounting].entries
	if !g.applied && len(g.sessions) == 0 {
		g.adoptUsage(dumps)
		for addr, w := range clients {
			if c, ok := accounting[addr]; ok {
				g.sessions[addr] = g.adopted(w, c, g.usage)
			}
		}
	}
	now := g.now()
	ended := residents{}
	for addr, s := range g.sessions {
		if !s.ends.After(now) {
			g.saveFinalUsage(s) // repairUsage writes it to the kernel
			ended[addr] = s.MAC
			delete(g.sessions, addr)
		}
	}
	var todo []request
	for addr, s := range g.sessions {
		left := s.ends.Sub(now)
		if left < 2*time.Second {
			continue // the kernel, which counts in seconds, may have ended it already
		}
		w, c := clients[addr], accounting[addr]
		if c.class != g.classID(addr) || c.mark != netctl.MarkAuthorized || !sameTimeout(c.timeout, left) {
			s.counter = max(s.counter, c.bytes)
			g.sessions[addr] = s
			todo = append(todo, g.putAccountingEntry(s, left))
		}
		if w.mac != s.MAC || w.mark != netctl.MarkAuthorized || !sameTimeout(w.timeout, left) {
			todo = append(todo, g.putClientEntry(s, left))
		}
	}
	todo = append(todo, g.repairUsage(dumps[netctl.SetUsage].entries)...)
	todo = append(todo, g.repairSlow(dumps[netctl.SetSlow].entries, now)...)
	restored := len(todo)
	for set, entries := range map[string]map[netip.Addr]entry{netctl.SetClients: clients, netctl.SetAccounting: accounting} {
		for addr := range entries {
			if _, ok := g.sessions[addr]; !ok {
				todo = append(todo, deleteEntry(g.sets[set], addr))
			}
		}
	}
	if len(todo)+len(ended) > 0 {
		changes = append(changes, fmt.Sprintf("ipset: %d sessions ended, %d entries restored, %d removed",
			len(ended), restored, len(todo)-restored))
	}
	return changes, errors.Join(g.netfilter.do(todo...), g.freeClasses(ended), g.dropFlows(ended))
}

// sameTimeout tells whether the kernel's timeout is a session's, apart from rounding and clock drift.
func sameTimeout(kernel, left time.Duration) bool { return (kernel - left).Abs() < 10*time.Second }

// adopted makes a session from the kernel's entries. Without a usage entry the day has ended, and the device's usage is 0.
func (g *Gate) adopted(client, accounting entry, day map[netctl.MAC]usage) session {
	s := session{Session: netctl.Session{Addr: client.addr, MAC: client.mac, Left: min(client.timeout, accounting.timeout)}}
	s.start, s.counter = accounting.bytes, accounting.bytes
	if u, ok := day[client.mac]; ok {
		s.Used, s.start = u.bytes, min(u.counter, accounting.bytes)
	}
	s.ends = g.now().Add(s.Left)
	s.Data, s.Spent = dataLeft(accounting.bytes)
	return s
}

// dataLeft interprets a session's byte counter. A counter in the lower half started at 0, without a limit.
func dataLeft(counter uint64) (left uint64, spent bool) {
	switch {
	case counter < netctl.CountLimit/2:
		return netctl.Unlimited, false
	case counter >= netctl.CountLimit:
		return 0, true
	}
	return netctl.CountLimit - counter, false
}

func (g *Gate) classID(addr netip.Addr) uint32 {
	return handle(uint16(netctl.AddrOffset(g.sets[netctl.SetAccounting].Network, addr)))
}

func (g *Gate) putAccountingEntry(s session, left time.Duration) request {
	return putEntry(g.sets[netctl.SetAccounting], entry{
		addr: s.Addr, timeout: left, bytes: s.counter, mark: netctl.MarkAuthorized, class: g.classID(s.Addr),
	})
}

func (g *Gate) putClientEntry(s session, left time.Duration) request {
	return putEntry(g.sets[netctl.SetClients], entry{addr: s.Addr, mac: s.MAC, timeout: left, mark: netctl.MarkAuthorized})
}

// Authorize implements netctl.Gate.
func (g *Gate) Authorize(s netctl.Session) error {
	if err := g.authorize(s); err != nil {
		return fmt.Errorf("authorize a session: %w", err)
	}
	return nil
}

func (g *Gate) authorize(s netctl.Session) error {
	if !g.applied {
		return errors.New("no plan has been applied yet")
	}
	if s.Left <= 0 {
		return errors.New("it has ended already")
	}
	network := g.plan.Hotspot.Address.Masked()
	if !network.Contains(s.Addr) || s.Addr == g.plan.Hotspot.Address.Addr() || s.Addr == network.Addr() ||
		s.Addr == netctl.LastAddr(network) || netctl.AddrOffset(network, s.Addr) >= netctl.MinorFirst {
		return errors.New("its address is not a resident's on the hotspot")
	}
	x := session{Session: s, ends: g.now().Add(s.Left)}
	if s.Data < netctl.Unlimited {
		x.start = netctl.CountLimit - s.Data
	}
	x.counter = x.start
	_, running := g.sessions[s.Addr]
	g.sessions[s.Addr] = x
	g.cached.forget()
	if !running {
		if err := g.addResident(s.Addr); err != nil {
			delete(g.sessions, s.Addr)
			return errors.Join(err, g.freeClasses(residents{s.Addr: s.MAC}))
		}
	}
	// They are sent together, so that a daemon that crashes leaves all of them behind or none.
	day, err := g.saveUsage(s.MAC, s.Used, x.start)
	if err == nil {
		todo := []request{day, g.putAccountingEntry(x, s.Left), g.putClientEntry(x, s.Left)}
		if g.slow() {
			todo = append(todo, g.putSlowEntry(s.Addr, s.Left))
		}
		err = g.netfilter.do(todo...)
	}
	if err != nil {
		return errors.Join(err, g.End(s.Addr))
	}
	// A device that asks for a session already has a binding. The next Bind extends it to the session's end, for all new
	// sessions in one transaction, since each takes the kernel milliseconds.
	if b, ok := g.bound[s.Addr]; !ok || b.MAC != s.MAC || b.ends.Before(g.now().Add(maxDrift)) {
		if _, err := g.bind(nil); err != nil {
			return errors.Join(err, g.End(s.Addr))
		}
	}
	return nil
}

// End implements netctl.Gate.
func (g *Gate) End(addr netip.Addr) error {
	ended := residents{}
	s, ok := g.sessions[addr]
	delete(g.sessions, addr)
	if !g.applied {
		return nil
	}
	g.cached.forget()
	todo := []request{
		deleteEntry(g.sets[netctl.SetClients], addr), deleteEntry(g.sets[netctl.SetAccounting], addr),
		deleteEntry(g.sets[netctl.SetSlow], addr),
	}
	if ok {
		ended[addr] = s.MAC
		todo = append(todo, g.saveFinalUsage(s)...)
	}
	err := errors.Join(
		g.netfilter.do(todo...),
		g.freeClasses(ended), g.dropFlows(ended),
	)
	if err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

// Sessions implements netctl.Gate.
func (g *Gate) Sessions() ([]netctl.Session, error) {
	sets, err := g.dumpSets()
	return g.sessionsIn(sets), err
}

// dumpSets reads our bitmaps that exist.
func (g *Gate) dumpSets() (map[string]setDump, error) {
	sets := map[string]setDump{}
	for _, name := range []string{netctl.SetClients, netctl.SetAccounting, netctl.SetSlow, netctl.SetUsage} {
		l, ok, err := g.dumpSet(name, true)
		if err != nil {
			return nil, err
		}
		if ok {
			sets[name] = l
		}
	}
	return sets, nil
}

func (g *Gate) sessionsIn(sets map[string]setDump) (all []netctl.Session) {
	day := g.usage
	if !g.applied {
		day = usageIn(sets)
	}
	for addr, w := range sets[netctl.SetClients].entries {
		c, ok := sets[netctl.SetAccounting].entries[addr]
		if !ok {
			continue
		}
		s := g.adopted(w, c, day)
		if known, ok := g.sessions[addr]; ok && known.MAC == s.MAC {
			s.Used, s.start = known.Used, known.start
		}
		s.Used = s.used(c.bytes)
		all = append(all, s.Session)
	}
	slices.SortFunc(all, func(a, b netctl.Session) int { return a.Addr.Compare(b.Addr) })
	return all
}
