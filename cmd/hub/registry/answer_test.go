package registry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestAnswered: a request that is lost during a leader election is repeated; one that is answered, even with an error, is not.
func TestAnswered(t *testing.T) {
	refused := errors.New("refused")
	for name, x := range map[string]struct {
		silent int // tries
		then   error
		tries  int
		want   error
		within time.Duration
	}{
		"at once":        {0, nil, 1, nil, 0},
		"refused":        {0, refused, 1, refused, 0},
		"lost once":      {1, nil, 2, nil, lost},
		"lost twice":     {2, refused, 3, refused, 3 * lost},
		"nobody answers": {99, nil, 3, context.DeadlineExceeded, patience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries, begun := 0, time.Now()
				got, err := answered(t.Context(), func(ctx context.Context) (int, error) {
					if tries++; tries <= x.silent {
						<-ctx.Done()
						return 0, ctx.Err()
					}
					return 7, x.then
				})
				if tries != x.tries || !errors.Is(err, x.want) || time.Since(begun) != x.within || err == nil && got != 7 {
					t.Errorf("%d, %v after %d tries and %s", got, err, tries, time.Since(begun))
				}
			})
		})
	}
}
