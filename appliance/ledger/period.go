package ledger

import (
	"time"

	"passerelle/appliance/hours"
)

// PeriodStart returns when the period around t began, in t's zone; zero for "once". In a month too short for the day,
// the period resets on the month's last day.
func PeriodStart(t time.Time, period string, resets int) time.Time {
	start, _ := around(t, period, resets)
	return start
}

// PeriodEnd returns when the period around t ends, which is always after t; zero if it never ends.
func PeriodEnd(t time.Time, period string, resets int) time.Time {
	_, end := around(t, period, resets)
	return end
}

// around returns when the period around t begins and ends: of all starts of periods, the last that is not after t, and the first
// that is after t. The period of t's date is only a first guess: a clock that is set back over midnight shows a past date.
func around(t time.Time, period string, resets int) (start, end time.Time) {
	y, m, d := t.Date()
	var begins func(n int) time.Time // start of the nth period from the one of t's date
	switch period {
	case "day":
		begins = func(n int) time.Time { return hours.DayStart(y, m, d+n, t.Location()) }
	case "week":
		back := (int(t.Weekday()) - resets + 7) % 7
		begins = func(n int) time.Time { return hours.DayStart(y, m, d-back+7*n, t.Location()) }
	case "month":
		begins = func(n int) time.Time {
			m := m + time.Month(n)
			last := time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day()
			return hours.DayStart(y, m, min(resets, last), t.Location())
		}
	default:
		return time.Time{}, time.Time{}
	}
	n := 0
	for begins(n).After(t) {
		n--
	}
	for !begins(n + 1).After(t) {
		n++
	}
	return begins(n), begins(n + 1)
}
