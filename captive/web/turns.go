package web

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Turns bounds the tasks run for clients, and the number of clients that wait. Each client has at most one task running and one
// waiting. Clients that had the fewest tasks lately are served first, and equal ones in order of arrival, so a client that asks
// often waits behind those that ask rarely. A wait ends while there is still time to write an answer: see maxWait. A client is an
// address. Create one with NewTurns; its methods are safe for concurrent use.
type Turns struct {
	atOnce, waiting int

	mu    sync.Mutex
	busy  map[netip.Addr]bool // clients being served
	queue []*turn             // those waiting, in the order in which they are served
}

// turn is a waiting request.
type turn struct {
	client netip.Addr
	had    int       // tasks that the client had lately
	result chan bool // the result of Take; sent once, never blocks
}

// maxWait is the longest wait of a client. The rest of writeTimeout is for its task and the answer: after writeTimeout the answer is
// lost and the connection ends, which a browser shows as an error of its own.
const maxWait = writeTimeout / 2

// NewTurns returns Turns that run atOnce tasks at once, while up to waiting clients wait.
func NewTurns(atOnce, waiting int) *Turns {
	return &Turns{atOnce: atOnce, waiting: waiting, busy: make(map[netip.Addr]bool)}
}

// Take waits for the turn of a client that had that many tasks lately. It returns false at once if the queue is full of clients that
// had no more. It returns false later if a client that had fewer needs the place, after maxWait, if ctx ends, or if the client asks
// again: its newest request takes the older one's place in the queue. If ok is true, the caller must call done.
func (t *Turns) Take(ctx context.Context, client netip.Addr, had int) (done func(), ok bool) {
	mine := &turn{client, had, make(chan bool, 1)}
	t.mu.Lock()
	if i := slices.IndexFunc(t.queue, func(other *turn) bool { return other.client == client }); i >= 0 {
		t.queue[i].result <- false
		t.queue[i] = mine
	} else {
		i, _ = slices.BinarySearchFunc(t.queue, had, func(other *turn, had int) int { return cmp.Compare(other.had, had+1) })
		t.queue = slices.Insert(t.queue, i, mine)
		t.next()
		if last := len(t.queue) - 1; last >= t.waiting {
			t.queue[last].result <- false
			t.queue = t.queue[:last]
		}
	}
	t.mu.Unlock()
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case ok = <-mine.result:
	case <-timer.C:
		ok = !t.leave(mine)
	case <-ctx.Done():
		ok = !t.leave(mine)
	}
	return func() { t.done(client) }, ok
}

// leave removes a turn from the queue. It returns true if the turn was still waiting or had been refused, false if it was granted.
func (t *Turns) leave(mine *turn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.queue, mine); i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
		return true
	}
	return !<-mine.result
}

func (t *Turns) done(client netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, client)
	t.next()
}

// next starts tasks while fewer than atOnce run, skipping clients that have one running.
func (t *Turns) next() {
	for len(t.busy) < t.atOnce {
		i := slices.IndexFunc(t.queue, func(waits *turn) bool { return !t.busy[waits.client] })
		if i < 0 {
			return
		}
		first := t.queue[i]
		t.queue = slices.Delete(t.queue, i, i+1)
		t.busy[first.client] = true
		first.result <- true
	}
}

// maxAllowed bounds the clients in an Allowance: four times the addresses of a /22.
const maxAllowed = 4096

// Allowance is a rate limit for each client, by a token bucket: a burst, and then one per interval. Create one with NewAllowance; its
// methods are safe for concurrent use.
type Allowance struct {
	burst int
	every time.Duration

	mu     sync.Mutex
	fullAt map[netip.Addr]time.Time // when a client's bucket is full again; that of a missing client is full
}

// NewAllowance returns an Allowance of burst tokens for each client, refilled by one token per interval.
func NewAllowance(burst int, every time.Duration) *Allowance {
	return &Allowance{burst: burst, every: every, fullAt: make(map[netip.Addr]time.Time)}
}

// Take takes one of the client's tokens, and returns how many others are not refilled yet. If no token is left, ok is false.
func (a *Allowance) Take(client netip.Addr, now time.Time) (had int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	whole, known := a.fullAt[client]
	if whole.Before(now) {
		whole = now
	}
	had = int((whole.Sub(now) + a.every - 1) / a.every)
	if had >= a.burst {
		return had, false
	}
	if !known && len(a.fullAt) >= maxAllowed {
		a.forget(now)
	}
	a.fullAt[client] = whole.Add(a.every)
	return had, true
}

// Return gives back a token that the client took for nothing.
func (a *Allowance) Return(client netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if whole, known := a.fullAt[client]; known {
		a.fullAt[client] = whole.Add(-a.every)
	}
}

// forget makes room: it drops the clients whose bucket is full, or else the client whose bucket is full soonest.
func (a *Allowance) forget(now time.Time) {
	var soonest netip.Addr
	for client, whole := range a.fullAt {
		if !whole.After(now) {
			delete(a.fullAt, client)
		} else if first, ok := a.fullAt[soonest]; !ok || whole.Before(first) {
			soonest = client
		}
	}
	if len(a.fullAt) >= maxAllowed {
		delete(a.fullAt, soonest)
	}
}
