package gate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"net/netip"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/nlmsg"
)

// nft(8) writes the nf_tables tables that are wholly ours, each in one transaction. They are read back over netlink like those of
// iptables. The gate adds elements to their sets (bindings), and so do the kernel's rules.

// Messages and attributes of nf_tables, besides those in ruleset.go.
const (
	nftGetChain    = 4
	nftGetSet      = 10
	nftNewSetElem  = 12
	nftGetSetElem  = 13
	nftDelSetElem  = 14
	nftaChainTable = 1
	nftaChainName  = 3
	nftaSetTable   = 1
	nftaSetName    = 2

	nftaElemsTable = 1
	nftaElemsSet   = 2
	nftaElemsList  = 3

	nftaElemKey        = 1
	nftaElemTimeout    = 4
	nftaElemExpiration = 5
	nftaDataValue      = 1
)

// NFPROTO_ARP and NFPROTO_NETDEV (include/uapi/linux/netfilter.h).
const (
	familyARP    = 3
	familyNetdev = 5
)

var nfFamilies = map[string]byte{"arp": familyARP, "netdev": familyNetdev, "ip": unix.AF_INET}

// bridgePort is an interface on which residents' frames arrive: a port of the hotspot's bridge, or the hotspot itself.
type bridgePort struct {
	name string
	link int
}

// nfTableState is a table as it was last written.
type nfTableState struct {
	netctl.NFTable
	hotspot     int
	ports       []bridgePort // at that time
	fingerprint uint64       // of its rules as read back right after that
}

// expand returns the table for a hotspot with this interface index and these ports.
func expand(f netctl.NFTable, hotspot int, ports []bridgePort) netctl.NFTable {
	bridged := !slices.ContainsFunc(ports, func(p bridgePort) bool { return p.link == hotspot })
	x := netctl.NFTable{Family: f.Family}
	for _, s := range f.Sets {
		if !s.EachPort {
			x.Sets = append(x.Sets, s)
			continue
		}
		for _, p := range ports {
			x.Sets = append(x.Sets, netctl.NFSet{Name: p.in(s.Name), Spec: p.in(s.Spec)})
		}
	}
	for _, c := range f.Chains {
		if c.Bridged && !bridged {
			continue
		}
		if !c.EachPort {
			x.Chains = append(x.Chains, c)
			continue
		}
		for _, p := range ports {
			y := netctl.NFChain{Name: p.in(c.Name), Hook: p.in(c.Hook)}
			for _, r := range c.Rules {
				y.Rules = append(y.Rules, p.in(r))
			}
			x.Chains = append(x.Chains, y)
		}
	}
	return x
}

// in replaces the placeholders by the port's name and number.
func (p bridgePort) in(text string) string {
	return strings.NewReplacer(netctl.PortName, p.name, netctl.PortNumber, strconv.Itoa(p.link)).Replace(text)
}

// applyNFTables writes the tables that differ from what was last written, or that another program has changed since. If a set's
// definition changed, the table is created from scratch, with the bindings that the gate knows.
func (g *Gate) applyNFTables(ctx context.Context, want []netctl.NFTable) (changes []string, err error) {
	generation, err := g.generation()
	if err != nil {
		return nil, err
	}
	for _, f := range want {
		last := g.nfTables[f.Family]
		if last.hotspot == g.hotspot && slices.Equal(last.ports, g.ports) && reflect.DeepEqual(last.NFTable, f) {
			if generation == g.nfGeneration {
				continue
			}
			sum, err := g.nfTableFingerprint(f.Family)
			if err != nil {
				return changes, err
			}
			if sum == last.fingerprint {
				continue
			}
		}
		delete(g.nfTables, f.Family)
		remade, err := g.writeNFTable(ctx, expand(f, g.hotspot, g.ports))
		if err != nil {
			return changes, err
		}
		if remade {
			g.bound = nil
		}
		sum, err := g.nfTableFingerprint(f.Family)
		if err != nil {
			return changes, err
		}
		g.nfTables[f.Family] = nfTableState{f, g.hotspot, slices.Clone(g.ports), sum}
		changes = append(changes, fmt.Sprintf("nft: table %s %s", f.Family, netctl.NFTableName))
	}
	if g.bound == nil {
		// The table is new to this gate: read and write the bindings.
		if _, err := g.bind(nil); err != nil {
			return changes, err
		}
	}
	g.nfGeneration, err = g.generation()
	return changes, err
}

// writeNFTable writes a table with nft. Existing sets keep their elements. remade means that there were no sets, or that they had to
// be removed.
func (g *Gate) writeNFTable(ctx context.Context, f netctl.NFTable) (remade bool, err error) {
	chains, err := g.names(nftGetChain, f.Family, nftaChainTable, nftaChainName)
	if err != nil {
		return false, err
	}
	sets, err := g.names(nftGetSet, f.Family, nftaSetTable, nftaSetName)
	if err != nil {
		return false, err
	}
	remade = len(sets) == 0
	err = runNFT(ctx, nftScript(f, chains, sets))
	if err != nil && len(sets) > 0 {
		// A set's type or size, or a chain's hook, has changed.
		remade = true
		err = runNFT(ctx, fmt.Sprintf("delete table %s %s\n", f.Family, netctl.NFTableName)+nftScript(f, nil, nil))
	}
	return remade, err
}

// nftScript returns the script that brings a table with these chains and sets to its wanted state.
func nftScript(f netctl.NFTable, chains, sets []string) string {
	var b strings.Builder
	table := f.Family + " " + netctl.NFTableName
	fmt.Fprintf(&b, "add table %s\n", table)
	stale := slices.DeleteFunc(slices.Clone(chains), func(name string) bool {
		return slices.ContainsFunc(f.Chains, func(c netctl.NFChain) bool { return c.Name == name })
	})
	for _, c := range chains {
		fmt.Fprintf(&b, "flush chain %s %s\n", table, c)
	}
	for _, c := range stale {
		fmt.Fprintf(&b, "delete chain %s %s\n", table, c)
	}
	for _, name := range sets {
		if !slices.ContainsFunc(f.Sets, func(s netctl.NFSet) bool { return s.Name == name }) {
			fmt.Fprintf(&b, "delete set %s %s\n", table, name)
		}
	}
	for _, s := range f.Sets {
		fmt.Fprintf(&b, "add set %s %s { %s }\n", table, s.Name, s.Spec)
	}
	for _, c := range f.Chains {
		hook := ""
		if c.Hook != "" {
			hook = " { " + c.Hook + " }"
		}
		fmt.Fprintf(&b, "add chain %s %s%s\n", table, c.Name, hook)
	}
	for _, c := range f.Chains {
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "add rule %s %s %s\n", table, c.Name, r)
		}
	}
	return b.String()
}

// runNFT runs an nft script as one transaction.
func runNFT(ctx context.Context, script string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: install the nftables package", err)
	}
	if err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// removeNFTables deletes our tables.
func (g *Gate) removeNFTables(ctx context.Context) error {
	var b strings.Builder
	for _, family := range slices.Sorted(maps.Keys(nfFamilies)) {
		// Add it first, so that the deletion does not fail.
		fmt.Fprintf(&b, "add table %s %s\ndelete table %s %s\n", family, netctl.NFTableName, family, netctl.NFTableName)
	}
	g.nfTables, g.bound = map[string]nfTableState{}, nil
	return runNFT(ctx, b.String())
}

// names lists the chains or sets of our table of a family.
func (g *Gate) names(message int, family string, table, name uint16) (all []string, err error) {
	bodies, err := g.netfilter.get(nftType(message), unix.NLM_F_DUMP, netfilterHeader(nfFamilies[family]),
		attr(table, text(netctl.NFTableName)))
	if err != nil && !isErrno(err, unix.ENOENT) {
		return nil, fmt.Errorf("list our table of family %s: %w", family, err)
	}
	for _, b := range bodies {
		var in, of string
		for kind, value := range nlmsg.Attributes(skipHeader(netfilterHeaderSize, b)) {
			switch kind {
			case table:
				in = textOf(value)
			case name:
				of = textOf(value)
			}
		}
		// Anonymous sets and chains belong to their rules.
		if in == netctl.NFTableName && !strings.HasPrefix(of, "__") {
			all = append(all, of)
		}
	}
	return all, nil
}

// nfTableFingerprint returns a hash of our table of a family: its rules, sets and chains.
func (g *Gate) nfTableFingerprint(family string) (uint64, error) {
	rules, err := g.rules(nfFamilies[family], netctl.NFTableName)
	if err != nil {
		return 0, err
	}
	sets, err := g.names(nftGetSet, family, nftaSetTable, nftaSetName)
	if err != nil {
		return 0, err
	}
	chains, err := g.names(nftGetChain, family, nftaChainTable, nftaChainName)
	if err != nil {
		return 0, err
	}
	var h maphash.Hash
	h.SetSeed(seed)
	fmt.Fprintln(&h, sets, chains)
	for _, f := range rules {
		if f.table != netctl.NFTableName {
			continue
		}
		fmt.Fprintf(&h, "%s %d %d ", f.chain, f.index, len(f.exprs))
		h.Write(f.exprs)
	}
	return h.Sum64(), nil
}

// element is an element of one of our sets.
type element struct {
	key  string        // as the kernel encodes it
	left time.Duration // until it ends
}

// Keys as the kernel encodes them: each part fills whole registers of four bytes.
func deviceKey(mac netctl.MAC) string   { return string(mac[:]) }
func addressKey(addr netip.Addr) string { return string(addr.AsSlice()) }
func bindingKey(b bindingOf) string     { return string(b.mac[:]) + "\x00\x00" + string(b.addr.AsSlice()) }
func readBinding(key []byte) (b bindingOf, ok bool) {
	if len(key) < 12 {
		return b, false
	}
	copy(b.mac[:], key)
	b.addr = netip.AddrFrom4([4]byte(key[8:12]))
	return b, true
}

// bindingOf is an address and the device that it is bound to.
type bindingOf struct {
	addr netip.Addr
	mac  netctl.MAC
}

// elements lists a set's elements.
func (g *Gate) elements(family, set string) (all []element, err error) {
	bodies, err := g.netfilter.get(nftType(nftGetSetElem), unix.NLM_F_DUMP, netfilterHeader(nfFamilies[family]),
		attr(nftaElemsTable, text(netctl.NFTableName)), attr(nftaElemsSet, text(set)))
	if isErrno(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list set %s: %w", set, err)
	}
	for _, b := range bodies {
		for kind, value := range nlmsg.Attributes(skipHeader(netfilterHeaderSize, b)) {
			if kind != nftaElemsList {
				continue
			}
			for _, value := range nlmsg.Attributes(value) {
				all = append(all, readElement(value))
			}
		}
	}
	return all, nil
}

func readElement(b []byte) (e element) {
	for kind, value := range nlmsg.Attributes(b) {
		switch kind {
		case nftaElemKey:
			for kind, value := range nlmsg.Attributes(value) {
				if kind == nftaDataValue {
					e.key = string(value)
				}
			}
		case nftaElemExpiration:
			e.left = time.Duration(big64Of(value)) * time.Millisecond
		}
	}
	return e
}

// setChange removes elements from a set and adds others.
type setChange struct {
	family, set string
	remove, add []element
}

// changeSets makes the changes as one transaction.
func (g *Gate) changeSets(changes ...setChange) error {
	var todo []request
	for _, c := range changes {
		for _, part := range []struct {
			kind, flags int
			list        []element
		}{{nftDelSetElem, 0, c.remove}, {nftNewSetElem, unix.NLM_F_CREATE, c.add}} {
			for some := range slices.Chunk(part.list, batch) {
				var list []byte
				for _, e := range some {
					x := nest(nftaElemKey, attr(nftaDataValue, []byte(e.key)))
					if part.kind == nftNewSetElem {
						x = append(x, attr(nftaElemTimeout, big64(uint64(max(e.left, time.Second)/time.Millisecond)))...)
					}
					list = append(list, nest(nftaListElem, x)...)
				}
				todo = append(todo, request{
					kind: nftType(part.kind), flags: part.flags, op: "change set " + c.set,
					body: slices.Concat(netfilterHeader(nfFamilies[c.family]), attr(nftaElemsTable, text(netctl.NFTableName)),
						attr(nftaElemsSet, text(c.set)), nest(nftaElemsList, list)),
				})
			}
		}
	}
	return g.netfilter.transact(todo)
}

// transact sends requests for nf_tables to the kernel as one transaction.
func (c *nlConn) transact(all []request) error {
	if len(all) == 0 {
		return nil
	}
	// The subsystem's number is res_id (nfnetlink_rcv_batch in net/netfilter/nfnetlink.c).
	frame := []byte{unix.AF_UNSPEC, 0, 0, 0}
	binary.BigEndian.PutUint16(frame[2:], unix.NFNL_SUBSYS_NFTABLES)
	b := c.appendMessage(nil, unix.NFNL_MSG_BATCH_BEGIN, 0, frame)
	first := c.seq + 1
	for _, r := range all {
		b = c.appendMessage(b, r.kind, r.flags|unix.NLM_F_ACK, r.body)
	}
	b = c.appendMessage(b, unix.NFNL_MSG_BATCH_END, 0, frame)
	if err := c.send(b); err != nil {
		return fmt.Errorf("%s: %w", all[0].op, err)
	}
	var errs []error
	for answered := 0; answered < len(all); {
		answers, err := c.receive()
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("%s: %w", all[0].op, err))...)
		}
		for _, a := range answers {
			n := int(int32(a.Header.Seq - first))
			if a.Header.Type != unix.NLMSG_ERROR || n < -1 || n >= len(all) {
				continue
			}
			errno := errnoOf(a)
			if n < 0 { // the batch itself
				return fmt.Errorf("%s: %w", all[0].op, errno)
			}
			answered++
			if errno != 0 {
				errs = append(errs, fmt.Errorf("%s: %w", all[n].op, errno))
			}
		}
	}
	return errors.Join(errs...)
}

// Bind implements netctl.Gate.
func (g *Gate) Bind(all []netctl.Binding) (changed int, err error) {
	now := g.now()
	wanted := map[netip.Addr]binding{}
	for _, b := range all {
		wanted[b.Addr] = binding{b, now.Add(b.Left)}
	}
	// A device that is no longer listed loses its binding.
	for addr, b := range g.bindings {
		if w, ok := wanted[addr]; (!ok || w.MAC != b.MAC) && g.sessions[addr].MAC != b.MAC {
			g.unbound = append(g.unbound, bindingOf{addr, b.MAC})
		}
	}
	g.bindings = wanted
	if !g.applied {
		return 0, nil
	}
	before := g.unlisted
	g.unlisted = map[bindingOf]bool{}
	changed, err = g.bind(before)
	if err != nil {
		return changed, fmt.Errorf("bind addresses to devices: %w", err)
	}
	return changed, nil
}

// binding is a netctl.Binding with its end by the monotonic clock.
type binding struct {
	netctl.Binding
	ends time.Time
}

// maxDrift is how far the kernel's timeout of a binding may be off before it is corrected: each change is a transaction.
const maxDrift = 10 * time.Second

// bind makes the kernel's sets match the bindings. Bindings that the kernel made itself stay, with two exceptions: those of an address
// that is bound to another device, and the stale ones, which two consecutive calls of Bind did not list.
func (g *Gate) bind(stale map[bindingOf]bool) (changed int, err error) {
	have, err := g.elements("netdev", netctl.SetBindings)
	if err != nil {
		return 0, err
	}
	now := g.now()
	want := map[netip.Addr]binding{}
	maps.Copy(want, g.bindings)
	for addr, s := range g.sessions {
		b := want[addr]
		if b.MAC != s.MAC {
			b = binding{Binding: netctl.Binding{Addr: addr, MAC: s.MAC}}
		}
		if b.ends.Before(s.ends) {
			b.ends = s.ends
		}
		want[addr] = b
	}
	bindings := setChange{family: "netdev", set: netctl.SetBindings}
	current := map[bindingOf]time.Duration{}
	for _, e := range have {
		of, ok := readBinding([]byte(e.key))
		w, known := want[of.addr]
		switch {
		case !ok:
		case known && w.MAC != of.mac, !known && slices.Contains(g.unbound, of):
			bindings.remove = append(bindings.remove, e)
		case !known && stale[of]:
			bindings.remove = append(bindings.remove, e)
			g.stale = append(g.stale, of)
		default:
			if !known {
				g.unlisted[of] = true
			}
			current[of] = e.left
		}
	}
	settled, extra := map[string]time.Duration{}, map[string]time.Duration{}
	for addr, w := range want {
		left := w.ends.Sub(now)
		if left <= 0 {
			continue
		}
		of := bindingOf{addr, w.MAC}
		if has, ok := current[of]; !ok || (left-has).Abs() > maxDrift {
			e := element{bindingKey(of), left}
			if ok {
				bindings.remove = append(bindings.remove, e)
			}
			bindings.add = append(bindings.add, e)
		}
		if w.Settled {
			settled[deviceKey(w.MAC)] = max(settled[deviceKey(w.MAC)], left)
		}
		if w.Secondary {
			extra[addressKey(addr)] = left
		}
	}
	changes := []setChange{bindings}
	// A settled device is no longer one of its port's newcomers.
	for _, p := range g.ports {
		left := setChange{family: "netdev", set: p.in("newcomers-" + netctl.PortNumber)}
		newcomers, err := g.elements(left.family, left.set)
		if err != nil {
			return 0, err
		}
		for _, e := range newcomers {
			if _, ok := settled[e.key]; ok {
				left.remove = append(left.remove, e)
			}
		}
		changes = append(changes, left)
	}
	for _, s := range []struct {
		family, set string
		want        map[string]time.Duration
	}{{"netdev", netctl.SetSettled, settled}, {"ip", netctl.SetSecondary, extra}} {
		c, err := g.changeTo(s.family, s.set, s.want)
		if err != nil {
			return 0, err
		}
		changes = append(changes, c)
	}
	for _, c := range changes {
		changed += len(c.remove) + len(c.add)
	}
	if err := g.changeSets(changes...); err != nil {
		return 0, err
	}
	moved := false
	for addr, w := range want {
		moved = moved || g.bound[addr].MAC != w.MAC
	}
	g.unbound = nil
	g.bound = want
	if !moved {
		return changed, nil
	}
	updated, err := g.updateNeighbors(want)
	return changed + updated, err
}

// updateNeighbors points the kernel's neighbour entries to the devices that addresses are bound to. On its own the kernel keeps
// sending to the device that had an address before, until that device is unreachable or the new one announces itself, which not all
// devices do.
func (g *Gate) updateNeighbors(want map[netip.Addr]binding) (changed int, err error) {
	all, err := g.neighbors(netip.Addr{})
	if err != nil {
		return 0, err
	}
	var todo []request
	for addr, mac := range all {
		if w, ok := want[addr]; ok && w.MAC != mac {
			todo = append(todo, request{
				kind: unix.RTM_NEWNEIGH, flags: unix.NLM_F_REPLACE, op: "change a neighbour",
				body: slices.Concat(g.neighborHeader(unix.NUD_STALE), attr(unix.NDA_DST, addr.AsSlice()), attr(unix.NDA_LLADDR, w.MAC[:])),
			})
		}
	}
	return len(todo), g.route.do(todo...)
}

// changeTo returns the changes that make a set match the wanted elements. Elements expire on their own.
func (g *Gate) changeTo(family, set string, want map[string]time.Duration) (c setChange, err error) {
	c = setChange{family: family, set: set}
	have, err := g.elements(family, set)
	if err != nil {
		return c, err
	}
	current := map[string]time.Duration{}
	for _, e := range have {
		if _, ok := want[e.key]; !ok {
			c.remove = append(c.remove, e)
			continue
		}
		current[e.key] = e.left
	}
	for key, left := range want {
		has, ok := current[key]
		if ok && (left-has).Abs() <= maxDrift {
			continue
		}
		if ok {
			c.remove = append(c.remove, element{key: key})
		}
		c.add = append(c.add, element{key, left})
	}
	return c, nil
}

// UnknownSources implements netctl.Gate.
func (g *Gate) UnknownSources() (all []netctl.UnknownSource, err error) {
	if !g.applied {
		return nil, nil
	}
	for _, of := range g.stale {
		all = append(all, netctl.UnknownSource{Addr: of.addr, MAC: of.mac})
	}
	g.stale = nil
	for _, p := range g.ports {
		set := p.in("strangers-" + netctl.PortNumber)
		list, err := g.elements("netdev", set)
		if err != nil {
			return all, err
		}
		var forget []element
		for _, e := range list {
			if of, ok := readBinding([]byte(e.key)); ok {
				all = append(all, netctl.UnknownSource{Port: p.link, Addr: of.addr, MAC: of.mac})
				forget = append(forget, e)
			}
		}
		// They may have expired in the meantime.
		if err := g.changeSets(setChange{family: "netdev", set: set, remove: forget}); err != nil && !isErrno(err, unix.ENOENT) {
			return all, err
		}
	}
	return all, nil
}
