package ledger

import (
	"testing"
	"time"
)

// TestPauseUntilTomorrow: a pause ends when the next day begins, as computed once the date was known, and never while time is not
// trusted.
func TestPauseUntilTomorrow(t *testing.T) {
	t.Parallel()
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 10, day, hour, minute, 0, 0, time.UTC) }
	for _, test := range []struct {
		name       string
		now        time.Time
		known      bool
		then       time.Time
		thenKnown  bool
		still      bool
		thenKnows  time.Time // its end then; zero if it is over or not known
		wantChange bool
	}{
		{"in the night", at(24, 18, 0), true, at(25, 8, 29), true, true, at(25, 8, 30), false},
		{"the next morning", at(24, 18, 0), true, at(25, 8, 30), true, false, time.Time{}, true},
		{"the clock is lost the next morning", at(24, 18, 0), true, at(25, 9, 0), false, true, at(25, 8, 30), false},
		{"the clock is ahead and not trusted", at(24, 18, 0), true, at(31, 9, 0), false, true, at(25, 8, 30), false},
		{"pressed on an unknown day, known days later", at(1, 0, 5), false, at(24, 18, 0), true, true, at(25, 8, 30), true},
		{"pressed on an unknown day, still unknown", at(1, 0, 5), false, at(3, 9, 0), false, true, time.Time{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			opening := func() time.Time { return at(25, 8, 30) }
			pressed, _ := Pause{By: "its lender", Tomorrow: true}.At(test.now, test.known, opening)
			kept, err := ParsePause(pressed.Text())
			if err != nil {
				t.Fatal(err)
			}
			got, changed := kept.At(test.then, test.thenKnown, opening)
			if (got.By != "") != test.still || !got.Until.Equal(test.thenKnows) || changed != test.wantChange {
				t.Errorf("%+v became %+v, changed %t", pressed, got, changed)
			}
		})
	}
}

// TestPauseText: a pause is parsed from its text again. If its end cannot be read, the pause stays.
func TestPauseText(t *testing.T) {
	t.Parallel()
	for _, p := range []Pause{
		{}, {By: "its lender"}, {By: "its lender", Tomorrow: true}, {By: "a technician", Until: time.Date(2026, 12, 1, 23, 0, 0, 0, time.UTC)},
	} {
		if got, err := ParsePause(p.Text()); err != nil || got != p {
			t.Errorf("%+v became %+v, %v", p, got, err)
		}
	}
	if got, err := ParsePause("its lender\nnever"); err == nil || got != (Pause{By: "its lender"}) {
		t.Errorf("%+v, %v", got, err)
	}
}
