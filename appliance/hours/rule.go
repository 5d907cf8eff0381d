package hours

import (
	"slices"
	"time"
)

// minutesADay is the length of a day on the wall clock; Next handles clock changes.
const minutesADay = 24 * 60

// span is minutes since midnight, from inclusive, to exclusive. In a rule, to may be after the next midnight.
type span struct{ from, to int }

var wholeDay = span{0, minutesADay}

// ruleState is what a rule says of its hours.
type ruleState int

const (
	open ruleState = iota
	off
	unknown // neither: never open
)

// rule is one rule as written: on the days that match all its selectors, its times are open, closed or unknown.
type rule struct {
	added bool // after a comma, or hours for every day: it does not replace earlier rules
	state ruleState

	years    []yearRange // none: every year
	dates    []dateRange // none: every date
	weeks    []weekRange // none: every week
	weekdays [7]nthSet   // by time.Weekday; all empty, without moved and holidays: every day
	moved    []movedDay
	holidays []holidaySelector
	both     bool // "PH Mo-Fr": holiday and weekday; otherwise, as in "PH,Mo-Fr", one is enough

	times   []span // none: the whole day
	always  bool   // 24/7
	openEnd bool   // "18:00-22:00+": open at least until then

	pos, end int // byte offsets in the text
}

// hasHours tells whether the rule itself has hours.
func (r *rule) hasHours() bool { return r.always || len(r.times) > 0 }

// dated tells whether the rule selects dates, weeks or holidays.
func (r *rule) dated() bool {
	return len(r.years) > 0 || len(r.dates) > 0 || len(r.weeks) > 0 || len(r.holidays) > 0
}

// someDay tells whether the rule selects days of the week.
func (r *rule) someDay() bool { return r.weekdays != [7]nthSet{} || len(r.moved) > 0 }

// selects tells whether the rule selects some days instead of all.
func (r *rule) selects() bool { return r.dated() || r.someDay() }

// yearRange is the years from one to another, both inclusive, or every step-th of them.
type yearRange struct{ from, to, step int }

// weekRange is the ISO weeks from one to another, both inclusive, or every step-th of them.
type weekRange struct{ from, to, step int }

// movedDay is weekdays of a month, moved by a number of days, which is negative for earlier days: Sa[-1] +1 day.
type movedDay struct {
	weekday time.Weekday
	nth     nthSet
	offset  int
}

// holidaySelector is public or school holidays, moved by a number of days, which is negative for earlier days: PH -1 day.
type holidaySelector struct {
	school bool
	offset int
}

// nthSet selects weekdays of a month: bit 0 is all of them, bits 1 to 5 the first to the fifth, bits 6 to 10 the last to the fifth
// last.
type nthSet uint16

// nthBit returns the bit of the nth weekday of a month, n from 1 to 5 or from -1 to -5.
func nthBit(n int) nthSet {
	if n < 0 {
		n = 5 - n
	}
	return 1 << n
}

// calendarDay is what rules match in a date.
type calendarDay struct {
	noon    time.Time // UTC
	number  int       // as returned by dayNumber
	year    int
	weekday time.Weekday
	week    int // ISO 8601
	nth     nthSet
	zone    SchoolZone
}

func (s *Schedule) calendarDay(noon time.Time) calendarDay {
	_, week := noon.ISOWeek()
	return calendarDay{
		noon: noon, number: dayNumber(noon), year: noon.Year(), weekday: noon.Weekday(), week: week, nth: nthOf(noon), zone: s.zone,
	}
}

// nthOf returns which occurrence of its weekday in the month a date is, counted from the beginning and from the end.
func nthOf(t time.Time) nthSet {
	year, month, day := t.Date()
	return 1 | nthBit((day-1)/7+1) | nthBit(-((daysIn(year, month)-day)/7 + 1))
}

func (r *rule) matches(d calendarDay) bool {
	inYear := func(y yearRange) bool { return y.from <= d.year && d.year <= y.to && (d.year-y.from)%y.step == 0 }
	if len(r.years) > 0 && !slices.ContainsFunc(r.years, inYear) {
		return false
	}
	onDate := func(dates dateRange) bool { return dates.contains(d.year, d.number) }
	if len(r.dates) > 0 && !slices.ContainsFunc(r.dates, onDate) {
		return false
	}
	if len(r.weeks) > 0 && !slices.ContainsFunc(r.weeks, func(weeks weekRange) bool { return weeks.contains(d.week) }) {
		return false
	}
	if len(r.holidays) == 0 && !r.someDay() {
		return true
	}
	weekday := r.weekdays[d.weekday]&d.nth != 0 || slices.ContainsFunc(r.moved, func(m movedDay) bool {
		of := d.noon.AddDate(0, 0, -m.offset)
		return of.Weekday() == m.weekday && nthOf(of)&m.nth != 0
	})
	isHoliday := slices.ContainsFunc(r.holidays, func(h holidaySelector) bool {
		if h.school {
			return schoolHoliday(d.zone, d.number-h.offset)
		}
		return holiday(d.noon.AddDate(0, 0, -h.offset).Date())
	})
	if r.both {
		return isHoliday && weekday
	}
	return isHoliday || weekday
}

func (r weekRange) contains(week int) bool {
	return r.from <= week && week <= r.to && (week-r.from)%r.step == 0
}

// alwaysOpen tells whether the rules open every minute of every day, as far as weekdays show. It has no false positives.
func alwaysOpen(rules []rule) bool {
	var all [7]bool
	for i := range rules {
		r := &rules[i]
		everyDate := len(r.years) == 0 && len(r.dates) == 0 && len(r.weeks) == 0 && !r.both
		whole := len(r.times) == 0 || slices.Contains(r.times, wholeDay)
		for day, nth := range r.weekdays {
			everyDay := nth&1 != 0 || !r.someDay() && len(r.holidays) == 0
			switch {
			case r.state != open || !r.added && !whole:
				all[day] = all[day] && nth == 0 && !everyDay && len(r.holidays) == 0 && len(r.moved) == 0
			case whole && everyDate && everyDay:
				all[day] = true
			}
		}
	}
	return !slices.Contains(all[:], false)
}

// replaces tells whether the rule discards what earlier rules opened on the days that it matches.
func (r *rule) replaces() bool {
	switch {
	case r.state == off:
		return len(r.times) == 0
	case r.state == unknown && !r.selects():
		return len(r.times) == 0
	}
	return !r.added
}

// day returns the open minutes of a date, which is normalized as by time.Date: sorted, disjoint, within the day.
func (s *Schedule) day(year int, month time.Month, day int) []span {
	noon := time.Date(year, month, day, 12, 0, 0, 0, time.UTC)
	today, yesterday := s.calendarDay(noon), s.calendarDay(noon.AddDate(0, 0, -1))
	var hours []span
	for i := range s.rules {
		r := &s.rules[i]
		apply := add
		if r.state != open {
			apply = subtract
		}
		matches := r.matches(today)
		if matches && r.replaces() {
			hours = nil
		}
		if r.matches(yesterday) {
			for _, t := range r.times {
				hours = apply(hours, span{0, min(t.to-minutesADay, minutesADay)})
			}
		}
		if !matches {
			continue
		}
		if len(r.times) == 0 {
			hours = apply(hours, wholeDay)
		}
		for _, t := range r.times {
			hours = apply(hours, span{t.from, min(t.to, minutesADay)})
		}
	}
	return hours
}

// contains tells whether a minute of the day is in one of the spans.
func contains(spans []span, minute int) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.from <= minute && minute < s.to })
}

// add returns the union of spans and s. spans is sorted and disjoint, and so is the result.
func add(spans []span, s span) []span {
	if s.from >= s.to {
		return spans
	}
	var out []span
	for _, have := range spans {
		if have.from <= s.to && s.from <= have.to {
			s = span{min(have.from, s.from), max(have.to, s.to)}
			continue
		}
		out = append(out, have)
	}
	i, _ := slices.BinarySearchFunc(out, s.from, func(have span, from int) int { return have.from - from })
	return slices.Insert(out, i, s)
}

// subtract returns spans without s.
func subtract(spans []span, s span) []span {
	if s.from >= s.to {
		return spans
	}
	var out []span
	for _, have := range spans {
		if before := (span{have.from, min(have.to, s.from)}); before.from < before.to {
			out = append(out, before)
		}
		if after := (span{max(have.from, s.to), have.to}); after.from < after.to {
			out = append(out, after)
		}
	}
	return out
}
