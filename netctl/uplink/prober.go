package uplink

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// When an uplink is asked. A dead one is noticed 2*doubtPeriod + tryLimit after the first try that fails, and so at most
// 23 s after it died.
const (
	healthyPeriod = 15 * time.Second // between tries while it works
	doubtPeriod   = 3 * time.Second  // between tries while that is in doubt
	tryLimit      = 2 * time.Second  // for an answer
	kickGap       = time.Second      // between tries at least, however often the prober is kicked
	deadAfter     = 3                // failed tries in a row
	patientAfter  = 20               // failed tries in a row: a minute; then healthyPeriod is soon enough
)

// ProberOptions are what a Prober needs from outside.
type ProberOptions struct {
	Log *slog.Logger
	// Wake is called, from any goroutine, whenever a result has changed. Nil for none.
	Wake func()
	// Dial returns a connected socket, of network "udp4" or "tcp4", that sends and receives through the interface only. Nil
	// means DialDevice.
	Dial func(ctx context.Context, network, device string, to netip.AddrPort) (net.Conn, error)
	// Pages tell a sign-in page from the web. Nil means the package's Pages; if there are none, the web isn't asked.
	Pages []Page
}

// Prober finds out whether the way out through each uplink really works, by asking the uplink's own resolvers. A try is
// one small query, to the resolver that answered last; in doubt, to all of them: one datagram each. Every answer counts
// but SERVFAIL, with which a forwarder says that it reaches nobody itself.
//
// What that costs: 45 bytes out and about 131 back, so 1 MB a day at most, and nothing while residents' own traffic
// proves the same (Alive).
//
// The query is for the SOA of the root: every resolver knows it, and the answer is half as long as the root's NS.
//
// A network may answer names and still lead everybody to a sign-in page. So as soon as a new way out answers names, the
// web is asked for a known page (Pages), and then once an hour: 0.5 kB out and up to 1 kB back, so 36 kB a day. While a
// sign-in page stands there, the uplink doesn't work, and the web is asked every two minutes, or when the uplink is
// kicked: at most 12 kB for both pages, on a network that lets nobody pass yet.
type Prober struct {
	opt ProberOptions
	ask func(ctx context.Context, device string, resolver netip.Addr) reply // replaced by tests
	web func(ctx context.Context, device string, resolver netip.Addr) (sight, traffic)

	mu      sync.Mutex // guards what follows
	uplinks map[string]*probed
	spent   map[string]traffic
	adopt   func(*probed) // starts a goroutine that probes the uplink; nil until Run
	stopped bool
}

// probed is an uplink and what is known of it. Its fields are guarded by Prober.mu, except poke.
type probed struct {
	st    Status
	round int           // another one for each change of the uplink: results of an earlier one don't count
	gone  bool          // no longer in the list
	poke  chan struct{} // something here has changed

	known  bool
	works  bool
	why    string
	fails  int        // tries in a row
	likes  netip.Addr // the resolver that answered last
	tried  time.Time  // when the last try began
	alive  time.Time  // when bytes last came back by themselves
	kicked bool

	portal   bool      // a sign-in page stands before the web
	webAsked time.Time // when the web was last asked for it
}

// traffic is what something took, in bytes, IP headers included.
type traffic struct{ sent, received uint64 }

func (t *traffic) add(more traffic) {
	t.sent += more.sent
	t.received += more.received
}

// reply is what became of one query.
type reply struct {
	verdict verdict
	traffic
}

type verdict int

const (
	silent   verdict = iota // no answer, or no way to ask
	stranded                // SERVFAIL
	answered
)

// NewProber returns a prober that has nothing to probe yet.
func NewProber(opt ProberOptions) *Prober {
	if opt.Wake == nil {
		opt.Wake = func() {}
	}
	if opt.Dial == nil {
		opt.Dial = DialDevice
	}
	if opt.Pages == nil {
		opt.Pages = Pages
	}
	p := &Prober{opt: opt, uplinks: make(map[string]*probed), spent: make(map[string]traffic)}
	p.ask, p.web = p.query, p.look
	return p
}

// String names the task in the daemon's log.
func (p *Prober) String() string { return "uplink prober" }

// Set makes list all the uplinks that are probed, as Reader.Read returned them; the caller may have replaced their DNS.
// One that doesn't work by its Status, or has no resolver, is not asked. One that has changed (index, address,
// gateway, resolvers) is asked anew at once, and works until that has failed. An unchanged list does nothing.
func (p *Prober) Set(list []Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	listed := make(map[string]bool, len(list))
	for _, st := range list {
		listed[st.Interface] = true
		u := p.uplinks[st.Interface]
		if u == nil {
			u = &probed{st: st, poke: make(chan struct{}, 1)}
			p.uplinks[st.Interface] = u
			if p.adopt != nil {
				p.adopt(u)
			}
			continue
		}
		changed := !u.st.samePath(st)
		u.st = st
		if changed {
			u.round++
			u.known, u.works, u.why, u.fails, u.kicked = false, false, "", 0, true
			u.portal, u.webAsked = false, time.Time{}
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

// samePath says whether queries go the same way as before.
func (st Status) samePath(other Status) bool {
	return st.Works == other.Works && st.Index == other.Index && st.Address == other.Address &&
		st.Gateway == other.Gateway && slices.Equal(st.DNS, other.DNS)
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

// Alive tells that bytes from beyond the uplink have just come in for somebody: as good as an answer.
func (p *Prober) Alive(name string) {
	p.mu.Lock()
	u := p.uplinks[name]
	changed := false
	if u != nil && u.st.Works {
		u.alive = time.Now()
		changed = u.judge(answered)
	}
	p.mu.Unlock()
	if changed {
		p.opt.Wake()
	}
}

// Result says whether an uplink works, and if it doesn't, why. As long as it isn't known, an uplink works if it has link,
// address and route; of one that isn't in the list nothing is known.
func (p *Prober) Result(name string) (works, known bool, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch u := p.uplinks[name]; {
	case u == nil:
		return false, false, ""
	case !u.st.Works:
		return false, true, u.st.Why
	case !u.known:
		return true, false, ""
	default:
		return u.works, true, u.why
	}
}

// Spent returns what queries through an interface and their answers have taken so far: bytes, IP and UDP headers included,
// since the prober was made. Answers that came too late are not in it.
func (p *Prober) Spent(name string) (sent, received uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.spent[name]
	return t.sent, t.received
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
	<-ctx.Done()
	p.mu.Lock()
	p.stopped = true // no uplink is adopted from here on
	p.mu.Unlock()
	return g.Wait()
}

// probe asks one uplink again and again until it is gone or ctx ends.
func (p *Prober) probe(ctx context.Context, u *probed) {
	for {
		wait, wanted := p.due(u)
		if !wanted || ctx.Err() != nil {
			return
		}
		if wait == 0 {
			p.try(ctx, u)
			continue
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-ctx.Done():
		case <-u.poke:
		case <-timer: // but the uplink may have shown that it is alive meanwhile
		}
	}
}

// due returns how long to wait for the next try, less than nothing if for ever, and whether the uplink is still wanted.
func (p *Prober) due(u *probed) (wait time.Duration, wanted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case u.gone:
		return 0, false
	case !u.st.Works || len(u.st.DNS) == 0:
		return -1, true
	case u.kicked:
		return max(0, time.Until(u.tried.Add(kickGap))), true
	case u.fails == 0:
		last := u.tried
		if u.alive.After(last) {
			last = u.alive
		}
		next := last.Add(healthyPeriod)
		if u.webDue().Before(next) { // whatever crosses the uplink: what is left of a sign-in that has expired does, too
			next = later(u.webDue(), u.tried.Add(healthyPeriod))
		}
		return max(0, time.Until(next)), true
	case u.fails <= patientAfter:
		return max(0, time.Until(u.tried.Add(doubtPeriod))), true
	}
	return max(0, time.Until(u.tried.Add(healthyPeriod))), true
}

// try asks once and notes what came of it.
func (p *Prober) try(ctx context.Context, u *probed) {
	p.mu.Lock()
	began := time.Now()
	wantWeb := u.kicked && u.portal || !began.Before(u.webDue())
	u.kicked, u.tried = false, began
	name, round, ask := u.st.Interface, u.round, u.st.DNS
	if u.fails == 0 && slices.Contains(ask, u.likes) {
		ask = []netip.Addr{u.likes}
	}
	p.mu.Unlock()

	best, by, used := p.askAll(ctx, name, ask)
	p.pay(name, used)
	wantWeb = wantWeb && best == answered
	var seen sight
	if wantWeb {
		seen, used = p.web(ctx, name, by)
		p.pay(name, used)
	}

	p.mu.Lock()
	changed := false
	if u.round == round && ctx.Err() == nil {
		if best == answered {
			u.likes = by
		}
		if wantWeb {
			u.webAsked = began
		}
		if seen != unseen {
			u.portal = seen == portal
		}
		changed = u.judge(best)
	}
	works, why := u.works, u.why
	p.mu.Unlock()
	if changed {
		p.opt.Log.Info("uplink probed", "interface", name, "works", works, "why", why)
		p.opt.Wake()
	}
}

// pay notes what was spent on an interface.
func (p *Prober) pay(name string, used traffic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	used.add(p.spent[name])
	p.spent[name] = used
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// judge draws the conclusion from a try. Prober.mu is held. It returns whether the result changed.
func (u *probed) judge(v verdict) (changed bool) {
	if v == answered {
		why := ""
		if u.portal {
			why = "the network behind " + u.st.Interface + " asks for a sign-in first"
		}
		changed = !u.known || u.works == u.portal || u.why != why
		u.known, u.works, u.why, u.fails = true, !u.portal, why, 0
		return changed
	}
	u.fails++
	if u.fails < deadAfter {
		return false
	}
	why := u.st.complaint(v)
	changed = !u.known || u.works || u.why != why
	u.known, u.works, u.why = true, false, why
	return changed
}

// complaint says why an uplink with link and route doesn't work.
func (st Status) complaint(v verdict) string {
	switch {
	case v == stranded:
		return st.Interface + "'s resolvers answer, but reach nothing beyond"
	case len(st.DNS) == 1 && st.DNS[0] == st.Gateway:
		return st.Interface + "'s gateway does not answer names"
	}
	words := make([]string, len(st.DNS))
	for i, addr := range st.DNS {
		words[i] = addr.String()
	}
	return fmt.Sprintf("%s has a link and a route, but no answer from %s", st.Interface, strings.Join(words, ", "))
}

// askAll asks the resolvers at the same time and returns the best of what came back, up to the first answer.
func (p *Prober) askAll(ctx context.Context, name string, resolvers []netip.Addr) (
	best verdict, by netip.Addr, used traffic,
) {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	type result struct {
		reply
		from netip.Addr
	}
	results := make(chan result, len(resolvers))
	for _, resolver := range resolvers {
		go func() { results <- result{p.ask(ctx, name, resolver), resolver} }()
	}
	for range resolvers {
		r := <-results
		used.add(r.traffic)
		if r.verdict > best {
			best, by = r.verdict, r.from
		}
		if best == answered {
			cancel() // the others need not wait
		}
	}
	return best, by, used
}

func (u *probed) wake() {
	select {
	case u.poke <- struct{}{}:
	default:
	}
}

// headers are what a datagram has beside its payload: IPv4 without options, UDP.
const headers = 20 + 8

// query asks one resolver.
func (p *Prober) query(ctx context.Context, device string, resolver netip.Addr) (r reply) {
	question, id := rootQuery()
	r.traffic = p.exchange(ctx, device, resolver, question, func(data []byte) bool {
		r.verdict = parseReply(data, id)
		return r.verdict != silent
	})
	return r
}

// exchange sends one datagram to a resolver, through the interface and nothing else, and reads until one is the answer.
func (p *Prober) exchange(
	ctx context.Context, device string, resolver netip.Addr, question []byte, isAnswer func(data []byte) bool,
) (used traffic) {
	conn, err := p.opt.Dial(ctx, "udp4", device, netip.AddrPortFrom(resolver, 53))
	if err != nil {
		return used
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(question); err != nil {
		return used
	}
	used.sent = uint64(len(question) + headers)
	buffer := make([]byte, 1500)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return used // out of time, or the resolver's machine says that nobody listens
		}
		used.received += uint64(n + headers)
		if isAnswer(buffer[:n]) {
			return used
		}
	}
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
