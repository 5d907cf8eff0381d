package bindings_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/bindings"
	"passerelle/netctl"
)

const aLease = "1764416400 02:00:00:00:00:01 10.80.0.123 * *\n"

// TestParseLeases: lines as dnsmasq writes them, unfinished ones, and ones that a device may have made it write.
func TestParseLeases(t *testing.T) {
	t.Parallel()
	now := time.Unix(1764416280, 0)
	one := bindings.Lease{Addr: netip.MustParseAddr("10.80.0.123"), MAC: netctl.MAC{2, 0, 0, 0, 0, 1}, Left: 2 * time.Minute}
	long := one
	long.Left = 30 * time.Minute
	for name, c := range map[string]struct {
		text string
		want []bindings.Lease
	}{
		"none":                    {"", nil},
		"one":                     {aLease, []bindings.Lease{one}},
		"with name and client":    {"1764416400 02:00:00:00:00:01 10.80.0.123 phone 01:02:00:00:00:00:01\n", []bindings.Lease{one}},
		"for ever":                {"0 02:00:00:00:00:01 10.80.0.123 * *\n", []bindings.Lease{long}},
		"longer than any is":      {"4000000000 02:00:00:00:00:01 10.80.0.123 * *\n", []bindings.Lease{long}},
		"over":                    {"1764416280 02:00:00:00:00:01 10.80.0.123 * *\n", nil},
		"of another kind of link": {"1764416400 06-02:00:00:00:00:01 10.80.0.123 * *\n", nil},
		"of a longer hardware":    {"1764416400 02:00:00:00:00:01:02:03 10.80.0.123 * *\n", nil},
		"of IPv6":                 {"duid 00:01\n1764416400 7 2001:db8::1 * 00:01\n", nil},
		"no time":                 {"soon 02:00:00:00:00:01 10.80.0.123 * *\n", nil},
		"no device":               {"1764416400 phone 10.80.0.123 * *\n", nil},
		"no address":              {"1764416400 02:00:00:00:00:01 here * *\n", nil},
		"more words":              {"1764416400 02:00:00:00:00:01 10.80.0.123 * * *\n", nil},
		"among others":            {"\n# \n" + aLease + "duid x\n", []bindings.Lease{one}},
	} {
		if got := bindings.ParseLeases(c.text, now, 30*time.Minute); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	// Wherever the file is cut off, each lease that is read is one of the complete file.
	for cut := range len(aLease) {
		if got := bindings.ParseLeases(aLease[:cut], now, 30*time.Minute); got != nil {
			t.Errorf("of %q: %v", aLease[:cut], got)
		}
	}
}

func FuzzParseLeases(f *testing.F) {
	f.Add(aLease)
	f.Add(strings.Repeat(aLease, 3))
	f.Add("0 06-02:00 10.80.0.1 * *\nduid 00:01\n")
	now := time.Unix(1764416280, 0)
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range bindings.ParseLeases(text, now, time.Hour) {
			if l.Left <= 0 || l.Left > time.Hour || !l.Addr.Is4() {
				t.Errorf("%v", l)
			}
		}
	})
}
