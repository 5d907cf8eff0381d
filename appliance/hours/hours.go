// Package hours parses opening hours in OpenStreetMap's opening_hours syntax, as French public places write them, and answers one
// question: open or closed at this time, and until when. It describes what it parsed, so that people can check it ([Schedule.Week],
// [Schedule.Warnings]), and tells when a date begins on a zone's clock ([DayStart]). It does not know what is opened.
//
// # Syntax
//
// Rules are separated by ";" or ",". A rule says on which days it applies (years, dates, weeks, weekdays, public holidays: all that
// are given must match; none means every day), at which hours (none means the whole day), and whether that is open (the default, or
// "open") or closed ("off" or "closed"):
//
//	Mo-Fr 08:30-12:00,13:30-19:00; Sa 09:00-12:00; PH off
//	week 1-53/2 We 14:00-17:00; Jul 01-Aug 31 off; Dec 24-Jan 02 off
//	2026 Jul 14-2026 Aug 15 off; Sa[1,-1] 10:00-12:00; 24/7 open "with a comment"
//	Mo[2] +1 day 14:00-16:00; PH -1 day 09:00-12:00; easter off; 2027+ SH Mo-Fr 10:00-16:00
//
// It is read as people write it, if that means only one thing: hyphens and dashes, spaces of every width, rules on lines of their own,
// French names of days and months, "fermé", "9h30", "du lundi au vendredi de 9 h à 12 h", parts of a rule in another order. Some input
// is refused with a question: "Mar" next to days or hours, which is short for both mardi and March; French days in two letters next
// to English ones; hours that may be those of a 12-hour clock (8-8); and a comment in quotes after hours without "open" or "off",
// which programs read as neither. "unknown" counts as closed, and an open end (09:00-18:00+) closes at its time;
// [Schedule.Warnings] says so.
//
// Input without a definite meaning here is refused with its position: sunrise and sunset, opening without an end (18:00+), points in
// time (10:00, 10:00-12:00/30), and fallback rules (||).
//
// So is input that the specification reads in a way that nobody means: a day with nothing but a comment (Sa "sur rendez-vous") or an
// open rule without hours that a comma joins to another rule (Mo-Fr, 09:00-17:00) would be open day and night; hours alone after a
// semicolon (Mo-Fr 09:00-12:00; 14:00-18:00) would replace everything.
//
// # Semantics
//
// The specification (https://wiki.openstreetmap.org/wiki/Key:opening_hours/specification) and its reference implementation, the npm
// package opening_hours, define: a rule after ";" replaces, on the calendar days that it matches, everything that earlier rules
// opened, including the end of the night before. A rule after "," adds to it. A closing rule with hours removes only those hours, one
// without hours closes the day. So in "Mo-Th 18:00-02:00; Fr 18:00-03:00" Thursday's night ends at midnight, and with "," it ends at
// 02:00. In "Mo-Su 18:00-02:00; We off" Thursday opens at 00:00, which Warnings reports.
//
// PH are the eleven public holidays of the whole country (Code du travail, article L3133-1), without those that only Alsace-Moselle and
// the overseas territories have. SH are the school holidays of a zone ([Schedule.InZone]), as far as their dates are published
// (school.csv, [SchoolKnown]). Later days are not school holidays: hours for SH do not open on them, and "SH off" closes nothing. A
// range that ends at Easter is refused: programs disagree whether its last day counts.
//
// Hours are wall-clock hours in the zone of the given time: a clock set forward skips hours, one set back repeats them.
package hours

import (
	"fmt"
	"time"
)

// horizon is how far ahead Next searches: a year, and some days so that a yearly opening is found from the day after it.
const horizon = 400 * 24 * time.Hour

// Schedule is parsed opening hours. It is immutable and safe for concurrent use. A nil *Schedule is always open.
type Schedule struct {
	text   string
	rules  []rule
	always bool
	zone   SchoolZone
}

// Error is a syntax error in opening hours.
type Error struct {
	Pos int    // byte offset in the text, from 0
	Msg string // what is wrong, and what to write instead if that is known
}

// Error returns the message with its position, counted in bytes from 1, as editors count columns.
func (e *Error) Error() string { return fmt.Sprintf("at byte %d: %s", e.Pos+1, e.Msg) }

// Parse parses opening hours. Empty text (or white space) means always open. Its errors are of type *Error.
func Parse(s string) (*Schedule, error) {
	rules, err := parse(s)
	if err != nil {
		return nil, err
	}
	return &Schedule{text: s, rules: rules, always: alwaysOpen(rules)}, nil
}

// String returns the text that was parsed.
func (s *Schedule) String() string {
	if s == nil {
		return ""
	}
	return s.text
}

// Always tells whether the schedule is open at every time. It considers only weekdays: equivalent hours given by dates, weeks or public
// holidays are not recognized.
func (s *Schedule) Always() bool { return s == nil || s.always }

// Open tells whether the schedule is open at t, on the wall clock of t's zone.
func (s *Schedule) Open(t time.Time) bool {
	if s.Always() {
		return true
	}
	return contains(s.day(t.Date()), minuteOf(t))
}

// Next returns the first change strictly after t, in t's zone, and whether the schedule opens or closes there. ok is false if nothing
// changes within about 400 days.
func (s *Schedule) Next(t time.Time) (at time.Time, opens, ok bool) {
	if s.Always() {
		return time.Time{}, false, false
	}
	end := t.Add(horizon)
	was := s.Open(t)
	for from, to := t, t; !from.After(end); from = to {
		to = steadyUntil(from)
		spans := s.day(from.Date())
		if contains(spans, minuteOf(from)) != was {
			return from, !was, true
		}
		midnight := from.Add(-sinceMidnight(from))
		for _, open := range spans {
			for _, edge := range []int{open.from, open.to} {
				at := midnight.Add(time.Duration(edge) * time.Minute)
				if at.After(from) && at.Before(to) && !at.After(end) && contains(spans, edge) != was {
					return at, !was, true
				}
			}
		}
	}
	return time.Time{}, false, false
}

// minuteOf returns the minute of the day on t's wall clock.
func minuteOf(t time.Time) int { return t.Hour()*60 + t.Minute() }
