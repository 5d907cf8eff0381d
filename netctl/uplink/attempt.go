package uplink

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/netctl/names"
)

// job is what one probe does.
type job struct {
	device       string
	servers      []netip.Addr  // the line's name servers
	first        []netip.Addr  // the servers to query first
	own          bool          // the box's own name server is queried first, too
	zones        []Zone        // in the order to query them
	wantPage     bool          // request a page in any case
	brief        bool          // the line does not work: query few zones, and request a page only if DNS works
	urgent       bool          // there is a strong cause: request the second page sooner
	wantTCP      bool          // there is a strong cause, but it is too soon for a page: connect to a resolved address
	promptWithin time.Duration // a later answer makes the line doubtful
	giveUpAfter  time.Duration // timeout of the probe
}

// reply is the result of one query.
type reply struct {
	names.Answer
	ok   bool // an answer came
	used names.Traffic
}

// attempt is a running job.
type attempt struct {
	job
	p   *Prober
	ctx context.Context // of queries, whose answers may come after the attempt's end

	mu   sync.Mutex
	o    outcome
	seen []netip.Addr // resolved addresses of zones
	late func(took time.Duration)
	over bool
}

// try runs a job. It calls late for good answers that come after its end.
func (p *Prober) try(ctx context.Context, j job, late func(took time.Duration)) outcome {
	questions, cancel := context.WithTimeout(ctx, nameTimeout)
	a := &attempt{p: p, job: j, ctx: questions, late: late}
	a.o = outcome{began: time.Now(), byServer: map[netip.Addr]verdict{}, zones: map[string]verdict{}}

	inTime, stop := context.WithTimeout(ctx, j.giveUpAfter)
	defer stop()
	prompt, done := context.WithTimeout(ctx, j.promptWithin)
	defer done()
	looking, looked := context.WithCancel(ctx)
	defer looked()
	page := make(chan struct{})
	look := sync.OnceFunc(func() {
		a.p.background.Go(func() {
			defer close(page)
			if a.checkPages(looking) == open { // wait for DNS no longer than promptWithin
				context.AfterFunc(prompt, stop)
			}
		})
	})
	if j.wantPage {
		look()
	}
	doubt := look
	if j.brief {
		doubt = func() {}
	}
	named := a.names(inTime, doubt)
	switch {
	case named && !j.wantPage && !j.brief && (!j.wantTCP || a.reached(inTime)): // the line works
		looked()
		cancel()
		return a.end(false)
	case j.brief && !j.wantPage && a.best() < wrongAddress: // DNS fails: no page can be requested
		looked()
		context.AfterFunc(questions, cancel)
		return a.end(false)
	}
	look()
	if a.best() == good {
		// A page takes longer than DNS alone: its host has to be resolved first.
		rest, stop := context.WithTimeout(ctx, j.giveUpAfter+a.took())
		defer stop()
		inTime = rest
	}
	select {
	case <-page:
	case <-inTime.Done():
	}
	looked()
	<-page
	o := a.end(true)
	if o.alive(true) {
		cancel()
	}
	context.AfterFunc(questions, cancel) // otherwise open queries continue until the DNS timeout
	return o
}

// end returns the outcome, which does not change any more.
func (a *attempt) end(looked bool) outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	a.o.ended, a.o.checked = time.Now(), looked
	return a.o
}

func (a *attempt) best() verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.o.names
}

func (a *attempt) took() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.o.took
}

// names queries names until one answer is good, and returns whether one was. It calls doubt as soon as an answer is late.
func (a *attempt) names(ctx context.Context, doubt func()) bool {
	zone := func(i int) Zone { return a.zones[i%len(a.zones)] }
	all := func(z Zone, own bool, servers []netip.Addr) (questions []func() bool) {
		if own {
			questions = append(questions, func() bool { return a.ask(netip.Addr{}, z) })
		}
		for _, s := range servers {
			questions = append(questions, func() bool { return a.ask(s, z) })
		}
		return questions
	}
	groups := [][]func() bool{all(zone(0), a.own, a.first)}
	if !a.brief || len(a.first) < len(a.servers) {
		groups = append(groups, all(zone(1), false, a.servers))
	}
	if !a.brief {
		groups = append(groups, all(zone(2), false, a.servers))
	}
	answers, open := make(chan bool, 32), 0
	for i, group := range groups {
		for _, question := range group {
			open++
			a.p.background.Go(func() { answers <- question() })
		}
		pause := a.promptWithin / 2 // between groups of queries after the first
		if i == 0 {
			pause = a.promptWithin
		} else if i == len(groups)-1 {
			pause = nameTimeout
		}
		next := time.After(pause)
		for waiting := true; waiting && open > 0; {
			select {
			case named := <-answers:
				if open--; named {
					return true
				}
			case <-next:
				waiting = false
			case <-ctx.Done():
				return false
			}
		}
		doubt()
	}
	return false
}

// ask queries one server for a new name of a zone. An invalid address stands for the box's own server. It returns whether the
// answer is good.
func (a *attempt) ask(server netip.Addr, z Zone) bool {
	began := time.Now()
	r := a.p.ask(a.ctx, a.device, server, names.Label()+"."+z.Name)
	own := !server.IsValid()
	if own { // it forwards the query to all servers, with edns more bytes each
		const edns = 11
		n := uint64(len(a.servers))
		r.used = names.Traffic{Sent: n * (r.used.Sent + edns), Received: n * (r.used.Received + edns)}
	}
	a.p.account(a.device, r.used)
	took, v := time.Since(began), z.judge(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		if v == good {
			a.late(took)
		}
		return v == good
	}
	a.o.used.Add(r.used)
	if !own {
		a.o.byServer[server] = max(a.o.byServer[server], v)
	}
	a.o.zones[z.Name] = max(a.o.zones[z.Name], v)
	if v == good {
		a.seen = append(a.seen, r.Addr)
		if a.o.names != good {
			from := server.String()
			if own {
				from = "the box's own name server"
			}
			a.o.took, a.o.proof = took, fmt.Sprintf("a name of %s, from %s, in %v", z.Name, from, took.Round(time.Millisecond))
			if !own {
				a.o.by = server
			}
		}
	}
	a.o.names = max(a.o.names, v)
	if own {
		a.o.ownServer = max(a.o.ownServer, v)
	}
	return v == good
}

// judge classifies the answer to a query for a name of the zone.
func (z Zone) judge(r reply) verdict {
	switch {
	case !r.ok:
		return noAnswer
	case r.Code == dnsmessage.RCodeServerFailure:
		return servfail
	case r.Code == dnsmessage.RCodeNameError:
		return nxdomain
	case r.Code != dnsmessage.RCodeSuccess:
		return refused
	case !r.Addr.IsValid():
		return noAddress
	case !z.In.Contains(r.Addr):
		return wrongAddress
	}
	return good
}

// checkPages requests pages, one after another, until one is right. If no page answers, it tries a connection to a resolved
// address of a zone.
func (a *attempt) checkPages(ctx context.Context) checkResult {
	var tries []func(ctx context.Context) bool
	for _, page := range a.p.opt.Pages {
		tries = append(tries, func(ctx context.Context) bool { return a.fetch(ctx, page) })
	}
	tries = append(tries, a.connect)
	gap := a.promptWithin
	if a.urgent {
		gap /= 2
	}
	done, open := make(chan bool, len(tries)), 0
	for _, try := range tries {
		open++
		a.p.background.Go(func() { done <- try(ctx) })
		next := time.After(gap)
		for waiting := true; waiting && open > 0; {
			select {
			case enough := <-done:
				if open--; enough || a.brief && a.check() == portal {
					return a.check()
				}
				waiting = false
			case <-next:
				waiting = false
			}
		}
	}
	for range open {
		if <-done {
			break
		}
	}
	return a.check()
}

func (a *attempt) check() checkResult {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.o.check
}

// fetch resolves a page's host and requests the page. It returns whether the page is right.
func (a *attempt) fetch(ctx context.Context, page Page) bool {
	addr := a.resolve(ctx, page.Host)
	if !addr.IsValid() {
		return false
	}
	seen, tcp, used := a.p.page(ctx, a.device, addr, page)
	a.note(seen, tcp, page.Host, used)
	return seen == open
}

// reached tells whether a connection to a resolved address of a zone is established within the prompt time.
func (a *attempt) reached(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, a.promptWithin)
	defer cancel()
	a.connect(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.o.tcp
}

// connect opens a connection to a resolved address of a zone, if none was established yet.
func (a *attempt) connect(ctx context.Context) bool {
	a.mu.Lock()
	addrs, needed := slices.Clone(a.seen), !a.o.tcp
	a.mu.Unlock()
	if !needed || len(addrs) == 0 {
		return false
	}
	tcp, used := a.p.open(ctx, a.device, netip.AddrPortFrom(addrs[0], 443))
	a.note(unseen, tcp, "", used)
	return false // a page would be a better proof
}

func (a *attempt) note(seen checkResult, tcp bool, host string, used names.Traffic) {
	a.p.account(a.device, used)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	a.o.used.Add(used)
	a.o.tcp = a.o.tcp || tcp
	if seen == open {
		a.o.page = host
	}
	a.o.check = max(a.o.check, seen)
}

// resolve queries the line's servers for a host's address, in the job's order and with a delay of half of promptWithin between
// them.
func (a *attempt) resolve(ctx context.Context, host string) (addr netip.Addr) {
	servers := slices.Clone(a.first)
	for _, s := range a.servers {
		if !slices.Contains(servers, s) {
			servers = append(servers, s)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found, open := make(chan netip.Addr, len(servers)), 0
	for i, s := range servers {
		open++
		a.p.background.Go(func() {
			r := a.p.ask(ctx, a.device, s, host)
			a.p.account(a.device, r.used)
			a.mu.Lock()
			a.o.used.Add(r.used)
			a.mu.Unlock()
			found <- r.Addr
		})
		gap := a.promptWithin / 2
		if i == len(servers)-1 {
			gap = nameTimeout
		}
		next := time.After(gap)
		for waiting := true; waiting && open > 0; {
			select {
			case addr := <-found:
				if open--; addr.IsValid() {
					return addr
				}
			case <-next:
				waiting = false
			case <-ctx.Done():
				return netip.Addr{}
			}
		}
	}
	return netip.Addr{}
}
