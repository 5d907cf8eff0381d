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

// donationHeader divides example.toml: before it comes the comment on it, after it the keys of one donation.
const donationHeader = "[[donation]]\n"

// Example returns a commented configuration to start from. It is valid, and Format's own writing.
func Example() []byte { return []byte(example) }

// Factory returns what a box has until a technician configures it: a hotspot to find it by, and nobody's connection. It is
// the only valid Config without a donation.
func Factory() *Config {
	c, err := Parse("example.toml", Example())
	if err != nil {
		panic("config: the example is not valid: " + err.Error())
	}
	c.Box.Name, c.Hotspot.SSID = "Passerelle", "Passerelle"
	c.Donations = nil
	return c
}

// Basics returns what a box can do of a configuration that Parse refuses because it has keys that are not known here: what
// the centre and its hotspot are called and where they are. Nobody's connection is in it, since what a lender asked for may
// be among what is not known. Its error is that of Parse.
func Basics(file string, text []byte) (*Config, error) {
	values, r, err := decode(file, text)
	if err != nil {
		return nil, err
	}
	r.basics = true
	root := &table{r: r, values: values}
	c := Factory()
	c.Box, c.Hotspot = r.box(root.table("box", true)), r.hotspot(root.table("hotspot", true))
	c.Hardware = r.hardware(root.table("hw", false))
	return c, r.verdict()
}

// Format writes a valid configuration as canonical text: every key with its comment. Parse reads the same Config from it.
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

// values returns what stands behind each "[table] key" of the file, donations apart.
func (c *Config) values() map[string]string {
	return map[string]string{
		"[box] name":          quote(c.Box.Name),
		"[box] language":      quote(c.Box.Language),
		"[box] languages":     quoteAll(c.Box.Languages),
		"[box] hostname":      quote(c.Box.Hostname),
		"[box] timezone":      quote(c.Box.Timezone.String()),
		"[box] portal_url":    quote(c.Box.PortalURL),
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
		"[essential] names":   quoteAll(c.Essential.Names),
		"[essential] rate":    quote(c.Essential.Rate.String()),
		"[health] zones":      quoteAll(zoneStrings(c.Health.Zones)),
		"[hw] led":            quote(c.Hardware.LED.String()),
		"[hw] button":         quote(c.Hardware.Button.String()),
		"[hw] watchdog":       quote(cmp.Or(c.Hardware.Watchdog, "none")),
	}
}

// values returns what stands behind each key of a donation. A donation whose period has no day to begin has no resets.
func (d *Donation) values() map[string]string {
	values := map[string]string{
		" name":      quote(d.Name),
		" interface": quote(d.Interface),
		" wifi":      d.WiFi.format(),
		" download":  quote(d.Download.String()),
		" upload":    quote(d.Upload.String()),
		" cap":       quote(d.Cap.String()),
		" reserve":   quote(d.Reserve.String()),
		" broadcast": strconv.FormatBool(d.Broadcast),
		" metered":   quote(d.Metered),
		" period":    quote(d.Period),
		" hours":     quote(d.Hours.String()),
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

// fill writes values into a template: each "key = value" line gets the value of "[table] key", and goes, with the comment
// directly above it, when there is none.
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

// quote writes a TOML basic string.
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
