package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"passerelle/appliance/config"
	"passerelle/netctl"
	"passerelle/netctl/radio"
	"passerelle/netctl/uplink"
)

// machine is what init and check know about the machine that they run on.
type machine struct {
	Lines      []uplink.Interface // all interfaces; the one with the machine's default route first
	Radios     []netctl.Radio
	Interfaces []netctl.RadioInterface // the radios' interfaces, which are also in Lines
}

// readMachine reads the machine. It needs no privileges and no radio.
func readMachine() (m machine, err error) {
	lines, err := uplink.Open(os.DirFS("/"))
	if err != nil {
		return m, err
	}
	defer lines.Close()
	if m.Lines, err = lines.Interfaces(); err != nil {
		return m, err
	}
	radios, err := radio.Open()
	if errors.Is(err, radio.ErrNone) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if m.Radios, err = radios.Radios(); err != nil {
		return m, err
	}
	m.Interfaces, err = radios.Interfaces()
	return m, err
}

// line returns the interface of that name, or nil.
func (m machine) line(name string) *uplink.Interface {
	i := slices.IndexFunc(m.Lines, func(l uplink.Interface) bool { return l.Interface == name })
	if i < 0 {
		return nil
	}
	return &m.Lines[i]
}

// radio returns the radio of an interface, or nil, and the interface's kind.
func (m machine) radio(name string) (*netctl.Radio, netctl.RadioKind) {
	for _, i := range m.Interfaces {
		r := slices.IndexFunc(m.Radios, func(r netctl.Radio) bool { return r.Index == i.Radio })
		if i.Name == name && r >= 0 {
			return &m.Radios[r], i.Kind
		}
	}
	return nil, ""
}

// names lists the interfaces.
func (m machine) names() string {
	var names []string
	for _, l := range m.Lines {
		names = append(names, l.Interface)
	}
	if len(names) == 0 {
		return "it has none"
	}
	slices.Sort(names)
	return "it has " + strings.Join(names, ", ")
}

// internet returns the interface that leads to the internet, as far as the kernel knows, or nil.
func (m machine) internet() *uplink.Interface {
	for i := range m.Lines {
		if m.Lines[i].Works && !m.Lines[i].Port {
			return &m.Lines[i]
		}
	}
	return nil
}

// sockets returns the wired interfaces, the likeliest uplinks first: those with an address, then those with a carrier.
func (m machine) sockets() (list []*uplink.Interface) {
	for i := range m.Lines {
		if l := &m.Lines[i]; l.Wired && !l.Port {
			list = append(list, l)
		}
	}
	order := func(l *uplink.Interface) int {
		switch {
		case l.Address.IsValid():
			return 0
		case l.Carrier:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(list, func(a, b *uplink.Interface) int { return order(a) - order(b) })
	return list
}

// accessPoint returns an interface whose radio supports access point mode, or "". It prefers one that is in no network.
func (m machine) accessPoint() (name string, joined bool) {
	for _, i := range m.Interfaces {
		r, _ := m.radio(i.Name)
		l := m.line(i.Name)
		if r == nil || l == nil || !r.AccessPoint {
			continue
		}
		if !l.Address.IsValid() {
			return i.Name, false
		}
		if name == "" {
			name, joined = i.Name, true
		}
	}
	return name, joined
}

// hotspotAddresses are the candidates for the hotspot's network, the default first.
var hotspotAddresses = []netip.Prefix{
	netip.MustParsePrefix("10.80.0.1/22"), netip.MustParsePrefix("172.28.0.1/22"), netip.MustParsePrefix("192.168.76.1/22"),
}

// fit returns a configuration for the machine, and a line on each choice. What the machine lacks is as in the example.
func fit(m machine) (c *config.Config, chosen []string) {
	c, err := config.Parse("example.toml", config.Example())
	if err != nil {
		panic("the example is not valid: " + err.Error())
	}
	note := func(format string, a ...any) { chosen = append(chosen, fmt.Sprintf(format, a...)) }
	h, d := &c.Hotspot, &c.Donations[0]

	ap, joined := m.accessPoint()
	line, sockets := m.internet(), m.sockets()
	switch {
	case line != nil && line.Phone:
		d.Name, d.Interface, d.Cap, d.Reserve = "Téléphone prêté", config.USB, 2e9, 20e6
		note("donation: the phone on USB, this machine's internet connection; 2GB a month: ask whose phone it is")
	case line != nil && line.Interface != ap:
		d.Interface = line.Interface
		note("donation: %s, this machine's internet connection", described(line))
	case len(sockets) > 0:
		d.Interface = sockets[0].Interface
		note("donation: %s, not connected to the internet yet: plug its cable in", d.Interface)
	default:
		d.Interface = m.absent("eth")
		note("donation: %s, since no uplink was found: set its interface", d.Interface)
	}
	// An interface with an address is in somebody else's network, where residents must not be.
	free := slices.IndexFunc(sockets, func(l *uplink.Interface) bool { return l.Interface != d.Interface && !l.Address.IsValid() })
	switch {
	case ap != "":
		h.Interface, h.Radio = ap, "hostapd"
		if r, _ := m.radio(ap); !hasBand(*r, h.Band) && len(r.Bands) > 0 {
			h.Band = r.Bands[0].Name
		}
		note("hotspot: a Wi-Fi network on %s by %s", h.Band, ap)
		if joined {
			note("%s is in a network, which it leaves when the box runs: connect by cable, or to the hotspot", ap)
		}
	case free >= 0:
		h.Interface, h.Radio = sockets[free].Interface, "none"
		note("hotspot: the network at %s, since no radio supports access point mode", h.Interface)
	default:
		h.Interface = m.absent("wlan")
		note("hotspot: a Wi-Fi network by %s, which does not exist: no radio supports access point mode; plug in an adapter",
			h.Interface)
	}

	unused := func(p netip.Prefix) bool {
		return !slices.ContainsFunc(m.Lines, func(l uplink.Interface) bool { return overlaps(l.Networks, p) })
	}
	if i := slices.IndexFunc(hotspotAddresses, unused); i > 0 {
		h.Address = hotspotAddresses[i]
		note("the hotspot's network is %s: this machine is already in %s", h.Address.Masked(), hotspotAddresses[0].Masked())
	}
	return c, chosen
}

// described returns an interface's name and kind.
func described(l *uplink.Interface) string {
	if l.Kind == "" {
		return l.Interface
	}
	return l.Interface + " (" + l.Kind + ")"
}

// absent returns an unused interface name.
func (m machine) absent(kind string) string {
	for n := 0; ; n++ {
		if name := fmt.Sprint(kind, n); m.line(name) == nil {
			return name
		}
	}
}

func overlaps(networks []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(networks, p.Overlaps)
}

// misfits returns what in a configuration does not fit the machine, each as "key: what is wrong".
func misfits(m machine, c *config.Config) (list []string) {
	say := func(format string, a ...any) { list = append(list, fmt.Sprintf(format, a...)) }
	h := c.Hotspot
	r, kind := m.radio(h.Interface)
	switch l := m.line(h.Interface); {
	case l == nil && h.Radio == "hostapd" && m.canMake(c, h.Interface):
	case l == nil:
		say("hotspot.interface: this machine has no interface %s; %s", h.Interface, m.names())
	case h.Radio == "none" && r != nil && kind != netctl.RadioAccessPoint:
		advice := `use "hostapd" to make one`
		if !r.AccessPoint {
			advice = "its radio does not support access point mode; use another interface"
		}
		say(`hotspot.radio: "none" means that %s is a network already, but it is a Wi-Fi radio without one; %s`, h.Interface, advice)
	case h.Radio == "hostapd" && r == nil:
		say(`hotspot.radio: "hostapd" needs a Wi-Fi radio, but %s has none; use "none" if it is a network already`, h.Interface)
	case h.Radio == "hostapd" && !r.AccessPoint:
		say("hotspot.interface: the radio of %s does not support access point mode; use another interface", h.Interface)
	case h.Radio == "hostapd" && !hasBand(*r, h.Band):
		say("hotspot.band: the radio of %s does not have the band %s", h.Interface, h.Band)
	case l.Routed:
		say("hotspot.interface: %s leads to the internet: residents would be in its owner's network", h.Interface)
	}
	for _, d := range c.Donations {
		key := fmt.Sprintf("donation %q", d.Name)
		l := m.line(d.Interface)
		switch r, _ := m.radio(d.Interface); {
		case d.Interface == config.USB: // a phone is plugged in and out
		case l == nil && d.WiFi != nil && m.canMake(c, d.Interface):
		case l == nil && d.WiFi != nil:
			say("%s: interface: this machine has no interface %s, and the hotspot's radio cannot create it; %s", key, d.Interface, m.names())
		case l == nil:
			say("%s: interface: this machine has no interface %s; %s", key, d.Interface, m.names())
		case d.WiFi != nil && r == nil:
			say("%s: wifi: %s has no radio, and cannot join a Wi-Fi network", key, d.Interface)
		case d.WiFi != nil && !r.STA:
			say("%s: wifi: the radio of %s cannot join a network", key, d.Interface)
		case overlaps(l.Networks, h.Address):
			say("hotspot.address: %v is already in a network of %s; use another one", h.Address, d.Interface)
		}
	}
	return list
}

func hasBand(r netctl.Radio, name string) bool {
	_, ok := r.Band(name)
	return ok
}

// canMake tells whether the box can create an interface: a donation's Wi-Fi on the hotspot's radio, or the hotspot's on a donation's
// radio (package radios).
func (m machine) canMake(c *config.Config, name string) bool {
	can := func(other string) bool {
		r, _ := m.radio(other)
		return r != nil && r.BSSWithSTA > 0
	}
	if c.Hotspot.Radio != "hostapd" {
		return false
	}
	if name != c.Hotspot.Interface {
		return can(c.Hotspot.Interface)
	}
	return slices.ContainsFunc(c.Donations, func(d config.Donation) bool { return d.WiFi != nil && can(d.Interface) })
}
