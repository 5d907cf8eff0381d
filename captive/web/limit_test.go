package web

import (
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/captive/web/webtest"
)

// serveLimited serves a short page on loopback within the bounds, until the test ends.
func serveLimited(t testing.TB) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a page") })
	server, served := NewServer(page, slog.New(slog.DiscardHandler)), make(chan error, 1)
	go func() { served <- server.Serve(Limit(l, NewSlots(2))) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return l.Addr().String()
}

// One resident's incomplete requests keep no other resident from the page.
func TestHalfOpenConnectionsOfOne(t *testing.T) {
	t.Parallel()
	addr := serveLimited(t)
	const halves = 500
	var conns []net.Conn
	for i := range halves {
		c, err := webtest.DialFrom(t, "127.0.0.2", addr)
		if err == nil {
			_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: ")
		}
		if err == nil {
			conns = append(conns, c)
		} else if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Fatal(err)
		}
		if i%10 > 0 {
			continue
		}
		if res, err := webtest.Exchange(t, "127.0.0.3", addr, webtest.GetFirst); err != nil || !strings.HasPrefix(res, "HTTP/1.1 200 OK") {
			t.Fatalf("another resident beside %d half-open connections got %.40q, %v", i+1, res, err)
		}
	}
	// Connections are accepted in order: once this one is served, all before it were accepted or reset.
	if res, err := webtest.Exchange(t, "127.0.0.3", addr, webtest.GetFirst); err != nil || !strings.HasPrefix(res, "HTTP/1.1 200 OK") {
		t.Fatalf("another resident got %.40q, %v", res, err)
	}
	held := 0
	for _, c := range conns {
		c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			held++ // it waits, or was closed because it was slow
		}
	}
	if held > connsPerClient {
		t.Errorf("%d connections of one resident were taken, more than %d", held, connsPerClient)
	}
	if held == 0 {
		t.Error("none was taken: the other resident had no competition")
	}
}

// A closed connection's place can be used again.
func TestClosedConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	addr := serveLimited(t)
	for i := range 3 * connsPerClient {
		if res, err := webtest.Exchange(t, "127.0.0.2", addr, webtest.GetFirst); err != nil || !strings.HasPrefix(res, "HTTP/1.1 200 OK") {
			t.Fatalf("request %d got %.40q, %v", i+1, res, err)
		}
	}
}

// stubConn is a connection with only an address and a Close.
type stubConn struct {
	net.Conn
	from   net.Addr
	closed *bool
}

func (c stubConn) RemoteAddr() net.Addr { return c.from }
func (c stubConn) Close() error         { *c.closed = true; return nil }

// In any sequence of connections the bounds hold, a client without connections gets one, and only the client with the most loses
// any.
func TestLimitIsFair(t *testing.T) {
	t.Parallel()
	const perClient, inAll, clients = 4, 20, 12
	random := rand.New(rand.NewPCG(1, 2))
	l := limit(nil, NewSlots(1), perClient, inAll)
	var open []*limited
	held := func(a netip.Addr) int { return len(l.clients[a]) }
	refusals, evictions := 0, 0
	for range 20_000 {
		if len(open) > 0 && random.IntN(5) < 2 {
			i := random.IntN(len(open))
			open[i].Close()
			open[i].Close() // net/http closes more than once
			open = append(open[:i], open[i+1:]...)
		}
		from := netip.AddrFrom4([4]byte{10, 80, 0, byte(random.IntN(clients))})
		before, most, full := held(from), 0, l.open == inAll
		for a := range l.clients {
			most = max(most, held(a))
		}
		in, out := l.enter(stubConn{from: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 1)), closed: new(bool)})
		if in == nil {
			refusals++
			if before == 0 {
				t.Fatal("somebody without a connection was refused")
			}
			if before < perClient && (!full || before < most) {
				t.Fatalf("somebody with %d was refused; the most is %d, full: %v", before, most, full)
			}
			continue
		}
		if out != nil {
			evictions++
			for i, c := range open {
				if c.Conn == out {
					if held(c.client) != most-1 && c.client != from {
						t.Fatalf("somebody with %d gave up one, where the most was %d", held(c.client)+1, most)
					}
					open = append(open[:i], open[i+1:]...)
					c.Close()
					break
				}
			}
		}
		open = append(open, in)
		sum := 0
		for a := range l.clients {
			sum += held(a)
			if held(a) > perClient || held(a) == 0 {
				t.Fatalf("somebody holds %d", held(a))
			}
		}
		if sum != l.open || sum != len(open) || sum > inAll {
			t.Fatalf("%d are open, %d are counted, %d are held", len(open), l.open, sum)
		}
	}
	if refusals < 100 || evictions < 100 {
		t.Errorf("%d refusals and %d evictions prove little", refusals, evictions)
	}
}
