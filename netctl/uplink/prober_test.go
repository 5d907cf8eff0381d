package uplink

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/netctl/names"
)

var (
	gateway = netip.MustParseAddr("192.168.1.1")
	second  = netip.MustParseAddr("192.0.2.53")
	webAddr = netip.MustParseAddr("192.0.2.80")

	testZones = []Zone{
		{"one.example", netip.MustParsePrefix("198.51.100.1/32")},
		{"two.example", netip.MustParsePrefix("198.51.100.2/32")},
		{"three.example", netip.MustParsePrefix("198.51.100.3/32")},
	}
	testPages = []Page{{Host: "page-a.example", Path: "/", Text: "a"}, {Host: "page-b.example", Path: "/", Text: "b"}}
)

// lent is an uplink that works as far as the kernel knows.
func lent(name string, dns ...netip.Addr) Candidate {
	return Candidate{Status: Status{
		Interface: name, Index: 2, Present: true, Up: true, Carrier: true, Routed: true, Works: true,
		Address: netip.MustParsePrefix("192.168.1.7/24"), Gateway: gateway, DNS: dns,
	}}
}

// habit is the behaviour of a name server.
type habit struct {
	mode string
	slow time.Duration
}

// Modes of name servers and of the web.
const (
	fine     = "fine"
	mute     = "mute"
	caching  = "answers what it remembers, the pages' hosts, and SERVFAIL"
	hijacked = "every name leads to one address"
	filtered = "the zones do not exist, all else does"
	empties  = "no name has an address"

	shut      = "another page"
	dropped   = "no connection gets through"
	forbidden = "403"
)

var codes = map[string]dnsmessage.RCode{
	"REFUSED": dnsmessage.RCodeRefused, "NXDOMAIN": dnsmessage.RCodeNameError, "SERVFAIL": dnsmessage.RCodeServerFailure,
}

// street is a prober in a synctest bubble with the internet behind its lines.
type street struct {
	t     *testing.T
	p     *Prober
	begin time.Time

	mu      sync.Mutex
	servers map[netip.Addr]habit // the zero address is the box's own
	web     string
	tries   bool // a resident requests a new page every two seconds
	flows   []Flow
	id      uint64
	asked   []string // "15s eth0 192.168.1.1 one.example", labels left out
	seen    map[string]bool
	loads   []time.Duration
	wakes   int
	failed  []string
	quiet   bool // the line sends nothing
	sent    uint64
	listed  int // how often flows were listed
}

func onStreet(t *testing.T, f func(t *testing.T, s *street)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &street{t: t, begin: time.Now(), web: fine, seen: map[string]bool{}, servers: map[netip.Addr]habit{{}: {mode: fine}, gateway: {mode: fine}}}
		s.p = NewProber(ProberOptions{
			Log:       slog.New(slog.DiscardHandler),
			Wake:      func() { s.mu.Lock(); s.wakes++; s.mu.Unlock() },
			Own:       netip.MustParseAddrPort("10.80.0.1:53"),
			OwnFailed: func(why string) { s.failed = append(s.failed, why) },
			Flows:     s.traffic, Sent: s.packets, Pages: testPages,
		})
		s.p.ask, s.p.page, s.p.open = s.ask, s.load, s.reach
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.p.Run(ctx) }()
		synctest.Wait()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}()
		f(t, s)
	})
}

func (s *street) set(lines ...Candidate) { s.p.Set(lines, testZones) }

// change changes the behaviour of the servers, the box's own included, and of the web.
func (s *street) change(web string, servers map[netip.Addr]habit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.web = web
	for addr, h := range servers {
		s.servers[addr] = h
	}
}

func all(h habit) map[netip.Addr]habit { return map[netip.Addr]habit{{}: h, gateway: h} }

func (s *street) ask(ctx context.Context, device string, server netip.Addr, name string) (r reply) {
	label, zone, _ := strings.Cut(name, ".")
	var in *Zone
	for i := range testZones {
		if testZones[i].Name == zone {
			in = &testZones[i]
		}
	}
	s.mu.Lock()
	h := s.servers[server]
	what := name
	if in != nil {
		if what = zone; s.seen[label] {
			s.t.Errorf("the label %s is asked for again", label)
		}
		s.seen[label] = true
	}
	from := server.String()
	if !server.IsValid() {
		from = "own"
	}
	s.asked = append(s.asked, fmt.Sprint(time.Since(s.begin), " ", device, " ", from, " ", what))
	s.mu.Unlock()
	r.used = names.Traffic{Sent: 73}
	if h.mode == mute || h.mode == "" {
		<-ctx.Done()
		return r
	}
	select {
	case <-time.After(h.slow):
	case <-ctx.Done():
		return r
	}
	r.ok, r.used.Received = true, 100
	r.Code = codes[h.mode]
	switch {
	case h.mode == caching && in != nil:
		r.Code = dnsmessage.RCodeServerFailure
	case h.mode == filtered && in != nil:
		r.Code = dnsmessage.RCodeNameError
	case h.mode == hijacked:
		r.Addr = gateway
	case r.Code != 0 || h.mode == empties:
	case in != nil:
		r.Addr = in.In.Addr()
	default:
		r.Addr = webAddr
	}
	return r
}

func (s *street) load(ctx context.Context, _ string, _ netip.Addr, _ Page) (checkResult, bool, names.Traffic) {
	s.mu.Lock()
	web := s.web
	s.loads = append(s.loads, time.Since(s.begin))
	s.mu.Unlock()
	used := names.Traffic{Sent: 600, Received: 1000}
	switch web {
	case dropped:
		<-ctx.Done()
		return unseen, false, names.Traffic{Sent: unanswered}
	case shut:
		return portal, true, used
	case forbidden:
		return unseen, true, used
	}
	return open, true, used
}

func (s *street) reach(ctx context.Context, _ string, _ netip.AddrPort) (bool, names.Traffic) {
	s.mu.Lock()
	web := s.web
	s.mu.Unlock()
	if web == dropped {
		<-ctx.Done()
		return false, names.Traffic{Sent: unanswered}
	}
	return true, names.Traffic{Sent: 300, Received: 200}
}

// packets returns the number of packets sent, which increases unless the line is quiet.
func (s *street) packets(int) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.quiet {
		s.sent++
	}
	return s.sent, nil
}

// TestQuietLine checks that flows are not listed again while a line sends nothing.
func TestQuietLine(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		line := lent("eth0", gateway)
		line.InUse = true
		s.set(line)
		time.Sleep(time.Minute)
		s.mu.Lock()
		busy := s.listed
		s.listed, s.quiet = 0, true
		s.mu.Unlock()
		time.Sleep(time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		if busy < 20 || s.listed > 1 {
			t.Errorf("they were listed %d times in a minute, and %d times in a quiet one", busy, s.listed)
		}
	})
}

// traffic returns the flows of a resident's browser that requests one page after another.
func (s *street) traffic(netip.Addr) ([]Flow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed++
	if !s.tries {
		return s.flows, nil
	}
	h, id := s.servers[netip.Addr{}], s.id+1
	s.id += 3
	question := Flow{ID: id, Names: true, Up: 73, UpPackets: 1, Down: 100, DownPackets: 1}
	if h.mode == mute {
		question.Down, question.DownPackets = 0, 0
	}
	again := question
	again.ID++
	page := Flow{ID: id + 2, Far: id, Port: 443, TCP: true, UpPackets: 1, Up: 60}
	for i, f := range s.flows {
		if f.TCP && f.DownPackets == 0 {
			s.flows[i].UpPackets++ // a SYN retransmission
		}
	}
	if named := h.mode == fine || h.mode == hijacked || h.mode == caching; !named {
		s.flows = append(s.flows, question, again)
	} else if s.web == dropped {
		s.flows = append(s.flows, question, page)
	} else {
		page.UpPackets, page.DownPackets, page.Up, page.Down, page.Ended = 6, 6, 900, 2000, true
		s.flows = append(s.flows, question, page)
	}
	return s.flows, nil
}

func (s *street) health(name, want string) {
	s.t.Helper()
	synctest.Wait()
	if got := said(s.p.Health(name)); got != want {
		s.t.Errorf("after %v: %q, want %q", time.Since(s.begin), got, want)
	}
}

func said(h Health) string {
	switch {
	case !h.Known && h.Works:
		return "presumed"
	case !h.Known:
		return "unknown"
	case h.Works && h.Slow:
		return "slow"
	case h.Works:
		return "works"
	}
	return h.Why
}

// until waits for a health and returns the time it took.
func (s *street) until(name, want string, most time.Duration) time.Duration {
	s.t.Helper()
	began := time.Now()
	for {
		synctest.Wait()
		got := said(s.p.Health(name))
		if got == want {
			return time.Since(began)
		}
		if time.Since(began) > most {
			s.t.Fatalf("after %v: %q, want %q", most, got, want)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// questions returns the queries made since the last call.
func (s *street) questions() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// TestSituations is the rules as a table: on a line that works, a resident requests one page after another while a situation
// begins and ends.
func TestSituations(t *testing.T) {
	const noPage = "eth0 answers names, but no connection gets through"
	for _, c := range []struct {
		name    string
		web     string
		servers map[netip.Addr]habit
		want    string
		within  time.Duration
	}{
		{"REFUSED", fine, all(habit{mode: "REFUSED"}), "eth0 gives no names: 192.168.1.1 refuses every name", 30 * time.Second},
		{"NXDOMAIN", fine, all(habit{mode: "NXDOMAIN"}), "eth0 gives no names: 192.168.1.1 says that no name exists", 30 * time.Second},
		{"no address", fine, all(habit{mode: empties}), "eth0 gives no names: 192.168.1.1 has an address of no name", 30 * time.Second},
		{"SERVFAIL", fine, all(habit{mode: "SERVFAIL"}), "eth0 gives no names: 192.168.1.1 answers, but reaches nothing beyond (SERVFAIL)", 30 * time.Second},
		{"no answer", dropped, all(habit{mode: mute}), "eth0's gateway does not answer names", 10 * time.Second},
		{"a caching router whose way out is cut", dropped, all(habit{mode: caching}),
			"eth0 gives no names: 192.168.1.1 answers, but reaches nothing beyond (SERVFAIL)", 10 * time.Second},
		{"all TCP is dropped", dropped, all(habit{mode: fine}), noPage, 30 * time.Second},
		{"a sign-in page", shut, all(habit{mode: fine}), "the network behind eth0 asks for a sign-in first", 30 * time.Second},
		{"a sign-in page, to which all names lead", shut, all(habit{mode: hijacked}), "the network behind eth0 asks for a sign-in first", 30 * time.Second},
		{"all names lead where nobody is", dropped, all(habit{mode: hijacked}), noPage, 30 * time.Second},
		{"a filter that does not like the zones", fine, all(habit{mode: filtered}), "works", 0},
		{"a filter that does not like the pages", forbidden, all(habit{mode: fine}), "works", 0},
		{"a slow server", fine, all(habit{mode: fine, slow: 2200 * time.Millisecond}), "slow", 2 * time.Minute},
		{"a slower server", fine, all(habit{mode: fine, slow: 4 * time.Second}), "slow", 2 * time.Minute},
		{"one that hardly anybody waits for", fine, all(habit{mode: fine, slow: 7 * time.Second}), "slow", 4 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			onStreet(t, func(t *testing.T, s *street) {
				line := lent("eth0", gateway)
				line.InUse = true
				s.tries = true
				s.set(line)
				s.until("eth0", "works", 0)
				time.Sleep(70 * time.Second)
				s.change(c.web, c.servers)
				took := s.until("eth0", c.want, c.within)
				time.Sleep(5 * time.Minute)
				s.health("eth0", c.want)
				if c.want == "works" {
					return
				}
				t.Logf("found after %v", took)
				s.change(fine, all(habit{mode: fine}))
				s.until("eth0", "works", 3*time.Minute)
			})
		})
	}
}

// TestIdleLineFails checks that a failure is found even without residents, within the interval of queries or pages.
func TestIdleLineFails(t *testing.T) {
	for name, c := range map[string]struct {
		web, mode, want string
		within          time.Duration
	}{
		"no answer":      {dropped, mute, "eth0's gateway does not answer names", idleNames + doubtLimit},
		"REFUSED":        {fine, "REFUSED", "eth0 gives no names: 192.168.1.1 refuses every name", idleNames + 2*doubtLimit},
		"a sign-in page": {shut, fine, "the network behind eth0 asks for a sign-in first", pages},
		"no TCP":         {dropped, fine, "eth0 answers names, but no connection gets through", pages + 2*doubtLimit},
	} {
		t.Run(name, func(t *testing.T) {
			onStreet(t, func(t *testing.T, s *street) {
				s.set(lent("eth0", gateway))
				s.until("eth0", "works", 0)
				s.change(c.web, all(habit{mode: c.mode}))
				s.until("eth0", c.want, c.within)
			})
		})
	}
}

// TestShortOutage checks that a line works again soon after a short outage, and only when both DNS and pages work.
func TestShortOutage(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		s.change(dropped, all(habit{mode: mute}))
		s.set(lent("eth0", gateway))
		s.until("eth0", "eth0's gateway does not answer names", doubtLimit)
		time.Sleep(20 * time.Second)
		s.change(dropped, all(habit{mode: fine}))
		s.until("eth0", "eth0 answers names, but no connection gets through", 20*time.Second)
		time.Sleep(time.Minute)
		s.change(fine, nil)
		s.until("eth0", "works", 30*time.Second)
	})
}

// TestAllIsWell checks that zones take turns, that none is queried more than once a minute, and that no page is requested early.
func TestAllIsWell(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		line := lent("eth0", gateway)
		line.InUse = true
		s.set(line)
		time.Sleep(3*time.Minute + time.Second)
		want := []string{
			"0s eth0 192.168.1.1 one.example", "0s eth0 own one.example", "0s eth0 192.168.1.1 page-a.example",
			"1m0s eth0 own two.example", "2m0s eth0 own three.example", "3m0s eth0 own one.example",
		}
		got := s.questions()
		for _, w := range want {
			if !strings.Contains(strings.Join(got, "\n")+"\n", w+"\n") {
				t.Errorf("not asked: %s", w)
			}
		}
		if len(got) != len(want) {
			t.Errorf("asked: %q", got)
		}
		// No resident is online any more, and there are other lines.
		var lines []Candidate
		for i := range 6 {
			lines = append(lines, lent(fmt.Sprint("eth", i), gateway))
		}
		s.set(lines...)
		time.Sleep(time.Minute)
		s.questions()
		time.Sleep(30 * time.Minute)
		last := map[string]time.Duration{}
		asked := map[string]int{}
		for _, q := range s.questions() {
			f := strings.Fields(q)
			at, err := time.ParseDuration(f[0])
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(f[3], "page") {
				continue
			}
			asked[f[1]]++
			if before, ok := last[f[3]]; ok && at-before < time.Minute {
				t.Errorf("%s: again after %v", q, at-before)
			}
			last[f[3]] = at
		}
		for _, line := range lines {
			if n := asked[line.Interface]; n < 4 || n > 20 {
				t.Errorf("%s was asked %d times", line.Interface, n)
			}
		}
		if s.wakes != 6 {
			t.Errorf("%d wakes, want one for each line", s.wakes)
		}
	})
}

// TestOneZoneFails checks that an outage of one zone is not a failure of a line, and that the zone is suspended.
func TestOneZoneFails(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		ask := s.p.ask
		s.p.ask = func(ctx context.Context, device string, server netip.Addr, name string) reply {
			r := ask(ctx, device, server, name)
			if strings.HasSuffix(name, ".two.example") {
				r.Answer = names.Answer{Code: dnsmessage.RCodeNameError}
			}
			return r
		}
		s.set(lent("eth0", gateway))
		time.Sleep(9 * time.Minute)
		s.health("eth0", "works")
		n := strings.Count(strings.Join(s.questions(), "\n"), "two.example")
		if n != 1 {
			t.Errorf("it was asked %d times", n)
		}
	})
}

// TestServers checks that only the server that answered last is queried, until it does not answer.
func TestServers(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		s.change(fine, map[netip.Addr]habit{gateway: {mode: mute}, second: {mode: fine}})
		s.set(lent("eth0", gateway, second))
		time.Sleep(time.Minute)
		s.health("eth0", "works")
		s.questions()
		time.Sleep(idleNames)
		if got := s.questions(); len(got) != 1 || !strings.Contains(got[0], " 192.0.2.53 ") {
			t.Errorf("asked: %q", got)
		}
		s.change(fine, map[netip.Addr]habit{gateway: {mode: "REFUSED"}, second: {mode: mute}})
		s.until("eth0", "eth0 gives no names: 192.168.1.1 refuses every name, 192.0.2.53 does not answer", idleNames+2*doubtLimit)
		s.change(fine, map[netip.Addr]habit{gateway: {mode: mute}})
		s.until("eth0", "eth0 has a link and a route, but no answer from 192.168.1.1, 192.0.2.53", time.Minute)
		s.change(fine, map[netip.Addr]habit{gateway: {mode: fine}})
		s.until("eth0", "works", time.Minute)
	})
}

// TestOwnNameServerFails checks that a failure of the box's own name server alone is not a failure of the line.
func TestOwnNameServerFails(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		line := lent("eth0", gateway)
		line.InUse = true
		s.set(line)
		time.Sleep(time.Minute / 2)
		s.change(fine, map[netip.Addr]habit{{}: {mode: "REFUSED"}})
		time.Sleep(2 * time.Minute)
		s.health("eth0", "works")
		if len(s.failed) == 0 || s.failed[0] != "gives no names, although eth0 does" {
			t.Errorf("failures: %q", s.failed)
		}
	})
}

func TestNoResolver(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		line := lent("eth0")
		s.set(line)
		s.health("eth0", "eth0 has no name server: write one as dns of the donation")
		line.NotDNS = []string{"127.0.0.1", "2001:db8::1"}
		s.set(line)
		s.health("eth0", "eth0 has no name server that can be asked through it, only 127.0.0.1, 2001:db8::1: write one as dns of the donation")
		time.Sleep(time.Hour)
		if got := s.questions(); got != nil {
			t.Errorf("asked: %q", got)
		}
		line.DNS = []netip.Addr{gateway}
		s.set(line)
		s.until("eth0", "works", 0)
	})
}

func TestChangedUplinkIsProbedAgain(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		line := lent("eth0", gateway)
		s.change(dropped, all(habit{mode: mute}))
		s.health("eth0", "unknown")
		s.set(line)
		s.health("eth0", "presumed")
		time.Sleep(10 * time.Second)
		s.health("eth0", "eth0's gateway does not answer names")

		// Unplugged and plugged in again: another index.
		s.set(Candidate{Status: Status{Interface: "eth0", Why: "eth0 does not exist"}})
		s.health("eth0", "eth0 does not exist")
		time.Sleep(time.Minute)
		s.questions()
		time.Sleep(time.Minute)
		if got := s.questions(); got != nil {
			t.Errorf("asked: %q", got)
		}
		line.Index = 9
		s.change(fine, all(habit{mode: fine}))
		s.set(line)
		s.until("eth0", "works", 0)

		// Changed counters are not a change of the path.
		s.questions()
		line.RxBytes = 1000
		s.set(line)
		if got := s.questions(); got != nil {
			t.Errorf("asked: %q", got)
		}

		// A removed uplink loses its health, but not its probe traffic.
		sent, _ := s.p.ProbeTraffic("eth0")
		s.set()
		s.health("eth0", "unknown")
		if again, _ := s.p.ProbeTraffic("eth0"); again < sent || sent == 0 {
			t.Errorf("spent %d, then %d bytes", sent, again)
		}
	})
}

// An answer after a change of the uplink does not count for the new one.
func TestResultOfAnotherUplink(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		s.change(dropped, all(habit{mode: mute}))
		line := lent("eth0", gateway)
		s.set(line)
		time.Sleep(4 * time.Second)
		line.Index = 9
		s.set(line)
		time.Sleep(4 * time.Second)
		s.health("eth0", "presumed")
	})
}

func TestProbeNow(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		s.set(lent("eth0", gateway))
		time.Sleep(5 * time.Second)
		s.questions()
		s.p.ProbeNow("nobody")
		for range 100 { // however often ProbeNow is called, it probes at most once a second
			s.p.ProbeNow("eth0")
			time.Sleep(20 * time.Millisecond)
		}
		if got := s.questions(); len(got) < 2 || len(got) > 3 {
			t.Errorf("asked in two seconds: %q", got)
		}
	})
}

// TestTrafficOfADay checks the cost that the comment in health.go states, for every situation.
func TestTrafficOfADay(t *testing.T) {
	for name, c := range map[string]struct {
		web   string
		mode  string
		busy  bool
		tries bool
		most  uint64
	}{
		"idle":                               {fine, fine, false, false, 300e3},
		"idle, no answer":                    {dropped, mute, false, false, 300e3},
		"idle, REFUSED":                      {fine, "REFUSED", false, false, 300e3},
		"idle, a sign-in page":               {shut, fine, false, false, 300e3},
		"idle, no TCP":                       {dropped, fine, false, false, 300e3},
		"idle, a filter of zones":            {fine, filtered, false, false, 1e6},
		"residents":                          {fine, fine, true, false, 1e6},
		"residents without success":          {fine, fine, true, true, 1e6},
		"residents where all TCP is dropped": {dropped, fine, true, true, 1e6},
		"residents behind a filter of zones": {fine, filtered, true, true, 1e6},
	} {
		t.Run(name, func(t *testing.T) {
			onStreet(t, func(t *testing.T, s *street) {
				h := habit{mode: c.mode}
				s.change(c.web, map[netip.Addr]habit{{}: h, gateway: h, second: h})
				line := lent("eth0", gateway, second)
				line.InUse = c.busy
				s.set(line)
				for range 24 * 60 {
					time.Sleep(time.Minute)
					s.mu.Lock()
					s.flows, s.asked, s.tries = nil, nil, c.tries
					s.mu.Unlock()
				}
				sent, received := s.p.ProbeTraffic("eth0")
				t.Logf("%d bytes a day", sent+received)
				if sent+received > c.most || sent == 0 {
					t.Errorf("%d bytes a day, want %d at most", sent+received, c.most)
				}
			})
		})
	}
}
