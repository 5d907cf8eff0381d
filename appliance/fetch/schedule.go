package fetch

import (
	"fmt"
	"time"
)

const (
	firstRetry = time.Hour        // after a first failure
	pressEvery = 10 * time.Minute // the minimum between requests by a person
	soon       = 20 * time.Second // a file that was never requested is requested within this time
	spread     = time.Hour        // within this, any other file: boxes that are switched on together must not send requests together
	least      = 64 << 10         // bytes: a download does not begin if less is left
)

// obstacle returns why no file may be requested now, if left bytes are left for downloads on the line; "" if one may be.
func (s Situation) obstacle(left uint64) string {
	switch {
	case s.Line == nil:
		return s.Why
	case !s.Trusted:
		return "the clock is not trusted"
	case len(s.Line.Servers) == 0:
		return fmt.Sprintf("%q has no name servers", s.Line.Donation)
	case left < least:
		return fmt.Sprintf("what downloads may use of the cap of %q is used up", s.Line.Donation)
	}
	return ""
}

// next returns from when a file may be requested automatically. The zero value means at any time.
func (r record) next(every time.Duration) time.Time {
	switch {
	case r.Tried.IsZero():
		return time.Time{}
	case r.More:
		return r.Tried.Add(pressEvery)
	case r.Failures == 0:
		return r.Tried.Add(every)
	}
	const most = 16 // doublings, more than the longest interval needs
	return r.Tried.Add(min(every, firstRetry<<min(r.Failures-1, most)))
}

// at returns when a file is requested automatically: after it may be, and after the box is ready, later by a fraction (0 to 1) of the
// spread.
func (r record) at(every time.Duration, ready time.Time, part float64) time.Time {
	at, within := r.next(every), spread
	if at.IsZero() {
		within = soon
	}
	if at.Before(ready) {
		at = ready
	}
	return at.Add(time.Duration(part * float64(within)))
}

// pressWait returns how long a request by a person must wait; zero or less: not at all.
func (r record) pressWait(now time.Time) time.Duration {
	if r.Tried.IsZero() {
		return 0
	}
	return pressEvery - now.Sub(r.Tried)
}
