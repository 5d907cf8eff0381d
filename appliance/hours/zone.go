package hours

import (
	"sort"
	"time"
)

// day24 is a day without a clock change.
const day24 = 24 * time.Hour

// maxOffset is more than any zone's offset from UTC has been (Asia/Manila, 15 h 56 min, before 1845).
const maxOffset = 16 * time.Hour

// steadyUntil returns until when the zone's offset stays the same from t on, at most until the end of t's day. The result is always
// after t.
//
// time.Time.ZoneBounds cannot be used. For a zone that is defined only by its rule, as Go's embedded zones are, tzset (Go's
// time/zoneinfo.go) assumes years of 365 days, and on the last day of a leap year returns an end in the past.
func steadyUntil(t time.Time) time.Time {
	midnight := t.Add(day24 - sinceMidnight(t))
	if change, changes := offsetChange(t, midnight); changes {
		return change
	}
	return midnight
}

// sinceMidnight returns the time of day on the wall clock.
func sinceMidnight(t time.Time) time.Duration {
	hour, minute, second := t.Clock()
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute +
		time.Duration(second)*time.Second + time.Duration(t.Nanosecond())
}

// offsetChange returns the second, after from and not after to, at which the zone's offset changes, and whether it does. Two changes
// that cancel each other are not found: no zone has such changes within two days.
func offsetChange(from, to time.Time) (at time.Time, changes bool) {
	_, was := from.Zone()
	if _, is := to.Zone(); is == was {
		return time.Time{}, false
	}
	later := func(seconds int) time.Time {
		return time.Unix(from.Unix()+1+int64(seconds), 0).In(from.Location())
	}
	n := sort.Search(int(to.Unix()-from.Unix()), func(n int) bool {
		_, is := later(n).Zone()
		return is != was
	})
	return later(n), true
}

// DayStart returns when a date begins in a zone: the moment from which the clock shows this date or a later one. That is not always
// 00:00. A clock that is set forward at midnight skips it, and one that is set back over midnight shows the previous day once more.
// Month and day are normalized as by time.Date. For successive dates the result never goes back.
func DayStart(year int, month time.Month, day int, zone *time.Location) time.Time {
	wall := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	from, to := wall.Add(-maxOffset).In(zone), wall.Add(maxOffset).In(zone)
	midnight := func(by time.Time) time.Time { // by the offset of that time
		_, offset := by.Zone()
		return wall.Add(-time.Duration(offset) * time.Second).In(zone)
	}
	last := midnight(to)
	change, changes := offsetChange(from, to)
	if !changes || last.After(change) {
		return last
	}
	if first := midnight(from); first.Before(change) {
		return first
	}
	return change
}
