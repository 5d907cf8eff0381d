package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"passerelle/appliance/hours"

	"github.com/BurntSushi/toml"
	"golang.org/x/text/unicode/norm"
)

// MaxFile limits the size of the file, in bytes. maxDonations and MaxEssential limit its lists: no box has that many interfaces, and no
// list of essential services is that long.
const (
	MaxFile      = 1 << 20
	maxDonations = 64
	MaxEssential = 200
)

// Problems are the problems of one file, in the order of its lines. As an error it is never empty.
type Problems []Problem

// Error returns one problem per line of text.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// Problem is a problem with one key.
type Problem struct {
	File string `json:"file"`           // as passed to Parse
	Line int    `json:"line,omitempty"` // from 1; 0 for a problem of the whole file
	Key  string `json:"key,omitempty"`  // dotted, e.g. "hotspot.address"; "" if it is not about a key
	Msg  string `json:"msg"`            // what is wrong, and what to do about it
}

// String returns "FILE:LINE: key: what is wrong".
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

// Parse parses a configuration. file is its name in problems. The error is of type Problems. It has all problems, or only the first one
// if the text is not TOML.
func Parse(file string, text []byte) (*Config, error) {
	values, r, err := decode(file, text)
	if err != nil {
		return nil, err
	}
	c := r.config(values)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// decode decodes TOML, and returns a reader for the values.
func decode(file string, text []byte) (values map[string]any, r *reader, err error) {
	if len(text) > MaxFile {
		msg := fmt.Sprintf("the file is larger than %d bytes; is it the right one?", MaxFile)
		return nil, nil, Problems{{File: file, Msg: msg}}
	}
	if problem, ok := notUTF8(text); ok {
		problem.File = file
		return nil, nil, Problems{problem}
	}
	t := parseTree(text)
	if t.tooDeep > 0 {
		msg := fmt.Sprintf("nested more than %d deep; is it the right file?", maxDepth)
		return nil, nil, Problems{{File: file, Line: t.tooDeep, Msg: msg}}
	}
	readable := text
	if t.failedAt >= 0 {
		readable = text[:t.failedAt]
	}
	if _, err = toml.Decode(string(readable), &values); err != nil {
		line, what := 0, err.Error()
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			line, what = syntax.Position.Line, strings.TrimSuffix(syntax.Message, ".")
		}
		return nil, nil, Problems{t.syntaxProblem(file, line, what)}
	}
	if t.failedAt >= 0 {
		return nil, nil, Problems{t.syntaxProblem(file, t.problem.Line, t.problem.Msg)}
	}
	return values, &reader{file: file, lines: t.lines, secrets: secretsIn(values)}, nil
}

// err returns the problems in the order of their lines, or nil if there are none.
func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return r.problems
}

func (t *tree) syntaxProblem(file string, line int, what string) Problem {
	advice := `write key = "text" or key = 1, one on a line, below its [table]`
	if better := adviceFor(t.lineText(line)); better != "" {
		advice = better
	}
	return Problem{File: file, Line: line, Msg: fmt.Sprintf("not valid TOML: %s; %s", t.redactQuoted(line, what), advice)}
}

// config reads the whole file.
func (r *reader) config(values map[string]any) *Config {
	root := &table{r: r, values: values}
	c := &Config{
		Box:     r.box(root.table("box", true)),
		Centre:  r.centre(root.table("centre", false)),
		Hotspot: r.hotspot(root.table("hotspot", true)),
	}
	c.Limits = r.limits(root.table("limits", false), c.Hotspot)
	c.Essential = r.essential(root.table("essential", false))
	c.Places = Places{URL: r.download(root.table("places", false))}
	c.Agenda = Agenda{URL: r.download(root.table("agenda", false))}
	c.Board = r.board(root.table("board", false))
	c.Admin = r.admin(root.table("admin", false))
	c.Lend = r.lend(root.table("lend", false))
	c.Health = r.health(root.table("health", false))
	c.Hardware = r.hardware(root.table("hw", false))
	c.Metrics = r.metrics(root.table("metrics", false), c.Hotspot)
	c.Fleet = r.fleet(root.table("fleet", false))
	donations := root.tables("donation")
	if len(donations) > maxDonations {
		root.problem("donation", "%d donations; at most %d are allowed", len(donations), maxDonations)
		donations = nil
	}
	for _, t := range donations {
		c.Donations = append(c.Donations, r.donation(t, c))
	}
	root.rejectUnknown()
	return c
}

func (r *reader) box(t *table) Box {
	defer t.rejectUnknown()
	b := Box{
		Name:      required(t, "name", `"Centre social des Lilas"`, parseName),
		Language:  optional(t, "language", "", parseLanguage),
		Languages: list(t, "languages", []string{"fr", "en"}, parseLanguage),
		Hostname:  optional(t, "hostname", "partage.internal", parseHostname),
		Timezone:  optional(t, "timezone", paris, parseTimezone),
		PortalURL: optional(t, "portal_url", "", parsePortalURL),

		Coordinates: optional(t, "coordinates", nil, parsePoint),
		SchoolZone:  optional(t, "school_zone", "", parseSchoolZone),
	}
	r.schoolZone, r.zoneFailed = b.SchoolZone, t.failed("school_zone")
	if len(b.Languages) == 0 && !t.failed("languages") {
		t.problem("languages", `empty list; write at least one language, as in ["fr"]`)
	}
	if i := firstRepeated(b.Languages); i >= 0 {
		t.elementProblem("languages", i, "duplicate %q; remove one", b.Languages[i])
	}
	switch {
	case t.failed("language") || t.failed("languages") || len(b.Languages) == 0:
	case b.Language == "":
		b.Language = b.Languages[0]
	case !slices.Contains(b.Languages, b.Language):
		t.problem("language", "%q is not in languages; add it there, or choose one of them", b.Language)
	}
	return b
}

func (r *reader) centre(t *table) Centre {
	defer t.rejectUnknown()
	c := Centre{
		Address:  optional(t, "address", "", parseLine(120)),
		Postcode: optional(t, "postcode", "", parsePostcode),
		Town:     optional(t, "town", "", parseLine(80)),
		Phone:    optional(t, "phone", "", parsePhone),
		Hours:    r.hours(t),
		Desk:     list(t, "desk", nil, parseDeskService),
	}
	if i := firstRepeated(c.Desk); i >= 0 {
		t.elementProblem("desk", i, "duplicate %q; remove one", c.Desk[i])
	}
	return c
}

// hours reads opening hours, with the school holidays of the box's school zone.
func (r *reader) hours(t *table) *hours.Schedule {
	s := optional(t, "hours", nil, parseHours)
	if s.School() && r.schoolZone == "" && !r.zoneFailed {
		t.problem("hours", `SH means school holidays, and the box does not know of which zone; write school_zone = "A", "B" or "C" in [box]`)
	}
	return s.InZone(r.schoolZone)
}

// download reads a table whose only key is url, the URL of a file to download.
func (r *reader) download(t *table) string {
	defer t.rejectUnknown()
	return optional(t, "url", "", parseURL)
}

func (r *reader) board(t *table) Board {
	defer t.rejectUnknown()
	return Board{Enabled: optional(t, "enabled", false, parseFlag)}
}

func (r *reader) admin(t *table) Admin {
	defer t.rejectUnknown()
	return Admin{Access: Access(optional(t, "access", string(Anywhere), parseAccess))}
}

// maxAllow is how many networks may read the metrics.
const maxAllow = 16

func (r *reader) metrics(t *table, hotspot Hotspot) Metrics {
	defer t.rejectUnknown()
	m := Metrics{Enabled: optional(t, "enabled", false, parseFlag), Allow: list(t, "allow", nil, parseAllow)}
	switch {
	case t.failed("allow"):
	case len(m.Allow) > maxAllow:
		t.problem("allow", "%d networks; write at most %d", len(m.Allow), maxAllow)
	case m.Enabled && len(m.Allow) == 0:
		t.problem("allow", `nobody may read the metrics; write the address of your Prometheus, as in ["192.168.1.20"]`)
	}
	for i, from := range m.Allow {
		if from.Overlaps(hotspot.Address) {
			t.elementProblem("allow", i, "%v has addresses of the hotspot; the metrics are never served there", from)
		}
	}
	return m
}

// maxHubs is how many hubs a fleet may have. A cluster of three already survives the loss of one.
const maxHubs = 9

func (r *reader) fleet(t *table) Fleet {
	defer t.rejectUnknown()
	f := Fleet{
		Mirror:  optional(t, "mirror", "", parseMirror),
		Updates: optional(t, "updates", true, parseFlag),
		Budget:  optional(t, "budget", fleetBudget, parseBudget),
		Hours:   r.hours(t),
		Hubs:    unique(t, "hubs", parseHub),
		Keep:    unique(t, "keep", parseKept),
	}
	if len(f.Hubs) > maxHubs {
		t.problem("hubs", "%d names; at most %d are allowed", len(f.Hubs), maxHubs)
	}
	return f
}

func (r *reader) lend(t *table) Lend {
	defer t.rejectUnknown()
	return Lend{Name: optional(t, "name", "Partage de Co", parseOfferName)}
}

func (r *reader) hotspot(t *table) Hotspot {
	defer t.rejectUnknown()
	h := Hotspot{
		Interface: required(t, "interface", `"wlan0"`, parseInterface),
		Radio:     required(t, "radio", `"hostapd" (the box is the access point) or "none" (the interface is a network already)`, parseRadio),
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
			t.problem("ssid", `missing, but required by "hostapd"; write the Wi-Fi network's name: ssid = "Partage de Co"`)
		}
		if h.Country == "" && !t.failed("country") {
			t.problem("country", `missing, but required by "hostapd"; write the two-letter country code: country = "FR"`)
		}
	}
	if known := Channels(h.Band); h.Channel == 14 && !t.failed("band") {
		t.problem("channel", "channel 14 is allowed in Japan only, and only for 802.11b; write one of 1 to 13, or 0 for automatic")
	} else if h.Channel != 0 && !t.failed("band") && !slices.Contains(known, h.Channel) {
		t.problem("channel", "%s has no channel %d; write one of %s, or 0 for automatic", h.Band, h.Channel,
			strings.Trim(fmt.Sprint(known), "[]"))
	}
	return h
}

// slowLane is the default rate, in bit/s, for a resident whose data for the day is used up.
const slowLane = 64e3

func (r *reader) limits(t *table, h Hotspot) Limits {
	defer t.rejectUnknown()
	l := Limits{
		Session:  optional(t, "session", 2*time.Hour, parseDuration(time.Minute, 24*time.Hour)),
		Download: optional(t, "download", 0, parseLimitedRate),
		Upload:   optional(t, "upload", 0, parseLimitedRate),
		Data:     optional(t, "data", 0, parseLimitedSize),
		After:    optional(t, "after", slowLane, parseSlowRate),
	}
	if h.Address.IsValid() && h.Address.Bits() < SlowNetworkBits {
		if t.has("after") && !t.failed("after") && l.After != 0 {
			t.problem("after", `the hotspot's network %v is too wide for a slow lane; write "0", or make hotspot.address a /%d or smaller`,
				h.Address.Masked(), SlowNetworkBits)
		}
		l.After = 0
	}
	return l
}

func (r *reader) essential(t *table) Essential {
	defer t.rejectUnknown()
	e := Essential{
		Names: list(t, "names", []string{France}, parseService),
		Rate:  optional(t, "rate", 2e6, parseRequiredRate),
	}
	if len(e.Names) > MaxEssential {
		t.problem("names", "%d names; at most %d are allowed", len(e.Names), MaxEssential)
	}
	if i := firstRepeated(e.Names); i >= 0 {
		t.elementProblem("names", i, "duplicate %q; remove one", e.Names[i])
	}
	return e
}

// With minZones, other zones can be queried if one operator fails.
const (
	minZones = 3
	maxZones = 9
)

func (r *reader) health(t *table) Health {
	defer t.rejectUnknown()
	h := Health{Zones: list(t, "zones", zones, parseZone)}
	if n := len(h.Zones); (n < minZones || n > maxZones) && !t.failed("zones") {
		t.problem("zones", "%d zones; write %d to %d, of different operators", n, minZones, maxZones)
	}
	for i, z := range h.Zones {
		for _, other := range h.Zones[:i] {
			if domain(other.Name) == domain(z.Name) {
				t.elementProblem("zones", i, "duplicate %s; write zones of different operators", domain(z.Name))
			}
		}
	}
	return h
}

func (r *reader) hardware(t *table) Hardware {
	defer t.rejectUnknown()
	return Hardware{
		LED:    optional(t, "led", Pin{}, parsePin),
		Button: optional(t, "button", Pin{}, parseButton),

		Watchdog: optional(t, "watchdog", "", parseWatchdog),
	}
}

// donation reads one donation, and checks it against the donations before it and against the hotspot.
func (r *reader) donation(t *table, c *Config) Donation {
	defer t.rejectUnknown()
	d := Donation{
		Name:      required(t, "name", `"Fibre du centre"`, parseName),
		Interface: required(t, "interface", `"eth0"`, parseInterface),
		WiFi:      r.wifi(t.inline("wifi")),
		APN:       optional(t, "apn", "", parseAPN),
		PIN:       optional(t, "pin", "", parsePIN),
		Download:  optional(t, "download", 0, parseLimitedRate),
		Upload:    optional(t, "upload", 0, parseLimitedRate),
		Cap:       required(t, "cap", `"200GB", or "0" for no cap`, parseLimitedSize),
		Reserve:   optional(t, "reserve", 0, parseLimitedSize),
		Fleet:     optional(t, "fleet", true, parseFlag),
		Broadcast: optional(t, "broadcast", false, parseFlag),
		Metered:   optional(t, "metered", Auto, parseMetered),
		Period:    optional(t, "period", "month", parsePeriod),
		Hours:     r.hours(t),
		Until:     optional(t, "until", "", parseDay),
		Priority:  optional(t, "priority", 1, parseBetween(1, 99)),
		DNS:       list(t, "dns", nil, parseResolver),
	}
	d.Autorate = optional(t, "autorate", d.Interface == USB || d.WiFi != nil, parseFlag)
	switch {
	case d.Reserve == 0 || t.failed("cap"):
	case d.Cap == 0:
		t.problem("reserve", "there is no cap to reserve from; remove reserve")
	case d.Reserve > d.Cap/2:
		t.problem("reserve", "%v is more than half of the cap of %v; write at most %v", d.Reserve, d.Cap, d.Cap/2)
	}
	last := lastReset(d.Period)
	switch {
	case t.failed("period"):
		optional(t, "resets", 1, parseBetween(1, 31))
	case last > 0:
		d.Resets = optional(t, "resets", 1, parseBetween(1, last))
	case t.has("resets"):
		t.problem("resets", "period = %q has no first day; remove resets", d.Period)
	}
	for i := range c.Donations {
		other, line := &c.Donations[i], r.line(elementOf("donation", i))
		switch {
		case d.Name == "":
		case other.Name == d.Name:
			t.problem("name", "duplicate name %q, also on line %d; names must be unique", d.Name, line)
		case sameLooks(other.Name) == sameLooks(d.Name):
			t.problem("name", "%q looks like the name on line %d: only the encoding of a letter or the width of a space differs; "+
				"names must be unique", d.Name, line)
		}
		if d.Interface != "" && other.Interface == d.Interface {
			t.problem("interface", "%q is also used by the donation on line %d; interfaces must be unique", d.Interface, line)
		}
	}
	switch {
	case d.WiFi == nil:
	case d.Interface == USB:
		t.problem("wifi", "a phone on USB has no Wi-Fi network to join; remove wifi, or set interface to the radio's")
	case c.Hotspot.Country == "" && !slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Key == "hotspot.country" }):
		t.problem("wifi", `requires the country's radio rules; write country = "FR" below [hotspot]`)
	}
	switch {
	case d.APN != "" && d.WiFi != nil:
		t.problem("apn", "a lender's Wi-Fi has no APN; remove apn or wifi")
	case d.PIN != "" && d.APN == "" && !t.failed("apn"):
		t.problem("pin", `a modem is not used without the APN of its network; write apn = "...", as its provider says`)
	}
	if d.Interface != "" && d.Interface == c.Hotspot.Interface {
		t.problem("interface", "%q is the hotspot's interface; a donation needs another one", d.Interface)
	}
	for i, addr := range d.DNS {
		if c.Hotspot.Address.Masked().Contains(addr) {
			t.elementProblem("dns", i, "%v is inside the hotspot's network %v; write the line's DNS servers", addr,
				c.Hotspot.Address.Masked())
		}
	}
	return d
}

// sameLooks returns the same string for names that look the same. Such names may differ in whether accented letters are composed or
// decomposed, and in the width of spaces.
func sameLooks(name string) string { return strings.Join(strings.Fields(norm.NFKC.String(name)), " ") }

// wifi reads the network that a donation joins. It returns nil if there is none.
func (r *reader) wifi(t *table) *WiFi {
	defer t.rejectUnknown()
	if len(t.values) == 0 {
		return nil
	}
	return &WiFi{
		SSID:       required(t, "ssid", `"the network's name"`, ParseSSID),
		Passphrase: optional(t, "passphrase", "", parseLentPassphrase),
	}
}

// lastReset returns the highest value of resets for a period, or 0 for periods without a first day.
func lastReset(period string) int {
	switch period {
	case "week":
		return 7
	case "month":
		return 31
	}
	return 0
}

// firstRepeated returns the index of the first element that repeats an earlier one, or -1 if there is none.
func firstRepeated(list []string) int {
	for i := range list {
		if slices.Contains(list[:i], list[i]) {
			return i
		}
	}
	return -1
}
