package guest_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"passerelle/netctl/netlab"
	"passerelle/vm/guest"
)

// TestMachine: the machine is what the tests expect.
func TestMachine(t *testing.T) {
	needMachine(t)
	radios, err := os.ReadDir("/sys/class/ieee80211")
	must(t, err)
	if len(radios) != 6 {
		t.Errorf("%d radios, want 6", len(radios))
	}
	for _, name := range []string{"passerelle", "bench"} {
		path, err := guest.Program(name)
		must(t, err)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

// TestAir: stations join a phone of each kind of security, and the internet is behind it.
func TestAir(t *testing.T) {
	needMachine(t)
	ctx := patience(t, 3*time.Minute)
	w, err := netlab.New(ctx, "air")
	must(t, err)
	closeWorld(t, w)
	internet, err := w.AddInternet()
	must(t, err)
	phone, err := guest.AddPhone(ctx, internet, w)
	must(t, err)
	t.Cleanup(func() {
		if err := phone.Off(); err != nil {
			t.Error(err)
		}
	})
	station := newStation(t, w, 1)

	for _, n := range []guest.Network{
		{SSID: "Partage à ouvrir", Security: guest.Open, Channel: 6},
		{SSID: "lilas", Security: guest.WPA2, Passphrase: "trois mots doux", Channel: 1},
		{SSID: "lilas", Security: guest.SAE, Passphrase: "trois mots doux", Channel: 11},
		{SSID: "lilas", Security: guest.Transition, Passphrase: "trois mots doux", Channel: 36},
		{SSID: "lilas", Security: guest.OWE, Channel: 6},
	} {
		t.Run(string(n.Security), func(t *testing.T) {
			ctx := patience(t, 30*time.Second)
			must(t, phone.On(ctx, n))
			lease, err := station.Join(ctx, n)
			must(t, err)
			must(t, station.Ping(ctx, lease.Router.String()))
			page, err := station.Get(ctx, "http://www.example/")
			must(t, err)
			if page.Body != netlab.InternetPage {
				t.Errorf("the internet said %q", page.Body)
			}
		})
	}

	n := guest.Network{SSID: "lilas", Security: guest.WPA2, Passphrase: "trois mots doux", Channel: 6}
	t.Run("wrong passphrase", func(t *testing.T) {
		ctx := patience(t, 30*time.Second)
		must(t, phone.On(ctx, n))
		wrong := n
		wrong.Passphrase = "quatre mots doux"
		if err := station.Associate(ctx, wrong); !errors.Is(err, guest.ErrWrongKey) {
			t.Errorf("joined with the wrong passphrase: %v", err)
		}
	})
	t.Run("moves, goes and comes back", func(t *testing.T) {
		ctx := patience(t, time.Minute)
		must(t, phone.On(ctx, n))
		before, err := station.Join(ctx, n)
		must(t, err)
		must(t, phone.Move(ctx, 11))
		must(t, station.Ping(ctx, before.Router.String()))
		must(t, phone.Off())
		must(t, station.Lost(ctx))
		must(t, phone.On(ctx, n))
		must(t, station.Back(ctx))
		must(t, station.Ping(ctx, before.Router.String()))
		must(t, station.SetMAC(stationMAC(9)))
		after, err := station.Join(ctx, n)
		must(t, err)
		if after.Address == before.Address {
			t.Errorf("another MAC got the same address, %s", after.Address)
		}
	})
	t.Run("two at once", func(t *testing.T) {
		ctx := patience(t, time.Minute)
		open := guest.Network{SSID: "lilas", Security: guest.Open, Channel: 6}
		must(t, phone.On(ctx, open))
		other := newStation(t, w, 2)
		lease, err := station.Join(ctx, open)
		must(t, err)
		_, err = other.Join(ctx, open)
		must(t, err)
		must(t, other.Ping(ctx, strings.TrimSuffix(lease.Address.String(), "/24")))
	})
}
