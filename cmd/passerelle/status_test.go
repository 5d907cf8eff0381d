package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/state"
)

func TestDescribeWiFi(t *testing.T) {
	t.Parallel()
	on := func(change func(*state.WiFi)) state.WiFi {
		w := state.WiFi{
			SSID: "Partage de Co", Security: "open", On: true, Band: "2.4GHz", Channel: 6, Stations: 3, ClientIsolation: true,
		}
		change(&w)
		return w
	}
	for _, c := range []struct {
		wifi state.WiFi
		want string
	}{
		{
			state.WiFi{SSID: "Partage de Co"}, `
  Wi-Fi "Partage de Co", off: the access point is starting`,
		},
		{
			state.WiFi{SSID: "Bus\x1b[31m \xe9", Why: "there is no radio wlan0"}, `
  Wi-Fi "Bus\x1b[31m \xe9", off: there is no radio wlan0`,
		},
		{
			on(func(*state.WiFi) {}), `
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 3 devices`,
		},
		{
			on(func(w *state.WiFi) {
				w.Security = "open, encrypted for phones that can (OWE)"
				w.Stations = 1
			}), `
  Wi-Fi "Partage de Co", open, encrypted for phones that can (OWE), channel 6 of 2.4GHz, 1 device`,
		},
		{
			on(func(w *state.WiFi) { w.Security = "WPA2/WPA3"; w.Band, w.Channel, w.MaxStations = "5GHz", 36, 30 }), `
  Wi-Fi "Partage de Co", WPA2/WPA3, channel 36 of 5GHz, 3 devices of 30 that its radio supports`,
		},
		{
			on(func(w *state.WiFi) { w.Stations, w.MaxStations = 7, 9 }), `
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 7 devices of 9 that its radio supports`,
		},
		{
			on(func(w *state.WiFi) { w.Stations, w.MaxStations = 8, 10 }), `
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 8 devices of 10 that its radio supports
  the radio is almost full`,
		},
		{
			on(func(w *state.WiFi) { w.Stations, w.MaxStations, w.AtCapacity = 10, 10, true }), `
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 10 devices of 10 that its radio supports
  a device was rejected: the radio is full; add a second box or another Wi-Fi adapter`,
		},
		{
			on(func(w *state.WiFi) { w.SharedChannel = true }), `
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 3 devices
  the radio also joins a lender's network: both share its airtime, on the lender's channel`,
		},
		{
			on(func(w *state.WiFi) { w.ClientIsolation = false }), `
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 3 devices
  the driver does not support client isolation: devices on the Wi-Fi network may reach each other`,
		},
	} {
		var b bytes.Buffer
		describeWiFi(&b, c.wifi)
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.wifi, diff)
		}
	}
}

// TestDescribeResidents: a resident with a session is online only if the State allows it.
func TestDescribeResidents(t *testing.T) {
	t.Parallel()
	for _, now := range state.States {
		want := map[state.State]string{state.Sharing: "3 residents online"}[now]
		if want == "" {
			want = "3 residents authorized, nobody online"
		}
		s := state.Status{State: now, Residents: state.Residents{Sessions: 3}}
		if got := residents(s); got != want {
			t.Errorf("%s: %q, want %q", now, got, want)
		}
	}
	essential := []state.Donation{{}, {Essential: true}}
	for _, c := range []struct {
		state     state.State
		sessions  int
		donations []state.Donation
		want      string
	}{
		{state.Exhausted, 1, essential, "1 resident authorized, essential services only"},
		{state.Sharing, 0, nil, "0 residents online"},
		{state.Paused, 0, nil, "nobody online"},
	} {
		s := state.Status{State: c.state, Residents: state.Residents{Sessions: c.sessions}, Donations: c.donations}
		if got := residents(s); got != c.want {
			t.Errorf("%s: %q, want %q", c.state, got, c.want)
		}
	}
}

func TestDescribeSlowLane(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		r    state.Residents
		want string
	}{
		{state.Residents{After: 64e3}, ""},
		{state.Residents{Data: 500e6}, ""},
		{state.Residents{Data: 500e6, After: 64e3}, ", then 64kbit"},
		{state.Residents{Data: 500e6, After: 64e3, Sessions: 3, Slow: 2}, ", then 64kbit (2 residents now)"},
	} {
		if got := slowLane(state.Status{Residents: c.r}); got != c.want {
			t.Errorf("%+v: %q, want %q", c.r, got, c.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC) // a Tuesday
	resets := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	got := describe(state.Status{
		State: state.Sharing, Why: "Fibre du centre is shared", Since: now.Add(-90 * time.Minute),
		Centre: "Centre social des Lilas", Clock: state.Clock{Now: now, Trusted: true, By: "a time server"},
		Hotspot: state.Hotspot{
			Interface: "wlan0", Address: "10.80.0.1/22", Queue: "fq_codel",
			Metered: true, MeteredWhy: `"Fibre du centre" has a cap of 200GB`,
			WiFi: &state.WiFi{
				SSID: "Partage de Co", Security: "open", On: true, Band: "2.4GHz", Channel: 6, Stations: 2, ClientIsolation: true,
			},
		},
		Residents: state.Residents{Sessions: 1, Download: 8e6, Upload: 2e6},
		Donations: []state.Donation{
			{
				Name: "Fibre du centre", Interface: "eth0", Chosen: true, Open: true, Works: true, Cap: 200e9, Used: 12345e6,
				Granted: 781e6, Left: 187e9, Reserve: 1e9, Daily: 23e9, Period: "month", Resets: resets,
				Broadcasts: 4.5e6, Slow: true, Servers: []string{"192.168.1.1", "9.9.9.9"},
				ProvedNames: state.Proof{At: now.Add(-12 * time.Second), What: "a name of github.io, from 192.168.1.1, in 2.3s"},
				ProvedPage:  state.Proof{At: now, What: "the page of nmcheck.gnome.org"},
			},
			{
				Name: "Chez Lucie", Interface: "wlan1", Open: true, Why: "its network is not in range",
				Broadcasts: 999, BroadcastsCount: true,
			},
		},
		Children: []state.Child{
			{Name: "dnsmasq", Running: true}, {Name: "hostapd", LastExit: "exit status 1"}, {Name: "dnsmasq-captive"},
		},
		Problems: []state.Problem{
			state.NewProblem(state.BoardHot, "celsius", "82"),
			state.NewProblem(state.NetworkOverlap, "error", "its network is not in range"), // is reported above
			state.NewProblem(state.ChildFails, "child", "dnsmasq-captive", "role", "which does its part", "exit", "exit status 2", "line", ""),
			state.NewProblem(state.KernelFails, "error", "the gate: permission denied"),
		},
	}, now)
	want := `sharing: Fibre du centre is shared
  since 1h30m0s

Centre social des Lilas
  hotspot wlan0, 10.80.0.1/22, fq_codel queues
  Wi-Fi "Partage de Co", open, channel 6 of 2.4GHz, 2 devices
  announced to devices as metered: "Fibre du centre" has a cap of 200GB
  1 resident online, each up to 8mbit down, 2mbit up, unlimited a day

DONATION         INTERFACE  STATE                        USED    CAP            GRANTED  LEFT                                  DAILY BUDGET  RESETS
Fibre du centre  eth0       in use                       12.3GB  200GB a month  781MB    187GB and 1GB for essential services  23GB          Tue 1 Dec 00:00
Chez Lucie       wlan1      its network is not in range  0B      none           -        -                                     -             -

Fibre du centre: DNS servers: 192.168.1.1, 9.9.9.9, slow
  proved 12s ago: a name of github.io, from 192.168.1.1, in 2.3s
  proved just now: the page of nmcheck.gnome.org

Chez Lucie: DNS servers: none

Fibre du centre: 4.5MB of broadcasts from the lender's network are not counted

Chez Lucie: 999B of broadcasts from the lender's network count as used

problem: the board is too hot (82 °C) and slows down: give it air, and no sun

problem: dnsmasq-captive, which does its part, keeps ending (exit status 2)

problem: the gate: permission denied

hostapd is not running: exit status 1
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDescribeDownloads(t *testing.T) {
	t.Parallel()
	at := func(day int) time.Time { return time.Date(2026, 11, day, 9, 30, 0, 0, time.UTC) }
	for _, c := range []struct {
		download state.Download
		want     string
	}{
		{state.Download{Waits: "the clock is not trusted"}, `none yet
  none begins now: the clock is not trusted
`},
		{state.Download{Running: true, Bytes: 1_200_000, Size: 3_400_000}, "running, 1.2MB of about 3.4MB\n"},
		{state.Download{Running: true, Bytes: 1_200_000, Next: at(30)}, "running, 1.2MB\n"},
		{state.Download{Done: at(23), Tried: at(23), Next: at(30), Result: "312 places"}, `312 places, on Mon 23 Nov 09:30
  the next one is due on Mon 30 Nov 09:30
`},
		{state.Download{Done: at(23), Tried: at(24), Next: at(25), Result: "312 places", Unchanged: true, Error: "no answer"},
			`312 places, unchanged, on Mon 23 Nov 09:30
  the last one failed, on Tue 24 Nov 09:30: no answer
  the next one is due on Wed 25 Nov 09:30
`},
	} {
		c.download.Name, c.download.From = "places", "example.com"
		var b bytes.Buffer
		describeDownloads(&b, state.Status{Downloads: []state.Download{c.download}})
		if diff := cmp.Diff("\ndownload of places, from example.com: "+c.want, b.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
