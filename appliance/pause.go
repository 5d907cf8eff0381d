package appliance

import (
	"context"
	"errors"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/hours"
)

// Pause is who stopped sharing: until somebody resumes, or by itself on the next day. One that ends by itself outlives a power
// cut; the other one outlives the daemon, but not the machine's restart.
//
// It never ends early: not before its time by a clock that is trusted. A pause that began under a clock that nobody trusts has no
// time yet: it gets one when the clock is trusted, for the day on which it began as far as this daemon knows it, else for the
// present day. If the clock is never trusted, the pause lasts until somebody resumes.
type Pause struct {
	By    string    `json:"by,omitempty"`   // who paused; "": nobody did
	Ends  bool      `json:"ends,omitempty"` // on the next day
	Until time.Time `json:"until,omitzero"` // when; zero while the clock has not been trusted
}

func (p Pause) equal(q Pause) bool { return p.By == q.By && p.Ends == q.Ends && p.Until.Equal(q.Until) }

// String says who paused, and until when if that is known.
func (p Pause) String() string {
	switch {
	case !p.Ends:
		return p.By
	case p.Until.IsZero():
		return p.By + ", until the day after the clock is trusted"
	}
	return p.By + ", until " + p.Until.Format("Mon 2 Jan 15:04")
}

// nextDay returns when a pause that begins at t ends by itself: when the desk opens, else when the first loan opens, on the day
// after t or later; at six on the day after where neither has hours.
func nextDay(t time.Time, c *config.Config) time.Time {
	y, m, d := t.Date()
	day, six := hours.DayStart(y, m, d+1, t.Location()), time.Date(y, m, d+1, 6, 0, 0, 0, t.Location())
	if at, ok := opening(c.Centre.Hours, day, six); ok {
		return at
	}
	var first time.Time
	for _, d := range c.Donations {
		at, ok := opening(d.Hours, day, six)
		if !ok {
			return six
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if first.IsZero() {
		return six
	}
	return first
}

// opening returns when a schedule opens first on a day or later: at six if it is open through the night. ok is false if it has no
// opening.
func opening(s *hours.Schedule, day, six time.Time) (at time.Time, ok bool) {
	if s.Always() {
		return time.Time{}, false
	}
	at = day
	if s.Open(day) && s.Open(day.Add(-1)) {
		if at = six; s.Open(six) {
			return six, true
		}
	}
	at = at.Add(-1)
	for opens := false; !opens; {
		if at, opens, ok = s.Next(at); !ok {
			return time.Time{}, false
		}
	}
	return at, true
}

// Pause stops sharing until Resume; by says who paused it, for status. Sessions keep their end.
func (b *Box) Pause(ctx context.Context, by string) error {
	return b.change(ctx, func() { b.pause = Pause{By: by} })
}

// PauseUntilTomorrow stops sharing until the next day, or Resume. It outlives a power cut: if that cannot be stored, nothing has
// changed.
func (b *Box) PauseUntilTomorrow(ctx context.Context, by string) (err error) {
	doErr := b.do(ctx, func(loop context.Context) {
		before, began := b.pause, b.pauseBegan
		b.pause, b.pauseBegan = Pause{By: by, Ends: true}, b.parts.Now()
		b.readClock()
		b.endPause()
		if err = b.savePause(); err != nil {
			b.pause, b.pauseBegan = before, began
			return
		}
		b.reconcile(loop)
		err = b.notApplied()
	})
	return errors.Join(doErr, err)
}

// Resume ends a pause.
func (b *Box) Resume(ctx context.Context) error {
	return b.change(ctx, func() { b.pause = Pause{} })
}

// TogglePause ends a pause, also one by somebody else, or pauses. It is for a button, which cannot say which.
func (b *Box) TogglePause(ctx context.Context, by string) error {
	return b.change(ctx, func() {
		if b.pause.By != "" {
			by = ""
		}
		b.pause = Pause{By: by}
	})
}

// endPause ends a pause whose time has come, and gives one its time when the clock is trusted.
func (b *Box) endPause() {
	if !b.pause.Ends || b.trust.By == "" {
		return
	}
	if b.pause.Until.IsZero() {
		began := b.now
		if !b.pauseBegan.IsZero() {
			began = began.Add(-b.parts.Now().Sub(b.pauseBegan))
		}
		b.pause.Until = nextDay(began, b.config)
	}
	if !b.now.Before(b.pause.Until) {
		b.pause = Pause{}
	}
}

// savePause stores a pause that ends by itself, or removes the one before, if that has changed.
func (b *Box) savePause() error {
	var p Pause
	if b.pause.Ends {
		p = b.pause
	}
	if p.equal(b.savedPause) {
		return nil
	}
	err := b.parts.SavePause(p)
	if err == nil {
		b.savedPause = p
	}
	return err
}

// tomorrow returns when a pause until the next day would end, zero while the clock is not trusted.
func (b *Box) tomorrow() time.Time {
	if b.trust.By == "" {
		return time.Time{}
	}
	t := &b.nextDay
	if y, m, d := b.now.Date(); t.day != date(y, m, d) || t.config != b.config {
		t.day, t.config, t.at = date(y, m, d), b.config, nextDay(b.now, b.config)
	}
	return t.at
}
