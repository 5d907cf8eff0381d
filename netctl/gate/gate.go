// Package gate applies a netctl.Plan to the kernel: addresses, ipsets, iptables, nf_tables, routing rules, HTB. It owns every kernel
// object with our prefixes, and is the only user of iptables, ipsets and queues. It must not know why a session is authorized or a
// tranche granted, and stores nothing on disk.
//
// vishvananda/netlink handles addresses, links, routes and routing rules, and drops connections where time does not matter.
// coreos/go-iptables appends, deletes and clears the tranches' rules. iptables-restore replaces and removes whole tables, each in one
// transaction and in one program run. So no table is ever half written. go-iptables v0.8.0 would run the program once for each rule,
// chain and listing, and it does not report the backend. Rules are read over netlink, so that an Apply that changes nothing runs no
// program. The gate builds and parses its own netlink messages where no library does: for ipsets whose entries have a class, HTB with
// many classes at a time, rules of nf_tables, the ruleset's generation, and connections (see package nlmsg).
//
// [Gate.Apply] is level-triggered. It always reads what is cheap to read (addresses, sets, rules, routes). It reads the rest only when
// it may have changed: the firewall when the ruleset's generation changed, and the classes when [Gate.MarkDirty] was called after
// another program's change.
package gate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-iptables/iptables"
	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// Gate changes the kernel's network. New returns one.
type Gate struct {
	links     *vnl.Handle
	netfilter *nlConn
	route     *nlConn
	iptables  *iptables.IPTables
	destroyed *nlConn // receives reports of connections that the kernel dropped: see dialDestroyed
	packets   int     // a packet socket, which sends directly to an interface: see elicitRST
	now       func() time.Time

	plan         netctl.Plan
	applied      bool
	hotspot, mtu int // the hotspot's interface index and MTU when they were last read
	sets         map[string]netctl.Set
	sessions     map[netip.Addr]session
	usage        map[netctl.MAC]usage
	usageEnds    time.Time
	firewall     firewallState
	ports        []bridgePort            // on which residents' frames arrive
	nfTables     map[string]nfTableState // by family
	bindings     map[netip.Addr]binding  // from the last call of Bind
	bound        map[netip.Addr]binding  // what was last written to the kernel; nil if unknown
	unlisted     map[bindingOf]bool      // bindings made by the kernel that the last call of Bind did not list
	stale        []bindingOf             // those of them that were removed since the last call of UnknownSources
	unbound      []bindingOf             // bindings that the last call of Bind no longer listed, until the kernel's entry is removed
	nfGeneration uint32                  // the ruleset's generation when these tables were last checked
	tranches     []netctl.TrancheUsage
	shaped       map[string]shaperState // by device
	rates        map[string]lineRate    // by device, of Gate.SetRate
	leaves       []leafQueue            // leaf queues that the kernel may have, in order of preference
	leafKind     string                 // kind of leaf queue in use; "" until there is one
	saved        savedState             // of settings that are not ours
	egress       string                 // that residents' connections have used so far
	cached       setCache

	broadcasts map[broadcastCounter]uint64 // bytes when they were last read

	dirty atomic.Bool
}

var _ netctl.Gate = (*Gate)(nil)

// setCache is the sets as the last read of the counters found them. An Apply right after it need not list them again.
type setCache struct {
	sets map[string]setDump
	at   time.Time
}

// cacheTTL is how long the cache is valid.
const cacheTTL = 100 * time.Millisecond

func (s *setCache) forget() { s.sets = nil }

// take returns a set and removes it from the cache.
func (s *setCache) take(name string, now time.Time) (l setDump, ok bool) {
	l, ok = s.sets[name]
	delete(s.sets, name)
	return l, ok && now.Sub(s.at) < cacheTTL
}

// New opens netlink sockets in the caller's network namespace. It fails if the gate could not keep its guarantees: without the
// privilege to change the network, or with iptables' legacy backend.
func New(ctx context.Context, now func() time.Time) (*Gate, error) {
	if !mayChange() {
		return nil, fmt.Errorf("change the network: %w: run it as root, or with CAP_NET_ADMIN", os.ErrPermission)
	}
	if err := checkBackend(ctx); err != nil {
		return nil, err
	}
	tool, err := iptables.New(iptables.Timeout(lockWait))
	if err != nil {
		return nil, err
	}
	g := &Gate{
		iptables: tool,
		now:      now,
		sets:     map[string]netctl.Set{},
		sessions: map[netip.Addr]session{},
		usage:    map[netctl.MAC]usage{},
		shaped:   map[string]shaperState{},
		rates:    map[string]lineRate{},
		leaves:   leafQueues,
		nfTables: map[string]nfTableState{},
		unlisted: map[bindingOf]bool{},
		saved:    savedState{},

		broadcasts: map[broadcastCounter]uint64{},
	}
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
	if g.destroyed, err = dialDestroyed(); err != nil {
		g.links.Close()
		g.netfilter.close()
		g.route.close()
		return nil, err
	}
	// It has no protocol, so it receives nothing. It stays open, since closing one takes the kernel 10 ms (synchronize_net in
	// packet_release of net/packet/af_packet.c), and every resident who asks for a session would wait for that.
	if g.packets, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		g.links.Close()
		g.netfilter.close()
		g.route.close()
		g.destroyed.close()
		return nil, fmt.Errorf("open a socket for packets: %w", err)
	}
	return g, nil
}

// mayChange tells whether this process may change the network.
func mayChange() bool {
	var sets [2]unix.CapUserData // capget(2): version 3 has 64 bits
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &sets[0])
	return err == nil && sets[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}

// MarkDirty tells the gate that another program changed queues or classes: the next Apply reads them. It may be called from
// any goroutine.
func (g *Gate) MarkDirty() { g.dirty.Store(true) }

// PortID returns the netlink port ID of the gate's own changes to queues and classes. A watcher should ignore these: calling MarkDirty
// would make the gate read what it wrote itself.
func (g *Gate) PortID() uint32 { return g.route.portID }

// Queue implements netctl.Gate.
func (g *Gate) Queue() string { return g.leafKind }

// Apply implements netctl.Gate. It applies limits before it allows anything, and enables forwarding last.
func (g *Gate) Apply(ctx context.Context, p netctl.Plan) (changes []string, err error) {
	note := func(more []string, e error) bool {
		changes = append(changes, more...)
		err = e
		return e == nil
	}
	apply := func() bool {
		if !g.applied {
			if err = g.loadSavedState(); err != nil {
				return false
			}
		}
		link, more, err := g.applyHotspot(p.Hotspot)
		if !note(more, err) {
			return false
		}
		g.hotspot, g.mtu = link.Attrs().Index, link.Attrs().MTU
		dumps, more, err := g.applySets(ctx, p.Sets)
		if !note(more, err) {
			return false
		}
		g.plan = p
		if !note(g.applySessions(dumps)) || !note(g.applyShapers()) {
			return false
		}
		// These tables come first: some parameters do not exist before a rule uses connection tracking.
		if !note(g.applyNFTables(ctx, p.NFTables)) {
			return false
		}
		parameters, err := g.readSysctls(p.Sysctls)
		if !note(nil, err) || !note(g.applyTables(ctx, g.saved.addTo(p.Tables))) {
			return false
		}
		leaves := g.egress != "" && p.Egress != g.egress
		var open []flow
		if leaves {
			if open, err = g.flows(g.online()); !note(nil, err) {
				return false
			}
		}
		ok := note(g.applyRules(p.Rules)) &&
			note(g.applyRoutes(p.Routes)) &&
			note(g.writeSysctls(parameters))
		if ok && !g.applied {
			ok = note(g.removeOldSets(ctx, p.Sets))
		}
		if ok && leaves {
			ok = note(nil, g.dropFlows(g.online(), open...))
		}
		if ok {
			g.egress = p.Egress
			ok = note(nil, g.resetDestroyed())
		}
		return ok
	}
	if !apply() {
		return changes, fmt.Errorf("apply the plan: %w", err)
	}
	g.applied = true
	return changes, nil
}

// applySets creates missing sets and returns the entries of all sets. A set with another definition is created again; the rules that
// use it have to be removed before.
func (g *Gate) applySets(ctx context.Context, want []netctl.Set) (dumps map[string]setDump, changes []string, err error) {
	dumps = map[string]setDump{}
	for _, w := range want {
		have, ok := g.cached.take(w.Name, g.now())
		if !ok {
			if have, ok, err = g.dumpSet(w.Name, w.Bitmap()); err != nil {
				return nil, changes, err
			}
		}
		if ok && have.set != w {
			// The quota chains stay, and so does PAS-CHARGED, which their rules jump to.
			keep := func(chain string) bool { return isQuota(chain) || chain == netctl.ChainCharged }
			if err := errors.Join(g.removeTables(ctx, keep), g.destroySet(ctx, w.Name)); err != nil {
				return nil, changes, err
			}
			if w.Bitmap() {
				g.sessions, g.usage = map[netip.Addr]session{}, map[netctl.MAC]usage{}
			}
			ok, have = false, setDump{}
			changes = append(changes, "ipset destroy "+w.Name)
		}
		if !ok {
			if err := g.createSet(w); err != nil {
				return nil, changes, err
			}
			changes = append(changes, w.String())
		}
		g.sets[w.Name] = w
		dumps[w.Name] = have
	}
	return dumps, changes, nil
}

// removeOldSets destroys our sets that are not in the plan, such as those of a release with other names.
func (g *Gate) removeOldSets(ctx context.Context, want []netctl.Set) (changes []string, err error) {
	names, err := g.ownSets()
	for _, name := range names {
		if slices.ContainsFunc(want, func(s netctl.Set) bool { return s.Name == name }) {
			continue
		}
		if e := g.destroySet(ctx, name); e != nil {
			err = errors.Join(err, e)
			continue
		}
		changes = append(changes, "ipset destroy "+name)
	}
	return changes, err
}

// ReadCounters implements netctl.Gate.
func (g *Gate) ReadCounters() (s netctl.Counters, err error) {
	sets, err := g.dumpSets()
	if err != nil {
		return s, err
	}
	g.cached = setCache{sets, g.now()}
	s.Sessions = g.sessionsIn(sets)
	for _, x := range s.Sessions {
		if known, ok := g.sessions[x.Addr]; ok {
			known.counter = max(known.start, sets[netctl.SetAccounting].entries[x.Addr].bytes)
			g.sessions[x.Addr] = known
		}
	}
	rules, err := g.rules(unix.AF_INET, tableQuota, g.quotaChains()...)
	if err != nil {
		return s, err
	}
	g.recordTranches(rules)
	s.Tranches = slices.Clone(g.tranches)
	s.ConntrackMax, err = readNumber("net/netfilter/nf_conntrack_max")
	return s, err
}

// Close implements netctl.Gate. It continues after an error, to leave as little as possible behind.
func (g *Gate) Close(ctx context.Context) error {
	var errs []error
	try := func(err error) { errs = append(errs, err) }
	if !g.applied {
		try(g.loadSavedState())
	}
	// Forwarding is disabled first, unless it was enabled before the gate.
	parameters, err := g.readSysctls(nil)
	try(err)
	_, err = g.writeSysctls(parameters)
	try(err)
	try(g.removeTables(ctx, func(string) bool { return false }))
	try(g.removeNFTables(ctx))
	_, err = g.applyRules(nil)
	try(err)
	_, err = g.applyRoutes(nil)
	try(err)
	try(g.dropHotspotFlows())
	_, err = g.removeOldSets(ctx, nil)
	try(err)
	roots, err := g.roots()
	try(err)
	for _, link := range roots {
		try(g.route.do(device{name: fmt.Sprintf("number %d", link), link: link}.deleteRoot()))
	}
	try(g.restoreHotspot())
	try(g.removeBridge())
	g.applied = false
	g.links.Close()
	g.netfilter.close()
	g.route.close()
	g.destroyed.close()
	try(unix.Close(g.packets))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}
