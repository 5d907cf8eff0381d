// Package appliance is the box's loop: observe, decide, plan, apply. It owns the box's state, in one goroutine, and the
// residents' sessions in memory; it wakes on events and then looks at everything again. It touches neither kernel,
// processes, web nor disk itself: what it drives is handed to it.
//
//	observe ──▶ decide ──▶ plan ──▶ apply
//	   ▲                              │
//	   └────── wake: netlink, clock, page, command, child
package appliance

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"passerelle/appliance/air"
	"passerelle/appliance/bindings"
	"passerelle/appliance/clock"
	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/ledger"
	"passerelle/appliance/supervise"
	"passerelle/netctl"
	"passerelle/netctl/plan"
	"passerelle/netctl/uplink"
	"passerelle/netctl/wpa"
)

const (
	period   = 2 * time.Second        // between rounds when nothing happens
	debounce = 20 * time.Millisecond  // events come in bunches
	retry    = 250 * time.Millisecond // after a first failure to apply; then it doubles
	retryMax = 2 * time.Second

	together = 20 * time.Millisecond // within which counters are read that are held against each other
	soonest  = 50 * time.Millisecond // between rounds that only watch a tranche being spent
)

// Errors of Admit.
var (
	ErrNotSharing = errors.New("the box is not sharing a connection now")
	ErrDataSpent  = errors.New("the resident's data of today is spent")
	ErrUnknown    = errors.New("no device on the hotspot has this address")
	ErrStopped    = errors.New("the box is stopping")
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
	State(device string) wpa.Join
}

// Air is what the loop needs of air.Keeper.
type Air interface {
	Set(w air.Wanted)
	State() air.State
}

// Beacons is what the loop needs of wpa.Hostapd.
type Beacons interface {
	SetBeacon(b wpa.Beacon)
}

// Clock is what the loop needs of clock.Clock.
type Clock interface {
	Look() (now time.Time, t clock.Trust)
	Confirm(by string)
}

// Parts are what the box is made of.
type Parts struct {
	Config *config.Config
	// Configured tells whether a technician wrote Config; else it is what a box has when it leaves the factory.
	Configured bool
	Gate       netctl.Gate
	Uplinks    Uplinks
	Prober     Prober
	Joiner     Joiner
	Air        Air
	Beacons    Beacons            // the access point's, where the box is one
	Board      func() BoardStatus // what the board feels
	Children   Children
	Leases     func() ([]bindings.Lease, error) // of the hotspot, as far as any were given
	Asker      Asker
	Memory     uint64        // bytes of the machine's; 0: not known
	NamesUser  func() string // the number of the user plan.DNSUser, "" if there is none
	Accounts   Accounts
	Books      map[string]*ledger.Book // what the accounts' place has, by donation
	Paused     map[string]string       // likewise, by whom donations are paused
	Lost       error                   // why accounts were lost, as far as any are
	Clock      Clock
	Boot       string           // names this boot of the machine
	RunDir     string           // folder in memory for the children's files
	Now        func() time.Time // its monotonic clock measures sessions and delays; what day it is, Clock tells
	Log        *slog.Logger
	// Keep is called with what shall outlive the daemon, but not the machine's memory, whenever it changed.
	Keep func(Kept) error
	Kept Kept // what the last daemon kept
	// Aside is what the last daemon set aside when it was told to stop. TookUp is called when it has been taken up.
	Aside  Aside
	TookUp func() error
	// Accept is called once a plan of a Config that a technician wrote has been applied, and again after an error.
	Accept func(*config.Config) error
	// Refused says why Config is not what the technician wrote last, nil if it is.
	Refused error
}

// Kept is what the daemon keeps in memory's file system, to go on after a crash. It says nothing of residents.
type Kept struct {
	PausedBy string      `json:"paused_by,omitempty"`
	Trust    clock.Trust `json:"trust"`              // in the time of day
	Donation string      `json:"donation,omitempty"` // in use, by its name: after a crash connections go on by its line
	Day      time.Time   `json:"day,omitzero"`       // the last one whose data was given, as its midnight in UTC
}

// Box is the appliance. Make one with New; its methods are safe for concurrent use.
type Box struct {
	Parts
	calls   chan call
	wakes   chan struct{}
	stopped chan struct{} // closed when the loop answers no more calls
	started time.Time

	// The rest of the loop's state is used by its goroutine alone.
	pausedBy  string
	setupEnd  time.Time             // of the technicians' window, by the monotonic clock
	donations []*donation           // in the configuration's order
	usage     map[netctl.MAC]uint64 // bytes of today, of devices that asked for a session: see use
	tookUp    bool                  // what the last daemon left
	limit     config.Size           // of data, by which running sessions were last given theirs
	now       time.Time             // the time of day, in the box's zone
	trust     clock.Trust           // in it
	day       time.Time             // the last one whose data was given, see date; zero until the clock is trusted
	sample    netctl.Sample
	hotspot   uplink.Status
	air       air.State
	asked     int      // the number of the uplink that names were last asked through
	compiled  struct { // the last plan, and what it was made from
		from plan.Input
		plan netctl.Plan
	}
	last     *donation // that was chosen last, nil if none was
	networks []netip.Prefix
	devices  devices
	decision decide.Decision
	applied  bool
	fault    string
	failures int
	retryAt  time.Time
	noted    []string // the problems of the round before
	state    decide.State
	since    time.Time
	kept     Kept // what Keep was called with last
	problems []string
	unmet    error // why the plan of the last round is not applied

	accepted   *config.Config // what Accept was called with last
	acceptedAt time.Time      // when
	unaccepted error          // why that failed

	// Broadcasts, by the line's interface, as counted before the lines were last read and after.
	broadcastsBefore, broadcastsAfter map[string]uint64

	mu       sync.RWMutex // guards what follows: what others may read at any time
	sessions map[netip.Addr]Session
	view     View
	status   Status
	looked   time.Time // when the last round ended
}

// Session is a resident's session.
type Session struct {
	netctl.Session
	Ends   time.Time // by the monotonic clock
	Length time.Duration
}

// View is what residents' pages need to know of the box.
type View struct {
	State      decide.State
	Opens      time.Time
	Refills    time.Time
	DataResets time.Time
	Essential  bool // essential services are reached
	Config     *config.Config
}

type call struct {
	f    func(ctx context.Context)
	done chan struct{}
}

// New returns a box that has done nothing yet.
func New(p Parts) *Box {
	b := &Box{
		Parts:    p,
		calls:    make(chan call),
		wakes:    make(chan struct{}, 1),
		stopped:  make(chan struct{}),
		usage:    map[netctl.MAC]uint64{},
		limit:    math.MaxUint64, // not known
		sessions: map[netip.Addr]Session{},
		pausedBy: p.Kept.PausedBy,
		day:      p.Kept.Day,
		started:  p.Now(),
		state:    decide.Starting,
		decision: decide.Decision{Donation: -1},
		since:    p.Now(),
	}
	if b.Paused == nil {
		b.Paused = map[string]string{}
	}
	b.look()
	b.configure()
	b.decision.Donation = slices.IndexFunc(b.donations, func(d *donation) bool { return d.Name == p.Kept.Donation })
	b.publish()
	return b
}

// Wake makes the loop look at everything again soon. It may be called from any goroutine, at any rate.
func (b *Box) Wake() {
	select {
	case b.wakes <- struct{}{}:
	default:
	}
}

// do runs f in the loop's goroutine and waits for it. If ctx ends before f began, f is not run and ctx's error returned:
// it says that the caller went away, and nothing of the box. ErrStopped says that the loop has ended.
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
		return ErrStopped
	}
	<-c.done
	return nil
}

// Run drives the box until ctx ends, then returns what to set aside for the next daemon, after the gate took all of ours
// out of the kernel. The caller stops the pages and children before it ends ctx. It is called once.
func (b *Box) Run(ctx context.Context) (aside Aside, err error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var woken <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			close(b.stopped)
			b.decision.Donation = -1 // connections end here
			b.keep()
			aside, err := b.setAside()
			// The context that ended must not keep the gate from cleaning up.
			return aside, errors.Join(err, b.Gate.Close(context.WithoutCancel(ctx)), b.close())
		case c := <-b.calls:
			c.f(ctx)
			close(c.done)
		case <-b.wakes:
			if woken == nil {
				woken = time.After(debounce)
			}
		case <-woken:
			woken = nil
			timer.Reset(b.round(ctx))
		case <-timer.C:
			timer.Reset(b.round(ctx))
		}
	}
}

// round looks at everything, decides, and drives the world to the plan. It returns when to look again at the latest.
func (b *Box) round(ctx context.Context) time.Duration {
	b.problems = nil
	b.observe()
	b.decision = decide.Decide(b.observation())
	err := b.apply(ctx)
	if ctx.Err() != nil { // what is cut off by a stop is no trouble
		b.unmet = ErrStopped
		b.keep()
		return period
	}
	if b.decision.State != decide.Fault {
		b.judge(err)
		// The first plan has been applied, or this one cannot be.
		b.decision = decide.Decide(b.observation())
		if b.decision.State == decide.Fault {
			err = errors.Join(err, b.apply(ctx)) // closes what can be closed
		}
	}
	if err == nil {
		b.takeUp() // if the kernel could not tell at first
		b.accept()
	}
	b.unmet = err
	b.settle(ctx)
	b.share()
	b.remember()
	b.keep()
	if ctx.Err() == nil {
		b.note(err)
	}
	b.publish()
	next := min(period, b.lasts())
	if !b.retryAt.IsZero() {
		next = min(next, max(0, b.retryAt.Sub(b.Now())))
	}
	return next
}

// judge draws the conclusion from an attempt at the plan. One failure may be a line that went away between the look and
// the deed; two are a fault, and the plan is tried again after a while.
func (b *Box) judge(err error) {
	if err == nil {
		b.fault, b.failures, b.retryAt = "", 0, time.Time{}
		return
	}
	b.failures++
	b.retryAt = b.Now().Add(min(retry<<min(b.failures-1, 10), retryMax))
	if b.failures > 1 {
		b.fault = err.Error()
	}
}

// accept hands on a configuration that has been applied. One with which the box cannot work is not taken for that.
func (b *Box) accept() {
	switch now := b.Now(); {
	case !b.Configured || b.decision.State == decide.Fault:
		return
	case b.Config != b.accepted || b.unaccepted != nil && now.Sub(b.acceptedAt) >= rewrite:
		b.accepted, b.acceptedAt = b.Config, now
		b.unaccepted = b.Accept(b.Config)
	}
	b.problem(b.unaccepted)
}

// problem notes something that went wrong in this round without stopping it.
func (b *Box) problem(err error) {
	if err != nil {
		b.problems = append(b.problems, err.Error())
	}
}

// look reads the clock.
func (b *Box) look() {
	now, trust := b.Clock.Look()
	b.now, b.trust = now.In(b.Config.Box.Timezone), trust
}

func (b *Box) observe() {
	b.look()
	b.measure()
	if b.trust.By != "" {
		b.turnDay()
	}
	if b.tally() {
		b.book()
	}
	if n, err := b.Uplinks.Networks(plan.Hotspot(b.Config)); err != nil {
		b.problem(err)
	} else {
		b.networks = n
	}
	b.observeAir()
	b.probe()
	b.watchLines()
	b.bind()
}

// measure reads, before the first plan, how many connections the kernel has room for.
func (b *Box) measure() {
	if b.applied || b.sample.Tracked != 0 {
		return
	}
	s, err := b.Gate.Read()
	b.problem(err)
	b.sample.Tracked = s.Tracked
}

// tally reads the kernel's counters and then the lines', and returns whether it could. What passes between the two looks
// as if it were used twice: where the machine was too busy to do both at once, it does them again, lest a small cap seem
// to be spent for a moment.
func (b *Box) tally() (ok bool) {
	for range 3 {
		began := b.Now()
		kernel := b.read() && b.readBroadcasts(&b.broadcastsBefore)
		ok = b.observeLines() && b.readBroadcasts(&b.broadcastsAfter) && kernel
		if b.Now().Sub(began) < together {
			break
		}
	}
	return ok
}

func (b *Box) observation() decide.Observation {
	o := decide.Observation{
		Now: b.now, Applied: b.applied, Configured: b.Configured, SetupAsked: b.setupAsked(), Paused: b.pausedBy != "",
		PausedBy: b.pausedBy, Chosen: b.decision.Donation, Last: slices.Index(b.donations, b.last),
	}
	if b.Refused != nil {
		o.Refused = b.Refused.Error()
	}
	if b.Now().Before(b.retryAt) {
		o.Fault = b.fault
	}
	if o.Fault == "" {
		o.Fault = cmp.Or(b.airFault(), b.childFault())
	}
	for _, d := range b.donations {
		o.Donations = append(o.Donations, b.observed(d))
	}
	return o
}

// apply drives kernel and children to the decision's plan.
func (b *Box) apply(ctx context.Context) error {
	in := plan.Input{
		Config: b.Config, Decision: b.decision, Networks: b.networks, Memory: b.Memory, Tracked: b.sample.Tracked,
		NamesUser: b.NamesUser(),
		LANs:      b.lans(),
	}
	out := plan.Outside{
		Hotspot: b.hotspot.Index, AccessPoint: b.air.AccessPoint, Radios: b.radios(),
		Essential: b.decision.Internet == decide.EssentialOnly,
		Metered:   b.decision.Metered != "",
	}
	if d := b.chosen(); d != nil {
		in.Line = d.uplink.Interface
		in.Gateway = d.uplink.Gateway
		in.Narrow = d.uplink.MTU < b.hotspot.MTU
		for _, a := range d.servers() {
			out.Resolvers = append(out.Resolvers, plan.Resolver{Addr: a, Interface: d.uplink.Interface})
		}
		in.NameServers = len(out.Resolvers)
		b.asked = d.uplink.Index
		b.last = d
	}
	out.Asked = b.asked
	if !reflect.DeepEqual(b.compiled.from, in) { // most rounds find what the last one did
		b.compiled.from, b.compiled.plan = in, plan.Compile(in)
	}
	changes, err := b.Gate.Apply(ctx, b.compiled.plan)
	if len(changes) > 0 {
		b.Log.Debug("applied", "changes", len(changes), "first", changes[0])
	}
	if err != nil {
		return err
	}
	if !b.applied {
		b.applied = true
		// What a crashed daemon left in the kernel goes on.
		if b.tally() {
			b.book()
		}
		b.takeUp()
		b.bind()
	}
	out.Hosts = b.devices.hosts // before any address is leased, those in use are known
	var children []supervise.Child
	for _, c := range plan.Children(b.Config, out, b.RunDir) {
		child := supervise.Child{Name: c.Name, Argv: c.Argv}
		for _, f := range c.Files {
			child.Files = append(child.Files, supervise.File{
				Path: f.Path, Data: []byte(f.Text), Owner: f.Owner, Reload: f.Reload, Later: f.Later, Keep: f.Keep,
			})
		}
		children = append(children, child)
	}
	if err := b.Children.Set(children); !errors.Is(err, supervise.ErrStopped) {
		b.problem(err)
	}
	if a := out.AccessPoint; a != nil { // after the file that hostapd begins with
		b.Beacons.SetBeacon(wpa.Beacon{Sockets: plan.HostapdSockets(*a, b.RunDir), Elements: plan.NetworkCost(out.Metered)})
	}
	return nil
}

// note logs what changed since the last round: the state, and problems, each when it comes.
func (b *Box) note(err error) {
	if b.decision.State != b.state {
		b.state, b.since = b.decision.State, b.Now()
		b.Log.Info("state", "state", b.state, "why", b.decision.Why)
	}
	b.problem(err)
	var fresh []string
	for _, p := range b.problems {
		if !slices.Contains(b.noted, p) && !slices.Contains(fresh, p) {
			fresh = append(fresh, p)
		}
	}
	if len(fresh) > 0 {
		b.Log.Warn("trouble", "error", strings.Join(fresh, "; "))
	}
	b.noted = slices.Clone(b.problems)
}
