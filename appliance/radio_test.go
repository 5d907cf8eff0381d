package appliance

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/air"
	"passerelle/appliance/decide"
	"passerelle/appliance/supervise"
	"passerelle/netctl"
	"passerelle/netctl/plan"
	"passerelle/netctl/wpa"
)

// radioText is a box that makes the Wi-Fi network itself, and joins a lender's.
var radioText = strings.NewReplacer(
	`radio = "none"`, "radio = \"hostapd\"\nssid = \"Partage de Co\"\ncountry = \"FR\"",
	"[[donation]]", "[[donation]]\nwifi = { ssid = \"Chez Lucie\", passphrase = \"trois petits chats\" }",
).Replace(confText)

// restart stops the box and starts it with another configuration.
func (h *home) restart(text string) {
	h.stop()
	h.start(text, Aside{})
}

func TestHostapdRunsOnceTheRadioIsReady(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.restart(radioText)
		if slices.Contains(h.kids.names, plan.ChildHostapd) {
			t.Error("hostapd runs before there is a channel")
		}
		if h.air.wanted.Hotspot.SSID != "Partage de Co" || len(h.air.wanted.Joins) != 1 {
			t.Errorf("the radios are asked for %+v", h.air.wanted)
		}
		h.inLoop(func() {
			h.air.state = air.State{AccessPoint: &netctl.AccessPoint{Interface: "wlan0", Channel: 6, Band: netctl.Band24}, On: true}
		})
		h.settle()
		if !slices.Contains(h.kids.names, plan.ChildHostapd) {
			t.Errorf("hostapd does not run, only %q", h.kids.names)
		}
		w := h.box.Status().Hotspot.WiFi
		if w == nil || !w.On || w.Channel != 6 || w.Security != "open" {
			t.Errorf("status says %+v", w)
		}
	})
}

func TestWithoutARadioItIsAFault(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.restart(radioText)
		h.state(decide.Sharing)
		h.admit(anna)
		h.inLoop(func() { h.air.state = air.State{Failed: true, Why: "there is no radio wlan0"} })
		h.state(decide.Fault)
		if why := h.box.Status().Why; why != "there is no radio wlan0" {
			t.Errorf("why: %q", why)
		}
		h.inLoop(func() { h.air.state = air.State{} })
		h.state(decide.Sharing)
		if _, ok := h.box.Session(anna); !ok {
			t.Error("a radio that was away for a moment ended a session")
		}
	})
}

// TestVitalChildThatKeepsDyingIsAFault: with the last line that it wrote.
func TestVitalChildThatKeepsDyingIsAFault(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.restart(radioText)
		for _, name := range []string{plan.ChildHostapd, plan.ChildDNS, plan.ChildGuests, plan.ChildCaptive} {
			died := func(n int) {
				h.inLoop(func() {
					h.kids.status = []supervise.ChildStatus{
						{Name: "wpa-eth0", Failures: 50}, // its line alone is lost
						{Name: name, Failures: n, LastExit: "exit status 1", LastLine: "Interface initialization failed."},
					}
				})
			}
			died(dying - 1)
			h.state(decide.Sharing)
			died(dying)
			h.state(decide.Fault)
			if why := h.box.Status().Why; !strings.HasPrefix(why, name+", ") || !strings.Contains(why, "Interface initialization failed") {
				t.Errorf("why: %q", why)
			}
			died(0)
			h.state(decide.Sharing)
		}
	})
}

func TestLendersWiFiSaysWhatIsWrong(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.restart(radioText)
		h.inLoop(func() { h.joiner.join = wpa.Join{Cause: wpa.Passphrase, Why: "the network takes another passphrase"} })
		h.state(decide.Offline)
		if s := h.box.Status(); s.Why != "the network takes another passphrase" {
			t.Errorf("why: %q", s.Why)
		}
		if !slices.Contains(h.kids.names, "wpa-eth0") {
			t.Errorf("children: %q", h.kids.names)
		}
		if n := h.joiner.list; len(n) != 1 || n[0].SSID != "Chez Lucie" || n[0].Socket != "/run/passerelle/wpa/eth0" {
			t.Errorf("watched: %+v", n)
		}
		h.inLoop(func() { h.joiner.join = wpa.Join{Joined: true, MHz: 2462, Signal: -50} })
		h.state(decide.Sharing)
		if j := h.air.wanted.Joins[0]; j.MHz != 2462 {
			t.Errorf("the access point is not told where the lender's network is: %+v", j)
		}
		if d := h.box.Status().Donations[0]; d.Signal != -50 {
			t.Errorf("signal %d", d.Signal)
		}
	})
}

func TestSomebodyHereKeepsTheChannel(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.restart(radioText)
		h.state(decide.Sharing)
		if h.air.wanted.Busy {
			t.Error("nobody is here, and the channel may not change")
		}
		h.admit(anna)
		h.settle()
		if !h.air.wanted.Busy {
			t.Error("somebody is here, and the channel may change")
		}
	})
}

// TestPhoneWithAnotherName has a phone on USB plugged in again under another name and number.
func TestPhoneWithAnotherName(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.restart(strings.Replace(confText, `interface = "eth0"`, `interface = "usb"`, 1))
		for n, name := range []string{"usb0", "enx02a1b2c3d4e5"} {
			h.inLoop(func() { h.lines.phone, h.lines.status.Index = name, 7+n })
			h.state(decide.Sharing)
			if text := h.kernel.String(); !strings.Contains(text, "dev "+name) {
				t.Errorf("nothing goes by %s:\n%s", name, text)
			}
			if d := h.box.Status().Donations[0]; d.Line != name || d.Interface != "usb" {
				t.Errorf("status says %s on %s", d.Interface, d.Line)
			}
			time.Sleep(time.Minute)
		}
	})
}

// TestMetered: beacons say of the line in use whether it is metered, and go on to say so while nothing is shared.
func TestMetered(t *testing.T) {
	inHome(t, 10, func(h *home) {
		told := func(when, why string) {
			h.Helper()
			h.settle()
			s := h.box.Status().Hotspot
			want := wpa.Beacon{Sockets: []string{"/run/passerelle/hostapd/wlan0"}, Elements: plan.NetworkCost(why != "")}
			if !reflect.DeepEqual(h.beacon.wanted, want) || s.Metered != (why != "") || s.MeteredWhy != why {
				t.Errorf("%s: beacons say %q, status %t, %q; want %q", when, h.beacon.wanted, s.Metered, s.MeteredWhy, why)
			}
		}
		fixed := strings.Replace(radioText, "wifi = ", "# ", 1)
		with := func(line string) string { return strings.Replace(fixed, `cap = "0"`, line, 1) }
		for _, c := range []struct{ text, why string }{
			{fixed, ""},
			{with(`cap = "2GB"`), `"Fibre du centre" has a cap of 2GB`},
			{with("cap = \"2GB\"\nmetered = \"no\""), ""},
			{with("cap = \"0\"\nmetered = \"yes\""), `the configuration says so of "Fibre du centre"`},
			{radioText, `"Fibre du centre" comes by Wi-Fi, as a phone's line does`},
			{strings.Replace(fixed, `"eth0"`, `"usb"`, 1), `"Fibre du centre" is a phone's line`},
		} {
			h.joiner.join, h.lines.phone = wpa.Join{Joined: true}, "usb0"
			h.air.state = air.State{AccessPoint: &netctl.AccessPoint{Interface: "wlan0"}, On: true}
			h.restart(c.text)
			h.state(decide.Sharing)
			told("in use", c.why)
			if err := h.box.Pause(h.Context(), "the button"); err != nil {
				h.Fatal(err)
			}
			told("paused", c.why)
			if err := h.box.Resume(h.Context()); err != nil {
				h.Fatal(err)
			}
			// A phone that takes its place and goes away again.
			both := c.text + "[[donation]]\nname = \"Chez Lucie\"\ninterface = \"eth1\"\ncap = \"1GB\"\npriority = 2\n"
			if err := h.box.Reconfigure(h.Context(), h.config(both)); err != nil {
				h.Fatal(err)
			}
			told("beside another one", c.why)
			lent := func(paused bool) {
				if _, err := h.box.SetDonationPaused(h.Context(), "Fibre du centre", "its lender", paused); err != nil {
					h.Fatal(err)
				}
			}
			lent(true)
			told("the other one in its place", `"Chez Lucie" has a cap of 1GB`)
			lent(false)
			time.Sleep(time.Minute)
			told("in use again", c.why)
		}
	})
}
