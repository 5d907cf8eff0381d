package gate

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"passerelle/netctl"
)

// usage is a device's usage of today, which the kernel keeps while no daemon runs. Each device has a slot in a bitmap of the network's
// size: an address without other meaning, whose timeout ends with the day. While a device has a session, the session's counter holds
// the bytes since then.
type usage struct {
	slot    netip.Addr
	bytes   uint64 // the entry's byte counter
	counter uint64 // its packet counter, which holds the value of the session's byte counter at that usage
}

// defaultPeriod is how long the day lasts until its end is set.
const defaultPeriod = 24 * time.Hour

// usageIn reads devices' usage from the kernel's sets.
func usageIn(sets map[string]setDump) map[netctl.MAC]usage {
	day := map[netctl.MAC]usage{}
	for place, x := range sets[netctl.SetUsage].entries {
		day[x.mac] = usage{place, x.bytes, x.packets}
	}
	return day
}

// adoptUsage adopts the usage in the sets. All entries end with the day.
func (g *Gate) adoptUsage(dumps map[string]setDump) {
	g.usage, g.usageEnds = usageIn(dumps), g.now().Add(defaultPeriod)
	for _, x := range dumps[netctl.SetUsage].entries {
		g.usageEnds = g.now().Add(x.timeout)
	}
}

// saveUsage sets a device's usage, in a new slot if it has none, and returns the request for the kernel.
func (g *Gate) saveUsage(mac netctl.MAC, bytes, counter uint64) (r request, err error) {
	u, ok := g.usage[mac]
	if !ok {
		if u.slot, err = g.freeSlot(); err != nil {
			return r, err
		}
	}
	u.bytes, u.counter = bytes, counter
	g.usage[mac] = u
	return g.putUsageEntry(mac, u), nil
}

func (g *Gate) freeSlot() (netip.Addr, error) {
	taken := make(map[netip.Addr]bool, len(g.usage))
	for _, u := range g.usage {
		taken[u.slot] = true
	}
	network := g.sets[netctl.SetUsage].Network
	for a := network.Addr(); network.Contains(a); a = a.Next() {
		if !taken[a] {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("save a device's usage: no slot is free, %d are in use", len(taken))
}

func (g *Gate) putUsageEntry(mac netctl.MAC, u usage) request {
	return putEntry(g.sets[netctl.SetUsage], entry{
		addr: u.slot, mac: mac, timeout: g.usageEnds.Sub(g.now()), bytes: u.bytes, packets: u.counter,
	})
}

// saveFinalUsage records the usage of an ended session's device.
func (g *Gate) saveFinalUsage(s session) (todo []request) {
	if u, ok := g.usage[s.MAC]; ok {
		u.bytes, u.counter = s.used(s.counter), s.counter
		g.usage[s.MAC] = u
		todo = append(todo, g.putUsageEntry(s.MAC, u))
	}
	return todo
}

// repairUsage returns the requests that correct the kernel's entries.
func (g *Gate) repairUsage(entries map[netip.Addr]entry) (todo []request) {
	left := g.usageEnds.Sub(g.now())
	if left < 2*time.Second {
		return nil // the kernel, which counts in seconds, may have ended it already
	}
	places := make(map[netip.Addr]bool, len(g.usage))
	for mac, u := range g.usage {
		places[u.slot] = true
		if x := entries[u.slot]; x.mac != mac || x.bytes != u.bytes || x.packets != u.counter || !sameTimeout(x.timeout, left) {
			todo = append(todo, g.putUsageEntry(mac, u))
		}
	}
	for place := range entries {
		if !places[place] {
			todo = append(todo, deleteEntry(g.sets[netctl.SetUsage], place))
		}
	}
	return todo
}

// SaveUsage implements netctl.Gate. For a running session it writes the entry again if the counter alone no longer gives the usage, or
// if much was counted since.
func (g *Gate) SaveUsage(used map[netctl.MAC]uint64, left time.Duration) error {
	if !g.applied {
		return errors.New("save usage: no plan has been applied yet")
	}
	if ends := g.now().Add(left); !sameTimeout(ends.Sub(g.usageEnds), 0) {
		g.usageEnds = ends // the next Apply corrects the entries
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
	for mac, u := range g.usage {
		_, runs := running[mac]
		if _, ok := used[mac]; !ok && !runs {
			delete(g.usage, mac)
			todo = append(todo, deleteEntry(g.sets[netctl.SetUsage], u.slot))
		}
	}
	var errs []error
	note := func(mac netctl.MAC, n, counter uint64) {
		r, err := g.saveUsage(mac, n, counter)
		if err != nil {
			errs = append(errs, err)
			return
		}
		todo = append(todo, r)
	}
	for mac, counter := range running {
		n := used[mac]
		u, ok := g.usage[mac]
		if !ok || u.bytes+counter-u.counter != n || n-u.bytes >= netctl.UsageLag {
			note(mac, n, counter)
		}
	}
	for mac, n := range used {
		if _, runs := running[mac]; !runs {
			if u, ok := g.usage[mac]; !ok || u.bytes != n {
				note(mac, n, 0)
			}
		}
	}
	if len(todo) > 0 {
		g.cached.forget()
		if err := g.netfilter.do(todo...); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// SavedUsage implements netctl.Gate.
func (g *Gate) SavedUsage() (map[netctl.MAC]uint64, error) {
	sets, err := g.dumpSets()
	if err != nil {
		return nil, err
	}
	used := map[netctl.MAC]uint64{}
	for mac, u := range usageIn(sets) {
		used[mac] = u.bytes
	}
	for _, s := range g.sessionsIn(sets) {
		used[s.MAC] = s.Used
	}
	return used, nil
}
