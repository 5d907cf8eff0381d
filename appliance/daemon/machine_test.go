package daemon

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"passerelle/captive/admin"
	"passerelle/netctl"
	"passerelle/netctl/radio"
	"passerelle/netctl/uplink"
)

// TestLineOf: each state of a line has one thing more than the state before.
func TestLineOf(t *testing.T) {
	t.Parallel()
	at := netip.MustParsePrefix("192.168.1.34/24")
	for _, c := range []struct {
		name string
		i    uplink.Interface
		h    uplink.Health
		want admin.Line
	}{
		{"no cable", uplink.Interface{Wired: true}, uplink.Health{}, admin.Line{Kind: admin.Cable, State: admin.Unplugged}},
		{"no address", uplink.Interface{Status: uplink.Status{Carrier: true}}, uplink.Health{}, admin.Line{Kind: admin.Cable, State: admin.NoAddress}},
		{
			"a bridge of residents", uplink.Interface{Status: uplink.Status{Carrier: true, Address: at}, Bridge: true}, uplink.Health{},
			admin.Line{Kind: admin.Bridge, State: admin.NoRoute, Address: at.String()},
		},
		{
			"not tested yet", uplink.Interface{Status: uplink.Status{Carrier: true, Address: at, Works: true}}, uplink.Health{Works: true},
			admin.Line{Kind: admin.Cable, State: admin.Testing, Address: at.String()},
		},
		{
			"a phone without data", uplink.Interface{Status: uplink.Status{Interface: "enx0", Carrier: true, Address: at, Works: true}, Phone: true},
			uplink.Health{Known: true}, admin.Line{Interface: "usb", Kind: admin.Phone, State: admin.NoInternet, Address: at.String()},
		},
		{
			"a fibre", uplink.Interface{Status: uplink.Status{Interface: "eth0", Carrier: true, Address: at, Works: true}, Wired: true},
			uplink.Health{Known: true, Works: true}, admin.Line{Interface: "eth0", Kind: admin.Cable, State: admin.Works, Address: at.String()},
		},
	} {
		if diff := cmp.Diff(c.want, lineOf(c.i, c.h)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// fakeRadios are the radios of a machine.
type fakeRadios struct {
	radios     []netctl.Radio
	interfaces []netctl.RadioInterface
	err        error
}

func (r fakeRadios) Radios() ([]netctl.Radio, error) { return r.radios, nil }

func (r fakeRadios) Interfaces() ([]netctl.RadioInterface, error) { return r.interfaces, r.err }

// TestFindRadios: only radios that can be an access point are found, each with the hotspot's interface before any other.
func TestFindRadios(t *testing.T) {
	t.Parallel()
	r := fakeRadios{
		radios: []netctl.Radio{
			{Index: 0, AccessPoint: true, BSSWithSTA: 1, OWE: true, MaxStations: 32, Bands: []netctl.Band{{Name: netctl.Band5}}},
			{Index: 1}, {Index: 2, AccessPoint: true}, {Index: 3, AccessPoint: true}, {Index: 4, AccessPoint: true},
		},
		interfaces: []netctl.RadioInterface{
			{Name: "pas-twin", Index: 3, Radio: 0}, {Name: "wlan0", Index: 7, Radio: 0}, {Name: "wlan1", Index: 8, Radio: 1}, {Name: "wlan2", Index: 5, Radio: 2},
			{Name: "wlan3", Index: 9, Radio: 4},
		},
	}
	stations := func(device string) int { return map[string]int{"wlan0": 7, "wlan3": 19}[device] }
	m := &machine{hotspot: "wlan0", radios: func() (radioReader, error) { return r, nil }, stations: stations}
	got, err := m.FindRadios()
	want := []admin.Radio{
		{Interface: "wlan0", Stations: 32, Fast: true, Encrypts: true, Client: true}, {Interface: "wlan2"}, {Interface: "wlan3", Stations: 19},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	r.err = errors.New("no answer")
	if _, err := m.FindRadios(); !errors.Is(err, r.err) {
		t.Errorf("a radio that does not answer: %v", err)
	}
	m.radios = func() (radioReader, error) { return nil, radio.ErrNone }
	if got, err := m.FindRadios(); got != nil || err != nil {
		t.Errorf("without radios: %v, %v", got, err)
	}
}
