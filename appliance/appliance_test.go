package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"passerelle/appliance/bindings"
	"passerelle/appliance/clock"
	"passerelle/appliance/config"
	"passerelle/appliance/ledger"
	"passerelle/appliance/radios"
	"passerelle/appliance/state"
	"passerelle/appliance/supervise"
	"passerelle/netctl"
	"passerelle/netctl/gate/gatetest"
	"passerelle/netctl/uplink"
	"passerelle/netctl/wpa"
	"passerelle/testdata"
)

// With confText a session ends when its data is used; with slowText it moves to the slow lane.
var (
	slowText = testdata.Box + `hours = "Mo-Su 00:00-20:00,21:00-24:00"
`
	confText = strings.Replace(slowText, `data = "500MB"`, `data = "500MB"
after = "0"`, 1)
)

var (
	anna = netip.MustParseAddr("10.80.0.9")
	bilo = netip.MustParseAddr("10.80.0.10")
	macA = netctl.MAC{2, 0, 0, 0, 0, 9}
	macB = netctl.MAC{2, 0, 0, 0, 0, 10}
)

// fakeUplinks have the state that the test sets.
type fakeUplinks struct {
	status uplink.Status
	phone  string // the interface name of the phone on USB
}

func (l *fakeUplinks) Read(names []string) ([]uplink.Status, error) {
	all := make([]uplink.Status, len(names))
	for i, n := range names {
		all[i] = l.status
		if all[i].Interface = n; n == uplink.USB {
			all[i].Interface = l.phone
		}
	}
	return all, nil
}

func (l *fakeUplinks) Networks(string) ([]netip.Prefix, error) {
	return []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}, nil
}

// prober returns the health that the test sets.
type prober struct {
	lines  []uplink.Candidate
	zones  []uplink.Zone
	health uplink.Health
}

func (p *prober) Set(list []uplink.Candidate, zones []uplink.Zone) { p.lines, p.zones = list, zones }
func (p *prober) Health(string) uplink.Health                      { return p.health }

// asker answers as the test says.
type asker struct {
	asked []netip.Addr
	knows map[netip.Addr][]netctl.MAC
}

func (a *asker) Ask(addrs []netip.Addr) { a.asked = append(a.asked, addrs...) }

func (a *asker) Answers() (all []netctl.Claim) {
	for _, addr := range a.asked {
		all = append(all, netctl.Claim{Addr: addr, MACs: a.knows[addr]})
	}
	a.asked = nil
	return all
}

// joiner returns the same state for every lender's network.
type joiner struct {
	join wpa.Association
	list []wpa.Network
}

func (j *joiner) Set(list []wpa.Network)       { j.list = list }
func (j *joiner) State(string) wpa.Association { return j.join }

// fakeRadios have the state that the test sets, and record their configuration.
type fakeRadios struct {
	state  radios.State
	wanted radios.Config
}

func (s *fakeRadios) Set(w radios.Config) { s.wanted = w }
func (s *fakeRadios) State() radios.State { return s.state }

// beacons record what the access point is to send.
type beacons struct{ wanted wpa.Beacon }

func (b *beacons) SetBeacon(w wpa.Beacon) { b.wanted = w }

type children struct {
	names  []string
	status []supervise.ChildStatus
}

func (c *children) Set(all []supervise.Child) error {
	c.names = nil
	for _, x := range all {
		c.names = append(c.names, x.Name)
	}
	return nil
}
func (c *children) Status() []supervise.ChildStatus { return c.status }

// fakeStore stores accounts, unless the test makes it full.
type fakeStore struct {
	records map[string]ledger.Record
	paused  map[string]ledger.Pause
	full    error
	writes  int
}

func (p *fakeStore) Put(records map[string]ledger.Record) error {
	if p.full != nil {
		return p.full
	}
	p.writes++
	maps.Copy(p.records, records)
	return nil
}

func (p *fakeStore) SetPaused(donation string, pause ledger.Pause) error {
	if p.full != nil {
		return p.full
	}
	p.paused[donation] = pause
	return nil
}

// fakeClock is a clock that is off, and trusted if by is not empty.
type fakeClock struct {
	off time.Duration
	by  string
}

func (w *fakeClock) Now() (time.Time, clock.Trust) {
	return time.Now().Add(w.off), clock.Trust{By: w.by, Offset: w.off}
}
func (w *fakeClock) Confirm(by string) { w.by = by }

// crashGate is a gate whose daemon may crash: from then on none of its calls reaches the kernel.
type crashGate struct {
	netctl.Gate
	dead bool
	last int   // calls until it dies; 0 for never
	full error // of each Grant
	hang bool  // the next Apply hangs until the box is stopped
}

var errDead = errors.New("the daemon is dead")

// calls makes a call, unless the daemon has crashed.
func (m *crashGate) calls(call func() error) error {
	if m.last > 0 {
		m.last--
		m.dead = m.dead || m.last == 0
	}
	if m.dead {
		return errDead
	}
	return call()
}

func (m *crashGate) Apply(ctx context.Context, p netctl.Plan) (changes []string, err error) {
	if m.hang {
		<-ctx.Done()
		return nil, fmt.Errorf("nft: %w", ctx.Err())
	}
	err = m.calls(func() error { changes, err = m.Gate.Apply(ctx, p); return err })
	return changes, err
}

func (m *crashGate) Sessions() (all []netctl.Session, err error) {
	err = m.calls(func() error { all, err = m.Gate.Sessions(); return err })
	return all, err
}

func (m *crashGate) SavedUsage() (used map[netctl.MAC]uint64, err error) {
	err = m.calls(func() error { used, err = m.Gate.SavedUsage(); return err })
	return used, err
}

func (m *crashGate) ReadCounters() (s netctl.Counters, err error) {
	err = m.calls(func() error { s, err = m.Gate.ReadCounters(); return err })
	return s, err
}

func (m *crashGate) Authorize(s netctl.Session) error {
	return m.calls(func() error { return m.Gate.Authorize(s) })
}

func (m *crashGate) End(addr netip.Addr) error {
	return m.calls(func() error { return m.Gate.End(addr) })
}

func (m *crashGate) SaveUsage(used map[netctl.MAC]uint64, left time.Duration) error {
	return m.calls(func() error { return m.Gate.SaveUsage(used, left) })
}

func (m *crashGate) Revoke(ctx context.Context, chain string) error {
	return m.calls(func() error { return m.Gate.Revoke(ctx, chain) })
}

func (m *crashGate) Grant(ctx context.Context, t netctl.Tranche) error {
	if m.full != nil {
		return m.full
	}
	return m.calls(func() error { return m.Gate.Grant(ctx, t) })
}

func (m *crashGate) Close(ctx context.Context) error {
	return m.calls(func() error { return m.Gate.Close(ctx) })
}

// testBox is a box on a kernel in memory.
type testBox struct {
	*testing.T
	kernel    *gatetest.Fake
	uplinks   *fakeUplinks
	children  *children
	joiner    *joiner
	prober    *prober
	radios    *fakeRadios
	beacon    beacons
	box       *Box
	gate      *crashGate
	store     *fakeStore
	clock     *fakeClock
	boot      string
	saved     RuntimeState
	pause     Pause // as on disk
	pauseFull error // of the disk
	untouched bool  // nobody has configured the box
	leases    []bindings.Lease
	asker     asker
	log       strings.Builder // warnings; to be read when the box has stopped
	handover  Handover        // as in its file
	accept    func(*config.Config) error
	board     func() state.Board
	layers    Layers // as on disk
	stop      func() Handover
}

// withBox runs a test in a synctest bubble, in which the box starts at that hour of the day in Paris.
func withBox(t *testing.T, hour int, test func(h *testBox)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Duration(hour-1) * time.Hour) // a bubble begins at midnight UTC
		h := &testBox{T: t, kernel: gatetest.NewFake(time.Now), uplinks: &fakeUplinks{}, children: &children{}, joiner: &joiner{}, prober: &prober{health: uplink.Health{Known: true, Works: true}}, radios: &fakeRadios{},
			accept: func(*config.Config) error { return nil },
			board:  func() state.Board { return state.Board{} },
			store:  &fakeStore{records: map[string]ledger.Record{}, paused: map[string]ledger.Pause{}},
			clock:  &fakeClock{by: clock.ByServer}, boot: "first"}
		h.uplinks.status = uplink.Status{
			Index: 2, Present: true, Up: true, Carrier: true, Routed: true, Works: true,
			Gateway: netip.MustParseAddr("192.168.1.1"), DNS: []netip.Addr{netip.MustParseAddr("192.168.1.1")},
			Networks: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")},
		}
		h.kernel.SetNeighbor(anna, macA)
		h.kernel.SetNeighbor(bilo, macB)
		h.start(confText, Handover{})
		defer func() { h.stop() }() // also after a failure: the bubble waits for the loop
		test(h)
	})
}

func (h *testBox) config(text string) *config.Config {
	h.Helper()
	c, err := config.Parse("test.toml", []byte(text))
	if err != nil {
		h.Fatal(err)
	}
	return c
}

// errUnread is why accounts were lost, if any were.
var errUnread = errors.New("the accounts cannot be read")

func (h *testBox) start(text string, handover Handover) {
	h.Helper()
	gate := &crashGate{Gate: h.kernel.Gate()}
	h.gate = gate
	books := map[string]*ledger.Account{}
	for name, r := range h.store.records {
		books[name] = ledger.Open(&r, nil)
	}
	h.box = New(Parts{
		Config: h.config(text), Layers: h.layers, Configured: !h.untouched, Gate: h.gate, Uplinks: h.uplinks, Prober: h.prober, Children: h.children,
		Joiner: h.joiner, Radios: h.radios, Beacons: &h.beacon, Board: func() state.Board { return h.board() },
		Store: h.store, Accounts: books, Paused: maps.Clone(h.store.paused), Clock: h.clock, Boot: h.boot,
		Leases: func() ([]bindings.Lease, error) { return h.leases, nil }, Asker: &h.asker,
		DNSUser: func() string { return "104" }, Lost: errUnread,
		RunDir: "/run/passerelle", Now: time.Now, Log: slog.New(slog.NewTextHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		SaveState: func(k RuntimeState) error { return gate.calls(func() error { h.saved = k; return nil }) }, SavedState: h.saved, Handover: handover,
		SavePause: func(p Pause) error {
			if h.pauseFull != nil {
				return h.pauseFull
			}
			return gate.calls(func() error { h.pause = p; return nil })
		}, Pause: h.pause,
		Restored: func() error { return gate.calls(func() error { h.handover = Handover{}; return nil }) },
		Accept:   func(c *config.Config) error { return h.accept(c) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan Handover, 1)
	go func() {
		handover, err := h.box.Run(ctx)
		if err != nil && !gate.dead {
			h.Error(err)
		}
		done <- handover
	}()
	h.stop = func() Handover { cancel(); return <-done }
	h.settle()
}

// settle waits until the loop has reconciled.
func (h *testBox) settle() {
	time.Sleep(2*period + debounce)
	synctest.Wait()
}

// hasProblem tells whether the status has a problem with that code and error.
func (h *testBox) hasProblem(code state.Code, err error) bool {
	return slices.ContainsFunc(h.box.Status().Problems, func(p state.Problem) bool { return p.Code == code && p.Args["error"] == err.Error() })
}

func (h *testBox) state(want state.State) {
	h.Helper()
	h.settle()
	if s := h.box.Status(); s.State != want {
		h.Fatalf("%s (%s; problems %q), want %s", s.State, s.Why, s.Problems, want)
	}
}

// admit admits a resident, and returns the session as the loop knows it.
func (h *testBox) admit(addr netip.Addr) session {
	h.Helper()
	shown, err := h.box.Authorize(h.Context(), addr)
	if err != nil {
		h.Fatal(err)
	}
	s, _ := h.box.residents.session(addr)
	if now, ok := h.box.Session(addr); !ok || now != shown || shown != h.box.sessionView(s) {
		h.Fatalf("admitted with %+v, then %+v, of %+v", shown, now, s)
	}
	return s
}

func TestSessionLastsItsTime(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.state(state.Sharing)
		if h.kernel.Pass(anna, 1000) != 0 {
			h.Error("a packet passed before admission")
		}
		if s := h.admit(anna); s.Left != 2*time.Hour || s.Data != 500e6 {
			h.Errorf("admitted for %v and %d bytes", s.Left, s.Data)
		}
		if h.kernel.Pass(anna, 1000) == 0 {
			h.Error("no packet passed right after admission")
		}
		time.Sleep(time.Hour)
		if s := h.admit(anna); s.Left > time.Hour {
			h.Errorf("a second press made the session longer: %v left", s.Left)
		}
		time.Sleep(time.Hour)
		h.settle()
		if _, ok := h.box.Session(anna); ok || h.kernel.Pass(anna, 1000) != 0 {
			h.Error("the session outlived its time")
		}
		if left := h.kernel.String(); strings.Contains(left, "class") && strings.Contains(left, ":9 ") {
			h.Errorf("its class is left:\n%s", left)
		}
	})
}

// TestSessionIsExtended: a press in a session's last ten minutes extends it to the length of a new one, and adds no data.
func TestSessionIsExtended(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		h.kernel.Pass(anna, 100e6)
		time.Sleep(110*time.Minute - time.Second)
		if s := h.admit(anna); s.Left > 11*time.Minute || s.Extendable() {
			h.Errorf("a press too early: %v left, extendable: %v", s.Left, s.Extendable())
		}
		time.Sleep(2 * time.Second)
		if err := h.box.Pause(h.Context(), "a test"); err != nil {
			h.Fatal(err)
		}
		if s := h.admit(anna); s.Left > 10*time.Minute || !s.Extendable() {
			h.Errorf("a press in a pause: %v left, extendable: %v", s.Left, s.Extendable())
		}
		if err := h.box.Resume(h.Context()); err != nil {
			h.Fatal(err)
		}
		h.kernel.Pass(anna, 50e6) // since the loop's last read
		for range 2 {
			if s := h.admit(anna); s.Left != 2*time.Hour || s.Length != 2*time.Hour || s.Data != 350e6 || s.Extendable() {
				h.Errorf("a press in the last ten minutes: %v of %v and %d bytes left", s.Left, s.Length, s.Data)
			}
		}
		h.start(confText, h.stop()) // the handover keeps it
		h.state(state.Sharing)
		time.Sleep(time.Hour)
		h.settle()
		if n := h.kernel.Pass(anna, 400e6); n > 350e6 {
			h.Errorf("%d bytes passed, of 350 MB", n)
		}
		h.settle()
		if _, err := h.box.Authorize(h.Context(), anna); !errors.Is(err, state.ErrDataSpent) {
			h.Errorf("with nothing left: %v", err)
		}
	})
}

// TestExtends: a short session can be extended in its second half.
func TestExtends(t *testing.T) {
	for _, test := range []struct {
		left, length time.Duration
		want         bool
	}{
		{10*time.Minute + 1, 24 * time.Hour, false},
		{10 * time.Minute, 24 * time.Hour, true},
		{10 * time.Minute, 20 * time.Minute, true},
		{9 * time.Minute, 15 * time.Minute, false},
		{time.Minute, time.Minute, false},
		{30 * time.Second, time.Minute, true},
		{0, time.Minute, true},
	} {
		if got := (session{Session: netctl.Session{Left: test.left}, Length: test.length}).Extendable(); got != test.want {
			t.Errorf("with %v left of %v: %v", test.left, test.length, got)
		}
	}
}

// TestCallerGoesAway: a call whose context ends before its turn is not run and returns the context's error. ErrStopped is returned
// only when the box is stopping.
func TestCallerGoesAway(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		free, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- h.box.do(h.Context(), func(context.Context) { <-free }) }()
		synctest.Wait()
		ctx, leave := context.WithCancel(h.Context())
		go func() {
			_, err := h.box.Authorize(ctx, anna)
			done <- err
		}()
		synctest.Wait()
		leave()
		if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, state.ErrStopped) {
			h.Errorf("a press whose caller went away: %v", err)
		}
		close(free)
		if err := <-done; err != nil {
			h.Error(err)
		}
		if _, ok := h.box.Session(anna); ok {
			h.Error("a press took effect although its caller had gone away")
		}
		h.stop()
		for what, err := range map[string]error{
			"a press": func() error { _, err := h.box.Authorize(h.Context(), anna); return err }(),
			"an end":  h.box.End(h.Context(), anna), "a pause": h.box.Pause(h.Context(), "a test"),
		} {
			if !errors.Is(err, state.ErrStopped) {
				h.Errorf("%s at a box that has stopped: %v", what, err)
			}
		}
		h.start(confText, Handover{})
	})
}

func TestEndIsAtOnce(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		if err := h.box.End(h.Context(), anna); err != nil {
			h.Fatal(err)
		}
		if _, ok := h.box.Session(anna); ok || h.kernel.Pass(anna, 1000) != 0 {
			h.Error("the session goes on")
		}
		if err := h.box.End(h.Context(), bilo); err != nil {
			h.Errorf("ending no session: %v", err)
		}
	})
}

func TestUnknownAddressIsRefused(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		if _, err := h.box.Authorize(h.Context(), netip.MustParseAddr("10.80.2.2")); !errors.Is(err, state.ErrUnknown) {
			h.Errorf("an unknown device: %v", err)
		}
	})
}

func TestDataOfTheDay(t *testing.T) {
	withBox(t, 23, func(h *testBox) {
		h.admit(anna)
		if n := h.kernel.Pass(anna, 300e6); n != 300e6 {
			h.Fatalf("%d of 300 MB passed", n)
		}
		h.settle()
		if err := h.box.End(h.Context(), anna); err != nil {
			h.Fatal(err)
		}
		if s := h.admit(anna); s.Data != 200e6 {
			h.Errorf("%d bytes after 300 MB, want the rest of 500 MB", s.Data)
		}
		if n := h.kernel.Pass(anna, 300e6); n > 200e6 {
			h.Errorf("%d bytes passed of 200 MB", n)
		}
		h.settle()
		if _, err := h.box.Authorize(h.Context(), anna); !errors.Is(err, state.ErrDataSpent) {
			h.Errorf("pressed with nothing left: %v", err)
		}
		if s := h.admit(bilo); s.Data != 500e6 {
			h.Errorf("another resident has %d bytes", s.Data)
		}
		time.Sleep(time.Hour)
		h.settle()
		if s := h.admit(anna); s.Data != 500e6 {
			h.Errorf("%d bytes the next day", s.Data)
		}
	})
}

func TestOneDeviceHasOneSession(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		h.kernel.SetNeighbor(bilo, macA)
		h.admit(bilo)
		if _, ok := h.box.Session(anna); ok || h.kernel.Pass(anna, 1000) != 0 {
			h.Error("the device has two sessions")
		}
	})
}

func TestAddressHandedOn(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		h.kernel.Pass(anna, 100e6)
		h.kernel.SetNeighbor(anna, macB) // the first device left, and another got its address
		if s := h.admit(anna); s.MAC != macB || s.Data != 500e6 {
			t.Errorf("the other device's session is %v with %d bytes", s.MAC, s.Data)
		}
		h.settle()
		if s, ok := h.box.residents.session(anna); !ok || s.MAC != macB || h.kernel.Pass(anna, 1000) == 0 {
			t.Errorf("then it is %v (%t)", s.MAC, ok)
		}
		h.kernel.SetNeighbor(anna, macA)
		if s := h.admit(anna); s.Data > 400e6 {
			t.Errorf("the first device has %d bytes after 100 of 500 MB", s.Data)
		}
	})
}

func TestCrashLosesNothing(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		h.kernel.Pass(anna, 100e6)
		time.Sleep(30 * time.Minute)
		h.inLoop(func() { h.gate.dead = true })
		h.stop()
		h.start(confText, Handover{})
		s, ok := h.box.residents.session(anna)
		if !ok || s.Left > 90*time.Minute || s.Left < 89*time.Minute || s.Data > 400e6 || s.Data < 399e6 {
			h.Errorf("restored: %t, %v and %d bytes left", ok, s.Left, s.Data)
		}
		if err := h.box.End(h.Context(), anna); err != nil {
			h.Fatal(err)
		}
		if s := h.admit(anna); s.Data > 400e6 {
			h.Errorf("the crash gave %d bytes back", s.Data)
		}
	})
}

func TestRestartRestoresSessions(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		h.kernel.Pass(anna, 100e6)
		h.settle()
		handover := h.stop()
		if h.kernel.Pass(anna, 1000) != 0 || h.kernel.String() != "" {
			h.Errorf("a stopped box left in the kernel:\n%s", h.kernel)
		}
		h.start(confText, handover)
		s, ok := h.box.residents.session(anna)
		if !ok || s.Data != 400e6 || h.kernel.Pass(anna, 1000) == 0 {
			h.Errorf("restored: %t with %d bytes", ok, s.Data)
		}
	})
}

func TestFlushedSetIsRestored(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		h.settle()
		h.kernel.Flush()
		h.settle()
		if h.kernel.Pass(anna, 1000) == 0 {
			h.Error("the session is gone")
		}
	})
}

func TestHoursCloseAndOpen(t *testing.T) {
	withBox(t, 19, func(h *testBox) {
		h.admit(anna)
		time.Sleep(time.Hour)
		h.state(state.Closed)
		if v := h.box.Site(); v.Opens.IsZero() || time.Until(v.Opens) > time.Hour {
			h.Errorf("closed until %v", v.Opens)
		}
		if _, err := h.box.Authorize(h.Context(), bilo); !errors.Is(err, state.ErrNotSharing) {
			h.Errorf("pressed while it is closed: %v", err)
		}
		if h.kernel.Pass(anna, 1000) != 0 {
			h.Error("a packet passed while it is closed")
		}
		time.Sleep(time.Hour)
		h.state(state.Sharing)
	})
}

func TestPauseKeepsSessions(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		if err := h.box.Pause(h.Context(), "the command line"); err != nil {
			h.Fatal(err)
		}
		if s := h.box.Status(); s.State != state.Paused || !strings.Contains(s.Why, "the command line") {
			h.Errorf("%s: %s", s.State, s.Why)
		}
		if h.kernel.Pass(anna, 1000) != 0 {
			h.Error("a packet passed in a pause")
		}
		if h.saved.PausedBy == "" {
			h.Error("a crash would end the pause")
		}
		if err := h.box.Resume(h.Context()); err != nil {
			h.Fatal(err)
		}
		if h.kernel.Pass(anna, 1000) == 0 {
			h.Error("the session did not outlive the pause")
		}
	})
}

func TestButtonTogglesPause(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		for _, want := range []state.State{state.Paused, state.Sharing, state.Paused} {
			if err := h.box.TogglePause(h.Context(), "the button"); err != nil {
				h.Fatal(err)
			}
			if s := h.box.Status(); s.State != want {
				h.Errorf("%s: %s, not %s", s.State, s.Why, want)
			} else if by := map[state.State]string{state.Paused: "the button"}[want]; s.PausedBy != by {
				h.Errorf("%s: paused by %q, not %q", s.State, s.PausedBy, by)
			}
		}
		if err := h.box.Pause(h.Context(), "the command line"); err != nil {
			h.Fatal(err)
		}
		if err := h.box.TogglePause(h.Context(), "the button"); err != nil {
			h.Fatal(err)
		}
		h.state(state.Sharing) // even if somebody else paused
	})
}

// TestNextState: only a change of the State ends the wait.
func TestNextState(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		if now, err := h.box.NextState(h.Context(), state.Starting); err != nil || now != state.Sharing {
			h.Errorf("at once: %s, %v", now, err)
		}
		ctx, cancel := context.WithTimeout(h.Context(), time.Minute) // many passes of the loop
		defer cancel()
		if now, err := h.box.NextState(ctx, state.Sharing); !errors.Is(err, context.DeadlineExceeded) {
			h.Errorf("nothing changed: %s, %v", now, err)
		}
		got := make(chan state.State, 1)
		go func() {
			now, err := h.box.NextState(h.Context(), state.Sharing)
			if err != nil {
				h.Error(err)
			}
			got <- now
		}()
		synctest.Wait()
		if err := h.box.Pause(h.Context(), "the command line"); err != nil {
			h.Fatal(err)
		}
		if now := <-got; now != state.Paused {
			h.Errorf("after a pause: %s", now)
		}
	})
}

// TestSetupIsAWindow: the setup window closes after its length or at the second call, and sessions outlive it.
func TestSetupIsAWindow(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		toggle := func() {
			h.Helper()
			if err := h.box.ToggleSetup(h.Context(), 15*time.Minute); err != nil {
				h.Fatal(err)
			}
		}
		toggle()
		s := h.box.Status()
		if s.State != state.Setup || s.Setup.IsZero() || s.Setup.Sub(s.Clock.Now) != 15*time.Minute {
			h.Errorf("%s until %v", s.State, s.Setup)
		}
		if h.kernel.Pass(anna, 1000) != 0 {
			h.Error("a packet passed during setup")
		}
		time.Sleep(14 * time.Minute)
		h.state(state.Setup)
		time.Sleep(time.Minute + period)
		h.state(state.Sharing)
		if s := h.box.Status(); !s.Setup.IsZero() {
			h.Errorf("the window is open until %v", s.Setup)
		}
		if h.kernel.Pass(anna, 1000) == 0 {
			h.Error("the session did not outlive setup")
		}
		toggle()
		toggle()
		h.state(state.Sharing)
	})
}

func TestLineGoesAndComes(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		works := h.uplinks.status
		h.inLoop(func() { h.uplinks.status.Works, h.uplinks.status.Why = false, "eth0 has a link but no default route" })
		h.state(state.Offline)
		if s := h.box.Status(); !strings.Contains(s.Why, "no default route") {
			h.Errorf("why: %s", s.Why)
		}
		h.inLoop(func() { h.uplinks.status = works })
		h.state(state.Sharing)
		if h.kernel.Pass(anna, 1000) == 0 {
			h.Error("the session is gone")
		}
	})
}

func TestLineThatOverlapsTheHotspotIsRefused(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.inLoop(func() { h.uplinks.status.Networks = []netip.Prefix{netip.MustParsePrefix("10.80.0.0/16")} })
		h.state(state.Offline)
		if s := h.box.Status(); !strings.Contains(s.Why, "overlaps") {
			h.Errorf("why: %s", s.Why)
		}
	})
}

func TestCapIsSpentAndResets(t *testing.T) {
	withBox(t, 23, func(h *testBox) {
		capped := strings.Replace(confText, `cap = "0"`, "cap = \"50MB\"\nperiod = \"day\"", 1)
		capped = strings.Replace(capped, `data = "500MB"`, `data = "0"`, 1)
		if _, err := h.box.Reconfigure(h.Context(), h.config(capped)); err != nil {
			h.Fatal(err)
		}
		h.admit(anna)
		var passed uint64
		for range 100 {
			n := h.kernel.Pass(anna, 1e6)
			passed += n
			h.inLoop(func() { h.uplinks.status.RxBytes += n })
			h.settle()
		}
		if passed > 50e6 || passed < 47e6 {
			h.Errorf("%d bytes of a cap of 50 MB passed", passed)
		}
		h.state(state.Exhausted)
		if s := h.box.Status(); s.Donations[0].Left > 1e6 || s.Resets.IsZero() {
			h.Errorf("left %d, resets %v", s.Donations[0].Left, s.Resets)
		}
		time.Sleep(time.Hour)
		h.state(state.Sharing)
	})
}

func TestFaultSaysWhyAndRecovers(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		h.kernel.Fail(errors.New("hotspot interface wlan0: Link not found"))
		h.state(state.Fault)
		if s := h.box.Status(); !strings.Contains(s.Why, "Link not found") {
			h.Errorf("why: %s", s.Why)
		}
		h.kernel.Fail(nil)
		h.state(state.Sharing)
		if _, ok := h.box.Session(anna); !ok {
			h.Error("the session is gone")
		}
	})
}

// TestAccepted: a configuration is accepted once when it has been applied, and again if it could not be stored.
func TestAccepted(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		var accepted []*config.Config
		full := errors.New("no space left on device")
		refuse := full
		h.inLoop(func() {
			h.box.accepted.accept = func(c *config.Config) error { accepted = append(accepted, c); return refuse }
		})
		h.kernel.Fail(errors.New("hotspot interface wlan0: Link not found"))
		c := h.config(strings.Replace(confText, "500MB", "200MB", 1))
		if outcome, err := h.box.Reconfigure(h.Context(), c); outcome != config.Applied || err == nil || !strings.Contains(err.Error(), "Link not found") {
			h.Errorf("with a kernel that refuses the plan: %v, %v", outcome, err)
		}
		h.state(state.Fault)
		if len(accepted) > 0 {
			h.Error("a configuration is accepted that cannot be applied")
		}
		h.kernel.Fail(nil)
		h.state(state.Sharing)
		if len(accepted) == 0 || accepted[0] != c || !h.hasProblem(state.ConfigUnkept, full) {
			h.Errorf("accepted %d times, problems: %q", len(accepted), h.box.Status().Problems)
		}
		h.inLoop(func() { refuse = nil })
		time.Sleep(time.Minute)
		h.settle()
		n := len(accepted)
		time.Sleep(time.Minute)
		h.settle()
		if len(accepted) != n || n > 20 || len(h.box.Status().Problems) > 0 {
			h.Errorf("accepted %d times and then %d, problems: %q", n, len(accepted), h.box.Status().Problems)
		}
	})
}

func TestReconfigureKeepsSessions(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		h.kernel.Pass(anna, 100e6)
		h.settle()
		less := h.config(strings.Replace(confText, "500MB", "200MB", 1))
		if _, err := h.box.Reconfigure(h.Context(), less); err != nil {
			h.Fatal(err)
		}
		s, ok := h.box.residents.session(anna)
		if !ok || s.Data != 100e6 || s.Left > 2*time.Hour {
			h.Errorf("%t, %d bytes and %v left", ok, s.Data, s.Left)
		}
		moved := h.config(strings.Replace(confText, "10.80.0.1/22", "10.81.0.1/22", 1))
		if outcome, err := h.box.Reconfigure(h.Context(), moved); outcome != config.Restart || err != nil {
			h.Errorf("another address while it runs: %v, %v", outcome, err)
		}
	})
}

// TestReconfigureKeepsLine: the line in use stays in use when other donations are added, removed or moved, and after a crash,
// although a new box would choose another one.
func TestReconfigureKeepsLine(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		donation := func(name, device string, cap int) string {
			return fmt.Sprintf("[[donation]]\nname = %q\ninterface = %q\ncap = \"%dGB\"\n", name, device, cap)
		}
		head, _, _ := strings.Cut(confText, "[[donation]]")
		fibre, mairie, more := donation("Fibre", "eth0", 100), donation("Mairie", "eth1", 110), donation("Ana", "eth2", 110)
		inUse := func(when string) {
			h.Helper()
			for _, d := range h.box.Status().Donations {
				if d.Chosen != (d.Name == "Fibre") {
					h.Errorf("%s, %q is in use: %t", when, d.Name, d.Chosen)
				}
			}
		}
		reload := func(when, text string) {
			h.Helper()
			if _, err := h.box.Reconfigure(h.Context(), h.config(head+text)); err != nil {
				h.Fatal(err)
			}
			inUse(when)
		}
		reload("alone", fibre)
		time.Sleep(time.Minute)
		h.settle()
		reload("with another", fibre+mairie)
		time.Sleep(time.Minute) // the other one has worked for a while
		h.settle()
		inUse("with one that is slightly better")
		reload("in another place", mairie+fibre)
		reload("in the middle", mairie+fibre+more)
		reload("with one gone", fibre+more)
		reload("in the last place", mairie+more+fibre)

		h.inLoop(func() { h.gate.dead = true })
		h.stop()
		h.start(head+mairie+fibre, Handover{})
		inUse("after a crash")
		h.stop()
		h.start(head+mairie+fibre, Handover{})
		if d := h.box.Status().Donations[0]; !d.Chosen {
			h.Errorf("a new box does not use the better line: %+v", d)
		}
	})
}

// TestInterruptedByStop: a stop in the middle of a pass is not logged as a problem, and the next daemon keeps the pause.
func TestInterruptedByStop(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.inLoop(func() { h.gate.hang = true })
		asked := make(chan error, 1)
		go func() { asked <- h.box.Pause(h.Context(), "a test") }()
		synctest.Wait()
		h.stop()
		if err := <-asked; !errors.Is(err, state.ErrStopped) {
			h.Errorf("a pause that a stop interrupts: %v", err)
		}
		if h.log.Len() > 0 || h.saved.PausedBy != "a test" {
			h.Errorf("paused by %q is saved, and logged is %s", h.saved.PausedBy, h.log.String())
		}
		h.start(confText, Handover{})
		h.state(state.Paused)
	})
}

// TestSensorThatHangs: the box shares, with the last reading.
func TestSensorThatHangs(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.stop()
		answer := make(chan string, 1)
		defer close(answer)
		h.board = func() state.Board { return state.Board{Model: <-answer} }
		answer <- "first"
		h.start(confText, Handover{})
		h.state(state.Sharing)
		h.admit(anna)
		if m := h.box.Status().Board.Model; m != "first" {
			h.Errorf("the board is %q", m)
		}
		answer <- "second"
		h.settle()
		if m := h.box.Status().Board.Model; m != "second" {
			h.Errorf("when it answers again, the board is %q", m)
		}
	})
}

// TestProblemsAreLogged: each problem is logged once, when it appears.
func TestProblemsAreLogged(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	b := &Box{parts: Parts{Log: slog.New(slog.NewTextHandler(&log, nil))}}
	for _, c := range []struct {
		problems []string
		want     string
	}{
		{nil, ""},
		{[]string{"no disk", "no room"}, "no disk; no room"},
		{[]string{"no disk", "no room"}, ""},
		{[]string{"no room", "no name", "no name"}, "no name"},
		{[]string{"no name"}, ""},
		{[]string{"no disk"}, "no disk"},
	} {
		log.Reset()
		b.problems.all = nil
		for _, p := range c.problems {
			b.problems.add(state.Failed, errors.New(p))
		}
		b.logChanges(nil)
		if got := log.String(); c.want == "" && got != "" || !strings.Contains(got, c.want) || strings.Count(got, "no ") != strings.Count(c.want, "no ") {
			t.Errorf("%q is logged as %q, want %q", c.problems, got, c.want)
		}
	}
}
