package captive

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"passerelle/appliance/state"
)

// maxRefused bounds the entries that are remembered in an hour. When it is reached all are forgotten, so devices may count again.
const maxRefused = 8192

// refusals counts the devices that asked for the internet and did not get it. A device that presses again and again counts once
// an hour for each reason. Only the sums outlive the hour.
type refusals struct {
	mu   sync.Mutex
	hour time.Time
	seen map[refusal]struct{}
	sums state.Refused
}

type refusal struct {
	from netip.Addr
	sum  *uint64 // of the reason
}

// count counts a device that was refused with an error.
func (r *refusals) count(from netip.Addr, now time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := refusal{from: from}
	switch {
	case errors.Is(err, state.ErrDataSpent):
		of.sum = &r.sums.Data
	case errors.Is(err, state.ErrNotSharing):
		of.sum = &r.sums.NotSharing
	case errors.Is(err, errBusy):
		of.sum = &r.sums.Busy
	default:
		return
	}
	if hour := now.Truncate(time.Hour); !hour.Equal(r.hour) || len(r.seen) >= maxRefused {
		r.hour, r.seen = hour, make(map[refusal]struct{})
	}
	if _, again := r.seen[of]; again {
		return
	}
	r.seen[of] = struct{}{}
	*of.sum++
}

// published returns the sums in fives, the form in which others may know them.
func (r *refusals) published() state.Refused {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sums.InFives()
}

// Refused returns how many devices were refused the internet since the Server began, in fives.
func (s *Server) Refused() state.Refused { return s.refusals.published() }
