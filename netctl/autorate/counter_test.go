package autorate_test

import (
	"math"
	"testing"
	"time"

	"passerelle/netctl/autorate"
)

func TestCounter(t *testing.T) {
	const most = 100e6 // bit/s
	for name, c := range map[string]struct {
		first, second uint64
		passed        time.Duration
		want          uint64
		known         bool
	}{
		"more":               {1000, 3500, autorate.Tick, 2500, true},
		"nothing":            {1000, 1000, autorate.Tick, 0, true},
		"32 bits wrap":       {math.MaxUint32 - 99, 400, autorate.Tick, 500, true},
		"wrap on the edge":   {math.MaxUint32, 0, autorate.Tick, 1, true},
		"new interface":      {5_000_000, 1000, autorate.Tick, 0, false},
		"64 bits start over": {1 << 40, 1000, autorate.Tick, 0, false},
		"64 bits go on":      {1 << 40, 1<<40 + 7, autorate.Tick, 7, true},
		"no time":            {1000, 2000, 0, 0, false},
		"clock went back":    {1000, 2000, -time.Second, 0, false},
	} {
		var counter autorate.Counter
		if n, known := counter.Since(time.Hour, c.first, most); known || n != 0 {
			t.Errorf("%s: the first reading gives %d, %v", name, n, known)
		}
		n, known := counter.Since(time.Hour+c.passed, c.second, most)
		if n != c.want || known != c.known {
			t.Errorf("%s: got %d, %v, want %d, %v", name, n, known, c.want, c.known)
		}
		// After each of these readings it goes on counting.
		if n, known := counter.Since(2*time.Hour, c.second+9, most); n != 9 || !known {
			t.Errorf("%s: then got %d, %v, want 9", name, n, known)
		}
	}
}
