package web

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func client(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 80, byte(n >> 8), byte(n)}) }

// asker requests turns, each of which takes a second, and records how they went.
type asker struct {
	turns *Turns
	mu    sync.Mutex
	told  []string
}

func (a *asker) note(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, what)
}

func (a *asker) ask(ctx context.Context, who int, name string) { a.askAfter(ctx, who, 0, name) }

// askAfter requests a turn for a client that had that many tasks lately.
func (a *asker) askAfter(ctx context.Context, who, had int, name string) {
	go func() {
		done, ok := a.turns.Take(ctx, client(who), had)
		if !ok {
			a.note(name + " refused")
			return
		}
		time.Sleep(time.Second)
		a.note(name)
		done()
	}()
	time.Sleep(time.Millisecond) // one after the other
}

func (a *asker) expect(t *testing.T, want ...string) {
	t.Helper()
	time.Sleep(time.Minute)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(a.told, want) {
		t.Errorf("told %q, want %q", a.told, want)
	}
	a.told = nil
}

func TestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &asker{turns: NewTurns(1, 2)}
		ctx := t.Context()

		// A client that asks again waits behind the others; its last request replaces its earlier one.
		for _, name := range []string{"1a", "1b", "1c", "1d"} {
			a.ask(ctx, 1, name)
		}
		a.ask(ctx, 2, "2a")
		a.ask(ctx, 3, "3a") // two wait
		a.expect(t, "1b refused", "1c refused", "3a refused", "1a", "1d", "2a")

		// A client that went away leaves the queue and makes room.
		a.ask(ctx, 1, "1a")
		gone, leave := context.WithCancel(ctx)
		a.ask(gone, 2, "2a")
		a.ask(ctx, 3, "3a")
		leave()
		synctest.Wait()
		a.ask(ctx, 4, "4a")
		a.expect(t, "2a refused", "1a", "3a", "4a")

		// A client that had fewer tasks comes first, and takes the place of one that had more.
		a.askAfter(ctx, 1, 0, "1")
		a.askAfter(ctx, 2, 9, "2")
		a.askAfter(ctx, 3, 3, "3")
		a.askAfter(ctx, 4, 9, "4")
		a.askAfter(ctx, 5, 3, "5")
		a.askAfter(ctx, 6, 0, "6")
		a.expect(t, "4 refused", "2 refused", "5 refused", "1", "6", "3")

		// Several tasks run at once, but no two of one client.
		a.turns = NewTurns(3, 0)
		for who := range 4 {
			a.ask(ctx, who/2, string(rune('a'+who)))
		}
		a.expect(t, "b refused", "d refused", "a", "c")

		// A client that has waited so long that the answer would be too late is refused, and its place is free again.
		a.turns = NewTurns(1, 20)
		for who := range 10 {
			a.ask(ctx, who, string(rune('a'+who)))
		}
		time.Sleep(maxWait)
		a.ask(ctx, 10, "k")
		a.expect(t, "a", "b", "c", "d", "e", "f", "g", "i refused", "j refused", "h", "k")
	})
}

// Whatever is requested, the bounds hold, every request is answered, and a client with one request at a time waits for at
// most one request of each other client.
func TestTurnsAreFair(t *testing.T) {
	t.Parallel()
	const atOnce, waiting, greedy = 2, 40, 30
	synctest.Test(t, func(t *testing.T) {
		turns := NewTurns(atOnce, waiting)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var running, refused, served atomic.Int32
		work := func(ctx context.Context, who int, takes time.Duration) bool {
			done, ok := turns.Take(ctx, client(who), 0)
			if !ok {
				refused.Add(1)
				return false
			}
			defer done()
			if n := running.Add(1); n > atOnce {
				t.Errorf("%d at once", n)
			}
			time.Sleep(takes)
			running.Add(-1)
			served.Add(1)
			return true
		}
		random := rand.New(rand.NewPCG(1, 2))
		for who := range greedy {
			for range 6 {
				pause := time.Duration(1+random.IntN(10)) * time.Millisecond
				go func() {
					for ctx.Err() == nil {
						mine, leave := context.WithTimeout(ctx, 37*pause) // some go away before their turn
						work(mine, who, 10*time.Millisecond)
						leave()
						time.Sleep(pause)
					}
				}()
			}
		}
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			began := time.Now()
			if !work(ctx, 1000, time.Millisecond) {
				t.Fatal("a client that asks little was refused")
			}
			if waited := time.Since(began); waited > (greedy+atOnce)*10*time.Millisecond/atOnce+time.Millisecond {
				t.Fatalf("it waited %v", waited)
			}
		}
		stop()
		synctest.Wait()
		time.Sleep(time.Minute)
		turns.mu.Lock()
		defer turns.mu.Unlock()
		if len(turns.busy) > 0 || len(turns.queue) > 0 {
			t.Errorf("%d are at work and %d wait, of nobody", len(turns.busy), len(turns.queue))
		}
		if refused.Load() < 300 || served.Load() < 300 {
			t.Errorf("%d refusals and %d turns prove little", refused.Load(), served.Load())
		}
	})
}

func TestAllowance(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := NewAllowance(3, time.Second)
	take := func(who, wantHad int, want bool) {
		t.Helper()
		if had, ok := a.Take(client(who), now); had != wantHad || ok != want {
			t.Errorf("client %d had %d before, %v; want %d, %v", who, had, ok, wantHad, want)
		}
	}
	for had := range 3 {
		take(1, had, true)
	}
	take(1, 3, false)
	take(1, 3, false) // refused requests do not count
	take(2, 0, true)
	now = now.Add(400 * time.Millisecond)
	take(1, 3, false)
	now = now.Add(600 * time.Millisecond)
	take(1, 2, true)
	take(1, 3, false)
	now = now.Add(time.Hour)
	for had := range 3 {
		take(1, had, true)
	}
	take(1, 3, false)

	// The number of remembered clients is bounded; the client that used most is forgotten last.
	for who := range maxAllowed + 100 {
		take(10+who, 0, true)
	}
	take(1, 3, false)
	if len(a.fullAt) > maxAllowed {
		t.Errorf("%d clients are remembered", len(a.fullAt))
	}

	// A token that is given back can be taken again; there are never more than the burst.
	a = NewAllowance(3, time.Second)
	for had := range 3 {
		take(1, had, true)
	}
	a.Return(client(1))
	take(1, 2, true)
	take(1, 3, false)
	a.Return(client(2)) // it has taken none
	take(3, 0, true)
	now = now.Add(time.Hour)
	a.Return(client(3)) // the token is refilled
	for who := 2; who <= 3; who++ {
		for had := range 3 {
			take(who, had, true)
		}
		take(who, 3, false)
	}
}
