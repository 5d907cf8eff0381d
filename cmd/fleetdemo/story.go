package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// part is a part of the story. It returns a line for each check that passed, and an error if a check failed.
type part = func(ctx context.Context) (seen []string, err error)

// step is a step of the story.
type step struct {
	title string
	play  part
}

// together plays the parts of a step at the same time, since each waits for boxes most of the time.
func together(parts ...part) part {
	return func(ctx context.Context) ([]string, error) {
		seen, failed := make([][]string, len(parts)), make([]error, len(parts))
		var all sync.WaitGroup
		for i, play := range parts {
			all.Go(func() { seen[i], failed[i] = play(ctx) })
		}
		all.Wait()
		return slices.Concat(seen...), errors.Join(failed...)
	}
}

// inTurn plays parts one after the other, until one fails.
func inTurn(parts ...part) part {
	return func(ctx context.Context) (seen []string, err error) {
		for _, play := range parts {
			var more []string
			if more, err = play(ctx); err != nil {
				return append(seen, more...), err
			}
			seen = append(seen, more...)
		}
		return seen, nil
	}
}

// story is a sequence of steps, each of which builds on those before it.
type story []step

// play runs the steps, and stops at the first that fails. The error names that step.
func (s story) play(ctx context.Context, out io.Writer) error {
	for i, step := range s {
		fmt.Fprintf(out, "%2d  %s\n", i+1, step.title)
		start := time.Now()
		seen, err := step.play(ctx)
		for _, line := range seen {
			fmt.Fprintf(out, "  ✓ %s\n", line)
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("interrupted at step %d: %s", i+1, step.title)
		case err != nil:
			fmt.Fprintf(out, "  ✗ %s\n", strings.ReplaceAll(err.Error(), "\n", "\n    "))
			return fmt.Errorf("step %d failed: %s", i+1, step.title)
		}
		fmt.Fprintf(out, "    %s\n\n", seconds(time.Since(start)))
	}
	return nil
}

// figure is something that was measured.
type figure struct {
	what            string
	measured, limit float64
	unit            string
}

func (f figure) String() string {
	return fmt.Sprintf("%s: %.4g %s (limit %g)", f.what, f.measured, f.unit, f.limit)
}

// figures are what was measured, in the order of the story.
type figures []figure

// figure records what was measured, with its limit, and returns both as a line.
func (d *demo) figure(what string, measured, limit float64, unit string) string {
	f := figure{what, measured, limit, unit}
	d.figures = append(d.figures, f)
	return f.String()
}

// table returns the figures as a table in Markdown.
func (all figures) table() string {
	var b strings.Builder
	b.WriteString("| what | measured | limit | met |\n|---|---|---|---|\n")
	for _, f := range all {
		met := "yes"
		if f.measured > f.limit {
			met = "**no**"
		}
		fmt.Fprintf(&b, "| %s | %.4g %s | ≤ %g %s | %s |\n", f.what, f.measured, f.unit, f.limit, f.unit, met)
	}
	return b.String()
}

// errMissed says that a figure is above its limit. All checks of the story passed all the same.
var errMissed = errors.New("above the limit")

func (all figures) missed() (err error) {
	for _, f := range all {
		if f.measured > f.limit {
			err = errors.Join(err, fmt.Errorf("%w: %s", errMissed, f))
		}
	}
	return err
}

// patience is the timeout of every wait, with a margin for a busy machine.
const patience = time.Minute

// until repeats check until it returns nil, for patience at most, and returns how long that took.
func until(ctx context.Context, what string, check func() error) (time.Duration, error) {
	return untilEvery(ctx, 10*time.Millisecond, what, check)
}

// untilEvery is until with another pause between two checks.
func untilEvery(ctx context.Context, pause time.Duration, what string, check func() error) (time.Duration, error) {
	start := time.Now()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		err := check()
		took := time.Since(start)
		if err == nil {
			return took, nil
		}
		if took > patience {
			return took, fmt.Errorf("not after %s: %s: %w", seconds(took), what, err)
		}
		select {
		case <-ctx.Done():
			return took, fmt.Errorf("%s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
