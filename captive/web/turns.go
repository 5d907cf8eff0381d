package web

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Turns bounds the tasks for clients: so many run at once, and so many clients wait. Each client has one running and one
// waiting at most. Those with the least lately are served first, and equals in order of arrival: a client that asks for much
// waits behind all that ask for little. Nobody waits longer than an answer can be written afterwards. A client is an address.
// Create one with NewTurns; its methods are safe for concurrent use.
type Turns struct {
	atOnce, waiting int

	mu    sync.Mutex
	busy  map[netip.Addr]bool // clients being served
	queue []*turn             // those waiting, in order of arrival
}

// turn is a waiting request.
type turn struct {
	client netip.Addr
	had    int
	result chan bool // the result, sent once, without blocking
}

// maxWait is how long a client waits at most. The rest of writeTimeout is for its task and the answer: an answer after it would end the
// connection instead, which a browser shows as an error of its own.
const maxWait = writeTimeout / 2

// NewTurns returns turns of which atOnce run at once, while up to waiting clients wait.
func NewTurns(atOnce, waiting int) *Turns {
	return &Turns{atOnce: atOnce, waiting: waiting, busy: make(map[netip.Addr]bool)}
}

// Take waits for the turn of a client that had so many lately. It returns false at once if too many wait with no more than
// that. It returns false later if a client with less needs the place, after maxWait, if ctx ends, or if the client asks again: its
// last request is the one that it waits for, and keeps the place in the queue. After true, done must be called.
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

// leave removes a turn from the queue. It returns whether it was there, or had been refused.
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

// next starts those whose turn it is.
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

// maxAllowed bounds the clients in an Allowance: four times the residents of a /22.
const maxAllowed = 4096

// Allowance is a rate limit for each client: a burst, and then one per interval. Create one with NewAllowance; its methods
// are safe for concurrent use.
type Allowance struct {
	burst int
	every time.Duration

	mu     sync.Mutex
	fullAt map[netip.Addr]time.Time // when a client's allowance is full again; a missing client's is full
}

// NewAllowance returns an allowance of burst times, refilled by one per interval.
func NewAllowance(burst int, every time.Duration) *Allowance {
	return &Allowance{burst: burst, every: every, fullAt: make(map[netip.Addr]time.Time)}
}

// Take uses one of the client's times, and returns how many others it used lately. If none is left ok is false.
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

// forget makes room: it drops clients whose allowance is full, or the one whose is full soonest.
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
