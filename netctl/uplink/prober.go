package uplink

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"passerelle/netctl/names"
)

// ProberOptions are a Prober's dependencies.
type ProberOptions struct {
	Log *slog.Logger
	// Wake is called, from any goroutine, whenever the health of a line has changed. Nil for none.
	Wake func()
	// Dial returns a connected socket, of network "udp4" or "tcp4", that sends and receives through the interface only. Nil
	// means DialDevice.
	Dial func(ctx context.Context, network, device string, to netip.AddrPort) (net.Conn, error)
	// Own is the box's own name server for authorized residents. Not valid: there is none.
	Own netip.AddrPort
	// OwnFailed is called when Own does not answer, although the line's servers do. Nil for none.
	OwnFailed func(why string)
	// Flows lists the connections of residents and the box's name servers through the line with that address. Nil: traffic is
	// not used as evidence.
	Flows func(line netip.Addr) ([]Flow, error)
	// Sent returns the number of packets that the interface with that index has sent. While the number does not change, Flows
	// is not called. Sent is required with Flows.
	Sent func(index int) (uint64, error)
	// Pages are for the detection of captive portals. Nil means the package's Pages.
	Pages []Page
}

// Prober probes whether lines work; health.go has the rules.
type Prober struct {
	opt  ProberOptions
	ask  func(ctx context.Context, device string, server netip.Addr, name string) reply // replaced by tests
	page func(ctx context.Context, device string, addr netip.Addr, page Page) (checkResult, bool, names.Traffic)
	open func(ctx context.Context, device string, to netip.AddrPort) (bool, names.Traffic)

	background sync.WaitGroup // queries that may outlast their probe

	mu      sync.Mutex // guards what follows
	uplinks map[string]*probed
	traffic map[string]names.Traffic
	zones   []Zone
	asked   map[string]time.Time // when a zone was last queried, by name
	adopt   func(*probed)        // starts a goroutine that probes the uplink; nil until Run
	stopped bool
}

// NewProber returns a prober without uplinks.
func NewProber(opt ProberOptions) *Prober {
	if opt.Wake == nil {
		opt.Wake = func() {}
	}
	if opt.Dial == nil {
		opt.Dial = DialDevice
	}
	if opt.OwnFailed == nil {
		opt.OwnFailed = func(string) {}
	}
	if opt.Pages == nil {
		opt.Pages = Pages
	}
	p := &Prober{
		opt: opt, uplinks: map[string]*probed{}, traffic: map[string]names.Traffic{},
		asked: map[string]time.Time{},
	}
	p.ask, p.page, p.open = p.query, p.load, p.reach
	return p
}

// String names the task in the daemon's log.
func (p *Prober) String() string { return "uplink prober" }

// Set sets the lines to probe, as Reader.Read returned them, except that DNS is the servers that residents' queries go to.
// Probes query names in zones: there must be at least one. A line that does not work according to its Status, or has no server,
// is not probed. A line that has changed (index, address, gateway, servers) is probed again at once, and counts as working
// until that probe fails. Setting the same list again does nothing.
func (p *Prober) Set(list []Candidate, zones []Zone) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	p.zones = zones
	listed := make(map[string]bool, len(list))
	for _, line := range list {
		listed[line.Interface] = true
		u := p.uplinks[line.Interface]
		if u == nil {
			u = &probed{line: line, wakeup: make(chan struct{}, 1)}
			u.reset()
			p.uplinks[line.Interface] = u
			if p.adopt != nil {
				p.adopt(u)
			}
			continue
		}
		changed, busier := !u.line.samePath(line.Status), line.InUse && !u.line.InUse
		u.line = line
		if changed {
			u.reset()
		}
		if changed || busier {
			u.wake()
		}
	}
	for name, u := range p.uplinks {
		if !listed[name] {
			u.gone = true
			delete(p.uplinks, name)
			u.wake()
		}
	}
}

// ProbeNow probes an uplink now instead of at the end of its interval.
func (p *Prober) ProbeNow(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.uplinks[name]; u != nil {
		u.probeNow = true
		u.wake()
	}
}

// Health returns a line's health, the zero value for a line that is not in the list.
func (p *Prober) Health(name string) Health {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.uplinks[name]
	if u == nil {
		return Health{}
	}
	h := u.health
	switch {
	case !u.line.Works:
		h.Known, h.Works, h.Why = true, false, u.line.Why
	case len(u.line.DNS) == 0:
		h.Known, h.Works, h.Why = true, false, u.line.Status.noResolver()
	case !h.Known:
		h.Works = true
	}
	return h
}

// ProbeTraffic returns the traffic of all probes through an interface since the prober was made, in bytes, IP headers included.
func (p *Prober) ProbeTraffic(name string) (sent, received uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.traffic[name]
	return t.Sent, t.Received
}

// Run probes until ctx ends. It may be called once.
func (p *Prober) Run(ctx context.Context) error {
	var g errgroup.Group
	p.mu.Lock()
	p.adopt = func(u *probed) {
		g.Go(func() error {
			p.probe(ctx, u)
			return nil
		})
	}
	for _, u := range p.uplinks {
		p.adopt(u)
	}
	p.mu.Unlock()
	if p.opt.Flows != nil {
		p.watchTraffic(ctx)
	}
	<-ctx.Done()
	p.mu.Lock()
	p.stopped = true // from here on no uplink is added
	p.mu.Unlock()
	err := g.Wait()
	p.background.Wait()
	return err
}

// probe probes one uplink until it is removed or ctx ends.
func (p *Prober) probe(ctx context.Context, u *probed) {
	for {
		p.mu.Lock()
		now := time.Now()
		pause, wanted := u.due(now, p.nextZoneAt())
		var r probeRun
		if wanted && pause == 0 { // reserve the zone before another line chooses one
			r = p.begin(u, now)
		}
		p.mu.Unlock()
		if !wanted || ctx.Err() != nil {
			return
		}
		if pause == 0 {
			p.run(ctx, u, r)
			continue
		}
		var timer <-chan time.Time
		if pause > 0 {
			timer = time.After(pause)
		}
		select {
		case <-ctx.Done():
		case <-u.wakeup:
		case <-timer: // the state may have changed in the meantime
		}
	}
}

// probeRun is one probe.
type probeRun struct {
	job
	number int // generation of the uplink at its start
	cause  cause
}

// begin returns the next probe. p.mu is held.
func (p *Prober) begin(u *probed, now time.Time) probeRun {
	r := probeRun{number: u.generation}
	if u.affords(now) {
		r.cause = u.cause
	}
	r.job = job{
		device: u.line.Interface, servers: u.line.DNS, first: u.line.DNS, zones: p.nextZones(u, now), urgent: r.cause == strong,
		own:          u.line.InUse && p.opt.Own.IsValid(),
		promptWithin: u.slowAfter(), giveUpAfter: max(doubtLimit, u.slowAfter()+doubtLimit-slowAfter),
	}
	one := u.line.DNS[:1]
	if slices.Contains(u.line.DNS, u.preferred) {
		one = []netip.Addr{u.preferred}
	}
	switch {
	case !u.dead.IsZero():
		r.brief = true
		if r.wantPage = u.tries%pagesAmong == 0; u.paged {
			r.first = one
		}
	case !u.doubt.IsZero() || !u.health.Known:
		r.wantPage = true
	default:
		if r.first = one; r.own {
			r.first = nil
		}
		r.wantPage = !now.Before(u.pageDue()) || r.cause != noCause && !now.Before(u.checkedAt.Add(causePages))
		r.wantTCP = r.cause == strong
	}
	u.probeNow, u.cause = false, noCause
	return r
}

// run makes one probe and records its outcome.
func (p *Prober) run(ctx context.Context, u *probed, r probeRun) {
	o := p.try(ctx, r.job, func(took time.Duration) { p.late(u, r.number, took) })

	p.mu.Lock()
	if r.cause != noCause {
		u.budget.left(o.ended)
		u.budget.bytes -= float64(o.used.Sent + o.used.Received)
	}
	changed, failed := false, false
	if u.generation == r.number && ctx.Err() == nil {
		if o.by.IsValid() {
			u.preferred = o.by
		}
		if o.ownServer == good {
			u.silent = 0
		} else if r.own && len(r.first) == 0 && o.names == good { // otherwise the probe may not have waited for the own server
			u.silent++
		}
		if failed = u.silent >= maxSilent; failed {
			u.silent = 0
		}
		changed = u.judge(o)
	}
	h := u.health
	p.mu.Unlock()
	if failed {
		p.opt.OwnFailed("gives no names, although " + r.device + " does")
	}
	if changed {
		p.opt.Log.Info("uplink probed", "interface", r.device, "works", h.Works, "slow", h.Slow, "why", h.Why)
		p.opt.Wake()
	}
}

// late records a good answer that came after the end of its probe: the next probe waits longer.
func (p *Prober) late(u *probed, number int, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.generation == number && (took > u.took || u.filtered) {
		u.took, u.probeNow, u.filtered = max(took, u.took), true, false
		u.wake()
	}
}

// nextZones returns the zones in the order to query them for a line, the least recently queried first and suspended ones last.
// It marks the first as queried. p.mu is held.
func (p *Prober) nextZones(u *probed, now time.Time) []Zone {
	zones := slices.Clone(p.zones)
	slices.SortStableFunc(zones, func(a, b Zone) int {
		if x, y := u.suspended[a.Name].After(now), u.suspended[b.Name].After(now); x != y {
			if x {
				return 1
			}
			return -1
		}
		return p.asked[a.Name].Compare(p.asked[b.Name])
	})
	p.asked[zones[0].Name] = now
	return zones
}

// nextZoneAt returns the earliest time at which a zone may be queried again while lines work. p.mu is held.
func (p *Prober) nextZoneAt() (at time.Time) {
	for i, z := range p.zones {
		if rest := p.asked[z.Name].Add(zoneInterval); i == 0 || rest.Before(at) {
			at = rest
		}
	}
	return at
}

// account adds probe traffic to an interface.
func (p *Prober) account(name string, used names.Traffic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	used.Add(p.traffic[name])
	p.traffic[name] = used
}

// query queries a server through the device only. An invalid address stands for the box's own server.
func (p *Prober) query(ctx context.Context, device string, server netip.Addr, name string) (r reply) {
	to := netip.AddrPortFrom(server, 53)
	dial := p.opt.Dial
	if !server.IsValid() {
		to, dial = p.opt.Own, dialOwn
	}
	conn, err := dial(ctx, "udp4", device, to)
	if err != nil {
		return r
	}
	defer conn.Close()
	r.Answer, r.used, err = names.Ask(ctx, conn, name)
	r.ok = err == nil
	return r
}

// dialOwn dials one of the box's own addresses. The socket is not bound to a device.
func dialOwn(ctx context.Context, network, _ string, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, to.String())
}

// DialDevice returns a connected socket, of network "udp4" or "tcp4", that sends and receives through the device only
// (SO_BINDTODEVICE). The kernel then uses the device's own default route, independent of metrics.
func DialDevice(ctx context.Context, network, device string, to netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = unix.BindToDevice(int(fd), device) }); err != nil {
			return err
		}
		return failed
	}}
	conn, err := dialer.DialContext(ctx, network, to.String())
	if err != nil {
		return nil, fmt.Errorf("open a socket on %s: %w", device, err)
	}
	return conn, nil
}
