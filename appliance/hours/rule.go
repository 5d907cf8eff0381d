package hours

import (
	"slices"
	"time"
)

// minutesADay is the length of a day on the wall clock; the clock's changes are Next's business.
const minutesADay = 24 * 60

// span is minutes since midnight, from inclusive, to exclusive. In a rule, to may lie beyond midnight.
type span struct{ from, to int }

var wholeDay = span{0, minutesADay}

// rule is one rule as written: on the days that match all its selectors, its times are open or off.
type rule struct {
	added bool // it stands after a comma: it does not replace what came before
	off   bool

	years    span        // from 0: every year; to inclusive
	dates    []dateRange // none: every date
	weeks    []weekRange // none: every week
	weekdays [7]nthSet   // by time.Weekday; all empty, without holiday: every day
	holiday  bool        // PH
	both     bool        // "PH Mo-Fr": holiday and weekday; else, "PH,Mo-Fr", one is enough

	times  []span // none: the whole day
	always bool   // 24/7

	pos, end int // where it stands in the text, in bytes
}

// hasHours tells whether the rule itself says its hours.
func (r *rule) hasHours() bool { return r.always || len(r.times) > 0 }

// dated tells whether the rule is about dates, weeks or public holidays and not about all of the year.
func (r *rule) dated() bool {
	return r.years.from != 0 || len(r.dates) > 0 || len(r.weeks) > 0 || r.holiday
}

// selects tells whether the rule is about some days and not all.
func (r *rule) selects() bool { return r.dated() || r.weekdays != [7]nthSet{} }

// dateRange is dates from and to, both inclusive, as year*10000 + month*100 + day. Without a year it is every year, and
// runs over the year's end when to is before from.
type dateRange struct{ from, to int }

// weekRange is ISO weeks from and to, both inclusive, every step of them.
type weekRange struct{ from, to, step int }

// nthSet says which of a month's weekdays: bit 0 is every one, bits 1 to 5 the first to the fifth, bits 6 to 10 the
// last to the last but four.
type nthSet uint16

// nthBit returns the bit of the nth weekday of a month, n from 1 to 5 or from -1 to -5.
func nthBit(n int) nthSet {
	if n < 0 {
		n = 5 - n
	}
	return 1 << n
}

// calendarDay is what rules ask about a date.
type calendarDay struct {
	date      int // as in dateRange, with the year
	weekday   time.Weekday
	week      int // ISO 8601
	nth       nthSet
	isHoliday bool
}

func newCalendarDay(t time.Time) calendarDay {
	year, month, day := t.Date()
	_, week := t.ISOWeek()
	daysInMonth := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
	return calendarDay{
		date:      year*10000 + int(month)*100 + day,
		weekday:   t.Weekday(),
		week:      week,
		nth:       1 | nthBit((day-1)/7+1) | nthBit(-((daysInMonth-day)/7 + 1)),
		isHoliday: holiday(year, month, day),
	}
}

func (r *rule) matches(d calendarDay) bool {
	if year := d.date / 10000; r.years.from != 0 && (year < r.years.from || year > r.years.to) {
		return false
	}
	if len(r.dates) > 0 && !slices.ContainsFunc(r.dates, func(dates dateRange) bool { return dates.contains(d.date) }) {
		return false
	}
	if len(r.weeks) > 0 && !slices.ContainsFunc(r.weeks, func(weeks weekRange) bool { return weeks.contains(d.week) }) {
		return false
	}
	weekday := r.weekdays[d.weekday]&d.nth != 0
	switch {
	case r.both:
		return r.holiday && d.isHoliday && weekday
	case r.holiday || r.weekdays != [7]nthSet{}:
		return r.holiday && d.isHoliday || weekday
	}
	return true
}

func (r dateRange) contains(date int) bool {
	if r.from < 10000 {
		date %= 10000
	}
	if r.from > r.to {
		return date >= r.from || date <= r.to
	}
	return r.from <= date && date <= r.to
}

func (r weekRange) contains(week int) bool {
	return r.from <= week && week <= r.to && (week-r.from)%r.step == 0
}

// alwaysOpen tells whether the rules open every minute of every day, as far as weekdays can tell: it never says so
// wrongly.
func alwaysOpen(rules []rule) bool {
	var open [7]bool
	for i := range rules {
		r := &rules[i]
		everyDate := r.years.from == 0 && len(r.dates) == 0 && len(r.weeks) == 0 && !r.both
		whole := len(r.times) == 0 || slices.Contains(r.times, wholeDay)
		for day, nth := range r.weekdays {
			everyDay := nth&1 != 0 || r.weekdays == [7]nthSet{} && !r.holiday
			switch {
			case r.off || !r.added && !whole:
				open[day] = open[day] && nth == 0 && !everyDay && !r.holiday
			case whole && everyDate && everyDay:
				open[day] = true
			}
		}
	}
	return !slices.Contains(open[:], false)
}

// replaces tells whether nothing that the rules before it opened is left on the days that the rule matches.
func (r *rule) replaces() bool {
	if r.off {
		return len(r.times) == 0
	}
	return !r.added
}

// day returns the open minutes of a date, which is normalized as by time.Date: sorted, apart, none beyond the day.
func (s *Schedule) day(year int, month time.Month, day int) []span {
	noon := time.Date(year, month, day, 12, 0, 0, 0, time.UTC)
	today, yesterday := newCalendarDay(noon), newCalendarDay(noon.AddDate(0, 0, -1))
	lastNight := 0 // the rules before this one were replaced yesterday
	for i := range s.rules {
		if s.rules[i].replaces() && s.rules[i].matches(yesterday) {
			lastNight = i
		}
	}
	var open []span
	for i := range s.rules {
		r := &s.rules[i]
		apply := add
		if r.off {
			apply = subtract
		}
		matches := r.matches(today)
		if matches && r.replaces() {
			open = nil
		}
		if i >= lastNight && r.matches(yesterday) {
			for _, t := range r.times {
				open = apply(open, span{0, min(t.to-minutesADay, minutesADay)})
			}
		}
		if !matches {
			continue
		}
		if len(r.times) == 0 {
			open = apply(open, wholeDay)
		}
		for _, t := range r.times {
			open = apply(open, span{t.from, min(t.to, minutesADay)})
		}
	}
	return open
}

// contains tells whether a minute of the day is in one of the spans.
func contains(spans []span, minute int) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.from <= minute && minute < s.to })
}

// add returns spans with s joined in. Both are sorted and apart.
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

// subtract returns spans without what lies in s.
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
