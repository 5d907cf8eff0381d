// Package gatetest has what tests of gates share: a conformance suite, an in-memory kernel, and a gate that runs in a netlab host.
package gatetest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/netctl"
)

// Kernel is a kernel, real or fake, in netlab's standard scene with two lenders.
type Kernel interface {
	// Gate returns a new gate, like that of a daemon that has just started.
	Gate(t *testing.T) netctl.Gate
	// String returns everything that gates create, sorted, without what changes with time and traffic.
	String() string
	// Wait lets time pass.
	Wait(d time.Duration)
	// Pass sends packets from the resident to the internet, at least that many bytes in total.
	Pass(t *testing.T, k int, bytes uint64)
	// Broadcast sends packets from a host in the lender's own network, to everybody on it or only to the box: that many bytes in
	// total, without link headers.
	Broadcast(t *testing.T, lender int, bytes uint64, all bool)
	// Break breaks an object that a gate created, as another program might.
	Break(t *testing.T, what Object)
}

// Object is a kind of kernel object that gates create.
type Object string

// Objects.
const (
	Address     Object = "hotspot's address"
	Link        Object = "hotspot's interface up"
	Sets        Object = "sets"
	Entries     Object = "entries of all sets"
	ClientEntry Object = "entry of an authorized device"
	Rules       Object = "routing rules"
	Routes      Object = "routes"
	Mangle      Object = "mangle table"
	NAT         Object = "nat table"
	Filter      Object = "filter table"
	AllTables   Object = "whole ruleset"
	Queue       Object = "root queue"
	Class       Object = "resident's class"
	Parameters  Object = "kernel parameters"
)

// Objects are all kinds.
var Objects = []Object{Address, Link, Sets, Entries, ClientEntry, Rules, Routes, Mangle, NAT, Filter, AllTables, Queue, Class, Parameters}

// Hotspot is the box's address in the suite.
var Hotspot = netip.MustParsePrefix("10.80.0.1/22")

// ResidentAddr returns the k-th resident's address in the suite.
func ResidentAddr(k int) netip.Addr { return netip.AddrFrom4([4]byte{10, 80, 1, byte(k + 1)}) }

// ResidentMAC returns the k-th resident's hardware address, as netlab gives it.
func ResidentMAC(k int) netctl.MAC { return netctl.MAC{2, 0, 0, 0, 0, byte(k + 1)} }

// Plans holds the plans that the suite applies. The caller compiles them, since netctl does not import that package. Their hotspot is
// wlan0 with the address Hotspot. Their two lenders are eth0, with a cap, and eth1, without one.
type Plans struct {
	Sharing      [2]netctl.Plan // by either lender
	Captive      netctl.Plan    // nothing is shared
	Limited      netctl.Plan    // Sharing[0] with lower rates for each resident
	Unlimited    netctl.Plan    // the first lender alone, no limit of any kind
	WithoutFirst netctl.Plan    // by eth1; there is no eth0
}

// The lenders' interfaces in the suite.
const first, second = "eth0", "eth1"

// Conformance tests that a gate does what netctl.Gate documents.
func Conformance(t *testing.T, plans Plans, newKernel func(t *testing.T) Kernel) {
	run := func(name string, f func(s *suite)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKernel(t)
			f(&suite{T: t, Kernel: k, before: k.String(), gate: k.Gate(t), plans: plans})
		})
	}
	run("Apply", testApply)
	run("Plans", testPlans)
	run("Sessions", testSessions)
	run("Expiry", testExpiry)
	run("Data", testData)
	run("Crash", testCrash)
	run("Usage", testUsage)
	run("Tranches", testTranches)
	run("Broadcasts", testBroadcasts)
	run("Repair", testRepair)
	run("Close", testClose)
}

type suite struct {
	*testing.T
	Kernel
	before string
	gate   netctl.Gate
	plans  Plans
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// apply applies a plan, and then once more to check that this changes nothing.
func (s *suite) apply(p netctl.Plan) (changes []string) {
	s.Helper()
	changes, err := s.gate.Apply(s.Context(), p)
	s.must(err)
	again, err := s.gate.Apply(s.Context(), p)
	s.must(err)
	if len(again) != 0 {
		s.Errorf("applied again, it changed %q", again)
	}
	return changes
}

// same checks that the kernel's state is want.
func (s *suite) same(want, when string) {
	s.Helper()
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(s.Kernel.String(), "\n")); d != "" {
		s.Errorf("the kernel changed %s:\n%s", when, d)
	}
}

// session returns a session of an hour without a data limit.
func session(k int) netctl.Session {
	return netctl.Session{Addr: ResidentAddr(k), MAC: ResidentMAC(k), Left: time.Hour, Data: netctl.Unlimited}
}

// checkSessions checks the sessions, apart from the time that has passed and the bytes counted.
func (s *suite) checkSessions(want ...netctl.Session) {
	s.Helper()
	got, err := s.gate.Sessions()
	s.must(err)
	for i := range got {
		if i < len(want) && got[i].Left <= want[i].Left && got[i].Left > want[i].Left-time.Minute {
			got[i].Left = want[i].Left
		}
		got[i].Used = 0
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		s.Errorf("sessions (-want +got):\n%s", d)
	}
}

// eventually waits until the condition holds.
func (s *suite) eventually(what string, condition func() bool) {
	s.Helper()
	const step, limit = 50 * time.Millisecond, 10 * time.Second
	for waited := time.Duration(0); !condition(); waited += step {
		if waited > limit {
			s.Fatalf("not after %v: %s", limit, what)
		}
		s.Wait(step)
	}
}

func testApply(s *suite) {
	if err := s.gate.Authorize(session(0)); err == nil {
		s.Error("a session was authorized before there was a plan")
	}
	if err := s.gate.Grant(s.Context(), netctl.Tranche{Chain: s.plans.Sharing[0].Cap, ID: 1, Bytes: 1}); err == nil {
		s.Error("a tranche was granted before there was a plan")
	}
	s.must(s.gate.End(ResidentAddr(0)))
	s.checkSessions()
	if changes := s.apply(s.plans.Sharing[0]); len(changes) == 0 {
		s.Error("the first plan changed nothing")
	}
	state := s.Kernel.String()
	if state == s.before {
		s.Error("the first plan left the kernel as it was")
	}
	s.apply(s.plans.Sharing[0])
	s.same(state, "when the plan was applied again")
}

func testPlans(s *suite) {
	silent := s.plans.Sharing[0]
	silent.Tables = s.plans.Captive.Tables

	plans := []netctl.Plan{s.plans.Sharing[0], s.plans.Sharing[1], s.plans.Captive, s.plans.Limited, s.plans.Unlimited, silent}
	s.apply(plans[0])
	want := []netctl.Session{session(0), session(1)}
	want[1].Data = 1e6
	for _, x := range want {
		s.must(s.gate.Authorize(x))
	}
	var states []string
	for _, p := range plans {
		s.apply(p)
		states = append(states, s.Kernel.String())
		s.checkSessions(want...)
	}
	// From each plan to every other one.
	at := len(plans) - 1
	visit := func(j int) {
		if changes := s.apply(plans[j]); at != j && len(changes) == 0 {
			s.Errorf("from plan %d to %d nothing changed", at, j)
		}
		s.same(states[j], fmt.Sprintf("on its way from plan %d to %d", at, j))
		at = j
	}
	for i := range plans {
		visit(i)
		for j := i + 1; j < len(plans); j++ {
			visit(j)
			visit(i)
		}
	}
	s.checkSessions(want...)
}

func testSessions(s *suite) {
	s.apply(s.plans.Sharing[0])
	alone := s.Kernel.String()
	network := Hotspot.Masked()
	for name, x := range map[string]netctl.Session{
		"of the box":                   {Addr: Hotspot.Addr(), Left: time.Hour, Data: 1},
		"of another network":           {Addr: netip.MustParseAddr("192.0.2.80"), Left: time.Hour, Data: 1},
		"of the network itself":        {Addr: network.Addr(), Left: time.Hour, Data: 1},
		"of everybody (its broadcast)": {Addr: netip.MustParseAddr("10.80.3.255"), Left: time.Hour, Data: 1},
		"that has ended":               {Addr: ResidentAddr(0), MAC: ResidentMAC(0), Data: 1},
	} {
		if err := s.gate.Authorize(x); err == nil {
			s.Errorf("a session %s was authorized", name)
		}
	}
	s.same(alone, "though no session was authorized")

	first, second := session(0), session(1)
	second.Left, second.Data = 20*time.Minute, 5e6
	s.must(s.gate.Authorize(second))
	s.must(s.gate.Authorize(first))
	s.checkSessions(first, second)
	both := s.Kernel.String()
	if both == alone {
		s.Error("two sessions left no trace in the kernel")
	}
	s.apply(s.plans.Sharing[0])
	s.same(both, "when the plan was applied with sessions")

	second.Left, second.Data = 40*time.Minute, 9e6
	s.must(s.gate.Authorize(second))
	s.checkSessions(first, second)
	s.same(both, "when a session was given new limits")

	s.must(s.gate.End(first.Addr))
	s.must(s.gate.End(first.Addr))
	s.checkSessions(second)
	s.must(s.gate.End(second.Addr))
	s.checkSessions()
	s.must(s.gate.SaveUsage(nil, time.Hour))
	s.same(alone, "after the sessions came and went")

	s.Pass(s.T, 0, 1)
	s.eventually("the neighbour is known", func() bool {
		mac, err := s.gate.Neighbor(first.Addr)
		return err == nil && mac == first.MAC
	})
	if mac, err := s.gate.Neighbor(netip.MustParseAddr("10.80.2.200")); err == nil {
		s.Errorf("nobody's hardware address is %s", mac)
	}
}

func testExpiry(s *suite) {
	p := s.plans.Sharing[0]
	s.apply(p)
	alone := s.Kernel.String()
	short, long := session(0), session(1)
	short.Left, short.Data = time.Second, 1e6
	s.must(s.gate.Grant(s.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 1e9}))
	s.must(s.gate.Authorize(short))
	s.must(s.gate.Authorize(long))
	s.Pass(s.T, 0, 10_000)
	s.eventually("the session has ended", func() bool {
		all, err := s.gate.Sessions()
		s.must(err)
		return len(all) == 1
	})
	s.checkSessions(long)
	s.eventually("the daemon's clock agrees", func() bool {
		_, err := s.gate.Apply(s.Context(), p)
		s.must(err)
		return !strings.Contains(s.Kernel.String(), short.Addr.String())
	})
	s.apply(p)

	// Its slot in the sets is free for another session, which starts at zero.
	short.Left = time.Hour
	s.must(s.gate.Authorize(short))
	s.checkSessions(short, long)
	all, err := s.gate.Sessions()
	s.must(err)
	if all[0].Used != 0 {
		s.Errorf("a new session begins with %d bytes used", all[0].Used)
	}
	s.must(s.gate.End(short.Addr))
	s.must(s.gate.End(long.Addr))
	s.must(s.gate.SaveUsage(nil, time.Hour))
	if got := withoutTranches(s.Kernel.String()); got != alone {
		s.Errorf("the sessions left something behind:\n%s", cmp.Diff(alone, got))
	}
}

// withoutTranches removes the tranches from a kernel's text.
func withoutTranches(state string) string {
	lines := slices.DeleteFunc(strings.Split(state, "\n"), func(l string) bool { return strings.Contains(l, "--quota") })
	return strings.Join(lines, "\n")
}

func testData(s *suite) {
	p := s.plans.Sharing[0]
	s.apply(p)
	s.must(s.gate.Grant(s.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 1e9}))
	x := session(0)
	x.Data, x.Used = 100_000, 3e6
	s.must(s.gate.Authorize(x))
	counted := func() netctl.Session {
		sample, err := s.gate.ReadCounters()
		s.must(err)
		if len(sample.Sessions) != 1 {
			s.Fatalf("%d sessions", len(sample.Sessions))
		}
		return sample.Sessions[0]
	}
	s.Pass(s.T, 0, 40_000)
	s.eventually("the bytes are counted", func() bool { return counted().Used >= x.Used+40_000 })
	got := counted()
	if got.Spent || got.Used > x.Used+60_000 || got.Data+got.Used != x.Data+x.Used {
		s.Errorf("40 kB were counted as %+v", got)
	}
	s.apply(s.plans.Sharing[0])
	if again := counted(); again.Used != got.Used {
		s.Errorf("an applied plan changed the count from %d to %d", got.Used, again.Used)
	}
	s.Pass(s.T, 0, 100_000)
	s.eventually("the data is spent", func() bool { return counted().Spent })
	if got := counted(); got.Data != 0 {
		s.Errorf("of spent data %d bytes are left", got.Data)
	}
	// New data for a running session.
	s.must(s.gate.Authorize(x))
	if got := counted(); got.Spent || got.Used != x.Used || got.Data != x.Data {
		s.Errorf("authorized again, the session is %+v", got)
	}
}

func testCrash(s *suite) {
	p := s.plans.Sharing[0]
	s.apply(p)
	first, second := session(0), session(1)
	second.Data = 100_000
	s.must(s.gate.Authorize(first))
	s.must(s.gate.Authorize(second))
	tranche := netctl.Tranche{Chain: p.Cap, ID: 7, Bytes: 1e9}
	s.must(s.gate.Grant(s.Context(), tranche))
	s.Pass(s.T, 1, 40_000)
	var used uint64
	s.eventually("the bytes are charged", func() bool {
		sample, err := s.gate.ReadCounters()
		s.must(err)
		used = sample.Tranches[0].Used
		return used >= 40_000
	})
	state := s.Kernel.String()

	s.gate = s.Gate(s.T)
	if all, err := s.gate.Sessions(); err != nil || len(all) != 2 {
		s.Errorf("before its first plan the next gate sees the sessions %v, %v", all, err)
	}
	s.apply(p)
	s.same(state, "when the next gate started")
	sample, err := s.gate.ReadCounters()
	s.must(err)
	if len(sample.Tranches) != 1 || sample.Tranches[0].Tranche != tranche || sample.Tranches[0].Used < used {
		s.Errorf("after a crash the tranches are %+v, %d bytes were used before", sample.Tranches, used)
	}
	if len(sample.Sessions) != 2 || sample.Sessions[0].Data != netctl.Unlimited || sample.Sessions[1].Data > 60_000 {
		s.Errorf("after a crash the sessions are %+v", sample.Sessions)
	}
	s.must(s.gate.Grant(s.Context(), tranche))
	s.same(state, "when the tranche was granted again")
	// The next gate treats the sessions as its own.
	s.must(s.gate.End(second.Addr))
	s.checkSessions(first)
	// A gate that has applied nothing can close, too.
	s.gate = s.Gate(s.T)
	s.must(s.gate.Close(s.Context()))
	s.same(s.before, "after the gate was closed")
}

// testUsage checks that the next gate knows today's usage, even after sessions ended and gates crashed.
func testUsage(s *suite) {
	p := s.plans.Sharing[0]
	gone, other := netctl.MAC{2, 0, 0, 0, 1, 0}, netctl.MAC{2, 0, 0, 0, 1, 1}
	if err := s.gate.SaveUsage(map[netctl.MAC]uint64{gone: 1}, time.Hour); err == nil {
		s.Error("usage was saved before there was a plan")
	}
	s.apply(p)
	s.must(s.gate.Grant(s.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 1e9}))
	bounded, unbounded := session(0), session(1)
	bounded.Data, bounded.Used = 10e6, 7e6
	unbounded.Used = 5e6
	s.must(s.gate.Authorize(bounded))
	s.must(s.gate.Authorize(unbounded))
	used := map[netctl.MAC]uint64{bounded.MAC: bounded.Used, unbounded.MAC: unbounded.Used, gone: 3e6}
	save := func() {
		s.Helper()
		s.must(s.gate.SaveUsage(used, time.Hour))
	}
	// holds checks the saved usage.
	holds := func(when string) {
		s.Helper()
		got, err := s.gate.SavedUsage()
		s.must(err)
		if d := cmp.Diff(used, got); d != "" {
			s.Errorf("%s, the saved usage (-want +got):\n%s", when, d)
		}
		all, err := s.gate.Sessions()
		s.must(err)
		for _, x := range all {
			if x.Used != used[x.MAC] {
				s.Errorf("%s, the usage of a session's device is %d bytes, not %d", when, x.Used, used[x.MAC])
			}
		}
	}
	// crash replaces the gate by a new one.
	crash := func() {
		s.Helper()
		s.gate = s.Gate(s.T)
		holds("after a crash, before the first plan")
		s.apply(p)
		holds("after a crash")
	}
	pass := func(k int, x netctl.Session) {
		s.Helper()
		before := used[x.MAC]
		s.Pass(s.T, k, 40_000)
		s.eventually("the bytes are counted", func() bool {
			sample, err := s.gate.ReadCounters()
			s.must(err)
			used[x.MAC] = sample.Sessions[k].Used
			return used[x.MAC] >= before+40_000
		})
		if n := used[x.MAC] - before; n > 60_000 {
			s.Errorf("40 kB were counted as %d bytes", n)
		}
	}
	save()
	holds("at first")
	for range 3 {
		pass(0, bounded)
		holds("while a session runs")
		crash()
		save()
		s.apply(p)
		holds("saved again")
	}
	// Other limits do not change the usage.
	bounded.Data, bounded.Used = 2e6, used[bounded.MAC]
	s.must(s.gate.Authorize(bounded))
	holds("with other limits")
	crash()
	pass(0, bounded)
	s.must(s.gate.End(bounded.Addr))
	holds("after the session's end")
	crash()
	// Another program flushes the sets.
	s.Break(s.T, Entries)
	s.apply(p)
	holds("after the sets were flushed")
	// The usage grows a lot while a session runs, and so does that of devices without a session.
	used[unbounded.MAC] += 5 * netctl.UsageLag
	used[other], used[gone] = 1, 4e6
	save()
	holds("after more was used")
	crash()
	// A new day.
	used = map[netctl.MAC]uint64{unbounded.MAC: 0}
	save()
	holds("on a new day")
	crash()
	// The day ends while no daemon runs.
	used[unbounded.MAC], used[other] = 9e6, 1e6
	s.must(s.gate.SaveUsage(used, time.Second))
	s.apply(p)
	s.gate = s.Gate(s.T)
	s.eventually("the day is over", func() bool {
		got, err := s.gate.SavedUsage()
		s.must(err)
		return len(got) == 1
	})
	used = map[netctl.MAC]uint64{unbounded.MAC: 0}
	holds("when the day is over")
	s.apply(p)
	holds("in the next gate after the day is over")
	// There are as many slots as the network has addresses, and a deleted entry frees its slot.
	all := map[netctl.MAC]uint64{}
	for n := range 3 {
		clear(all)
		for k := range 1 << 10 {
			all[netctl.MAC{6, byte(n), 0, 0, byte(k >> 8), byte(k)}] = uint64(k)
		}
		s.must(s.gate.End(unbounded.Addr))
		used = all
		save()
		holds("with a full network")
	}
	crash()
	if err := s.gate.Authorize(bounded); err == nil {
		s.Error("a device was authorized whose usage cannot be saved")
	}
	holds("after one too many")
	s.must(s.gate.Close(s.Context()))
	s.same(s.before, "after the gate was closed")
}

func testTranches(s *suite) {
	p := s.plans.Sharing[0]
	s.apply(p)
	s.must(s.gate.Authorize(session(0)))
	read := func() []netctl.TrancheUsage {
		sample, err := s.gate.ReadCounters()
		s.must(err)
		return sample.Tranches
	}
	ids := func() (ids []uint64) {
		for _, t := range read() {
			ids = append(ids, t.ID)
		}
		return ids
	}
	grant := func(id uint64, bytes uint64) {
		s.must(s.gate.Grant(s.Context(), netctl.Tranche{Chain: p.Cap, ID: id, Bytes: bytes}))
	}
	for _, id := range []uint64{1, 2, 3} {
		grant(id, 100_000)
	}
	grant(2, 100_000)
	if got := ids(); !slices.Equal(got, []uint64{1, 2, 3}) {
		s.Fatalf("granted 1, 2, 3 and 2 again, there are %v", got)
	}
	state := s.Kernel.String()
	s.Pass(s.T, 0, 150_000)
	s.eventually("the second tranche is charged", func() bool { return read()[1].Used > 0 })
	spent := read()
	if spent[0].Used > 100_000 || spent[0].Used < 90_000 || spent[1].Used < 40_000 || spent[1].Used > 80_000 || spent[2].Used != 0 {
		s.Errorf("of three tranches of 100 kB, 150 kB used %+v", spent)
	}
	// Nothing resets the usage.
	for _, q := range []netctl.Plan{s.plans.Captive, s.plans.Sharing[1], p} {
		s.apply(q)
		for i, now := range read() {
			if now.Tranche != spent[i].Tranche || now.Used < spent[i].Used {
				s.Errorf("a plan changed tranche %+v to %+v", spent[i], now)
			}
		}
	}
	s.same(state, "of the quota chain, by other plans")
	s.Pass(s.T, 0, 300_000)
	s.eventually("the last tranche is used", func() bool { return read()[2].Used >= 90_000 })
	for _, x := range read() {
		if x.Used > x.Bytes {
			s.Errorf("more was used than granted: %+v", x)
		}
	}
	grant(4, 100_000)
	if got := ids(); !slices.Equal(got, []uint64{3, 4}) {
		s.Errorf("with a fourth tranche and two known to be spent, there are %v", got)
	}
	grant(4, 100_000)
	grant(3, 100_000)
	if got := ids(); !slices.Equal(got, []uint64{3, 4}) {
		s.Errorf("granted again, there are %v", got)
	}
	// After they are revoked nothing is charged, and other chains are unchanged.
	other := netctl.ChainOf("another")
	s.must(s.gate.Revoke(s.Context(), other))
	if got := ids(); len(got) == 0 {
		s.Error("another chain's tranches were revoked, and these are gone")
	}
	s.must(s.gate.Revoke(s.Context(), p.Cap))
	if got := ids(); len(got) != 0 {
		s.Errorf("after all were revoked, there are %v", got)
	}
	if changes := s.apply(p); len(changes) != 0 {
		s.Errorf("they came back: %q", changes)
	}
	grant(9, 100_000)
	if got := ids(); !slices.Equal(got, []uint64{9}) {
		s.Errorf("granted 9, there are %v", got)
	}
}

// testBroadcasts checks that an uplink's broadcasts are counted and nothing else, and that no count is lost.
func testBroadcasts(s *suite) {
	p := s.plans.Sharing[0]
	s.apply(p)
	uplink, other := first, second
	read := func() map[string]uint64 {
		counted, err := s.gate.Broadcasts()
		s.must(err)
		return counted
	}
	before := read()
	// broadcast broadcasts 20 kB in the first lender's network, and returns the bytes of broadcasts counted after that.
	broadcast := func() (counted uint64) {
		was := read()[uplink]
		s.Broadcast(s.T, 0, 20_000, true)
		s.eventually("the broadcasts are counted", func() bool { counted = read()[uplink]; return counted >= was+20_000 })
		return counted
	}
	s.Broadcast(s.T, 0, 100_000, false)
	counted := broadcast()
	if now := read(); counted > before[uplink]+40_000 || now[other] > before[other]+10_000 {
		s.Errorf("of 100 kB to the box and 20 kB to all, %d bytes are broadcasts; on another uplink %d", counted-before[uplink], now[other])
	}
	stays := func(when string) {
		s.Helper()
		if now := read()[uplink]; now < counted || now > counted+10_000 {
			s.Errorf("%s, the count of broadcasts went from %d to %d", when, counted, now)
		}
		counted = broadcast()
	}
	for _, q := range []netctl.Plan{s.plans.Captive, s.plans.Sharing[1], p} {
		s.apply(q)
		stays("with another plan")
	}
	for _, object := range []Object{Mangle, AllTables} {
		s.Break(s.T, object)
		s.apply(p)
		stays("after another program broke: " + string(object))
	}
	s.gate = s.Gate(s.T)
	if now := read()[uplink]; now < counted {
		s.Errorf("before its first plan the next gate counted %d bytes of %d", now, counted)
	}
	s.apply(p)
	stays("when the next gate started")

	// The counter of an uplink that is gone is deleted: a new interface with the same name is another uplink.
	s.apply(s.plans.WithoutFirst)
	s.apply(p)
	if now := read()[uplink]; now > 10_000 {
		s.Errorf("%d bytes are counted on a new uplink", now)
	}
	s.must(s.gate.Close(s.Context()))
	s.same(s.before, "after the gate was closed")
}

func testRepair(s *suite) {
	p := s.plans.Sharing[0]
	s.apply(p)
	want := []netctl.Session{session(0), session(1)}
	for _, x := range want {
		s.must(s.gate.Authorize(x))
	}
	s.must(s.gate.Grant(s.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 1e9}))
	s.apply(p)
	state := s.Kernel.String()
	for _, object := range Objects {
		s.Break(s.T, object)
		if s.Kernel.String() == state {
			s.Errorf("%s: breaking it left no trace: the test is wrong", object)
		}
		if changes := s.apply(p); len(changes) == 0 {
			s.Errorf("%s: nothing was repaired", object)
		}
		s.same(state, "after a repair of: "+string(object))
		s.checkSessions(want...)
	}
}

func testClose(s *suite) {
	p := s.plans.Sharing[0]
	s.apply(p)
	for k := range 2 {
		s.must(s.gate.Authorize(session(k)))
	}
	s.must(s.gate.Grant(s.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 1e9}))
	s.apply(s.plans.Sharing[1])
	s.apply(p)
	s.must(s.gate.Close(s.Context()))
	s.same(s.before, "after the gate was closed")

	// The next gate starts from scratch.
	s.gate = s.Gate(s.T)
	s.apply(p)
	s.checkSessions()
	s.must(s.gate.Close(s.Context()))
	s.same(s.before, "after the gate was closed again")
}
