package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// variant is one of the alternatives in a measurement.
type variant[T any] struct {
	name    string
	measure func(context.Context) (T, error)
}

// leftOut is the error of a variant that is left out from then on, while the others continue.
type leftOut struct{ error }

// optional returns a measurement whose first error leaves its variant out.
func optional[T any](measure func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) {
		v, err := measure(ctx)
		if err != nil && ctx.Err() == nil {
			err = leftOut{err}
		}
		return v, err
	}
}

// interleave runs the variants in turns, forwards and backwards (A B C C B A), and returns each variant's results by round. A variant
// that was left out has none.
func interleave[T fmt.Stringer](ctx context.Context, b *bench, what string, all []variant[T]) ([][]T, error) {
	results := make([][]T, len(all))
	for round := range b.rounds {
		for n := range all {
			i := n
			if round%2 == 1 {
				i = len(all) - 1 - n
			}
			if len(results[i]) < round { // left out
				continue
			}
			v, err := all[i].measure(ctx)
			if errors.As(err, new(leftOut)) {
				b.logf("  %s, %s is left out: %v", what, all[i].name, err)
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", what, all[i].name, err)
			}
			results[i] = append(results[i], v)
			b.logf("  %s, round %d of %d, %s: %v", what, round+1, b.rounds, all[i].name, v)
		}
	}
	for i, r := range results {
		if len(r) < b.rounds {
			results[i] = nil
		}
	}
	return results, nil
}

// inParallel is interleave for measurements that mostly wait: all variants run at the same time.
func inParallel[T fmt.Stringer](ctx context.Context, b *bench, what string, all []variant[T]) ([][]T, error) {
	results := make([][]T, len(all))
	for round := range b.rounds {
		now := make([]T, len(all))
		var running errgroup.Group
		for i, c := range all {
			running.Go(func() (err error) {
				if now[i], err = c.measure(ctx); err != nil {
					err = fmt.Errorf("%s, %s: %w", what, c.name, err)
				}
				return err
			})
		}
		if err := running.Wait(); err != nil {
			return nil, err
		}
		for i, v := range now {
			results[i] = append(results[i], v)
			b.logf("  %s, round %d of %d, %s: %v", what, round+1, b.rounds, all[i].name, v)
		}
	}
	return results, nil
}

// spread is the median of some rounds with their range.
type spread struct{ median, low, high float64 }

func spreadOf(v []float64) spread {
	return spread{median(v), slices.Min(v), slices.Max(v)}
}

// overlaps tells whether the two ranges overlap.
func (s spread) overlaps(o spread) bool { return s.low <= o.high && o.low <= s.high }

// String returns two decimals, and the range if it is not a single value.
func (s spread) String() string {
	text := fmt.Sprintf("%.2f", s.median)
	if s.low != s.high {
		text += fmt.Sprintf(" (%.2f to %.2f)", s.low, s.high)
	}
	return text
}

// values returns one number of each result.
func values[T any](results []T, number func(T) float64) []float64 {
	v := make([]float64, len(results))
	for i, r := range results {
		v[i] = number(r)
	}
	return v
}

// ratio compares two variants round by round.
func ratio(a, b []float64) spread {
	v := make([]float64, len(a))
	for i := range a {
		v[i] = a[i] / b[i]
	}
	return spreadOf(v)
}

func median(v []float64) float64 { return quantile(v, 0.5) }

// quantile returns the nearest-rank quantile.
func quantile[T cmp.Ordered](v []T, q float64) T {
	s := slices.Sorted(slices.Values(v))
	return s[min(max(int(math.Ceil(q*float64(len(s))))-1, 0), len(s)-1)]
}

// sleep waits for a duration, or until the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
