package captive

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"passerelle/appliance/state"
)

// TestRefusals: a device counts once an hour for each reason. An unknown device does not count, nor does a fault.
func TestRefusals(t *testing.T) {
	t.Parallel()
	var r refusals
	a, b := netip.MustParseAddr("10.80.0.2"), netip.MustParseAddr("10.80.0.3")
	at := time.Date(2026, 11, 21, 15, 10, 0, 0, time.UTC)
	for range 3 {
		r.count(a, at, state.ErrDataSpent)
	}
	r.count(b, at, state.ErrDataSpent)
	r.count(a, at, state.ErrNotSharing)
	r.count(a, at, errBusy)
	r.count(a, at, errors.Join(state.ErrUnknown))
	r.count(a, at, errors.New("the kernel fails"))
	if want := (state.Refused{Data: 2, NotSharing: 1, Busy: 1}); r.sums != want {
		t.Errorf("%+v, want %+v", r.sums, want)
	}
	if got := r.published(); got != (state.Refused{}) {
		t.Errorf("of two devices others learn %+v", got)
	}
	r.count(a, at.Add(time.Hour), state.ErrDataSpent)
	if r.sums.Data != 3 || len(r.seen) != 1 {
		t.Errorf("in the next hour %+v, and %d are remembered", r.sums, len(r.seen))
	}
	for i := range 3 * maxRefused {
		r.count(netip.AddrFrom4([4]byte{10, 80, byte(i >> 8), byte(i)}), at, errBusy)
	}
	if got := r.published(); got.Busy == 0 || got != r.sums.InFives() {
		t.Errorf("of %+v others learn %+v", r.sums, got)
	}
	if len(r.seen) > maxRefused {
		t.Errorf("%d are remembered", len(r.seen))
	}
}
