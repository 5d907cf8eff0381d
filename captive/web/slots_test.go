package web

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Whatever clients request, no more requests run at once than there are slots, and a client with one request waits for at most one
// request of each other client.
func TestSlotsAreFair(t *testing.T) {
	t.Parallel()
	const slots, greedy, piece = 2, 30, 10 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(slots)
		var stop atomic.Bool
		var running atomic.Int32
		work := func(w *Work, takes time.Duration) {
			w.acquire()
			if n := running.Add(1); n > slots {
				t.Errorf("%d at once", n)
			}
			time.Sleep(takes)
			running.Add(-1)
			w.Yield()
			w.Yield() // Yield is idempotent
		}
		for who := range greedy {
			for range 20 {
				go func() {
					for w := s.Work(client(who)); !stop.Load(); {
						work(w, piece)
					}
				}()
			}
		}
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			began := time.Now()
			work(s.Work(client(1000)), 0)
			if waited := time.Since(began); waited > (greedy/slots+1)*piece {
				t.Fatalf("a client that wants little waited %v", waited)
			}
		}
		stop.Store(true)
		time.Sleep(time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.free != slots || len(s.queues) > 0 || len(s.turns) > 0 {
			t.Errorf("in the end %d slots are free, %d clients wait", s.free, len(s.turns))
		}
	})
}

// slotted gives accepted connections a part in slots, each as that of a different client.
type slotted struct {
	net.Listener
	slots *Slots
	n     int
}

type slottedConn struct {
	net.Conn
	work *Work
}

func (l *slotted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.n++
	return slottedConn{c, l.slots.Work(netip.AddrFrom4([4]byte{10, 80, 0, byte(l.n)}))}, nil
}

func (c slottedConn) Work() *Work                 { return c.work }
func (c slottedConn) Read(b []byte) (int, error)  { return c.work.Read(c.Conn, b) }
func (c slottedConn) Write(b []byte) (int, error) { return c.work.Write(c.Conn, b) }
func (c slottedConn) Close() error {
	c.work.Yield()
	return c.Conn.Close()
}

// With one slot, one request is served at a time, however it arrives. Others are served whatever delays a request: a header or a body
// that does not arrive, an answer that is not read, or a handler that waits.
func TestRequestsInSlots(t *testing.T) {
	t.Parallel()
	slots := NewSlots(1)
	var running atomic.Int32
	free := make(chan struct{})
	const large = 8 << 20
	server := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/waits":
			Yield(r)
			<-free
		case "/large":
			io.WriteString(w, strings.Repeat("x", large))
		case "/changes":
			w.WriteHeader(CheckPOST(w, r))
		default:
			if n := running.Add(1); n > 1 {
				t.Errorf("%d requests are worked on at once", n)
			}
			time.Sleep(time.Millisecond) // for others to come
			running.Add(-1)
			io.WriteString(w, "the page")
		}
	}), slog.New(slog.DiscardHandler))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(&slotted{Listener: l, slots: slots}) }()
	t.Cleanup(func() {
		server.Close()
		<-served
		for limit := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			slots.mu.Lock()
			free := slots.free
			slots.mu.Unlock()
			if free == 1 {
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("in the end %d slots are free", free)
			}
		}
	})
	say := func(text string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		return c
	}
	const get, end = "GET / HTTP/1.1\r\nHost: a\r\n", "Connection: close\r\n\r\n"
	answered := func(c net.Conn, times int) {
		t.Helper()
		if b, err := io.ReadAll(c); err != nil || strings.Count(string(b), "the page") != times {
			t.Errorf("answered %d times, want %d; %v", strings.Count(string(b), "the page"), times, err)
		}
	}
	say(get + "X-")
	say("POST /changes HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
	say("GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
	say("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
	var all []net.Conn
	for range 20 {
		all = append(all, say(strings.Repeat(get+"\r\n", 4)+get+end)) // five in one segment
	}
	for _, c := range all {
		answered(c, 5)
	}
	close(free)
}
