package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// What the daemon logs of one kind is bounded: so many bytes at once, and then so many a minute. A line of a kind that has
// used this up is held back until there is room again; of several only the last is written then, and says how many were
// left out before it. A kind is a level and a message, and of what children say the child: residents can bring about lines
// of some eight kinds (requests, handshakes and presses that fail, what two dnsmasq and hostapd say, changes in the
// kernel), which makes 10 kB in a minute at the most, and 2 kB in each that follows. No kind takes another's room:
// whatever residents do, the box's own lines are written, and the last line of each kind says how things are.
const (
	logBurst = 900 // bytes
	logRate  = 200 // bytes a minute
)

// logKind is what lines have in common that are bounded together. There are as many as the program has messages.
type logKind struct {
	level          slog.Level
	message, child string
}

func kindOf(r slog.Record) logKind {
	k := logKind{level: r.Level, message: r.Message}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "child" {
			k.child = a.Value.String()
		}
		return k.child == ""
	})
	return k
}

// boundedLog is the handler of the daemon's log.
type boundedLog struct {
	slog.Handler
	*logBounds
}

// newLog returns a handler that writes lines of text. Close it in the end.
func newLog(out io.Writer, level slog.Level) boundedLog {
	b := &logBounds{out: out, kinds: make(map[logKind]*allowed)}
	return boundedLog{slog.NewTextHandler(b, &slog.HandlerOptions{Level: level}), b}
}

func (b boundedLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return boundedLog{b.Handler.WithAttrs(attrs), b.logBounds}
}

func (b boundedLog) WithGroup(name string) slog.Handler {
	return boundedLog{b.Handler.WithGroup(name), b.logBounds}
}

// Handle writes a record, now or later.
func (b boundedLog) Handle(ctx context.Context, r slog.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := kindOf(r)
	a := b.kinds[k]
	if a == nil {
		a = &allowed{bytes: logBurst, at: time.Now()}
		b.kinds[k] = a
	}
	if a.waits != nil {
		a.held, a.by = r.Clone(), b.Handler
		a.leftOut++
		return nil
	}
	a.refill()
	if a.bytes > 0 {
		return b.write(ctx, a, b.Handler, r)
	}
	a.held, a.by = r.Clone(), b.Handler
	a.waits = time.AfterFunc(time.Duration((1-a.bytes)/logRate*float64(time.Minute)), func() { b.release(a) })
	return nil
}

// logBounds is what is written and held back of all kinds. It is safe for concurrent use.
type logBounds struct {
	out io.Writer

	mu      sync.Mutex // guards what follows, and the kinds
	kinds   map[logKind]*allowed
	written int // bytes
}

// allowed is what may still be written of a kind.
type allowed struct {
	bytes float64   // below zero after a line that was longer
	at    time.Time // when that was so, by the monotonic clock

	held    slog.Record // the last line that was held back
	by      slog.Handler
	leftOut int         // how many were, before it
	waits   *time.Timer // for held to be written; nil if nothing is held back
}

func (a *allowed) refill() {
	now := time.Now()
	a.bytes, a.at = min(logBurst, a.bytes+now.Sub(a.at).Minutes()*logRate), now
}

// Write is for the handlers alone.
func (b *logBounds) Write(line []byte) (int, error) {
	b.written += len(line)
	return b.out.Write(line)
}

func (b *logBounds) write(ctx context.Context, a *allowed, by slog.Handler, r slog.Record) error {
	before := b.written
	err := by.Handle(ctx, r)
	a.bytes -= float64(b.written - before)
	return err
}

// release writes what is held back of a kind.
func (b *logBounds) release(a *allowed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.waits == nil {
		return
	}
	r, by := a.held, a.by
	if a.leftOut > 0 {
		r.AddAttrs(slog.Int("left_out", a.leftOut))
	}
	a.held, a.by, a.leftOut, a.waits = slog.Record{}, nil, 0, nil
	a.refill()
	b.write(context.Background(), a, by, r) // nobody could be told of an error
}

// Close writes what is held back.
func (b *logBounds) Close() {
	b.mu.Lock()
	var all []*allowed
	for _, a := range b.kinds {
		if a.waits != nil {
			a.waits.Stop()
			all = append(all, a)
		}
	}
	b.mu.Unlock()
	for _, a := range all {
		b.release(a)
	}
}
