package config

import (
	"cmp"
	_ "embed"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

//go:embed example.toml
var example string

// donationHeader divides example.toml: the keys of one donation follow it.
const donationHeader = "[[donation]]\n"

// Example returns a commented configuration to start from. It is valid, and has the form that Format writes.
func Example() []byte { return []byte(example) }

// Factory returns the factory default: a hotspot with which to find the box, and no donation. It is the only valid Config without one.
func Factory() *Config {
	c, err := Parse("example.toml", Example())
	if err != nil {
		panic("config: the example is not valid: " + err.Error())
	}
	c.Box.Name, c.Hotspot.SSID = "Passerelle", "Passerelle"
	c.Donations = nil
	return c
}

// Basics returns the usable part of a configuration that Parse refuses because of unknown keys: box, hotspot, admin and hardware. It
// has no donations, since an unknown key could be a lender's condition. The errors are those of Parse.
func Basics(file string, text []byte) (*Config, error) {
	values, r, err := decode(file, text)
	if err != nil {
		return nil, err
	}
	r.basics = true
	root := &table{r: r, values: values}
	c := Factory()
	c.Box, c.Hotspot = r.box(root.table("box", true)), r.hotspot(root.table("hotspot", true))
	c.Admin = r.admin(root.table("admin", false))
	c.Hardware = r.hardware(root.table("hw", false))
	return c, r.err()
}

// Format returns the canonical text of a valid configuration: every key with its comment. Parse returns the same Config from it.
func Format(c *Config) []byte {
	head, donation, _ := strings.Cut(example, donationHeader)
	var b strings.Builder
	b.WriteString(fill(head, c.values()))
	for i := range c.Donations {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(donationHeader)
		b.WriteString(fill(donation, c.Donations[i].values()))
	}
	return []byte(b.String())
}

// values returns the TOML of each value, by "[table] key", without donations.
func (c *Config) values() map[string]string {
	return map[string]string{
		"[box] name":          quote(c.Box.Name),
		"[box] language":      quote(c.Box.Language),
		"[box] languages":     quoteAll(c.Box.Languages),
		"[box] hostname":      quote(c.Box.Hostname),
		"[box] timezone":      quote(c.Box.Timezone.String()),
		"[box] portal_url":    quote(c.Box.PortalURL),
		"[box] coordinates":   quote(c.Box.Coordinates.String()),
		"[box] school_zone":   quote(string(c.Box.SchoolZone)),
		"[centre] address":    quote(c.Centre.Address),
		"[centre] postcode":   quote(c.Centre.Postcode),
		"[centre] town":       quote(c.Centre.Town),
		"[centre] phone":      quote(c.Centre.Phone),
		"[centre] hours":      quote(c.Centre.Hours.String()),
		"[centre] desk":       quoteAll(c.Centre.Desk),
		"[hotspot] interface": quote(c.Hotspot.Interface),
		"[hotspot] radio":     quote(c.Hotspot.Radio),
		"[hotspot] ssid":      quote(c.Hotspot.SSID),
		"[hotspot] password":  quote(c.Hotspot.Password),
		"[hotspot] country":   quote(c.Hotspot.Country),
		"[hotspot] band":      quote(c.Hotspot.Band),
		"[hotspot] channel":   strconv.Itoa(c.Hotspot.Channel),
		"[hotspot] address":   quote(c.Hotspot.Address.String()),
		"[hotspot] lease":     quote(formatDuration(c.Hotspot.Lease)),
		"[limits] session":    quote(formatDuration(c.Limits.Session)),
		"[limits] download":   quote(c.Limits.Download.String()),
		"[limits] upload":     quote(c.Limits.Upload.String()),
		"[limits] data":       quote(c.Limits.Data.String()),
		"[limits] after":      quote(c.Limits.After.String()),
		"[essential] names":   quoteAll(c.Essential.Names),
		"[essential] rate":    quote(c.Essential.Rate.String()),
		"[places] url":        quote(c.Places.URL),
		"[agenda] url":        quote(c.Agenda.URL),
		"[board] enabled":     strconv.FormatBool(c.Board.Enabled),
		"[admin] access":      quote(string(c.Admin.Access)),
		"[metrics] enabled":   strconv.FormatBool(c.Metrics.Enabled),
		"[metrics] allow":     quoteAll(prefixStrings(c.Metrics.Allow)),
		"[fleet] mirror":      quote(c.Fleet.Mirror),
		"[fleet] updates":     strconv.FormatBool(c.Fleet.Updates),
		"[fleet] budget":      quote(c.Fleet.Budget.String()),
		"[fleet] hours":       quote(c.Fleet.Hours.String()),
		"[fleet] hubs":        quoteAll(c.Fleet.Hubs),
		"[fleet] keep":        quoteAll(c.Fleet.Keep),
		"[lend] name":         quote(c.Lend.Name.String()),
		"[health] zones":      quoteAll(zoneStrings(c.Health.Zones)),
		"[hw] led":            quote(c.Hardware.LED.String()),
		"[hw] button":         quote(c.Hardware.Button.String()),
		"[hw] watchdog":       quote(cmp.Or(c.Hardware.Watchdog, "none")),
	}
}

// values returns the TOML of each value of a donation, by " key". There is no " resets" if the period has no first day.
func (d *Donation) values() map[string]string {
	values := map[string]string{
		" name":      quote(d.Name),
		" interface": quote(d.Interface),
		" wifi":      d.WiFi.format(),
		" apn":       quote(d.APN),
		" pin":       quote(d.PIN),
		" download":  quote(d.Download.String()),
		" upload":    quote(d.Upload.String()),
		" cap":       quote(d.Cap.String()),
		" reserve":   quote(d.Reserve.String()),
		" fleet":     strconv.FormatBool(d.Fleet),
		" broadcast": strconv.FormatBool(d.Broadcast),
		" autorate":  strconv.FormatBool(d.Autorate),
		" metered":   quote(d.Metered),
		" period":    quote(d.Period),
		" hours":     quote(d.Hours.String()),
		" until":     quote(string(d.Until)),
		" priority":  strconv.Itoa(d.Priority),
		" dns":       quoteAll(addrStrings(d.DNS)),
	}
	if lastReset(d.Period) > 0 {
		values[" resets"] = strconv.Itoa(d.Resets)
	}
	return values
}

func (w *WiFi) format() string {
	if w == nil {
		return "{}"
	}
	return fmt.Sprintf("{ ssid = %s, passphrase = %s }", quote(w.SSID.String()), quote(w.Passphrase))
}

// fill writes values into a template: each "key = value" gets the value of "[table] key". A key without a value is left out, together
// with the comment directly above it.
func fill(template string, values map[string]string) string {
	var out, comment strings.Builder
	table := ""
	for line := range strings.Lines(template) {
		key, _, isKey := strings.Cut(line, " = ")
		switch {
		case strings.HasPrefix(line, "#"):
			comment.WriteString(line)
			continue
		case isKey:
			if value, ok := values[table+" "+key]; ok {
				out.WriteString(comment.String() + key + " = " + value + "\n")
			}
		default:
			if strings.HasPrefix(line, "[") {
				table = strings.TrimSpace(line)
			}
			out.WriteString(comment.String() + line)
		}
		comment.Reset()
	}
	return out.String() + comment.String()
}

// quote returns s as a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func quoteAll(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// prefixStrings formats prefixes. Single addresses are written without a prefix length.
func prefixStrings(all []netip.Prefix) []string {
	list := make([]string, len(all))
	for i, p := range all {
		if list[i] = p.String(); p.IsSingleIP() {
			list[i] = p.Addr().String()
		}
	}
	return list
}

func zoneStrings(zones []Zone) []string {
	list := make([]string, len(zones))
	for i, z := range zones {
		list[i] = z.String()
	}
	return list
}

func addrStrings(addrs []netip.Addr) []string {
	list := make([]string, len(addrs))
	for i, addr := range addrs {
		list[i] = addr.String()
	}
	return list
}
