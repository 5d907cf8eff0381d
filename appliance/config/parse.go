package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// maxFile bounds the file, in bytes; maxDonations and maxEssential what may stand in it. No box has room for as many
// interfaces, and no list of essential services is as long.
const (
	maxFile      = 1 << 20
	maxDonations = 64
	maxEssential = 200
)

// Problems is every complaint about one file, in the order of its lines. It is never empty when it is an error.
type Problems []Problem

// Error writes one problem per line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// Problem is one complaint about one key.
type Problem struct {
	File string // as it was given
	Line int    // from 1; 0 when the problem is the file's as a whole
	Key  string // dotted, e.g. "hotspot.address"; "" when the problem is no key's
	Msg  string // what is wrong, and what to do about it
}

// String writes "FILE:LINE: key: what is wrong".
func (p Problem) String() string {
	s := p.File + ": "
	if p.Line > 0 {
		s = p.File + ":" + strconv.Itoa(p.Line) + ": "
	}
	if p.Key != "" {
		s += p.Key + ": "
	}
	return s + p.Msg
}

// Load reads the configuration in the file at path. Its error is of type Problems if the file could be read.
func Load(path string) (*Config, error) {
	text, err := Read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text)
}

// Read returns the text of the configuration in the file at path, for Parse.
func Read(path string) (text []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	if text, err = io.ReadAll(io.LimitReader(f, maxFile+1)); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return text, nil
}

// Parse reads a configuration; file names it in complaints. Its error is of type Problems and holds every complaint at
// once, unless the text is no TOML: then the first place where it is none.
func Parse(file string, text []byte) (*Config, error) {
	values, r, err := decode(file, text)
	if err != nil {
		return nil, err
	}
	c := r.config(values)
	if err := r.verdict(); err != nil {
		return nil, err
	}
	return c, nil
}

// decode reads TOML, for a reader to make something of it.
func decode(file string, text []byte) (values map[string]any, r *reader, err error) {
	if len(text) > maxFile {
		msg := fmt.Sprintf("the file is larger than %d bytes; is it the right one?", maxFile)
		return nil, nil, Problems{{File: file, Msg: msg}}
	}
	lines, tooDeep := keyLines(string(text))
	if tooDeep > 0 {
		msg := fmt.Sprintf("nested more than %d deep; is it the right file?", maxDepth)
		return nil, nil, Problems{{File: file, Line: tooDeep, Msg: msg}}
	}
	if _, err := toml.Decode(string(text), &values); err != nil {
		return nil, nil, Problems{syntaxProblem(file, err)}
	}
	return values, &reader{file: file, lines: lines}, nil
}

// verdict returns the problems in the order of their lines, nil if there are none.
func (r *reader) verdict() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return r.problems
}

func syntaxProblem(file string, err error) Problem {
	line, what := 0, err.Error()
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		line, what = syntax.Position.Line, strings.TrimSuffix(syntax.Message, ".")
	}
	const advice = `write key = "text" or key = 1, one on a line, below its [table]`
	return Problem{File: file, Line: line, Msg: fmt.Sprintf("not valid TOML: %s; %s", what, advice)}
}

// config reads the whole file.
func (r *reader) config(values map[string]any) *Config {
	root := &table{r: r, values: values}
	c := &Config{
		Box:     r.box(root.table("box", true)),
		Hotspot: r.hotspot(root.table("hotspot", true)),
		Limits:  r.limits(root.table("limits", false)),

		Essential: r.essential(root.table("essential", false)),
		Health:    r.health(root.table("health", false)),
		Hardware:  r.hardware(root.table("hw", false)),
	}
	donations := root.tables("donation")
	if len(donations) > maxDonations {
		root.problem("donation", "there are %d; write %d at most", len(donations), maxDonations)
		donations = nil
	}
	for _, t := range donations {
		c.Donations = append(c.Donations, r.donation(t, c))
	}
	root.refuseUnknown()
	return c
}

func (r *reader) box(t *table) Box {
	defer t.refuseUnknown()
	b := Box{
		Name:      required(t, "name", `"Centre social des Lilas"`, parseName),
		Language:  optional(t, "language", "", parseLanguage),
		Languages: list(t, "languages", []string{"fr", "en"}, parseLanguage),
		Hostname:  optional(t, "hostname", "partage.internal", parseHostname),
		Timezone:  optional(t, "timezone", paris, parseTimezone),
		PortalURL: optional(t, "portal_url", "", parsePortalURL),
	}
	if len(b.Languages) == 0 && !t.failed("languages") {
		t.problem("languages", `no language is offered; write at least one, as in ["fr"]`)
	}
	if i := firstRepeated(b.Languages); i >= 0 {
		t.elementProblem("languages", i, "%q is in the list twice; take one away", b.Languages[i])
	}
	switch {
	case t.failed("language") || t.failed("languages") || len(b.Languages) == 0:
	case b.Language == "":
		b.Language = b.Languages[0]
	case !slices.Contains(b.Languages, b.Language):
		t.problem("language", "%q is not among languages; add it there, or choose one of them", b.Language)
	}
	return b
}

func (r *reader) hotspot(t *table) Hotspot {
	defer t.refuseUnknown()
	h := Hotspot{
		Interface: required(t, "interface", `"wlan0"`, parseInterface),
		Radio:     required(t, "radio", `"hostapd" (the box makes a Wi-Fi network) or "none" (it is there)`, parseRadio),
		SSID:      optional(t, "ssid", "", parseSSID),
		Password:  optional(t, "password", "", parsePassphrase),
		Country:   optional(t, "country", "", parseCountry),
		Band:      optional(t, "band", "2.4GHz", parseBand),
		Channel:   optional(t, "channel", 0, parseBetween(0, 177)),
		Address:   optional(t, "address", netip.MustParsePrefix("10.80.0.1/22"), parseAddress),
		Lease:     optional(t, "lease", 30*time.Minute, parseDuration(2*time.Minute, 24*time.Hour)),
	}
	if h.Radio == "hostapd" {
		if h.SSID == "" && !t.failed("ssid") {
			t.problem("ssid", `missing, and "hostapd" needs it; write the Wi-Fi network's name: ssid = "Partage de Co"`)
		}
		if h.Country == "" && !t.failed("country") {
			t.problem("country", `missing, and "hostapd" needs it; write the country's two letters: country = "FR"`)
		}
	}
	if known := Channels(h.Band); h.Channel != 0 && !t.failed("band") && !slices.Contains(known, h.Channel) {
		t.problem("channel", "%s has no channel %d; write one of %s, or 0 and the box chooses", h.Band, h.Channel,
			strings.Trim(fmt.Sprint(known), "[]"))
	}
	return h
}

func (r *reader) limits(t *table) Limits {
	defer t.refuseUnknown()
	return Limits{
		Session:  optional(t, "session", 2*time.Hour, parseDuration(time.Minute, 24*time.Hour)),
		Download: optional(t, "download", 0, parseLimitedRate),
		Upload:   optional(t, "upload", 0, parseLimitedRate),
		Data:     optional(t, "data", 0, parseLimitedSize),
	}
}

func (r *reader) essential(t *table) Essential {
	defer t.refuseUnknown()
	e := Essential{
		Names: list(t, "names", []string{France}, parseService),
		Rate:  optional(t, "rate", 2e6, parseNeededRate),
	}
	if len(e.Names) > maxEssential {
		t.problem("names", "there are %d; write %d at most", len(e.Names), maxEssential)
	}
	if i := firstRepeated(e.Names); i >= 0 {
		t.elementProblem("names", i, "%q is in the list twice; take one away", e.Names[i])
	}
	return e
}

// fewestZones are so many that one operator's trouble leaves others to ask.
const (
	fewestZones = 3
	mostZones   = 9
)

func (r *reader) health(t *table) Health {
	defer t.refuseUnknown()
	h := Health{Zones: list(t, "zones", zones, parseZone)}
	if n := len(h.Zones); (n < fewestZones || n > mostZones) && !t.failed("zones") {
		t.problem("zones", "there are %d; write %d to %d, of different operators", n, fewestZones, mostZones)
	}
	for i, z := range h.Zones {
		for _, other := range h.Zones[:i] {
			if domain(other.Name) == domain(z.Name) {
				t.elementProblem("zones", i, "%s is in the list twice; write zones of different operators", domain(z.Name))
			}
		}
	}
	return h
}

func (r *reader) hardware(t *table) Hardware {
	defer t.refuseUnknown()
	return Hardware{
		LED:    optional(t, "led", Pin{}, parsePin),
		Button: optional(t, "button", Pin{}, parseButton),

		Watchdog: optional(t, "watchdog", "", parseWatchdog),
	}
}

// donation reads one donation and holds it against those before it and the hotspot.
func (r *reader) donation(t *table, c *Config) Donation {
	defer t.refuseUnknown()
	d := Donation{
		Name:      required(t, "name", `"Fibre du centre"`, parseName),
		Interface: required(t, "interface", `"eth0"`, parseInterface),
		WiFi:      r.wifi(t.inline("wifi")),
		Download:  optional(t, "download", 0, parseLimitedRate),
		Upload:    optional(t, "upload", 0, parseLimitedRate),
		Cap:       required(t, "cap", `"200GB", or "0" for no cap`, parseLimitedSize),
		Reserve:   optional(t, "reserve", 0, parseLimitedSize),
		Broadcast: optional(t, "broadcast", false, parseFlag),
		Metered:   optional(t, "metered", Auto, parseMetered),
		Period:    optional(t, "period", "month", parsePeriod),
		Hours:     optional(t, "hours", nil, parseHours),
		Priority:  optional(t, "priority", 1, parseBetween(1, 99)),
		DNS:       list(t, "dns", nil, parseResolver),
	}
	switch {
	case d.Reserve == 0 || t.failed("cap"):
	case d.Cap == 0:
		t.problem("reserve", "without a cap nothing runs out; take this line away")
	case d.Reserve > d.Cap/2:
		t.problem("reserve", "%v is more than half of the cap of %v, which it is part of; write %v at most", d.Reserve, d.Cap, d.Cap/2)
	}
	last := lastReset(d.Period)
	switch {
	case t.failed("period"):
		optional(t, "resets", 1, parseBetween(1, 31))
	case last > 0:
		d.Resets = optional(t, "resets", 1, parseBetween(1, last))
	case t.has("resets"):
		t.problem("resets", "period = %q has no day to begin on; take this line away", d.Period)
	}
	for i := range c.Donations {
		other, line := &c.Donations[i], r.line(elementOf("donation", i))
		if d.Name != "" && other.Name == d.Name {
			t.problem("name", "%q is also the donation of line %d; give each its own name", d.Name, line)
		}
		if d.Interface != "" && other.Interface == d.Interface {
			t.problem("interface", "%q is also that of the donation of line %d; each needs its own", d.Interface, line)
		}
	}
	switch {
	case d.WiFi == nil:
	case d.Interface == USB:
		t.problem("wifi", "a phone on USB has no Wi-Fi network to join; take this line away, or write the radio's interface")
	case c.Hotspot.Country == "" && !slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Key == "hotspot.country" }):
		t.problem("wifi", `the rules of the country's radio are needed for it; write country = "FR" below [hotspot]`)
	}
	if d.Interface != "" && d.Interface == c.Hotspot.Interface {
		t.problem("interface", "%q is the hotspot's interface; a donation comes in on another one", d.Interface)
	}
	for i, addr := range d.DNS {
		if c.Hotspot.Address.Masked().Contains(addr) {
			t.elementProblem("dns", i, "%v is inside the hotspot's network %v; write the line's resolvers", addr,
				c.Hotspot.Address.Masked())
		}
	}
	return d
}

// wifi reads the network that a donation joins, nil for none.
func (r *reader) wifi(t *table) *WiFi {
	defer t.refuseUnknown()
	if len(t.values) == 0 {
		return nil
	}
	return &WiFi{
		SSID:       required(t, "ssid", `"the network's name"`, ParseSSID),
		Passphrase: optional(t, "passphrase", "", parsePassphrase),
	}
}

// lastReset returns the highest day that a period may begin on, 0 for periods that have none.
func lastReset(period string) int {
	switch period {
	case "week":
		return 7
	case "month":
		return 31
	}
	return 0
}

// firstRepeated returns the index of the first element that stands in the list before, -1 if there is none.
func firstRepeated(list []string) int {
	for i := range list {
		if slices.Contains(list[:i], list[i]) {
			return i
		}
	}
	return -1
}
