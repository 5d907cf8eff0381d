package rollout

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var (
	now     = time.Date(2027, 1, 10, 12, 0, 0, 0, time.UTC)
	release = Hash{1}
)

func newKey(n byte) (ed25519.PrivateKey, string) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	return key, FormatKey(key.Public().(ed25519.PublicKey))
}

func sign(t *testing.T, s Stage, key ed25519.PrivateKey) []byte {
	t.Helper()
	text, err := s.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestPlace: places are stable, spread evenly, and independent of those for another release. A later stage has all boxes of the stage
// before it.
func TestPlace(t *testing.T) {
	t.Parallel()
	const boxes = 100_000
	tenths, both := [10]int{}, 0
	for i := range boxes {
		box := fmt.Sprintf("box%d", i)
		place := Place(box, release)
		if place < 0 || place >= All || place != Place(box, release) {
			t.Fatalf("%s has the place %d, and then %d", box, place, Place(box, release))
		}
		tenths[place/100]++
		if place < 100 && Place(box, Hash{2}) < 100 {
			both++
		}
	}
	// A tenth has 10,000 boxes with a standard deviation of 95; both tenths share 1,000 with a standard deviation of 31. Five of these
	// are allowed.
	for i, n := range tenths {
		if n < 10_000-475 || n > 10_000+475 {
			t.Errorf("the tenth %d has %d of %d boxes", i, n, boxes)
		}
	}
	if both < 1_000-155 || both > 1_000+155 {
		t.Errorf("%d boxes are in the first tenth for both releases", both)
	}
}

// TestDecide: each fact on its own.
func TestDecide(t *testing.T) {
	t.Parallel()
	_, key := newKey(1)
	box := ""
	for i := 0; box == ""; i++ {
		if name := fmt.Sprint("box", i); Place(name, release) == 50 {
			box = name
		}
	}
	base := Facts{Rule: Rule{"2027-01-01", 14, key}, Release: release, Box: box, Now: now, Trusted: true}
	stage := Stage{Release: release, Permille: 50, Number: 1, Until: now.AddDate(0, 0, 20)}
	with := func(change func(*Facts, *Stage)) Facts {
		f, s := base, stage
		f.Stage = &s
		change(&f, &s)
		return f
	}
	for name, x := range map[string]struct {
		facts Facts
		want  Wait
	}{
		"no rule":                 {with(func(f *Facts, s *Stage) { f.Rule, s.Halted = Rule{}, true }), ""},
		"others first":            {with(func(*Facts, *Stage) {}), Later},
		"its turn":                {with(func(_ *Facts, s *Stage) { s.Permille = 51 }), ""},
		"all":                     {with(func(_ *Facts, s *Stage) { s.Permille = All }), ""},
		"nobody":                  {with(func(_ *Facts, s *Stage) { s.Permille = 0 }), Later},
		"halted":                  {with(func(_ *Facts, s *Stage) { s.Permille, s.Halted = All, true }), Halted},
		"halted, the days over":   {with(func(f *Facts, s *Stage) { s.Halted, f.Now = true, now.AddDate(0, 0, 10) }), Halted},
		"another release's":       {with(func(_ *Facts, s *Stage) { s.Permille, s.Release = All, Hash{2} }), Later},
		"another's, days over":    {with(func(f *Facts, s *Stage) { s.Halted, s.Release, f.Now = true, Hash{2}, now.AddDate(0, 0, 10) }), ""},
		"ended":                   {with(func(f *Facts, s *Stage) { s.Permille, s.Until = All, now }), Later},
		"ended, halted, over":     {with(func(f *Facts, s *Stage) { s.Halted, f.Now = true, now.AddDate(0, 0, 20) }), ""},
		"far too long":            {with(func(f *Facts, s *Stage) { s.Until, f.Now = now.AddDate(9, 0, 0), now.AddDate(0, 0, 10) }), ""},
		"no clock, its turn":      {with(func(f *Facts, s *Stage) { s.Permille, f.Trusted, f.Now = 51, false, time.Time{} }), ""},
		"no clock, none":          {with(func(f *Facts, _ *Stage) { f.Trusted, f.Stage, f.Now = false, nil, now.AddDate(1, 0, 0) }), Later},
		"no stage":                {with(func(f *Facts, _ *Stage) { f.Stage = nil }), Later},
		"no stage, a day before":  {with(func(f *Facts, _ *Stage) { f.Stage, f.Now = nil, time.Date(2027, 1, 14, 23, 59, 0, 0, time.UTC) }), Later},
		"no stage, the day":       {with(func(f *Facts, _ *Stage) { f.Stage, f.Now = nil, time.Date(2027, 1, 15, 0, 0, 0, 0, time.UTC) }), ""},
		"no fleet, the day":       {with(func(f *Facts, _ *Stage) { f.Stage, f.Box, f.Now = nil, "", now.AddDate(0, 0, 5) }), ""},
		"no fleet, a stage of it": {with(func(f *Facts, s *Stage) { s.Permille, f.Box = All, "" }), Later},
	} {
		if got := Decide(x.facts); got != x.want {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
}

// TestMonotone: whatever the facts, a box that may take a release at one stage may also take it at a higher stage.
func TestMonotone(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		low := random.IntN(All + 1)
		high := low + random.IntN(All+1-low)
		f := Facts{
			Rule: Rule{"2027-01-01", 1 + random.IntN(20), ""}, Release: Hash{byte(random.IntN(4))}, Box: fmt.Sprint(random.IntN(3000)),
			Now: now.AddDate(0, 0, random.IntN(60)-30), Trusted: random.IntN(2) == 0,
		}
		s := Stage{Release: Hash{byte(random.IntN(4))}, Permille: low, Number: 1, Until: now.AddDate(0, 0, random.IntN(60)-30)}
		f.Stage = &s
		before := Decide(f)
		if s.Permille = high; before == "" && Decide(f) != "" {
			t.Fatalf("at %d it goes, and at %d it waits: %+v", low, high, f)
		}
	}
}

// TestHear: a text that is forged, replayed, changed or too long does not change the memory.
func TestHear(t *testing.T) {
	t.Parallel()
	private, key := newKey(1)
	thief, _ := newKey(2)
	stage := Stage{Release: release, Permille: 10, Number: 5, Until: now.AddDate(0, 0, 20)}
	first := sign(t, stage, private)
	m, err := Memory{}.Hear(first, key)
	if err != nil || m.Stage(key) == nil || *m.Stage(key) != stage {
		t.Fatalf("a stage: %+v, %v", m, err)
	}
	with := func(change func(*Stage)) Stage { s := stage; change(&s); return s }
	raised := with(func(s *Stage) { s.Permille, s.Number = All, 6 })
	for name, x := range map[string]struct {
		text []byte
		want error // nil: any
	}{
		"forged":        {sign(t, raised, thief), ErrSignature},
		"changed":       {bytes.Replace(sign(t, raised, private), []byte("1000"), []byte("999"), 1), ErrSignature},
		"older":         {sign(t, with(func(s *Stage) { s.Permille, s.Number = All, 4 }), private), ErrOlder},
		"another's old": {sign(t, with(func(s *Stage) { s.Release, s.Number = Hash{2}, 4 }), private), ErrOlder},
		"the same once": {sign(t, with(func(s *Stage) { s.Permille = All }), private), ErrOlder},
		"too many":      {sign(t, with(func(s *Stage) { s.Permille, s.Number = All+1, 6 }), private), nil},
		"no number":     {sign(t, with(func(s *Stage) { s.Number = 0 }), private), nil},
		"long":          {append(sign(t, raised, private), strings.Repeat(" ", Limit)...), nil},
		"nothing":       {nil, ErrSignature},
	} {
		after, err := m.Hear(x.text, key)
		if err == nil || x.want != nil && !errors.Is(err, x.want) || !bytes.Equal(after.Text, m.Text) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
	if again, err := m.Hear(first, key); err != nil || !bytes.Equal(again.Text, first) {
		t.Errorf("the same text again: %v", err)
	}
	if m, err = m.Hear(sign(t, raised, private), key); err != nil || *m.Stage(key) != raised {
		t.Errorf("the next stage: %+v, %v", m.Stage(key), err)
	}
	// A release that names another key starts over with it.
	other, second := newKey(3)
	if m.Stage(second) != nil || m.Stage("") != nil {
		t.Error("a stage counts under another key")
	}
	if m, err = m.Hear(sign(t, stage, other), second); err != nil || m.Stage(second) == nil || m.Stage(key) != nil {
		t.Errorf("under another key: %+v, %v", m, err)
	}
}

// TestRule: valid and invalid rules.
func TestRule(t *testing.T) {
	t.Parallel()
	_, key := newKey(1)
	for rule, ok := range map[Rule]bool{
		{}: true, {"2027-01-01", 14, ""}: true, {"2027-01-01", 90, key}: true,
		{"2027-01-01", 0, key}: false, {"2027-01-01", 91, key}: false, {"2027-1-1", 14, key}: false, {"2027-01-01", 14, "x"}: false, {"", 14, key}: false,
	} {
		if err := rule.Check(); (err == nil) != ok {
			t.Errorf("%+v: %v", rule, err)
		}
	}
}

// FuzzOpen: no text is accepted without the key's signature.
func FuzzOpen(f *testing.F) {
	private, key := newKey(1)
	text, err := Stage{Release: release, Permille: 10, Number: 5, Until: now}.Sign(private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("{}\n\n"))
	f.Fuzz(func(t *testing.T, other []byte) {
		s, err := Open(other, key)
		if err == nil && (s.Number != 5 || !bytes.Equal(other, text)) {
			t.Errorf("%q is read as %+v", other, s)
		}
	})
}
