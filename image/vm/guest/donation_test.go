package guest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"passerelle/appliance/state"
	"passerelle/image/vm/guest"
)

// The phone's donation, and the hotspot's network. The tests here use channels below 5; TestHotspot uses those from 5 on.
const (
	lent    = "Téléphone de Maria"
	lending = "Partage de Maria"
)

// donationOf returns a donation's part of a status.
func donationOf(s state.Status, name string) (d state.Donation) {
	if i := slices.IndexFunc(s.Donations, func(d state.Donation) bool { return d.Name == name }); i >= 0 {
		d = s.Donations[i]
	}
	return d
}

// waitLent waits until the phone's donation is as wanted.
func waitLent(t *testing.T, b *guest.Box, what string, wanted func(state.Donation) bool) state.Status {
	t.Helper()
	s, err := b.WaitFor(patience(t, time.Minute), what, func(s state.Status) bool {
		return wanted(donationOf(s, lent))
	})
	if err != nil {
		t.Fatalf("%v; the donation: %+v", err, donationOf(s, lent))
	}
	return s
}

// used tells whether the donation's line works and residents' packets use it.
func used(d state.Donation) bool { return d.Chosen && d.Works }

// asksAddress runs a DHCP client on the interface of the phone's donation, as the system does, once the interface exists.
func asksAddress(t *testing.T, b *guest.Box, device string) {
	t.Helper()
	waitLent(t, b, device+" is there", func(d state.Donation) bool { return d.Ifname == device })
	must(t, guest.StartDHCP(b.Host, device))
}

// code is the text of the QR code that the phone shows.
func code(n guest.Network) string {
	return fmt.Sprintf("WIFI:T:WPA;S:%s;P:%s;;", n.SSID, n.Passphrase)
}

// marias is the network of the phone.
var marias = guest.Network{SSID: "Maria 4G", Security: guest.WPA2, Passphrase: "trois mots doux", Channel: 4}

// TestLentNetwork tests a lender's Wi-Fi, through a separate radio and through the hotspot's. It takes long enough for the watchdog
// to time out if the daemon did not reset it.
func TestLentNetwork(t *testing.T) {
	needMachine(t)
	t.Parallel()
	scene := radioScene(t, "lent", "wlan0", "wlan1")
	phone := newPhone(t, scene)
	must(t, phone.On(patience(t, 30*time.Second), marias))
	box := startConfigured(t, scene, serving(lending, "channel = 2", "[hw]\nwatchdog = \"/dev/watchdog0\"\n"))
	station := newStation(t, scene.World, 3)
	waitMHz(t, box, 2417)
	admitted(t, station, guest.Network{SSID: lending, Security: guest.Open})
	must(t, scene.Lenders[0].LAN.Cut())
	waitState(t, box, state.Offline)

	usable := func(t *testing.T) {
		t.Helper()
		waitLent(t, box, "the phone's line is used", used)
		online(t, station)
	}
	follows := func(t *testing.T, mhz int) {
		t.Helper()
		if w := waitMHz(t, box, mhz); !w.SharedChannel {
			t.Errorf("its network is %+v", w)
		}
		usable(t)
	}
	lend := func(t *testing.T, n guest.Network, device string) {
		t.Helper()
		must(t, box.Lend(patience(t, 30*time.Second), code(n), lent, device))
	}

	t.Run("is listed", func(t *testing.T) {
		ctx := patience(t, time.Minute)
		must(t, box.SetUp("wlan1", true))
		for said := ""; !strings.Contains(said, marias.SSID); { // one scan may be too short for a beacon
			out, err := box.Scan(ctx, "wlan1")
			if err != nil {
				t.Fatalf("%v; passerelle wifi scan said:\n%s", err, said)
			}
			said = out
		}
	})
	t.Run("with another passphrase is not joined, and says so", func(t *testing.T) {
		wrong := marias
		wrong.Passphrase = "quatre mots doux"
		lend(t, wrong, "wlan1")
		waitLent(t, box, "the passphrase is wrong", func(d state.Donation) bool {
			return strings.Contains(d.Why, "another passphrase")
		})
	})
	t.Run("with the right one is joined and used", func(t *testing.T) {
		lend(t, marias, "")
		asksAddress(t, box, "wlan1")
		usable(t)
		if w := waitMHz(t, box, 2417); w.SharedChannel {
			t.Errorf("though another radio joins it, its network is %+v", w)
		}
	})
	t.Run("by the hotspot's radio takes the hotspot to its channel", func(t *testing.T) {
		lend(t, marias, "lend0") // the box creates this interface
		asksAddress(t, box, "lend0")
		follows(t, 2427)
	})
	t.Run("moves, and the hotspot follows", func(t *testing.T) {
		must(t, phone.Move(patience(t, 30*time.Second), 1))
		follows(t, 2412)
	})
	t.Run("goes and comes back elsewhere", func(t *testing.T) {
		must(t, phone.Off())
		waitLent(t, box, "the phone's network is gone", func(d state.Donation) bool {
			return strings.Contains(d.Why, "is gone")
		})
		waitState(t, box, state.Offline)
		elsewhere := marias
		elsewhere.Channel = 3
		must(t, phone.On(patience(t, 30*time.Second), elsewhere))
		follows(t, 2422)
	})
	t.Run("leaves no interface behind, and no watchdog", func(t *testing.T) {
		ctx := patience(t, 30*time.Second)
		if state, err := guest.Watchdog(ctx); err != nil || state != "active" {
			t.Errorf("the watchdog is %q: %v", state, err)
		}
		if _, err := box.Netlink().LinkByName("lend0"); err != nil {
			t.Error(err)
		}
		must(t, box.Stop())
		if _, err := box.Netlink().LinkByName("lend0"); !errors.As(err, new(netlink.LinkNotFoundError)) {
			t.Errorf("lend0 is there: %v", err)
		}
		if state, err := guest.Watchdog(ctx); err != nil || state != "inactive" {
			t.Errorf("without the daemon the watchdog is %q: %v", state, err)
		}
	})
}

// waitMHz waits until the box's network is on the air at that frequency, and returns it.
func waitMHz(t *testing.T, b *guest.Box, mhz int) state.WiFi {
	t.Helper()
	return waitAir(t, b, fmt.Sprintf("its network is on %d MHz", mhz), func(w state.WiFi) bool {
		return w.On && w.MHz == mhz
	})
}
