package guest_test

import (
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/hw"
	"passerelle/image/vm/guest"
	"passerelle/netctl/netlab"
)

// TestNewBox tests a box that no technician has configured, and a box that is reset.
func TestNewBox(t *testing.T) {
	needMachine(t)
	t.Parallel()
	const ssid = "Partage neuf"
	chip, err := guest.NewChip("reset", 8)
	must(t, err)
	t.Cleanup(func() {
		if err := chip.Close(); err != nil {
			t.Error(err)
		}
	})
	scene := radioScene(t, "new", "wlan0")
	light, button := chip.Light(2), chip.Button(5)
	box := startConfigured(t, scene, "")
	station := newStation(t, scene.World, 4)

	waits := func(t *testing.T) {
		t.Helper()
		waitState(t, box, state.Setup)
		w := waitOn(t, box)
		if w.SSID != "Passerelle" {
			t.Errorf("its network is %+v", w)
		}
		joins(t, station, guest.Network{SSID: "Passerelle", Security: guest.Open, Channel: w.Channel})
		reply, err := station.Get(patience(t, 30*time.Second), "http://www.example/")
		must(t, err)
		if reply.Body == netlab.InternetPage {
			t.Error("a box that nobody has configured leads to the internet")
		}
	}
	t.Run("waits for a technician", waits)
	t.Run("takes up its configuration", func(t *testing.T) {
		must(t, box.Configure(serving(ssid, "", "[hw]\nled = \"reset 2 high\"\nbutton = \"reset 5 low\"\n")))
		must(t, box.Reload())
		waitState(t, box, state.Sharing)
		w := waitAir(t, box, "its network has its name", func(w state.WiFi) bool { return w.On && w.SSID == ssid })
		admitted(t, station, guest.Network{SSID: ssid, Security: guest.Open, Channel: w.Channel})
	})
	t.Run("is reset by its button", func(t *testing.T) {
		// The light says so for five seconds, 50 ms at a time. An emulated machine with other tests in it may miss that. After 20 s the
		// button counts as stuck and asks for nothing.
		var began time.Time
		var err error
		for range 3 {
			must(t, button.Set(true))
			began = time.Now()
			if err = light.Await(patience(t, 25*time.Second), hw.Holds[hw.Reset], slack); err == nil {
				break
			}
			must(t, button.Set(false))
		}
		must(t, err)
		if d := time.Since(began); d > 19*time.Second {
			t.Fatalf("the light said so after %s only", d)
		}
		must(t, button.Set(false))
		waits(t)
		if box.Configured() {
			t.Error("it still has a configuration")
		}
	})
}
