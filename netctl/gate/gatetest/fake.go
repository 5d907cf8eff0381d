package gatetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"passerelle/netctl"
)

// Fake is an in-memory kernel, for tests without root and packets. It stores what a gate applies as text, so that a test can read it,
// break it and compare it. It is safe for concurrent use.
type Fake struct {
	mu        sync.Mutex
	now       func() time.Time
	objects   map[string]bool // lines of a plan's text
	cap       string          // the quota chain in use
	egress    string          // of residents' packets; "" for none
	sessions  map[netip.Addr]fakeSession
	usage     map[netctl.MAC]usage
	classes   map[string]bool
	tranches  []netctl.TrancheUsage
	neighbors map[netip.Addr]netctl.MAC
	bindings  map[netip.Addr]netctl.Binding
	strangers []netctl.UnknownSource
	fail      error

	broadcasts map[string]uint64 // bytes, by the uplink's interface
	slow       uint64            // bit/s for sessions whose data is used up; 0 lets nothing pass
	lanes      map[netip.Addr]lane
	rates      map[string]uint64 // of shapers whose total can change, by device
	backlogs   map[string]uint64 // bytes, by device
}

// lane is a resident's slow lane: a token bucket of one second.
type lane struct {
	bytes uint64
	at    time.Time
}

type fakeSession struct {
	netctl.Session
	ends    time.Time
	given   uint64
	counted uint64 // bytes since it was authorized
	start   uint64 // the value of counted when the device's usage was Used
}

// used returns the usage of the session's device at a value of its counter.
func (s fakeSession) used(counted uint64) uint64 { return s.Used + counted - s.start }

// usage is a device's usage of today, and its session's counter at that usage.
type usage struct {
	bytes, counted uint64
	ends           time.Time
}

// NewFake returns an empty kernel with the clock now. Its neighbour table is empty.
func NewFake(now func() time.Time) *Fake {
	return &Fake{
		now:       now,
		objects:   map[string]bool{},
		sessions:  map[netip.Addr]fakeSession{},
		usage:     map[netctl.MAC]usage{},
		classes:   map[string]bool{},
		neighbors: map[netip.Addr]netctl.MAC{},
		bindings:  map[netip.Addr]netctl.Binding{},

		broadcasts: map[string]uint64{},
		lanes:      map[netip.Addr]lane{},
		rates:      map[string]uint64{},
		backlogs:   map[string]uint64{},
	}
}

// Gate returns a gate on the kernel. A second gate stands for that of the next daemon, after the first one crashed.
func (k *Fake) Gate() netctl.Gate { return &fakeGate{Fake: k} }

// String returns the kernel's state, sorted: the plan's objects, the sessions and their classes, the devices with usage, and the
// tranches. It contains no times and no counts.
func (k *Fake) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	lines := slices.Collect(maps.Keys(k.objects))
	for addr, s := range k.sessions {
		if k.running(s) {
			lines = append(lines, fmt.Sprintf("ipset add %s %s,%s", netctl.SetClients, addr, s.MAC))
		}
	}
	for mac := range k.savedUsage() {
		lines = append(lines, fmt.Sprintf("ipset add %s %s", netctl.SetUsage, mac))
	}
	lines = slices.AppendSeq(lines, maps.Keys(k.classes))
	slices.Sort(lines)
	for _, t := range k.tranches {
		lines = append(lines, fmt.Sprintf("iptables -t filter -A %s -m quota --quota %d # %d", t.Chain, t.Bytes, t.ID))
	}
	return strings.Join(lines, "\n")
}

// SetNeighbor sets the hardware address of an address on the hotspot.
func (k *Fake) SetNeighbor(addr netip.Addr, mac netctl.MAC) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.neighbors[addr] = mac
}

// Rate returns the rate that Gate.SetRate set last on a device, in bit/s.
func (k *Fake) Rate(device string) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rates[device]
}

// SetBacklog sets the bytes that wait in the shaper on a device.
func (k *Fake) SetBacklog(device string, bytes uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.backlogs[device] = bytes
}

// Speak simulates that a device uses an address. Unless the address is bound to it, the gate reports it.
func (k *Fake) Speak(s netctl.UnknownSource) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bindings[s.Addr].MAC != s.MAC {
		k.strangers = append(k.strangers, s)
	}
}

// Bindings returns the bindings, by address.
func (k *Fake) Bindings() []netctl.Binding {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.SortedFunc(maps.Values(k.bindings), func(a, b netctl.Binding) int { return a.Addr.Compare(b.Addr) })
}

// Fail makes every later call of Apply fail, until Fail is called with nil.
func (k *Fake) Fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = err
}

// Remove removes the plan's objects whose text contains a string, as another program might, and returns how many it removed.
func (k *Fake) Remove(part string) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, all := range []map[string]bool{k.objects, k.classes} {
		maps.DeleteFunc(all, func(line string, _ bool) bool {
			gone := strings.Contains(line, part)
			if gone {
				n++
			}
			return gone
		})
	}
	return n
}

// Flush empties the sets, as another program might.
func (k *Fake) Flush() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.sessions)
	clear(k.usage)
}

// Pass sends packets from a resident to the internet, that many bytes in total, and returns how many bytes passed.
func (k *Fake) Pass(addr netip.Addr, bytes uint64) (passed uint64) {
	const packet = 1000
	k.mu.Lock()
	defer k.mu.Unlock()
	for range (bytes + packet - 1) / packet {
		s, ok := k.sessions[addr]
		if !ok || !k.running(s) || k.egress == "" {
			return passed
		}
		s.counted += packet
		s.Data = left(s.given, s.counted)
		s.Spent = s.Data == 0
		k.sessions[addr] = s
		if (!s.Spent || k.takeSlow(addr, packet)) && k.charge(packet) {
			passed += packet
		}
	}
	return passed
}

// takeSlow takes bytes from the resident's slow lane, and tells whether it had enough.
func (k *Fake) takeSlow(addr netip.Addr, bytes uint64) bool {
	l, now := k.lanes[addr], k.now()
	if second := k.slow / 8; now.Sub(l.at) >= time.Second {
		l.bytes = second
	} else {
		l.bytes = min(second, l.bytes+uint64(now.Sub(l.at).Seconds()*float64(second)))
	}
	l.at = now
	ok := l.bytes >= bytes
	if ok {
		l.bytes -= bytes
	}
	k.lanes[addr] = l
	return ok
}

// Broadcast sends bytes from a host in an uplink's own network, to everybody on it or only to the box.
func (k *Fake) Broadcast(ifname string, bytes uint64, all bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if all && k.counts(ifname) {
		k.broadcasts[ifname] += bytes
	}
}

// counts tells whether there is a rule that counts the uplink's broadcasts.
func (k *Fake) counts(ifname string) bool {
	for object := range k.objects {
		if strings.Contains(object, netctl.CommentBroadcasts+ifname+" ") {
			return true
		}
	}
	return false
}

// left returns how many of the given bytes are left.
func left(given, used uint64) uint64 {
	if given >= netctl.Unlimited {
		return netctl.Unlimited
	}
	return given - min(given, used)
}

// charge charges a packet to the first tranche that has enough left.
func (k *Fake) charge(bytes uint64) bool {
	for i, t := range k.tranches {
		if t.Chain != k.cap {
			continue
		}
		if t.Bytes >= netctl.Unlimited || t.Used+bytes <= t.Bytes {
			k.tranches[i].Used += bytes
			return true
		}
	}
	return false
}

func (k *Fake) running(s fakeSession) bool { return s.ends.After(k.now()) }

// savedUsage returns the usage entries that have not expired, plus the bytes of running sessions since.
func (k *Fake) savedUsage() map[netctl.MAC]uint64 {
	used := map[netctl.MAC]uint64{}
	for mac, u := range k.usage {
		if u.ends.After(k.now()) {
			used[mac] = u.bytes
		}
	}
	for _, s := range k.sessions {
		if n, ok := used[s.MAC]; ok && k.running(s) {
			used[s.MAC] = n + s.counted - k.usage[s.MAC].counted
		} else if k.running(s) {
			used[s.MAC] = 0 // its day has ended
		}
	}
	return used
}

// fakeGate is a gate on a fake kernel, with what it last applied.
type fakeGate struct {
	*Fake
	plan    netctl.Plan
	wanted  map[string]bool // the lines of plan
	applied bool
	known   map[netip.Addr]fakeSession // as authorized: a flushed set is refilled from it
	usage   map[netctl.MAC]usage       // likewise
	ends    time.Time                  // of the day
}

func (g *fakeGate) Apply(_ context.Context, p netctl.Plan) (changes []string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail != nil {
		return nil, fmt.Errorf("apply the plan: %w", g.fail)
	}
	if !g.applied {
		g.adopt()
	}
	if g.wanted == nil || !reflect.DeepEqual(p, g.plan) {
		g.wanted = map[string]bool{}
		for line := range strings.Lines(p.String()) {
			g.wanted[strings.TrimSpace(line)] = true
		}
	}
	g.plan, g.applied, g.cap, g.egress, g.slow = p, true, p.Cap, p.Egress, p.Class.Slow
	for addr, s := range g.known {
		if !g.running(s) {
			g.finish(addr)
		} else if _, ok := g.sessions[addr]; !ok {
			g.sessions[addr] = s
			changes = append(changes, fmt.Sprintf("ipset add %s %s,%s", netctl.SetClients, addr, s.MAC))
		}
	}
	maps.DeleteFunc(g.sessions, func(addr netip.Addr, _ fakeSession) bool { _, ok := g.known[addr]; return !ok })
	changes = append(changes, g.repairUsage()...)
	changes = append(changes, replace(g.objects, g.wanted)...)
	maps.DeleteFunc(g.broadcasts, func(ifname string, _ uint64) bool { return !g.counts(ifname) })
	return append(changes, replace(g.classes, g.wantedClasses())...), nil
}

// adopt adopts the state that another gate left.
func (g *fakeGate) adopt() {
	g.known, g.usage, g.ends = maps.Clone(g.sessions), maps.Clone(g.Fake.usage), g.now().Add(24*time.Hour)
	for mac, u := range g.usage {
		if !u.ends.After(g.now()) {
			delete(g.usage, mac)
			continue
		}
		g.ends = u.ends
	}
	for addr, s := range g.known {
		s.Used, s.start = 0, s.counted // its day has ended
		if u, ok := g.usage[s.MAC]; ok {
			s.Used, s.start = u.bytes, u.counted
		}
		g.known[addr] = s
	}
}

func (g *fakeGate) SetRate(device string, rate uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.plan.Shapers {
		if s.Device == device && s.Floor != 0 {
			g.rates[device] = max(s.Floor, min(s.Total, rate))
		}
	}
	return nil
}

func (g *fakeGate) ShaperLoad(device string) (netctl.ShaperLoad, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return netctl.ShaperLoad{Backlog: g.backlogs[device]}, nil
}

func (g *fakeGate) wantedClasses() map[string]bool {
	want := map[string]bool{}
	for addr := range g.known {
		for _, s := range g.plan.Shapers {
			want[fmt.Sprintf("tc class add dev %s for %s ceil %d, slow %d", s.Device, addr, s.Each(g.plan.Class), g.plan.Class.Slow)] = true
		}
	}
	return want
}

// replace makes have equal to want, and returns the changes.
func replace(have, want map[string]bool) (changes []string) {
	for line := range want {
		if !have[line] {
			have[line] = true
			changes = append(changes, line)
		}
	}
	for line := range have {
		if !want[line] {
			delete(have, line)
			changes = append(changes, "undo: "+line)
		}
	}
	slices.Sort(changes)
	return changes
}

func (g *fakeGate) Authorize(s netctl.Session) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	network := g.plan.Hotspot.Address
	switch {
	case !g.applied:
		return errors.New("authorize a session: no plan has been applied yet")
	case s.Left <= 0:
		return errors.New("authorize a session: it has ended already")
	case !network.Masked().Contains(s.Addr) || s.Addr == network.Addr() || s.Addr == network.Masked().Addr() ||
		!network.Masked().Contains(s.Addr.Next()):
		return errors.New("authorize a session: its address is not a resident's on the hotspot")
	}
	if err := g.saveUsage(s.MAC, s.Used, 0); err != nil {
		return fmt.Errorf("authorize a session: %w", err)
	}
	s.Spent = s.Data == 0
	x := fakeSession{Session: s, ends: g.now().Add(s.Left), given: s.Data}
	g.sessions[s.Addr], g.known[s.Addr] = x, x
	replace(g.classes, g.wantedClasses())
	return nil
}

func (g *fakeGate) End(addr netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.finish(addr)
	replace(g.classes, g.wantedClasses())
	return nil
}

func (g *fakeGate) Sessions() (all []netctl.Session, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var used map[netctl.MAC]uint64
	if !g.applied {
		used = g.savedUsage()
	}
	for _, s := range g.sessions {
		if g.running(s) {
			s.Left = s.ends.Sub(g.now()).Truncate(time.Second)
			if s.Used = used[s.MAC]; g.applied {
				s.Used = g.known[s.Addr].used(s.counted)
			}
			all = append(all, s.Session)
		}
	}
	slices.SortFunc(all, func(a, b netctl.Session) int { return a.Addr.Compare(b.Addr) })
	return all, nil
}

// finish ends a session, and saves its device's usage.
func (g *fakeGate) finish(addr netip.Addr) {
	if s, ok := g.known[addr]; ok {
		g.usage[s.MAC] = usage{bytes: s.used(s.counted), ends: g.ends}
		g.Fake.usage[s.MAC] = g.usage[s.MAC]
	}
	delete(g.sessions, addr)
	delete(g.known, addr)
}

// saveUsage saves a device's usage, if there is room.
func (g *fakeGate) saveUsage(mac netctl.MAC, bytes, counted uint64) error {
	if _, ok := g.usage[mac]; !ok && len(g.usage) >= 1<<(32-g.plan.Hotspot.Address.Bits()) {
		return errors.New("save a device's usage: no slot is free")
	}
	g.usage[mac] = usage{bytes, counted, g.ends}
	g.Fake.usage[mac] = g.usage[mac]
	return nil
}

// repairUsage restores the kernel's usage entries.
func (g *fakeGate) repairUsage() (changes []string) {
	for mac, u := range g.usage {
		if u.ends = g.ends; g.Fake.usage[mac] != u && g.ends.After(g.now()) {
			g.usage[mac], g.Fake.usage[mac] = u, u
			changes = append(changes, fmt.Sprintf("ipset add %s %s", netctl.SetUsage, mac))
		}
	}
	return changes
}

func (g *fakeGate) SaveUsage(used map[netctl.MAC]uint64, left time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.applied {
		return errors.New("save usage: no plan has been applied yet")
	}
	g.ends = g.now().Add(left)
	running := map[netctl.MAC]bool{}
	var errs []error
	for addr, s := range g.known {
		running[s.MAC] = true
		if n := used[s.MAC]; n != s.used(s.counted) {
			s.Used, s.start = n, s.counted
			g.known[addr] = s
		}
	}
	for mac := range g.usage {
		if _, ok := used[mac]; !ok && !running[mac] {
			delete(g.usage, mac)
			delete(g.Fake.usage, mac)
		}
	}
	for _, s := range g.known {
		n := used[s.MAC]
		if u, ok := g.usage[s.MAC]; !ok || u.bytes+s.counted-u.counted != n || n-u.bytes >= netctl.UsageLag {
			errs = append(errs, g.saveUsage(s.MAC, n, s.counted))
		}
	}
	for mac, n := range used {
		if u, ok := g.usage[mac]; !running[mac] && (!ok || u.bytes != n) {
			errs = append(errs, g.saveUsage(mac, n, 0))
		}
	}
	return errors.Join(errs...)
}

func (g *fakeGate) SavedUsage() (map[netctl.MAC]uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.savedUsage(), nil
}

func (g *fakeGate) Grant(_ context.Context, t netctl.Tranche) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.applied {
		return fmt.Errorf("grant %d bytes: no plan has been applied yet", t.Bytes)
	}
	for _, s := range g.tranches {
		if s.Tranche == t {
			return nil
		}
	}
	// A tranche is used up when the next one has been charged.
	spent := map[netctl.Tranche]bool{}
	var before netctl.TrancheUsage
	for _, s := range g.tranches {
		if s.Chain != t.Chain {
			continue
		}
		spent[before.Tranche] = s.Used > 0
		before = s
	}
	g.tranches = slices.DeleteFunc(g.tranches, func(s netctl.TrancheUsage) bool { return spent[s.Tranche] })
	g.tranches = append(g.tranches, netctl.TrancheUsage{Tranche: t})
	return nil
}

func (g *fakeGate) Revoke(_ context.Context, chain string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tranches = slices.DeleteFunc(g.tranches, func(s netctl.TrancheUsage) bool { return s.Chain == chain })
	return nil
}

func (g *fakeGate) ReadCounters() (s netctl.Counters, err error) {
	s.Sessions, err = g.Sessions()
	g.mu.Lock()
	defer g.mu.Unlock()
	for addr, was := range g.known {
		if now, ok := g.sessions[addr]; ok {
			now.Used, now.start = was.Used, was.start
			g.known[addr] = now
		}
	}
	s.Tranches = slices.Clone(g.tranches)
	slices.SortStableFunc(s.Tranches, func(a, b netctl.TrancheUsage) int { return cmp.Compare(a.Chain, b.Chain) })
	return s, err
}

func (g *fakeGate) Broadcasts() (map[string]uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.broadcasts), nil
}

func (g *fakeGate) Neighbor(addr netip.Addr) (netctl.MAC, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	mac, ok := g.neighbors[addr]
	if !ok {
		return mac, errors.New("ask the neighbour table: no hardware address")
	}
	return mac, nil
}

func (g *fakeGate) Bind(all []netctl.Binding) (changed int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	bound := map[netip.Addr]netctl.Binding{}
	for _, b := range all {
		bound[b.Addr] = b
		if have, ok := g.bindings[b.Addr]; !ok || have.MAC != b.MAC || have.Settled != b.Settled || have.Secondary != b.Secondary {
			changed++
		}
	}
	g.bindings = bound
	return changed, nil
}

func (g *fakeGate) UnknownSources() (all []netctl.UnknownSource, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all, g.strangers = g.strangers, nil
	return all, nil
}

// Queue returns "": a fake kernel has no queues.
func (g *fakeGate) Queue() string { return "" }

func (g *fakeGate) Close(context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.objects)
	clear(g.sessions)
	clear(g.Fake.usage)
	clear(g.classes)
	clear(g.bindings)
	clear(g.broadcasts)
	g.tranches, g.cap, g.egress, g.applied, g.known, g.usage = nil, "", "", false, nil, nil
	return nil
}
