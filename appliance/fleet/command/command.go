// Package command is what a fleet may ask a box to do: a closed set of commands, each with an id, an author and an end. It owns
// their form, which of them still count, and the box's own list of them. It is pure, and must not know how a command arrives or is
// carried out.
//
// A command counts once, however often it arrives, and never after its end. Who stands at the box wins: a pause of the fleet's
// takes the place of nobody's, and a resume of the fleet's ends nobody else's.
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
	Pause    Action = "pause"    // sharing, until somebody resumes
	Resume   Action = "resume"   // a pause of the fleet's
	Diagnose Action = "diagnose" // search for what is wrong
)

// Actions are all actions.
var Actions = []Action{Pause, Resume, Diagnose}

// Command is what somebody of the fleet asks for.
type Command struct {
	ID      string    `json:"id"` // 8 to 40 letters, digits and hyphens; no other command has it
	Action  Action    `json:"action"`
	Expires time.Time `json:"expires"` // from when on it does nothing
	By      string    `json:"by"`      // who asks, in one line of at most 80 characters: shown on the box
}

// Longest is how far a command's end may be: it waits for a box that sleeps, but not for weeks.
const Longest = 7 * 24 * time.Hour

var id = regexp.MustCompile(`^[A-Za-z0-9-]{8,40}$`)

// Parse parses a command's JSON. Unknown and missing fields are refused, and so is a field that is there twice.
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

// once returns an error unless the text is one object in which each field is there once, in lower case: the decoder would take the
// last of several, in any case.
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

// Verdict is what became of a command.
type Verdict string

// The verdicts.
const (
	Done    Verdict = "done"
	Failed  Verdict = "failed"  // the box could not; Entry.Why says why
	Seen    Verdict = "seen"    // it was here before
	Expired Verdict = "expired" // its end was over, or is too far away
	Undated Verdict = "undated" // the box does not know the time, so it cannot tell whether that is over
	Yields  Verdict = "yields"  // somebody at the box has decided otherwise
	Nothing Verdict = "nothing" // it is so already
)

// Entry is a command in the box's list, with what became of it.
type Entry struct {
	Command
	At      time.Time `json:"at"` // when it arrived
	Verdict Verdict   `json:"verdict"`
	Why     string    `json:"why,omitempty"` // if it failed
}

// Outcome is what a fleet is told of a command. It does not have why one failed, which may name what is the box's own.
type Outcome struct {
	ID      string    `json:"id"`
	Action  Action    `json:"action"`
	At      time.Time `json:"at"` // when it arrived
	Verdict Verdict   `json:"verdict"`
}

// Outcome returns what the fleet is told.
func (e Entry) Outcome() Outcome { return Outcome{e.ID, e.Action, e.At, e.Verdict} }

// Outcomes are the verdicts that an entry may have.
var Outcomes = []Verdict{Done, Failed, Expired, Undated, Yields, Nothing}

// ParseOutcome parses the JSON of an outcome. A box may say anything: what is none is refused.
func ParseOutcome(text []byte) (o Outcome, err error) {
	if err := json.Unmarshal(text, &o); err != nil {
		return Outcome{}, fmt.Errorf("no outcome: %w", err)
	}
	if !id.MatchString(o.ID) || !slices.Contains(Actions, o.Action) || !slices.Contains(Outcomes, o.Verdict) || o.At.IsZero() {
		return Outcome{}, errors.New("no outcome: a field is missing or unknown")
	}
	return o, nil
}

// List is the box's own list of commands, the oldest first. What is dropped from it has expired.
type List struct {
	Entries []Entry `json:"entries"`
}

// MaxEntries bounds the list. A hub that sends more has its new commands refused until old ones expire: what is forgotten too
// early could be sent again.
const MaxEntries = 100

// ErrFull says that the list has no room for another command.
var ErrFull = fmt.Errorf("%d commands of the fleet have not expired yet: no more are taken", MaxEntries)

// Judge returns what to do with a command that has just arrived: Done is to carry it out. trusted tells whether the time is known.
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

// Add returns the list with another entry, which takes the place of an earlier one of the same command, and without the oldest of
// those that have expired, as far as it needs room.
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

// Standing is a pause of sharing, as the box knows it.
type Standing struct {
	Paused bool
	Fleet  bool // by the fleet
}

// Weigh returns what a command does to a pause: Done, Yields to who stands at the box, or Nothing. It is the rule for Pause and
// Resume; a search for what is wrong is always Done.
func Weigh(a Action, s Standing) Verdict {
	switch {
	case a == Pause && s.Paused && !s.Fleet, a == Resume && s.Paused && !s.Fleet:
		return Yields
	case a == Pause && s.Paused, a == Resume && !s.Paused:
		return Nothing
	}
	return Done
}
