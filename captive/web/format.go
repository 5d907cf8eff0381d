package web

import (
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/number"
)

// Amount is a number and its unit, separate so that a page can show the number in large type.
type Amount struct{ Number, Unit string }

// String joins number and unit with a no-break space.
func (a Amount) String() string { return strings.Trim(a.Number+noBreak+a.Unit, noBreak) }

// Duration formats a duration in hours and minutes, rounded to the minute: "1 hour 30 minutes".
func (w *Words) Duration(d time.Duration) string {
	parts := w.DurationParts(d)
	if len(parts) == 2 {
		return w.T("unit.hours-minutes", "hours", parts[0].String(), "minutes", parts[1].String())
	}
	return parts[0].String()
}

// DurationParts is Duration with separate numbers.
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

// Size formats a number of bytes in decimal units: "1.5 gigabytes", "320 megabytes". It rounds down.
func (w *Words) Size(bytes uint64) string { return w.SizeParts(bytes).String() }

const mega, giga = 1_000_000, 1_000_000_000

// SizeParts is Size with a separate number.
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

// Shown returns a number of bytes as Size rounds it down: to whole gigabytes from 100 GB on, to tenths of one from 1 GB on, else to
// whole megabytes. With it, parts can be made to add up as they are shown.
func Shown(bytes uint64) uint64 {
	switch {
	case bytes >= 100*giga:
		return bytes / giga * giga
	case bytes >= giga:
		return bytes / (giga / 10) * (giga / 10)
	}
	return bytes / mega * mega
}

// amount formats a number, given in tenths, with its unit. A plural form may include the number, as Arabic's dual does.
func (w *Words) amount(unit string, tenths int) Amount {
	form := w.T("unit." + unit + "." + w.form(tenths))
	if name, counted := strings.CutPrefix(form, countedBy); counted {
		return Amount{Number: w.numbers.Sprint(number.Decimal(float64(tenths) / 10)), Unit: name}
	}
	return Amount{Number: form}
}

// Count formats a number of things. The unit is one that the words have plural forms for.
func (w *Words) Count(unit string, n int) string { return w.CountParts(unit, n).String() }

// CountParts is Count with a separate number.
func (w *Words) CountParts(unit string, n int) Amount { return w.amount(unit, n*10) }

// Distance formats metres as a person says them: "800 metres", "1.5 kilometres", "12 kilometres".
func (w *Words) Distance(metres float64) string {
	hundreds := max(int(math.Round(metres/100)), 1)
	switch {
	case hundreds < 10:
		return w.Count("metre", hundreds*100)
	case hundreds < 100:
		return w.amount("kilometre", hundreds).String()
	}
	return w.Count("kilometre", int(math.Round(metres/1000)))
}

// countedBy is the prefix of a unit's plural form that is written after its number.
const countedBy = "{number} "

// Rate formats bit/s as technicians write them: "12 Mbit/s", "8.2 Mbit/s", "320 kbit/s". The words need the units kbit and mbit.
func (w *Words) Rate(bits uint64) string {
	const kilo, mega = 1_000, 1_000_000
	switch {
	case bits >= 10*mega:
		return w.Count("mbit", int((bits+mega/2)/mega))
	case bits >= mega:
		return w.amount("mbit", int((bits+mega/20)/(mega/10))).String()
	}
	return w.Count("kbit", int((bits+kilo/2)/kilo))
}

// Speed says what a rate in bit/s is good for; 0 means no limit. An HD film needs some 8 Mbit/s, a video on a phone 2 Mbit/s, radio
// and calls 0.5 Mbit/s.
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

// Video says how long a phone can play video within a number of bytes, or "" if it is less than ten minutes.
func (w *Words) Video(bytes uint64) string {
	if long := videoTime(bytes); long > 0 {
		return w.Duration(long)
	}
	return ""
}

// VideoParts is Video with separate numbers. It returns nil where Video returns "".
func (w *Words) VideoParts(bytes uint64) []Amount {
	if long := videoTime(bytes); long > 0 {
		return w.DurationParts(long)
	}
	return nil
}

// videoTime returns how long a phone can play video within a number of bytes, at about half a gigabyte an hour. It rounds down: to
// multiples of ten minutes below two hours, else to hours.
func videoTime(bytes uint64) time.Duration {
	const hour = 500_000_000
	minutes := time.Duration(min(bytes, 1_000_000*hour) * 60 / hour)
	if minutes < 120 {
		return minutes / 10 * 10 * time.Minute
	}
	return minutes / 60 * time.Hour
}

// When formats t relative to now, in t's time zone: "tomorrow at 8:30 am". Midnight is written as the day alone, since
// "Monday at midnight" is ambiguous.
func (w *Words) When(t, now time.Time) string {
	midnight := t.Hour() == 0 && t.Minute() == 0
	at := w.At(t)
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

// Day formats a date without its year, on one line: "21 November".
func (w *Words) Day(t time.Time) string {
	return strings.ReplaceAll(w.date("when.day", t), " ", noBreak)
}

// Month formats a date's month and year: "November 2026".
func (w *Words) Month(t time.Time) string {
	return w.date("when.month-year", t, "year", strconv.Itoa(t.Year()))
}

// date returns the message of a key with t's date and further pairs filled in.
func (w *Words) date(key string, t time.Time, pairs ...string) string {
	day := strconv.Itoa(t.Day())
	if t.Day() == 1 {
		day = w.T("when.first-day")
	}
	return w.T(key, append(pairs, "day", day,
		"weekday", w.T("when.weekday."+strconv.Itoa(int(t.Weekday()))),
		"month", w.T("when.month."+strconv.Itoa(int(t.Month())-1)))...)
}

// At formats the time of day with its preposition, which may depend on the hour: "a la 1:30", "a las 8:30".
func (w *Words) At(t time.Time) string {
	if t.Hour() == 12 && t.Minute() == 0 {
		return w.T("when.noon")
	}
	if own, err := w.Message("when.at."+strconv.Itoa(t.Hour()), "clock", w.Clock(t)); err == nil {
		return own
	}
	return w.T("when.at.any", "clock", w.Clock(t))
}

// Clock formats the time of day by the language's layout, in the format of package time.
func (w *Words) Clock(t time.Time) string {
	layout := w.T("when.clock")
	if t.Minute() == 0 {
		layout = w.T("when.whole-hour")
	}
	s := t.Format(layout)
	if len(s) > 1 && s[0] == '0' && s[1] >= '0' && s[1] <= '9' {
		s = s[1:] // package time has no 24-hour clock without the leading zero
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
