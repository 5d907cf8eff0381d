package hours

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Week is a schedule's typical week, for people to compare with what they meant.
type Week struct {
	Days       [7]Hours    // the usual days, from Monday on
	Exceptions []Exception // the days of the coming year that differ, in order
}

// Hours are the opening hours of a day; empty if it is closed.
type Hours []Span

// Span is minutes since midnight on the wall clock, To exclusive. A whole day is 0 to 1440.
type Span struct{ From, To int }

// String returns hours as "08:30-12:00, 13:30-19:00", "closed" or "day and night".
func (h Hours) String() string {
	switch {
	case len(h) == 0:
		return "closed"
	case h[0] == Span{0, minutesADay}:
		return "day and night"
	}
	var list []string
	for _, s := range h {
		list = append(list, fmt.Sprintf("%02d:%02d-%02d:%02d", s.From/60, s.From%60, s.To/60, s.To%60))
	}
	return strings.Join(list, ", ")
}

// Exception is one day, or several consecutive ones, with the same unusual hours.
type Exception struct {
	From, To time.Time // both inclusive, at noon
	Hours    Hours
}

// weeks is how many weeks Week covers: a year, and what extends into the next one.
const weeks = 53

// Week returns the schedule's typical week, and the days of the next year that differ from it, from t's date on in t's zone. A typical
// Monday has the hours that most Mondays have, and so on.
func (s *Schedule) Week(t time.Time) Week {
	year, month, first := t.Date()
	noon := func(day int) time.Time { return time.Date(year, month, first+day, 12, 0, 0, 0, t.Location()) }
	monday := func(day int) int { return (int(noon(day).Weekday()) + 6) % 7 }
	var all [weeks * 7]Hours
	var texts [weeks * 7]string
	var counts [7]map[string]int
	for day := range all {
		all[day] = s.Day(noon(day))
		texts[day] = all[day].String()
		weekday := monday(day)
		if counts[weekday] == nil {
			counts[weekday] = map[string]int{}
		}
		counts[weekday][texts[day]]++
	}
	var w Week
	var usual [7]string
	for day := range 7 {
		weekday, most := monday(day), 0
		for i := day; i < len(all); i += 7 { // in order, so that of several equal ones the next is taken
			if n := counts[weekday][texts[i]]; n > most {
				w.Days[weekday], usual[weekday], most = all[i], texts[i], n
			}
		}
	}
	for day := 0; day < len(all); day++ {
		if texts[day] == usual[monday(day)] {
			continue
		}
		last := day
		for next := day + 1; next < len(all) && texts[next] == texts[day]; next++ {
			if texts[next] != usual[monday(next)] {
				last = next
			}
		}
		w.Exceptions = append(w.Exceptions, Exception{noon(day), noon(last), all[day]})
		day = last
	}
	return w
}

// Day returns the open hours of t's date in t's zone, in order and without overlaps.
func (s *Schedule) Day(t time.Time) Hours {
	if s.Always() {
		return Hours{{0, minutesADay}}
	}
	var open Hours
	for _, o := range s.day(t.Date()) {
		open = append(open, Span{o.from, o.to})
	}
	return open
}

// Weekly tells whether the rules make every week the same except for public holidays, and whether any rule is about those.
func (s *Schedule) Weekly() (weekly, holidays bool) {
	if s == nil {
		return true, false
	}
	weekly = true
	for i := range s.rules {
		r := &s.rules[i]
		holidays = holidays || slices.ContainsFunc(r.holidays, func(h holidaySelector) bool { return !h.school })
		moved := len(r.moved) > 0 || slices.ContainsFunc(r.holidays, func(h holidaySelector) bool { return h.school || h.offset != 0 })
		nth := slices.ContainsFunc(r.weekdays[:], func(n nthSet) bool { return n > 1 })
		weekly = weekly && len(r.years) == 0 && len(r.dates) == 0 && len(r.weeks) == 0 && !nth && !moved
	}
	return weekly, holidays
}

// Written returns the spans of the rules that open, as they are written: To is above 1440 for those that end after midnight. bare tells
// whether one of these rules has no hours. certain tells whether no rule leaves its state open (unknown, an open end).
func (s *Schedule) Written() (spans []Span, bare, certain bool) {
	certain = true
	if s == nil {
		return nil, false, true
	}
	for i := range s.rules {
		r := &s.rules[i]
		certain = certain && r.state != unknown && !r.openEnd
		if r.state != open {
			continue
		}
		bare = bare || !r.hasHours()
		for _, t := range r.times {
			spans = append(spans, Span{t.from, t.to})
		}
	}
	return spans, bare, certain
}

// WorkdaysOnly tells whether rules name the days from Monday to Friday together, and none of the other days alone. Lists write this
// to mean every day.
func (s *Schedule) WorkdaysOnly() bool {
	if s == nil {
		return false
	}
	together := false
	for i := range s.rules {
		days := s.rules[i].weekdays
		all := days[time.Monday]&days[time.Tuesday]&days[time.Wednesday]&days[time.Thursday]&days[time.Friday]&1 != 0
		middle := days[time.Tuesday] | days[time.Wednesday] | days[time.Thursday]
		if days[time.Saturday]|days[time.Sunday] != 0 || middle != 0 && !all || len(s.rules[i].moved) > 0 {
			return false
		}
		together = together || all
	}
	return together
}

// warningYears are the years that Warnings covers: within 28 years every date falls on every weekday.
var warningYears = span{2024, 2051}

// Warnings returns what the specification defines but people may not have meant, one English sentence each: rules without hours or with
// hours of a 12-hour clock, and rules that a later one overrides.
func (s *Schedule) Warnings() (list []string) {
	if s == nil {
		return nil
	}
	said := func(i int) string { return s.text[s.rules[i].pos:s.rules[i].end] }
	for i := range s.rules {
		if r := &s.rules[i]; r.state == open && !r.hasHours() && r.selects() {
			list = append(list, fmt.Sprintf(`%q has no hours, and so is open day and night; if it is not, write them, or "off"`, said(i)))
		}
		if s.rules[i].state == unknown {
			list = append(list, fmt.Sprintf(`%q counts as closed: "unknown" is neither open nor closed`, said(i)))
		}
		if s.rules[i].openEnd {
			list = append(list, fmt.Sprintf(`%q ends at its closing time: what comes after it ("+") is not certain`, said(i)))
		}
		if s.rules[i].twelveHourClock() {
			list = append(list, fmt.Sprintf("%q runs far over midnight, or goes back; hours are counted from 00:00 to 24:00", said(i)))
		}
		if by, ok := s.nightOver(i); ok {
			list = append(list, fmt.Sprintf("%q opens after midnight also when %q holds on the day before; that day's own night is not closed by it",
				said(i), said(by)))
		}
		matches, overridden, by := s.overridden(i)
		switch {
		case overridden == 0:
		case overridden == matches:
			list = append(list, fmt.Sprintf("%q has no effect: %q comes after it and holds on the same days; write what is special last",
				said(i), said(by)))
		case s.rules[i].dated() && !s.rules[by].dated():
			list = append(list, fmt.Sprintf("%q does not hold on some of its days, because %q comes after it; write what is special last",
				said(i), said(by)))
		}
	}
	return list
}

// twelveHourClock tells whether the rule's hours look like those of a 12-hour clock: 09:00-05:00, or 08:00-12:00,02:00-06:00. Opening
// hours over a night are shorter than 16 hours.
func (r *rule) twelveHourClock() bool {
	for i, t := range r.times {
		if t.to > minutesADay && t.to-t.from >= 16*60 || i > 0 && t.from < r.times[i-1].to {
			return true
		}
	}
	return false
}

// nightOver returns the first later rule that replaces a rule on a day, but not in the night that would begin on this day.
func (s *Schedule) nightOver(i int) (by int, ok bool) {
	r := &s.rules[i]
	overnight := func(t span) bool { return t.to > minutesADay }
	if r.state != open || !slices.ContainsFunc(r.times, overnight) || i == len(s.rules)-1 {
		return 0, false
	}
	for day := time.Date(warningYears.from, 1, 1, 12, 0, 0, 0, time.UTC); day.Year() <= warningYears.to; day = day.AddDate(0, 0, 1) {
		today, tomorrow := s.calendarDay(day), s.calendarDay(day.AddDate(0, 0, 1))
		if !r.matches(today) {
			continue
		}
		for j := i + 1; j < len(s.rules); j++ {
			if later := &s.rules[j]; later.replaces() && later.matches(today) && !later.matches(tomorrow) {
				return j, true
			}
		}
	}
	return 0, false
}

// overridden returns on how many days a rule matches, on how many of them a later rule replaces it, and the first such rule.
func (s *Schedule) overridden(i int) (matches, overridden, by int) {
	r := &s.rules[i]
	if i == len(s.rules)-1 || r.state == off && !r.selects() && len(r.times) == 0 { // "off" at the beginning has no effect
		return 0, 0, 0
	}
	replaces := func(later rule) bool {
		return later.state != off && (!later.added || r.state == off && len(r.times) == 0)
	}
	if !slices.ContainsFunc(s.rules[i+1:], replaces) {
		return 0, 0, 0
	}
	for day := time.Date(warningYears.from, 1, 1, 12, 0, 0, 0, time.UTC); day.Year() <= warningYears.to; day = day.AddDate(0, 0, 1) {
		today := s.calendarDay(day)
		if !r.matches(today) {
			continue
		}
		matches++
		for j := i + 1; j < len(s.rules); j++ {
			if replaces(s.rules[j]) && s.rules[j].matches(today) {
				if overridden == 0 {
					by = j
				}
				overridden++
				break
			}
		}
	}
	return matches, overridden, by
}
