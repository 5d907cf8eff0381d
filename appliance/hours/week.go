package hours

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Week is what a schedule comes to, so that people can hold it against what they meant. Hours are written as "08:30-12:00,
// 13:30-19:00", "closed" or "day and night".
type Week struct {
	Days   [7]string // usual ones, from Monday on
	Others []Other   // the days of the year to come that are not as usual, in order
}

// Other is one day, or several in a row, with the same unusual hours.
type Other struct {
	From, To time.Time // both inclusive, at noon
	Hours    string
}

// weeks is how many of them Week looks at: a year, and what lasts into the next one.
const weeks = 53

// Week returns the schedule's week and the days of the next year that differ from it, from t's date on in t's zone. What
// is usual is what most Mondays have, and so on.
func (s *Schedule) Week(t time.Time) Week {
	year, month, first := t.Date()
	noon := func(day int) time.Time { return time.Date(year, month, first+day, 12, 0, 0, 0, t.Location()) }
	monday := func(day int) int { return (int(noon(day).Weekday()) + 6) % 7 }
	var all [weeks * 7]string
	var counts [7]map[string]int
	for day := range all {
		text := "day and night"
		if !s.Always() {
			text = describe(s.day(noon(day).Date()))
		}
		all[day] = text
		weekday := monday(day)
		if counts[weekday] == nil {
			counts[weekday] = map[string]int{}
		}
		counts[weekday][text]++
	}
	var w Week
	for day := range 7 {
		weekday := monday(day)
		for i := day; i < len(all); i += 7 { // in order, so that of equals the next one is taken
			if counts[weekday][all[i]] > counts[weekday][w.Days[weekday]] {
				w.Days[weekday] = all[i]
			}
		}
	}
	for day := 0; day < len(all); day++ {
		if all[day] == w.Days[monday(day)] {
			continue
		}
		last := day
		for next := day + 1; next < len(all) && all[next] == all[day]; next++ {
			if all[next] != w.Days[monday(next)] {
				last = next
			}
		}
		w.Others = append(w.Others, Other{noon(day), noon(last), all[day]})
		day = last
	}
	return w
}

// describe writes a day's hours.
func describe(open []span) string {
	switch {
	case len(open) == 0:
		return "closed"
	case open[0] == wholeDay:
		return "day and night"
	}
	var list []string
	for _, s := range open {
		list = append(list, fmt.Sprintf("%02d:%02d-%02d:%02d", s.from/60, s.from%60, s.to/60, s.to%60))
	}
	return strings.Join(list, ", ")
}

// doubtYears are those that Doubts looks at: in 28 of them every date has had every weekday.
var doubtYears = span{2024, 2051}

// Doubts returns what was read as the specification has it and may not be what was meant, one English sentence each: rules
// without hours or with hours of a 12-hour clock, and rules that a later one leaves without effect.
func (s *Schedule) Doubts() (list []string) {
	if s == nil {
		return nil
	}
	said := func(i int) string { return s.text[s.rules[i].pos:s.rules[i].end] }
	for i := range s.rules {
		if r := &s.rules[i]; !r.off && !r.hasHours() && r.selects() {
			list = append(list, fmt.Sprintf(`%q has no hours, and so is open day and night; if it is not, write them, or "off"`, said(i)))
		}
		if s.rules[i].halfClock() {
			list = append(list, fmt.Sprintf("%q runs far over midnight, or goes back; hours are counted from 00:00 to 24:00", said(i)))
		}
		matches, undone, by := s.undone(i)
		switch {
		case undone == 0:
		case undone == matches:
			list = append(list, fmt.Sprintf("%q has no effect: %q comes after it and holds on the same days; write what is special last",
				said(i), said(by)))
		case s.rules[i].dated() && !s.rules[by].dated():
			list = append(list, fmt.Sprintf("%q does not hold on some of its days, because %q comes after it; write what is special last",
				said(i), said(by)))
		}
	}
	return list
}

// halfClock tells whether the rule's hours look as if they were counted to 12 twice a day: 09:00-05:00, or
// 08:00-12:00,02:00-06:00. What opens for the night opens for less than 16 hours.
func (r *rule) halfClock() bool {
	for i, t := range r.times {
		if t.to > minutesADay && t.to-t.from >= 16*60 || i > 0 && t.from < r.times[i-1].to {
			return true
		}
	}
	return false
}

// undone returns on how many days a rule matches, on how many of them a later rule opens in its place, and the first such
// rule.
func (s *Schedule) undone(i int) (matches, undone, by int) {
	r := &s.rules[i]
	if i == len(s.rules)-1 || r.off && !r.selects() && len(r.times) == 0 { // "off" at the beginning says what is so anyway
		return 0, 0, 0
	}
	instead := func(later rule) bool { return !later.off && (!later.added || r.off && len(r.times) == 0) }
	if !slices.ContainsFunc(s.rules[i+1:], instead) {
		return 0, 0, 0
	}
	for day := time.Date(doubtYears.from, 1, 1, 12, 0, 0, 0, time.UTC); day.Year() <= doubtYears.to; day = day.AddDate(0, 0, 1) {
		today := newCalendarDay(day)
		if !r.matches(today) {
			continue
		}
		matches++
		for j := i + 1; j < len(s.rules); j++ {
			if instead(s.rules[j]) && s.rules[j].matches(today) {
				if undone == 0 {
					by = j
				}
				undone++
				break
			}
		}
	}
	return matches, undone, by
}
