package ledger

import (
	"fmt"
	"strings"
	"time"
)

// Pause says who paused a donation, and until when. The zero Pause means that it is not paused.
type Pause struct {
	By    string
	Until time.Time // when it ends on its own; zero: never, or not known yet
	// Tomorrow says that it ends on the next day, but the date was not known when it began: see At.
	Tomorrow bool
}

// At returns the pause as it is at a time, and whether that differs from p. A pause never ends while time is not trusted. tomorrow
// returns the end of a pause that ends on the next day.
func (p Pause) At(now time.Time, trusted bool, tomorrow func() time.Time) (_ Pause, changed bool) {
	switch {
	case p.By == "" || !trusted:
		return p, false
	case p.Tomorrow:
		return Pause{By: p.By, Until: tomorrow()}, true
	case !p.Until.IsZero() && !now.Before(p.Until):
		return Pause{}, true
	}
	return p, false
}

// someTomorrow is the stored form of an end on the next day, while the date is not known.
const someTomorrow = "tomorrow"

// Text returns the stored form: who paused it, and on a second line until when, if it ends on its own. A release that does not know
// the second line takes all of the text for who paused the donation, and keeps it paused.
func (p Pause) Text() string {
	switch {
	case p.By == "":
		return ""
	case p.Tomorrow:
		return p.By + "\n" + someTomorrow
	case !p.Until.IsZero():
		return p.By + "\n" + p.Until.UTC().Format(time.RFC3339)
	}
	return p.By
}

// ParsePause reads the stored form. After an error the pause has no end.
func ParsePause(text string) (p Pause, err error) {
	by, until, ends := strings.Cut(text, "\n")
	p.By = by
	switch {
	case !ends:
	case until == someTomorrow:
		p.Tomorrow = true
	default:
		if p.Until, err = time.Parse(time.RFC3339, until); err != nil {
			return Pause{By: by}, fmt.Errorf("read the end of a pause by %q: %w", by, err)
		}
	}
	return p, nil
}
