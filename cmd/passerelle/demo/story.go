package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// step is a step of the demo.
type step struct {
	title string
	// play runs the step. It returns what was checked, one item on each line, and the error if a check failed.
	play func(ctx context.Context) (seen string, err error)
}

// story is a sequence of steps that build on each other.
type story []step

// play runs the steps, and ends with the first that fails; the error names it.
func (s story) play(ctx context.Context, screen *screen) error {
	for i, step := range s {
		screen.title(i+1, step.title)
		seen, err := step.play(ctx)
		if ctx.Err() != nil {
			screen.outcome(seen, nil)
			return fmt.Errorf("interrupted at step %d: %s", i+1, step.title)
		}
		screen.outcome(seen, err)
		if err != nil {
			return fmt.Errorf("step %d failed: %s", i+1, step.title)
		}
	}
	return nil
}

// parallel runs several parts at the same time, and returns what they checked in their order.
func parallel(ctx context.Context, parts ...func(context.Context) (string, error)) (string, error) {
	seen, errs := make([]string, len(parts)), make([]error, len(parts))
	var running sync.WaitGroup
	for i, part := range parts {
		running.Go(func() {
			if seen[i], errs[i] = part(ctx); errs[i] != nil {
				seen[i] = ""
			}
		})
	}
	running.Wait()
	return lines(seen...), errors.Join(errs...)
}

// lines joins the texts that are not empty, one on each line.
func lines(texts ...string) string {
	var b strings.Builder
	for _, t := range texts {
		if t != "" {
			b.WriteString(strings.TrimSuffix(t, "\n") + "\n")
		}
	}
	return b.String()
}
