// Package command defines what a fleet may ask a box to do: a closed set of commands, each with an id, an author and an expiry. It owns
// their form, the rule for which of them are still valid, and the box's own list of them. It is pure, and must not know how a command
// arrives or is carried out.
//
// A command counts once, however often it arrives, and never after its expiry. The person at the box wins: a pause by the fleet does
// not replace one by a person, and a resume by the fleet ends only a pause by the fleet.
package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"passerelle/appliance/fleet/protocol"
)

// Action is what a command asks for.
type Action string

// The actions.
const (
	Pause    Action = "pause"    // pause sharing, until somebody resumes it
	Resume   Action = "resume"   // end a pause by the fleet
	Diagnose Action = "diagnose" // run the diagnosis
)

// Actions holds all actions.
var Actions = []Action{Pause, Resume, Diagnose}

// Command is a request by somebody in the fleet.
type Command struct {
	ID      string    `json:"id"` // 8 to 40 letters, digits and hyphens, unique to the command
	Action  Action    `json:"action"`
	Expires time.Time `json:"expires"` // from then on it has no effect
	By      string    `json:"by"`      // the author, in one line of at most 80 characters: shown on the box
}

// Longest is the latest expiry of a command, counted from its arrival: a command waits for a box that sleeps, but not for weeks.
const Longest = 7 * 24 * time.Hour

var id = regexp.MustCompile(`^[A-Za-z0-9-]{8,40}$`)

// Parse parses a command's JSON. It refuses unknown, missing and duplicate fields.
func Parse(text []byte) (c Command, err error) {
	if len(text) > protocol.MaxCommand {
		return c, fmt.Errorf("%d bytes long; a command has at most %d", len(text), protocol.MaxCommand)
	}
	if err := once(text); err != nil {
		return Command{}, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Command{}, fmt.Errorf("no command: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Command{}, errors.New("no command: more than one value")
	}
	if err := c.check(); err != nil {
		return Command{}, err
	}
	return c, nil
}

// once returns an error unless the text is one object whose field names are unique and in lower case. The decoder would ignore case,
// and would take the last of several.
func once(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("no command: no object")
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fmt.Errorf("no command: %w", err)
		}
		name, _ := key.(string)
		if seen[name] || name != strings.ToLower(name) {
			return fmt.Errorf("no command: field %q", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return fmt.Errorf("no command: %w", err)
		}
	}
	return nil
}

func (c Command) check() error {
	switch {
	case !id.MatchString(c.ID):
		return fmt.Errorf("%q is no command's id", c.ID)
	case !slices.Contains(Actions, c.Action):
		return fmt.Errorf("%q is nothing that a fleet may ask for", c.Action)
	case c.Expires.IsZero():
		return errors.New("a command needs an end")
	case c.By == "" || utf8.RuneCountInString(c.By) > 80 || !utf8.ValidString(c.By) ||
		strings.ContainsFunc(c.By, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("a command needs an author: one line of at most 80 characters")
	}
	return nil
}

// Verdict is the outcome of a command.
type Verdict string

// The verdicts.
const (
	Done    Verdict = "done"
	Failed  Verdict = "failed"  // the box could not carry it out; Entry.Why says why
	Seen    Verdict = "seen"    // it has arrived before
	Expired Verdict = "expired" // its expiry has passed, or is too far away
	Undated Verdict = "undated" // the box does not know the time, so it cannot check the expiry
	Yields  Verdict = "yields"  // a person at the box has decided otherwise
	Nothing Verdict = "nothing" // there was nothing to change
)

// Entry is a command in the box's list, with its outcome.
type Entry struct {
	Command
	At      time.Time `json:"at"` // when it arrived
	Verdict Verdict   `json:"verdict"`
	Why     string    `json:"why,omitempty"` // if it failed
}

// Outcome is what the fleet learns about a command. It leaves out why a command failed, since the reason may contain private names.
type Outcome struct {
	ID      string    `json:"id"`
	Action  Action    `json:"action"`
	At      time.Time `json:"at"` // when it arrived
	Verdict Verdict   `json:"verdict"`
}

// Outcome returns what the fleet learns about the command.
func (e Entry) Outcome() Outcome { return Outcome{e.ID, e.Action, e.At, e.Verdict} }

// Outcomes holds the verdicts that an entry may have.
var Outcomes = []Verdict{Done, Failed, Expired, Undated, Yields, Nothing}

// ParseOutcome parses the JSON of an outcome. A box may send anything, so what is not an outcome is refused.
func ParseOutcome(text []byte) (o Outcome, err error) {
	if err := json.Unmarshal(text, &o); err != nil {
		return Outcome{}, fmt.Errorf("no outcome: %w", err)
	}
	if !id.MatchString(o.ID) || !slices.Contains(Actions, o.Action) || !slices.Contains(Outcomes, o.Verdict) || o.At.IsZero() {
		return Outcome{}, errors.New("no outcome: a field is missing or unknown")
	}
	return o, nil
}

// List is the box's own list of commands, oldest first. Only expired commands are dropped from it.
type List struct {
	Entries []Entry `json:"entries"`
}

// MaxEntries bounds the list. If a hub sends more, new commands are refused until old ones expire: a command that is forgotten too
// early could be replayed.
const MaxEntries = 100

// ErrFull says that the list has no room for another command.
var ErrFull = fmt.Errorf("%d commands of the fleet have not expired yet: no more are taken", MaxEntries)

// Judge returns what to do with a command that has just arrived: Done means to carry it out. trusted tells whether the clock is right.
func (l List) Judge(c Command, now time.Time, trusted bool) Verdict {
	switch {
	case slices.ContainsFunc(l.Entries, func(e Entry) bool { return e.ID == c.ID && e.Verdict != Undated }):
		return Seen
	case !trusted:
		return Undated
	case !now.Before(c.Expires), c.Expires.Sub(now) > Longest:
		return Expired
	}
	return Done
}

// Add returns the list with another entry. The entry replaces an earlier one of the same command. If the list is full, the oldest
// expired entries are dropped; the error is ErrFull if there are none.
func (l List) Add(e Entry, now time.Time) (List, error) {
	entries := slices.DeleteFunc(slices.Clone(l.Entries), func(old Entry) bool { return old.ID == e.ID })
	for len(entries) >= MaxEntries {
		i := slices.IndexFunc(entries, func(old Entry) bool { return !now.Before(old.Expires) })
		if i < 0 {
			return l, ErrFull
		}
		entries = slices.Delete(entries, i, i+1)
	}
	return List{append(entries, e)}, nil
}

// Standing is the state of a pause of sharing.
type Standing struct {
	Paused bool
	Fleet  bool // paused by the fleet
}

// Weigh returns what a command does to a pause: Done, Yields to the person at the box, or Nothing. It is the rule for Pause and
// Resume. Diagnose is always Done.
func Weigh(a Action, s Standing) Verdict {
	switch {
	case a == Pause && s.Paused && !s.Fleet, a == Resume && s.Paused && !s.Fleet:
		return Yields
	case a == Pause && s.Paused, a == Resume && !s.Paused:
		return Nothing
	}
	return Done
}
