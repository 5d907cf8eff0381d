package clock

import (
	"testing"
	"time"
)

// board is a machine whose clocks do what the test says.
type board struct {
	day  time.Time
	up   time.Duration
	sync bool
}

func (b *board) pass(d time.Duration) { b.day, b.up = b.day.Add(d), b.up+d }

func (b *board) source() Source {
	return Source{
		Now:         func() time.Time { return b.day },
		SinceBoot:   func() time.Duration { return b.up },
		Disciplined: func() bool { return b.sync },
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	b := &board{day: time.Date(2023, 1, 2, 3, 4, 5, 0, time.UTC), up: time.Minute}
	c := New(b.source(), Trust{})
	trusted := func(when, by string) {
		t.Helper()
		now, trust := c.Now()
		if !now.Equal(b.day) || trust.By != by {
			t.Errorf("%s: %s, trusted by %q, want %s by %q", when, now, trust.By, b.day, by)
		}
	}
	trusted("at the start", "")
	b.pass(time.Hour)
	trusted("without a server", "")
	b.day, b.sync = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), true
	trusted("when a server was reached", ByServer)
	b.sync = false
	b.pass(10 * 24 * time.Hour)
	b.day = b.day.Add(10 * time.Second)
	trusted("without the server, a little off after days", ByServer)
	b.day = b.day.Add(-10 * 24 * time.Hour)
	trusted("set back by somebody", "")
	b.day = b.day.Add(10 * 24 * time.Hour)
	trusted("set right by nobody known", "")
	c.Confirm("a technician")
	trusted("confirmed", "a technician")
	b.pass(time.Hour)
	trusted("an hour later", "a technician")

	_, kept := c.Now()
	c = New(b.source(), kept)
	trusted("by the next daemon", "a technician")
	b.day = b.day.AddDate(1, 0, 0)
	trusted("set forward by somebody", "")
	b.sync = true
	trusted("which a server agrees to", ByServer)
}

// TestSystem: the machine's own clocks advance.
func TestSystem(t *testing.T) {
	t.Parallel()
	s := System()
	day, up := s.Now(), s.SinceBoot()
	for s.SinceBoot() == up {
	}
	if up <= 0 || s.SinceBoot() < up || s.Now().Before(day) {
		t.Errorf("from %s, %s after boot, to %s, %s after boot", day, up, s.Now(), s.SinceBoot())
	}
	s.Disciplined() // either result is correct here, but a failure is not
}
