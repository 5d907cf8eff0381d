package ledger

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestWordsOnlyLower: whatever a lender says, in whatever order, nothing is given back, and the line never carries more than the
// lowest cap that was stated.
func TestWordsOnlyLower(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 4))
		policy := Policy{Cap: 1e6 + r.Uint64N(20e9), Rate: 25e6}
		if r.IntN(2) == 0 {
			policy.Reserve = policy.Cap / 8
		}
		d := newDesk(t, policy)
		d.reading.Trusted = r.IntN(4) > 0
		lowest := policy.Cap
		for range 1 + r.IntN(30) {
			before := d.account.Balance(d.policy)
			was := d.account.used()
			bytes := r.Uint64N(policy.Cap + policy.Cap/2)
			carried := false
			switch r.IntN(4) {
			case 0:
				d.account.CountAtLeast(d.policy, bytes, d.reading.Trusted)
				if now := d.account.Balance(d.policy); now.Used+now.Stated < min(bytes, sub(policy.Cap, now.Lowered)) {
					t.Fatalf("seed %d: of a figure of %d, %d and %d are counted", seed, bytes, now.Used, now.Stated)
				}
				d.write()
			case 1:
				d.account.LowerTo(d.policy, bytes, d.reading.Trusted)
				lowest = min(lowest, max(bytes, before.Used+before.Stated+before.Granted))
				if now := d.account.Balance(d.policy); now.Used+now.Stated+now.Left > max(bytes, now.Used+now.Stated) {
					t.Fatalf("seed %d: lowered to %d, and %+v", seed, bytes, now)
				}
				d.write()
			case 2:
				carried = true
				d.use(min(r.Uint64N(policy.Cap/8+1), d.account.unspent(general)))
				d.round()
			case 3:
				d.restart()
				d.round()
			}
			now := d.account.Balance(d.policy)
			if !carried && now.Left > before.Left {
				t.Fatalf("seed %d: %d left after %d", seed, now.Left, before.Left)
			}
			if d.account.used() < was {
				t.Fatalf("seed %d: %d used after %d", seed, d.account.used(), was)
			}
			if carriedAll := d.reading.Counter.Bytes - 1e6; carriedAll > lowest+lowest/32+1 {
				t.Fatalf("seed %d: the line carried %d of %d", seed, carriedAll, lowest)
			}
			if now.Overcommitted {
				d.reading.Tranches = nil // the box revokes them
				d.round()
			}
		}
	}
}

// write stores the account's own record.
func (d *desk) write() {
	d.t.Helper()
	r, err := Decode(d.account.Record().Append(nil))
	if err != nil {
		d.t.Fatal(err)
	}
	d.disk = &r
}

// TestWordsAfterPowerCut: what a lender said survives a power cut right after it.
func TestWordsAfterPowerCut(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 10e9, Rate: 25e6})
	d.account.CountAtLeast(d.policy, 6e9, true)
	d.account.LowerTo(d.policy, 8e9, true)
	d.write()
	d.powerCut()
	s := d.round()
	if s.Stated < 5.9e9 || s.Lowered != 2e9 || s.Left > 2e9 || s.Spent {
		t.Errorf("%+v", s)
	}
}

// TestWordsEndWithThePeriod: the next period has its whole cap, unless it was unknown which period the figure is for.
func TestWordsEndWithThePeriod(t *testing.T) {
	t.Parallel()
	for _, trusted := range []bool{true, false} {
		d := newDesk(t, Policy{Cap: 10e9, Rate: 25e6})
		d.reading.Trusted = trusted
		d.round()
		d.account.CountAtLeast(d.policy, 4e9, trusted)
		d.account.LowerTo(d.policy, 7e9, trusted)
		d.write()
		d.restart()
		d.reading.Now, d.reading.Trusted = time.Date(2026, 12, 1, 0, 0, 1, 0, time.UTC), true
		s := d.round()
		if s.Stated != 0 || s.Lowered != 0 {
			t.Errorf("trusted %t: %+v", trusted, s)
		}
		if low := s.Left < 3.2e9; low == trusted {
			t.Errorf("trusted %t: %d left", trusted, s.Left)
		}
	}
}

// TestWordsWithoutCap: without a cap there is nothing to lower.
func TestWordsWithoutCap(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{})
	d.account.CountAtLeast(d.policy, 1e9, true)
	d.account.LowerTo(d.policy, 1, true)
	if s := d.account.Balance(d.policy); s.Stated != 0 || s.Lowered != 0 || s.Spent {
		t.Errorf("%+v", s)
	}
}
