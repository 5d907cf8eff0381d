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

// Slots bound the number of requests served at once by all servers that share them. Clients are served round robin: each waiting
// client has one request started before any client has a second. So a request waits for at most one request of each other client,
// whatever a client requests and over how many connections, and the rest of the program gets its processor time. A client is an
// address. Create Slots with NewSlots; they are safe for concurrent use.
type Slots struct {
	mu     sync.Mutex
	free   int
	queues map[netip.Addr]*queue // of waiting clients
	turns  []*queue              // the same queues in the order in which they are served
}

// queue is the queue of one client.
type queue struct {
	client netip.Addr
	waits  []chan struct{}
}

// NewSlots returns n slots.
func NewSlots(n int) *Slots { return &Slots{free: n, queues: make(map[netip.Addr]*queue)} }

// acquire waits for a slot.
func (s *Slots) acquire(client netip.Addr) {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return
	}
	l := s.queues[client]
	if l == nil {
		l = &queue{client: client}
		s.queues[client] = l
		s.turns = append(s.turns, l)
	}
	mine := make(chan struct{})
	l.waits = append(l.waits, mine)
	s.mu.Unlock()
	<-mine
}

// release returns a slot. It goes to the client whose turn it is, if any waits.
func (s *Slots) release() {
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
		delete(s.queues, l.client)
	}
}

// Work is a connection's part in Slots. It holds a slot from when it received a part of a request or of a handshake until it waits
// for the next part or begins to send the answer. So a slow client does not hold a slot while it is waited for.
type Work struct {
	slots  *Slots
	client netip.Addr
	held   atomic.Bool // it holds a slot
	serves atomic.Bool // a handler is running
}

// Work returns the part of one connection of a client.
func (s *Slots) Work(client netip.Addr) *Work { return &Work{slots: s, client: client} }

// Read reads from the connection, and acquires a slot for what it read. While a handler runs, net/http reads one byte to notice the
// connection's end. That read is not a request and leaves the slot as it is.
func (w *Work) Read(c net.Conn, b []byte) (int, error) {
	if w.serves.Load() || len(b) == 1 {
		return c.Read(b)
	}
	w.Yield()
	n, err := c.Read(b)
	if n > 0 {
		w.acquire()
	}
	return n, err
}

// Write returns the slot, then writes to the connection.
func (w *Work) Write(c net.Conn, b []byte) (int, error) {
	w.Yield()
	return c.Write(b)
}

func (w *Work) acquire() {
	w.slots.acquire(w.client)
	w.held.Store(true)
}

// Yield returns the slot, if one is held. It is called when the connection ends, and before a wait for anything but the processor.
func (w *Work) Yield() {
	if w.held.CompareAndSwap(true, false) {
		w.slots.release()
	}
}

// worker is a connection with a part in Slots.
type worker interface{ Work() *Work }

type workKey struct{}

// withWork adds a connection's part to its requests' context.
func withWork(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	if w, ok := c.(worker); ok {
		ctx = context.WithValue(ctx, workKey{}, w.Work())
	}
	return ctx
}

// inSlot runs h in a slot.
func inSlot(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if work, ok := r.Context().Value(workKey{}).(*Work); ok {
			work.serves.Store(true)
			defer work.serves.Store(false)
			if !work.held.Load() { // the request was pipelined: it arrived together with the previous one
				work.acquire()
			}
		}
		h.ServeHTTP(w, r)
	})
}

// Yield returns a request's slot. A handler calls it before a wait for anything but the processor.
func Yield(r *http.Request) {
	if work, ok := r.Context().Value(workKey{}).(*Work); ok {
		work.Yield()
	}
}
