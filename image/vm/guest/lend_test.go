package guest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/image/vm/guest"
	"passerelle/image/vm/outside"
)

// TestLendAtTheDesk: Élise's phone shares its connection, the person at the desk photographs its code and accepts, and the box shares
// that connection. Élise turns the sharing off and on again, and the loan continues on its own. Then she comes with another password.
func TestLendAtTheDesk(t *testing.T) {
	needMachine(t)
	t.Parallel()
	oneOutside.Lock() // there is only one cable to the outside
	t.Cleanup(oneOutside.Unlock)
	const lent = "Élise"
	elises := guest.Network{SSID: "iPhone d'Élise", Security: guest.WPA2, Passphrase: "l'eau; et \"le\" vent", Channel: 13}
	scene := radioScene(t, "desk", "wlan0", "wlan1")
	must(t, guest.ConnectOutside(scene.Lenders[0]))
	phone := newPhone(t, scene)
	configuration := strings.Replace(serving("Partage du bureau", "channel = 2", ""), "priority = 1\n", "", 1)
	// The phone's DHCP names its own name server for the whole machine, which does not answer on the cable.
	cable := fmt.Sprintf("interface = \"eth0\"\npriority = 2\ndns = [%q]", scene.Lenders[0].Gateway)
	configuration = strings.Replace(configuration, `interface = "eth0"`, cable, 1)
	box := startConfigured(t, scene, configuration)
	waitState(t, box, state.Sharing)
	waitOn(t, box)
	must(t, box.ConfirmTime(patience(t, time.Minute)))
	must(t, phone.On(patience(t, 30*time.Second), elises))

	screen, err := box.Screen(patience(t, time.Minute))
	must(t, err)
	must(t, guest.Offer(outside.Offer{
		Screen: screen, Lender: lent, Code: `WIFI:T:WPA;S:iPhone d'Élise;P:l'eau\; et \"le\" vent;;`,
	}))
	_, err = guest.Desk(patience(t, 8*time.Minute), outside.DeskReady) // the person at the desk is signed in
	must(t, err)
	began := time.Now()
	report, err := guest.Desk(patience(t, 8*time.Minute), outside.OfferReport)
	must(t, err)
	if report.Failed {
		t.Fatal("the person at the desk failed")
	}
	waitDonation := func(what string, wanted func(state.Donation) bool) state.Status {
		t.Helper()
		s, err := box.WaitFor(patience(t, 2*time.Minute), what, func(s state.Status) bool { return wanted(donationOf(s, lent)) })
		if err != nil {
			t.Fatalf("%v; the donation: %+v", err, donationOf(s, lent))
		}
		return s
	}
	waitDonation("the phone's interface is there", func(d state.Donation) bool { return d.Ifname != "" })
	must(t, guest.StartDHCP(box.Host, "wlan1"))
	s := waitDonation("the phone's line is used", used)
	took := time.Since(began).Round(time.Second)
	d := donationOf(s, lent)
	if d.Cap != 12e9 || d.Period != "once" || d.Until.IsZero() || d.Interface != "wlan1" {
		t.Errorf("the donation is %+v", d)
	}
	t.Logf("%d presses and %v from the desk's page of loans until the box shares by the phone, on this emulated machine", report.Presses, took)
	if report.Presses > 12 || took > 2*time.Minute {
		t.Errorf("that took %d presses and %v", report.Presses, took)
	}
	must(t, phone.Off())
	waitDonation("the phone's network is gone", func(d state.Donation) bool { return !d.Works && !d.Chosen })
	waitState(t, box, state.Sharing) // through the other line
	must(t, phone.On(patience(t, 30*time.Second), elises))
	s = waitDonation("the phone is back", used)
	if len(s.Donations) != 2 || donationOf(s, lent).Cap != 12e9 {
		t.Errorf("the donations are %+v", s.Donations)
	}
	if strings.Contains(box.Log(), "vent") {
		t.Error("the log has the phone's password")
	}
}
