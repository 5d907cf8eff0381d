package guest_test

import (
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/image/vm/guest"
	"passerelle/netctl/netlab"
)

// TestPhoneOnUSB checks that a phone on a cable is recognised by its driver, and is the same donation however often it is plugged in.
func TestPhoneOnUSB(t *testing.T) {
	needMachine(t)
	t.Parallel()
	ctx := patience(t, 2*time.Minute)
	scene, err := netlab.Standard(ctx, netlab.Options{Name: "usb"})
	must(t, err)
	closeWorld(t, scene.World)
	phone, err := guest.AddUSBPhone(ctx, scene.Internet, scene.World)
	must(t, err)
	box := startBoxOn(t, scene, `
[[donation]]
name = "Téléphone de Lucie"
interface = "usb"
cap = "1GB"
dns = ["`+netlab.DNSAddr.String()+`"]
`)
	if s := waitState(t, box, state.Offline); !strings.Contains(s.Why, "no phone is plugged in") {
		t.Errorf("without a phone it says %q", s.Why)
	}
	seen := map[string]bool{}
	for _, name := range []string{"usb0", "enx020304050607"} {
		must(t, phone.Plug(ctx, scene.Box, name))
		s, err := box.WaitFor(ctx, "it shares by "+name, func(s state.Status) bool {
			return s.State == state.Sharing && s.Donations[0].Ifname == name
		})
		must(t, err)
		d := s.Donations[0]
		if d.Interface != "usb" || !strings.Contains(d.Kind, "USB") || len(s.Donations) != 1 {
			t.Errorf("the donation is %+v", d)
		}
		seen[d.Ifname] = true
		must(t, phone.Unplug())
		waitState(t, box, state.Offline)
	}
	if len(seen) != 2 {
		t.Errorf("it was seen as %v", seen)
	}
}
