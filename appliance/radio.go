package appliance

import (
	"strings"

	"passerelle/appliance/config"
	"passerelle/appliance/plan"
	"passerelle/appliance/radios"
	"passerelle/appliance/state"
	"passerelle/appliance/supervise"
)

// failureLimit is how many failures in a row of a required child are a fault: the box has no hotspot.
const failureLimit = 3

// observeRadios reads the state of the radios and sets their configuration. It runs after the lines were read.
func (b *Box) observeRadios() {
	b.radios = b.parts.Radios.State()
	w := radios.Config{Hotspot: b.config.Hotspot, InUse: b.residents.online() > 0 || b.radios.Stations > 0}
	w.Uplinks = b.lines.joins()
	b.parts.Radios.Set(w)
	b.parts.Joiner.Set(b.lines.lentNetworks(b.parts.RunDir))
}

// faults returns why there is no hotspot, the first cause first. It returns none if there is one, or will be soon.
func (b *Box) faults() (all []state.Problem) {
	if why := b.attempts.fault(b.parts.Now()); why != "" {
		all = append(all, state.NewProblem(state.PlanRefused, "error", why))
	}
	if b.radios.Failed {
		all = append(all, state.NewProblem(state.HotspotRadio, "error", b.radios.Why))
	}
	return append(all, childFaults(b.parts.Children.Status(), b.radios)...)
}

// untouched tells whether nobody has configured the box yet. Then nobody chose its radio either.
func (b *Box) untouched() bool { return !b.parts.Configured && b.refused == nil }

// noWiFi returns why a radio that failed makes no network.
func (b *Box) noWiFi() string {
	if b.radios.Missing {
		return "no radio was found"
	}
	return "the radio cannot be used (" + b.radios.Why + ")"
}

// requiredChildren are the children without which the box has no use, and what they do.
var requiredChildren = map[string]string{
	plan.ChildDNS:     "which serves DHCP and DNS",
	plan.ChildGuests:  "which serves DNS to captive devices",
	plan.ChildCaptive: "which redirects names to the box's pages",
	plan.ChildHostapd: "which runs the access point",
}

// childFaults returns a problem for each required child that keeps failing, with the last text that it wrote.
func childFaults(children []supervise.ChildStatus, air radios.State) (all []state.Problem) {
	for _, c := range children {
		role := requiredChildren[c.Name]
		if role == "" || c.Failures < failureLimit || c.Name == plan.ChildHostapd && air.Beaconing {
			continue
		}
		all = append(all, state.NewProblem(state.ChildFails,
			"child", c.Name, "role", role, "exit", c.LastExit, "line", strings.TrimSuffix(c.LastLine, ".")))
	}
	return all
}

// wifiStatus returns the status of the hotspot's Wi-Fi network, nil if the box is not its access point.
func wifiStatus(h config.Hotspot, a radios.State) *state.WiFi {
	if h.Radio != "hostapd" {
		return nil
	}
	s := &state.WiFi{
		SSID: h.SSID, On: a.Beaconing, Why: a.Why, MHz: a.MHz, Stations: a.Stations, MaxStations: a.MaxStations, AtCapacity: a.Full, SharedChannel: a.SharedChannel,
	}
	if p := a.AccessPoint; p != nil {
		s.Band, s.Channel, s.ClientIsolation = p.Band, p.Channel, p.Radio.CanIsolate
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
