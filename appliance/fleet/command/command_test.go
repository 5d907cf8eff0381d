package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/fleet/protocol"
)

var now = time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)

const good = `{"id":"k3f9-0001","action":"pause","expires":"2026-12-01T12:00:00Z","by":"Fédération, Samira"}`

func TestParse(t *testing.T) {
	want := Command{"k3f9-0001", Pause, now.Add(2 * time.Hour), "Fédération, Samira"}
	if c, err := Parse([]byte(good)); err != nil || c != want {
		t.Errorf("%+v, %v", c, err)
	}
	for what, text := range map[string]string{
		"nothing":            ``,
		"no object":          `["pause"]`,
		"null":               `null`,
		"another action":     strings.Replace(good, "pause", "reboot", 1),
		"a command line":     strings.Replace(good, "pause", "pause; reboot", 1),
		"an unknown field":   strings.Replace(good, `"by"`, `"donation":"x","by"`, 1),
		"twice":              strings.Replace(good, `"by"`, `"action":"resume","by"`, 1),
		"in capitals":        strings.Replace(good, `"by"`, `"Action":"resume","by"`, 1),
		"two values":         good + good,
		"something after it": good + " x",
		"no end":             strings.Replace(good, `"expires":"2026-12-01T12:00:00Z",`, "", 1),
		"a wrong end":        strings.Replace(good, "2026-12-01T12", "tomorrow", 1),
		"no id":              strings.Replace(good, "k3f9-0001", "", 1),
		"an id with a path":  strings.Replace(good, "k3f9-0001", "../../etc", 1),
		"a long id":          strings.Replace(good, "k3f9-0001", strings.Repeat("a", 41), 1),
		"no author":          strings.Replace(good, "Fédération, Samira", "", 1),
		"two lines":          strings.Replace(good, "Samira", `Sam\nstaff`, 1),
		"a turned line":      strings.Replace(good, "Samira", `\u202eSam`, 1),
		"a long author":      strings.Replace(good, "Samira", strings.Repeat("é", 80), 1),
		"much":               strings.Replace(good, "{", "{"+strings.Repeat(" ", protocol.MaxCommand), 1),
		"deep":               strings.Repeat("[", 900),
	} {
		if c, err := Parse([]byte(text)); err == nil || c != (Command{}) {
			t.Errorf("%s: %+v, %v", what, c, err)
		}
	}
}

// A command counts once, and not after its expiry.
func TestJudge(t *testing.T) {
	c, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	l, err := List{}.Add(Entry{Command: c, At: now, Verdict: Undated}, now) // it had no effect, and still may have one
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		at      time.Time
		trusted bool
		want    Verdict
	}{
		{now, true, Done},
		{now, false, Undated},
		{c.Expires.Add(-1), true, Done},
		{c.Expires, true, Expired},
		{c.Expires.AddDate(1, 0, 0), true, Expired},
		{c.Expires.Add(-Longest), true, Done},
		{c.Expires.Add(-Longest - 1), true, Expired},
	} {
		if got := l.Judge(c, test.at, test.trusted); got != test.want {
			t.Errorf("at %v, trusted %v: %s, want %s", test.at, test.trusted, got, test.want)
		}
	}
	l, err = l.Add(Entry{Command: c, At: now, Verdict: Done}, now)
	if err != nil {
		t.Fatal(err)
	}
	other := c
	other.Action = Resume // the same id means the same command
	for _, again := range []Command{c, other} {
		if got := l.Judge(again, now, true); got != Seen || len(l.Entries) != 1 {
			t.Errorf("again: %s, %d entries", got, len(l.Entries))
		}
	}
}

// The list is bounded. A command that has not expired is never forgotten: it could be replayed.
func TestListBounded(t *testing.T) {
	var l List
	var err error
	add := func(n int, at time.Time) {
		c := Command{fmt.Sprintf("command-%04d", n), Diagnose, at.Add(time.Hour), "x"}
		l, err = l.Add(Entry{Command: c, At: at, Verdict: Done}, at)
	}
	for n := range MaxEntries {
		if add(n, now); err != nil {
			t.Fatal(err)
		}
	}
	if add(MaxEntries, now); !errors.Is(err, ErrFull) || len(l.Entries) != MaxEntries {
		t.Errorf("%d entries, %v", len(l.Entries), err)
	}
	for n := range 3 * MaxEntries {
		if add(1000+n, now.Add(time.Duration(n+60)*time.Minute)); err != nil || len(l.Entries) != MaxEntries {
			t.Fatalf("%d entries, %v", len(l.Entries), err)
		}
	}
	if first := l.Entries[0].ID; first != "command-1200" {
		t.Errorf("the oldest is %s", first)
	}
}

// The person at the box wins.
func TestWeigh(t *testing.T) {
	nobody, fleet, somebody := Standing{}, Standing{true, true}, Standing{true, false}
	for _, test := range []struct {
		a    Action
		s    Standing
		want Verdict
	}{
		{Pause, nobody, Done}, {Pause, fleet, Nothing}, {Pause, somebody, Yields},
		{Resume, nobody, Nothing}, {Resume, fleet, Done}, {Resume, somebody, Yields},
		{Diagnose, nobody, Done}, {Diagnose, fleet, Done}, {Diagnose, somebody, Done},
	} {
		if got := Weigh(test.a, test.s); got != test.want {
			t.Errorf("%s, %+v: %s, want %s", test.a, test.s, got, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"id":"12345678","action":"diagnose","expires":"2026-12-01T12:00:00+01:00","by":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if (err == nil) == (c == Command{}) {
			t.Fatalf("%+v, %v", c, err)
		}
		if err == nil && c.check() != nil {
			t.Fatal(c.check())
		}
	})
}

// TestOutcome: a fleet learns the outcome of a command, but not its reason. An outcome that no box of ours sends is refused.
func TestOutcome(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	e := Entry{Command: Command{ID: "pause-0001", Action: Pause, By: "Ana"}, At: at, Verdict: Failed, Why: "the network Framboise"}
	text, err := json.Marshal(e.Outcome())
	if err != nil || bytes.Contains(text, []byte("Framboise")) {
		t.Errorf("the fleet is told %s, %v", text, err)
	}
	if o, err := ParseOutcome(text); err != nil || o != e.Outcome() {
		t.Errorf("it is read as %+v, %v", o, err)
	}
	for _, wrong := range []string{
		"", "null", "[]", strings.Replace(string(text), "failed", "dances", 1), strings.Replace(string(text), "failed", "seen", 1),
		strings.Replace(string(text), "pause-0001", "x", 1), strings.Replace(string(text), `"action":"pause"`, `"action":"dance"`, 1),
		strings.Replace(string(text), "2026-12-01T09:00:00Z", "0001-01-01T00:00:00Z", 1),
	} {
		if o, err := ParseOutcome([]byte(wrong)); err == nil {
			t.Errorf("%s is read as %+v", wrong, o)
		}
	}
}
