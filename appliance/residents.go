package appliance

import (
	"maps"
	"math"
	"net/netip"
	"sync"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/ledger"
	"passerelle/appliance/state"
	"passerelle/netctl"
)

// minShare is the minimum change of a share, in bytes, that is applied to a running session.
const minShare = 1 << 20

// sessionGate is what residents need of netctl.Gate.
type sessionGate interface {
	Authorize(s netctl.Session) error
	End(addr netip.Addr) error
	SaveUsage(used map[netctl.MAC]uint64, left time.Duration) error
}

// residents are the devices of the hotspot: their sessions, what each used today, the day itself, and the last daemon's
// handover. They decide who is authorized with how much data, and call the gate. They know neither donations nor States:
// what there is to share is passed in as a ledger.Sharing. Sessions may be read from any goroutine, the rest belongs to the
// loop's.
type residents struct {
	gate    sessionGate
	now     func() time.Time // measures sessions
	problem report           // records errors that stop nothing

	limits     config.Limits
	maxDevices int                   // with a usage record
	usage      map[netctl.MAC]uint64 // bytes of today, of devices that asked for a session; see recordUsage
	dataLimit  config.Size           // the limit by which running sessions were last granted
	slow       bool                  // the slow lane is open, if there is one
	day        day
	pending    pendingHandover // what the last daemon left
	started    uint64          // sessions that began

	mu       sync.RWMutex // guards what follows
	sessions map[netip.Addr]session
}

// session is a resident's session.
type session struct {
	netctl.Session
	Ends   time.Time // by the monotonic clock
	Length time.Duration
}

// extendWindow is how long before its end a session can be extended.
const extendWindow = 10 * time.Minute

// Extendable tells whether Authorize extends the session: in its last ten minutes, or in the second half of one shorter than
// twenty.
func (s session) Extendable() bool { return s.Left <= min(extendWindow, s.Length/2) }

// Slow tells whether the session has used its data, and is in the slow lane.
func (s session) Slow() bool { return s.Data == 0 }

// newResidents returns the residents of a hotspot without any known device.
func newResidents(g sessionGate, now func() time.Time, problem report, left pendingHandover) *residents {
	left.since = now()
	return &residents{
		gate: g, now: now, problem: problem,
		usage:     map[netctl.MAC]uint64{},
		dataLimit: math.MaxUint64, // unknown
		slow:      true,           // until it is known
		day:       day{current: left.day},
		pending:   left,
		sessions:  map[netip.Addr]session{},
	}
}

// configure applies the limits of each resident, and the hotspot's network.
func (r *residents) configure(l config.Limits, hotspot netip.Prefix) {
	r.limits = l
	r.maxDevices = 1<<(32-hotspot.Bits()) - 3 // without the network's, the broadcast and the box's address
}

// setTime sets the time of day, in the box's zone.
func (r *residents) setTime(now time.Time, trusted bool) { r.day.now, r.day.trusted = now, trusted }

// session returns the resident's running session. It may be called from any goroutine.
func (r *residents) session(addr netip.Addr) (session, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.sessions[addr]
	if !ok {
		return s, false
	}
	s.Left = s.Ends.Sub(r.now())
	return s, s.Left > 0
}

// online returns how many sessions there are. It may be called from any goroutine.
func (r *residents) online() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.sessions)
}

// running returns the devices that have a session.
func (r *residents) running() map[netctl.MAC]bool {
	all := make(map[netctl.MAC]bool, len(r.sessions))
	for _, s := range r.sessions {
		all[s.MAC] = true
	}
	return all
}

// conflicts tells whether another session must end before the device is authorized at the address: a device has one session,
// at its last address, and an address has one session, of its last device.
func (r *residents) conflicts(addr netip.Addr, mac netctl.MAC) bool {
	for other, s := range r.sessions {
		if s.MAC == mac || other == addr {
			return true
		}
	}
	return false
}

// authorize starts a session for the device. If it conflicts, the counters must have been read. today is what there is to share.
func (r *residents) authorize(addr netip.Addr, mac netctl.MAC, today ledger.Sharing) (session, error) {
	for other, s := range maps.Clone(r.sessions) {
		if (s.MAC == mac) != (other == addr) {
			if err := r.end(other); err != nil {
				return session{}, err
			}
		}
	}
	used, came := r.usage[mac]
	if !came && r.recordUsage(mac, 0) {
		r.saveUsage() // the kernel's table is full too
	}
	here := r.running()
	here[mac] = true
	counted := r.count(today, here)
	data := remaining(counted, used)
	if data == 0 && !r.slowLane(counted) {
		return session{}, state.ErrDataSpent
	}
	_, running := r.sessions[addr]
	s, err := r.install(session{
		Session: netctl.Session{Addr: addr, MAC: mac, Left: r.limits.Session, Data: data, Used: used},
		Ends:    r.now().Add(r.limits.Session), Length: r.limits.Session,
	})
	if err == nil && !running {
		r.started++
	}
	return s, err
}

// extend gives a session the length of a new one, from now on, and the data that it had left at the last read.
func (r *residents) extend(s session) (session, error) {
	now := r.now()
	s.Left = s.Ends.Sub(now)
	if s.Left >= r.limits.Session { // the limit has changed
		return s, nil
	}
	s.Length = r.limits.Session
	s.Left, s.Ends = s.Length, now.Add(s.Length)
	return r.install(s)
}

// install installs the session in the gate, with its current limits.
func (r *residents) install(s session) (session, error) {
	if err := r.gate.Authorize(s.Session); err != nil {
		return session{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[s.Addr] = s
	return s, nil
}

func (r *residents) end(addr netip.Addr) error {
	r.mu.Lock()
	delete(r.sessions, addr)
	r.mu.Unlock()
	return r.gate.End(addr)
}

// observe updates the sessions from the kernel's. It adopts those that are unknown here: they are from before a crash.
func (r *residents) observe(kernel []netctl.Session) {
	now := r.now()
	running := make(map[netip.Addr]session, len(kernel))
	var spent []netip.Addr // sessions of which the kernel lets nothing more pass
	for _, k := range kernel {
		s, ok := r.sessions[k.Addr]
		if !ok || s.MAC != k.MAC {
			s = r.adopt(k, now)
		}
		r.recordUsage(k.MAC, k.Used)
		s.Used, s.Data = k.Used, k.Data
		if k.Spent && (r.limits.After == 0 || !r.slow) {
			spent = append(spent, k.Addr)
		}
		running[k.Addr] = s
	}
	// A session that is missing in the kernel may have been flushed by another program: the gate restores it.
	for addr, s := range r.sessions {
		if _, ok := running[addr]; !ok && s.Ends.Sub(now) > 2*time.Second {
			running[addr] = s
		}
	}
	r.mu.Lock()
	r.sessions = running
	r.mu.Unlock()
	for _, addr := range spent {
		r.problem(state.KernelFails, r.end(addr))
	}
}

// adopt continues a session of another daemon. Its original length is unknown.
func (r *residents) adopt(k netctl.Session, now time.Time) session {
	return session{Session: k, Ends: now.Add(k.Left), Length: max(r.limits.Session, k.Left)}
}

// recordUsage records what a device used today. It keeps as many records as the network has addresses. Beyond that it evicts
// the device that used least, but none with a session: spoofed devices cannot evict a heavy user. It returns whether it
// evicted one.
func (r *residents) recordUsage(mac netctl.MAC, bytes uint64) (evicted bool) {
	if _, known := r.usage[mac]; !known && len(r.usage) >= r.maxDevices {
		running := r.running()
		var least netctl.MAC
		for m, n := range r.usage {
			if !running[m] && (!evicted || n < r.usage[least]) {
				least, evicted = m, true
			}
		}
		if evicted {
			delete(r.usage, least)
		}
	}
	r.usage[mac] = bytes
	return evicted
}

// saveUsage stores the devices' usage in the kernel, for the next daemon after a crash.
func (r *residents) saveUsage() {
	if !r.ready() {
		return
	}
	r.problem(state.KernelFails, r.gate.SaveUsage(r.usage, r.day.remaining()))
}

// count adds all devices of today to the sharing, with those that are online.
func (r *residents) count(today ledger.Sharing, here map[netctl.MAC]bool) ledger.Sharing {
	for mac, used := range r.usage {
		today.Count(used, here[mac])
	}
	return today
}

// remaining returns how many bytes a resident may still use today.
func remaining(s ledger.Sharing, used uint64) uint64 {
	if s.Limit == 0 {
		return netctl.Unlimited // the kernel does not limit the resident's data
	}
	return s.Remaining(used)
}

// slowLane tells whether residents who have used their data may use the slow lane, and remembers the answer.
func (r *residents) slowLane(counted ledger.Sharing) bool {
	r.slow = counted.SlowLane()
	return r.slow && r.limits.After != 0
}

// inSlowLane returns how many sessions are in the slow lane. It may be called from any goroutine.
func (r *residents) inSlowLane() (n int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, s := range r.sessions {
		if s.Slow() {
			n++
		}
	}
	return n
}

// needsRegrant tells whether the shares of running sessions have changed: early residents leave something for late ones.
// Small changes are ignored, since each one is a message to the kernel.
func (r *residents) needsRegrant(counted ledger.Sharing) bool {
	if r.limits.Data != r.dataLimit {
		return true
	}
	slow := r.slowLane(counted)
	for _, s := range r.sessions {
		n := remaining(counted, r.usage[s.MAC])
		if s.Slow() && n == 0 && !slow {
			return true
		}
		if max(n, s.Data)-min(n, s.Data) > s.Data/8+minShare {
			return true
		}
	}
	return false
}

// regrant gives running sessions their current share of data. The counters must have been read just before, since a grant
// replaces the kernel's counter. The sessions' end stays.
func (r *residents) regrant(counted ledger.Sharing) {
	r.dataLimit = r.limits.Data
	slow := r.slowLane(counted)
	for addr, s := range maps.Clone(r.sessions) {
		s.Used = r.usage[s.MAC]
		was := s.Data
		s.Data = remaining(counted, s.Used)
		if s.Data == 0 && !slow {
			r.problem(state.KernelFails, r.end(addr))
			continue
		}
		if s.Data == 0 && was == 0 {
			continue // it is in the slow lane
		}
		s.Left = s.Ends.Sub(r.now())
		if s.Left <= 0 {
			continue
		}
		_, err := r.install(s)
		r.problem(state.KernelFails, err)
	}
}

// newDay tells whether another day has begun, so that resetUsage is due, after the counters were read. Before restore it
// returns false: restore checks this itself.
func (r *residents) newDay() bool { return r.day.advance() && r.ready() }

// resetUsage resets the usage of all devices, also of those with a session.
func (r *residents) resetUsage() {
	clear(r.usage)
	for mac := range r.running() {
		r.usage[mac] = 0
	}
	r.saveUsage()
}
