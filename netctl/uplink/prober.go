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

// ProberOptions are what a Prober needs from outside.
type ProberOptions struct {
	Log *slog.Logger
	// Wake is called, from any goroutine, whenever the health of a line has changed. Nil for none.
	Wake func()
	// Dial returns a connected socket, of network "udp4" or "tcp4", that sends and receives through the interface only. Nil
	// means DialDevice.
	Dial func(ctx context.Context, network, device string, to netip.AddrPort) (net.Conn, error)
	// Own is the box's own name server, that residents who are online ask. Not valid: there is none.
	Own netip.AddrPort
	// OwnFailed is told that it gives no names, although the line does. Nil for none.
	OwnFailed func(why string)
	// Flows lists the connections that residents and the box's name servers have through a line, by its address. Nil: their
	// traffic is no evidence.
	Flows func(line netip.Addr) ([]Flow, error)
	// Sent counts the packets that an interface has sent, by its number: while there are no more, Flows is not asked. It is
	// needed with Flows.
	Sent func(index int) (uint64, error)
	// Pages tell a sign-in page from the web. Nil means the package's Pages.
	Pages []Page
}

// Prober finds out whether lines work; health.go has the law.
type Prober struct {
	opt  ProberOptions
	ask  func(ctx context.Context, device string, server netip.Addr, name string) reply // replaced by tests
	page func(ctx context.Context, device string, addr netip.Addr, page Page) (sight, bool, names.Traffic)
	open func(ctx context.Context, device string, to netip.AddrPort) (bool, names.Traffic)

	background sync.WaitGroup // questions that may outlast the try that they belong to

	mu      sync.Mutex // guards what follows
	uplinks map[string]*probed
	spent   map[string]names.Traffic
	zones   []Zone
	asked   map[string]time.Time // when a zone was last asked, by its name
	adopt   func(*probed)        // starts a goroutine that probes the uplink; nil until Run
	stopped bool
}

// NewProber returns a prober that has nothing to probe yet.
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
		opt: opt, uplinks: map[string]*probed{}, spent: map[string]names.Traffic{},
		asked: map[string]time.Time{},
	}
	p.ask, p.page, p.open = p.query, p.load, p.reach
	return p
}

// String names the task in the daemon's log.
func (p *Prober) String() string { return "uplink prober" }

// Set makes list all the lines that are probed, as Reader.Read returned them; DNS are the servers that residents' names
// go to. Names are asked for in zones, of which there must be one at least. A line that doesn't work by its
// Status, or has no server, is not asked. One that has changed (index, address, gateway, servers) is asked again at once,
// and works until that has failed. An unchanged list does nothing.
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
			u = &probed{line: line, poke: make(chan struct{}, 1)}
			u.reset()
			p.uplinks[line.Interface] = u
			if p.adopt != nil {
				p.adopt(u)
			}
			continue
		}
		changed, busier := !u.line.samePath(line.Status), line.Busy && !u.line.Busy
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

// Kick has an uplink asked now instead of when its time comes.
func (p *Prober) Kick(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.uplinks[name]; u != nil {
		u.kicked = true
		u.wake()
	}
}

// Health returns what is known of a line; of one that isn't in the list, nothing.
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
		h.Known, h.Works, h.Why = true, false, u.line.Status.nobodyToAsk()
	case !h.Known:
		h.Works = true
	}
	return h
}

// Spent returns what questions and pages through an interface, and the answers, have taken so far: bytes, IP headers
// included, since the prober was made.
func (p *Prober) Spent(name string) (sent, received uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.spent[name]
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
	p.stopped = true // no uplink is adopted from here on
	p.mu.Unlock()
	err := g.Wait()
	p.background.Wait()
	return err
}

// probe asks one uplink again and again until it is gone or ctx ends.
func (p *Prober) probe(ctx context.Context, u *probed) {
	for {
		p.mu.Lock()
		now := time.Now()
		pause, wanted := u.due(now, p.zonesRest())
		var r round
		if wanted && pause == 0 { // the zone is taken before another line looks for one
			r = p.begin(u, now)
		}
		p.mu.Unlock()
		if !wanted || ctx.Err() != nil {
			return
		}
		if pause == 0 {
			p.round(ctx, u, r)
			continue
		}
		var timer <-chan time.Time
		if pause > 0 {
			timer = time.After(pause)
		}
		select {
		case <-ctx.Done():
		case <-u.poke:
		case <-timer: // but much may have changed meanwhile
		}
	}
}

// round is a try with what it is about.
type round struct {
	job
	number int // of the uplink's
	cause  cause
}

// begin says what the next try is to find out. p.mu is held.
func (p *Prober) begin(u *probed, now time.Time) round {
	r := round{number: u.round}
	if u.affords(now) {
		r.cause = u.cause
	}
	r.job = job{
		device: u.line.Interface, servers: u.line.DNS, first: u.line.DNS, zones: p.nextZones(u, now), hurry: r.cause == strong,
		own:  u.line.Busy && p.opt.Own.IsValid(),
		soon: u.soon(), patience: max(patience, u.soon()+patience-soon),
	}
	one := u.line.DNS[:1]
	if slices.Contains(u.line.DNS, u.likes) {
		one = []netip.Addr{u.likes}
	}
	switch {
	case !u.dead.IsZero():
		r.brief = true
		if r.wanted = u.tries%pagesAmong == 0; u.paged {
			r.first = one
		}
	case !u.doubt.IsZero() || !u.health.Known:
		r.wanted = true
	default:
		if r.first = one; r.own {
			r.first = nil
		}
		r.wanted = !now.Before(u.pageDue()) || r.cause != noCause && !now.Before(u.looked.Add(causePages))
		r.reach = r.cause == strong
	}
	u.kicked, u.cause = false, noCause
	return r
}

// round makes one try and notes what came of it.
func (p *Prober) round(ctx context.Context, u *probed, r round) {
	o := p.try(ctx, r.job, func(took time.Duration) { p.late(u, r.number, took) })

	p.mu.Lock()
	if r.cause != noCause {
		u.purse.left(o.ended)
		u.purse.bytes -= float64(o.used.Sent + o.used.Received)
	}
	changed, failed := false, false
	if u.round == r.number && ctx.Err() == nil {
		if o.by.IsValid() {
			u.likes = o.by
		}
		if o.own == good {
			u.mute = 0
		} else if r.own && len(r.first) == 0 && o.names == good { // else it may not have been waited for
			u.mute++
		}
		if failed = u.mute >= muteBefore; failed {
			u.mute = 0
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

// late takes note of a good answer that came when its try was over: the next waits as long.
func (p *Prober) late(u *probed, number int, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.round == number && (took > u.took || u.filtered) {
		u.took, u.kicked, u.filtered = max(took, u.took), true, false
		u.wake()
	}
}

// nextZones returns the zones in the order in which they are asked for a line, the one first that was asked longest ago, and
// takes that one. p.mu is held.
func (p *Prober) nextZones(u *probed, now time.Time) []Zone {
	zones := slices.Clone(p.zones)
	slices.SortStableFunc(zones, func(a, b Zone) int {
		if x, y := u.aside[a.Name].After(now), u.aside[b.Name].After(now); x != y {
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

// zonesRest returns from when on a zone may be asked while all is well. p.mu is held.
func (p *Prober) zonesRest() (at time.Time) {
	for i, z := range p.zones {
		if rest := p.asked[z.Name].Add(zoneRest); i == 0 || rest.Before(at) {
			at = rest
		}
	}
	return at
}

// pay notes what was spent on an interface.
func (p *Prober) pay(name string, used names.Traffic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	used.Add(p.spent[name])
	p.spent[name] = used
}

// query asks a server through the device and nothing else, or the box's own if it has no address.
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

// dialOwn dials an address of the box's own, which no device leads to.
func dialOwn(ctx context.Context, network, _ string, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, to.String())
}

// DialDevice returns a connected socket, of network "udp4" or "tcp4", that sends and receives through the device only
// (SO_BINDTODEVICE). The kernel then takes the device's own default route, whatever the metrics of others.
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
