package ledger

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestPeriods(t *testing.T) {
	t.Parallel()
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		v, err := time.ParseInLocation("2006-01-02 15:04", s, paris)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		now, period string
		resets      int
		start, end  string
	}{
		{"2026-11-22 10:00", "day", 0, "2026-11-22 00:00", "2026-11-23 00:00"},
		{"2026-10-25 23:59", "day", 0, "2026-10-25 00:00", "2026-10-26 00:00"}, // 25 hours long
		{"2026-11-22 10:00", "week", 1, "2026-11-16 00:00", "2026-11-23 00:00"},
		{"2026-11-22 10:00", "week", 7, "2026-11-22 00:00", "2026-11-29 00:00"},
		{"2026-11-22 10:00", "month", 1, "2026-11-01 00:00", "2026-12-01 00:00"},
		{"2026-11-22 10:00", "month", 23, "2026-10-23 00:00", "2026-11-23 00:00"},
		{"2026-02-28 00:00", "month", 31, "2026-02-28 00:00", "2026-03-31 00:00"},
		{"2026-02-27 23:59", "month", 31, "2026-01-31 00:00", "2026-02-28 00:00"},
		{"2026-03-30 12:00", "month", 31, "2026-02-28 00:00", "2026-03-31 00:00"},
		{"2026-01-05 12:00", "month", 10, "2025-12-10 00:00", "2026-01-10 00:00"},
		{"2026-12-15 12:00", "month", 10, "2026-12-10 00:00", "2027-01-10 00:00"},
	} {
		if got := PeriodStart(at(c.now), c.period, c.resets); !got.Equal(at(c.start)) {
			t.Errorf("%s %s %d began %s, want %s", c.now, c.period, c.resets, got, c.start)
		}
		if got := PeriodEnd(at(c.now), c.period, c.resets); !got.Equal(at(c.end)) {
			t.Errorf("%s %s %d ends %s, want %s", c.now, c.period, c.resets, got, c.end)
		}
	}
	now := at("2026-11-22 10:00")
	if !PeriodStart(now, "once", 0).IsZero() || !PeriodEnd(now, "once", 0).IsZero() {
		t.Error("a donation given once has no period")
	}
}

// meet checks that a period contains the moment it was asked for, and ends when the next one begins.
func meet(t *testing.T, now time.Time, period string, resets int) {
	t.Helper()
	start, end := PeriodStart(now, period, resets), PeriodEnd(now, period, resets)
	if start.After(now) || !end.After(now) {
		t.Fatalf("%s is not in its %s of day %d: %s to %s", now, period, resets, start, end)
	}
	if next := PeriodStart(end, period, resets); !next.Equal(end) {
		t.Fatalf("the %s of day %d after %s begins %s, not %s", period, resets, now, next, end)
	}
	if again := PeriodStart(end.Add(-time.Second), period, resets); !again.Equal(start) {
		t.Fatalf("the %s of day %d around %s begins %s and %s", period, resets, now, start, again)
	}
}

func TestPeriodsMeet(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(r.Int64N(int64(4 * 365 * 24 * time.Hour))))
		period, resets := "month", 1+r.IntN(31)
		if r.IntN(3) == 0 {
			period, resets = "week", 1+r.IntN(7)
		}
		meet(t, now, period, resets)
	}
}

// TestPeriodsMeetWhereClocksAreChanged: every half hour around each change of the clock, in zones that change it at midnight, across
// midnight, or by a whole day.
func TestPeriodsMeetWhereClocksAreChanged(t *testing.T) {
	t.Parallel()
	for zone, years := range map[string][2]int{
		"Europe/Paris": {2024, 2040}, "America/Miquelon": {2024, 2040}, "Atlantic/Azores": {2024, 2040},
		"America/Havana": {2024, 2040}, "America/Nuuk": {2024, 2040}, "America/Santiago": {2024, 2040},
		"Asia/Beirut": {2024, 2040}, "Africa/Cairo": {2024, 2040}, "America/Asuncion": {2020, 2024},
		"America/St_Johns": {2004, 2011}, "Pacific/Apia": {2011, 2012}, "Africa/Casablanca": {2024, 2040},
	} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			loc, err := time.LoadLocation(zone)
			if err != nil {
				t.Fatal(err)
			}
			changes := 0
			now := time.Date(years[0], 1, 1, 0, 0, 0, 0, time.UTC).In(loc)
			for _, was := now.Zone(); now.Year() <= years[1]; now = now.Add(time.Hour) {
				_, is := now.Zone()
				if is == was {
					continue
				}
				was = is
				changes++
				for n := -60; n <= 60; n++ {
					at := now.Add(time.Duration(n) * 30 * time.Minute)
					meet(t, at, "day", 0)
					for days := range 3 { // the change is on the period's first day, or near it
						on := now.AddDate(0, 0, days-1)
						meet(t, at, "week", (int(on.Weekday())+6)%7+1)
						meet(t, at, "month", on.Day())
					}
				}
			}
			if changes < 3 {
				t.Errorf("the clock was changed %d times: the test proves little", changes)
			}
		})
	}
}
