// Package appliance is the box's loop: observe, decide, plan, apply. It owns the box's state, in one goroutine, and the
// residents' sessions in memory; it wakes on events and then looks at everything again. It touches neither kernel,
// processes, web nor disk itself: what it drives is handed to it.
//
//	observe ──▶ decide ──▶ plan ──▶ apply
//	   ▲                              │
//	   └────── wake: netlink, clock, page, command, child
package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/ledger"
	"passerelle/appliance/supervise"
	"passerelle/netctl"
	"passerelle/netctl/plan"
	"passerelle/netctl/uplink"
)

const (
	period   = 2 * time.Second        // between rounds when nothing happens
	debounce = 20 * time.Millisecond  // events come in bunches
	retry    = 250 * time.Millisecond // after a first failure to apply; then it doubles
	retryMax = 2 * time.Second

	// A line that was lost is taken again once it has worked for so long: one that comes and goes would break everybody's
	// connections each time.
	steadyAfter = 30 * time.Second

	soonest  = 50 * time.Millisecond // between rounds that only watch a tranche being spent
	evidence = 16 << 10              // bytes received in a round that prove a line alive without a question
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
	Set(list []uplink.Status)
	Alive(name string)
	Result(name string) (works, known bool, why string)
}

// Children is what the loop needs of the supervisor.
type Children interface {
	Set(children []supervise.Child) error
	Status() []supervise.ChildStatus
}

// Parts are what the box is made of.
type Parts struct {
	Config   *config.Config
	Gate     netctl.Gate
	Uplinks  Uplinks
	Prober   Prober
	Children Children
	RunDir   string // folder in memory for the children's files
	Now      func() time.Time
	Log      *slog.Logger
	// Keep is called with what shall outlive the daemon, but not the machine's memory, whenever it changed.
	Keep func(Kept) error
	Kept Kept // what the last daemon kept
	// Aside are the sessions that the last daemon set aside when it was told to stop.
	Aside []netctl.Session
}

// Kept is what the daemon keeps in memory's file system, to go on after a crash. It says nothing of residents.
type Kept struct {
	PausedBy string                    `json:"paused_by,omitempty"`
	Accounts map[string]ledger.Account `json:"accounts"` // by donation
}

// Box is the appliance. Make one with New; its methods are safe for concurrent use.
type Box struct {
	Parts
	calls   chan call
	wakes   chan struct{}
	started time.Time

	// The rest of the loop's state is used by its goroutine alone.
	pausedBy string
	accounts map[string]*ledger.Account
	usage    map[netctl.MAC]uint64 // bytes of today
	day      time.Time
	sample   netctl.Sample
	uplinks  []uplink.Status // in the donations' order
	hotspot  uplink.Status
	networks []netip.Prefix
	worksAt  map[string]time.Time // by donation that works: since when
	decision decide.Decision
	applied  bool
	fault    string
	failures int
	retryAt  time.Time
	faultsOf string // the reason that was logged last
	state    decide.State
	since    time.Time
	received struct { // by the chosen uplink, when it was last looked at
		index int
		bytes uint64
	}
	kept     Kept // what Keep was called with last
	problems []string
	unmet    error // why the plan of the last round is not applied

	mu       sync.RWMutex // guards what follows: what others may read at any time
	sessions map[netip.Addr]Session
	view     View
	status   Status
}

// Session is a resident's session.
type Session struct {
	netctl.Session
	Ends    time.Time // by the monotonic clock
	Length  time.Duration
	counted uint64 // of Counted, already in the day's usage
}

// View is what residents' pages need to know of the box.
type View struct {
	State      decide.State
	Opens      time.Time
	Refills    time.Time
	DataResets time.Time
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
		accounts: map[string]*ledger.Account{},
		usage:    map[netctl.MAC]uint64{},
		sessions: map[netip.Addr]Session{},
		pausedBy: p.Kept.PausedBy,
		started:  p.Now(),
		state:    decide.Starting,
		decision: decide.Decision{Donation: -1},
		worksAt:  map[string]time.Time{},
		since:    p.Now(),
	}
	for name, a := range p.Kept.Accounts {
		b.accounts[name] = &a
	}
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

// do runs f in the loop's goroutine and waits for it.
func (b *Box) do(ctx context.Context, f func(ctx context.Context)) error {
	c := call{f: f, done: make(chan struct{})}
	select {
	case b.calls <- c:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrStopped, ctx.Err())
	}
	<-c.done
	return nil
}

// Run drives the box until ctx ends, then returns the sessions to set aside, after the gate took all of ours out of the
// kernel. The caller stops the pages and children before it ends ctx.
func (b *Box) Run(ctx context.Context) (aside []netctl.Session, err error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var woken <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			aside, err := b.Gate.Sessions()
			// The context that ended must not keep the gate from cleaning up.
			return aside, errors.Join(err, b.Gate.Close(context.WithoutCancel(ctx)))
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
	if b.decision.State != decide.Fault {
		b.judge(err)
		// The first plan has been applied, or this one cannot be.
		b.decision = decide.Decide(b.observation())
		if b.decision.State == decide.Fault {
			err = errors.Join(err, b.apply(ctx)) // closes what can be closed
		}
	}
	if err == nil && len(b.Aside) > 0 {
		b.resume()
	}
	b.unmet = err
	b.grant(ctx)
	b.keep()
	b.note(err)
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

// problem notes something that went wrong in this round without stopping it.
func (b *Box) problem(err error) {
	if err != nil {
		b.problems = append(b.problems, err.Error())
	}
}

func (b *Box) observe() {
	local := b.Now().In(b.Config.Box.Timezone)
	if today := ledger.PeriodStart(local, "day", 0); !today.Equal(b.day) {
		b.newDay(today)
	}
	// What was paid is read before what crossed the lines: between the two, a byte may be counted twice but never missed.
	b.read()
	var names []string
	for _, d := range b.Config.Donations {
		names = append(names, d.Interface)
	}
	if up, err := b.Uplinks.Read(append(names, b.Config.Hotspot.Interface)); err != nil {
		b.problem(err)
	} else {
		b.uplinks, b.hotspot = up[:len(names)], up[len(names)]
	}
	if n, err := b.Uplinks.Networks(b.Config.Hotspot.Interface); err != nil {
		b.problem(err)
	} else {
		b.networks = n
	}
	var probed []uplink.Status // nothing leaves by a line that is closed or spent
	for i, d := range b.Config.Donations {
		if i >= len(b.uplinks) {
			break
		}
		a := b.account(d.Name)
		if begin := ledger.PeriodStart(local, d.Period, d.Resets); begin.After(a.Period) {
			a.Begin(begin)
		}
		u := b.uplinks[i]
		if u.Present {
			a.Count(u.Index, u.RxBytes+u.TxBytes)
		}
		if d.Hours.Open(local) && !b.spent(d) {
			probed = append(probed, u)
		}
		if i == b.decision.Donation && u.Present {
			if last := b.received; last.index == u.Index && u.RxBytes > last.bytes+evidence {
				b.Prober.Alive(u.Interface)
			}
			b.received.index, b.received.bytes = u.Index, u.RxBytes
		}
	}
	b.Prober.Set(probed)
}

func (b *Box) account(donation string) *ledger.Account {
	a, ok := b.accounts[donation]
	if !ok {
		a = &ledger.Account{}
		b.accounts[donation] = a
	}
	return a
}

// held returns what the kernel may still spend of the tranches in a donation's chain.
func (b *Box) held(chain string) (bytes uint64) {
	for _, t := range b.sample.Tranches {
		if t.Chain == chain {
			bytes += t.Bytes - t.Used
		}
	}
	return bytes
}

// usable returns how much of its cap a donation's residents may have, 0 without a cap.
func usable(d config.Donation) uint64 {
	var rate uint64
	if d.Download != 0 && d.Upload != 0 {
		rate = uint64(d.Download + d.Upload)
	}
	return ledger.Usable(uint64(d.Cap), rate)
}

// spent tells whether a donation's cap is used up.
func (b *Box) spent(d config.Donation) bool {
	return b.account(d.Name).Spent(usable(d), b.held(plan.Chain(d)))
}

func (b *Box) observation() decide.Observation {
	now := b.Now()
	local := now.In(b.Config.Box.Timezone)
	o := decide.Observation{
		Now: local, Applied: b.applied, Configured: true, Paused: b.pausedBy != "", PausedBy: b.pausedBy,
		Chosen: b.decision.Donation,
	}
	if now.Before(b.retryAt) {
		o.Fault = b.fault
	}
	for i, d := range b.Config.Donations {
		x := decide.Donation{
			Name: d.Name, Priority: d.Priority, Open: d.Hours.Open(local),
			Spent:   b.spent(d),
			Refills: ledger.PeriodEnd(local, d.Period, d.Resets),
		}
		if !x.Open {
			if at, opens, ok := d.Hours.Next(local); ok && opens {
				x.Opens = at
			}
		}
		if i < len(b.uplinks) {
			u := b.uplinks[i]
			x.Works, x.Why = u.Works, u.Why
			if overlap(u.Networks, b.Config.Hotspot.Address) {
				x.Works, x.Why = false, fmt.Sprintf("%s's network overlaps the hotspot's: give hotspot.address another network", d.Interface)
			} else if u.Works {
				if works, known, why := b.Prober.Result(d.Interface); known && !works {
					x.Works, x.Why = false, why
				}
			}
		} else {
			x.Why = d.Interface + " could not be looked at"
		}
		x.Steady = x.Works && b.steady(d.Name, now)
		if !x.Works {
			delete(b.worksAt, d.Name)
		}
		o.Donations = append(o.Donations, x)
	}
	return o
}

// steady tells whether a donation that works has done so for a while.
func (b *Box) steady(donation string, now time.Time) bool {
	since, ok := b.worksAt[donation]
	if !ok {
		since = now
		b.worksAt[donation] = now
	}
	return now.Sub(since) >= steadyAfter
}

func overlap(networks []netip.Prefix, hotspot netip.Prefix) bool {
	for _, n := range networks {
		if n.Overlaps(hotspot) {
			return true
		}
	}
	return false
}

// apply drives kernel and children to the decision's plan.
func (b *Box) apply(ctx context.Context) error {
	in := plan.Input{Config: b.Config, Decision: b.decision, Networks: b.networks}
	var resolvers []plan.Resolver
	if i := b.decision.Donation; i >= 0 {
		in.Gateway = b.uplinks[i].Gateway
		in.Narrow = b.uplinks[i].MTU < b.hotspot.MTU
		d := b.Config.Donations[i]
		dns := d.DNS
		if len(dns) == 0 {
			dns = b.uplinks[i].DNS
		}
		for _, a := range dns {
			resolvers = append(resolvers, plan.Resolver{Addr: a, Interface: d.Interface})
		}
	}
	changes, err := b.Gate.Apply(ctx, plan.Compile(in))
	if len(changes) > 0 {
		b.Log.Debug("applied", "changes", len(changes), "first", changes[0])
	}
	if err != nil {
		return err
	}
	if !b.applied {
		b.applied = true
		// What a crashed daemon left in the kernel goes on.
		if b.sample, err = b.Gate.Read(); err != nil {
			return err
		}
		b.count()
	}
	var children []supervise.Child
	for _, c := range plan.Children(b.Config, b.hotspot.Index, resolvers, b.RunDir) {
		child := supervise.Child{Name: c.Name, Argv: c.Argv}
		for _, f := range c.Files {
			child.Files = append(child.Files, supervise.File{
				Path: f.Path, Data: []byte(f.Text), Reload: f.Reload,
				Mode: 0o644, // dnsmasq reads them again after it gave up being root
			})
		}
		children = append(children, child)
	}
	if err := b.Children.Set(children); !errors.Is(err, supervise.ErrStopped) {
		b.problem(err)
	}
	return nil
}

// grant gives the chosen donation's chain its next tranche.
func (b *Box) grant(ctx context.Context) {
	i := b.decision.Donation
	if i < 0 || !b.applied {
		return
	}
	d := b.Config.Donations[i]
	chain := plan.Chain(d)
	t := netctl.Tranche{Chain: chain, Bytes: netctl.Unlimited}
	a := b.account(d.Name)
	if d.Cap != 0 {
		if t.Bytes = a.Next(usable(d), b.held(chain)); t.Bytes == 0 {
			return
		}
		t.ID = a.Granted + 1
	} else if b.held(chain) > 0 {
		return
	}
	if err := b.Gate.Grant(ctx, t); err != nil {
		b.problem(err)
		return
	}
	a.Granted = t.ID
	b.sample.Tranches = append(b.sample.Tranches, netctl.Spent{Tranche: t})
}

// lasts returns how long the kernel has enough of the chosen donation's tranches, however much residents want: half of
// what is left of them, at the fastest that it may be spent. Nobody's connections break because the box looked too late.
func (b *Box) lasts() time.Duration {
	i := b.decision.Donation
	if i < 0 || b.Config.Donations[i].Cap == 0 || len(b.sessions) == 0 {
		return period
	}
	d := b.Config.Donations[i]
	held := b.held(plan.Chain(d))
	least := soonest
	if b.account(d.Name).Used+held >= usable(d) {
		least = period / 4 // there is no more to grant, only another donation to be taken
	}
	bound := func(line, each config.Rate) float64 {
		rate := math.Inf(1)
		if line != 0 {
			rate = float64(line)
		}
		if each != 0 {
			rate = min(rate, float64(each)*float64(len(b.sessions)))
		}
		return rate
	}
	l := b.Config.Limits
	rate := bound(d.Download, l.Download) + bound(d.Upload, l.Upload)
	return max(least, time.Duration(float64(held)/2*8/rate*float64(time.Second)))
}

// note logs what changed since the last round: the state, and failures once each.
func (b *Box) note(err error) {
	if b.decision.State != b.state {
		b.state, b.since = b.decision.State, b.Now()
		b.Log.Info("state", "state", b.state, "why", b.decision.Why)
	}
	b.problem(err)
	now := ""
	if len(b.problems) > 0 {
		now = b.problems[0]
	}
	if now != "" && now != b.faultsOf {
		b.Log.Warn("trouble", "error", now)
	}
	b.faultsOf = now
}
