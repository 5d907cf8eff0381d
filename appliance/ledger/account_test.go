package ledger

import (
	"math/rand/v2"
	"testing"
)

// TestNeverMoreThanTheCap: whatever is spent when, what was used and what the kernel may still use stay within the cap,
// and with demand the cap is used but for a packet.
func TestNeverMoreThanTheCap(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		limit := uint64(1 + r.Int64N(5e9))
		var a Account
		a.Count(3, 1000)
		counter, held := uint64(1000), uint64(0)
		for range 5000 {
			for {
				n := a.Next(limit, held)
				if n == 0 {
					break
				}
				held += n
			}
			if a.Used+held > limit {
				t.Fatalf("cap %d: %d used and %d in the kernel", limit, a.Used, held)
			}
			if a.Spent(limit, held) {
				break
			}
			n := min(held, uint64(r.Int64N(int64(MaxTranche))))
			held -= n
			counter += n
			a.Count(3, counter)
		}
		if !a.Spent(limit, held) {
			t.Fatalf("cap %d: not spent at %d with %d in the kernel", limit, a.Used, held)
		}
		if a.Used+2*packetBytes < limit {
			t.Fatalf("cap %d: spent at %d", limit, a.Used)
		}
	}
}

func TestUsable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ limit, rate, want uint64 }{
		{0, 0, 0},
		{20e6, 60e6, 20e6 - 20e6/64},
		{200e9, 25e6, 200e9 - MaxTranche/16 - 312500},
		{200e9, 0, 200e9 - MaxTranche/16 - 1250000},
	} {
		if got := Usable(c.limit, c.rate); got != c.want {
			t.Errorf("of %d bytes at %d bit/s, %d are usable, want %d", c.limit, c.rate, got, c.want)
		}
	}
}

func TestCountersThatComeBackBeginAtZero(t *testing.T) {
	t.Parallel()
	var a Account
	a.Count(3, 5000) // what crossed before the box looked is not this donation's
	a.Count(3, 6000)
	a.Count(9, 200) // plugged in again
	a.Count(9, 300)
	a.Count(9, 50) // the driver began anew
	if a.Used != 1000+200+100+50 {
		t.Fatalf("used %d", a.Used)
	}
}
