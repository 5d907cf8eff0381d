package web

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Slots bound how many requests are worked on at once, of all servers that share them, and have clients take turns: of
// each that has something to do, one request is begun before another's second. So what a client's requests cost the others
// is bounded by how many clients there are, whatever it asks for and over how many connections, and what the program does
// besides finds a processor. A client is an address. Make them with NewSlots; they are safe for concurrent use.
type Slots struct {
	mu    sync.Mutex
	free  int
	lines map[netip.Addr]*line // of clients who wait
	turns []*line              // the same, whose turn is next first
}

// line is what waits of one client, in order.
type line struct {
	client netip.Addr
	waits  []chan struct{}
}

// NewSlots returns so many slots.
func NewSlots(n int) *Slots { return &Slots{free: n, lines: make(map[netip.Addr]*line)} }

// take waits for a slot.
func (s *Slots) take(client netip.Addr) {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return
	}
	l := s.lines[client]
	if l == nil {
		l = &line{client: client}
		s.lines[client] = l
		s.turns = append(s.turns, l)
	}
	mine := make(chan struct{})
	l.waits = append(l.waits, mine)
	s.mu.Unlock()
	<-mine
}

// give gives a slot back, to who is next.
func (s *Slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.turns) == 0 {
		s.free++
		return
	}
	l := s.turns[0]
	s.turns = s.turns[1:]
	close(l.waits[0])
	if l.waits = l.waits[1:]; len(l.waits) > 0 {
		s.turns = append(s.turns, l)
	} else {
		delete(s.lines, l.client)
	}
}

// Work is a connection's part in Slots. It has a slot from when a part of a request, or of a handshake, was received until
// the next is waited for, or the answer begins to be sent: nobody who is slow holds one.
type Work struct {
	slots  *Slots
	client netip.Addr
	held   atomic.Bool // it has a slot
	serves atomic.Bool // a handler is at work
}

// Work returns the part of one connection of a client.
func (s *Slots) Work(client netip.Addr) *Work { return &Work{slots: s, client: client} }

// Read reads from the connection. While a handler is at work net/http reads one byte to learn of the connection's end: that
// is nobody's request.
func (w *Work) Read(c net.Conn, b []byte) (int, error) {
	if w.serves.Load() || len(b) == 1 {
		return c.Read(b)
	}
	w.Yield()
	n, err := c.Read(b)
	if n > 0 {
		w.take()
	}
	return n, err
}

// Write writes to the connection.
func (w *Work) Write(c net.Conn, b []byte) (int, error) {
	w.Yield()
	return c.Write(b)
}

func (w *Work) take() {
	w.slots.take(w.client)
	w.held.Store(true)
}

// Yield gives the slot back, if there is one: when the connection ends, and before anything that waits for something else
// than a processor.
func (w *Work) Yield() {
	if w.held.CompareAndSwap(true, false) {
		w.slots.give()
	}
}

// worker is a connection that takes part in Slots.
type worker interface{ Work() *Work }

type workKey struct{}

// withWork notes a connection's part in its requests' context.
func withWork(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	if w, ok := c.(worker); ok {
		ctx = context.WithValue(ctx, workKey{}, w.Work())
	}
	return ctx
}

// working has h do its work in a slot.
func working(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if work, ok := r.Context().Value(workKey{}).(*Work); ok {
			work.serves.Store(true)
			defer work.serves.Store(false)
			if !work.held.Load() { // the request came together with the one before
				work.take()
			}
		}
		h.ServeHTTP(w, r)
	})
}

// Yield gives a request's slot back: a handler calls it before it waits for something else than a processor.
func Yield(r *http.Request) {
	if work, ok := r.Context().Value(workKey{}).(*Work); ok {
		work.Yield()
	}
}
