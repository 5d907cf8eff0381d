package gate

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"passerelle/netctl"
)

// usage is what a device used today, as the kernel remembers it when the daemon is dead. Each device has a place in a
// bitmap of the network's size, an address that means nothing else, whose timeout ends with the day. Of a device whose
// session runs the kernel knows more than is written here: what the session's counter says since.
type usage struct {
	place   netip.Addr
	bytes   uint64 // the entry's byte counter
	counter uint64 // its packet counter: what the session's byte counter said when the device had used so much
}

// wholeDay is how long the day lasts before anybody said when it is over.
const wholeDay = 24 * time.Hour

// dayIn reads from the kernel's sets what devices used.
func dayIn(sets map[string]listing) map[netctl.MAC]usage {
	day := map[netctl.MAC]usage{}
	for place, x := range sets[netctl.SetDay].entries {
		day[x.mac] = usage{place, x.bytes, x.packets}
	}
	return day
}

// adoptDay takes over what the sets hold. All entries end with the day.
func (g *Gate) adoptDay(held map[string]listing) {
	g.day, g.dayEnds = dayIn(held), g.now().Add(wholeDay)
	for _, x := range held[netctl.SetDay].entries {
		g.dayEnds = g.now().Add(x.timeout)
	}
}

// remember gives a device its place in the day, and returns the request that says so to the kernel.
func (g *Gate) remember(mac netctl.MAC, bytes, counter uint64) (r request, err error) {
	u, ok := g.day[mac]
	if !ok {
		if u.place, err = g.freePlace(); err != nil {
			return r, err
		}
	}
	u.bytes, u.counter = bytes, counter
	g.day[mac] = u
	return g.putDay(mac, u), nil
}

func (g *Gate) freePlace() (netip.Addr, error) {
	taken := make(map[netip.Addr]bool, len(g.day))
	for _, u := range g.day {
		taken[u.place] = true
	}
	network := g.sets[netctl.SetDay].Network
	for a := network.Addr(); network.Contains(a); a = a.Next() {
		if !taken[a] {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("remember what a device used: of %d devices it is remembered already", len(taken))
}

func (g *Gate) putDay(mac netctl.MAC, u usage) request {
	return putEntry(g.sets[netctl.SetDay], entry{
		addr: u.place, mac: mac, timeout: g.dayEnds.Sub(g.now()), bytes: u.bytes, packets: u.counter,
	})
}

// finish notes what the device of a session that is over has used.
func (g *Gate) finish(s session) (todo []request) {
	if u, ok := g.day[s.MAC]; ok {
		u.bytes, u.counter = s.used(s.counter), s.counter
		g.day[s.MAC] = u
		todo = append(todo, g.putDay(s.MAC, u))
	}
	return todo
}

// repairDay returns what makes the kernel's entries those of the day.
func (g *Gate) repairDay(entries map[netip.Addr]entry) (todo []request) {
	left := g.dayEnds.Sub(g.now())
	if left < 2*time.Second {
		return nil // the kernel's clock of seconds may have ended it already
	}
	places := make(map[netip.Addr]bool, len(g.day))
	for mac, u := range g.day {
		places[u.place] = true
		if x := entries[u.place]; x.mac != mac || x.bytes != u.bytes || x.packets != u.counter || !near(x.timeout, left) {
			todo = append(todo, g.putDay(mac, u))
		}
	}
	for place := range entries {
		if !places[place] {
			todo = append(todo, deleteEntry(g.sets[netctl.SetDay], place))
		}
	}
	return todo
}

// Remember implements netctl.Gate. Of a running session the kernel is told again when the counter no longer tells the
// rest, or when much was counted since.
func (g *Gate) Remember(used map[netctl.MAC]uint64, left time.Duration) error {
	if !g.applied {
		return errors.New("remember what devices used: no plan has been applied yet")
	}
	if ends := g.now().Add(left); !near(ends.Sub(g.dayEnds), 0) {
		g.dayEnds = ends // the entries follow at the next Apply
	}
	running := make(map[netctl.MAC]uint64, len(g.sessions)) // counters
	for addr, s := range g.sessions {
		if n := used[s.MAC]; n != s.used(s.counter) {
			s.Used, s.start = n, s.counter
			g.sessions[addr] = s
		}
		running[s.MAC] = s.counter
	}
	var todo []request
	for mac, u := range g.day {
		_, runs := running[mac]
		if _, ok := used[mac]; !ok && !runs {
			delete(g.day, mac)
			todo = append(todo, deleteEntry(g.sets[netctl.SetDay], u.place))
		}
	}
	var errs []error
	note := func(mac netctl.MAC, n, counter uint64) {
		r, err := g.remember(mac, n, counter)
		if err != nil {
			errs = append(errs, err)
			return
		}
		todo = append(todo, r)
	}
	for mac, counter := range running {
		n := used[mac]
		u, ok := g.day[mac]
		if !ok || u.bytes+counter-u.counter != n || n-u.bytes >= netctl.Forgotten {
			note(mac, n, counter)
		}
	}
	for mac, n := range used {
		if _, runs := running[mac]; !runs {
			if u, ok := g.day[mac]; !ok || u.bytes != n {
				note(mac, n, 0)
			}
		}
	}
	if len(todo) > 0 {
		g.seen.forget()
		if err := g.netfilter.do(todo...); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Remembered implements netctl.Gate.
func (g *Gate) Remembered() (map[netctl.MAC]uint64, error) {
	sets, err := g.lists()
	if err != nil {
		return nil, err
	}
	used := map[netctl.MAC]uint64{}
	for mac, u := range dayIn(sets) {
		used[mac] = u.bytes
	}
	for _, s := range g.sessionsIn(sets) {
		used[s.MAC] = s.Used
	}
	return used, nil
}
