package gate

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/nlmsg"
)

// Attributes of HTB, TBF, bfifo and fq_codel (include/uapi/linux/pkt_sched.h).
const (
	tcaKind    = 1
	tcaOptions = 2

	htbParms  = 1
	htbInit   = 2
	htbRate64 = 6
	htbCeil64 = 7

	htbVersion = 3
	rateToQ    = 10

	tbfParms  = 1
	tbfRate64 = 4
	tbfBurst  = 6

	fqCodelLimit  = 2
	fqCodelFlows  = 5
	fqCodelMemory = 9

	tcRoot = 0xffffffff // TC_H_ROOT

	linkEthernet = 1     // TC_LINKLAYER_ETHERNET: no rate table needed
	tick         = 64    // nanoseconds per unit of psched time (PSCHED_SHIFT in include/net/pkt_sched.h)
	offload      = 65536 // bytes in the largest offloaded packet (GSO)
	frame        = 1514  // bytes in a full Ethernet frame
	header       = 18    // bytes before an Ethernet frame's payload, with a VLAN tag
)

// Kinds of queues.
const (
	leafFQCodel = "fq_codel"
	leafBFIFO   = "bfifo"
	splitter    = "tbf"
)

// leafQueue is a kind of queue for a class. With split, offloaded packets are segmented into frames before they are queued: TBF does
// that for packets larger than its burst (tbf_segment of net/sched/sch_tbf.c). HTB does not, and an offloaded packet of 64 kB takes
// half a second at 1 Mbit/s. TBF's own rate is so high that it delays nothing.
type leafQueue struct {
	kind  string
	split bool
}

// leafQueues are the kinds in order of preference. A kernel may not have all of them.
var leafQueues = []leafQueue{{leafFQCodel, true}, {leafFQCodel, false}, {leafBFIFO, true}, {leafBFIFO, false}}

// splitRate is TBF's rate in bytes a second. A frame takes less than a nanosecond, which is the kernel's unit of time
// (psched_ratecfg_precompute of net/sched/sch_generic.c).
const splitRate = 1e13

// class is an HTB class, desired or in the kernel.
type class struct {
	minor   uint16
	parent  uint16 // 0 for the qdisc
	rate    uint64 // guaranteed bytes a second
	ceil    uint64 // bytes a second, including what it borrows
	quantum uint32 // bytes in each turn
	prio    uint32
	leaf    bool // it has its own queue
	split   bool // and its packets are segmented into frames
}

func handle(minor uint16) uint32 { return netctl.HTBMajor<<16 | uint32(minor) }

// wantedClasses returns a shaper's fixed classes, and the class of each resident with 0 as its minor. The latter's ceil is 0 if
// residents have no class. The rate is that of Gate.SetRate in bit/s, 0 for the shaper's total.
//
// A resident's class has a small guaranteed rate, at most half of an equal share, so that a resident who sends little is served at
// once. The rest is borrowed from the uplink's total in turns of one quantum. All guaranteed rates together must not exceed the total,
// since HTB grants them even then. They follow the number of sessions in powers of two, so that the classes rarely change.
//
// Where the total can change, only the total's class depends on the rate. All guaranteed rates are based on the lowest total. All
// ceilings and quanta are based on the highest, since the parent class limits them anyway.
func wantedClasses(s netctl.Shaper, rate uint64, c netctl.Class, sessions int) (fixed []class, resident class) {
	total, each := s.Total/8, s.Each(c)/8
	least := total
	if s.Floor != 0 {
		least = s.Floor / 8
	}
	some := []struct {
		minor uint16
		most  uint64
	}{{netctl.MinorGarden, s.Garden / 8}, {netctl.MinorDNS, s.DNS / 8}}
	if total == 0 {
		// Without a total there is nothing to borrow: each limit is a root class.
		for _, x := range some {
			if x.most != 0 {
				fixed = append(fixed, class{minor: x.minor, rate: x.most, ceil: x.most, quantum: quantum(x.most), leaf: true})
			}
		}
		return fixed, class{rate: each, ceil: each, quantum: quantum(each), prio: 1, leaf: true, split: needsSplit(each)}
	}
	if each == 0 || each > total {
		each = total
	}
	fixed = append(fixed, totalClass(s, rate))
	// The box's own packets, the walled garden and DNS have priority over residents' packets. An eighth of the uplink is guaranteed to
	// each of them.
	first := func(minor uint16, most uint64) {
		if most != 0 {
			fixed = append(fixed, class{
				minor: minor, parent: netctl.MinorTotal,
				rate: max(1, min(most, least/8)), ceil: min(most, total), quantum: quantum(total), leaf: true,
			})
		}
	}
	first(netctl.MinorOwn, s.Own/8)
	for _, x := range some {
		first(x.minor, x.most)
	}
	share := least / uint64(2*powerOfTwo(max(8, sessions)))
	return fixed, class{
		parent: netctl.MinorTotal,
		rate:   max(1, min(share, each)), ceil: each, quantum: quantum(total), prio: 1, leaf: true,
		split: needsSplit(min(each, least)),
	}
}

// needsSplit tells whether an offloaded packet takes longer than 10 ms (a class's burst) at the rate, in bytes a second.
func needsSplit(rate uint64) bool { return rate < 100*offload }

// totalClass returns the class of a shaper's total at a rate in bit/s; 0 means the highest rate.
func totalClass(s netctl.Shaper, rate uint64) class {
	rate = max(s.Floor, min(s.Total, cmp.Or(rate, s.Total))) / 8
	return class{minor: netctl.MinorTotal, rate: rate, ceil: rate, quantum: quantum(s.Total / 8)}
}

// quantum returns the bytes that a class sends in its turn: 2 ms at the uplink's rate, at least two frames, and at most one offloaded
// packet, so that a full cycle of all classes stays short.
func quantum(rate uint64) uint32 {
	return uint32(min(max(rate/500, 2*frame), offload))
}

func powerOfTwo(n int) int { return 1 << bits.Len(uint(n-1)) }

// burst returns the bytes that may pass at once: 10 ms at the rate and two frames, so that a late timer costs no throughput.
func burst(rate uint64) uint64 { return rate/100 + 2*frame }

// queueBytes returns the length of a bfifo: 50 ms at the ceiling, with room for an offloaded packet.
func queueBytes(ceil uint64) uint32 {
	return uint32(min(max(ceil/20, offload+2*frame), math.MaxInt32))
}

// framesBytes returns the length of a bfifo that only has frames: 50 ms at the ceiling, and at least eight frames, the part of a
// sender's first window of ten (RFC 6928) that does not pass at once with the [burst]. A longer queue costs goodput below 2 Mbit/s,
// since a lost frame's retransmission waits for the length of the queue.
func framesBytes(ceil uint64) uint32 { return uint32(max(ceil/20, 8*frame)) }

// trafficHeader is struct tcmsg.
func trafficHeader(link int, handle, parent uint32) []byte {
	b := make([]byte, 20)
	binary.NativeEndian.PutUint32(b[4:], uint32(link))
	binary.NativeEndian.PutUint32(b[8:], handle)
	binary.NativeEndian.PutUint32(b[12:], parent)
	return b
}

// traffic is a queue or class as the kernel reports it.
type traffic struct {
	link           int
	handle, parent uint32
	rest           []byte // its attributes
}

func trafficOf(m []byte) (h traffic, ok bool) {
	if len(m) < 20 {
		return h, false
	}
	return traffic{
		link:   int(native32Of(m[4:])),
		handle: native32Of(m[8:]),
		parent: native32Of(m[12:]),
		rest:   m[20:],
	}, true
}

// Attributes of the statistics (include/uapi/linux/gen_stats.h).
const (
	tcaStats2  = 7
	statsBasic = 1 // struct gnet_stats_basic: bytes (64 bits), packets
	statsQueue = 3 // struct gnet_stats_queue: qlen, backlog, …
)

// statistics are those of a qdisc or class with everything below it.
type statistics struct {
	sent    uint64 // bytes
	backlog uint64 // bytes that wait; the kernel reports none for an inner class
}

func (h traffic) statistics() (s statistics) {
	for kind, value := range nlmsg.Attributes(h.rest) {
		if kind != tcaStats2 {
			continue
		}
		for kind, value := range nlmsg.Attributes(value) {
			switch kind {
			case statsBasic:
				s.sent = native64Of(value)
			case statsQueue:
				s.backlog = uint64(native32Of(skipHeader(4, value)))
			}
		}
	}
	return s
}

// device is a network interface with queues.
type device struct {
	name string
	link int // interface index
	mtu  int
}

// addRoot replaces a device's root qdisc with ours.
func (d device) addRoot(fallback uint16) request {
	init := make([]byte, 20) // struct tc_htb_glob
	binary.NativeEndian.PutUint32(init[0:], htbVersion)
	binary.NativeEndian.PutUint32(init[4:], rateToQ)
	binary.NativeEndian.PutUint32(init[8:], uint32(fallback))
	return request{
		kind: unix.RTM_NEWQDISC, flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE,
		body: slices.Concat(trafficHeader(d.link, netctl.HTBMajor<<16, tcRoot),
			attr(tcaKind, text("htb")), nest(tcaOptions, attr(htbInit, init))),
		op: fmt.Sprintf("tc qdisc replace dev %s root htb", d.name),
	}
}

// deleteRoot restores a device's default queue. It is idempotent.
func (d device) deleteRoot() request {
	return request{
		kind: unix.RTM_DELQDISC, body: trafficHeader(d.link, netctl.HTBMajor<<16, tcRoot),
		op: fmt.Sprintf("tc qdisc del dev %s root", d.name), ignoredErrnos: absentErrnos,
	}
}

// absentErrnos are the kernel's errors for a queue, class or device that does not exist.
var absentErrnos = []unix.Errno{unix.ENOENT, unix.EINVAL, unix.ENODEV}

// putClass adds a class, or changes it in place; its queued packets and its children stay.
func (d device) putClass(c class) request {
	opt := make([]byte, 44) // struct tc_htb_opt
	rateSpec(opt[0:], c.rate)
	rateSpec(opt[12:], c.ceil)
	binary.NativeEndian.PutUint32(opt[24:], ticks(burst(c.rate), c.rate))
	binary.NativeEndian.PutUint32(opt[28:], ticks(burst(c.ceil), c.ceil))
	binary.NativeEndian.PutUint32(opt[32:], c.quantum)
	binary.NativeEndian.PutUint32(opt[40:], c.prio)
	return request{
		kind: unix.RTM_NEWTCLASS, flags: unix.NLM_F_CREATE,
		body: slices.Concat(trafficHeader(d.link, handle(c.minor), handle(c.parent)), attr(tcaKind, text("htb")),
			nest(tcaOptions, attr(htbParms, opt), attr(htbRate64, native64(c.rate)), attr(htbCeil64, native64(c.ceil)))),
		op: fmt.Sprintf("tc class replace dev %s classid %x:%x", d.name, netctl.HTBMajor, c.minor),
	}
}

func rateSpec(b []byte, rate uint64) {
	b[1] = linkEthernet
	binary.NativeEndian.PutUint32(b[8:], uint32(min(rate, math.MaxUint32)))
}

// ticks returns the time of size bytes at the rate, in psched time.
func ticks(size, rate uint64) uint32 {
	return uint32(min(size*1e9/max(rate, 1)/tick, math.MaxUint32))
}

// splitMajor returns the major number of a class's TBF, which must be known for the queue below it, and false if there is none. The
// kernel assigns no major number below 0x8000 itself, nor 0x8000 (qdisc_alloc_handle of net/sched/sch_api.c).
// A slow lane's is between those of residents, since networks that have lanes use a quarter of the minors for residents.
func splitMajor(minor uint16) (uint16, bool) {
	const lanes = netctl.MinorSlowLanes / 2 // how many there may be
	switch {
	case minor == netctl.HTBMajor:
		return 0x8000, true
	case minor >= netctl.MinorSlowLanes:
		return minor - lanes, minor < netctl.MinorSlowLanes+lanes
	}
	return minor, true
}

// leafOf returns the kind of the class's queue, given the kernel's best kind.
func leafOf(c class, best leafQueue) leafQueue {
	_, ok := splitMajor(c.minor)
	wide := c.minor >= netctl.MinorSlowLanes && c.prio != slowPriority // a resident's in a network without lanes
	if !ok || wide || !c.split {
		best.split = false
	}
	return best
}

// putLeaf gives a class its own queue.
func (d device) putLeaf(c class, best leafQueue) []request {
	q := leafOf(c, best)
	bytes, frames := queueBytes(c.ceil), framesBytes(c.ceil)
	if c.prio == slowPriority {
		bytes = slowQueueBytes(c.ceil)
		frames = bytes
	}
	if !q.split {
		return []request{d.putQueue(handle(c.minor), q.kind, bytes)}
	}
	major, _ := splitMajor(c.minor)
	opt := make([]byte, 36) // struct tc_tbf_qopt
	rateSpec(opt[0:], splitRate)
	binary.NativeEndian.PutUint32(opt[24:], frames)
	all := []request{{
		kind: unix.RTM_NEWQDISC, flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE,
		body: slices.Concat(trafficHeader(d.link, uint32(major)<<16, handle(c.minor)), attr(tcaKind, text(splitter)),
			nest(tcaOptions, attr(tbfParms, opt), attr(tbfRate64, native64(splitRate)), attr(tbfBurst, native32(uint32(d.mtu+header))))),
		op: fmt.Sprintf("tc qdisc replace dev %s parent %x:%x handle %x: %s", d.name, netctl.HTBMajor, c.minor, major, splitter),
	}}
	if q.kind != leafBFIFO { // TBF creates one itself
		all = append(all, d.putQueue(uint32(major)<<16|1, q.kind, bytes))
	}
	return all
}

// putQueue puts a queue of that length below a class or a TBF.
func (d device) putQueue(parent uint32, kind string, bytes uint32) request {
	options := attr(tcaOptions, native32(bytes)) // struct tc_fifo_qopt
	if kind == leafFQCodel {
		// The defaults take 68 kB per leaf: too much for a thousand residents on a board with 512 MB.
		options = nest(tcaOptions,
			attr(fqCodelFlows, native32(32)),
			attr(fqCodelLimit, native32(1000)),
			attr(fqCodelMemory, native32(4*bytes)))
	}
	return request{
		kind: unix.RTM_NEWQDISC, flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE,
		body: slices.Concat(trafficHeader(d.link, 0, parent), attr(tcaKind, text(kind)), options),
		op:   fmt.Sprintf("tc qdisc replace dev %s parent %x:%x %s", d.name, parent>>16, parent&0xffff, kind),
	}
}

// putClasses sends requests for classes and their leaf queues, with the best kind of queue that the kernel has. The requests must be
// idempotent.
func (g *Gate) putClasses(requests func(best leafQueue) []request) error {
	for {
		all := requests(g.leaves[0])
		err := g.route.do(all...)
		if isErrno(err, unix.ENOENT) && len(g.leaves) > 1 {
			g.leaves = g.leaves[1:]
			continue
		}
		if err == nil && slices.ContainsFunc(all, func(r request) bool { return r.kind == unix.RTM_NEWQDISC }) {
			g.leafKind = g.leaves[0].kind
		}
		return err
	}
}

// deleteClass deletes a class with its queue. It is idempotent.
func (d device) deleteClass(minor uint16) request {
	return request{
		kind: unix.RTM_DELTCLASS, body: trafficHeader(d.link, handle(minor), 0),
		op: fmt.Sprintf("tc class del dev %s classid %x:%x", d.name, netctl.HTBMajor, minor), ignoredErrnos: absentErrnos,
	}
}

// tree is a device's qdiscs and classes in the kernel.
type tree struct {
	root     bool   // the root qdisc is ours
	fallback uint16 // its default class
	classes  map[uint16]class
	queues   map[uint16]leafQueue // of classes with their own queue
}

// readTree reads a device's qdiscs and classes.
func (g *Gate) readTree(link int) (t tree, err error) {
	t = tree{classes: map[uint16]class{}, queues: map[uint16]leafQueue{}}
	qdiscs, err := g.route.get(unix.RTM_GETQDISC, unix.NLM_F_DUMP, trafficHeader(link, 0, 0))
	if err != nil {
		return t, fmt.Errorf("list queues: %w", err)
	}
	below := map[uint16]string{} // kinds of the queues in a TBF, by its major number
	for _, m := range qdiscs {
		h, ok := trafficOf(m)
		switch {
		case !ok || h.link != link:
		case h.parent&0xffff == 1 && h.parent>>16 != netctl.HTBMajor:
			below[uint16(h.parent>>16)] = h.kind()
		case h.parent == tcRoot && h.handle == netctl.HTBMajor<<16:
			t.root = true
			for kind, value := range nlmsg.Attributes(h.rest) {
				if kind == tcaOptions {
					t.fallback = fallbackOf(value)
				}
			}
		case h.parent>>16 == netctl.HTBMajor:
			t.queues[uint16(h.parent)] = leafQueue{kind: h.kind()}
		}
	}
	for minor, q := range t.queues {
		if major, ok := splitMajor(minor); ok && q.kind == splitter {
			t.queues[minor] = leafQueue{cmp.Or(below[major], leafBFIFO), true}
		}
	}
	if !t.root {
		return t, nil
	}
	classes, err := g.route.get(unix.RTM_GETTCLASS, unix.NLM_F_DUMP, trafficHeader(link, 0, 0))
	if err != nil {
		return t, fmt.Errorf("list classes: %w", err)
	}
	for _, m := range classes {
		h, ok := trafficOf(m)
		if !ok || h.handle>>16 != netctl.HTBMajor {
			continue
		}
		c := class{minor: uint16(h.handle)}
		if h.parent != tcRoot {
			c.parent = uint16(h.parent)
		}
		for kind, value := range nlmsg.Attributes(h.rest) {
			if kind == tcaOptions {
				c.read(value)
			}
		}
		t.classes[c.minor] = c
	}
	return t, nil
}

// kind returns the kind of a queue.
func (h traffic) kind() string {
	for kind, value := range nlmsg.Attributes(h.rest) {
		if kind == tcaKind {
			return textOf(value)
		}
	}
	return ""
}

// fallbackOf reads the default class from a root's options.
func fallbackOf(options []byte) uint16 {
	for kind, value := range nlmsg.Attributes(options) {
		if kind == htbInit {
			return uint16(native32Of(skipHeader(8, value)))
		}
	}
	return 0
}

func (c *class) read(options []byte) {
	for kind, value := range nlmsg.Attributes(options) {
		switch kind {
		case htbParms:
			c.rate = cmp.Or(c.rate, uint64(native32Of(skipHeader(8, value))))
			c.ceil = cmp.Or(c.ceil, uint64(native32Of(skipHeader(20, value))))
			c.quantum = native32Of(skipHeader(32, value))
			c.prio = native32Of(skipHeader(40, value))
		case htbRate64:
			c.rate = native64Of(value)
		case htbCeil64:
			c.ceil = native64Of(value)
		}
	}
}

// applyShaper reconciles a device's tree with the shaper: a class for each resident, at these offsets, and no others.
func (g *Gate) applyShaper(d device, s netctl.Shaper, c netctl.Class, residents []uint16) (changes []string, err error) {
	fixed, each := wantedClasses(s, g.rates[d.name].bits, c, len(residents))
	var fallback uint16
	if s.Own != 0 {
		fallback = netctl.MinorOwn
	}
	have, err := g.readTree(d.link)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.name, err)
	}
	if was := g.shaped[d.name]; was.link == d.link && was.mtu != d.mtu {
		// TBF drops frames larger than its burst, and the tree does not show its burst.
		maps.DeleteFunc(have.queues, func(_ uint16, q leafQueue) bool { return q.split })
	}
	var roots []request
	if have.root && have.fallback != fallback {
		roots = append(roots, d.deleteRoot())
		have = tree{}
	}
	if !have.root {
		roots = append(roots, d.addRoot(fallback))
	}
	for _, r := range roots {
		if err := g.route.do(r); err != nil {
			return changes, err
		}
		changes = append(changes, r.op)
	}
	all, slow := slowClasses(s, c, len(residents))
	want := slices.Clone(fixed)
	if all.ceil != 0 {
		want = append(want, all)
		for _, minor := range residents {
			slow.minor = slowMinor(minor)
			want = append(want, slow)
		}
	}
	if each.ceil != 0 {
		for _, minor := range residents {
			each.minor = minor
			want = append(want, each)
		}
	}
	var todo []request
	err = g.putClasses(func(best leafQueue) []request {
		todo = have.steps(d, want, best)
		return todo
	})
	for _, r := range todo {
		changes = append(changes, r.op)
	}
	return changes, err
}

// steps returns the requests that turn a device's classes into the wanted ones.
func (t tree) steps(d device, want []class, best leafQueue) (todo []request) {
	kept, gone := map[uint16]bool{}, map[uint16]bool{}
	for _, w := range want {
		kept[w.minor] = true
		if have, there := t.classes[w.minor]; there && have.parent != w.parent {
			gone[w.minor] = true // a class cannot change its parent: it is deleted and created again
		}
	}
	// A class cannot be deleted before its children. Children that are wanted are created again, too.
	for n := -1; n != len(gone); {
		n = len(gone)
		for minor, have := range t.classes {
			if gone[have.parent] {
				gone[minor] = true
			}
		}
	}
	// In ascending order, so that the class of all slow lanes and then the total's come after their children.
	for _, minor := range slices.Sorted(maps.Keys(gone)) {
		todo = append(todo, d.deleteClass(minor))
	}
	for _, w := range want {
		have, there := t.classes[w.minor]
		queue := t.queues[w.minor]
		if gone[w.minor] {
			there, queue = false, leafQueue{}
		}
		have.split = w.split
		if have.leaf = w.leaf; !have.leaf {
			have.quantum, have.prio = w.quantum, w.prio // of an inner class, only the rates can change (htb_change_class)
		}
		if !there || have != w {
			todo = append(todo, d.putClass(w))
		}
		if w.leaf && (queue != leafOf(w, best) || have.ceil != w.ceil) {
			todo = append(todo, d.putLeaf(w, best)...)
		}
	}
	for _, minor := range slices.Sorted(maps.Keys(t.classes)) {
		if !kept[minor] && !gone[minor] {
			todo = append(todo, d.deleteClass(minor))
		}
	}
	return todo
}
