package updates

import (
	"testing"
	"time"

	"passerelle/appliance/hours"
	"passerelle/appliance/state"
)

func TestWaits(t *testing.T) {
	t.Parallel()
	nights, err := hours.Parse("22:00-06:00")
	if err != nil {
		t.Fatal(err)
	}
	at := func(hour int) time.Time { return time.Date(2026, 12, 1, hour, 30, 0, 0, time.UTC) }
	day := Facts{State: state.Sharing, Now: at(15), Trusted: true, Up: 5 * time.Hour}
	with := func(change func(*Facts)) Facts { f := day; change(&f); return f }
	for name, x := range map[string]struct {
		facts        Facts
		fetch, start Wait
	}{
		"a quiet afternoon":     {day, "", Quiet},
		"residents":             {with(func(f *Facts) { f.Sessions = 1 }), Residents, Residents},
		"a press, residents":    {with(func(f *Facts) { f.Sessions, f.Pressed = 1, true }), "", Residents},
		"closed":                {with(func(f *Facts) { f.State = state.Closed }), "", ""},
		"closed, residents":     {with(func(f *Facts) { f.State, f.Sessions = state.Closed, 2 }), Residents, Residents},
		"night":                 {with(func(f *Facts) { f.Now = at(3) }), "", ""},
		"night, residents":      {with(func(f *Facts) { f.Now, f.Sessions = at(3), 1 }), Residents, Residents},
		"night, perhaps":        {with(func(f *Facts) { f.Now, f.Trusted = at(3), false }), "", Quiet},
		"morning":               {with(func(f *Facts) { f.Now = at(5) }), "", Quiet},
		"switched on":           {with(func(f *Facts) { f.Up = time.Minute }), "", ""},
		"switched on, in use":   {with(func(f *Facts) { f.Up, f.Sessions = time.Minute, 1 }), Residents, Residents},
		"hours":                 {with(func(f *Facts) { f.Hours, f.Now = nights, at(23) }), "", ""},
		"hours, residents":      {with(func(f *Facts) { f.Hours, f.Now, f.Sessions = nights, at(23), 3 }), "", Residents},
		"not in hours":          {with(func(f *Facts) { f.Hours = nights }), Hours, Hours},
		"not in hours, closed":  {with(func(f *Facts) { f.Hours, f.State = nights, state.Closed }), Hours, Hours},
		"not in hours, pressed": {with(func(f *Facts) { f.Hours, f.Pressed = nights, true }), "", Hours},
		"hours, perhaps":        {with(func(f *Facts) { f.Hours, f.Now, f.Trusted = nights, at(23), false }), Clock, Clock},
	} {
		if fetch, start := Fetch(x.facts), Start(x.facts); fetch != x.fetch || start != x.start {
			t.Errorf("%s: fetch waits for %q, start for %q; want %q, %q", name, fetch, start, x.fetch, x.start)
		}
	}
}
