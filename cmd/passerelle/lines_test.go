package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// chain is a box with many lines, each of which fails in turn in some way, while a resident loads a page.
type chain struct {
	failover
	newNames atomic.Bool  // each page has a name that is in no cache
	pages    atomic.Int64 // pages shown to the resident
}

// newChain creates a chain with this many lines. Each uses its own router's DNS, unless dns says otherwise.
func newChain(t *testing.T, lines int, dns map[int]string) *chain {
	t.Helper()
	servers := func(k int) string {
		if dns[k] != "" {
			return dns[k]
		}
		return fmt.Sprintf("192.168.%d.1", k+1)
	}
	var more strings.Builder
	fmt.Fprintf(&more, "dns = [%q]\n", servers(0)) // of the first
	for k := 1; k < lines; k++ {
		fmt.Fprintf(&more, `
[[donation]]
name = "Ligne %d"
interface = "eth%d"
cap = "20GB"
priority = %d
dns = [%q]
`, k, k, k+1, servers(k))
	}
	b := newScene(t, settings{more: more.String()}, netlab.Options{Uplinks: lines, Residents: 1})
	return &chain{failover: failover{b, b.scene.Residents[0]}}
}

// begin starts the box, and the resident, who from now on loads a page each second.
func (c *chain) begin() {
	c.t.Helper()
	c.start()
	c.waitState(state.Sharing)
	c.mustDo("clock", "--confirm")
	c.newcomer(c.resident)
	c.waitLine(0)
	ctx, cancel := context.WithCancel(c.t.Context())
	var browsing sync.WaitGroup
	c.t.Cleanup(func() { cancel(); browsing.Wait() })
	browsing.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			page := somePage
			if c.newNames.Load() {
				name := fmt.Sprintf("p%d.fresh.example", n)
				c.scene.Internet.Names.Set(name, netlab.WebAddr)
				page = "http://" + name + "/"
			}
			try, stop := context.WithTimeout(ctx, 3*time.Second)
			if reply, err := c.resident.Get(try, page); err == nil && string(reply.Body) == netlab.InternetPage {
				c.pages.Add(1)
			}
			stop()
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	})
}

// browses waits until the resident gets pages through the line.
func (c *chain) browses() {
	c.t.Helper()
	before := c.pages.Load()
	wait(c.t, "pages", func() error {
		if n := c.pages.Load() - before; n < 2 {
			return fmt.Errorf("%d came", n)
		}
		return nil
	})
}

// fails breaks a line, waits for the failover to another, and checks the first one's status.
func (c *chain) fails(what string, line, to int, why string, fail func(l *netlab.Lender) error) {
	c.t.Helper()
	c.browses()
	start := time.Now()
	c.must(fail(c.scene.Lenders[line]))
	c.waitLine(to)
	c.t.Logf("%s: the next line is chosen after %v", what, time.Since(start).Round(100*time.Millisecond))
	c.says(line, why)
	c.browses()
	c.sessions(1)
}

// says waits until the status says that a line does not work, and why.
func (c *chain) says(line int, why string) {
	c.t.Helper()
	why = strings.NewReplacer("ETH", fmt.Sprint("eth", line), "GATEWAY", c.scene.Lenders[line].Gateway.String()).Replace(why)
	c.waitStatus("the reason", func(s state.Status) error {
		if d := s.Donations[line]; d.Works || d.Why != why {
			return fmt.Errorf("works: %t, %q; want %q", d.Works, d.Why, why)
		}
		return nil
	})
}

// code returns a server that answers every query with only this code.
func code(c dnsmessage.RCode) func(question []byte) []byte {
	return func(question []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(question) != nil {
			return nil
		}
		m.Response, m.RecursionAvailable, m.RCode, m.Additionals = true, true, c, nil
		b, err := m.Pack()
		if err != nil {
			return nil
		}
		return b
	}
}

// onlyRoot answers for the root's SOA like a correct server, and refuses everything else.
func onlyRoot(question []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 || m.Questions[0].Name.String() != "." {
		return code(dnsmessage.RCodeRefused)(question)
	}
	m.Response, m.Additionals = true, nil
	root := dnsmessage.MustNewName(".")
	m.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: root, Class: dnsmessage.ClassINET, TTL: 86400},
		Body:   &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("a.root-servers.net."), MBox: root},
	}}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// caching answers truthfully while there is internet. From then on it answers only cached queries, and SERVFAIL to all others.
func caching(truth func([]byte) []byte, cut *atomic.Bool) func(question []byte) []byte {
	var known sync.Map // of queries without their identifiers
	return func(question []byte) []byte {
		if len(question) < 12 {
			return nil
		}
		var m dnsmessage.Message
		if m.Unpack(question) != nil || len(m.Questions) != 1 {
			return nil
		}
		key := m.Questions[0].GoString()
		if !cut.Load() {
			known.Store(key, true)
			return truth(question)
		}
		if _, ok := known.Load(key); ok {
			return truth(question)
		}
		return code(dnsmessage.RCodeServerFailure)(question)
	}
}

// slowly answers like another server, but with a delay.
func slowly(answer func([]byte) []byte, delay *atomic.Int64) func(question []byte) []byte {
	return func(question []byte) []byte {
		time.Sleep(time.Duration(delay.Load()))
		return answer(question)
	}
}

// switched is a DNS server whose behaviour can be set.
type switched struct {
	atomic.Pointer[func([]byte) []byte]
}

func (s *switched) answer(question []byte) []byte { return (*s.Load())(question) }
func (s *switched) to(f func([]byte) []byte)      { s.Store(&f) }

// answersItself replaces the DNS server on a line's router. The new one is truthful at first.
func (b *box) answersItself(l *netlab.Lender) *switched {
	b.t.Helper()
	var s switched
	s.to(b.scene.Internet.Names.Reply)
	b.must(l.AnswerDNS(b.t.Context(), s.answer))
	return &s
}

// firewall adds iptables rules to a router.
func (b *box) firewall(l *netlab.Lender, rules ...string) error {
	for _, rule := range rules {
		if _, err := l.Router.Run(b.t.Context(), append([]string{"iptables", "-w"}, strings.Fields(rule)...)...); err != nil {
			return err
		}
	}
	return nil
}

// signIn makes a router redirect every page to one of its own, and refuse all other connections.
func (b *box) signIn(l *netlab.Lender, says string) error {
	if err := l.Router.ServeHTTP(netip.AddrPortFrom(l.Gateway, 8000).String(), http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, says) })); err != nil {
		return err
	}
	return b.firewall(l,
		"-t nat -I PREROUTING -i lan -p tcp --dport 80 -j DNAT --to-destination "+l.Gateway.String()+":8000",
		"-I FORWARD -i lan -p tcp -j REJECT --reject-with tcp-reset")
}

// TestNamesFailInTurn: whenever a line's DNS server does not resolve names, in whatever way, the next line takes over.
func TestNamesFailInTurn(t *testing.T) {
	t.Parallel()
	c := newChain(t, 6, nil)
	var names []*switched
	for _, l := range c.scene.Lenders {
		names = append(names, c.answersItself(l))
	}
	var cut atomic.Bool
	names[4].to(caching(c.scene.Internet.Names.Reply, &cut))
	c.newNames.Store(true)
	c.begin()
	say := func(line int, f func([]byte) []byte) func(*netlab.Lender) error {
		return func(*netlab.Lender) error { names[line].to(f); return nil }
	}
	c.fails("REFUSED", 0, 1, "ETH gives no names: GATEWAY refuses every name", say(0, code(dnsmessage.RCodeRefused)))
	c.fails("NXDOMAIN to all", 1, 2, "ETH gives no names: GATEWAY says that no name exists", say(1, code(dnsmessage.RCodeNameError)))
	c.fails("NOERROR and nothing", 2, 3, "ETH gives no names: GATEWAY has an address of no name", say(2, code(dnsmessage.RCodeSuccess)))
	c.fails("only the root", 3, 4, "ETH gives no names: GATEWAY refuses every name", say(3, onlyRoot))
	c.newNames.Store(false) // the resident's queries are answered
	c.fails("a caching router, its way out cut", 4, 5, "ETH gives no names: GATEWAY answers, but reaches nothing beyond (SERVFAIL)",
		func(l *netlab.Lender) error { cut.Store(true); return l.WAN.Cut() })

	// The first line works again, and is used once it has worked for a while.
	start := time.Now()
	names[0].to(c.scene.Internet.Names.Reply)
	c.waitWorks(0, true)
	works := time.Since(start)
	c.waitLine(0)
	t.Logf("the first line is known to work after %v and is taken after %v", works.Round(100*time.Millisecond), time.Since(start).Round(100*time.Millisecond))
	c.browses()
	c.waitSound()
}

// TestPagesFailInTurn: a line with DNS but without pages is left, too, and a line with slow DNS is left for a better one.
func TestPagesFailInTurn(t *testing.T) {
	t.Parallel()
	c := newChain(t, 7, map[int]string{2: "203.0.113.200", 3: netlab.DNSAddr.String()})
	c.answersItself(c.scene.Lenders[3]).to(code(dnsmessage.RCodeRefused)) // it is not used, because its donation has its own DNS server
	late, slow := c.answersItself(c.scene.Lenders[4]), atomic.Int64{}
	late.to(slowly(c.scene.Internet.Names.Reply, &slow))
	halves := c.scene.Lenders[5]
	c.run("ip", "route", "del", "default", "dev", halves.Interface)
	for _, half := range []string{"0.0.0.0/1", "128.0.0.0/1"} {
		c.run("ip", "route", "add", half, "via", halves.Gateway.String(), "dev", halves.Interface, "metric", "900")
	}
	c.begin()
	c.says(2, "ETH has a link and a route, but no answer from 203.0.113.200") // a dead line is detected before it is needed

	const shut = "the network behind ETH asks for a sign-in first"
	c.fails("a sign-in that begins later", 0, 1, shut, func(l *netlab.Lender) error { return c.signIn(l, "<title>Sign in</title>") })
	c.fails("all TCP is dropped", 1, 3, "ETH answers names, but no connection gets through", func(l *netlab.Lender) error {
		return c.firewall(l, "-I FORWARD -p tcp -j DROP")
	})
	c.fails("the data is used up", 3, 4, shut, func(l *netlab.Lender) error { return c.signIn(l, "<title>Your data is used up</title>") })

	// A slow line is left, but still counts as working.
	slow.Store(int64(4 * time.Second))
	c.waitLine(5)
	c.waitStatus("a slow line", func(s state.Status) error {
		if d := s.Donations[4]; !d.Works || !d.Slow {
			return fmt.Errorf("works: %t, slow: %t; %s", d.Works, d.Slow, d.Why)
		}
		return nil
	})
	c.browses()

	noise, quiet := context.WithCancel(t.Context())
	defer quiet()
	c.fails("a dead way out, with broadcasts in the lender's network", 5, 6, "ETH's gateway does not answer names", func(l *netlab.Lender) error {
		return errors.Join(c.shouts(noise, l), l.WAN.Cut())
	})
	c.must(c.scene.Lenders[6].LAN.Cut())
	c.waitLine(4) // slow is better than none
	c.browses()
}

// shouts broadcasts 80 kbit/s from a machine of the lender's network until ctx ends.
func (b *box) shouts(ctx context.Context, l *netlab.Lender) error {
	network := l.Box.Masked().Addr().As4()
	network[3] = 255
	conn, err := l.NAS.Dial(ctx, "udp", netip.AddrPortFrom(netip.AddrFrom4(network), 9).String())
	if err != nil {
		return err
	}
	b.t.Cleanup(func() { conn.Close() })
	context.AfterFunc(ctx, func() { conn.Close() })
	go func() {
		for {
			if _, err := conn.Write(make([]byte, 1000)); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	return nil
}

// queries makes the resident query a name that is in no cache, so that the line's DNS server has to answer.
func (b *box) queries(r *netlab.Resident) {
	b.t.Helper()
	b.fresh++
	name := fmt.Sprintf("n%d.fresh.example", b.fresh)
	b.scene.Internet.Names.Set(name, netlab.NewsAddr)
	r.LookupHost(b.t.Context(), name) // which may fail
}

// TestOnlyLine: with one line, the State is offline, with the reason. A slow line stays in use.
func TestOnlyLine(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{})
	r, l := b.scene.Residents[0], b.scene.Lenders[0]
	names, slow := b.answersItself(l), atomic.Int64{}
	names.to(slowly(b.scene.Internet.Names.Reply, &slow))
	b.start()
	b.waitState(state.Sharing)
	b.mustDo("clock", "--confirm")
	b.newcomer(r)
	offline := func(why string) {
		t.Helper()
		b.waitStatus("offline", func(s state.Status) error {
			if s.State != state.Offline || s.Why != why {
				return fmt.Errorf("%s: %s", s.State, s.Why)
			}
			return nil
		})
	}
	online := func() {
		t.Helper()
		b.waitState(state.Sharing)
		b.waitOnline(r)
		b.sessions(1)
	}
	b.waitStatus("proofs", func(s state.Status) error {
		if d := s.Donations[0]; d.ProvedNames.What == "" || d.ProvedPage.What == "" || fmt.Sprint(d.Servers) != "["+l.Gateway.String()+"]" {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
	if out := b.mustDo("status"); !strings.Contains(out, "DNS servers: "+l.Gateway.String()) || !strings.Contains(out, "proved ") {
		t.Errorf("status does not say what was proved:\n%s", out)
	}

	// DNS servers that cannot be reached through the line.
	for _, servers := range [][]netip.Addr{
		{netip.MustParseAddr("127.0.0.1")}, {netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("127.0.0.53")}, {},
	} {
		b.must(b.scene.Box.SetResolvers(servers...))
		why := "eth0 has no name server: write one as dns of the donation"
		if len(servers) > 0 {
			why = "eth0 has no name server that can be asked through it, only " + strings.Trim(strings.ReplaceAll(fmt.Sprint(servers), " ", ", "), "[]") +
				": write one as dns of the donation"
		}
		offline(why)
		b.must(b.scene.Box.SetResolvers(l.Gateway))
		online()
	}

	// A slow line: its session continues, and names resolve.
	slow.Store(int64(2200 * time.Millisecond))
	b.waitStatus("a slow line", func(s state.Status) error {
		b.queries(r)
		if d := s.Donations[0]; s.State != state.Sharing || !d.Slow {
			return fmt.Errorf("%s, slow: %t", s.State, d.Slow)
		}
		return nil
	})
	b.waitOnline(r)
	b.sessions(1)

	slow.Store(0)
	names.to(code(dnsmessage.RCodeRefused))
	wait(t, "the reason", func() error {
		b.queries(r)
		s, err := b.Status(b.t.Context())
		if want := "eth0 gives no names: 192.168.1.1 refuses every name"; err == nil && (s.State != state.Offline || s.Why != want) {
			err = fmt.Errorf("%s: %s", s.State, s.Why)
		}
		return err
	})
	names.to(b.scene.Internet.Names.Reply)
	online()
}
