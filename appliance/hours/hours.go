// Package hours reads opening hours written in OpenStreetMap's opening_hours syntax, as French public places write them,
// and answers one question: open or closed at this time, and until when. It says what it understood, for people to check
// ([Schedule.Week], [Schedule.Doubts]), and when a date begins on a zone's clock ([DayStart]). It knows nothing of what is
// opened.
//
// # What it reads
//
// Rules stand one after the other, separated by ";" or ",". A rule says on which days (years, dates, weeks, weekdays,
// public holidays: those given must all match, none means every day), at which hours (none means the whole day), and
// whether that is open (the default, or "open") or closed ("off" or "closed"):
//
//	Mo-Fr 08:30-12:00,13:30-19:00; Sa 09:00-12:00; PH off
//	week 1-53/2 We 14:00-17:00; Jul 01-Aug 31 off; Dec 24-Jan 02 off
//	2026 Jul 14-2026 Aug 15 off; Sa[1,-1] 10:00-12:00; 24/7 "with a comment"
//
// Case does not matter, three-letter days are read too, and "00:00-00:00" is a whole day, as places write it. A comment
// in quotes beside hours changes nothing. What has no certain answer here is refused with its position: sunrise and sunset,
// school holidays (SH), easter, open ends (18:00+), "unknown" and fallback rules (||).
//
// So is what the specification reads in a way that nobody means: as open day and night a day with nothing but a comment
// (Sa "sur rendez-vous"), and an open rule without hours that a comma joins to another rule (Mo-Fr, 09:00-17:00); as
// replacing everything hours alone after a semicolon (Mo-Fr 09:00-12:00; 14:00-18:00).
//
// # What it means
//
// As the specification has it (https://wiki.openstreetmap.org/wiki/Key:opening_hours/specification), a rule after ";"
// replaces, on the calendar days it matches, all that the rules before it opened, the end of the night before included;
// a rule after "," adds to it. A closing rule with hours takes only those hours away, one without closes the day. So in
// "Mo-Th 18:00-02:00; Fr 18:00-03:00" Thursday's night ends at midnight, and with "," at 02:00. Where the specification
// is silent, this package closes rather than opens: a night that a later rule replaced does not come back after midnight.
//
// PH are the eleven public holidays of the whole country (Code du travail, article L3133-1); those of Alsace-Moselle and
// of the overseas territories alone are not among them.
//
// Hours are wall-clock hours in the zone of the time asked about: a clock put forward skips hours, one put back repeats
// them.
package hours

import (
	"fmt"
	"time"
)

// horizon is how far Next looks: a year, and some days so that a yearly opening is found from the day after it.
const horizon = 400 * 24 * time.Hour

// Schedule is parsed opening hours. It is immutable and safe for concurrent use. A nil *Schedule is always open.
type Schedule struct {
	text   string
	rules  []rule
	always bool
}

// Error says where opening hours could not be read, and why.
type Error struct {
	Pos int    // byte offset in the text, from 0
	Msg string // what is wrong, and what to write instead where that is known
}

// Error counts bytes from 1, as editors count columns.
func (e *Error) Error() string { return fmt.Sprintf("at byte %d: %s", e.Pos+1, e.Msg) }

// Parse reads opening hours. Empty text (or white space) means always open. Its errors are of type *Error.
func Parse(s string) (*Schedule, error) {
	rules, err := parse(s)
	if err != nil {
		return nil, err
	}
	return &Schedule{text: s, rules: rules, always: alwaysOpen(rules)}, nil
}

// String returns the text as it was given to Parse.
func (s *Schedule) String() string {
	if s == nil {
		return ""
	}
	return s.text
}

// Always tells whether the schedule is open at every time. It judges by weekdays only: hours that come to the same by
// way of dates, weeks or public holidays are not found out.
func (s *Schedule) Always() bool { return s == nil || s.always }

// Open tells whether the schedule is open at t, on the wall clock of t's zone.
func (s *Schedule) Open(t time.Time) bool {
	if s.Always() {
		return true
	}
	return contains(s.day(t.Date()), minuteOf(t))
}

// Next returns the first change of state strictly after t, in t's zone, and whether the schedule opens there or closes.
// ok is false if nothing changes within about 400 days.
func (s *Schedule) Next(t time.Time) (at time.Time, opens, ok bool) {
	if s.Always() {
		return time.Time{}, false, false
	}
	end := t.Add(horizon)
	was := s.Open(t)
	for from, to := t, t; !from.After(end); from = to {
		to = evenly(from)
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
