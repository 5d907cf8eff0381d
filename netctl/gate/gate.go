// Package gate carries a netctl.Plan out on the kernel: addresses, ipsets, iptables, routing rules, HTB. It owns every
// kernel object whose name begins with ours and is the only user of iptables, ipsets and queues. It must not know why a
// session or a tranche is given, nor keep anything on disk.
//
// [Gate.Apply] is level-triggered. What is cheap to look at is looked at in every round (addresses, sets, rules, routes);
// what is not is looked at when it may have changed: the firewall when the ruleset's generation moved on, the classes
// when [Gate.Disturbed] was called after a notification.
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
	netfilter wire
	route     wire
	now       func() time.Time

	plan     netctl.Plan
	applied  bool
	sets     map[string]netctl.Set
	sessions map[netip.Addr]session
	firewall firewallState
	tranches []netctl.Spent
	shaped   map[string]shaped // by device
	leaf     string            // kind of leaf queue that this kernel has; "" until tried
	memory   memory            // what was before us

	disturbed atomic.Bool
}

var _ netctl.Gate = (*Gate)(nil)

// session is a session as admitted.
type session struct {
	netctl.Session
	ends    time.Time // by the monotonic clock
	start   uint64    // the byte counter's value when it was set
	counter uint64    // its value when it was last read: should the sets be flushed, the session goes on from there
}

// shaped is what a device's tree was last made for.
type shaped struct {
	link  int
	spec  string
	share int // the number of sessions that the shares were made for, as a power of two
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
		shaped:   map[string]shaped{},
		memory:   memory{},
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
	return g, nil
}

// Disturbed tells the gate that somebody changed queues or classes: the next Apply looks at them. It may be called from
// any goroutine, and for the gate's own changes, too: they are then looked at once more.
func (g *Gate) Disturbed() { g.disturbed.Store(true) }

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
		held, more, err := g.applySets(ctx, p.Sets)
		if !note(more, err) {
			return false
		}
		closing := g.plan.Cap != "" && p.Cap == ""
		g.plan = p
		if !note(g.applySessions(held)) || !note(g.applyShapers(link)) {
			return false
		}
		parameters, err := g.readSysctls(p.Sysctls)
		ok := note(nil, err) &&
			note(g.applyTables(ctx, g.memory.addTo(p.Tables))) &&
			note(g.applyRules(p.Rules)) &&
			note(g.applyRoutes(p.Routes)) &&
			note(g.writeSysctls(parameters))
		if ok && closing {
			ok = note(nil, g.cutAll())
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
		have, ok, err := g.list(w.Name)
		if err != nil {
			return nil, changes, err
		}
		if ok && have.set != w {
			// The quotas stay, and PAS-PAID, which their rules name.
			keep := func(chain string) bool { return isQuota(chain) || chain == netctl.ChainPaid }
			if err := errors.Join(g.removeTables(ctx, keep), g.destroySet(ctx, w.Name)); err != nil {
				return nil, changes, err
			}
			g.sessions = map[netip.Addr]session{}
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
	who, class := held[netctl.SetWho].byAddr(), held[netctl.SetClass].byAddr()
	if !g.applied && len(g.sessions) == 0 {
		for addr, w := range who {
			if c, ok := class[addr]; ok {
				g.sessions[addr] = g.adopted(w, c)
			}
		}
	}
	now := g.now()
	var ended []netip.Addr
	for addr, s := range g.sessions {
		if !s.ends.After(now) {
			ended = append(ended, addr)
			delete(g.sessions, addr)
		}
	}
	restored := 0
	for addr, s := range g.sessions {
		left := s.ends.Sub(now)
		if left < 2*time.Second {
			continue // the kernel's clock of seconds may have ended it already
		}
		w, c := who[addr], class[addr]
		if c.class != g.classID(addr) || c.mark != netctl.MarkAdmitted || !near(c.timeout, left) {
			s.counter = max(s.counter, c.bytes)
			if err := g.putClassEntry(s, left); err != nil {
				return changes, err
			}
			g.sessions[addr] = s
			restored++
		}
		if w.mac != s.MAC || w.mark != netctl.MarkAdmitted || !near(w.timeout, left) {
			if err := g.putWho(s, left); err != nil {
				return changes, err
			}
			restored++
		}
	}
	removed := 0
	for set, entries := range map[string]map[netip.Addr]entry{netctl.SetWho: who, netctl.SetClass: class} {
		for addr := range entries {
			if _, ok := g.sessions[addr]; !ok {
				if err := g.remove(g.sets[set], addr); err != nil {
					return changes, err
				}
				removed++
			}
		}
	}
	for _, addr := range ended {
		if err := errors.Join(g.freeClasses(addr), g.cut(addr)); err != nil {
			return changes, err
		}
	}
	if restored+removed+len(ended) > 0 {
		changes = append(changes, fmt.Sprintf("ipset: %d sessions ended, %d entries restored, %d removed", len(ended), restored, removed))
	}
	return changes, nil
}

// near tells whether a timeout of the kernel's is a session's, but for whole seconds and clocks that drift apart.
func near(kernel, left time.Duration) bool { return (kernel - left).Abs() < 10*time.Second }

// entries lists both sets by address.
func (g *Gate) entries() (who, class map[netip.Addr]entry, err error) {
	w, _, err := g.list(netctl.SetWho)
	if err != nil {
		return nil, nil, err
	}
	c, _, err := g.list(netctl.SetClass)
	return w.byAddr(), c.byAddr(), err
}

// adopted makes a session of what the kernel's sets hold.
func (g *Gate) adopted(who, class entry) session {
	s := session{Session: netctl.Session{Addr: who.addr, MAC: who.mac, Left: min(who.timeout, class.timeout)}}
	s.start, s.counter = class.bytes, class.bytes
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

func (g *Gate) putClassEntry(s session, left time.Duration) error {
	return g.put(g.sets[netctl.SetClass], entry{
		addr: s.Addr, timeout: left, bytes: s.counter, mark: netctl.MarkAdmitted, class: g.classID(s.Addr),
	})
}

func (g *Gate) putWho(s session, left time.Duration) error {
	return g.put(g.sets[netctl.SetWho], entry{addr: s.Addr, mac: s.MAC, timeout: left, mark: netctl.MarkAdmitted})
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
		s.Addr == lastAddr(network) || offset(network, s.Addr) == netctl.MinorOwn {
		return errors.New("its address is not a resident's on the hotspot")
	}
	x := session{Session: s, ends: g.now().Add(s.Left)}
	if s.Data < netctl.Unlimited {
		x.start = netctl.CountLimit - s.Data
	}
	x.counter = x.start
	_, running := g.sessions[s.Addr]
	g.sessions[s.Addr] = x
	if !running {
		if err := g.addResident(s.Addr); err != nil {
			delete(g.sessions, s.Addr)
			return err
		}
	}
	if err := errors.Join(g.putClassEntry(x, s.Left), g.putWho(x, s.Left)); err != nil {
		return errors.Join(err, g.End(s.Addr))
	}
	return nil
}

// End implements netctl.Gate.
func (g *Gate) End(addr netip.Addr) error {
	delete(g.sessions, addr)
	if !g.applied {
		return nil
	}
	err := errors.Join(g.remove(g.sets[netctl.SetWho], addr), g.remove(g.sets[netctl.SetClass], addr), g.freeClasses(addr), g.cut(addr))
	if err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

// freeClasses deletes a resident's classes on all devices.
func (g *Gate) freeClasses(addr netip.Addr) (err error) {
	minor := uint16(g.classID(addr))
	for _, s := range g.shaped {
		err = errors.Join(err, g.deleteClass(s.link, minor))
	}
	return err
}

// Sessions implements netctl.Gate.
func (g *Gate) Sessions() ([]netctl.Session, error) {
	who, class, err := g.entries()
	if err != nil {
		return nil, err
	}
	var all []netctl.Session
	for addr, w := range who {
		c, ok := class[addr]
		if !ok {
			continue
		}
		s := g.adopted(w, c).Session
		if known, ok := g.sessions[addr]; ok && c.bytes >= known.start {
			s.Counted = c.bytes - known.start
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b netctl.Session) int { return a.Addr.Compare(b.Addr) })
	return all, nil
}

// Read implements netctl.Gate.
func (g *Gate) Read() (s netctl.Sample, err error) {
	if s.Sessions, err = g.Sessions(); err != nil {
		return s, err
	}
	for _, x := range s.Sessions {
		if known, ok := g.sessions[x.Addr]; ok {
			known.counter = known.start + x.Counted
			g.sessions[x.Addr] = known
		}
	}
	rules, err := g.rules(unix.AF_INET, "filter")
	if err != nil {
		return s, err
	}
	g.notice(rules)
	s.Tranches = slices.Clone(g.tranches)
	return s, nil
}

// applyShapers drives the queues of all devices: those in the plan have ours, no other has.
func (g *Gate) applyShapers(hotspot vnl.Link) (changes []string, err error) {
	look := g.disturbed.Swap(false) || !g.applied
	share := powerOfTwo(max(8, len(g.sessions)))
	minors := g.minors()
	now := map[string]shaped{}
	for _, s := range g.plan.Shapers {
		link := hotspot
		if s.Device != g.plan.Hotspot.Name {
			if link, err = g.links.LinkByName(s.Device); err != nil {
				return changes, fmt.Errorf("shape %s: %w", s.Device, err)
			}
		}
		want := shaped{link: link.Attrs().Index, spec: fmt.Sprint(s, g.plan.Class), share: share}
		now[s.Device] = want
		if !look && g.shaped[s.Device] == want {
			continue
		}
		more, err := g.applyShaper(want.link, s, g.plan.Class, minors)
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
			gone[fmt.Sprintf("interface %d", link)] = shaped{link: link}
		}
	}
	kept := map[int]bool{}
	for _, s := range now {
		kept[s.link] = true
	}
	for _, s := range gone {
		if kept[s.link] {
			continue
		}
		kept[s.link] = true
		if err := g.deleteRoot(s.link); err != nil {
			return changes, err
		}
		changes = append(changes, fmt.Sprintf("tc qdisc del on interface %d", s.link))
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

// addResident gives a new resident its classes. When the number of sessions passes a power of two, everybody's share
// changes.
func (g *Gate) addResident(addr netip.Addr) error {
	for device, have := range g.shaped {
		n := slices.IndexFunc(g.plan.Shapers, func(s netctl.Shaper) bool { return s.Device == device })
		if n < 0 {
			continue
		}
		s := g.plan.Shapers[n]
		if len(g.sessions) > have.share {
			if _, err := g.applyShaper(have.link, s, g.plan.Class, g.minors()); err != nil {
				return err
			}
			have.share = powerOfTwo(len(g.sessions))
			g.shaped[device] = have
			continue
		}
		_, c := wantedClasses(s, g.plan.Class, have.share)
		c.minor = uint16(g.classID(addr))
		// A class that is left over from the address's last session may have another's rates and a full queue.
		if err := g.deleteClass(have.link, c.minor); err != nil {
			return err
		}
		if err := errors.Join(g.putClass(have.link, c), g.putLeaf(have.link, c)); err != nil {
			return fmt.Errorf("%s: %w", device, err)
		}
	}
	return nil
}

// Neighbor implements netctl.Gate.
func (g *Gate) Neighbor(addr netip.Addr) (mac netctl.MAC, err error) {
	link, err := g.links.LinkByName(g.plan.Hotspot.Name)
	if err != nil {
		return mac, fmt.Errorf("hotspot interface %s: %w", g.plan.Hotspot.Name, err)
	}
	header := make([]byte, 12) // struct ndmsg
	header[0] = unix.AF_INET
	binary.NativeEndian.PutUint32(header[4:], uint32(link.Attrs().Index))
	bodies, err := g.route.get(unix.RTM_GETNEIGH, 0, header, attr(unix.NDA_DST, addr.AsSlice()))
	if err != nil {
		return mac, fmt.Errorf("ask the neighbour table: %w", err)
	}
	for _, m := range bodies {
		for kind, value := range attrs(after(len(header), m)) {
			if kind == unix.NDA_LLADDR && len(value) == len(mac) {
				return netctl.MAC(value), nil
			}
		}
	}
	return mac, errors.New("ask the neighbour table: no hardware address")
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
	_, err = g.applyRules(nil)
	try(err)
	_, err = g.applyRoutes(nil)
	try(err)
	try(g.forgetConnections())
	try(g.destroySet(ctx, netctl.SetWho))
	try(g.destroySet(ctx, netctl.SetClass))
	roots, err := g.roots()
	try(err)
	for _, link := range roots {
		try(g.deleteRoot(link))
	}
	try(g.restoreHotspot())
	g.applied = false
	g.links.Close()
	g.netfilter.close()
	g.route.close()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}
