package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"passerelle/appliance/state"
)

// Times of a trial.
const (
	// Settle is how long the box must work without interruption before its slot is good. Faults show by then: a hostapd that keeps
	// ending is a fault after some 10 s, a radio may listen for a minute before it transmits, names are resolved again after a minute,
	// and systemd's watchdog has had four chances.
	Settle = 2 * time.Minute
	// TrialLimit is how long after the start of the kernel a box must work at the latest. The slowest board is up within two minutes,
	// the repair of a large data partition takes some more, and a phone that is used as a line may be plugged in again.
	TrialLimit = 10 * time.Minute
)

// Verdict is the result of a trial.
type Verdict int

// The verdicts.
const (
	Undecided Verdict = iota
	Good              // the box has worked for long enough
	Expired           // it has not, and its time is over: the next try, or the previous slot, is better
)

// Pace is how long a trial takes. A zero field means the constant of that name.
type Pace struct {
	Settle, Limit time.Duration
	Every         time.Duration // interval of checks; 0: 5 s
}

func (p Pace) withDefaults() Pace {
	return Pace{cmp.Or(p.Settle, Settle), cmp.Or(p.Limit, TrialLimit), cmp.Or(p.Every, trialInterval)}
}

// Settles returns how long the box must work without interruption.
func (t *Trial) Settles() time.Duration { return t.Pace.withDefaults().Settle }

// Limit returns when the box must work at the latest.
func (t *Trial) Limit() time.Duration { return t.Pace.withDefaults().Limit }

// Trial judges a slot that has not proved itself yet. The zero value has seen nothing. Times are since the start of the kernel, which
// setting the clock does not change.
type Trial struct {
	Pace  Pace
	works bool
	since time.Duration // while it works: since when
}

// Judge returns the verdict at a time. failing is nil if the box works. A box that works when its time is over may continue for Settle.
// Times must not go back.
func (t *Trial) Judge(at time.Duration, failing error) Verdict {
	pace := t.Pace.withDefaults()
	if failing != nil {
		t.works = false
		if at >= pace.Limit {
			return Expired
		}
		return Undecided
	}
	if !t.works {
		t.works, t.since = true, at
	}
	if at-t.since >= pace.Settle {
		return Good
	}
	return Undecided
}

// Unproven is why a system does not prove itself.
type Unproven struct {
	Reason state.TrialReason
	Err    error
}

func (u *Unproven) Error() string { return u.Err.Error() }

// Unwrap returns the cause.
func (u *Unproven) Unwrap() error { return u.Err }

// ReasonOf returns the reason in an error of a check whether a system works.
func ReasonOf(err error) state.TrialReason {
	if u, ok := errors.AsType[*Unproven](err); ok {
		return u.Reason
	}
	return state.TrialSilent
}

// Proves returns nil if the status shows that the software works. Otherwise the error says why it does not, or not yet. The plan must
// be applied, the ledger open, and names must resolve, unless no line could have shown that. Causes outside the box do not count: a
// cable that is not plugged in, a cap that is spent, a centre that is closed. A line that has a link, an address and a route, and on
// which no name ever resolved, does count. A provider's outage looks the same, but the previous slot is then no worse.
func Proves(s state.Status) error {
	switch s.State {
	case state.Starting:
		return &Unproven{state.TrialStarts, fmt.Errorf("the box is in state %s: %s", s.State, s.Why)}
	case state.Fault:
		return &Unproven{state.TrialFault, fmt.Errorf("the box is in state %s: %s", s.State, s.Why)}
	}
	for _, p := range s.Problems {
		if p.Code == state.DiskFails || p.Code == state.DiskReadOnly || p.Code == state.PlanRefused {
			return &Unproven{state.TrialDisk, fmt.Errorf("%s", p)}
		}
	}
	var silent error
	for _, d := range s.Donations {
		switch {
		case !d.ProvedNames.At.IsZero():
			return nil
		case d.Open && d.PausedBy == "" && d.Up && !d.Spent && s.State != state.Paused:
			silent = &Unproven{state.TrialNames, fmt.Errorf("no name has resolved on the line of %q: %s", d.Name, d.Why)}
		}
	}
	return silent
}

// trialInterval is the interval of checks of the box.
const trialInterval = 5 * time.Second

// Run calls works repeatedly until there is a verdict or ctx ends. works returns nil if the box works. uptime returns the time since
// the start of the kernel. says is called with each result that differs from the previous one.
func (t *Trial) Run(ctx context.Context, uptime func() time.Duration, works func(context.Context) error, says func(error)) Verdict {
	tick := time.NewTicker(t.Pace.withDefaults().Every)
	defer tick.Stop()
	last := errors.New("nothing has been asked yet")
	for {
		failing := works(ctx)
		if ctx.Err() != nil {
			return Undecided
		}
		if fmt.Sprint(failing) != fmt.Sprint(last) {
			says(failing)
		}
		last = failing
		if v := t.Judge(uptime(), failing); v != Undecided {
			return v
		}
		select {
		case <-ctx.Done():
			return Undecided
		case <-tick.C:
		}
	}
}
