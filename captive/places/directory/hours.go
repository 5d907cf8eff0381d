package directory

import (
	"errors"
	"regexp"
	"strings"
	"time"

	"passerelle/appliance/hours"
)

// reading is the part of a place's hours that can be relied on.
type reading struct {
	schedule *hours.Schedule // nil: nothing
	note     string          // the words that go with it
	weekend  bool            // the schedule says nothing about Saturday and Sunday
}

// longest is the longest plausible span, in minutes. A longer one is a typing error, as in Mo-Fr 14:00-12:00, unless it is a whole day.
const longest = 16 * 60

var (
	timeSpan  = regexp.MustCompile(`(\d?\d):(\d\d)\s*[-–—]\s*(\d?\d):(\d\d)`)
	comment   = regexp.MustCompile("[\"＂]([^\"＂]*)[\"＂]")
	plainWord = regexp.MustCompile(`^[^0-9;"＂]*$`)
	exception = regexp.MustCompile(`(?i)\b(sauf|hors|except\w*|ferm\w*|pas|jusqu\w*|partir|du|le|les|mo|tu|we|th|fr|sa|su|ph|sh)\b`)
)

// Reasons why hours cannot be relied on.
var (
	errUnread = errors.New("nobody can read them for certain: they are shown as they are, and never count as open")
	errLong   = errors.New("more than 16 hours at a stretch are a typing error: they are shown as they are, and never count as open")
	errNoTime = errors.New("days without hours would be open day and night: they are shown as they are, and never count as open")
)

// readHours reads hours in the syntax of OpenStreetMap. An empty text means that they are unknown. Words after the hours become the
// note, unless they may change the hours: the official export removed the quotation marks of comments such as "sur rendez-vous".
func readHours(text string) (r reading, err error) {
	if text == "" {
		return reading{}, nil
	}
	for _, c := range comment.FindAllStringSubmatch(text, -1) {
		r.note = join(r.note, c[1])
	}
	text = comment.ReplaceAllString(text, "")
	s, err := hours.Parse(text)
	if spans := timeSpan.FindAllStringIndex(text, -1); err != nil && len(spans) > 0 {
		end := spans[len(spans)-1][1]
		after := strings.Trim(text[end:], " \t\n;,()")
		if !plainWord.MatchString(after) || exception.MatchString(after) {
			return reading{}, errUnread
		}
		r.note = join(r.note, after)
		text = text[:end]
		s, err = hours.Parse(text)
	}
	if err != nil {
		return reading{}, errUnread
	}
	spans, bare, certain := s.Written()
	switch {
	case !certain, s.School():
		return reading{}, errUnread
	case bare:
		return reading{}, errNoTime
	}
	for _, span := range spans {
		if whole := span == (hours.Span{To: 24 * 60}); span.To-span.From > longest && !whole {
			return reading{}, errLong
		}
	}
	r.schedule = s
	r.weekend = s.WorkdaysOnly()
	return r, nil
}

// join joins two notes, either of which may be empty.
func join(a, b string) string {
	b = strings.TrimSpace(b)
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

// Opening returns what may be claimed at t, by the wall clock of t's zone. Lists write "every day" as "Mo-Fr", so such hours say nothing
// about a Saturday or a Sunday. Hours without rules about public holidays say nothing about those.
func (p Place) Opening(t time.Time) Opening {
	if p.Schedule == nil {
		return Opening{}
	}
	open := p.Schedule.Open(t)
	if p.silent(t, open) {
		return Opening{}
	}
	o := Opening{State: ClosedNow}
	if open {
		o.State = OpenNow
	}
	until, opens, ok := p.Schedule.Next(t)
	if !ok {
		return o
	}
	for day := t; opens && !sameDay(day, until); {
		day = day.AddDate(0, 0, 1)
		if p.silent(day, sameDay(day, until)) {
			return o // it may open earlier, or not at all
		}
	}
	o.Until = until
	return o
}

// silent reports whether the hours say nothing about t's date, although by the schedule they would be open or closed.
func (p Place) silent(t time.Time, open bool) bool {
	if hours.Holiday(t) {
		_, holidays := p.Schedule.Weekly()
		return !holidays && !p.Schedule.Always()
	}
	day := t.Weekday()
	return p.WeekendUnknown && !open && (day == time.Saturday || day == time.Sunday)
}

func sameDay(a, b time.Time) bool { return a.YearDay() == b.YearDay() && a.Year() == b.Year() }

// maxEdges bounds the edges of a week. Places have some ten.
const maxEdges = 14 * 50

// week returns the minutes of a week, from Monday, at which a weekly schedule opens and closes in turn.
func week(s *hours.Schedule) (edges []uint16) {
	// A week of September without a public holiday, and without one on the day before.
	monday := time.Date(2026, 9, 7, 12, 0, 0, 0, time.UTC)
	for day := range 7 {
		for _, open := range s.Day(monday.AddDate(0, 0, day)) {
			from, to := uint16(day*24*60+open.From), uint16(day*24*60+open.To)
			if n := len(edges); n > 0 && edges[n-1] == from {
				edges[n-1] = to
				continue
			}
			edges = append(edges, from, to)
		}
	}
	return edges
}
