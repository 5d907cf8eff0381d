// Package gate carries a netctl.Plan out on the kernel: addresses, ipsets, iptables, routing rules, HTB. It owns every
// kernel object whose name begins with ours and is the only user of iptables, ipsets and queues. It must not know why a
// session or a tranche is given, nor keep anything on disk.
//
// [Gate.Apply] is level-triggered. What is cheap to look at is looked at in every round (addresses, sets, rules, routes);
// what is not is looked at when it may have changed: the firewall when the ruleset's generation moved on, the classes
// when [Gate.Disturbed] was called after another's change.
package gate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// Gate is the kernel. Make one with New.
type Gate struct {
	links     *vnl.Handle
	netfilter *wire
	route     *wire
	packets   int // a socket for packets that go straight to an interface: see nudge
	now       func() time.Time

	plan        netctl.Plan
	applied     bool
	hotspot     int // the kernel's number of its interface, when it was last read
	sets        map[string]netctl.Set
	sessions    map[netip.Addr]session
	day         map[netctl.MAC]usage
	dayEnds     time.Time
	firewall    firewallState
	ports       []port                 // that residents' frames come in by
	filters     map[string]filterState // by family
	bindings    map[netip.Addr]binding // as Bind was told
	bound       map[netip.Addr]binding // what the kernel was last made to hold; nil: not known
	unlisted    map[bindingOf]bool     // what the kernel bound itself that Bind, when last called, did not list
	stale       []bindingOf            // of those, the ones that ended for it since Strangers was last called
	unbound     []bindingOf            // what Bind was told no longer, until the kernel has forgotten it
	filtersSeen uint32                 // the ruleset's generation when the filters were last checked
	tranches    []netctl.Spent
	shaped      map[string]shaped // by device
	leaf        string            // kind of leaf queue that this kernel has; "" until tried
	memory      memory            // what was before us
	way         string            // the way out, by which residents' connections have gone so far
	seen        seen

	broadcasts map[lanCounter]uint64 // bytes, as they were last read

	disturbed atomic.Bool
}

var _ netctl.Gate = (*Gate)(nil)

// session is a session as admitted.
type session struct {
	netctl.Session
	ends    time.Time // by the monotonic clock
	start   uint64    // the byte counter's value when the device had used Used
	counter uint64    // its value when it was last read: should the sets be flushed, the session goes on from there
}

// used returns what the session's device has used today when its counter has a value.
func (s session) used(counter uint64) uint64 { return s.Used + counter - min(s.start, counter) }

// residents are some residents' addresses with their devices.
type residents map[netip.Addr]netctl.MAC

// seen is what Read saw of the sets. The Apply that follows at once need not list them again.
type seen struct {
	sets map[string]listing
	at   time.Time
}

// fresh is how long it may be relied upon.
const fresh = 100 * time.Millisecond

func (s *seen) forget() { s.sets = nil }

// take returns a set, which is then forgotten.
func (s *seen) take(name string, now time.Time) (l listing, ok bool) {
	l, ok = s.sets[name]
	delete(s.sets, name)
	return l, ok && now.Sub(s.at) < fresh
}

// shaped is what a device's tree was last made for.
type shaped struct {
	link  int
	spec  string
	share int // the number of sessions that everybody's share was made for, as a power of two; 0: not everybody has it
}

// New opens the kernel's sockets in the caller's network namespace. It fails where the gate could not hold its promises:
// without the right to change the network, or with iptables' legacy backend.
func New(ctx context.Context, now func() time.Time) (*Gate, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("change the network: %w: run it as root", os.ErrPermission)
	}
	if err := checkBackend(ctx); err != nil {
		return nil, err
	}
	g := &Gate{
		now:      now,
		sets:     map[string]netctl.Set{},
		sessions: map[netip.Addr]session{},
		day:      map[netctl.MAC]usage{},
		shaped:   map[string]shaped{},
		filters:  map[string]filterState{},
		unlisted: map[bindingOf]bool{},
		memory:   memory{},

		broadcasts: map[lanCounter]uint64{},
	}
	var err error
	if g.links, err = vnl.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER); err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if g.netfilter, err = dial(unix.NETLINK_NETFILTER); err != nil {
		g.links.Close()
		return nil, err
	}
	if g.route, err = dial(unix.NETLINK_ROUTE); err != nil {
		g.links.Close()
		g.netfilter.close()
		return nil, err
	}
	// Of no protocol, so that it receives nothing. It stays open: the kernel takes 10 ms to close one (synchronize_net in
	// packet_release of net/packet/af_packet.c), and everybody who presses a button would wait behind that.
	if g.packets, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		g.links.Close()
		g.netfilter.close()
		g.route.close()
		return nil, fmt.Errorf("open a socket for packets: %w", err)
	}
	return g, nil
}

// Disturbed tells the gate that somebody changed queues or classes: the next Apply looks at them. It may be called from
// any goroutine.
func (g *Gate) Disturbed() { g.disturbed.Store(true) }

// Port returns the netlink port of the gate's own changes to queues and classes: a watcher who tells of them by Disturbed
// would have the gate look at what it did itself.
func (g *Gate) Port() uint32 { return g.route.port }

// Leaf returns the kind of the residents' queues, "" before the first one.
func (g *Gate) Leaf() string { return g.leaf }

// Apply implements netctl.Gate. What limits comes before what lets through, and forwarding is switched on last.
func (g *Gate) Apply(ctx context.Context, p netctl.Plan) (changes []string, err error) {
	note := func(more []string, e error) bool {
		changes = append(changes, more...)
		err = e
		return e == nil
	}
	apply := func() bool {
		if !g.applied {
			if err = g.recall(); err != nil {
				return false
			}
		}
		link, more, err := g.applyHotspot(p.Hotspot)
		if !note(more, err) {
			return false
		}
		g.hotspot = link.Attrs().Index
		held, more, err := g.applySets(ctx, p.Sets)
		if !note(more, err) {
			return false
		}
		g.plan = p
		if !note(g.applySessions(held)) || !note(g.applyShapers()) {
			return false
		}
		// The filters come first: some parameters are not there before something tracks connections.
		if !note(g.applyFilters(ctx, p.Filters)) {
			return false
		}
		parameters, err := g.readSysctls(p.Sysctls)
		ok := note(nil, err) &&
			note(g.applyTables(ctx, g.memory.addTo(p.Tables))) &&
			note(g.applyRules(p.Rules)) &&
			note(g.applyRoutes(p.Routes)) &&
			note(g.writeSysctls(parameters))
		if ok && p.Way != g.way {
			if g.way != "" {
				ok = note(nil, g.cutAll())
			}
			g.way = p.Way
		}
		return ok
	}
	if !apply() {
		return changes, fmt.Errorf("apply the plan: %w", err)
	}
	g.applied = true
	return changes, nil
}

// applySets makes the sets that are missing, and returns what the sets hold. One of another shape is remade, which needs
// the rules that name it gone.
func (g *Gate) applySets(ctx context.Context, want []netctl.Set) (held map[string]listing, changes []string, err error) {
	held = map[string]listing{}
	for _, w := range want {
		have, ok := g.seen.take(w.Name, g.now())
		if !ok {
			if have, ok, err = g.list(w.Name, w.Bitmap()); err != nil {
				return nil, changes, err
			}
		}
		if ok && have.set != w {
			// The quotas stay, and PAS-PAID, which their rules name.
			keep := func(chain string) bool { return isQuota(chain) || chain == netctl.ChainPaid }
			if err := errors.Join(g.removeTables(ctx, keep), g.destroySet(ctx, w.Name)); err != nil {
				return nil, changes, err
			}
			if w.Bitmap() {
				g.sessions, g.day = map[netip.Addr]session{}, map[netctl.MAC]usage{}
			}
			ok, have = false, listing{}
			changes = append(changes, "ipset destroy "+w.Name)
		}
		if !ok {
			if err := g.createSet(w); err != nil {
				return nil, changes, err
			}
			changes = append(changes, w.String())
		}
		g.sets[w.Name] = w
		held[w.Name] = have
	}
	return held, changes, nil
}

// applySessions makes the sets hold the sessions and nothing else. The first time it is the other way round: what the
// sets hold are the sessions.
func (g *Gate) applySessions(held map[string]listing) (changes []string, err error) {
	who, class := held[netctl.SetWho].entries, held[netctl.SetClass].entries
	if !g.applied && len(g.sessions) == 0 {
		g.adoptDay(held)
		for addr, w := range who {
			if c, ok := class[addr]; ok {
				g.sessions[addr] = g.adopted(w, c, g.day)
			}
		}
	}
	now := g.now()
	ended := residents{}
	for addr, s := range g.sessions {
		if !s.ends.After(now) {
			g.finish(s) // the repair of the day tells the kernel
			ended[addr] = s.MAC
			delete(g.sessions, addr)
		}
	}
	var todo []request
	for addr, s := range g.sessions {
		left := s.ends.Sub(now)
		if left < 2*time.Second {
			continue // the kernel's clock of seconds may have ended it already
		}
		w, c := who[addr], class[addr]
		if c.class != g.classID(addr) || c.mark != netctl.MarkAdmitted || !near(c.timeout, left) {
			s.counter = max(s.counter, c.bytes)
			g.sessions[addr] = s
			todo = append(todo, g.putClassEntry(s, left))
		}
		if w.mac != s.MAC || w.mark != netctl.MarkAdmitted || !near(w.timeout, left) {
			todo = append(todo, g.putWho(s, left))
		}
	}
	todo = append(todo, g.repairDay(held[netctl.SetDay].entries)...)
	restored := len(todo)
	for set, entries := range map[string]map[netip.Addr]entry{netctl.SetWho: who, netctl.SetClass: class} {
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
	return changes, errors.Join(g.netfilter.do(todo...), g.freeClasses(ended), g.cut(ended))
}

// near tells whether a timeout of the kernel's is a session's, but for whole seconds and clocks that drift apart.
func near(kernel, left time.Duration) bool { return (kernel - left).Abs() < 10*time.Second }

// adopted makes a session of what the kernel's sets hold. Without a memory of the day its device has used nothing: that
// day is over.
func (g *Gate) adopted(who, class entry, day map[netctl.MAC]usage) session {
	s := session{Session: netctl.Session{Addr: who.addr, MAC: who.mac, Left: min(who.timeout, class.timeout)}}
	s.start, s.counter = class.bytes, class.bytes
	if u, ok := day[who.mac]; ok {
		s.Used, s.start = u.bytes, min(u.counter, class.bytes)
	}
	s.ends = g.now().Add(s.Left)
	s.Data, s.Spent = dataLeft(class.bytes)
	return s
}

// dataLeft reads a session's byte counter. A counter in the lower half was started at 0, without a bound.
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
	return handle(uint16(offset(g.sets[netctl.SetClass].Network, addr)))
}

func (g *Gate) putClassEntry(s session, left time.Duration) request {
	return putEntry(g.sets[netctl.SetClass], entry{
		addr: s.Addr, timeout: left, bytes: s.counter, mark: netctl.MarkAdmitted, class: g.classID(s.Addr),
	})
}

func (g *Gate) putWho(s session, left time.Duration) request {
	return putEntry(g.sets[netctl.SetWho], entry{addr: s.Addr, mac: s.MAC, timeout: left, mark: netctl.MarkAdmitted})
}

// Admit implements netctl.Gate.
func (g *Gate) Admit(s netctl.Session) error {
	if err := g.admit(s); err != nil {
		return fmt.Errorf("admit a session: %w", err)
	}
	return nil
}

func (g *Gate) admit(s netctl.Session) error {
	if !g.applied {
		return errors.New("no plan has been applied yet")
	}
	if s.Left <= 0 {
		return errors.New("it has ended already")
	}
	network := g.plan.Hotspot.Address.Masked()
	if !network.Contains(s.Addr) || s.Addr == g.plan.Hotspot.Address.Addr() || s.Addr == network.Addr() ||
		s.Addr == lastAddr(network) || offset(network, s.Addr) >= netctl.MinorFirst {
		return errors.New("its address is not a resident's on the hotspot")
	}
	x := session{Session: s, ends: g.now().Add(s.Left)}
	if s.Data < netctl.Unlimited {
		x.start = netctl.CountLimit - s.Data
	}
	x.counter = x.start
	_, running := g.sessions[s.Addr]
	g.sessions[s.Addr] = x
	g.seen.forget()
	if !running {
		if err := g.addResident(s.Addr); err != nil {
			delete(g.sessions, s.Addr)
			return errors.Join(err, g.freeClasses(residents{s.Addr: s.MAC}))
		}
	}
	// They are sent at once, so that a daemon which dies leaves all of them or none.
	day, err := g.remember(s.MAC, s.Used, x.start)
	if err == nil {
		err = g.netfilter.do(day, g.putClassEntry(x, s.Left), g.putWho(x, s.Left))
	}
	if err != nil {
		return errors.Join(err, g.End(s.Addr))
	}
	// A device that pressed had its address bound to it before. That it stays so for as long as the session is written with the
	// next Bind, for all who pressed at once: the kernel takes milliseconds for it.
	if b, ok := g.bound[s.Addr]; !ok || b.MAC != s.MAC || b.ends.Before(g.now().Add(late)) {
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
	g.seen.forget()
	todo := []request{deleteEntry(g.sets[netctl.SetWho], addr), deleteEntry(g.sets[netctl.SetClass], addr)}
	if ok {
		ended[addr] = s.MAC
		todo = append(todo, g.finish(s)...)
	}
	err := errors.Join(
		g.netfilter.do(todo...),
		g.freeClasses(ended), g.cut(ended),
	)
	if err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

// freeClasses deletes residents' classes on all devices.
func (g *Gate) freeClasses(of residents) error {
	var todo []request
	for name, s := range g.shaped {
		for addr := range of {
			todo = append(todo, device{name, s.link}.deleteClass(uint16(g.classID(addr))))
		}
	}
	return g.route.do(todo...)
}

// Sessions implements netctl.Gate.
func (g *Gate) Sessions() ([]netctl.Session, error) {
	sets, err := g.lists()
	return g.sessionsIn(sets), err
}

// lists lists our bitmaps, as far as they are there.
func (g *Gate) lists() (map[string]listing, error) {
	sets := map[string]listing{}
	for _, name := range []string{netctl.SetWho, netctl.SetClass, netctl.SetDay} {
		l, ok, err := g.list(name, true)
		if err != nil {
			return nil, err
		}
		if ok {
			sets[name] = l
		}
	}
	return sets, nil
}

func (g *Gate) sessionsIn(sets map[string]listing) (all []netctl.Session) {
	day := g.day
	if !g.applied {
		day = dayIn(sets)
	}
	for addr, w := range sets[netctl.SetWho].entries {
		c, ok := sets[netctl.SetClass].entries[addr]
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

// Read implements netctl.Gate.
func (g *Gate) Read() (s netctl.Sample, err error) {
	sets, err := g.lists()
	if err != nil {
		return s, err
	}
	g.seen = seen{sets, g.now()}
	s.Sessions = g.sessionsIn(sets)
	for _, x := range s.Sessions {
		if known, ok := g.sessions[x.Addr]; ok {
			known.counter = max(known.start, sets[netctl.SetClass].entries[x.Addr].bytes)
			g.sessions[x.Addr] = known
		}
	}
	rules, err := g.rules(unix.AF_INET, "filter", g.quotaChains()...)
	if err != nil {
		return s, err
	}
	g.notice(rules)
	s.Tranches = slices.Clone(g.tranches)
	s.Tracked, err = readNumber("net/netfilter/nf_conntrack_max")
	return s, err
}

// applyShapers drives the queues of all devices: those in the plan have ours, no other has.
func (g *Gate) applyShapers() (changes []string, err error) {
	look := g.disturbed.Swap(false) || !g.applied
	defer func() {
		if err != nil && look {
			g.disturbed.Store(true) // not all has been looked at
		}
	}()
	share := powerOfTwo(max(8, len(g.sessions)))
	minors := g.minors()
	now := map[string]shaped{}
	for _, s := range g.plan.Shapers {
		d := device{s.Device, g.hotspot}
		if s.Device != g.plan.Hotspot.Name {
			link, err := g.links.LinkByName(s.Device)
			if err != nil {
				return changes, fmt.Errorf("shape %s: %w", s.Device, err)
			}
			d.link = link.Attrs().Index
		}
		want := shaped{link: d.link, spec: fmt.Sprint(s, g.plan.Class), share: share}
		now[s.Device] = want
		if !look && g.shaped[s.Device] == want {
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
	if look {
		roots, err := g.roots()
		if err != nil {
			return changes, err
		}
		for _, link := range roots {
			gone[fmt.Sprintf("number %d", link)] = shaped{link: link}
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
		r := device{name, s.link}.deleteRoot()
		if err := g.route.do(r); err != nil {
			return changes, err
		}
		changes = append(changes, r.deed)
	}
	return changes, nil
}

// minors returns the class numbers of the sessions.
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

// addResident gives a new resident its classes. Should there be more residents than the shares were made for, the next
// Apply makes them anew; until then the newcomers have the share of a full house each, so that all together never exceed
// the total.
func (g *Gate) addResident(addr netip.Addr) error {
	full := 2 << (32 - g.plan.Hotspot.Address.Bits())
	return g.putClasses(func(leaf string) (todo []request) {
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
			_, c := wantedClasses(s, g.plan.Class, share)
			if c.ceil == 0 {
				continue
			}
			c.minor = uint16(g.classID(addr))
			d := device{s.Device, have.link}
			// A class that is left over from the address's last session may have another's rates and a full queue.
			todo = append(todo, d.deleteClass(c.minor), d.putClass(c), d.putLeaf(c, leaf))
		}
		return todo
	})
}

// Neighbor implements netctl.Gate.
func (g *Gate) Neighbor(addr netip.Addr) (mac netctl.MAC, err error) {
	all, err := g.neighbors(addr)
	if err != nil {
		return mac, err
	}
	mac, ok := all[addr]
	if !ok {
		return mac, errors.New("ask the neighbour table: no hardware address")
	}
	return mac, nil
}

// neighborHeader is struct ndmsg about the hotspot.
func (g *Gate) neighborHeader(state uint16) []byte {
	header := make([]byte, 12)
	header[0] = unix.AF_INET
	binary.NativeEndian.PutUint32(header[4:], uint32(g.hotspot))
	binary.NativeEndian.PutUint16(header[8:], state)
	return header
}

// neighbors returns the devices that the kernel knows on the hotspot, or the one that has the address.
func (g *Gate) neighbors(of netip.Addr) (residents, error) {
	header, flags := g.neighborHeader(0), unix.NLM_F_DUMP
	var which []byte
	if of.IsValid() {
		which, flags = attr(unix.NDA_DST, of.AsSlice()), 0
	}
	bodies, err := g.route.get(unix.RTM_GETNEIGH, flags, header, which)
	if err != nil {
		return nil, fmt.Errorf("ask the neighbour table: %w", err)
	}
	all := residents{}
	for _, m := range bodies {
		if len(m) < len(header) || binary.NativeEndian.Uint32(m[4:]) != uint32(g.hotspot) {
			continue
		}
		var addr netip.Addr
		var mac netctl.MAC
		known := false
		for kind, value := range attrs(after(len(header), m)) {
			switch {
			case kind == unix.NDA_DST:
				addr, _ = netip.AddrFromSlice(value)
			case kind == unix.NDA_LLADDR && len(value) == len(mac):
				mac, known = netctl.MAC(value), true
			}
		}
		if known {
			all[addr] = mac
		}
	}
	return all, nil
}

// Close implements netctl.Gate. It goes on after an error, so that as little as possible is left.
func (g *Gate) Close(ctx context.Context) error {
	var errs []error
	try := func(err error) { errs = append(errs, err) }
	if !g.applied {
		try(g.recall())
	}
	// Forwarding ends first, if it was not on before.
	parameters, err := g.readSysctls(nil)
	try(err)
	_, err = g.writeSysctls(parameters)
	try(err)
	try(g.removeTables(ctx, func(string) bool { return false }))
	try(g.removeFilters(ctx))
	_, err = g.applyRules(nil)
	try(err)
	_, err = g.applyRoutes(nil)
	try(err)
	try(g.forgetConnections())
	for _, name := range []string{netctl.SetWho, netctl.SetClass, netctl.SetDay, netctl.SetEssential} {
		try(g.destroySet(ctx, name))
	}
	roots, err := g.roots()
	try(err)
	for _, link := range roots {
		try(g.route.do(device{fmt.Sprintf("number %d", link), link}.deleteRoot()))
	}
	try(g.restoreHotspot())
	try(g.removeBridge())
	g.applied = false
	g.links.Close()
	g.netfilter.close()
	g.route.close()
	try(unix.Close(g.packets))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}
