package captive

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/captive/web"
)

// serve serves s on loopback as the box does, until the test ends.
func serve(t testing.TB, s *Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, served := s.HTTPServer(), make(chan error, 1)
	go func() { served <- server.Serve(Limit(l, web.NewSlots(2))) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return l.Addr().String()
}

// dialFrom connects from one of loopback's addresses.
func dialFrom(t testing.TB, from, to string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	return c, c.SetDeadline(time.Now().Add(20 * time.Second))
}

// exchange sends raw bytes from an address and returns all that comes back until the server closes.
func exchange(t testing.TB, from, to, raw string) (string, error) {
	t.Helper()
	c, err := dialFrom(t, from, to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := io.WriteString(c, raw); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

const getFirst = "GET / HTTP/1.1\r\nHost: 10.80.0.1\r\nConnection: close\r\n\r\n"

// One resident's half-open requests keep nobody else from the page.
func TestHalfOpenConnectionsOfOne(t *testing.T) {
	t.Parallel()
	addr := serve(t, newServer(newFakeBox()))
	const halves = 500
	var conns []net.Conn
	for i := range halves {
		c, err := dialFrom(t, "127.0.0.2", addr)
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
		if res, err := exchange(t, "127.0.0.3", addr, getFirst); err != nil || !strings.HasPrefix(res, "HTTP/1.1 200 OK") {
			t.Fatalf("another resident beside %d half-open connections got %.40q, %v", i+1, res, err)
		}
	}
	// Connections are accepted in turn: once this one is served, all before it were taken or reset.
	if res, err := exchange(t, "127.0.0.3", addr, getFirst); err != nil || !strings.HasPrefix(res, "HTTP/1.1 200 OK") {
		t.Fatalf("another resident got %.40q, %v", res, err)
	}
	held := 0
	for _, c := range conns {
		c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			held++ // it waits, or was closed for its slowness
		}
	}
	if held > connsPerClient {
		t.Errorf("%d connections of one resident were taken, more than %d", held, connsPerClient)
	}
	if held == 0 {
		t.Error("none was taken: the other resident had no competition")
	}
}

// Places that are given up can be taken again.
func TestClosedConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	addr := serve(t, newServer(newFakeBox()))
	for i := range 3 * connsPerClient {
		if res, err := exchange(t, "127.0.0.2", addr, getFirst); err != nil || !strings.HasPrefix(res, "HTTP/1.1 200 OK") {
			t.Fatalf("request %d got %.40q, %v", i+1, res, err)
		}
	}
}

// stubConn is a connection of which only the address and the end matter.
type stubConn struct {
	net.Conn
	from   net.Addr
	closed *bool
}

func (c stubConn) RemoteAddr() net.Addr { return c.from }
func (c stubConn) Close() error         { *c.closed = true; return nil }

// Whatever comes and goes: the bounds hold, who has nothing gets in, and only who holds most gives up anything.
func TestLimitIsFair(t *testing.T) {
	t.Parallel()
	const perClient, inAll, clients = 4, 20, 12
	random := rand.New(rand.NewPCG(1, 2))
	l := limit(nil, web.NewSlots(1), perClient, inAll)
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
