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

// job is what one try is to find out.
type job struct {
	device   string
	servers  []netip.Addr // of the line
	first    []netip.Addr // those of them that are asked first
	own      bool         // or the box's own name server before them
	zones    []Zone       // in the order in which they are asked
	wanted   bool         // a page is wanted in any case
	brief    bool         // the line is known not to work: only one zone is asked, and one page where names are answered
	hurry    bool         // there is a strong cause: the second page is not waited for
	reach    bool         // likewise, and it is too soon for a page: a connection to where a name leads
	soon     time.Duration
	patience time.Duration
}

// reply is what became of one question.
type reply struct {
	names.Answer
	ok   bool // there was an answer
	used names.Traffic
}

// attempt is a job while it is done.
type attempt struct {
	job
	p   *Prober
	ctx context.Context // of questions, which may be answered later than the attempt lasts

	mu   sync.Mutex
	o    outcome
	seen []netip.Addr // addresses of zones
	late func(took time.Duration)
	over bool
}

// try asks what the job wants to know. Questions that are still open when it is over are told of by late, if they are
// answered well after all.
func (p *Prober) try(ctx context.Context, j job, late func(took time.Duration)) outcome {
	questions, cancel := context.WithTimeout(ctx, wait)
	a := &attempt{p: p, job: j, ctx: questions, late: late}
	a.o = outcome{began: time.Now(), said: map[netip.Addr]verdict{}, zones: map[string]verdict{}}

	inTime, stop := context.WithTimeout(ctx, j.patience)
	defer stop()
	prompt, done := context.WithTimeout(ctx, j.soon)
	defer done()
	looking, looked := context.WithCancel(ctx)
	defer looked()
	page := make(chan struct{})
	look := sync.OnceFunc(func() {
		a.p.background.Go(func() {
			defer close(page)
			if a.look(looking) == open { // names need not be waited for any longer than in any try
				context.AfterFunc(prompt, stop)
			}
		})
	})
	if j.wanted {
		look()
	}
	doubt := look
	if j.brief {
		doubt = func() {}
	}
	named := a.names(inTime, doubt)
	switch {
	case named && !j.wanted && !j.brief && (!j.reach || a.reached(inTime)): // doubt is over, if there was any
		looked()
		cancel()
		return a.end(false)
	case j.brief && !j.wanted && a.best() < odd: // there is nothing to look for
		looked()
		context.AfterFunc(questions, cancel)
		return a.end(false)
	}
	look()
	if a.best() == good {
		// A page takes two names' times and some more than the name alone.
		rest, stop := context.WithTimeout(ctx, j.patience+a.took())
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
	if o.life(true) {
		cancel()
	}
	context.AfterFunc(questions, cancel) // else what is open goes on until nobody waits for a name any more
	return o
}

// end returns the outcome; nothing is added to it from then on.
func (a *attempt) end(looked bool) outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	a.o.ended, a.o.looked = time.Now(), looked
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

// names asks for names until one is answered well, and returns whether one is. Of doubt it tells as soon as there is some.
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
		pause := a.soon / 2 // between what is asked in doubt
		if i == 0 {
			pause = a.soon
		} else if i == len(groups)-1 {
			pause = wait
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

// ask asks one server for a fresh name of a zone; the box's own if it has no address. It returns whether the answer is
// good.
func (a *attempt) ask(server netip.Addr, z Zone) bool {
	began := time.Now()
	r := a.p.ask(a.ctx, a.device, server, names.Label()+"."+z.Name)
	own := !server.IsValid()
	if own { // it asks all servers, of some more bytes each
		const edns = 11
		n := uint64(len(a.servers))
		r.used = names.Traffic{Sent: n * (r.used.Sent + edns), Received: n * (r.used.Received + edns)}
	}
	a.p.pay(a.device, r.used)
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
		a.o.said[server] = max(a.o.said[server], v)
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
		a.o.own = max(a.o.own, v)
	}
	return v == good
}

// judge says what the answer to a question for a name of the zone means.
func (z Zone) judge(r reply) verdict {
	switch {
	case !r.ok:
		return silent
	case r.Code == dnsmessage.RCodeServerFailure:
		return stranded
	case r.Code == dnsmessage.RCodeNameError:
		return absent
	case r.Code != dnsmessage.RCodeSuccess:
		return refused
	case !r.Addr.IsValid():
		return empty
	case !z.In.Contains(r.Addr):
		return odd
	}
	return good
}

// look asks for pages, one after the other, until one is what it should be. A connection to where a zone's names lead
// stands in for pages that nobody answers for.
func (a *attempt) look(ctx context.Context) sight {
	var tries []func(ctx context.Context) bool
	for _, page := range a.p.opt.Pages {
		tries = append(tries, func(ctx context.Context) bool { return a.fetch(ctx, page) })
	}
	tries = append(tries, a.connect)
	gap := a.soon
	if a.hurry {
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
				if open--; enough || a.brief && a.saw() == portal {
					return a.saw()
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
	return a.saw()
}

func (a *attempt) saw() sight {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.o.sight
}

// fetch asks for one page, and for its host's address first. It returns whether the page is what it should be.
func (a *attempt) fetch(ctx context.Context, page Page) bool {
	addr := a.resolve(ctx, page.Host)
	if !addr.IsValid() {
		return false
	}
	seen, tcp, used := a.p.page(ctx, a.device, addr, page)
	a.note(seen, tcp, page.Host, used)
	return seen == open
}

// reached tells whether a connection to where a name of a zone leads gets through soon.
func (a *attempt) reached(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, a.soon)
	defer cancel()
	a.connect(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.o.tcp
}

// connect opens a connection to where a name of a zone leads, if one is needed.
func (a *attempt) connect(ctx context.Context) bool {
	a.mu.Lock()
	addrs, needed := slices.Clone(a.seen), !a.o.tcp
	a.mu.Unlock()
	if !needed || len(addrs) == 0 {
		return false
	}
	tcp, used := a.p.open(ctx, a.device, netip.AddrPortFrom(addrs[0], 443))
	a.note(unseen, tcp, "", used)
	return false // a page would say more
}

func (a *attempt) note(seen sight, tcp bool, host string, used names.Traffic) {
	a.p.pay(a.device, used)
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
	a.o.sight = max(a.o.sight, seen)
}

// resolve asks the line's servers for a host's address, each a moment after the one before, those first that are asked first.
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
			a.p.pay(a.device, r.used)
			a.mu.Lock()
			a.o.used.Add(r.used)
			a.mu.Unlock()
			found <- r.Addr
		})
		gap := a.soon / 2
		if i == len(servers)-1 {
			gap = wait
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
