package guest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance"
	"passerelle/appliance/decide"
	"passerelle/vm/guest"
)

// lent is the donation of the phone in these tests.
const lent = "Téléphone de Maria"

// donationOf returns what a status says of a donation.
func donationOf(s appliance.Status, name string) (d appliance.DonationStatus) {
	if i := slices.IndexFunc(s.Donations, func(d appliance.DonationStatus) bool { return d.Name == name }); i >= 0 {
		d = s.Donations[i]
	}
	return d
}

// waitLent waits until it is so with the phone's donation.
func waitLent(t *testing.T, b *guest.Box, what string, wanted func(appliance.DonationStatus) bool) appliance.Status {
	t.Helper()
	s, err := b.WaitFor(patience(t, time.Minute), what, func(s appliance.Status) bool {
		return wanted(donationOf(s, lent))
	})
	if err != nil {
		t.Fatalf("%v; the donation: %+v", err, donationOf(s, lent))
	}
	return s
}

// used tells whether residents' packets go by the donation's line, which works.
func used(d appliance.DonationStatus) bool { return d.Chosen && d.Works }

// asksAddress does the system's part on the interface of the phone's donation, once it is there.
func asksAddress(t *testing.T, b *guest.Box, device string) {
	t.Helper()
	waitLent(t, b, device+" is there", func(d appliance.DonationStatus) bool { return d.Line != "" })
	must(t, guest.StartDHCP(b.Host, device))
}

// code is the text of the QR code that the phone shows.
func code(n guest.Network) string {
	return fmt.Sprintf("WIFI:T:WPA;S:%s;P:%s;;", n.SSID, n.Passphrase)
}

// marias is the network of the phone.
var marias = guest.Network{SSID: "Maria 4G", Security: guest.WPA2, Passphrase: "trois mots doux", Channel: 11}

// lendingScene starts a box that has these radios and makes its network on channel 6, beside a phone that shares
// marias. A station has a session; then the fibre fails.
func lendingScene(t *testing.T, name string, radios ...string) (*guest.Box, *guest.Phone, *guest.Station) {
	t.Helper()
	scene := radioScene(t, name, radios...)
	phone := newPhone(t, scene)
	must(t, phone.On(patience(t, 30*time.Second), marias))
	box := startAirBox(t, scene, serving("channel = 6", ""))
	station := newStation(t, scene.World, 1)
	if w := waitOn(t, box); w.Channel != 6 {
		t.Fatalf("its network is %+v", w)
	}
	admitted(t, station, guest.Network{SSID: ssid, Security: guest.Open})
	must(t, scene.Lenders[0].LAN.Cut())
	waitState(t, box, decide.Offline)
	return box, phone, station
}

// TestLentNetwork: a lender's Wi-Fi, by a radio of its own.
func TestLentNetwork(t *testing.T) {
	needMachine(t)
	box, phone, station := lendingScene(t, "lent", "wlan0", "wlan1")

	t.Run("is listed", func(t *testing.T) {
		must(t, box.SetUp("wlan1", true))
		out, err := box.Scan(patience(t, time.Minute), "wlan1")
		must(t, err)
		if !strings.Contains(out, marias.SSID) {
			t.Errorf("passerelle wifi scan said:\n%s", out)
		}
	})
	t.Run("is joined and used", func(t *testing.T) {
		must(t, box.Lend(patience(t, 30*time.Second), code(marias), lent, "wlan1"))
		asksAddress(t, box, "wlan1")
		waitLent(t, box, "the phone's line is used", used)
		online(t, station)
	})
	t.Run("goes and comes back", func(t *testing.T) {
		must(t, phone.Off())
		waitLent(t, box, "the phone's network is gone", func(d appliance.DonationStatus) bool {
			return strings.Contains(d.Why, "is gone")
		})
		waitState(t, box, decide.Offline)
		must(t, phone.On(patience(t, 30*time.Second), marias))
		waitLent(t, box, "the phone's line is used", used)
		online(t, station)
	})
	t.Run("with another passphrase is not joined, and says so", func(t *testing.T) {
		wrong := marias
		wrong.Passphrase = "quatre mots doux"
		must(t, box.Lend(patience(t, 30*time.Second), code(wrong), lent, ""))
		waitLent(t, box, "the passphrase is wrong", func(d appliance.DonationStatus) bool {
			return strings.Contains(d.Why, "another passphrase")
		})
	})
}

// TestOneRadio: a lender's Wi-Fi, by the hotspot's radio.
func TestOneRadio(t *testing.T) {
	needMachine(t)
	box, phone, station := lendingScene(t, "one", "wlan0")
	follows := func(t *testing.T, mhz int) {
		t.Helper()
		w := waitAir(t, box, fmt.Sprintf("its network is on %d MHz", mhz), func(w appliance.WiFiStatus) bool {
			return w.On && w.MHz == mhz
		})
		if !w.Follows {
			t.Errorf("its network is %+v", w)
		}
		waitLent(t, box, "the phone's line is used", used)
		online(t, station)
	}

	t.Run("takes the hotspot to the phone's channel", func(t *testing.T) {
		must(t, box.Lend(patience(t, 30*time.Second), code(marias), lent, "")) // no interface is named: lend0 is made
		asksAddress(t, box, "lend0")
		follows(t, 2462)
	})
	t.Run("follows the phone to another", func(t *testing.T) {
		must(t, phone.Off())
		waitState(t, box, decide.Offline)
		moved := marias
		moved.Channel = 1
		must(t, phone.On(patience(t, 30*time.Second), moved))
		follows(t, 2412)
	})
}
