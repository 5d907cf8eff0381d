package main

import (
	"errors"
	"strings"
	"testing"
)

// TestVerdict: the ratio says which build is better, and only what is beyond its limit fails.
func TestVerdict(t *testing.T) {
	number := func(v float64) float64 { return v }
	for _, c := range []struct {
		what        string
		kind        kind
		before, now []float64
		ok, overlap bool
	}{
		{"faster", higher, []float64{10, 11, 12}, []float64{20, 21, 22}, true, false},
		{"as fast, but for a twentieth", higher, []float64{100, 100, 100}, []float64{95, 95, 95}, true, false},
		{"slower", higher, []float64{100, 100, 100}, []float64{94, 94, 94}, false, false},
		{"slower in most rounds", higher, []float64{100, 100, 100}, []float64{94, 94, 200}, false, true},
		{"less of it", lower, []float64{10, 10, 10}, []float64{8, 8, 8}, true, false},
		{"more of it", lower, []float64{10, 10, 10}, []float64{11, 11, 10}, false, true},
		{"dearer, but for a twentieth", cost, []float64{1, 1, 1}, []float64{1.05, 1.05, 1.05}, true, false},
		{"dearer", cost, []float64{1, 1, 1}, []float64{1.06, 1.06, 1.06}, false, false},
		{"cheaper", cost, []float64{1, 1, 1}, []float64{0.5, 0.5, 0.5}, true, false},
	} {
		row := figure[float64]{"", "s", number, c.kind}.compare(c.what, [][]float64{c.before, c.now})
		row.measurement = "names"
		if row.ok() != c.ok || row.overlap() != c.overlap {
			t.Errorf("%s: ok %t, ranges overlap %t: %+v", c.what, row.ok(), row.overlap(), row)
		}
		b := &bench{rounds: 3, other: "old"}
		_, table, err := b.verdict([]compared{row})
		if errors.Is(err, errWorse) == c.ok || strings.Contains(table, "**worse**") == c.ok {
			t.Errorf("%s: %v\n%s", c.what, err, table)
		}
		if err != nil && !strings.Contains(err.Error(), "-beside old -rows names") {
			t.Errorf("%s: nothing says how to measure again: %v", c.what, err)
		}
	}
}

// TestSignificant: significant digits, and never an exponent.
func TestSignificant(t *testing.T) {
	for want, s := range map[string]spread{
		"20000 a second":                  {20000, 20000, 20000},
		"0.132 a second":                  {0.1321, 0.1321, 0.1321},
		"1.00 a second":                   {1, 1, 1},
		"12.3 a second (0.00123 to 1000)": {12.34, 0.001234, 1000.4},
		"0 a second":                      {0, 0, 0},
	} {
		if got := significant(s, "a second"); got != want {
			t.Errorf("%+v is %q, want %q", s, got, want)
		}
	}
}
