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

// machine is what init and check see of the machine that they run on.
type machine struct {
	Lines      []uplink.Line // all interfaces; first the one with the default route that the machine itself takes
	Radios     []netctl.Radio
	Interfaces []netctl.RadioInterface // of the radios, in Lines, too
}

// lookAround reads the machine. It needs no privilege, and no radio.
func lookAround() (m machine, err error) {
	lines, err := uplink.Open(os.DirFS("/"))
	if err != nil {
		return m, err
	}
	defer lines.Close()
	if m.Lines, err = lines.Lines(); err != nil {
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

// line returns the interface of that name, nil if there is none.
func (m machine) line(name string) *uplink.Line {
	i := slices.IndexFunc(m.Lines, func(l uplink.Line) bool { return l.Interface == name })
	if i < 0 {
		return nil
	}
	return &m.Lines[i]
}

// radio returns the radio of an interface, nil if it is no radio's, and what the interface is for.
func (m machine) radio(name string) (*netctl.Radio, netctl.RadioKind) {
	for _, i := range m.Interfaces {
		r := slices.IndexFunc(m.Radios, func(r netctl.Radio) bool { return r.Index == i.Radio })
		if i.Name == name && r >= 0 {
			return &m.Radios[r], i.Kind
		}
	}
	return nil, ""
}

// names lists the interfaces that there are.
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

// internet returns the line that leads to the internet now, as far as the kernel knows; nil for none.
func (m machine) internet() *uplink.Line {
	for i := range m.Lines {
		if m.Lines[i].Works && !m.Lines[i].Port {
			return &m.Lines[i]
		}
	}
	return nil
}

// sockets returns the interfaces for cables, the likeliest lines first: those with an address, then those with something
// at the other end.
func (m machine) sockets() (list []*uplink.Line) {
	for i := range m.Lines {
		if l := &m.Lines[i]; l.Wired && !l.Port {
			list = append(list, l)
		}
	}
	order := func(l *uplink.Line) int {
		switch {
		case l.Address.IsValid():
			return 0
		case l.Carrier:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(list, func(a, b *uplink.Line) int { return order(a) - order(b) })
	return list
}

// accessPoint returns an interface whose radio can make the hotspot, one that has no network of its own before others; ""
// for none.
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

// hotspotAddresses are where the hotspot's network may be, the usual one first.
var hotspotAddresses = []netip.Prefix{
	netip.MustParsePrefix("10.80.0.1/22"), netip.MustParsePrefix("172.28.0.1/22"), netip.MustParsePrefix("192.168.76.1/22"),
}

// fit makes a configuration that fits the machine, and says what it chose, one line each. Where nothing is seen it is the
// example.
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
		note("donation: the phone on USB, through which this machine has the internet now; 2GB a month: ask whose phone it is")
	case line != nil && line.Interface != ap:
		d.Interface = line.Interface
		note("donation: %s, through which this machine has the internet now", described(line))
	case len(sockets) > 0:
		d.Interface = sockets[0].Interface
		note("donation: %s, which does not lead to the internet yet: plug the line in", d.Interface)
	default:
		d.Interface = m.absent("eth")
		note("donation: %s, because no line was seen: write its interface", d.Interface)
	}
	// Where there is an address already, somebody else's network is: no place for residents.
	free := slices.IndexFunc(sockets, func(l *uplink.Line) bool { return l.Interface != d.Interface && !l.Address.IsValid() })
	switch {
	case ap != "":
		h.Interface, h.Radio = ap, "hostapd"
		if r, _ := m.radio(ap); !hasBand(*r, h.Band) && len(r.Bands) > 0 {
			h.Band = r.Bands[0].Name
		}
		note("hotspot: a Wi-Fi network on %s that %s makes", h.Band, ap)
		if joined {
			note("%s is in a network now, which it leaves when the box runs: come in by cable, or on the hotspot", ap)
		}
	case free >= 0:
		h.Interface, h.Radio = sockets[free].Interface, "none"
		note("hotspot: the network at %s, because no radio was seen that can be an access point", h.Interface)
	default:
		h.Interface = m.absent("wlan")
		note("hotspot: a Wi-Fi network that %s makes, which is not there: no radio was seen that can be an access point; plug an adapter in",
			h.Interface)
	}

	unused := func(p netip.Prefix) bool {
		return !slices.ContainsFunc(m.Lines, func(l uplink.Line) bool { return overlaps(l.Networks, p) })
	}
	if i := slices.IndexFunc(hotspotAddresses, unused); i > 0 {
		h.Address = hotspotAddresses[i]
		note("the hotspot's network is %s: this machine is on %s already", h.Address.Masked(), hotspotAddresses[0].Masked())
	}
	return c, chosen
}

// described is an interface with its kind.
func described(l *uplink.Line) string {
	if l.Kind == "" {
		return l.Interface
	}
	return l.Interface + " (" + l.Kind + ")"
}

// absent returns a name that no interface has.
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

// misfits says what of a configuration does not fit the machine, as "key: what is wrong", one line each.
func misfits(m machine, c *config.Config) (list []string) {
	say := func(format string, a ...any) { list = append(list, fmt.Sprintf(format, a...)) }
	h := c.Hotspot
	r, kind := m.radio(h.Interface)
	switch l := m.line(h.Interface); {
	case l == nil && h.Radio == "hostapd" && m.canMake(c, h.Interface):
	case l == nil:
		say("hotspot.interface: this machine has no interface %s; %s", h.Interface, m.names())
	case h.Radio == "none" && r != nil && kind != netctl.RadioAccessPoint:
		advice := `write "hostapd", and the box makes one`
		if !r.AccessPoint {
			advice = "its radio cannot be an access point: take another interface"
		}
		say(`hotspot.radio: "none" says that %s is a network already, but it is a Wi-Fi radio that makes none; %s`, h.Interface, advice)
	case h.Radio == "hostapd" && r == nil:
		say(`hotspot.radio: "hostapd" makes a Wi-Fi network, but %s is no radio's; write "none" if it is a network already`, h.Interface)
	case h.Radio == "hostapd" && !r.AccessPoint:
		say("hotspot.interface: the radio of %s cannot be an access point: take another interface", h.Interface)
	case h.Radio == "hostapd" && !hasBand(*r, h.Band):
		say("hotspot.band: the radio of %s does not have the band %s", h.Interface, h.Band)
	case l.Routed:
		say("hotspot.interface: %s leads to the internet now: it is a line, and residents would be on the network of its owner", h.Interface)
	}
	for _, d := range c.Donations {
		key := fmt.Sprintf("donation %q", d.Name)
		l := m.line(d.Interface)
		switch r, _ := m.radio(d.Interface); {
		case d.Interface == config.USB: // a phone comes and goes
		case l == nil && d.WiFi != nil && m.canMake(c, d.Interface):
		case l == nil && d.WiFi != nil:
			say("%s: interface: this machine has no interface %s, and the hotspot's radio cannot make it; %s", key, d.Interface, m.names())
		case l == nil:
			say("%s: interface: this machine has no interface %s; %s", key, d.Interface, m.names())
		case d.WiFi != nil && r == nil:
			say("%s: wifi: %s is no radio's, and joins no Wi-Fi network", key, d.Interface)
		case d.WiFi != nil && !r.Joins:
			say("%s: wifi: the radio of %s cannot join a network", key, d.Interface)
		case overlaps(l.Networks, h.Address):
			say("hotspot.address: %v is in a network of %s already; take another one", h.Address, d.Interface)
		}
	}
	return list
}

func hasBand(r netctl.Radio, name string) bool {
	_, ok := r.Band(name)
	return ok
}

// canMake tells whether the box makes an interface itself: on the radio of the hotspot's one, for a donation's Wi-Fi, or
// the other way round (air.Keeper).
func (m machine) canMake(c *config.Config, name string) bool {
	can := func(other string) bool {
		r, _ := m.radio(other)
		return r != nil && r.NetworksJoined > 0
	}
	if c.Hotspot.Radio != "hostapd" {
		return false
	}
	if name != c.Hotspot.Interface {
		return can(c.Hotspot.Interface)
	}
	return slices.ContainsFunc(c.Donations, func(d config.Donation) bool { return d.WiFi != nil && can(d.Interface) })
}
