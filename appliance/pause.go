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

// Pause says who paused sharing, and whether the pause lasts until somebody resumes or ends on the next day. One that ends on the next
// day survives a power cut; the other one survives the daemon, but not a restart of the machine.
//
// A pause never ends early: its end must have come by a clock that is trusted. A pause that began while the clock was not trusted has
// no end yet. It gets one when the clock is trusted: from the day on which it began if this daemon knows it, otherwise from the
// current day. If the clock is never trusted, the pause lasts until somebody resumes.
type Pause struct {
	By    string    `json:"by,omitempty"`    // who paused; "" if sharing is not paused
	Fleet bool      `json:"fleet,omitempty"` // the box's fleet paused; it may end only its own pause
	Ends  bool      `json:"ends,omitempty"`  // whether it ends on the next day
	Until time.Time `json:"until,omitzero"`  // when it ends; zero until the clock is trusted
}

func (p Pause) equal(q Pause) bool {
	return p.By == q.By && p.Fleet == q.Fleet && p.Ends == q.Ends && p.Until.Equal(q.Until)
}

// String returns who paused, and until when if that is known.
func (p Pause) String() string {
	switch {
	case !p.Ends:
		return p.By
	case p.Until.IsZero():
		return p.By + ", until the day after the clock is trusted"
	}
	return p.By + ", until " + p.Until.Format("Mon 2 Jan 15:04")
}

// nextDay returns when a pause until the next day ends, for a pause of the centre's sharing or of one loan that begins at t: when the
// desk opens on the day after t or later, or if the desk has no hours, when the first of the loans opens; if neither has hours, at six
// on the day after. If the desk opens before any of the loans, the pause ends when the first of these opens.
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

// nextDay is nextDay for a pause of the centre's sharing, with all loans.
func (b *Box) nextDay(t time.Time) time.Time {
	var loans []*hours.Schedule
	for _, d := range b.config.Donations {
		loans = append(loans, d.Hours)
	}
	return nextDay(t, b.config.Centre.Hours, loans...)
}

// opening returns when a schedule first opens on a day or later; at six if it is open through the night. ok is false if it never
// opens.
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

// Pause stops sharing until Resume; by says who paused, for the status. Sessions keep their end.
func (b *Box) Pause(ctx context.Context, by string) error {
	return b.change(ctx, func() { b.pause = Pause{By: by} })
}

// PauseUntilTomorrow stops sharing until the next day, or Resume. The pause survives a power cut. If it cannot be stored, nothing
// changes.
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

// TogglePause pauses, or ends a pause, even one that somebody else began. It is for a button, whose press does not say which.
func (b *Box) TogglePause(ctx context.Context, by string) error {
	return b.change(ctx, func() {
		if b.pause.By != "" {
			by = ""
		}
		b.pause = Pause{By: by}
	})
}

// Obey carries out a command of the box's fleet to pause or resume, unless people at the box have decided otherwise; by says who in
// the fleet gave it. The error says why the kernel has not followed yet.
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

// endPause ends a pause whose end has come, and computes a missing end once the clock is trusted.
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

// savePause stores a pause that ends on the next day, or removes the stored one. It writes only if the pause has changed.
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

// of returns ends(now). It calls ends again only for another day or configuration.
func (n *nextOpening) of(now time.Time, c *config.Config, ends func(time.Time) time.Time) time.Time {
	if y, m, d := now.Date(); n.day != date(y, m, d) || n.config != c {
		*n = nextOpening{day: date(y, m, d), config: c, at: ends(now)}
	}
	return n.at
}
