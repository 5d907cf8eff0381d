// Package appliance is the box's control loop: observe, decide, plan, apply. It owns the box's state, in one goroutine.
// Events only trigger reconciliation, which observes everything again. It does not touch kernel, processes, web or disk
// itself: it calls the drivers in Parts.
//
//	observe ──▶ decide ──▶ plan ──▶ apply
//	   ▲                              │
//	   └────── wake: netlink, clock, page, command, child
//
// Box holds the loop (reconcile.go), the calls of other packages (calls.go) and the status that they read (status.go). Its
// state is in types that do not know each other or Box: residents has the sessions, their data and their day; lines has the
// donations, whether each works, and how much of it the kernel may spend; devices has the address bindings.
//
// Words of this project:
//
//   - box: the appliance, a board with this software
//   - donation: a connection that somebody lends, with its cap per period, opening hours and rate
//   - line: a donation's link to the internet, as the loop knows it; its uplink is the network interface
//   - resident: a person's device on the hotspot, known by IP and MAC address, never on disk or in a log
//   - captive, authorized: a resident without a session, and one with a session
//   - session: a resident's authorization, limited in time and data
//   - gate: the data plane, kernel sets and rules that forward sessions and nothing else
//   - tranche: a part of a cap granted to the kernel in advance (a granted unit, RFC 8506)
//   - account: what was used of a donation, and what is left; package ledger
//   - share of the day: the data that one resident may use today, out of the donation's daily budget
//   - walled garden: the public services that need no session; [essential] in the configuration, essential services on pages
//   - handover: the sessions and usage that a stopping daemon leaves for the next one
//   - reconcile: one pass of the loop, which brings the kernel and the children to the plan
//   - State: what the box does, in one word; package state
package appliance

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"passerelle/appliance/bindings"
	"passerelle/appliance/clock"
	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/ledger"
	"passerelle/appliance/plan"
	"passerelle/appliance/radios"
	"passerelle/appliance/state"
	"passerelle/appliance/supervise"
	"passerelle/netctl"
	"passerelle/netctl/uplink"
	"passerelle/netctl/wpa"
)

const (
	period   = 2 * time.Second       // between passes without events
	debounce = 20 * time.Millisecond // events come in bursts

	maxReadSkew = 20 * time.Millisecond // between reads of counters that are compared
	minPeriod   = 50 * time.Millisecond // between passes that only follow the use of a tranche
)

// Uplinks is what the loop needs of netctl/uplink's Reader.
type Uplinks interface {
	Read(names []string) ([]uplink.Status, error)
	Networks(except string) ([]netip.Prefix, error)
}

// Prober is what the loop needs of netctl/uplink's Prober.
type Prober interface {
	Set(list []uplink.Candidate, zones []uplink.Zone)
	Health(name string) uplink.Health
}

// Children is what the loop needs of the supervisor.
type Children interface {
	Set(children []supervise.Child) error
	Status() []supervise.ChildStatus
}

// Joiner is what the loop needs of wpa.Joiner.
type Joiner interface {
	Set(list []wpa.Network)
	State(device string) wpa.Association
}

// Radios is what the loop needs of radios.Manager.
type Radios interface {
	Set(w radios.Config)
	State() radios.State
}

// Beacons is what the loop needs of wpa.Hostapd.
type Beacons interface {
	SetBeacon(b wpa.Beacon)
}

// Clock is what the loop needs of clock.Clock.
type Clock interface {
	Now() (now time.Time, t clock.Trust)
	Confirm(by string)
}

// Parts are the box's dependencies.
type Parts struct {
	Config *config.Config
	// Layers are the settings of the box's fleet, which Config overrides.
	Layers Layers
	// Configured tells whether a technician wrote Config; otherwise it is the factory default.
	Configured bool
	Gate       netctl.Gate
	Uplinks    Uplinks
	Prober     Prober
	Joiner     Joiner
	Radios     Radios
	Beacons    Beacons            // of the access point; used only where the box is one
	Board      func() state.Board // reads the board's sensors; it may block
	Children   Children
	Leases     func() ([]bindings.Lease, error) // of the hotspot's DHCP server; having none is not an error
	Asker      Asker
	Memory     uint64                                                         // of the machine, in bytes; 0 if unknown
	DNSUser    func() string                                                  // the user ID of plan.DNSUser, "" if there is none
	Meter      func(line uplink.Status, target netip.Addr) (LineMeter, error) // nil if rates never follow a line
	Store      Store
	Accounts   map[string]*ledger.Account // as Store has them, by donation
	Paused     map[string]ledger.Pause    // the donations' pauses, as Store has them
	Lost       error                      // why accounts were lost, if any were
	Clock      Clock
	Boot       string           // identifies this boot of the machine
	RunDir     string           // folder in memory for the children's files
	Now        func() time.Time // for its monotonic clock: sessions and delays; Clock has the time of day
	Log        *slog.Logger
	// SaveState stores the runtime state in memory, to survive a crash of the daemon. It is called after each change.
	SaveState  func(RuntimeState) error
	SavedState RuntimeState // of the last daemon
	// SavePause stores a pause that ends on the next day, on disk; the zero Pause removes it.
	SavePause func(Pause) error
	Pause     Pause // as stored
	// Handover is what the last daemon left, if it was stopped. Restored is called when it has been applied.
	Handover Handover
	Restored func() error
	// Accept is called once when the plan of a technician's Config has been applied, and again after an error.
	Accept func(*config.Config) error
	// Refused says why Config is not the technician's last text, nil if it is.
	Refused error
}

// RuntimeState is what the daemon keeps in a RAM file system, to continue after a crash. It has no data of residents.
type RuntimeState struct {
	PausedBy string      `json:"paused_by,omitempty"` // who paused until somebody resumes
	Fleet    bool        `json:"fleet,omitempty"`     // whether the box's fleet paused
	Trust    clock.Trust `json:"trust"`               // in the time of day
	Donation string      `json:"donation,omitempty"`  // the name of the one in use: after a crash connections stay on its line
	Day      time.Time   `json:"day,omitzero"`        // the last day whose usage was reset, as its midnight in UTC
}

// Box is the appliance. Make one with New; its methods are safe for concurrent use.
type Box struct {
	parts   Parts
	calls   chan call
	wakes   chan struct{}
	stopped chan struct{} // closed when the loop no longer takes calls
	started time.Time
	board   board

	// The rest of the loop's state belongs to its goroutine.
	file      *config.Config // as the technician wrote it
	config    *config.Config // in use: the file's, with the changes of the layers
	layers    layered
	services  *[]state.Service // of the walled garden
	card      *state.Card      // of the centre
	refused   error            // why config is not the technician's last text, nil if it is
	residents *residents
	lines     *lines
	pacer     pacer
	pause     Pause
	// When the pause began, by the monotonic clock; zero if an earlier daemon began it.
	pauseBegan  time.Time
	savedPause  Pause // as last stored by SavePause
	nextOpening nextOpening
	setupEnd    time.Time   // of the setup window, by the monotonic clock
	now         time.Time   // the time of day, in the box's zone
	trust       clock.Trust // in the time of day
	sample      netctl.Counters
	radios      radios.State
	dnsUplink   int      // index of the uplink that DNS queries last used
	compiled    struct { // the last plan, and its input
		from plan.Input
		plan netctl.Plan
	}
	devices    devices
	decision   decide.Decision
	applied    bool
	attempts   attempts
	applyErr   error // why the last plan is not applied
	accepted   acceptance
	problems   problems
	state      state.State
	since      time.Time
	savedState RuntimeState // as last stored by SaveState

	mu            sync.RWMutex   // guards what follows, which other goroutines may read at any time
	used, written *config.Config // in use, and as the technician wrote it
	site          state.Site
	status        state.Status
	plan          netctl.Plan   // the last one that was compiled
	lastReconcile time.Time     // when the last pass ended
	changed       chan struct{} // closed and replaced when site.State changes
}

type call struct {
	f    func(ctx context.Context)
	done chan struct{}
}

// New returns a box whose loop does not run yet.
func New(p Parts) *Box {
	b := &Box{
		parts:    p,
		file:     p.Config,
		refused:  p.Refused,
		calls:    make(chan call),
		wakes:    make(chan struct{}, 1),
		stopped:  make(chan struct{}),
		changed:  make(chan struct{}),
		pause:    Pause{By: p.SavedState.PausedBy, Fleet: p.SavedState.Fleet},
		started:  p.Now(),
		state:    state.Starting,
		decision: decide.Decision{Donation: -1},
		since:    p.Now(),
		accepted: acceptance{accept: p.Accept},
	}
	if p.Pause.Ends {
		b.pause, b.savedPause = p.Pause, p.Pause
	}
	b.devices = devices{gate: p.Gate, asker: p.Asker, leases: p.Leases, problem: b.problems.add}
	b.residents = newResidents(p.Gate, p.Now, b.problems.add, pendingHandover{day: p.SavedState.Day, handover: p.Handover})
	b.lines = newLines(p, b.problems.add, b.Wake)
	b.pacer = pacer{gate: p.Gate, open: p.Meter, now: p.Now}
	b.board.read = p.Board
	b.board.update()
	b.merge(p.Layers)
	b.readClock()
	b.configure()
	b.choose(b.lines.find(p.SavedState.Donation))
	b.publish()
	return b
}

// Wake triggers a pass of the loop soon. It may be called from any goroutine, at any rate.
func (b *Box) Wake() {
	select {
	case b.wakes <- struct{}{}:
	default:
	}
}

// do runs f in the loop's goroutine and waits for it. If ctx ends before f starts, f is not run and do returns ctx's error,
// which says nothing about the box. It returns state.ErrStopped if the loop has ended.
func (b *Box) do(ctx context.Context, f func(ctx context.Context)) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c := call{f: f, done: make(chan struct{})}
	select {
	case b.calls <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-b.stopped:
		return state.ErrStopped
	}
	<-c.done
	return nil
}

// Run runs the loop until ctx ends. Then it removes everything of the gate from the kernel and returns the handover for the
// next daemon. The caller stops the pages and children before it ends ctx. Run is called once.
func (b *Box) Run(ctx context.Context) (h Handover, err error) {
	var sensors sync.WaitGroup
	defer sensors.Wait()
	sensors.Go(func() { b.board.run(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	var debounced <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			close(b.stopped)
			b.pacer.stop()
			b.choose(-1) // connections end here
			b.saveState()
			h, err := b.handOver()
			// The gate must clean up although ctx has ended.
			return h, errors.Join(err, b.parts.Gate.Close(context.WithoutCancel(ctx)), b.lines.close())
		case c := <-b.calls:
			c.f(ctx)
			close(c.done)
		case <-b.wakes:
			if debounced == nil {
				debounced = time.After(debounce)
			}
		case <-debounced:
			debounced = nil
			timer.Reset(b.reconcile(ctx))
		case <-timer.C:
			timer.Reset(b.reconcile(ctx))
		case <-b.pacer.ticks():
			b.pacer.tick()
		}
	}
}
