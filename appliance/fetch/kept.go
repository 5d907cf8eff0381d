package fetch

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// keptStep is how much of a kept connection is booked ahead. A power cut counts that much as used; a smaller step would write to the
// disk more often.
const keptStep = 64 << 10

// Obstacle returns why no connection may be made in a situation, "" if one may be made.
func (f *Fetcher) Obstacle(s Situation) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return s.obstacle(f.memory.left(s.Line))
}

// Dial connects to HOST:PORT over the line of a situation. It counts and books what the connection carries, like a download's bytes. The
// connection is closed when it has used what is left for it. The caller closes it when the line may no longer be used.
func (f *Fetcher) Dial(ctx context.Context, s Situation, address string) (net.Conn, error) {
	f.mu.Lock()
	left := f.memory.left(s.Line)
	if why := s.obstacle(left); why != "" {
		f.mu.Unlock()
		return nil, errors.New(why)
	}
	book := f.memory.book(*s.Line)
	f.mu.Unlock()
	t := &transfer{line: *s.Line, budget: left, dial: f.opt.Dial}
	used, cancel := context.WithCancelCause(context.WithoutCancel(ctx)) // the connection outlives the dialing
	t.cancel = cancel
	k := &kept{t: t, ctx: used, book: func(bytes uint64) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		book(bytes)
		return f.memory.save(f.opt.Path)
	}}
	if err := k.ahead(); err != nil {
		t.cancel(err)
		return nil, err
	}
	conn, err := t.connect(ctx, "", address)
	if err != nil {
		return nil, errors.Join(err, k.settle(err))
	}
	k.Conn = conn
	return k, nil
}

// kept is a kept connection, with what it has used.
type kept struct {
	net.Conn
	t   *transfer
	ctx context.Context // until it has used what is left for it

	mu     sync.Mutex // held while the disk is written
	book   func(bytes uint64) error
	booked uint64
	over   bool
}

// ahead books what may follow.
func (k *kept) ahead() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	used := k.t.used.Load()
	if k.over || used+keptStep/2 <= k.booked {
		return nil
	}
	k.booked = min(used+keptStep, max(k.t.budget, used))
	return k.book(k.booked)
}

// settle books what was used in the end, once.
func (k *kept) settle(why error) error {
	k.t.cancel(why)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return nil
	}
	k.over = true
	return k.book(k.t.used.Load())
}

// after is called after each read and write.
func (k *kept) after(n int, err error) (int, error) {
	if err != nil {
		return n, err
	}
	if cause := context.Cause(k.ctx); cause != nil {
		return n, errors.Join(cause, k.Close())
	}
	return n, k.ahead()
}

func (k *kept) Read(b []byte) (int, error) {
	began, before := time.Now(), k.t.used.Load()
	n, err := k.after(k.Conn.Read(b[:min(len(b), 16<<10)]))
	if wait := k.t.takes(k.t.used.Load()-before) - time.Since(began); wait > 0 && err == nil {
		select {
		case <-k.ctx.Done():
		case <-time.After(wait):
		}
	}
	return n, err
}

func (k *kept) Write(b []byte) (int, error) { return k.after(k.Conn.Write(b)) }

func (k *kept) Close() error { return errors.Join(k.Conn.Close(), k.settle(net.ErrClosed)) }
