package web

import (
	"strconv"
	"strings"
	"time"
)

// Amount is a number with its unit, apart so that a page can show the number large.
type Amount struct{ Number, Unit string }

// String joins number and unit by a space that does not break.
func (a Amount) String() string { return strings.TrimPrefix(a.Number+noBreak+a.Unit, noBreak) }

// join writes amounts one after the other.
func join(amounts []Amount) string {
	parts := make([]string, len(amounts))
	for i, a := range amounts {
		parts[i] = a.String()
	}
	return strings.Join(parts, " ")
}

// Duration writes a duration in hours and minutes, rounded to the minute: "1 hour 30 minutes".
func (w *Words) Duration(d time.Duration) string { return join(w.DurationParts(d)) }

// DurationParts is Duration with its numbers apart.
func (w *Words) DurationParts(d time.Duration) []Amount {
	minutes := int(d.Round(time.Minute) / time.Minute)
	if minutes < 1 {
		return []Amount{{Unit: w.T("unit.less-than", "amount", w.amount("minute", 10).String())}}
	}
	var parts []Amount
	if h := minutes / 60; h > 0 {
		parts = append(parts, w.amount("hour", h*10))
	}
	if m := minutes % 60; m > 0 {
		parts = append(parts, w.amount("minute", m*10))
	}
	return parts
}

// Size writes a number of bytes in decimal units: "1.5 gigabytes", "320 megabytes". It never shows more than there is.
func (w *Words) Size(bytes uint64) string { return w.SizeParts(bytes).String() }

// SizeParts is Size with its number apart.
func (w *Words) SizeParts(bytes uint64) Amount {
	const mega, giga = 1_000_000, 1_000_000_000
	switch {
	case bytes >= 10*giga:
		return w.amount("gigabyte", int(min(bytes/giga, 1_000_000))*10)
	case bytes >= giga:
		return w.amount("gigabyte", int(bytes/(giga/10)))
	case bytes >= mega || bytes == 0:
		return w.amount("megabyte", int(bytes/mega)*10)
	default:
		return Amount{Unit: w.T("unit.less-than", "amount", w.amount("megabyte", 10).String())}
	}
}

// amount writes a number of tenths with its unit.
func (w *Words) amount(unit string, tenths int) Amount {
	number := strconv.Itoa(tenths / 10)
	if f := tenths % 10; f != 0 {
		number += w.T("language.decimal") + strconv.Itoa(f)
	}
	return Amount{Number: number, Unit: w.unit(unit, tenths)}
}

// Speed says what a rate in bit/s is good for; 0 is no limit. A film in high definition wants some 8 Mbit/s, a video on
// a phone 2, radio and calls half of one.
func (w *Words) Speed(bits uint64) string {
	switch {
	case bits == 0:
		return w.T("speed.unlimited")
	case bits >= 8_000_000:
		return w.T("speed.film")
	case bits >= 2_000_000:
		return w.T("speed.video")
	case bits >= 500_000:
		return w.T("speed.radio")
	default:
		return w.T("speed.text")
	}
}

// Video says how long a video on a phone may play within a number of bytes, or "" when that is no useful picture: a phone
// takes about half a gigabyte an hour.
func (w *Words) Video(bytes uint64) string {
	const hour = 500_000_000
	minutes := min(bytes, 100*hour) * 60 / hour
	switch {
	case minutes < 10:
		return ""
	case minutes < 120:
		return w.Duration(time.Duration(minutes/10*10) * time.Minute)
	default:
		return w.Duration(time.Duration(minutes/60) * time.Hour)
	}
}

// When says when t is, seen from now, in t's time zone: "tomorrow at 8:30 am". A day's beginning is just that day, since
// "Monday at midnight" is understood in two ways.
func (w *Words) When(t, now time.Time) string {
	midnight := t.Hour() == 0 && t.Minute() == 0
	clock := w.clock(t)
	switch calendarDays(now.In(t.Location()), t) {
	case 0:
		return w.T("when.today-at", "clock", clock)
	case 1:
		if midnight {
			return w.T("when.tomorrow")
		}
		return w.T("when.tomorrow-at", "clock", clock)
	}
	if midnight {
		return w.date("when.date", t)
	}
	return w.date("when.date-at", t, "clock", clock)
}

// Day writes a date without its year, on one line: "21 November".
func (w *Words) Day(t time.Time) string {
	return strings.ReplaceAll(w.date("when.day", t), " ", noBreak)
}

// date fills t's date, and further pairs, into the message of a key.
func (w *Words) date(key string, t time.Time, pairs ...string) string {
	number := strconv.Itoa(t.Day())
	if t.Day() == 1 {
		number = w.T("when.first-day")
	}
	return w.T(key, append(pairs, "day", number,
		"weekday", w.T("when.weekday."+strconv.Itoa(int(t.Weekday()))),
		"month", w.T("when.month."+strconv.Itoa(int(t.Month())-1)))...)
}

// clock writes the time of day by the language's layout, which is one of package time.
func (w *Words) clock(t time.Time) string {
	if t.Hour() == 12 && t.Minute() == 0 {
		return w.T("when.noon")
	}
	key := "when.clock"
	if t.Minute() == 0 {
		key = "when.whole-hour"
	}
	s := t.Format(w.T(key))
	if len(s) > 1 && s[0] == '0' && s[1] >= '0' && s[1] <= '9' {
		s = s[1:] // package time has no 24-hour clock without the zero
	}
	return strings.ReplaceAll(s, " ", narrowNoBreak)
}

// calendarDays counts the midnights from a to b, both in one zone.
func calendarDays(a, b time.Time) int {
	noon := func(t time.Time) time.Time {
		y, m, d := t.Date()
		return time.Date(y, m, d, 12, 0, 0, 0, time.UTC)
	}
	return int(noon(b).Sub(noon(a)) / (24 * time.Hour))
}
