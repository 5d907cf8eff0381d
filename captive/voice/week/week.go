// Package week names ISO weeks. A week is the resolution of time in the share's records: nothing that residents say is stored with an
// hour or a day.
package week

import (
	"fmt"
	"time"
)

// Week is an ISO 8601 week, as in "2026-W47". Weeks are ordered as strings; "" is no week, and sorts before all.
type Week string

// Of returns the week of a time in its zone.
func Of(t time.Time) Week {
	year, week := t.ISOWeek()
	return Week(fmt.Sprintf("%04d-W%02d", year, week))
}

// Monday returns the first moment of the week in UTC, or the zero time if w is not a week.
func (w Week) Monday() time.Time {
	var year, n int
	if _, err := fmt.Sscanf(string(w), "%4d-W%2d", &year, &n); err != nil {
		return time.Time{}
	}
	// 4 January is always in week 1 (ISO 8601).
	fourth := time.Date(year, 1, 4, 0, 0, 0, 0, time.UTC)
	return fourth.AddDate(0, 0, -(int(fourth.Weekday())+6)%7+7*(n-1))
}

// Add returns the week that many weeks later.
func (w Week) Add(weeks int) Week { return Of(w.Monday().AddDate(0, 0, 7*weeks)) }
