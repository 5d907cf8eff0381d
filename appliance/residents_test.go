package appliance

import (
	"errors"
	"maps"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/config"
	"passerelle/appliance/ledger"
	"passerelle/appliance/state"
	"passerelle/netctl"
)

// fakeGate is a gate that records the calls of residents.
type fakeGate struct {
	admitted   map[netip.Addr]netctl.Session
	remembered map[netctl.MAC]uint64
	left       time.Duration // how much of the day is left
	calls      int
	broken     error
}

func (d *fakeGate) Authorize(s netctl.Session) error {
	if d.broken != nil {
		return d.broken
	}
	d.calls++
	d.admitted[s.Addr] = s
	return nil
}

func (d *fakeGate) End(addr netip.Addr) error {
	d.calls++
	delete(d.admitted, addr)
	return nil
}

func (d *fakeGate) SaveUsage(used map[netctl.MAC]uint64, left time.Duration) error {
	d.remembered, d.left = maps.Clone(used), left
	return nil
}

// kernel returns the sessions as the kernel would report them, after each has used that many more bytes.
func (d *fakeGate) kernel(used uint64) (all []netctl.Session) {
	for _, s := range d.admitted {
		s.Used += used
		if s.Data != netctl.Unlimited {
			s.Data -= min(used, s.Data)
		}
		s.Spent = s.Data == 0
		all = append(all, s)
	}
	return all
}

// testResidents is a hotspot of 5 addresses with a gate that only records, and clocks that stand still.
type testResidents struct {
	*testing.T
	*residents
	*fakeGate
	clock time.Time
}

// everything is a day without a budget: only each resident's own limit counts.
func everything(limit uint64) ledger.Sharing {
	return ledger.Sharing{Left: math.MaxUint64, Limit: limit}
}

func newTestResidents(t *testing.T, left pendingHandover) *testResidents {
	v := &testResidents{T: t, fakeGate: &fakeGate{admitted: map[netip.Addr]netctl.Session{}}, clock: time.Unix(1000, 0)}
	v.residents = newResidents(v.fakeGate, func() time.Time { return v.clock }, func(_ state.Code, err error, _ ...string) {
		if err != nil {
			t.Error(err)
		}
	}, left)
	v.residents.configure(config.Limits{Session: time.Hour, Data: 100e6}, netip.MustParsePrefix("10.80.0.1/29"))
	v.at(time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC))
	return v
}

// at sets the clock, which is trusted.
func (v *testResidents) at(t time.Time) { v.residents.setTime(t, true) }

func (v *testResidents) press(addr netip.Addr, mac netctl.MAC) session {
	v.Helper()
	s, err := v.residents.authorize(addr, mac, everything(100e6))
	if err != nil {
		v.Fatal(err)
	}
	return s
}

func TestResidentGetsWhatIsLeftOfTheDay(t *testing.T) {
	v := newTestResidents(t, pendingHandover{})
	if s := v.press(anna, macA); s.Data != 100e6 || s.Left != time.Hour || v.admitted[anna] != s.Session {
		t.Errorf("the first press: %+v, and the gate has %+v", s, v.admitted[anna])
	}
	v.observe(v.kernel(60e6))
	if s, ok := v.session(anna); !ok || s.Data != 40e6 || s.Used != 60e6 {
		t.Errorf("after 60 MB: %t, %+v", ok, s)
	}
	if s := v.press(bilo, macA); s.Data != 40e6 || s.Used != 60e6 {
		t.Errorf("at another address: %+v", s)
	}
	if _, ok := v.admitted[anna]; ok || v.online() != 1 {
		t.Error("the device has two sessions")
	}
	v.observe(v.kernel(40e6))
	if v.online() != 0 || len(v.admitted) != 0 {
		t.Error("a session goes on without data")
	}
	if _, err := v.residents.authorize(bilo, macA, everything(100e6)); !errors.Is(err, state.ErrDataSpent) {
		t.Errorf("with nothing left: %v", err)
	}
}

// TestGateFails: if the gate fails, nobody gets a session.
func TestGateFails(t *testing.T) {
	v := newTestResidents(t, pendingHandover{})
	v.broken = errors.New("no buffer space")
	if _, err := v.residents.authorize(anna, macA, everything(0)); !errors.Is(err, v.broken) || v.online() != 0 {
		t.Errorf("%v, with %d sessions", err, v.online())
	}
}

// TestSessionsTheKernelLacks: a session that the kernel lacks is kept until its end, since the gate may restore it. An unknown session
// of the kernel is adopted.
func TestSessionsTheKernelLacks(t *testing.T) {
	v := newTestResidents(t, pendingHandover{})
	v.press(anna, macA)
	v.observe([]netctl.Session{{Addr: bilo, MAC: macB, Left: 20 * time.Minute, Data: 5e6, Used: 1e6}})
	if v.online() != 2 || v.usage[macB] != 1e6 {
		t.Errorf("%d sessions, %v used", v.online(), v.usage)
	}
	v.clock = v.clock.Add(time.Hour - time.Second)
	v.observe(nil)
	if v.online() != 0 {
		t.Errorf("%d sessions after their end", v.online())
	}
}

// TestSharesChangeWithTheDay: shares of running sessions change during the day, but small changes are ignored.
func TestSharesChangeWithTheDay(t *testing.T) {
	v := newTestResidents(t, pendingHandover{})
	v.press(anna, macA)
	v.regrant(v.count(everything(100e6), v.running()))
	calls := v.calls
	for limit, want := range map[uint64]bool{100e6: false, 95e6: false, 60e6: true} {
		if got := v.needsRegrant(v.count(everything(limit), v.running())); got != want {
			t.Errorf("with a limit of %d bytes a new grant is needed: %t", limit, got)
		}
	}
	v.clock = v.clock.Add(time.Minute)
	v.regrant(v.count(everything(60e6), v.running()))
	if s := v.admitted[anna]; s.Data != 60e6 || s.Left != 59*time.Minute || v.calls != calls+1 {
		t.Errorf("given %+v by %d calls", s, v.calls-calls)
	}
	v.observe(v.kernel(50e6))
	v.regrant(v.count(everything(50e6), v.running()))
	if v.online() != 0 {
		t.Error("a session goes on that has nothing left")
	}
}

// TestUsageIsBounded: the device that used least is evicted, unless it is online.
func TestUsageIsBounded(t *testing.T) {
	v := newTestResidents(t, pendingHandover{})
	v.press(anna, macA)
	for n := range byte(20) {
		v.recordUsage(netctl.MAC{6, 0, 0, 0, 0, n}, 1000*uint64(n+1))
	}
	if len(v.usage) != 5 {
		t.Errorf("%d devices on 5 addresses are known", len(v.usage))
	}
	if _, ok := v.usage[macA]; !ok {
		t.Error("a device that is online was evicted")
	}
}

// TestDayAdvances: a new day starts at midnight, once, also if the clock is set.
func TestDayAdvances(t *testing.T) {
	midnight := time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC)
	d := day{now: midnight.Add(-time.Hour), trusted: true}
	if d.advance() {
		t.Error("the first known day ends another one")
	}
	for _, step := range []struct {
		what    string
		at      time.Duration // from midnight
		trusted bool
		want    bool
	}{
		{"before midnight", -time.Second, true, false},
		{"after it, by a clock that is not trusted", time.Second, false, false},
		{"after it", time.Second, true, true},
		{"set back", -time.Minute, true, false},
		{"after it once more", time.Minute, true, false},
		{"five days ahead", 5*24*time.Hour + time.Minute, true, true},
		{"back again", time.Minute, true, false},
		{"a day later", 24*time.Hour + time.Minute, true, false},
		{"two days later", 48*time.Hour + time.Minute, true, true},
	} {
		d.now, d.trusted = midnight.Add(step.at), step.trusted
		if got := d.advance(); got != step.want {
			t.Errorf("%s: %t", step.what, got)
		}
		if rest := d.remaining(); rest <= 0 || rest > 72*time.Hour || !step.trusted && rest < 24*time.Hour {
			t.Errorf("%s, the kernel remembers for %v", step.what, rest)
		}
	}
}

// TestHandedOver: the next daemon restores a handover, less the time that has passed.
func TestHandedOver(t *testing.T) {
	v := newTestResidents(t, pendingHandover{})
	v.restore(nil)
	v.press(anna, macA)
	v.recordUsage(macB, 7e6)
	v.observe(v.kernel(30e6))
	v.saveUsage()
	if want := map[netctl.MAC]uint64{macA: 30e6, macB: 7e6}; !maps.Equal(v.remembered, want) || v.left != 14*time.Hour {
		t.Errorf("the kernel remembers %v for %v", v.remembered, v.left)
	}
	handover := v.handOver(v.kernel(30e6), nil)
	for _, c := range []struct {
		down time.Duration
		used uint64 // by the device without a session
		left time.Duration
	}{
		{5 * time.Minute, 7e6, 55 * time.Minute},
		{14 * time.Hour, 0, 0},
	} {
		next := newTestResidents(t, pendingHandover{handover: handover})
		next.clock = next.clock.Add(c.down)
		if over := next.restore(nil); over {
			t.Error("an unknown day is over")
		}
		s, ok := next.session(anna)
		if ok != (c.left > 0) || ok && (s.Left != c.left || s.Data != 70e6 || s.Used != 30e6) || next.usage[macB] != c.used {
			t.Errorf("after %v: %t, %+v, and the other one used %d bytes", c.down, ok, s, next.usage[macB])
		}
	}
}

// TestHandedOn: a daemon that is stopped before it restored a handover passes it on.
func TestHandedOn(t *testing.T) {
	handover := Handover{
		Sessions: []netctl.Session{{Addr: anna, MAC: macA, Left: time.Hour, Data: 70e6}},
		Used:     []DeviceUsage{{macA, 30e6}}, Day: 14 * time.Hour,
	}
	v := newTestResidents(t, pendingHandover{handover: handover})
	v.clock = v.clock.Add(time.Minute)
	got := v.handOver(nil, map[netctl.MAC]uint64{macB: 7e6})
	slices.SortFunc(got.Used, func(x, y DeviceUsage) int { return int(x.MAC[5]) - int(y.MAC[5]) })
	want := Handover{
		Sessions: []netctl.Session{{Addr: anna, MAC: macA, Left: 59 * time.Minute, Data: 70e6}},
		Used:     []DeviceUsage{{macA, 30e6}, {macB, 7e6}}, Day: 14 * time.Hour,
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(x, y netip.Addr) bool { return x == y })); d != "" {
		t.Errorf("passed on (-want +got):\n%s", d)
	}
}

// TestDayIsOverMeanwhile: usage of a day that ended while no daemon ran does not count.
func TestDayIsOverMeanwhile(t *testing.T) {
	v := newTestResidents(t, pendingHandover{day: date(2026, 3, 3)})
	if v.newDay() {
		t.Error("usage is reset before it is restored")
	}
	if over := v.restore(map[netctl.MAC]uint64{macA: 30e6}); !over {
		t.Fatal("the day is not over")
	}
	v.resetUsage()
	if len(v.usage) != 0 || len(v.remembered) != 0 {
		t.Errorf("used today: %v, and the kernel remembers %v", v.usage, v.remembered)
	}
}
