package hours

import "time"

// dayNumber counts days from 1 January 1970 to the date that t shows.
func dayNumber(t time.Time) int {
	year, month, day := t.Date()
	return dayOf(year, month, day)
}

// dayOf returns the day number of a date, normalized as by time.Date.
func dayOf(year int, month time.Month, day int) int {
	return int(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / (24 * 3600))
}

// datePoint is a date as written: a day of a month, a weekday of a month (Oct Su[-1]), or Easter Sunday, plus an offset in days.
type datePoint struct {
	year   int // 0: every year
	easter bool
	month  time.Month
	day    int          // 0 if nth is used
	nth    int          // with weekday: 1 to 5, or -1 to -5 from the month's end
	on     time.Weekday // the weekday of nth
	offset int          // days
}

// in returns the date's day number in a year. ok is false for a fifth weekday that the month does not have. 29 February is 1 March in
// a year without it.
func (p datePoint) in(year int) (day int, ok bool) {
	switch {
	case p.easter:
		day = dayNumber(easter(year))
	case p.nth > 0:
		first := time.Date(year, p.month, 1, 0, 0, 0, 0, time.UTC)
		date := 1 + (int(p.on-first.Weekday())+7)%7 + 7*(p.nth-1)
		if date > daysIn(year, p.month) {
			return 0, false
		}
		day = dayOf(year, p.month, date)
	case p.nth < 0:
		last := time.Date(year, p.month+1, 0, 0, 0, 0, 0, time.UTC)
		date := last.Day() - (int(last.Weekday()-p.on)+7)%7 + 7*(p.nth+1)
		if date < 1 {
			return 0, false
		}
		day = dayOf(year, p.month, date)
	default:
		day = dayOf(year, p.month, p.day)
	}
	return day + p.offset, true
}

// dateRange is the days from one date to another, both inclusive, or every step-th of them. Without a year it applies to every year,
// and runs over the year's end if to is before from.
type dateRange struct {
	from, to datePoint
	step     int // at least 1; only of a range that does not run over the year's end
}

// contains tells whether a day, which is in that year, is in the range.
func (r dateRange) contains(year, day int) bool {
	first, last := year, year
	if r.from.year != 0 {
		first, last = r.from.year, r.to.year
	}
	from, ok := r.from.in(first)
	to, until := r.to.end(last)
	switch {
	case !ok || !until || r.from == r.to && r.from.day > daysIn(first, r.from.month):
		return false
	case from > to:
		return day >= from || day <= to
	}
	return from <= day && day <= to && (day-from)%r.step == 0
}

// leaves tells whether the offset moves the date out of its year.
func (p datePoint) leaves() bool {
	for year := firstYear; year <= lastYear && p.offset != 0; year++ {
		if day, ok := p.in(year); ok && (day < dayOf(year, 1, 1) || day > dayOf(year, 12, 31)) {
			return true
		}
	}
	return false
}

// end is like in, for the end of a range: 29 February is 28 February in a year without it.
func (p datePoint) end(year int) (day int, ok bool) {
	if p.day > 0 {
		p.day = min(p.day, daysIn(year, p.month))
	}
	return p.in(year)
}

// daysIn returns the length of a month.
func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}
