package daemon

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"passerelle/appliance/logbook"
)

// The log has a rate limit (a token bucket) for each kind of record. A record beyond the limit is delayed; of several delayed ones
// only the last is written, with the number of those left out. A kind is a level and a message, and for output of children the child.
// Residents can cause about eight kinds (failed requests, handshakes and presses, output of two dnsmasq and hostapd, changes
// in the kernel): at most 10 kB in one minute, and 2 kB in each that follows. Kinds have separate limits: residents cannot
// suppress the box's own records, and the last record of each kind is always written.
const (
	logBurst = 900 // bytes
	logRate  = 200 // bytes a minute
)

// logKind identifies the records that share a limit. Their number is bounded by the program's messages.
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

// Log is the handler of the daemon's log. Close writes the delayed records.
type Log struct {
	slog.Handler
	*logBounds
}

// NewLog returns a handler that writes text. Its Book has the same records.
func NewLog(out io.Writer, level slog.Level) Log {
	b := &logBounds{out: out, Book: logbook.New(), kinds: make(map[logKind]*logBudget)}
	return Log{b.Book.Handler(slog.NewTextHandler(b, &slog.HandlerOptions{Level: level})), b}
}

func (b Log) WithAttrs(attrs []slog.Attr) slog.Handler {
	return Log{b.Handler.WithAttrs(attrs), b.logBounds}
}

func (b Log) WithGroup(name string) slog.Handler {
	return Log{b.Handler.WithGroup(name), b.logBounds}
}

// Handle writes a record, now or later.
func (b Log) Handle(ctx context.Context, r slog.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := kindOf(r)
	a := b.kinds[k]
	if a == nil {
		a = &logBudget{bytes: logBurst, at: time.Now()}
		b.kinds[k] = a
	}
	if a.timer != nil {
		a.held, a.handler = r.Clone(), b.Handler
		a.dropped++
		return nil
	}
	a.refill()
	if a.bytes > 0 {
		return b.write(ctx, a, b.Handler, r)
	}
	a.held, a.handler = r.Clone(), b.Handler
	a.timer = time.AfterFunc(time.Duration((1-a.bytes)/logRate*float64(time.Minute)), func() { b.release(a) })
	return nil
}

// logBounds holds the limits of all kinds. It is safe for concurrent use.
type logBounds struct {
	Book *logbook.Book // the last hour, for people
	out  io.Writer

	mu      sync.Mutex // guards what follows, and the kinds
	kinds   map[logKind]*logBudget
	written int // bytes
}

// logBudget is the remaining budget of a kind.
type logBudget struct {
	bytes float64   // below zero after a longer record
	at    time.Time // when bytes was computed, by the monotonic clock

	held    slog.Record // the last delayed record
	handler slog.Handler
	dropped int         // delayed records before held, which are left out
	timer   *time.Timer // writes held; nil if nothing is delayed
}

func (a *logBudget) refill() {
	now := time.Now()
	a.bytes, a.at = min(logBurst, a.bytes+now.Sub(a.at).Minutes()*logRate), now
}

// Write is called by the handlers only.
func (b *logBounds) Write(line []byte) (int, error) {
	b.written += len(line)
	return b.out.Write(line)
}

func (b *logBounds) write(ctx context.Context, a *logBudget, by slog.Handler, r slog.Record) error {
	before := b.written
	err := by.Handle(ctx, r)
	a.bytes -= float64(b.written - before)
	return err
}

// release writes the delayed record of a kind.
func (b *logBounds) release(a *logBudget) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.timer == nil {
		return
	}
	r, by := a.held, a.handler
	if a.dropped > 0 {
		r.AddAttrs(slog.Int("left_out", a.dropped))
	}
	a.held, a.handler, a.dropped, a.timer = slog.Record{}, nil, 0, nil
	a.refill()
	b.write(context.Background(), a, by, r) // there is no way to report an error
}

// Close writes all delayed records.
func (b *logBounds) Close() {
	b.mu.Lock()
	var all []*logBudget
	for _, a := range b.kinds {
		if a.timer != nil {
			a.timer.Stop()
			all = append(all, a)
		}
	}
	b.mu.Unlock()
	for _, a := range all {
		b.release(a)
	}
}
