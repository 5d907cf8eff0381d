package appliance

import (
	"errors"
	"testing"
	"time"

	"passerelle/appliance/config"
)

// TestTwoFailuresAreAFault: two failures in a row are a fault. Each failure is retried, with a growing delay (backoff).
func TestTwoFailuresAreAFault(t *testing.T) {
	var a attempts
	now := time.Unix(1000, 0)
	broken := errors.New("no such interface")
	if a.recordResult(nil, now); a.fault(now) != "" || a.next(now, period) != period {
		t.Errorf("after a success: %+v", a)
	}
	last := time.Duration(0)
	for n := range 6 {
		a.recordResult(broken, now)
		if got := a.fault(now); (got != "") != (n > 0) {
			t.Errorf("after %d failures the fault is %q", n+1, got)
		}
		wait := a.next(now, time.Hour)
		if wait < last || wait > retryMax || n > 0 && wait < 2*retry {
			t.Errorf("after %d failures the next attempt is in %v", n+1, wait)
		}
		last = wait
		if now = now.Add(wait); a.fault(now) != "" {
			t.Error("it is not retried")
		}
	}
	if a.recordResult(nil, now); a != (attempts{}) {
		t.Errorf("after a success: %+v", a)
	}
}

func TestAcceptedOnce(t *testing.T) {
	full := errors.New("no space left on device")
	var n int
	result := full
	a := acceptance{accept: func(*config.Config) error { n++; return result }}
	c, now := &config.Config{}, time.Unix(1000, 0)
	offer := func(c *config.Config, want error, calls int) {
		t.Helper()
		if err := a.offer(c, now); !errors.Is(err, want) || n != calls {
			t.Errorf("%v after %d calls, want %v after %d", err, n, want, calls)
		}
	}
	offer(c, full, 1)
	offer(c, full, 1)
	now, result = now.Add(writeRetry), nil
	offer(c, nil, 2)
	now = now.Add(time.Hour)
	offer(c, nil, 2)
	offer(&config.Config{}, nil, 3)
}
