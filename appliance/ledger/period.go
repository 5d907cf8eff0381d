package ledger

import "time"

// PeriodStart returns when the period that t lies in began, in t's zone. A month too short for the day resets on its
// last.
func PeriodStart(t time.Time, period string, resets int) time.Time {
	y, m, d := t.Date()
	midnight := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, t.Location()) }
	switch period {
	case "day":
		return midnight(y, m, d)
	case "week":
		back := (int(t.Weekday()) - resets + 7) % 7
		return midnight(y, m, d-back)
	case "month":
		on := func(y int, m time.Month) time.Time {
			last := time.Date(y, m+1, 0, 0, 0, 0, 0, t.Location()).Day()
			return midnight(y, m, min(resets, last))
		}
		if s := on(y, m); !s.After(t) {
			return s
		}
		return on(y, m-1)
	}
	return time.Time{} // "once"
}

// PeriodEnd returns when the period that t lies in ends; zero if never.
func PeriodEnd(t time.Time, period string, resets int) time.Time {
	start := PeriodStart(t, period, resets)
	switch period {
	case "day":
		return start.AddDate(0, 0, 1)
	case "week":
		return start.AddDate(0, 0, 7)
	case "month":
		// The first days of the next month, or of the one after, lie in the next period.
		y, m, _ := start.Date()
		last := time.Date(y, m+2, 0, 0, 0, 0, 0, t.Location()).Day()
		return time.Date(y, m+1, min(resets, last), 0, 0, 0, 0, t.Location())
	}
	return time.Time{}
}
