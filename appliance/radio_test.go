package appliance

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/plan"
	"passerelle/appliance/radios"
	"passerelle/appliance/state"
	"passerelle/appliance/supervise"
	"passerelle/netctl"
	"passerelle/netctl/wpa"
)

// radioText is a box that is an access point, and joins a lender's Wi-Fi network.
var radioText = strings.NewReplacer(
	`radio = "none"`, "radio = \"hostapd\"\nssid = \"Partage de Co\"\ncountry = \"FR\"",
	"[[donation]]", "[[donation]]\nwifi = { ssid = \"Chez Lucie\", passphrase = \"trois petits chats\" }",
).Replace(confText)

// restart stops the box and starts it with another configuration.
func (h *testBox) restart(text string) {
	h.stop()
	h.start(text, Handover{})
}

func TestHostapdRunsOnceTheRadioIsReady(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.restart(radioText)
		if slices.Contains(h.children.names, plan.ChildHostapd) {
			t.Error("hostapd runs before there is a channel")
		}
		if h.radios.wanted.Hotspot.SSID != "Partage de Co" || len(h.radios.wanted.Uplinks) != 1 {
			t.Errorf("the radios are asked for %+v", h.radios.wanted)
		}
		h.inLoop(func() {
			h.radios.state = radios.State{AccessPoint: &netctl.AccessPoint{Interface: "wlan0", Channel: 6, Band: netctl.Band24}, Beaconing: true}
		})
		h.settle()
		if !slices.Contains(h.children.names, plan.ChildHostapd) {
			t.Errorf("hostapd does not run, only %q", h.children.names)
		}
		w := h.box.Status().Hotspot.WiFi
		if w == nil || !w.On || w.Channel != 6 || w.Security != "open" {
			t.Errorf("status says %+v", w)
		}
	})
}

func TestWithoutARadioItIsAFault(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.restart(radioText)
		h.state(state.Sharing)
		h.admit(anna)
		h.inLoop(func() { h.radios.state = radios.State{Failed: true, Why: "there is no radio wlan0"} })
		h.state(state.Fault)
		if why := h.box.Status().Why; why != "there is no radio wlan0" {
			t.Errorf("why: %q", why)
		}
		h.inLoop(func() { h.radios.state = radios.State{} })
		h.state(state.Sharing)
		if _, ok := h.box.Session(anna); !ok {
			t.Error("a radio that was missing for a moment ended a session")
		}
	})
}

// TestNewBoxNeedsNoRadio: nobody chose the radio of a box that nobody has configured. If it is missing, or cannot be used, the
// box still waits for a technician, and says to use the cable.
func TestNewBoxNeedsNoRadio(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.untouched = true
		h.restart(radioText)
		for want, air := range map[string]radios.State{
			"no technician has configured this box yet":                                    {},
			"no radio was found: set the box up over the cable":                            {Failed: true, Missing: true, Why: "there is no radio wlan0"},
			"the radio cannot be used (it is switched off): set the box up over the cable": {Failed: true, Why: "it is switched off"},
		} {
			h.inLoop(func() { h.radios.state = air })
			h.state(state.Setup)
			s := h.box.Status()
			if s.Why != want {
				t.Errorf("why: %q, want %q", s.Why, want)
			}
			if told := slices.ContainsFunc(s.Problems, func(p state.Problem) bool { return p.Code == state.HotspotRadio }); told != air.Failed {
				t.Errorf("%s: the problems are %q", want, s.Problems)
			}
		}
		h.inLoop(func() { h.children.status = []supervise.ChildStatus{{Name: plan.ChildDNS, Failures: failureLimit}} })
		h.state(state.Fault)
	})
}

// TestRequiredChildThatKeepsFailingIsAFault: the fault's reason has the last text that the child wrote.
func TestRequiredChildThatKeepsFailingIsAFault(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.restart(radioText)
		for _, name := range []string{plan.ChildHostapd, plan.ChildDNS, plan.ChildGuests, plan.ChildCaptive} {
			died := func(n int) {
				h.inLoop(func() {
					h.children.status = []supervise.ChildStatus{
						{Name: "wpa-eth0", Failures: 50}, // affects only its line
						{Name: name, Failures: n, LastExit: "exit status 1", LastLine: "Interface initialization failed."},
					}
				})
			}
			died(failureLimit - 1)
			h.state(state.Sharing)
			died(failureLimit)
			h.state(state.Fault)
			if why := h.box.Status().Why; !strings.HasPrefix(why, name+", ") || !strings.Contains(why, "Interface initialization failed") {
				t.Errorf("why: %q", why)
			}
			died(0)
			h.state(state.Sharing)
		}
	})
}

func TestLendersWiFiSaysWhatIsWrong(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.restart(radioText)
		h.inLoop(func() {
			h.joiner.join = wpa.Association{Cause: wpa.Passphrase, Why: "the network takes another passphrase"}
		})
		h.state(state.Offline)
		if s := h.box.Status(); s.Why != "the network takes another passphrase" {
			t.Errorf("why: %q", s.Why)
		}
		if !slices.Contains(h.children.names, "wpa-eth0") {
			t.Errorf("children: %q", h.children.names)
		}
		if n := h.joiner.list; len(n) != 1 || n[0].SSID != "Chez Lucie" || n[0].Socket != "/run/passerelle/wpa/eth0" {
			t.Errorf("watched: %+v", n)
		}
		h.inLoop(func() { h.joiner.join = wpa.Association{Associated: true, MHz: 2462, Signal: -50} })
		h.state(state.Sharing)
		if j := h.radios.wanted.Uplinks[0]; j.MHz != 2462 {
			t.Errorf("the access point does not know the lender's channel: %+v", j)
		}
		if d := h.box.Status().Donations[0]; d.Signal != -50 {
			t.Errorf("signal %d", d.Signal)
		}
	})
}

func TestSessionKeepsTheChannel(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.restart(radioText)
		h.state(state.Sharing)
		if h.radios.wanted.InUse {
			t.Error("without sessions the channel may not change")
		}
		h.admit(anna)
		h.settle()
		if !h.radios.wanted.InUse {
			t.Error("with a session the channel may change")
		}
	})
}

// TestPhoneWithAnotherName: a phone on USB is plugged in again, with another interface name and index.
func TestPhoneWithAnotherName(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.restart(strings.Replace(confText, `interface = "eth0"`, `interface = "usb"`, 1))
		for n, name := range []string{"usb0", "enx02a1b2c3d4e5"} {
			h.inLoop(func() { h.uplinks.phone, h.uplinks.status.Index = name, 7+n })
			h.state(state.Sharing)
			if text := h.kernel.String(); !strings.Contains(text, "dev "+name) {
				t.Errorf("no route through %s:\n%s", name, text)
			}
			if d := h.box.Status().Donations[0]; d.Ifname != name || d.Interface != "usb" {
				t.Errorf("status says %s on %s", d.Interface, d.Ifname)
			}
			time.Sleep(time.Minute)
		}
	})
}

// TestMetered: beacons say whether the line in use is metered, also while nothing is shared.
func TestMetered(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
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
			{with("cap = \"0\"\nmetered = \"yes\""), `"Fibre du centre" is metered by configuration`},
			{radioText, `"Fibre du centre" is on Wi-Fi, as a phone's hotspot is`},
			{strings.Replace(fixed, `"eth0"`, `"usb"`, 1), `"Fibre du centre" is a phone on USB`},
		} {
			h.joiner.join, h.uplinks.phone = wpa.Association{Associated: true}, "usb0"
			h.radios.state = radios.State{AccessPoint: &netctl.AccessPoint{Interface: "wlan0"}, Beaconing: true}
			h.restart(c.text)
			h.state(state.Sharing)
			told("in use", c.why)
			if err := h.box.Pause(h.Context(), "the button"); err != nil {
				h.Fatal(err)
			}
			told("paused", c.why)
			if err := h.box.Resume(h.Context()); err != nil {
				h.Fatal(err)
			}
			// A phone replaces it and goes away again.
			both := c.text + "[[donation]]\nname = \"Chez Lucie\"\ninterface = \"eth1\"\ncap = \"1GB\"\npriority = 2\n"
			if _, err := h.box.Reconfigure(h.Context(), h.config(both)); err != nil {
				h.Fatal(err)
			}
			told("with another one available", c.why)
			lent := func(paused bool) {
				if err := h.box.SetDonationPaused(h.Context(), "Fibre du centre", "its lender", paused); err != nil {
					h.Fatal(err)
				}
			}
			lent(true)
			told("with the other one in use", `"Chez Lucie" has a cap of 1GB`)
			lent(false)
			time.Sleep(time.Minute)
			told("in use again", c.why)
		}
	})
}
