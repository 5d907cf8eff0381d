package main

import "testing"

// TestBesideOff: the target requires both the ratio and overlapping ranges.
func TestBesideOff(t *testing.T) {
	turns := func(rates ...float64) (all []transfer) {
		for _, r := range rates {
			all = append(all, transfer{rate: r * 1e9})
		}
		return all
	}
	off := turns(4, 4.1, 3.9)
	for _, c := range []struct {
		what     string
		with     []transfer
		measured string
		want     verdict
	}{
		{"as fast", turns(4, 4.1, 3.9), "4.00 Gbit/s (3.90 to 4.10)", met},
		{"slower by less than a twentieth", turns(3.85, 3.95, 3.8), "3.85 Gbit/s (3.80 to 3.95)", met},
		{"slower by as little, but in every turn", turns(3.81, 3.89, 3.75), "3.81 Gbit/s (3.75 to 3.89)", missed},
		{"slower in most rounds", turns(3.6, 3.7, 3.9), "3.70 Gbit/s (3.60 to 3.90)", missed},
		{"faster in every turn", turns(5, 5.1, 5.2), "5.10 Gbit/s (5.00 to 5.20)", missed},
	} {
		r := besideOff(c.what, c.with, off)
		if r.measured != c.measured || r.beside != "hub off: 4.00 Gbit/s (3.90 to 4.10)" || r.met != c.want {
			t.Errorf("%+v, want %q, met %q", r, c.measured, c.want)
		}
	}
}
