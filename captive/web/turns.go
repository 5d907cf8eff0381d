package web

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Turns bounds what is to be done for clients one after the other: so many things at once, and so many clients wait for
// theirs. Each client has one done and one waiting at most. Of those who wait they come first who had least lately, of
// equals who came first: so a client that asks for much waits behind all that ask for little. A client is an address. Make
// one with NewTurns; its methods are safe for concurrent use.
type Turns struct {
	atOnce, waiting int

	mu    sync.Mutex
	busy  map[netip.Addr]bool // who is being served
	queue []*turn             // who waits, the first first
}

// turn is one that is waited for.
type turn struct {
	client netip.Addr
	had    int
	told   chan bool // whether it has come: told once, without waiting
}

// NewTurns returns turns of which atOnce are taken at once, while so many more wait.
func NewTurns(atOnce, waiting int) *Turns {
	return &Turns{atOnce: atOnce, waiting: waiting, busy: make(map[netip.Addr]bool)}
}

// Take waits until it is the turn of the client, who had so much lately. It returns false at once if too many wait who had
// no more; and later if one who had less needs the place, if ctx ends, or if the client asks again meanwhile: what it asked
// last is what it still looks at, and takes the place in the queue. After true, done must be called.
func (t *Turns) Take(ctx context.Context, client netip.Addr, had int) (done func(), ok bool) {
	mine := &turn{client, had, make(chan bool, 1)}
	t.mu.Lock()
	if i := slices.IndexFunc(t.queue, func(other *turn) bool { return other.client == client }); i >= 0 {
		t.queue[i].told <- false
		t.queue[i] = mine
	} else {
		i, _ = slices.BinarySearchFunc(t.queue, had, func(other *turn, had int) int { return cmp.Compare(other.had, had+1) })
		t.queue = slices.Insert(t.queue, i, mine)
		t.next()
		if last := len(t.queue) - 1; last >= t.waiting {
			t.queue[last].told <- false
			t.queue = t.queue[:last]
		}
	}
	t.mu.Unlock()
	select {
	case ok = <-mine.told:
	case <-ctx.Done():
		ok = !t.leave(mine)
	}
	return func() { t.done(client) }, ok
}

// leave takes a turn out of the queue. It returns whether it was there, or had been refused.
func (t *Turns) leave(mine *turn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.queue, mine); i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
		return true
	}
	return !<-mine.told
}

func (t *Turns) done(client netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, client)
	t.next()
}

// next has those begin who may.
func (t *Turns) next() {
	for len(t.busy) < t.atOnce {
		i := slices.IndexFunc(t.queue, func(waits *turn) bool { return !t.busy[waits.client] })
		if i < 0 {
			return
		}
		first := t.queue[i]
		t.queue = slices.Delete(t.queue, i, i+1)
		t.busy[first.client] = true
		first.told <- true
	}
}

// maxAllowed bounds the clients that an Allowance remembers: four times the residents of a /22.
const maxAllowed = 4096

// Allowance bounds how often each client may do something: so many times at once, and then once in a while. Make one with
// NewAllowance; its methods are safe for concurrent use.
type Allowance struct {
	burst int
	every time.Duration

	mu    sync.Mutex
	whole map[netip.Addr]time.Time // when a client has all of its allowance again; who is not there has it
}

// NewAllowance returns an allowance of burst times, one of which comes back every so often.
func NewAllowance(burst int, every time.Duration) *Allowance {
	return &Allowance{burst: burst, every: every, whole: make(map[netip.Addr]time.Time)}
}

// Take takes one of the client's times, and returns how many it has had lately besides. If none is left ok is false.
func (a *Allowance) Take(client netip.Addr, now time.Time) (had int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	whole, known := a.whole[client]
	if whole.Before(now) {
		whole = now
	}
	had = int((whole.Sub(now) + a.every - 1) / a.every)
	if had >= a.burst {
		return had, false
	}
	if !known && len(a.whole) >= maxAllowed {
		a.forget(now)
	}
	a.whole[client] = whole.Add(a.every)
	return had, true
}

// forget makes room: who has all of it again is forgotten, or who has it soonest.
func (a *Allowance) forget(now time.Time) {
	var soonest netip.Addr
	for client, whole := range a.whole {
		if !whole.After(now) {
			delete(a.whole, client)
		} else if first, ok := a.whole[soonest]; !ok || whole.Before(first) {
			soonest = client
		}
	}
	if len(a.whole) >= maxAllowed {
		delete(a.whole, soonest)
	}
}
