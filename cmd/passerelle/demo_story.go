package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// step is one thing that happens before the spectators' eyes.
type step struct {
	title string
	// play does it. It returns what was seen as it should be, an observation a line, and the error that is not.
	play func(ctx context.Context) (seen string, err error)
}

// story is a sequence of steps that build on each other.
type story []step

// play plays the steps, and ends with the first that is not as it should be; the error names it.
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
			return fmt.Errorf("step %d was not as it should be: %s", i+1, step.title)
		}
	}
	return nil
}

// together does several things at once, and says in their order what was seen of each.
func together(ctx context.Context, parts ...func(context.Context) (string, error)) (string, error) {
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

// lines puts each of the texts that is not empty on a line.
func lines(texts ...string) string {
	var b strings.Builder
	for _, t := range texts {
		if t != "" {
			b.WriteString(strings.TrimSuffix(t, "\n") + "\n")
		}
	}
	return b.String()
}
