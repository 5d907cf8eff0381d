package web

import (
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"passerelle/appliance/hours"
)

// OpenDays are days with the same hours, in words: "Du lundi au vendredi", "de 9 h à 12 h" and "de 14 h à 18 h".
type OpenDays struct {
	Days  string
	Hours []string // empty if it is closed
}

// Open says whether hours are open at a time, and until when.
func (w *Words) Open(s *hours.Schedule, now time.Time) (open bool, text string) {
	until, _, _ := s.Next(now)
	if s.Open(now) {
		return true, w.OpenUntil(until, now)
	}
	return false, w.ClosedUntil(until, now)
}

// OpenUntil says that something is open now, until a time in the zone of now: "Ouvert aujourd’hui jusqu’à 18 h". The zero time
// means that it never closes.
func (w *Words) OpenUntil(until, now time.Time) string {
	switch midnight := hours.DayStart(now.Year(), now.Month(), now.Day()+1, now.Location()); {
	case until.IsZero():
		return w.T("hours.always")
	case until.After(midnight):
		return w.T("hours.open-long", "when", w.When(until, now))
	}
	return w.T("hours.open", "until", w.until(until))
}

// ClosedUntil says that something is closed now, until a time: "Fermé pour le moment, ouvre demain à 9 h". The zero time means
// that it is not known.
func (w *Words) ClosedUntil(until, now time.Time) string {
	if until.IsZero() {
		return w.T("hours.closed")
	}
	return w.T("hours.closed-until", "when", w.When(until, now))
}

// Bounds on the listed days that differ from a usual week.
const (
	maxOthers  = 3
	othersSoon = 3 * 7 * 24 * time.Hour
)

// OpenWeek returns a usual week's hours, and the days of the next weeks that differ. Days without hours are listed as closed if the
// hours are complete, else they are left out.
func (w *Words) OpenWeek(s *hours.Schedule, complete bool, now time.Time) (usual, others []OpenDays) {
	week := s.Week(now)
	for first := 0; first < len(week.Days); {
		last := first
		for last+1 < len(week.Days) && week.Days[last+1].String() == week.Days[first].String() {
			last++
		}
		if day := week.Days[first]; len(day) > 0 || complete {
			usual = append(usual, OpenDays{w.weekdays(first, last), w.spans(day)})
		}
		first = last + 1
	}
	for _, e := range week.Exceptions {
		if len(others) == maxOthers || e.From.Sub(now) > othersSoon {
			break
		}
		days := w.date("when.date", e.From)
		if !e.To.Equal(e.From) {
			days = w.T("hours.dates", "first", w.Day(e.From), "last", w.Day(e.To))
		}
		others = append(others, OpenDays{capital(days), w.spans(e.Hours)})
	}
	return usual, others
}

// weekdays names consecutive days of a week, 0 for Monday.
func (w *Words) weekdays(first, last int) string {
	name := func(day int) string { return w.T("hours.day." + strconv.Itoa(day)) }
	switch last - first {
	case 0:
		return capital(name(first))
	case 1:
		return capital(w.T("hours.two-days", "first", name(first), "last", name(last)))
	case 6:
		return w.T("hours.every-day")
	}
	return capital(w.T("hours.days", "first", name(first), "last", name(last)))
}

// spans writes a day's hours.
func (w *Words) spans(day hours.Hours) (all []string) {
	const midnight = 24 * 60
	clock := func(minute int) string { return w.Clock(time.Date(2000, 1, 1, 0, minute, 0, 0, time.UTC)) }
	for _, s := range day {
		switch {
		case s == (hours.Span{From: 0, To: midnight}):
			all = append(all, w.T("hours.whole-day"))
		case s.To == midnight:
			all = append(all, w.T("hours.span-midnight", "from", clock(s.From)))
		default:
			all = append(all, w.T("hours.span", "from", clock(s.From), "to", clock(s.To)))
		}
	}
	return all
}

// until formats the time of day with its preposition: "jusqu’à 18 h".
func (w *Words) until(t time.Time) string {
	switch {
	case t.Hour() == 12 && t.Minute() == 0:
		return w.T("when.until-noon")
	case t.Hour() == 0 && t.Minute() == 0:
		return w.T("when.until-midnight")
	}
	if own, err := w.Message("when.until."+strconv.Itoa(t.Hour()), "clock", w.Clock(t)); err == nil {
		return own
	}
	return w.T("when.until.any", "clock", w.Clock(t))
}

// capital returns s with a capital first letter, for the beginning of a sentence.
func capital(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}
