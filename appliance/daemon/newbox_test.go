package daemon

import (
	"errors"
	"testing"

	"passerelle/netctl"
	"passerelle/netctl/radio"
)

// TestHotspotRadio: the hotspot of a new box stays on its interface if that can be an access point. Otherwise it moves to a radio
// that can be one and that nothing else uses.
func TestHotspotRadio(t *testing.T) {
	t.Parallel()
	able := netctl.Radio{AccessPoint: true}
	with := func(index int, r netctl.Radio) netctl.Radio { r.Index = index; return r }
	joined := netctl.RadioInterface{Name: "wlp2s0", Index: 2, Radio: 1, Kind: netctl.RadioStation, MHz: 2412}
	stick := netctl.RadioInterface{Name: "wlx0002fe012345", Index: 3, Radio: 2, Kind: netctl.RadioStation}
	own := netctl.RadioInterface{Name: "wlan0", Index: 4, Radio: 3, Kind: netctl.RadioStation, MHz: 2437}
	mute := errors.New("no answer")
	for name, c := range map[string]struct {
		radios []netctl.Radio
		have   []netctl.RadioInterface
		err    error // of opening or reading them
		want   string
	}{
		"no radio":                        {err: radio.ErrNone},
		"one under its own name":          {radios: []netctl.Radio{with(2, able)}, have: []netctl.RadioInterface{stick}, want: stick.Name},
		"one that is in a network":        {radios: []netctl.Radio{with(1, able)}, have: []netctl.RadioInterface{joined}},
		"another that is in a network":    {radios: []netctl.Radio{with(1, able), with(2, able)}, have: []netctl.RadioInterface{joined, stick}, want: stick.Name},
		"its own, though in a network":    {radios: []netctl.Radio{with(2, able), with(3, able)}, have: []netctl.RadioInterface{stick, own}, want: "wlan0"},
		"one that is no access point":     {radios: []netctl.Radio{{Index: 2}}, have: []netctl.RadioInterface{stick}},
		"its own that is no access point": {radios: []netctl.Radio{with(2, able), {Index: 3}}, have: []netctl.RadioInterface{stick, own}, want: stick.Name},
		"radios that do not answer":       {err: mute},
	} {
		got, err := hotspotRadio(func() (radioReader, error) {
			if c.err == radio.ErrNone {
				return nil, c.err
			}
			return fakeRadios{radios: c.radios, interfaces: c.have, err: c.err}, nil
		}, "wlan0")
		if got != c.want || errors.Is(err, mute) != (c.err == mute) || err != nil && c.err != mute {
			t.Errorf("%s: on %q, %v, want %q", name, got, err, c.want)
		}
	}
}
