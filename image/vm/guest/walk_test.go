package guest_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/image/vm/guest"
)

// TestScanCode reads codes as a phone does.
func TestScanCode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]guest.Network{
		`WIFI:T:nopass;S:Partage;;`:               {SSID: "Partage", Security: guest.Open},
		`WIFI:T:WPA;S:a\;b\\;P:c\:d;;`:            {SSID: `a;b\`, Passphrase: "c:d", Security: guest.Transition},
		`WIFI:T:WPA;S:Écluses\, le Lavoir;P:12;;`: {SSID: "Écluses, le Lavoir", Passphrase: "12", Security: guest.Transition},
		"": {}, "WIFI:": {}, "WIFI:S:a;": {}, "WIFI:T:nopass;S:a": {}, `WIFI:T:nopass;S:a\`: {}, "WIFI:T:nopass;;": {}, "WIFI:T:WEP;S:a;;": {},
	} {
		if got, err := guest.ScanCode(text); (err == nil) != (want.SSID != "") || err == nil && got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
}

// oneOutside is held by the test that uses the cable that leads out of the machine: there is only one.
var oneOutside sync.Mutex

// TestWalk follows a new box from its first start to a poster that somebody joins with. Its radio is plugged in first. The technician
// is outside the machine, on the lender's network.
func TestWalk(t *testing.T) {
	needMachine(t)
	t.Parallel()
	oneOutside.Lock()
	t.Cleanup(oneOutside.Unlock)
	const adapter = "wlx020000000300" // as systems name a radio on USB
	scene := radioScene(t, "walk")
	must(t, guest.ConnectOutside(scene.Lenders[0]))
	box := startConfigured(t, scene, "")
	station := newStation(t, scene.World, 7)

	_, err := box.WaitFor(patience(t, time.Minute), "it has no radio", func(s state.Status) bool {
		return s.State == state.Setup && strings.Contains(s.Why, "no radio was found")
	})
	must(t, err)
	must(t, guest.TakeRadio(patience(t, time.Minute), scene.Box, adapter))
	if w := waitOn(t, box); w.SSID != "Passerelle" {
		t.Errorf("with a radio its network is %+v", w)
	}
	waitState(t, box, state.Setup)

	screen, err := box.Screen(patience(t, time.Minute))
	must(t, err)
	began := time.Now()
	report, err := guest.Walk(patience(t, 10*time.Minute), screen)
	must(t, err)
	if report.Failed {
		t.Fatal("the technician outside failed")
	}
	t.Logf("from first start to sharing: %d presses, %v on this emulated machine", report.Presses, time.Since(began).Round(time.Second))
	if report.Presses > 25 {
		t.Errorf("that took %d presses", report.Presses)
	}

	s := waitState(t, box, state.Sharing)
	if len(s.Donations) != 1 || s.Donations[0].Cap != 10e9 || s.Donations[0].Period != "once" || s.Donations[0].Interface != "eth0" ||
		s.Hotspot.Interface != adapter {
		t.Errorf("it shares %+v on %s", s.Donations, s.Hotspot.Interface)
	}
	network, err := guest.ScanCode(report.Code)
	must(t, err)
	joins(t, station, network)
	page, err := station.Get(patience(t, 30*time.Second), portal+"/")
	must(t, err)
	if !strings.Contains(page.Body, s.Centre) {
		t.Errorf("the first page is %d: %s", page.Status, page.Body)
	}
	press(t, station)
	online(t, station)
}
