// Package gatetest is what tests of gates share: a conformance suite, a kernel in memory, and a way to run a gate inside a
// host of netlab.
package gatetest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/netctl"
	"passerelle/netctl/plan"
)

// Kernel is a kernel, real or not, with netlab's standard scene of two lenders around it.
type Kernel interface {
	// Gate returns a new gate, like the one of a daemon that has just started.
	Gate(t *testing.T) netctl.Gate
	// String shows everything that gates make, sorted, without what time and traffic change.
	String() string
	// Wait lets time pass.
	Wait(d time.Duration)
	// Pass sends packets of the resident to the internet, at least so many bytes of them.
	Pass(t *testing.T, k int, bytes uint64)
	// Shout has somebody on the lender's own network send packets to all on it, or to the box alone: so many bytes of them,
	// without link headers.
	Shout(t *testing.T, lender int, bytes uint64, all bool)
	// Break breaks something that a gate made, as another program would.
	Break(t *testing.T, what Object)
}

// Object is a kind of thing that gates make.
type Object string

// Objects.
const (
	Address    Object = "hotspot's address"
	Link       Object = "hotspot's interface up"
	Sets       Object = "sets"
	Entries    Object = "entries of all sets"
	WhoEntry   Object = "entry of who may send"
	Rules      Object = "routing rules"
	Routes     Object = "routes"
	Mangle     Object = "mangle table"
	NAT        Object = "nat table"
	Filter     Object = "filter table"
	AllTables  Object = "whole ruleset"
	Queue      Object = "root queue"
	Class      Object = "resident's class"
	Parameters Object = "kernel parameters"
)

// Objects are all kinds.
var Objects = []Object{Address, Link, Sets, Entries, WhoEntry, Rules, Routes, Mangle, NAT, Filter, AllTables, Queue, Class, Parameters}

// Hotspot is the box's address in the suite.
var Hotspot = netip.MustParsePrefix("10.80.0.1/22")

// ResidentAddr returns the k-th resident's address in the suite.
func ResidentAddr(k int) netip.Addr { return netip.AddrFrom4([4]byte{10, 80, 1, byte(k + 1)}) }

// ResidentMAC returns the k-th resident's hardware address, as netlab gives it.
func ResidentMAC(k int) netctl.MAC { return netctl.MAC{2, 0, 0, 0, 0, byte(k + 1)} }

// Config is the suite's configuration: two donations and every kind of limit.
func Config() *config.Config {
	return &config.Config{
		Hotspot: config.Hotspot{Interface: "wlan0", Address: Hotspot},
		Limits:  config.Limits{Session: time.Hour, Download: 8e6, Upload: 4e6, Data: 500e6},
		Donations: []config.Donation{
			{Name: "first", Interface: "eth0", Download: 40e6, Upload: 20e6, Cap: 1e9},
			{Name: "second", Interface: "eth1", Download: 20e6},
		},
	}
}

// Sharing is the plan that shares a donation's connection.
func Sharing(c *config.Config, donation int) netctl.Plan {
	third := byte(donation + 1)
	return plan.Compile(plan.Input{
		NamesUser: "65533",
		Config:    c,
		Decision:  decide.Decision{State: decide.Sharing, Internet: decide.AllInternet, Names: true, Donation: donation},
		Gateway:   netip.AddrFrom4([4]byte{192, 168, third, 1}),
		Networks:  []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, third, 0}), 24)},
		LANs:      lans(c),
	})
}

// lans are the donations' lines, all of which are there.
func lans(c *config.Config) (all []plan.LAN) {
	for k, d := range c.Donations {
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(k + 1), 0}), 24)
		all = append(all, plan.LAN{Interface: d.Interface, Networks: []netip.Prefix{network}})
	}
	return all
}

// Held is the plan that shares nothing.
func Held(c *config.Config) netctl.Plan {
	return plan.Compile(plan.Input{
		NamesUser: "65533",
		Config:    c, Decision: decide.Decision{State: decide.Paused, Internet: decide.NoInternet, Donation: -1}, LANs: lans(c),
	})
}

// Conformance tests that a gate keeps the promises of netctl.Gate.
func Conformance(t *testing.T, newKernel func(t *testing.T) Kernel) {
	run := func(name string, f func(s *suite)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKernel(t)
			f(&suite{T: t, Kernel: k, before: k.String(), gate: k.Gate(t), config: Config()})
		})
	}
	run("Apply", testApply)
	run("Plans", testPlans)
	run("Sessions", testSessions)
	run("Expiry", testExpiry)
	run("Data", testData)
	run("Crash", testCrash)
	run("Day", testDay)
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
	config *config.Config
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// apply applies a plan, and once more to see that this changes nothing.
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

// same tells how the kernel differs from what it was.
func (s *suite) same(want, when string) {
	s.Helper()
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(s.Kernel.String(), "\n")); d != "" {
		s.Errorf("the kernel changed %s:\n%s", when, d)
	}
}

// session returns an hour's session without a bound.
func session(k int) netctl.Session {
	return netctl.Session{Addr: ResidentAddr(k), MAC: ResidentMAC(k), Left: time.Hour, Data: netctl.Unlimited}
}

// hold checks that the sessions are those, but for the time that has passed and what was counted.
func (s *suite) hold(want ...netctl.Session) {
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
			s.Fatalf("after %v still not: %s", limit, what)
		}
		s.Wait(step)
	}
}

func testApply(s *suite) {
	if err := s.gate.Admit(session(0)); err == nil {
		s.Error("a session was admitted before there was a plan")
	}
	if err := s.gate.Grant(s.Context(), netctl.Tranche{Chain: plan.Chain(s.config.Donations[0]), ID: 1, Bytes: 1}); err == nil {
		s.Error("a tranche was granted before there was a plan")
	}
	s.must(s.gate.End(ResidentAddr(0)))
	s.hold()
	if changes := s.apply(Sharing(s.config, 0)); len(changes) == 0 {
		s.Error("the first plan changed nothing")
	}
	state := s.Kernel.String()
	if state == s.before {
		s.Error("the first plan left the kernel as it was")
	}
	s.apply(Sharing(s.config, 0))
	s.same(state, "when the plan was applied again")
}

func testPlans(s *suite) {
	limited := *s.config
	limited.Limits.Download, limited.Limits.Upload = 2e6, 1e6
	unlimited := *s.config
	unlimited.Limits = config.Limits{Session: time.Hour}
	unlimited.Donations = []config.Donation{{Name: "first", Interface: "eth0"}}
	silent := Sharing(s.config, 0)
	silent.Tables = Held(s.config).Tables

	plans := []netctl.Plan{
		Sharing(s.config, 0), Sharing(s.config, 1), Held(s.config), Sharing(&limited, 0), Sharing(&unlimited, 0), silent,
	}
	s.apply(plans[0])
	want := []netctl.Session{session(0), session(1)}
	want[1].Data = 1e6
	for _, x := range want {
		s.must(s.gate.Admit(x))
	}
	var states []string
	for _, p := range plans {
		s.apply(p)
		states = append(states, s.Kernel.String())
		s.hold(want...)
	}
	// From each to each other.
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
	s.hold(want...)
}

func testSessions(s *suite) {
	s.apply(Sharing(s.config, 0))
	alone := s.Kernel.String()
	network := Hotspot.Masked()
	for name, x := range map[string]netctl.Session{
		"of the box":                   {Addr: Hotspot.Addr(), Left: time.Hour, Data: 1},
		"of another network":           {Addr: netip.MustParseAddr("192.0.2.80"), Left: time.Hour, Data: 1},
		"of the network itself":        {Addr: network.Addr(), Left: time.Hour, Data: 1},
		"of everybody (its broadcast)": {Addr: netip.MustParseAddr("10.80.3.255"), Left: time.Hour, Data: 1},
		"that has ended":               {Addr: ResidentAddr(0), MAC: ResidentMAC(0), Data: 1},
	} {
		if err := s.gate.Admit(x); err == nil {
			s.Errorf("a session %s was admitted", name)
		}
	}
	s.same(alone, "though no session was admitted")

	first, second := session(0), session(1)
	second.Left, second.Data = 20*time.Minute, 5e6
	s.must(s.gate.Admit(second))
	s.must(s.gate.Admit(first))
	s.hold(first, second)
	both := s.Kernel.String()
	if both == alone {
		s.Error("two sessions left no trace in the kernel")
	}
	s.apply(Sharing(s.config, 0))
	s.same(both, "when the plan was applied with sessions")

	second.Left, second.Data = 40*time.Minute, 9e6
	s.must(s.gate.Admit(second))
	s.hold(first, second)
	s.same(both, "when a session was given new limits")

	s.must(s.gate.End(first.Addr))
	s.must(s.gate.End(first.Addr))
	s.hold(second)
	s.must(s.gate.End(second.Addr))
	s.hold()
	s.must(s.gate.Remember(nil, time.Hour))
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
	p := Sharing(s.config, 0)
	s.apply(p)
	alone := s.Kernel.String()
	short, long := session(0), session(1)
	short.Left, short.Data = time.Second, 1e6
	s.must(s.gate.Grant(s.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 1e9}))
	s.must(s.gate.Admit(short))
	s.must(s.gate.Admit(long))
	s.Pass(s.T, 0, 10_000)
	s.eventually("the session has ended", func() bool {
		all, err := s.gate.Sessions()
		s.must(err)
		return len(all) == 1
	})
	s.hold(long)
	s.eventually("the daemon's clock agrees", func() bool {
		_, err := s.gate.Apply(s.Context(), p)
		s.must(err)
		return !strings.Contains(s.Kernel.String(), short.Addr.String())
	})
	s.apply(p)

	// Its place in the sets is free for another session, which begins anew.
	short.Left = time.Hour
	s.must(s.gate.Admit(short))
	s.hold(short, long)
	all, err := s.gate.Sessions()
	s.must(err)
	if all[0].Used != 0 {
		s.Errorf("a new session begins with %d bytes used", all[0].Used)
	}
	s.must(s.gate.End(short.Addr))
	s.must(s.gate.End(long.Addr))
	s.must(s.gate.Remember(nil, time.Hour))
	if got := withoutTranches(s.Kernel.String()); got != alone {
		s.Errorf("the sessions left something behind:\n%s", cmp.Diff(alone, got))
	}
}

// withoutTranches takes the tranches out of a kernel's text.
func withoutTranches(state string) string {
	lines := slices.DeleteFunc(strings.Split(state, "\n"), func(l string) bool { return strings.Contains(l, "--quota") })
	return strings.Join(lines, "\n")
}

func testData(s *suite) {
	p := Sharing(s.config, 0)
	s.apply(p)
	s.must(s.gate.Grant(s.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 1e9}))
	x := session(0)
	x.Data, x.Used = 100_000, 3e6
	s.must(s.gate.Admit(x))
	counted := func() netctl.Session {
		sample, err := s.gate.Read()
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
	s.apply(Sharing(s.config, 0))
	if again := counted(); again.Used != got.Used {
		s.Errorf("an applied plan changed the count from %d to %d", got.Used, again.Used)
	}
	s.Pass(s.T, 0, 100_000)
	s.eventually("the data is spent", func() bool { return counted().Spent })
	if got := counted(); got.Data != 0 {
		s.Errorf("of spent data %d bytes are left", got.Data)
	}
	// New data for a running session.
	s.must(s.gate.Admit(x))
	if got := counted(); got.Spent || got.Used != x.Used || got.Data != x.Data {
		s.Errorf("admitted again, the session is %+v", got)
	}
}

func testCrash(s *suite) {
	p := Sharing(s.config, 0)
	s.apply(p)
	first, second := session(0), session(1)
	second.Data = 100_000
	s.must(s.gate.Admit(first))
	s.must(s.gate.Admit(second))
	tranche := netctl.Tranche{Chain: p.Cap, ID: 7, Bytes: 1e9}
	s.must(s.gate.Grant(s.Context(), tranche))
	s.Pass(s.T, 1, 40_000)
	var used uint64
	s.eventually("the bytes are paid", func() bool {
		sample, err := s.gate.Read()
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
	s.same(state, "when the next gate took over")
	sample, err := s.gate.Read()
	s.must(err)
	if len(sample.Tranches) != 1 || sample.Tranches[0].Tranche != tranche || sample.Tranches[0].Used < used {
		s.Errorf("after a crash the tranches are %+v, %d bytes were used before", sample.Tranches, used)
	}
	if len(sample.Sessions) != 2 || sample.Sessions[0].Data != netctl.Unlimited || sample.Sessions[1].Data > 60_000 {
		s.Errorf("after a crash the sessions are %+v", sample.Sessions)
	}
	s.must(s.gate.Grant(s.Context(), tranche))
	s.same(state, "when the tranche was granted again")
	// The next gate knows the sessions as its own.
	s.must(s.gate.End(second.Addr))
	s.hold(first)
	// One that never got to apply anything can close all the same.
	s.gate = s.Gate(s.T)
	s.must(s.gate.Close(s.Context()))
	s.same(s.before, "though all was closed")
}

// testDay: what devices used today is known to the next gate, whatever became of their sessions and of the last gate.
func testDay(s *suite) {
	p := Sharing(s.config, 0)
	gone, other := netctl.MAC{2, 0, 0, 0, 1, 0}, netctl.MAC{2, 0, 0, 0, 1, 1}
	if err := s.gate.Remember(map[netctl.MAC]uint64{gone: 1}, time.Hour); err == nil {
		s.Error("what a device used was to be remembered before there was a plan")
	}
	s.apply(p)
	s.must(s.gate.Grant(s.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 1e9}))
	bounded, unbounded := session(0), session(1)
	bounded.Data, bounded.Used = 10e6, 7e6
	unbounded.Used = 5e6
	s.must(s.gate.Admit(bounded))
	s.must(s.gate.Admit(unbounded))
	used := map[netctl.MAC]uint64{bounded.MAC: bounded.Used, unbounded.MAC: unbounded.Used, gone: 3e6}
	remember := func() {
		s.Helper()
		s.must(s.gate.Remember(used, time.Hour))
	}
	// holds checks what is remembered.
	holds := func(when string) {
		s.Helper()
		got, err := s.gate.Remembered()
		s.must(err)
		if d := cmp.Diff(used, got); d != "" {
			s.Errorf("%s, what devices used is remembered as (-want +got):\n%s", when, d)
		}
		all, err := s.gate.Sessions()
		s.must(err)
		for _, x := range all {
			if x.Used != used[x.MAC] {
				s.Errorf("%s, the device of a session used %d bytes, not %d", when, x.Used, used[x.MAC])
			}
		}
	}
	// crash has another gate take over.
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
			sample, err := s.gate.Read()
			s.must(err)
			used[x.MAC] = sample.Sessions[k].Used
			return used[x.MAC] >= before+40_000
		})
		if n := used[x.MAC] - before; n > 60_000 {
			s.Errorf("40 kB were counted as %d bytes", n)
		}
	}
	remember()
	holds("at first")
	for range 3 {
		pass(0, bounded)
		holds("while a session runs")
		crash()
		remember()
		s.apply(p)
		holds("remembered again")
	}
	// Other limits do not forgive what was used.
	bounded.Data, bounded.Used = 2e6, used[bounded.MAC]
	s.must(s.gate.Admit(bounded))
	holds("with other limits")
	crash()
	pass(0, bounded)
	s.must(s.gate.End(bounded.Addr))
	holds("after the session's end")
	crash()
	// Somebody empties the sets.
	s.Break(s.T, Entries)
	s.apply(p)
	holds("after the sets were emptied")
	// What was used grows by much while a session runs, and by that of others.
	used[unbounded.MAC] += 5 * netctl.Forgotten
	used[other], used[gone] = 1, 4e6
	remember()
	holds("after more was used")
	crash()
	// A new day.
	used = map[netctl.MAC]uint64{unbounded.MAC: 0}
	remember()
	holds("on a new day")
	crash()
	// A day that ends while no daemon lives.
	used[unbounded.MAC], used[other] = 9e6, 1e6
	s.must(s.gate.Remember(used, time.Second))
	s.apply(p)
	s.gate = s.Gate(s.T)
	s.eventually("the day is over", func() bool {
		got, err := s.gate.Remembered()
		s.must(err)
		return len(got) == 1
	})
	used = map[netctl.MAC]uint64{unbounded.MAC: 0}
	holds("when the day is over")
	s.apply(p)
	holds("when the day is over and a gate has taken over")
	// There is room for as many as the network has addresses, and what is forgotten makes room.
	all := map[netctl.MAC]uint64{}
	for round := range 3 {
		clear(all)
		for k := range 1 << 10 {
			all[netctl.MAC{6, byte(round), 0, 0, byte(k >> 8), byte(k)}] = uint64(k)
		}
		s.must(s.gate.End(unbounded.Addr))
		used = all
		remember()
		holds("with a full network")
	}
	crash()
	if err := s.gate.Admit(bounded); err == nil {
		s.Error("a device was admitted whose use cannot be remembered")
	}
	holds("after one too many")
	s.must(s.gate.Close(s.Context()))
	s.same(s.before, "though all was closed")
}

func testTranches(s *suite) {
	p := Sharing(s.config, 0)
	s.apply(p)
	s.must(s.gate.Admit(session(0)))
	read := func() []netctl.Spent {
		sample, err := s.gate.Read()
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
	s.eventually("the second tranche pays", func() bool { return read()[1].Used > 0 })
	spent := read()
	if spent[0].Used > 100_000 || spent[0].Used < 90_000 || spent[1].Used < 40_000 || spent[1].Used > 80_000 || spent[2].Used != 0 {
		s.Errorf("of three tranches of 100 kB, 150 kB used %+v", spent)
	}
	// Nothing gives back what was used.
	for _, q := range []netctl.Plan{Held(s.config), Sharing(s.config, 1), p} {
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
	// Nothing is paid once they are taken out, and other chains are left alone.
	other := netctl.ChainOf("another")
	s.must(s.gate.Revoke(s.Context(), other))
	if got := ids(); len(got) == 0 {
		s.Error("another chain's tranches were taken out, and these are gone")
	}
	s.must(s.gate.Revoke(s.Context(), p.Cap))
	if got := ids(); len(got) != 0 {
		s.Errorf("after all were taken out, there are %v", got)
	}
	if changes := s.apply(p); len(changes) != 0 {
		s.Errorf("they came back: %q", changes)
	}
	grant(9, 100_000)
	if got := ids(); !slices.Equal(got, []uint64{9}) {
		s.Errorf("granted 9, there are %v", got)
	}
}

// testBroadcasts: a line's broadcasts are counted, and nothing else; and what was counted stays.
func testBroadcasts(s *suite) {
	p := Sharing(s.config, 0)
	s.apply(p)
	line, other := s.config.Donations[0].Interface, s.config.Donations[1].Interface
	read := func() map[string]uint64 {
		counted, err := s.gate.Broadcasts()
		s.must(err)
		return counted
	}
	before := read()
	// shout has the first lender's network send 20 kB to all, and says how many bytes of broadcasts were counted then.
	shout := func() (counted uint64) {
		was := read()[line]
		s.Shout(s.T, 0, 20_000, true)
		s.eventually("the broadcasts are counted", func() bool { counted = read()[line]; return counted >= was+20_000 })
		return counted
	}
	s.Shout(s.T, 0, 100_000, false)
	counted := shout()
	if now := read(); counted > before[line]+40_000 || now[other] > before[other]+10_000 {
		s.Errorf("of 100 kB to the box and 20 kB to all, %d bytes are broadcasts; on another line %d", counted-before[line], now[other])
	}
	stays := func(when string) {
		s.Helper()
		if now := read()[line]; now < counted || now > counted+10_000 {
			s.Errorf("%s, the count of broadcasts went from %d to %d", when, counted, now)
		}
		counted = shout()
	}
	for _, q := range []netctl.Plan{Held(s.config), Sharing(s.config, 1), p} {
		s.apply(q)
		stays("with another plan")
	}
	for _, object := range []Object{Mangle, AllTables} {
		s.Break(s.T, object)
		s.apply(p)
		stays("when somebody broke: " + string(object))
	}
	s.gate = s.Gate(s.T)
	if now := read()[line]; now < counted {
		s.Errorf("before its first plan the next gate counted %d bytes of %d", now, counted)
	}
	s.apply(p)
	stays("when the next gate took over")

	// A line that is not there is forgotten: what comes back under its name is another.
	gone := *s.config
	gone.Donations = gone.Donations[1:]
	s.apply(Sharing(&gone, 0))
	s.apply(p)
	if now := read()[line]; now > 10_000 {
		s.Errorf("%d bytes are counted of a line that has just come", now)
	}
	s.must(s.gate.Close(s.Context()))
	s.same(s.before, "though all was closed")
}

func testRepair(s *suite) {
	p := Sharing(s.config, 0)
	s.apply(p)
	want := []netctl.Session{session(0), session(1)}
	for _, x := range want {
		s.must(s.gate.Admit(x))
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
		s.same(state, "for good when somebody broke: "+string(object))
		s.hold(want...)
	}
}

func testClose(s *suite) {
	p := Sharing(s.config, 0)
	s.apply(p)
	for k := range 2 {
		s.must(s.gate.Admit(session(k)))
	}
	s.must(s.gate.Grant(s.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 1e9}))
	s.apply(Sharing(s.config, 1))
	s.apply(p)
	s.must(s.gate.Close(s.Context()))
	s.same(s.before, "though all was closed")

	// And the next one begins from nothing.
	s.gate = s.Gate(s.T)
	s.apply(p)
	s.hold()
	s.must(s.gate.Close(s.Context()))
	s.same(s.before, "though all was closed again")
}
