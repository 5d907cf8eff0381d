package netctl_test

import (
	"slices"
	"testing"

	"passerelle/netctl"
)

func TestChannelNumber(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mhz, number int
		band        string
	}{
		{2412, 1, netctl.Band24}, {2437, 6, netctl.Band24}, {2472, 13, netctl.Band24}, {2484, 14, netctl.Band24},
		{5180, 36, netctl.Band5}, {5240, 48, netctl.Band5}, {5825, 165, netctl.Band5}, {5885, 177, netctl.Band5},
		{0, 0, ""}, {2413, 0, ""}, {2477, 0, ""}, {5181, 0, ""}, {5955, 0, ""}, {58320, 0, ""},
	} {
		if number, band := netctl.ChannelNumber(c.mhz); number != c.number || band != c.band {
			t.Errorf("%d MHz is channel %d of %q, want %d of %q", c.mhz, number, band, c.number, c.band)
		}
	}
}

func TestTransition(t *testing.T) {
	t.Parallel()
	able := netctl.AccessPoint{
		Interface: "wlan0", OWEInterface: "wlan0-owe", Bridge: "br0",
		Radio: netctl.Radio{OWE: true, BSS: 4, BSSWithSTA: 1},
	}
	for name, c := range map[string]struct {
		change func(*netctl.AccessPoint)
		want   []string
	}{
		"able":            {func(*netctl.AccessPoint) {}, []string{"wlan0", "wlan0-owe"}},
		"password":        {func(a *netctl.AccessPoint) { a.Password = "deux par deux" }, []string{"wlan0"}},
		"no OWE":          {func(a *netctl.AccessPoint) { a.Radio.OWE = false }, []string{"wlan0"}},
		"no bridge":       {func(a *netctl.AccessPoint) { a.Bridge = "" }, []string{"wlan0"}},
		"no name":         {func(a *netctl.AccessPoint) { a.OWEInterface = "" }, []string{"wlan0"}},
		"one network":     {func(a *netctl.AccessPoint) { a.Radio.BSS = 1 }, []string{"wlan0"}},
		"one when joined": {func(a *netctl.AccessPoint) { a.WithSTA = true }, []string{"wlan0"}},
	} {
		a := able
		c.change(&a)
		if got := a.Interfaces(); !slices.Equal(got, c.want) {
			t.Errorf("%s: stations are on %q, want %q", name, got, c.want)
		}
	}
}
