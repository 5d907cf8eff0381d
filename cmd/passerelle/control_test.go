package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance"
	"passerelle/appliance/decide"
)

func TestDescribeWiFi(t *testing.T) {
	t.Parallel()
	on := func(change func(*appliance.WiFiStatus)) appliance.WiFiStatus {
		w := appliance.WiFiStatus{
			SSID: "Partage de Co", Security: "open", On: true, Band: "2.4GHz", Channel: 6, Stations: 3, Isolates: true,
		}
		change(&w)
		return w
	}
	for _, c := range []struct {
		wifi appliance.WiFiStatus
		want string
	}{
		{
			appliance.WiFiStatus{SSID: "Partage de Co"}, `
  Wi-Fi "Partage de Co", off: the access point is being started`,
		},
		{
			appliance.WiFiStatus{SSID: "Bus\x1b[31m \xe9", Why: "there is no radio wlan0"}, `
  Wi-Fi "Bus\x1b[31m \xe9", off: there is no radio wlan0`,
		},
		{
			on(func(*appliance.WiFiStatus) {}), `
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 3 devices`,
		},
		{
			on(func(w *appliance.WiFiStatus) {
				w.Security = "open, encrypted for phones that can (OWE)"
				w.Stations = 1
			}), `
  Wi-Fi "Partage de Co", open, encrypted for phones that can (OWE), channel 6 of 2.4GHz, 1 device`,
		},
		{
			on(func(w *appliance.WiFiStatus) { w.Security = "WPA2/WPA3"; w.Band, w.Channel, w.Most = "5GHz", 36, 30 }), `
  Wi-Fi "Partage de Co", WPA2/WPA3, channel 36 of 5GHz, 3 devices of 30 that its radio serves`,
		},
		{
			on(func(w *appliance.WiFiStatus) { w.Stations, w.Most = 7, 9 }), `
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 7 devices of 9 that its radio serves`,
		},
		{
			on(func(w *appliance.WiFiStatus) { w.Stations, w.Most = 8, 10 }), `
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 8 devices of 10 that its radio serves
  soon the radio serves no more devices`,
		},
		{
			on(func(w *appliance.WiFiStatus) { w.Stations, w.Most, w.Full = 10, 10, true }), `
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 10 devices of 10 that its radio serves
  a device was turned away: the radio serves no more at once; a second box, or another Wi-Fi adapter, would`,
		},
		{
			on(func(w *appliance.WiFiStatus) { w.Follows = true }), `
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 3 devices
  the radio joins a lender's network too: each has half its time, and both are on the lender's channel`,
		},
		{
			on(func(w *appliance.WiFiStatus) { w.Isolates = false }), `
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 3 devices
  this radio may let devices of the Wi-Fi network reach each other: it does not take the order to keep them apart`,
		},
	} {
		var b bytes.Buffer
		describeWiFi(&b, c.wifi)
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.wifi, diff)
		}
	}
}

// TestDescribeResidents: who has a session is online only where the State lets them.
func TestDescribeResidents(t *testing.T) {
	t.Parallel()
	for _, state := range decide.States {
		want := map[decide.State]string{decide.Sharing: "3 residents online"}[state]
		if want == "" {
			want = "3 residents admitted, nobody online"
		}
		s := appliance.Status{State: state, Residents: appliance.ResidentsStatus{Sessions: 3}}
		if got := residents(s); got != want {
			t.Errorf("%s: %q, want %q", state, got, want)
		}
	}
	essential := []appliance.DonationStatus{{}, {Essential: true}}
	for _, c := range []struct {
		state     decide.State
		sessions  int
		donations []appliance.DonationStatus
		want      string
	}{
		{decide.Exhausted, 1, essential, "1 resident admitted, to essential services only"},
		{decide.Sharing, 0, nil, "0 residents online"},
		{decide.Paused, 0, nil, "nobody online"},
	} {
		s := appliance.Status{State: c.state, Residents: appliance.ResidentsStatus{Sessions: c.sessions}, Donations: c.donations}
		if got := residents(s); got != c.want {
			t.Errorf("%s: %q, want %q", c.state, got, c.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC) // a Tuesday
	refills := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	got := describe(appliance.Status{
		State: decide.Sharing, Why: "Fibre du centre is shared", Since: now.Add(-90 * time.Minute),
		Centre: "Centre social des Lilas", Clock: appliance.ClockStatus{Now: now, Trusted: true, By: "a time server"},
		Hotspot: appliance.HotspotStatus{
			Interface: "wlan0", Address: "10.80.0.1/22", Queue: "fq_codel",
			Metered: true, MeteredWhy: `"Fibre du centre" has a cap of 200GB`,
			WiFi: &appliance.WiFiStatus{
				SSID: "Partage de Co", Security: "open", On: true, Band: "2.4GHz", Channel: 6, Stations: 2, Isolates: true,
			},
		},
		Residents: appliance.ResidentsStatus{Sessions: 1, Download: 8e6, Upload: 2e6},
		Donations: []appliance.DonationStatus{
			{
				Name: "Fibre du centre", Interface: "eth0", Chosen: true, Open: true, Works: true, Cap: 200e9, Used: 12345e6,
				Granted: 781e6, Left: 187e9, Reserve: 1e9, Daily: 23e9, Period: "month", Refills: &refills,
				Broadcasts: 4.5e6, Slow: true, Servers: []string{"192.168.1.1", "9.9.9.9"},
				ProvedNames: &appliance.ProofStatus{At: now.Add(-12 * time.Second), What: "a name of github.io, from 192.168.1.1, in 2.3s"},
				ProvedPage:  &appliance.ProofStatus{At: now, What: "the page of nmcheck.gnome.org"},
			},
			{
				Name: "Chez Lucie", Interface: "wlan1", Open: true, Why: "its network is not in range",
				Broadcasts: 999, BroadcastsCount: true,
			},
		},
		Board: appliance.BoardStatus{Complaints: []string{
			"the power supply is too weak: use the one that came with the board",
			"the processor is hot (82 °C): give it air",
		}},
		Children: []appliance.ChildStatus{
			{Name: "dnsmasq", Running: true}, {Name: "hostapd", LastExit: "exit status 1"},
		},
		Problems: []string{"the gate: permission denied"},
	}, now)
	want := `sharing: Fibre du centre is shared
  since 1h30m0s

Centre social des Lilas
  hotspot wlan0, 10.80.0.1/22, fq_codel queues
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 2 devices
  devices are told that the line is metered: "Fibre du centre" has a cap of 200GB
  1 resident online, each up to 8mbit down, 2mbit up, unlimited a day

DONATION         LINE   STATE                        USED    CAP            GRANTED  LEFT                                  TODAY MAY USE  BEGINS ANEW
Fibre du centre  eth0   in use                       12.3GB  200GB a month  781MB    187GB and 1GB for essential services  23GB           Tue 1 Dec 00:00
Chez Lucie       wlan1  its network is not in range  0B      none           -        -                                     -              -

Fibre du centre: names by 192.168.1.1, 9.9.9.9, slowly
  proved 12s ago: a name of github.io, from 192.168.1.1, in 2.3s
  proved just now: the page of nmcheck.gnome.org

Chez Lucie: names by nobody

Fibre du centre: 4.5MB of broadcasts came from its own network, which don't count

Chez Lucie: 999B of broadcasts came from its own network, which count as used

problem: the power supply is too weak: use the one that came with the board

problem: the processor is hot (82 °C): give it air

hostapd is not running: exit status 1

problem: the gate: permission denied
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
