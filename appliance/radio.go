package appliance

import (
	"fmt"
	"strings"

	"passerelle/appliance/air"
	"passerelle/netctl/plan"
	"passerelle/netctl/wpa"
)

// A hostapd that ended so often in a row by itself keeps dying: the box has no hotspot.
const dying = 3

// observeAir looks at the radios, after the lines, and says what they are for.
func (b *Box) observeAir() {
	b.air = b.Air.State()
	b.mu.RLock()
	busy := len(b.sessions) > 0
	b.mu.RUnlock()
	w := air.Wanted{Hotspot: b.Config.Hotspot, Busy: busy || b.air.Stations > 0}
	var networks []wpa.Network
	for _, d := range b.donations {
		if d.WiFi == nil {
			continue
		}
		w.Joins = append(w.Joins, air.Join{Interface: d.Interface, MHz: b.Joiner.State(d.Interface).MHz})
		if d.uplink.Present {
			networks = append(networks, wpa.Network{
				Interface: d.Interface, Socket: plan.SupplicantSocket(d.Interface, b.RunDir), SSID: string(d.WiFi.SSID),
			})
		}
	}
	b.Air.Set(w)
	b.Joiner.Set(networks)
}

// radios returns the interfaces that are there, of those that join lenders' networks.
func (b *Box) radios() (names []string) {
	for _, d := range b.donations {
		if d.WiFi != nil && d.uplink.Present {
			names = append(names, d.Interface)
		}
	}
	return names
}

// airFault says why there is no hotspot, "" if there is one, or will be soon.
func (b *Box) airFault() string {
	if b.air.Failed {
		return b.air.Why
	}
	return ""
}

// vital are the children without which the box is of no use to anybody, and what they do.
var vital = map[string]string{
	plan.ChildDNS:     "which gives addresses and names",
	plan.ChildGuests:  "which gives names to those who are not online",
	plan.ChildCaptive: "which leads to the box's pages",
	plan.ChildHostapd: "which makes the Wi-Fi network",
}

// childFault says which essential child does not stay up, with the last line that it wrote; "" if all do.
func (b *Box) childFault() string {
	for _, c := range b.Children.Status() {
		does := vital[c.Name]
		if does == "" || c.Failures < dying || c.Name == plan.ChildHostapd && b.air.On {
			continue
		}
		why := fmt.Sprintf("%s, %s, keeps ending (%s)", c.Name, does, c.LastExit)
		if c.LastLine != "" {
			why += ": " + strings.TrimSuffix(c.LastLine, ".")
		}
		return why
	}
	return ""
}

// wifi says what the hotspot's own network is, nil where somebody else makes it.
func (b *Box) wifi() *WiFiStatus {
	h, a := b.Config.Hotspot, b.air
	if h.Radio != "hostapd" {
		return nil
	}
	s := &WiFiStatus{
		SSID: h.SSID, On: a.On, Why: a.Why, MHz: a.MHz, Stations: a.Stations, Most: a.Most, Full: a.Full, Follows: a.Follows,
	}
	if p := a.AccessPoint; p != nil {
		s.Band, s.Channel, s.Isolates = p.Band, p.Channel, p.Radio.Isolates
		switch {
		case p.Password != "" && p.Radio.SAE:
			s.Security = "WPA2/WPA3"
		case p.Password != "":
			s.Security = "WPA2"
		case p.Transition():
			s.Security = "open, encrypted for phones that can (OWE)"
		default:
			s.Security = "open"
		}
	}
	return s
}
