package appliance

import (
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
)

const (
	retry    = 250 * time.Millisecond // after the first failure to apply; then it doubles
	retryMax = 2 * time.Second
)

// attempts tracks failures to apply a plan, and when the next attempt is due.
type attempts struct {
	failures int // in a row
	why      string
	retryAt  time.Time
}

// recordResult records the result of an attempt. One failure may be a line that went away after it was observed; two in a row
// are a fault, and the plan is retried with a growing delay.
func (a *attempts) recordResult(err error, now time.Time) {
	if err == nil {
		*a = attempts{}
		return
	}
	a.failures++
	a.retryAt = now.Add(min(retry<<min(a.failures-1, 10), retryMax))
	if a.failures > 1 {
		a.why = err.Error()
	}
}

// fault returns why the plan cannot be applied, "" when the next attempt is due.
func (a *attempts) fault(now time.Time) string {
	if now.Before(a.retryAt) {
		return a.why
	}
	return ""
}

// next returns how long to wait, at most the given time, until the next attempt.
func (a *attempts) next(now time.Time, most time.Duration) time.Duration {
	if a.retryAt.IsZero() {
		return most
	}
	return min(most, max(0, a.retryAt.Sub(now)))
}

// acceptance reports an applied configuration to accept, once, and again after a delay if accept failed.
type acceptance struct {
	accept func(*config.Config) error
	last   *config.Config // that was reported
	at     time.Time      // when
	failed error          // of accept
}

func (a *acceptance) offer(c *config.Config, now time.Time) error {
	if c != a.last || a.failed != nil && now.Sub(a.at) >= writeRetry {
		a.last, a.at, a.failed = c, now, a.accept(c)
	}
	return a.failed
}

// problems are the errors of a pass that did not stop it.
type problems struct {
	all    []state.Problem
	logged []string // those of the last pass, as text
}

func (p *problems) reset() { p.all = nil }

// add records an error as a problem, with further arguments. It ignores nil.
func (p *problems) add(code state.Code, err error, args ...string) {
	if err != nil {
		p.all = append(p.all, state.NewProblem(code, append(args, "error", err.Error())...))
	}
}

// unlogged returns the text of the problems that are new since the last call.
func (p *problems) unlogged() []string {
	var now []string
	for _, x := range state.Causes(p.all) {
		now = append(now, x.String())
	}
	before := p.logged
	p.logged = now
	return slices.DeleteFunc(slices.Clone(now), func(x string) bool { return slices.Contains(before, x) })
}

// report is problems.add.
type report func(code state.Code, err error, args ...string)
