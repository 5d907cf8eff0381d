package uplink

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/netctl/netlab"
)

const shut = "works=false known=true the network behind eth0 asks for a sign-in first"

func TestPortalIsSeenAndItsEnd(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		l.answer(gateway, answered)
		l.show(portal)
		l.p.Set([]Status{lent("eth0", gateway)})
		l.expect("0s eth0 192.168.1.1", "0s eth0 web by 192.168.1.1")
		l.result("eth0", shut)

		// It is asked for seldom: whether names are answered is asked as ever.
		time.Sleep(2*time.Minute - time.Second)
		synctest.Wait()
		if len(l.events) != 7 || strings.Contains(strings.Join(l.events, "\n"), "web") {
			t.Errorf("asked meanwhile: %q", l.events)
		}
		l.forget()
		time.Sleep(2 * time.Second)
		l.expect("2m0s eth0 192.168.1.1", "2m0s eth0 web by 192.168.1.1")

		// What comes back may come from the sign-in page, and no answer doesn't say that somebody has signed in.
		l.p.Alive("eth0")
		l.show(unseen)
		time.Sleep(3*time.Minute + 3*time.Second)
		l.result("eth0", shut)
		l.forget()

		l.show(open)
		l.p.Kick("eth0")
		l.expect("5m4s eth0 192.168.1.1", "5m4s eth0 web by 192.168.1.1")
		l.result("eth0", fine)
		if l.wakes != 1 {
			t.Errorf("%d wakes, want 1", l.wakes)
		}

		// While it leads where it should, kicks don't ask for it.
		time.Sleep(time.Second)
		l.p.Kick("eth0")
		l.expect("5m5s eth0 192.168.1.1")
	})
}

func TestWebIsAskedHourlyWhateverComesBack(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		l.answer(gateway, answered)
		l.show(open)
		l.p.Set([]Status{lent("eth0", gateway)})
		l.expect("0s eth0 192.168.1.1", "0s eth0 web by 192.168.1.1")
		for range 3599 {
			time.Sleep(time.Second)
			l.p.Alive("eth0")
		}
		l.expect()
		l.show(portal) // the sign-in has expired
		time.Sleep(time.Second)
		l.expect("1h0m0s eth0 192.168.1.1", "1h0m0s eth0 web by 192.168.1.1")
		l.result("eth0", shut)

		// Another network behind the same interface is asked anew.
		l.show(open)
		st := lent("eth0", second)
		l.answer(second, answered)
		time.Sleep(time.Second)
		l.p.Set([]Status{st})
		l.expect("1h0m1s eth0 192.0.2.53", "1h0m1s eth0 web by 192.0.2.53")
		l.result("eth0", fine)
	})
}

// Without names there is no web: it is asked as soon as there are.
func TestWebWaitsForNames(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		l.show(open)
		l.p.Set([]Status{lent("eth0", gateway)})
		time.Sleep(7 * time.Second)
		l.expect("0s eth0 192.168.1.1", "3s eth0 192.168.1.1", "6s eth0 192.168.1.1")
		l.answer(gateway, answered)
		time.Sleep(3 * time.Second)
		l.expect("9s eth0 192.168.1.1", "9s eth0 web by 192.168.1.1")
	})
}

// server answers one request with a text, and counts what is read of it.
type server struct {
	request bytes.Buffer
	answer  io.Reader
	read    int
}

func (s *server) Write(b []byte) (int, error) { return s.request.Write(b) }

func (s *server) Read(b []byte) (int, error) {
	n, err := s.answer.Read(b)
	s.read += n
	return n, err
}

func TestPageJudge(t *testing.T) {
	t.Parallel()
	text := Page{Host: "probe.example", Path: "/success.txt", Text: "success"}
	empty := Page{Host: "probe.example", Path: "/generate_204"}
	for name, c := range map[string]struct {
		page   Page
		answer string
		want   sight
	}{
		"the page":              {text, "HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\nsuccess\n", open},
		"its space is no one's": {text, "HTTP/1.1 200 OK\r\n\r\nsuccess\r\n", open},
		"in chunks": {
			text, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nsuccess\n\r\n0\r\n\r\n", open,
		},
		"no content":            {empty, "HTTP/1.1 204 No Content\r\n\r\n", open},
		"another page":          {text, "HTTP/1.1 200 OK\r\n\r\n<title>Sign in</title>", portal},
		"a page for no content": {empty, "HTTP/1.1 200 OK\r\n\r\nsuccess", portal},
		"a page without end":    {text, "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("success\n", 1000), portal},
		"cut short":             {text, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsucc", unseen},
		"a long page":           {text, "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n<title>", portal},
		"a redirect":            {text, "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n", portal},
		"for good":              {empty, "HTTP/1.1 301 Moved Permanently\r\nLocation: https://probe.example/\r\n\r\n", portal},
		"RFC 6585":              {text, "HTTP/1.1 511 Network Authentication Required\r\n\r\nSign in", portal},
		"no content for a page": {text, "HTTP/1.1 204 No Content\r\n\r\n", unseen},
		"forbidden":             {text, "HTTP/1.1 403 Forbidden\r\n\r\nfilter", unseen},
		"a server in trouble":   {text, "HTTP/1.1 502 Bad Gateway\r\n\r\n", unseen},
		"nothing":               {text, "", unseen},
		"no HTTP":               {text, "220 mail.example ESMTP\r\n", unseen},
		"a head without end":    {text, "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 10_000), unseen},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{answer: strings.NewReader(c.answer)}
			if got := c.page.judge(s); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if s.read > webBytes {
				t.Errorf("%d bytes are read, want %d at most", s.read, webBytes)
			}
			want := "GET " + c.page.Path + " HTTP/1.1\r\nHost: probe.example\r\n" +
				"User-Agent: passerelle\r\nConnection: close\r\n\r\n"
			if got := s.request.String(); got != want {
				t.Errorf("asked %q, want %q", got, want)
			}
		})
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	names := netlab.NewNames()
	names.Set("www.example", netlab.WebAddr)
	for host, want := range map[string]netip.Addr{"www.example": netlab.WebAddr, "nowhere.example": {}} {
		question, _, err := addressQuery(host)
		if err != nil {
			t.Fatal(err)
		}
		if got := parseAddress(names.Reply(question)); got != want {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
	if _, _, err := addressQuery("no..name"); err == nil {
		t.Error("no error of a host that is no name")
	}
	// Behind the name that the asked one stands for.
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true})
	b.StartAnswers()
	alias, host := dnsmessage.MustNewName("a.example."), dnsmessage.MustNewName("b.example.")
	in := dnsmessage.ResourceHeader{Name: alias, Class: dnsmessage.ClassINET}
	b.CNAMEResource(in, dnsmessage.CNAMEResource{CNAME: host})
	b.AResource(in, dnsmessage.AResource{A: second.As4()})
	answer, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if got := parseAddress(answer); got != second {
		t.Errorf("behind an alias: %v, want %v", got, second)
	}
}

func FuzzParseAddress(f *testing.F) {
	names := netlab.NewNames()
	names.Set("www.example", netlab.WebAddr)
	question, _, err := addressQuery("www.example")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(question)
	f.Add(names.Reply(question))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := parseAddress(data); got.IsValid() && !got.Is4() {
			t.Errorf("address %v of %x", got, data)
		}
	})
}

// A lender's router that asks for a sign-in: it answers every name with its own address, and every page with its own.
func TestPortalOnARealLine(t *testing.T) {
	l := layLine(t)
	web := netip.MustParseAddr("192.0.2.80")
	names := netlab.NewNames()
	l.must(l.router.AddAddress("lo", netip.PrefixFrom(web, 32)))
	l.must(l.router.ServePackets(netip.AddrPortFrom(gateway, 53), names.Reply))
	var signedIn, blocked atomic.Bool
	var asked atomic.Int32
	l.must(l.router.ServeHTTP(gateway.String()+":80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://login.example/", http.StatusFound)
	})))
	l.must(l.router.ServeHTTP(web.String()+":80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch {
		case blocked.Load():
			http.Error(w, "forbidden", http.StatusForbidden)
		case r.Host == "one.example" && r.URL.Path == "/success.txt" && r.URL.RawQuery == "ipv4":
			fmt.Fprintln(w, "success")
		default:
			http.NotFound(w, r)
		}
	})))
	resolve := func() {
		to := gateway
		if signedIn.Load() {
			to = web
		}
		names.Set("one.example", to)
		names.Set("two.example", to)
	}
	resolve()
	p := l.probe(
		Page{Host: "one.example", Path: "/success.txt?ipv4", Text: "success"}, Page{Host: "two.example", Path: "/"})
	await := func(want string) {
		t.Helper()
		eventually(t, want, func() bool {
			p.Kick("eth0")
			works, known, why := p.Result("eth0")
			return known && works == (want == "") && why == want
		})
	}
	p.Set([]Status{l.read()})
	await("the network behind eth0 asks for a sign-in first")
	if n := names.Asked("two.example"); n == 0 {
		t.Error("one page was enough to call a line shut")
	}
	beforeTx, beforeRx := p.Spent("eth0")
	signedIn.Store(true)
	resolve()
	await("")
	if asked.Load() == 0 {
		t.Error("the page was not asked for")
	}
	// What was counted is what crossed the cable, but for link headers and what closes connections.
	tx, rx := p.Spent("eth0")
	if sent, received := tx-beforeTx, rx-beforeRx; sent < 400 || sent > 2000 || received < 400 || received > 2000 {
		t.Errorf("a look at the web and a query took %d bytes out and %d back", sent, received)
	}
	st := l.read()
	if tx > st.TxBytes || rx > st.RxBytes {
		t.Errorf("counted are %d and %d bytes, but only %d and %d crossed the cable", tx, rx, st.TxBytes, st.RxBytes)
	}

	// A network where such pages are forbidden asks for no sign-in.
	blocked.Store(true)
	seen, _ := p.look(t.Context(), "eth0", gateway)
	if seen != unseen {
		t.Errorf("forbidden pages: %v", seen)
	}
	names.Set("one.example")
	names.Set("two.example")
	if seen, _ := p.look(t.Context(), "eth0", gateway); seen != unseen {
		t.Errorf("names that don't exist: %v", seen)
	}
}
