// Package logbook keeps the last hour of the box's log in memory, for people: in plain words, without addresses and without names of
// residents' devices. It owns the ring, its limits and the scrubbing. It must not know where the log is written.
//
// Lines are scrubbed before they are kept: memory holds nothing that the page or a support file would have to hide.
package logbook

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"passerelle/appliance/state"
)

const (
	// Hour is how long a line is kept.
	Hour = time.Hour

	maxBytes = 64 << 10 // of all lines' texts together
	maxLine  = 1000     // bytes of one line
	overhead = 200      // bytes that a line takes besides its text, roughly
)

// Book is the log of the last hour. Make one with New; its methods are safe for concurrent use.
type Book struct {
	mu    sync.Mutex
	scrub Scrubber
	lines []line // oldest first
	bytes int
}

type line struct {
	state.LogEntry
	size int
}

// New returns an empty book.
func New() *Book { return &Book{} }

// Keep sets which host names may stay in lines that are added from now on.
func (b *Book) Keep(keep func(name string) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.scrub = Scrubber{Keep: keep}
}

// Handler returns a handler that passes records on to next, and keeps those that matter to people.
func (b *Book) Handler(next slog.Handler) slog.Handler { return handler{Handler: next, book: b} }

type handler struct {
	slog.Handler
	book  *Book
	attrs []slog.Attr
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	h.book.add(r, h.attrs)
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.book, append(slices.Clip(h.attrs), attrs...)}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.book, h.attrs}
}

// add keeps a record, if its level is high enough.
func (b *Book) add(r slog.Record, more []slog.Attr) {
	if r.Level < slog.LevelInfo {
		return
	}
	e := state.LogEntry{At: r.Time, Level: r.Level.String(), Code: codeOf(r.Message), Args: map[string]string{}}
	b.mu.Lock()
	defer b.mu.Unlock()
	var order []string
	size := overhead
	note := func(a slog.Attr) bool {
		value := b.scrub.Scrub(cut(a.Value.Resolve().String()))
		if _, twice := e.Args[a.Key]; !twice {
			order = append(order, a.Key)
		}
		e.Args[a.Key] = value
		return true
	}
	for _, a := range more {
		note(a)
	}
	r.Attrs(note)
	e.Text = cut(plain(b.scrub.Scrub(r.Message), order, e.Args))
	for key, value := range e.Args {
		size += len(key) + len(value)
	}
	size += len(e.Text)
	b.lines = append(b.lines, line{e, size})
	b.bytes += size
	b.drop(r.Time)
}

// drop removes lines that are too old, or that exceed the limits. b.mu is held.
func (b *Book) drop(now time.Time) {
	n := 0
	for n < len(b.lines) && (now.Sub(b.lines[n].At) > Hour || b.bytes > maxBytes) {
		b.bytes -= b.lines[n].size
		n++
	}
	b.lines = slices.Delete(b.lines, 0, n)
}

// Entries returns the lines of the last hour, oldest first.
func (b *Book) Entries(now time.Time) []state.LogEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(now)
	all := make([]state.LogEntry, 0, len(b.lines))
	for _, l := range b.lines {
		e := l.LogEntry
		e.Args = maps.Clone(e.Args)
		all = append(all, e)
	}
	return all
}

// cut shortens a text to maxLine.
func cut(text string) string {
	if len(text) <= maxLine {
		return text
	}
	return strings.ToValidUTF8(text[:maxLine], "") + "…"
}

// codeOf returns a message as one code: its words in letters, joined by dashes, at most six of them.
func codeOf(message string) state.Code {
	words := strings.FieldsFunc(strings.ToLower(message), func(r rune) bool { return (r < 'a' || r > 'z') && r != '\'' })
	return state.Code(strings.ReplaceAll(strings.Join(words[:min(len(words), 6)], "-"), "'", ""))
}

// sentences are messages in plain words, with the names of arguments in braces. A key MESSAGE?NAME is for a record whose argument
// NAME is "false".
var sentences = map[string]string{
	"state":                 "The box is now in State {state}: {why}",
	"uplink probed":         "The line {interface} works",
	"uplink probed?works":   "The line {interface} does not work: {why}",
	"child started":         "The program {child} was started",
	"child failed":          "The program {child} ended: {how}",
	"child says":            "The program {child} says: {line}",
	"problem":               "Problem: {error}",
	"sessions restored":     "After a restart {count} sessions go on",
	"configuration applied": "The configuration was applied, by {by}",
	"restarting":            "The box restarts itself: {why}",
}

// plain returns a record as one sentence.
func plain(message string, order []string, args map[string]string) string {
	key := message
	for _, name := range order {
		if args[name] == "false" && sentences[message+"?"+name] != "" {
			key = message + "?" + name
		}
	}
	text, known := sentences[key]
	if known {
		for name, value := range args {
			text = strings.ReplaceAll(text, "{"+name+"}", value)
		}
		known = !strings.Contains(text, "{")
	}
	if !known {
		text = message
		for i, name := range order {
			separator := ", "
			if i == 0 {
				separator = ": "
			}
			if name == "error" || name == "err" {
				text += separator + args[name]
			} else {
				text += separator + name + " " + args[name]
			}
		}
	}
	if n := args["left_out"]; known && n != "" {
		text += " (" + n + " more like it before)"
	}
	return text
}
