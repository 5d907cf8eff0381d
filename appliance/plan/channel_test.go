package plan_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"passerelle/appliance/config"
	"passerelle/appliance/plan"
	"passerelle/netctl"
)

func TestChooseChannel(t *testing.T) {
	t.Parallel()
	france24, france5 := testBand(netctl.Band24, 1, 0), testBand(netctl.Band5, 1, 1)
	only := func(b netctl.Band, allowed ...int) netctl.Band {
		channels := b.Channels
		b.Channels = nil
		for _, c := range channels {
			c.Allowed = false
			for _, n := range allowed {
				c.Allowed = c.Allowed || c.Number == n
			}
			b.Channels = append(b.Channels, c)
		}
		return b
	}
	near := func(mhz ...int) (list []netctl.ScanResult) {
		for _, m := range mhz {
			list = append(list, netctl.ScanResult{MHz: m, Signal: -45})
		}
		return list
	}
	for name, c := range map[string]struct {
		band  netctl.Band
		heard []netctl.ScanResult
		busy  []netctl.Survey
		now   int
		want  int
	}{
		"nobody":                          {france24, nil, nil, 0, 1},
		"nobody, settled":                 {france24, nil, nil, 11, 11},
		"a strong neighbour":              {france24, near(2412), nil, 1, 6},
		"a strong one between two":        {france24, near(2422), nil, 0, 11},
		"a faint one":                     {france24, []netctl.ScanResult{{MHz: 2412, Signal: -80}}, nil, 1, 1},
		"a faint one, not settled":        {france24, []netctl.ScanResult{{MHz: 2412, Signal: -80}}, nil, 0, 6},
		"below the noise":                 {france24, []netctl.ScanResult{{MHz: 2412, Signal: -120}}, nil, 0, 1},
		"everywhere alike":                {france24, near(2412, 2437, 2462), nil, 6, 6},
		"everywhere, one more here":       {france24, near(2412, 2412, 2437, 2462), nil, 1, 6},
		"so many that one more is little": {france24, near(2412, 2412, 2412, 2412, 2412, 2437, 2437, 2437, 2437, 2462, 2462, 2462, 2462, 2462), nil, 1, 1},
		"heard by nobody but busy":        {france24, nil, []netctl.Survey{{MHz: 2412, Busy: 0.8}, {MHz: 2437, Busy: 0.1}, {MHz: 2462, Busy: 0.2}}, 1, 6},
		"a little busy":                   {france24, nil, []netctl.Survey{{MHz: 2412, Busy: 0.1}}, 1, 1},
		"no more allowed":                 {only(france24, 6, 11), nil, nil, 1, 6},
		"none of the three":               {only(france24, 3, 9), near(2422), nil, 0, 9},
		"not one of the three":            {france24, nil, nil, 13, 1},
		"nothing allowed":                 {only(france24), nil, nil, 6, 0},
		"no such band":                    {netctl.Band{}, nil, nil, 6, 0},

		"5 GHz, nobody":              {france5, nil, nil, 0, 36},
		"5 GHz, a neighbour":         {france5, near(5180), nil, 36, 40},
		"5 GHz, on 2.4 GHz only":     {france5, near(2412, 2437, 2462), nil, 0, 36},
		"5 GHz, all of a block":      {france5, near(5180, 5200, 5220, 5240), nil, 0, 149},
		"5 GHz, all of a block, low": {only(france5, 36, 40, 44, 48), near(5180, 5200, 5220, 5240), nil, 44, 44},
		"5 GHz, beyond phones":       {only(france5, 40, 166), near(5200), nil, 0, 40},
		"5 GHz, radar only":          {only(france5), nil, nil, 0, 0},
	} {
		if got := plan.ChooseChannel(c.band, c.heard, c.busy, c.now); got != c.want {
			t.Errorf("%s: channel %d, want %d", name, got, c.want)
		}
	}
}

// TestChooseChannelHolds uses random scans: the choice is always an allowed one, doesn't depend on the order in which
// networks were seen, and is kept when it's made again.
func TestChooseChannelHolds(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		band := testBand([]string{netctl.Band24, netctl.Band5}[r.IntN(2)], 1, 1)
		some := false
		for i := range band.Channels {
			c := &band.Channels[i]
			c.Allowed = c.Allowed && r.IntN(3) > 0
			c.Power = r.IntN(30)
			some = some || c.Allowed
		}
		var heard []netctl.ScanResult
		for range r.IntN(40) {
			// Any report of a radio.
			h := netctl.ScanResult{MHz: band.Channels[r.IntN(len(band.Channels))].MHz + r.IntN(3), Signal: r.IntN(200) - 150}
			heard = append(heard, h)
		}
		var busy []netctl.Survey
		for _, c := range band.Channels {
			if r.IntN(2) == 0 {
				busy = append(busy, netctl.Survey{MHz: c.MHz, Busy: r.Float64()*1.5 - 0.2})
			}
		}
		now := r.IntN(166)
		got := plan.ChooseChannel(band, heard, busy, now)
		c, ok := band.Channel(got)
		if some != (got != 0) || got != 0 && (!ok || !c.Allowed) {
			t.Fatalf("channel %d was chosen, allowed: %v; any is: %v", got, c.Allowed, some)
		}
		r.Shuffle(len(heard), func(i, j int) { heard[i], heard[j] = heard[j], heard[i] })
		r.Shuffle(len(busy), func(i, j int) { busy[i], busy[j] = busy[j], busy[i] })
		if again := plan.ChooseChannel(band, heard, busy, now); again != got {
			t.Fatalf("%d, and heard in another order %d", got, again)
		}
		if again := plan.ChooseChannel(band, heard, busy, got); again != got {
			t.Fatalf("%d was chosen, and from there %d", got, again)
		}
	}
}

// TestChannelsAgree: the configuration, which must not know the kernel's side, has the channels that the radios have.
func TestChannelsAgree(t *testing.T) {
	t.Parallel()
	for band, mhz := range map[string]int{netctl.Band24: 2407, netctl.Band5: 5000} {
		all := config.Channels(band)
		for _, n := range all {
			at := mhz + 5*n
			if n == 14 {
				at = 2484
			}
			if number, b := netctl.ChannelNumber(at); number != n || b != band {
				t.Errorf("%d MHz is channel %d of %q, want %d of %q", at, number, b, n, band)
			}
		}
		for n := range 200 {
			if first := netctl.Segment80(n); band == netctl.Band5 && first != 0 && !slices.Contains(all, first) {
				t.Errorf("channel %d is in the 80 MHz of %d, which is no channel", n, first)
			}
		}
	}
}
