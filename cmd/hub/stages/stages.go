// Package stages decides how a roll-out of a release goes on: it counts how the boxes of its stage do, halts it when too many do badly,
// and says what a person may do with it. The decisions are pure functions. The package must not know pages, nor how a stage reaches a box.
//
//	begin ──▶ 1 % ──raise──▶ 10 % ──raise──▶ all
//	           │ a hub or a person halts it
//	           ▼
//	         halted ──resume──▶ as before;  ──abandon──▶ for ever
//
// Only a person raises a roll-out: a box reports once a day, so the numbers of the first hours say little. Nothing here takes a release
// back from a box: a box that cannot run a release falls back on its own.
package stages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"passerelle/appliance/fleet/report"
	"passerelle/appliance/fleet/rollout"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/survey"
)

// Steps are the sizes of the stages, in permille of the boxes.
var Steps = []int{10, 100, rollout.All}

// Counts are how the boxes of a stage do. A box is in at most one of Well, Ill, Fell and Lost.
type Counts struct {
	Chosen int // members that are in the stage
	Well   int // run the release
	Ill    int // run it, with a fault that began with the stage or later
	Fell   int // went back from it
	Lost   int // became overdue, by their own habit, after the stage began
}

// Tried returns how many boxes have shown how they do.
func (c Counts) Tried() int { return c.Well + c.Bad() }

// Bad returns how many of them do badly.
func (c Counts) Bad() int { return c.Ill + c.Fell + c.Lost }

// Waiting returns how many have not shown it yet: they have not installed the release, or were silent before the stage began.
func (c Counts) Waiting() int { return c.Chosen - c.Tried() }

// Count counts the boxes of a roll-out's stage.
func Count(boxes []survey.Box, r registry.Rollout, now time.Time) (c Counts) {
	for _, b := range boxes {
		if b.Stage != registry.Member || rollout.Place(b.Name, r.Release) >= r.Permille {
			continue
		}
		c.Chosen++
		var fell, lost, missing, ill bool
		for _, n := range b.Needs("", now) {
			switch n.Kind {
			case survey.Fell:
				fell = fell || n.Version == report.Version(r.Version)
			case survey.Silent:
				// The box counts as lost only if it was not overdue yet when the stage began, and if this hub has a report of it at all.
				lost = !b.Seen.IsZero() && !b.Seen.Add(b.Patience()).Before(r.Began)
				missing = !lost
			case survey.Fault:
				ill = ill || !n.Since.Before(r.Began.Truncate(24*time.Hour))
			}
		}
		switch runs := b.Release() == report.Version(r.Version); {
		case fell:
			c.Fell++
		case lost:
			c.Lost++
		case missing:
		case runs && ill:
			c.Ill++
		case runs:
			c.Well++
		}
	}
	return c
}

// Why is why a hub halts a roll-out: what is wrong with most of the boxes that do badly.
type Why string

// The reasons.
const (
	Fell Why = "fell"
	Lost Why = "lost"
	Ill  Why = "ill"
)

// Reasons lists all of them.
var Reasons = []Why{Fell, Lost, Ill}

// most is the limit: a roll-out is halted when more than one box in fifty that tried the release does badly. In a small first stage a
// single box is enough.
const most = 50

// Next returns a roll-out after these counts, and why it is halted now; "" if it does not change.
func Next(r registry.Rollout, c Counts) (registry.Rollout, Why) {
	if r.Phase != registry.Going || (c.Bad()-r.Accepted)*most <= c.Tried() {
		return r, ""
	}
	why := Fell
	switch {
	case c.Lost > c.Fell && c.Lost >= c.Ill:
		why = Lost
	case c.Ill > c.Fell:
		why = Ill
	}
	r.Phase, r.Why = registry.Halted, string(why)
	return r, why
}

// Action is what a person does with a roll-out.
type Action string

// The actions.
const (
	Raise   Action = "raise"
	Halt    Action = "halt"
	Resume  Action = "resume"
	Abandon Action = "abandon"
)

// ErrNot says that a roll-out is not in the state in which this change is possible, or not in the one that the person saw.
var ErrNot = errors.New("the roll-out does not stand so")

// May returns what a person may do with a roll-out.
func May(r registry.Rollout) []Action {
	switch r.Phase {
	case registry.Going:
		if r.Permille < rollout.All {
			return []Action{Raise, Halt}
		}
		return []Action{Halt}
	case registry.Halted:
		return []Action{Resume, Abandon}
	}
	return nil
}

// Act returns a roll-out after a person's action. from is the number of the roll-out that the person saw: it may have been halted since,
// and then the error is ErrNot. To raise or resume is to accept the boxes that do badly now, by the counts c: only further ones halt it.
func Act(r registry.Rollout, a Action, from int64, c Counts, now time.Time) (registry.Rollout, error) {
	if r.Number != from || !slices.Contains(May(r), a) {
		return r, fmt.Errorf("%s: %w", a, ErrNot)
	}
	switch a {
	case Raise:
		i := slices.IndexFunc(Steps, func(step int) bool { return step > r.Permille })
		r.Permille, r.Began, r.Accepted = Steps[i], now.UTC(), c.Bad()
	case Halt:
		r.Phase, r.Why = registry.Halted, ""
	case Resume:
		r.Phase, r.Why, r.Accepted = registry.Going, "", c.Bad()
	case Abandon:
		r.Phase = registry.Abandoned
	}
	return r, nil
}

// Begin returns the roll-out of a release, at its first stage. The error is ErrNot while another roll-out is under way.
func Begin(r registry.Rollout, version string, release rollout.Hash, now time.Time) (registry.Rollout, error) {
	if v := report.Version(version); v == "" || report.Release("v"+version) != v {
		return r, fmt.Errorf("%q is no version as boxes report it", version)
	}
	if r.Phase == registry.Going && r.Permille < rollout.All {
		return r, fmt.Errorf("that of %s goes on: %w", r.Version, ErrNot)
	}
	return registry.Rollout{
		Version: version, Release: release, Permille: Steps[0], Phase: registry.Going, Began: now.UTC(), Number: r.Number,
	}, nil
}

// Registry stores the roll-out.
type Registry interface {
	Rollout(ctx context.Context) (registry.Rollout, bool, error)
	ChangeRollout(ctx context.Context, author, did string, edit func(*registry.Rollout) error) error
	PublishRollout(ctx context.Context, x registry.Rollout) error
}

// Options of Run.
type Options struct {
	Registry Registry
	Boxes    func() []survey.Box
	News     <-chan struct{} // receives when a box went back from a release
	Whole    func() bool     // whether Boxes has all that the hubs know
	Leads    func() bool     // whether this hub is the leader, which alone does this
	Now      func() time.Time
	Log      *slog.Logger
}

const (
	every    = 5 * time.Second // between two checks without news
	least    = time.Second     // between any two checks, since a box may report as often as it likes that it went back
	patience = 30 * time.Second
	author   = "the hubs" // for the audit
)

// Run calls Watch every few seconds until ctx ends, on the leader only.
func Run(ctx context.Context, o Options) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.News:
		case <-time.After(every - least):
		}
		if o.Whole() && o.Leads() {
			if err := Watch(ctx, o); err != nil && ctx.Err() == nil {
				o.Log.Warn("the roll-out", "err", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(least):
		}
	}
}

// Watch checks the roll-out once. It halts it if too many boxes do badly, signs a stage again when less than half of its time is left, and
// otherwise publishes the stage if it is not published.
func Watch(ctx context.Context, o Options) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	r, ok, err := o.Registry.Rollout(ctx)
	if err != nil || !ok {
		return err
	}
	change := func(did string, next registry.Rollout) error {
		err := o.Registry.ChangeRollout(ctx, author, did, func(x *registry.Rollout) error {
			if x.Number != r.Number {
				return ErrNot
			}
			*x = next
			return nil
		})
		if errors.Is(err, ErrNot) { // somebody else changed it first: the next check sees that
			return nil
		}
		return err
	}
	counts := Count(o.Boxes(), r, o.Now())
	if next, why := Next(r, counts); why != "" {
		o.Log.Warn("the roll-out is halted", "version", r.Version, "why", why, "tried", counts.Tried(), "bad", counts.Bad())
		return change("halt roll-out", next)
	}
	if r.Until.Sub(o.Now()) < rollout.Longest/2 {
		return change("renew roll-out", r)
	}
	return o.Registry.PublishRollout(ctx, r)
}
