package week

import (
	"testing"
	"time"
)

func TestWeek(t *testing.T) {
	t.Parallel()
	for day := time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2034; day = day.AddDate(0, 0, 1) {
		w := Of(day)
		monday := w.Monday()
		if since := day.Sub(monday); since < 0 || since >= 7*24*time.Hour || monday.Weekday() != time.Monday || Of(monday) != w {
			t.Fatalf("%v is in %s, which begins on %v", day, w, monday)
		}
		if next := Of(day.AddDate(0, 0, 7)); w.Add(1) != next || next.Add(-1) != w || next <= w {
			t.Fatalf("after %s: %s, want %s", w, w.Add(1), next)
		}
	}
	if m := Week("").Monday(); !m.IsZero() {
		t.Errorf("no week begins on %v", m)
	}
}
