package web

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/number"
)

// Amount is a number with its unit, apart so that a page can show the number large.
type Amount struct{ Number, Unit string }

// String joins number and unit by a space that does not break.
func (a Amount) String() string { return strings.Trim(a.Number+noBreak+a.Unit, noBreak) }

// Duration writes a duration in hours and minutes, rounded to the minute: "1 hour 30 minutes".
func (w *Words) Duration(d time.Duration) string {
	parts := w.DurationParts(d)
	if len(parts) == 2 {
		return w.T("unit.hours-minutes", "hours", parts[0].String(), "minutes", parts[1].String())
	}
	return parts[0].String()
}

// DurationParts is Duration with its numbers apart.
func (w *Words) DurationParts(d time.Duration) []Amount {
	minutes := int(d.Round(time.Minute) / time.Minute)
	if minutes < 1 {
		return []Amount{{Unit: w.T("unit.under-minute")}}
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

const mega, giga = 1_000_000, 1_000_000_000

// SizeParts is Size with its number apart.
func (w *Words) SizeParts(bytes uint64) Amount {
	bytes = min(bytes, 1_000_000*giga)
	switch shown := Shown(bytes); {
	case shown >= giga:
		return w.amount("gigabyte", int(shown/(giga/10)))
	case shown > 0 || bytes == 0:
		return w.amount("megabyte", int(shown/mega)*10)
	default:
		return Amount{Unit: w.T("unit.under-megabyte")}
	}
}

// Shown returns what Size shows of a number of bytes: whole gigabytes from 100 on, tenths of them below, whole megabytes
// below one. So the parts of something can be made to add up as they are read.
func Shown(bytes uint64) uint64 {
	switch {
	case bytes >= 100*giga:
		return bytes / giga * giga
	case bytes >= giga:
		return bytes / (giga / 10) * (giga / 10)
	}
	return bytes / mega * mega
}

// amount writes a number of tenths with its unit. A plural form may have the number in its word, as Arabic's dual has.
func (w *Words) amount(unit string, tenths int) Amount {
	form := w.T("unit." + unit + "." + w.form(tenths))
	if name, counted := strings.CutPrefix(form, countedBy); counted {
		return Amount{Number: w.numbers.Sprint(number.Decimal(float64(tenths) / 10)), Unit: name}
	}
	return Amount{Number: form}
}

// countedBy is what a unit's plural form begins with if its number is written beside it.
const countedBy = "{number} "

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
	at := w.at(t)
	switch calendarDays(now.In(t.Location()), t) {
	case 0:
		return w.T("when.today-at", "at", at)
	case 1:
		if midnight {
			return w.T("when.tomorrow")
		}
		return w.T("when.tomorrow-at", "at", at)
	}
	if midnight {
		return w.date("when.date", t)
	}
	return w.date("when.date-at", t, "at", at)
}

// Day writes a date without its year, on one line: "21 November".
func (w *Words) Day(t time.Time) string {
	return strings.ReplaceAll(w.date("when.day", t), " ", noBreak)
}

// date fills t's date, and further pairs, into the message of a key.
func (w *Words) date(key string, t time.Time, pairs ...string) string {
	day := strconv.Itoa(t.Day())
	if t.Day() == 1 {
		day = w.T("when.first-day")
	}
	return w.T(key, append(pairs, "day", day,
		"weekday", w.T("when.weekday."+strconv.Itoa(int(t.Weekday()))),
		"month", w.T("when.month."+strconv.Itoa(int(t.Month())-1)))...)
}

// at writes the time of day with its preposition, which may be of its own before some hours: "a la 1:30", "a las 8:30".
func (w *Words) at(t time.Time) string {
	if t.Hour() == 12 && t.Minute() == 0 {
		return w.T("when.noon")
	}
	if own, err := w.Message("when.at."+strconv.Itoa(t.Hour()), "clock", w.clock(t)); err == nil {
		return own
	}
	return w.T("when.at.any", "clock", w.clock(t))
}

// clock writes the time of day by the language's layout, which is one of package time.
func (w *Words) clock(t time.Time) string {
	layout := w.T("when.clock")
	if t.Minute() == 0 {
		layout = w.T("when.whole-hour")
	}
	s := t.Format(layout)
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
