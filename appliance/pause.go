package appliance

import (
	"context"
	"errors"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/fleet/command"
	"passerelle/appliance/hours"
	"passerelle/appliance/state"
)

// Pause is who stopped sharing: until somebody resumes, or by itself on the next day. One that ends by itself outlives a power
// cut; the other one outlives the daemon, but not the machine's restart.
//
// It never ends early: not before its time by a clock that is trusted. A pause that began under a clock that nobody trusts has no
// time yet: it gets one when the clock is trusted, for the day on which it began as far as this daemon knows it, else for the
// present day. If the clock is never trusted, the pause lasts until somebody resumes.
type Pause struct {
	By    string    `json:"by,omitempty"`    // who paused; "": nobody did
	Fleet bool      `json:"fleet,omitempty"` // the box's fleet did: it may end what it began, and nothing else
	Ends  bool      `json:"ends,omitempty"`  // on the next day
	Until time.Time `json:"until,omitzero"`  // when; zero while the clock has not been trusted
}

func (p Pause) equal(q Pause) bool {
	return p.By == q.By && p.Fleet == q.Fleet && p.Ends == q.Ends && p.Until.Equal(q.Until)
}

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

// nextDay returns when a pause until the next day ends that begins at t, of the centre's sharing or of one loan: when the desk
// opens, else when the first of the loans does, on the day after t or later; at six on the day after where neither has hours.
// Where the desk opens before any of the loans, it is when the first of these opens.
func nextDay(t time.Time, desk *hours.Schedule, loans ...*hours.Schedule) time.Time {
	y, m, d := t.Date()
	day, six := hours.DayStart(y, m, d+1, t.Location()), time.Date(y, m, d+1, 6, 0, 0, 0, t.Location())
	if at, ok := opening(desk, day, six); ok {
		return firstOpen(at, loans)
	}
	var first time.Time
	for _, loan := range loans {
		at, ok := opening(loan, day, six)
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

// firstOpen returns the first time from t on at which a schedule is open; t if there is none.
func firstOpen(t time.Time, all []*hours.Schedule) time.Time {
	var first time.Time
	for _, s := range all {
		if s.Open(t) {
			return t
		}
		if at, opens, ok := s.Next(t); ok && opens && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if first.IsZero() {
		return t
	}
	return first
}

// nextDay is nextDay for the centre's sharing, of all loans.
func (b *Box) nextDay(t time.Time) time.Time {
	var loans []*hours.Schedule
	for _, d := range b.config.Donations {
		loans = append(loans, d.Hours)
	}
	return nextDay(t, b.config.Centre.Hours, loans...)
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

// Obey does what the box's fleet asks of its sharing, if who stands at the box has not decided otherwise; by says who of the fleet
// asks. The error says why the kernel has not followed yet.
func (b *Box) Obey(ctx context.Context, a command.Action, by string) (v command.Verdict, err error) {
	doErr := b.do(ctx, func(loop context.Context) {
		if v = command.Weigh(a, command.Standing{Paused: b.pause.By != "", Fleet: b.pause.Fleet}); v != command.Done {
			return
		}
		if b.pause = (Pause{}); a == command.Pause {
			b.pause = Pause{By: state.FleetPrefix + by, Fleet: true}
		}
		b.reconcile(loop)
		err = b.notApplied()
	})
	return v, errors.Join(doErr, err)
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
		b.pause.Until = b.nextDay(began)
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
	return b.nextOpening.of(b.now, b.config, b.nextDay)
}

// nextOpening is when a pause until the next day would end, as computed once a day.
type nextOpening struct {
	day    time.Time
	config *config.Config
	at     time.Time
}

// of returns what ends(now) is for a day and a configuration.
func (n *nextOpening) of(now time.Time, c *config.Config, ends func(time.Time) time.Time) time.Time {
	if y, m, d := now.Date(); n.day != date(y, m, d) || n.config != c {
		*n = nextOpening{day: date(y, m, d), config: c, at: ends(now)}
	}
	return n.at
}
