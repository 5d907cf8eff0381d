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

	"passerelle/appliance/air"
	"passerelle/appliance/bindings"
	"passerelle/appliance/clock"
	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/ledger"
	"passerelle/appliance/supervise"
	"passerelle/netctl"
	"passerelle/netctl/gate/gatetest"
	"passerelle/netctl/uplink"
	"passerelle/netctl/wpa"
)

const confText = `
[box]
name = "Centre social des Lilas"
[hotspot]
interface = "wlan0"
radio = "none"
address = "10.80.0.1/22"
[limits]
session = "2h"
download = "8mbit"
upload = "4mbit"
data = "500MB"
[[donation]]
name = "Fibre du centre"
interface = "eth0"
cap = "0"
hours = "Mo-Su 00:00-20:00,21:00-24:00"
`

var (
	anna = netip.MustParseAddr("10.80.0.9")
	bilo = netip.MustParseAddr("10.80.0.10")
	macA = netctl.MAC{2, 0, 0, 0, 0, 9}
	macB = netctl.MAC{2, 0, 0, 0, 0, 10}
)

// lines are uplinks that do what the test says.
type lines struct {
	status uplink.Status
	phone  string // the name of the one on USB
}

func (l *lines) Read(names []string) ([]uplink.Status, error) {
	all := make([]uplink.Status, len(names))
	for i, n := range names {
		all[i] = l.status
		if all[i].Interface = n; n == uplink.USB {
			all[i].Interface = l.phone
		}
	}
	return all, nil
}

func (l *lines) Networks(string) ([]netip.Prefix, error) {
	return []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}, nil
}

// prober finds every line well, but as the test says otherwise.
type prober struct {
	lines  []uplink.Candidate
	zones  []uplink.Zone
	health uplink.Health
}

func (p *prober) Set(list []uplink.Candidate, zones []uplink.Zone) { p.lines, p.zones = list, zones }
func (p *prober) Health(string) uplink.Health                      { return p.health }

// asker has the answers that a test gives it.
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

// joiner knows how it stands with every lender's network.
type joiner struct {
	join wpa.Join
	list []wpa.Network
}

func (j *joiner) Set(list []wpa.Network) { j.list = list }
func (j *joiner) State(string) wpa.Join  { return j.join }

// sky is how the radios are, and what they are asked for.
type sky struct {
	state  air.State
	wanted air.Wanted
}

func (s *sky) Set(w air.Wanted) { s.wanted = w }
func (s *sky) State() air.State { return s.state }

// beacons are what the access point is to send.
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

// paper is where accounts are written down, if it can be written on.
type paper struct {
	records map[string]ledger.Record
	paused  map[string]string
	full    error
	writes  int
}

func (p *paper) Put(records map[string]ledger.Record) error {
	if p.full != nil {
		return p.full
	}
	p.writes++
	maps.Copy(p.records, records)
	return nil
}

func (p *paper) SetPaused(donation, by string) error {
	if p.full != nil {
		return p.full
	}
	p.paused[donation] = by
	return nil
}

// wall is a clock whose time is off by so much, and trusted by whom it says.
type wall struct {
	off time.Duration
	by  string
}

func (w *wall) Look() (time.Time, clock.Trust) {
	return time.Now().Add(w.off), clock.Trust{By: w.by, Offset: w.off}
}
func (w *wall) Confirm(by string) { w.by = by }

// mortal is a gate whose daemon may die without a word: from then on nothing that it does reaches the kernel.
type mortal struct {
	netctl.Gate
	dead bool
	last int   // how many calls it still makes, if any; then it dies
	full error // why it takes no tranche
	hang bool  // the next plan is applied until the box is told to stop
}

var errDead = errors.New("the daemon is dead")

// calls makes a call, unless it is dead.
func (m *mortal) calls(call func() error) error {
	if m.last > 0 {
		m.last--
		m.dead = m.dead || m.last == 0
	}
	if m.dead {
		return errDead
	}
	return call()
}

func (m *mortal) Apply(ctx context.Context, p netctl.Plan) (changes []string, err error) {
	if m.hang {
		<-ctx.Done()
		return nil, fmt.Errorf("nft: %w", ctx.Err())
	}
	err = m.calls(func() error { changes, err = m.Gate.Apply(ctx, p); return err })
	return changes, err
}

func (m *mortal) Sessions() (all []netctl.Session, err error) {
	err = m.calls(func() error { all, err = m.Gate.Sessions(); return err })
	return all, err
}

func (m *mortal) Remembered() (used map[netctl.MAC]uint64, err error) {
	err = m.calls(func() error { used, err = m.Gate.Remembered(); return err })
	return used, err
}

func (m *mortal) Read() (s netctl.Sample, err error) {
	err = m.calls(func() error { s, err = m.Gate.Read(); return err })
	return s, err
}

func (m *mortal) Admit(s netctl.Session) error {
	return m.calls(func() error { return m.Gate.Admit(s) })
}

func (m *mortal) End(addr netip.Addr) error {
	return m.calls(func() error { return m.Gate.End(addr) })
}

func (m *mortal) Remember(used map[netctl.MAC]uint64, left time.Duration) error {
	return m.calls(func() error { return m.Gate.Remember(used, left) })
}

func (m *mortal) Revoke(ctx context.Context, chain string) error {
	return m.calls(func() error { return m.Gate.Revoke(ctx, chain) })
}

func (m *mortal) Grant(ctx context.Context, t netctl.Tranche) error {
	if m.full != nil {
		return m.full
	}
	return m.calls(func() error { return m.Gate.Grant(ctx, t) })
}

func (m *mortal) Close(ctx context.Context) error {
	return m.calls(func() error { return m.Gate.Close(ctx) })
}

// home is a box on a kernel in memory.
type home struct {
	*testing.T
	kernel *gatetest.Fake
	lines  *lines
	kids   *children
	joiner *joiner
	prober *prober
	air    *sky
	beacon beacons
	box    *Box
	gate   *mortal
	paper  *paper
	clock  *wall
	boot   string
	kept   Kept
	leases []bindings.Lease
	asker  asker
	log    strings.Builder // warnings; read it when the box has stopped
	aside  Aside           // the file with it
	accept func(*config.Config) error
	stop   func() Aside
}

// inHome runs a test in a bubble of its own time, in which the box starts at that hour of the day in Paris.
func inHome(t *testing.T, hour int, test func(h *home)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Duration(hour-1) * time.Hour) // a bubble begins at midnight UTC
		h := &home{T: t, kernel: gatetest.NewFake(time.Now), lines: &lines{}, kids: &children{}, joiner: &joiner{}, prober: &prober{health: uplink.Health{Known: true, Works: true}}, air: &sky{},
			accept: func(*config.Config) error { return nil },
			paper:  &paper{records: map[string]ledger.Record{}, paused: map[string]string{}},
			clock:  &wall{by: clock.ByServer}, boot: "first"}
		h.lines.status = uplink.Status{
			Index: 2, Present: true, Up: true, Carrier: true, Routed: true, Works: true,
			Gateway: netip.MustParseAddr("192.168.1.1"), DNS: []netip.Addr{netip.MustParseAddr("192.168.1.1")},
			Networks: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")},
		}
		h.kernel.SetNeighbor(anna, macA)
		h.kernel.SetNeighbor(bilo, macB)
		h.start(confText, Aside{})
		defer func() { h.stop() }() // also after a failure: the bubble waits for the loop
		test(h)
	})
}

func (h *home) config(text string) *config.Config {
	h.Helper()
	c, err := config.Parse("test.toml", []byte(text))
	if err != nil {
		h.Fatal(err)
	}
	return c
}

// errUnread is why accounts were lost, if any were.
var errUnread = errors.New("the accounts cannot be read")

func (h *home) start(text string, aside Aside) {
	h.Helper()
	gate := &mortal{Gate: h.kernel.Gate()}
	h.gate = gate
	books := map[string]*ledger.Book{}
	for name, r := range h.paper.records {
		books[name] = ledger.Open(&r, nil)
	}
	h.box = New(Parts{
		Config: h.config(text), Configured: true, Gate: h.gate, Uplinks: h.lines, Prober: h.prober, Children: h.kids,
		Joiner: h.joiner, Air: h.air, Beacons: &h.beacon, Board: func() BoardStatus { return BoardStatus{} },
		Accounts: h.paper, Books: books, Paused: maps.Clone(h.paper.paused), Clock: h.clock, Boot: h.boot,
		Leases: func() ([]bindings.Lease, error) { return h.leases, nil }, Asker: &h.asker,
		NamesUser: func() string { return "104" }, Lost: errUnread,
		RunDir: "/run/passerelle", Now: time.Now, Log: slog.New(slog.NewTextHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Keep: func(k Kept) error { return gate.calls(func() error { h.kept = k; return nil }) }, Kept: h.kept, Aside: aside,
		TookUp: func() error { return gate.calls(func() error { h.aside = Aside{}; return nil }) },
		Accept: func(c *config.Config) error { return h.accept(c) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan Aside, 1)
	go func() {
		aside, err := h.box.Run(ctx)
		if err != nil && !gate.dead {
			h.Error(err)
		}
		done <- aside
	}()
	h.stop = func() Aside { cancel(); return <-done }
	h.settle()
}

// settle lets the loop look again.
func (h *home) settle() {
	time.Sleep(2*period + debounce)
	synctest.Wait()
}

func (h *home) state(want decide.State) {
	h.Helper()
	h.settle()
	if s := h.box.Status(); s.State != want {
		h.Fatalf("%s (%s; problems %q), want %s", s.State, s.Why, s.Problems, want)
	}
}

func (h *home) admit(addr netip.Addr) Session {
	h.Helper()
	s, err := h.box.Admit(h.Context(), addr)
	if err != nil {
		h.Fatal(err)
	}
	return s
}

func TestSessionLastsItsTime(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.state(decide.Sharing)
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

// A press in a session's last ten minutes makes it as long again as a new one, and gives no data.
func TestSessionIsExtended(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.admit(anna)
		h.kernel.Pass(anna, 100e6)
		time.Sleep(110*time.Minute - time.Second)
		if s := h.admit(anna); s.Left > 11*time.Minute || s.Extends() {
			h.Errorf("a press too early: %v left, and another helps: %v", s.Left, s.Extends())
		}
		time.Sleep(2 * time.Second)
		if err := h.box.Pause(h.Context(), "a test"); err != nil {
			h.Fatal(err)
		}
		if s := h.admit(anna); s.Left > 10*time.Minute || !s.Extends() {
			h.Errorf("a press in a pause: %v left, and another helps: %v", s.Left, s.Extends())
		}
		if err := h.box.Resume(h.Context()); err != nil {
			h.Fatal(err)
		}
		h.kernel.Pass(anna, 50e6) // since the loop last looked
		for range 2 {
			if s := h.admit(anna); s.Left != 2*time.Hour || s.Length != 2*time.Hour || s.Data != 350e6 || s.Extends() {
				h.Errorf("a press in the last ten minutes: %v of %v and %d bytes left", s.Left, s.Length, s.Data)
			}
		}
		h.start(confText, h.stop()) // what is set aside says it too
		h.state(decide.Sharing)
		time.Sleep(time.Hour)
		h.settle()
		if n := h.kernel.Pass(anna, 400e6); n > 350e6 {
			h.Errorf("%d bytes passed, of 350 MB", n)
		}
		h.settle()
		if _, err := h.box.Admit(h.Context(), anna); !errors.Is(err, ErrDataSpent) {
			h.Errorf("with nothing left: %v", err)
		}
	})
}

// In a short session it is the second half.
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
		if got := (Session{Session: netctl.Session{Left: test.left}, Length: test.length}).Extends(); got != test.want {
			t.Errorf("with %v left of %v: %v", test.left, test.length, got)
		}
	}
}

// Who asks and goes away before it is his turn is told so, and nothing is done for him; that the box is stopping is said
// only when it is.
func TestAskersGoAway(t *testing.T) {
	inHome(t, 10, func(h *home) {
		free, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- h.box.do(h.Context(), func(context.Context) { <-free }) }()
		synctest.Wait()
		ctx, leave := context.WithCancel(h.Context())
		go func() {
			_, err := h.box.Admit(ctx, anna)
			done <- err
		}()
		synctest.Wait()
		leave()
		if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, ErrStopped) {
			h.Errorf("a press whose sender went away: %v", err)
		}
		close(free)
		if err := <-done; err != nil {
			h.Error(err)
		}
		if _, ok := h.box.Session(anna); ok {
			h.Error("a press was followed whose sender went away before")
		}
		h.stop()
		for what, err := range map[string]error{
			"a press": func() error { _, err := h.box.Admit(h.Context(), anna); return err }(),
			"an end":  h.box.End(h.Context(), anna), "a pause": h.box.Pause(h.Context(), "a test"),
		} {
			if !errors.Is(err, ErrStopped) {
				h.Errorf("%s at a box that has stopped: %v", what, err)
			}
		}
		h.start(confText, Aside{})
	})
}

func TestEndIsAtOnce(t *testing.T) {
	inHome(t, 10, func(h *home) {
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

func TestOnlyWhoIsThereIsAdmitted(t *testing.T) {
	inHome(t, 10, func(h *home) {
		if _, err := h.box.Admit(h.Context(), netip.MustParseAddr("10.80.2.2")); !errors.Is(err, ErrUnknown) {
			h.Errorf("a stranger: %v", err)
		}
	})
}

func TestDataOfTheDay(t *testing.T) {
	inHome(t, 23, func(h *home) {
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
		if _, err := h.box.Admit(h.Context(), anna); !errors.Is(err, ErrDataSpent) {
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
	inHome(t, 10, func(h *home) {
		h.admit(anna)
		h.kernel.SetNeighbor(bilo, macA)
		h.admit(bilo)
		if _, ok := h.box.Session(anna); ok || h.kernel.Pass(anna, 1000) != 0 {
			h.Error("the device has two sessions")
		}
	})
}

func TestAddressHandedOn(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.admit(anna)
		h.kernel.Pass(anna, 100e6)
		h.kernel.SetNeighbor(anna, macB) // the first device left, and another was given its address
		if s := h.admit(anna); s.MAC != macB || s.Data != 500e6 {
			t.Errorf("the other device's session is %v with %d bytes", s.MAC, s.Data)
		}
		h.settle()
		if s, ok := h.box.Session(anna); !ok || s.MAC != macB || h.kernel.Pass(anna, 1000) == 0 {
			t.Errorf("then it is %v (%t)", s.MAC, ok)
		}
		h.kernel.SetNeighbor(anna, macA)
		if s := h.admit(anna); s.Data > 400e6 {
			t.Errorf("the first device has %d bytes after 100 of 500 MB", s.Data)
		}
	})
}

func TestCrashLosesNothing(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.admit(anna)
		h.kernel.Pass(anna, 100e6)
		time.Sleep(30 * time.Minute)
		h.inLoop(func() { h.gate.dead = true })
		h.stop()
		h.start(confText, Aside{})
		s, ok := h.box.Session(anna)
		if !ok || s.Left > 90*time.Minute || s.Left < 89*time.Minute || s.Data > 400e6 || s.Data < 399e6 {
			h.Errorf("taken up: %t, %v and %d bytes left", ok, s.Left, s.Data)
		}
		if err := h.box.End(h.Context(), anna); err != nil {
			h.Fatal(err)
		}
		if s := h.admit(anna); s.Data > 400e6 {
			h.Errorf("the crash gave %d bytes back", s.Data)
		}
	})
}

func TestRestartTakesSessionsUp(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.admit(anna)
		h.kernel.Pass(anna, 100e6)
		h.settle()
		aside := h.stop()
		if h.kernel.Pass(anna, 1000) != 0 || h.kernel.String() != "" {
			h.Errorf("a stopped box left in the kernel:\n%s", h.kernel)
		}
		h.start(confText, aside)
		s, ok := h.box.Session(anna)
		if !ok || s.Data != 400e6 || h.kernel.Pass(anna, 1000) == 0 {
			h.Errorf("taken up: %t with %d bytes", ok, s.Data)
		}
	})
}

func TestFlushedSetIsFilledAgain(t *testing.T) {
	inHome(t, 10, func(h *home) {
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
	inHome(t, 19, func(h *home) {
		h.admit(anna)
		time.Sleep(time.Hour)
		h.state(decide.Closed)
		if v := h.box.View(); v.Opens.IsZero() || time.Until(v.Opens) > time.Hour {
			h.Errorf("closed until %v", v.Opens)
		}
		if _, err := h.box.Admit(h.Context(), bilo); !errors.Is(err, ErrNotSharing) {
			h.Errorf("pressed while it is closed: %v", err)
		}
		if h.kernel.Pass(anna, 1000) != 0 {
			h.Error("a packet passed while it is closed")
		}
		time.Sleep(time.Hour)
		h.state(decide.Sharing)
	})
}

func TestPauseKeepsSessions(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.admit(anna)
		if err := h.box.Pause(h.Context(), "the command line"); err != nil {
			h.Fatal(err)
		}
		if s := h.box.Status(); s.State != decide.Paused || !strings.Contains(s.Why, "the command line") {
			h.Errorf("%s: %s", s.State, s.Why)
		}
		if h.kernel.Pass(anna, 1000) != 0 {
			h.Error("a packet passed in a pause")
		}
		if h.kept.PausedBy == "" {
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
	inHome(t, 10, func(h *home) {
		for _, want := range []decide.State{decide.Paused, decide.Sharing, decide.Paused} {
			if err := h.box.TogglePause(h.Context(), "the button"); err != nil {
				h.Fatal(err)
			}
			if s := h.box.Status(); s.State != want {
				h.Errorf("%s: %s, not %s", s.State, s.Why, want)
			}
		}
		if err := h.box.Pause(h.Context(), "the command line"); err != nil {
			h.Fatal(err)
		}
		if err := h.box.TogglePause(h.Context(), "the button"); err != nil {
			h.Fatal(err)
		}
		h.state(decide.Sharing) // whoever paused it
	})
}

// TestSetupIsAWindow: it closes by itself or when it is asked for again, and sessions outlive it.
func TestSetupIsAWindow(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.admit(anna)
		toggle := func() {
			h.Helper()
			if err := h.box.ToggleSetup(h.Context(), 15*time.Minute); err != nil {
				h.Fatal(err)
			}
		}
		toggle()
		s := h.box.Status()
		if s.State != decide.Setup || s.Setup == nil || s.Setup.Sub(s.Clock.Now) != 15*time.Minute {
			h.Errorf("%s until %v", s.State, s.Setup)
		}
		if h.kernel.Pass(anna, 1000) != 0 {
			h.Error("a packet passed in a set-up")
		}
		time.Sleep(14 * time.Minute)
		h.state(decide.Setup)
		time.Sleep(time.Minute + period)
		h.state(decide.Sharing)
		if s := h.box.Status(); s.Setup != nil {
			h.Errorf("the window is open until %v", s.Setup)
		}
		if h.kernel.Pass(anna, 1000) == 0 {
			h.Error("the session did not outlive the set-up")
		}
		toggle()
		toggle()
		h.state(decide.Sharing)
	})
}

func TestLineGoesAndComes(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.admit(anna)
		works := h.lines.status
		h.inLoop(func() { h.lines.status.Works, h.lines.status.Why = false, "eth0 has a link but no default route" })
		h.state(decide.Offline)
		if s := h.box.Status(); !strings.Contains(s.Why, "no default route") {
			h.Errorf("why: %s", s.Why)
		}
		h.inLoop(func() { h.lines.status = works })
		h.state(decide.Sharing)
		if h.kernel.Pass(anna, 1000) == 0 {
			h.Error("the session is gone")
		}
	})
}

func TestLineThatOverlapsTheHotspotIsRefused(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.inLoop(func() { h.lines.status.Networks = []netip.Prefix{netip.MustParsePrefix("10.80.0.0/16")} })
		h.state(decide.Offline)
		if s := h.box.Status(); !strings.Contains(s.Why, "overlaps") {
			h.Errorf("why: %s", s.Why)
		}
	})
}

func TestCapIsSpentAndComesBack(t *testing.T) {
	inHome(t, 23, func(h *home) {
		capped := strings.Replace(confText, `cap = "0"`, "cap = \"50MB\"\nperiod = \"day\"", 1)
		capped = strings.Replace(capped, `data = "500MB"`, `data = "0"`, 1)
		if err := h.box.Reconfigure(h.Context(), h.config(capped)); err != nil {
			h.Fatal(err)
		}
		h.admit(anna)
		var passed uint64
		for range 100 {
			n := h.kernel.Pass(anna, 1e6)
			passed += n
			h.inLoop(func() { h.lines.status.RxBytes += n })
			h.settle()
		}
		if passed > 50e6 || passed < 47e6 {
			h.Errorf("%d bytes of a cap of 50 MB passed", passed)
		}
		h.state(decide.Exhausted)
		if s := h.box.Status(); s.Donations[0].Left > 1e6 || s.Refills == nil {
			h.Errorf("left %d, refills %v", s.Donations[0].Left, s.Refills)
		}
		time.Sleep(time.Hour)
		h.state(decide.Sharing)
	})
}

func TestFaultSaysWhyAndHeals(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.admit(anna)
		h.kernel.Fail(errors.New("hotspot interface wlan0: Link not found"))
		h.state(decide.Fault)
		if s := h.box.Status(); !strings.Contains(s.Why, "Link not found") {
			h.Errorf("why: %s", s.Why)
		}
		h.kernel.Fail(nil)
		h.state(decide.Sharing)
		if _, ok := h.box.Session(anna); !ok {
			h.Error("the session is gone")
		}
	})
}

// TestAccepted: a configuration is accepted once it has been applied, once, and again where that could not be written.
func TestAccepted(t *testing.T) {
	inHome(t, 10, func(h *home) {
		var accepted []*config.Config
		full := errors.New("no space left on device")
		refuse := full
		h.inLoop(func() {
			h.box.Accept = func(c *config.Config) error { accepted = append(accepted, c); return refuse }
		})
		h.kernel.Fail(errors.New("hotspot interface wlan0: Link not found"))
		c := h.config(strings.Replace(confText, "500MB", "200MB", 1))
		if err := h.box.Reconfigure(h.Context(), c); err != nil {
			h.Fatal(err)
		}
		h.state(decide.Fault)
		if len(accepted) > 0 {
			h.Error("accepted is what cannot be applied")
		}
		h.kernel.Fail(nil)
		h.state(decide.Sharing)
		if len(accepted) == 0 || accepted[0] != c || !slices.Contains(h.box.Status().Problems, full.Error()) {
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
	inHome(t, 10, func(h *home) {
		h.admit(anna)
		h.kernel.Pass(anna, 100e6)
		h.settle()
		less := h.config(strings.Replace(confText, "500MB", "200MB", 1))
		if err := h.box.Reconfigure(h.Context(), less); err != nil {
			h.Fatal(err)
		}
		s, ok := h.box.Session(anna)
		if !ok || s.Data != 100e6 || s.Left > 2*time.Hour {
			h.Errorf("%t, %d bytes and %v left", ok, s.Data, s.Left)
		}
		moved := h.config(strings.Replace(confText, "10.80.0.1/22", "10.81.0.1/22", 1))
		if err := h.box.Reconfigure(h.Context(), moved); !errors.Is(err, ErrRestart) {
			h.Errorf("another address while it runs: %v", err)
		}
	})
}

// TestReconfigureKeepsLine: the line in use stays in use when other donations come, go or change places, and after a crash,
// although another one would be chosen by a box that begins.
func TestReconfigureKeepsLine(t *testing.T) {
	inHome(t, 10, func(h *home) {
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
			if err := h.box.Reconfigure(h.Context(), h.config(head+text)); err != nil {
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
		inUse("beside one that is better by a little")
		reload("in another place", mairie+fibre)
		reload("in the midst", mairie+fibre+more)
		reload("with one gone", fibre+more)
		reload("in the last place", mairie+more+fibre)

		h.inLoop(func() { h.gate.dead = true })
		h.stop()
		h.start(head+mairie+fibre, Aside{})
		inUse("after a crash")
		h.stop()
		h.start(head+mairie+fibre, Aside{})
		if d := h.box.Status().Donations[0]; !d.Chosen {
			h.Errorf("a box that begins uses another than the better line: %+v", d)
		}
	})
}

// TestCutOffByStop: a round that a stop cuts off is no trouble, and what was asked for in it is kept for the next daemon.
func TestCutOffByStop(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.inLoop(func() { h.gate.hang = true })
		asked := make(chan error, 1)
		go func() { asked <- h.box.Pause(h.Context(), "a test") }()
		synctest.Wait()
		h.stop()
		if err := <-asked; !errors.Is(err, ErrStopped) {
			h.Errorf("a pause that a stop cuts off: %v", err)
		}
		if h.log.Len() > 0 || h.kept.PausedBy != "a test" {
			h.Errorf("the pause is kept as %q, and the log says %s", h.kept.PausedBy, h.log.String())
		}
		h.start(confText, Aside{})
		h.state(decide.Paused)
	})
}

// TestProblemsAreLogged: each of them, once, when it comes.
func TestProblemsAreLogged(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	b := &Box{Parts: Parts{Log: slog.New(slog.NewTextHandler(&log, nil))}}
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
		b.problems = c.problems
		b.note(nil)
		if got := log.String(); c.want == "" && got != "" || !strings.Contains(got, c.want) || strings.Count(got, "no ") != strings.Count(c.want, "no ") {
			t.Errorf("%q is logged as %q, want %q", c.problems, got, c.want)
		}
	}
}
