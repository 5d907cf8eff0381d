package appliance

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl"
)

// Handover is what a daemon that is stopped leaves for the next one.
type Handover struct {
	Sessions []netctl.Session `json:"sessions"`
	Used     []DeviceUsage    `json:"used"` // also by devices without a session
	Day      time.Duration    `json:"day"`  // until Used expires
}

// DeviceUsage is what a device used in a day.
type DeviceUsage struct {
	MAC   netctl.MAC `json:"mac"`
	Bytes uint64     `json:"bytes"`
}

// After returns what is still valid after the elapsed time.
func (a Handover) After(elapsed time.Duration) (left Handover) {
	if left.Day = a.Day - elapsed; left.Day > 0 {
		left.Used = a.Used
	}
	for _, s := range a.Sessions {
		if s.Left -= elapsed; s.Left > 0 {
			left.Sessions = append(left.Sessions, s)
		}
	}
	return left
}

// pendingHandover is what the last daemon left, until it has been restored.
type pendingHandover struct {
	day      time.Time // the last daemon's current day
	handover Handover
	since    time.Time // when this daemon started
	restored bool
}

// ready tells whether restore has been called.
func (r *residents) ready() bool { return r.pending.restored }

// restore restores sessions and usage: from the kernel after a crash, and from the handover after a stop. Until it has been
// called, nobody is authorized and usage is not saved, since the kernel's copy is better. It returns whether the day of that
// usage is over, so that resetUsage is due.
func (r *residents) restore(remembered map[netctl.MAC]uint64) (over bool) {
	p := &r.pending
	p.restored = true
	for mac, bytes := range remembered {
		r.recordUsage(mac, bytes)
	}
	now := r.now()
	left := p.handover.After(now.Sub(p.since))
	p.handover = Handover{}
	slices.SortFunc(left.Used, func(x, y DeviceUsage) int { return cmp.Compare(x.Bytes, y.Bytes) })
	for _, u := range left.Used {
		r.recordUsage(u.MAC, max(r.usage[u.MAC], u.Bytes))
	}
	for _, k := range left.Sessions {
		if _, ok := r.sessions[k.Addr]; ok || k.Spent && r.limits.After == 0 {
			continue
		}
		k.Used = r.usage[k.MAC]
		if _, err := r.install(r.adopt(k, now)); err != nil {
			r.problem(state.KernelFails, err)
			continue
		}
		r.recordUsage(k.MAC, k.Used)
	}
	return !p.day.IsZero() && r.day.current.After(p.day)
}

// handOver returns the handover for the next daemon: the kernel's sessions and the usage of devices. A daemon that has
// restored nothing passes on the usage that the kernel remembers.
func (r *residents) handOver(kernel []netctl.Session, remembered map[netctl.MAC]uint64) Handover {
	used := maps.Clone(r.usage)
	if !r.ready() { // pass on what earlier daemons left
		used = maps.Clone(remembered)
	}
	if used == nil {
		used = map[netctl.MAC]uint64{}
	}
	before := r.pending.handover.After(r.now().Sub(r.pending.since))
	a := Handover{Sessions: kernel, Used: before.Used, Day: r.day.remaining()}
	for _, s := range kernel {
		used[s.MAC] = s.Used
	}
	for mac, bytes := range used {
		a.Used = append(a.Used, DeviceUsage{mac, bytes})
	}
	for _, s := range before.Sessions {
		if !slices.ContainsFunc(kernel, func(x netctl.Session) bool { return x.Addr == s.Addr }) {
			a.Sessions = append(a.Sessions, s)
		}
	}
	return a
}
