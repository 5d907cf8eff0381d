// Package stages decides how a roll-out of a release goes on: it counts how the boxes of its stage do, halts it by itself, and says
// what a person may do with it. The decisions are pure. It must not know pages, nor how a stage reaches a box.
//
//	begin ──▶ 1 % ──raise──▶ 10 % ──raise──▶ all
//	           │ halts by itself, or a person halts it
//	           ▼
//	         halted ──resume──▶ as before;  ──abandon──▶ for ever
//
// Only a person raises: a box tells of itself once a day, so that numbers of the first hours say little. Nothing here takes a
// release back from a box: one that cannot run it goes back by itself.
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

// Steps are the stages, in permille of the boxes.
var Steps = []int{10, 100, rollout.All}

// Counts are how the boxes of a stage do. A box is in at most one of Well, Ill, Fell and Lost.
type Counts struct {
	Chosen int // members with a place in the stage
	Well   int // run the release
	Ill    int // run it, with a fault that they did not have before the stage
	Fell   int // went back from it
	Lost   int // have not been heard from since, by their own habit, and were before
}

// Tried is how many boxes have shown how they do.
func (c Counts) Tried() int { return c.Well + c.Bad() }

// Bad is how many of them do not do well.
func (c Counts) Bad() int { return c.Ill + c.Fell + c.Lost }

// Waiting is how many have not: they have not taken it yet, or were missing before the stage began.
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
				// It was not missing when the stage began, and no box is lost of which this hub has read nothing yet.
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

// Why is why a hub halts a roll-out: what most of the boxes that do not do well have.
type Why string

// The reasons.
const (
	Fell Why = "fell"
	Lost Why = "lost"
	Ill  Why = "ill"
)

// Reasons are all of them.
var Reasons = []Why{Fell, Lost, Ill}

// most is the part of the boxes that tried the release of which more may not do badly: one of fifty. So one of the few boxes of the
// first stage is enough.
const most = 50

// Next returns a roll-out after these counts, and why it is halted; "" if it goes on as it is.
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

// ErrNot says that a roll-out is not as somebody thought who wants to change it.
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

// Act returns a roll-out after a person's action. from is the number of the roll-out that the person saw, with these counts: it may
// have halted since. Who raises or resumes it accepts what these have of boxes that do not do well: only more of them halt it.
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

// Begin returns the roll-out of a release, at its first stage. The error is ErrNot while another one goes on.
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

// Registry is what keeps the roll-out.
type Registry interface {
	Rollout(ctx context.Context) (registry.Rollout, bool, error)
	ChangeRollout(ctx context.Context, author, did string, edit func(*registry.Rollout) error) error
	PublishRollout(ctx context.Context, x registry.Rollout) error
}

// Options of Run.
type Options struct {
	Registry Registry
	Boxes    func() []survey.Box
	News     <-chan struct{} // one of them went back from a release
	Whole    func() bool     // Boxes has all that the hubs know
	Leads    func() bool     // this hub does it, of all
	Now      func() time.Time
	Log      *slog.Logger
}

const (
	every    = 5 * time.Second // between looks without news
	least    = time.Second     // between any two: a box may say as often as it likes that it went back
	patience = 30 * time.Second
	author   = "the hubs" // for the audit
)

// Run watches over the roll-out until ctx ends.
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

// Watch halts the roll-out if its boxes ask for it, signs a stage that is about to end once more, and sees to it that boxes find it.
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
		if errors.Is(err, ErrNot) { // somebody was faster: the next look sees it
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
