package admin

import (
	"cmp"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/hours"
	"passerelle/captive/web"
)

// kind says how a field is shown and read.
type kind string

// The kinds, and the type of their values in a config.Change.
const (
	aLine     kind = "line"     // string: one line of text
	aNumber   kind = "number"   // int
	aSecret   kind = "secret"   // string that is never shown
	aChoice   kind = "choice"   // string: one of choices
	aFlag     kind = "flag"     // bool
	aDefault  kind = "default"  // bool, or nil if the rest of the form decides; the choices are byDefault, "true" and "false"
	aSize     kind = "size"     // string: a number with a unit
	aRate     kind = "rate"     // string: a number with a unit
	aDuration kind = "duration" // string: a number with a unit
	aList     kind = "list"     // []string: the checked ones of choices, then one per line
	checks    kind = "checks"   // []string: the checked ones of choices
	someHours kind = "hours"    // string: opening hours
	aWiFi     kind = "wifi"     // config.Table: a lender's network

	// Kinds of forms that have no keys, except that donation.until is an aDate.
	aDate    kind = "date" // string
	aTime    kind = "time"
	someText kind = "text" // several lines
)

// field is a key of the configuration on a page.
type field struct {
	key      string // dotted; those of a donation begin with "donation."
	kind     kind
	choices  []string // known values
	labels   []string // message keys of the choices, in the same order; a choice without one is a language code
	suggests []string // suggested values; others are allowed
	unit     string   // initial unit of a size, rate or duration
	most     int      // maximum length of a line, or maximum of a number
	rare     bool     // most people never need it
	required bool
	unknown  bool   // empty hours mean that the hours are unknown; otherwise they mean always open
	zero     string // message key for a rate of 0; "" means no limit

	only func(form url.Values) bool // reports whether the key applies, given the rest of the form; nil: it always does
}

// group is a page of fields.
type group struct {
	name      string
	pictogram string
	fields    []field
}

// groups are the pages, in their order. Every key of the configuration outside donations is on one of them.
var groups = []group{
	{"centre", "house", []field{
		{key: "box.name", kind: aLine, most: 80, required: true},
		{key: "centre.address", kind: aLine, most: 120},
		{key: "centre.postcode", kind: aLine, most: 5},
		{key: "centre.town", kind: aLine, most: 80},
		{key: "centre.phone", kind: aLine, most: 30},
		{key: "centre.hours", kind: someHours, unknown: true},
		{key: "centre.desk", kind: checks, choices: config.DeskServices, labels: deskLabels},
	}},
	{"hotspot", "wifi", []field{
		{key: "hotspot.ssid", kind: aLine, most: 32},
		{key: "hotspot.password", kind: aSecret},
		{key: "hotspot.band", kind: aChoice, choices: []string{"2.4GHz", "5GHz"}, labels: []string{"band-far", "band-fast"}},
		{key: "hotspot.channel", kind: aNumber, most: 177},
		{key: "hotspot.radio", kind: aChoice, choices: []string{"hostapd", "none"}, labels: []string{"radio-own", "radio-none"}, rare: true},
		{key: "hotspot.interface", kind: aLine, most: 15, required: true, suggests: []string{"wlan0", "wlan1", "eth0", "eth1", "br0"}, rare: true},
		{key: "hotspot.country", kind: aLine, most: 2, suggests: countries, rare: true},
		{key: "hotspot.address", kind: aLine, most: 18, required: true, suggests: []string{"10.80.0.1/22", "172.30.0.1/22", "192.168.80.1/24"}, rare: true},
		{key: "hotspot.lease", kind: aDuration, unit: "m", rare: true},
	}},
	{"limits", "speed", []field{
		{key: "limits.session", kind: aDuration, unit: "h"},
		{key: "limits.data", kind: aSize, unit: "MB"},
		{key: "limits.after", kind: aRate, unit: "kbit", zero: "cut"},
		{key: "limits.download", kind: aRate, unit: "mbit"},
		{key: "limits.upload", kind: aRate, unit: "mbit"},
	}},
	{"essential", "lifebuoy", []field{
		{key: "essential.names", kind: aList, choices: []string{config.France}, labels: []string{"france"}},
		{key: "essential.rate", kind: aRate, unit: "mbit"},
	}},
	{"languages", "globe", []field{
		{key: "box.languages", kind: checks, choices: languages},
		{key: "box.language", kind: aChoice, choices: languages},
	}},
	{"places", "pin", []field{
		{key: "places.url", kind: aLine, most: 1000},
		{key: "agenda.url", kind: aLine, most: 1000},
		{key: "board.enabled", kind: aFlag},
		{key: "lend.name", kind: aLine, most: 32},
	}},
	{"fleet", "drive", []field{
		{key: "fleet.updates", kind: aFlag},
		{key: "fleet.mirror", kind: aLine, most: 1000},
		{key: "fleet.budget", kind: aSize, unit: "MB", required: true},
		{key: "fleet.hours", kind: someHours, unknown: true},
		{key: "fleet.hubs", kind: aList},
		{key: "fleet.keep", kind: aList},
	}},
	{"access", "lock", []field{
		{key: "admin.access", kind: aChoice, choices: config.Accesses, labels: []string{"access-anywhere", "access-wired", "access-button"}},
	}},
	{"metrics", "eye", []field{
		{key: "metrics.enabled", kind: aFlag},
		{key: "metrics.allow", kind: aList},
	}},
	{"lights", "bulb", []field{
		{key: "hw.led", kind: aLine, most: 63, required: true, suggests: []string{"board", "none", "ACT"}},
		{key: "hw.button", kind: aLine, most: 63, required: true, suggests: []string{"board", "none"}},
		{key: "hw.watchdog", kind: aLine, most: 63, required: true, suggests: []string{"none", "/dev/watchdog0"}},
	}},
	{"advanced", "steps", []field{
		{key: "box.hostname", kind: aLine, most: 253, required: true},
		{key: "box.timezone", kind: aLine, most: 63, required: true, suggests: zones},
		{key: "box.coordinates", kind: aLine, most: 60},
		{key: "box.school_zone", kind: aLine, most: 1, suggests: hours.SchoolZones},
		{key: "box.portal_url", kind: aLine, most: 255},
		{key: "health.zones", kind: aList},
	}},
}

// donationFields are the fields of a donation.
var donationFields = []field{
	{key: "donation.name", kind: aLine, most: 80, required: true},
	{key: "donation.interface", kind: aLine, most: 15, required: true, suggests: []string{"eth0", "eth1", config.USB, "wlan0", "wlan1"}},
	{key: "donation.wifi", kind: aWiFi},
	{key: "donation.apn", kind: aLine, most: 63, rare: true},
	{key: "donation.pin", kind: aSecret, rare: true},
	{key: "donation.cap", kind: aSize, unit: "GB", required: true},
	{key: "donation.period", kind: aChoice, choices: []string{"day", "week", "month", "once"}, labels: []string{"each-day", "each-week", "each-month", "only-once"}},
	{key: "donation.resets", kind: aNumber, most: 31, only: func(form url.Values) bool {
		return form.Get("donation.period") == "week" || form.Get("donation.period") == "month"
	}},
	{key: "donation.hours", kind: someHours},
	{key: "donation.until", kind: aDate},
	{key: "donation.download", kind: aRate, unit: "mbit"},
	{key: "donation.upload", kind: aRate, unit: "mbit"},
	{key: "donation.priority", kind: aNumber, most: 99, rare: true},
	{key: "donation.reserve", kind: aSize, unit: "GB", rare: true},
	{key: "donation.metered", kind: aChoice, choices: []string{config.Auto, "yes", "no"}, labels: []string{"metered-auto", "metered-yes", "metered-no"}, rare: true},
	{key: "donation.autorate", kind: aDefault, choices: []string{byDefault, "true", "false"}, labels: []string{"autorate-auto", "autorate-yes", "autorate-no"}, rare: true},
	{key: "donation.fleet", kind: aFlag, rare: true},
	{key: "donation.broadcast", kind: aFlag, rare: true},
	{key: "donation.dns", kind: aList, rare: true},
}

var (
	deskLabels = []string{
		"desk-papers", "desk-writer", "desk-learn", "desk-computer", "desk-print", "desk-equipment", "desk-repair", "desk-listen",
	}
	languages = []string{"fr", "en", "ar", "es", "pt", "uk"}
	countries = []string{"FR", "GP", "GF", "MQ", "RE", "YT", "NC", "PF", "PM", "BE", "CH", "LU"}
	zones     = []string{
		"Europe/Paris", "America/Cayenne", "America/Guadeloupe", "America/Martinique", "America/Miquelon", "Indian/Mayotte",
		"Indian/Reunion", "Pacific/Noumea", "Pacific/Tahiti", "Pacific/Wallis",
	}
)

// byDefault is the choice that sets no value.
const byDefault = "auto"

// units are the units of each kind of number, from small to large.
var units = map[kind][]string{
	aSize:     {"kB", "MB", "GB", "TB"},
	aRate:     {"kbit", "mbit", "gbit"},
	aDuration: {"s", "m", "h"},
}

// fieldOf returns the field of a key, or nil if no page has it.
func fieldOf(key string) *field {
	for _, all := range append(groups, group{fields: donationFields}) {
		for i := range all.fields {
			if all.fields[i].key == key {
				return &all.fields[i]
			}
		}
	}
	return nil
}

// The names of a field's parts in a form, after its key.
const (
	unitName   = ".unit"
	removeName = ".remove"
	modeName   = ".mode"
	linesName  = ".lines"
	ssidName   = ".ssid"
)

// Modes of hours.
const (
	always = "always"
	byWeek = "week"
	asText = "text"
)

// write writes a value into a form. A secret is left out.
func (f *field) write(form url.Values, value any) {
	switch v := value.(type) {
	case nil:
		if f.kind == aDefault {
			form.Set(f.key, byDefault)
		}
	case bool:
		form.Set(f.key, strconv.FormatBool(v))
	case int:
		form.Set(f.key, strconv.Itoa(v))
	case []string:
		var lines []string
		for _, s := range v {
			if slices.Contains(f.choices, s) {
				form.Add(f.key, s)
			} else {
				lines = append(lines, s)
			}
		}
		form.Set(f.key+linesName, strings.Join(lines, "\n"))
	case config.Table:
		for _, p := range v {
			if ssid, ok := p.Value.(string); ok && p.Key == "ssid" {
				form.Set(f.key+ssidName, ssid)
			}
		}
	case string:
		switch f.kind {
		case aSecret:
		case aSize, aRate, aDuration:
			number, unit := f.split(v)
			form.Set(f.key, number)
			form.Set(f.key+unitName, unit)
		case someHours:
			form.Set(f.key+modeName, asText)
			form.Set(f.key, v)
			if w, ok := weekOf(v); ok {
				form.Set(f.key+modeName, byWeek)
				w.write(form, f.key)
			} else if f.isAlways(v) {
				form.Set(f.key+modeName, always)
			}
		default:
			form.Set(f.key, v)
		}
	}
}

// read reads a value from a form. was is the value before, which the form may keep. problem is a word for what is wrong with the
// value. "" means that this package found nothing wrong; package config may still refuse it.
func (f *field) read(form url.Values, was any) (value any, problem string) {
	text := strings.TrimSpace(form.Get(f.key))
	switch f.kind {
	case aNumber:
		n, err := strconv.Atoi(text)
		if err != nil {
			return was, "number"
		}
		return n, ""
	case aFlag:
		return text == "true", ""
	case aDefault:
		if text == "true" || text == "false" {
			return text == "true", ""
		}
		return nil, ""
	case aSecret:
		return readSecret(form, f.key, was), ""
	case aSize, aRate, aDuration:
		return f.join(text, form.Get(f.key+unitName)), ""
	case checks, aList:
		return f.readList(form, was), ""
	case aWiFi:
		ssid := strings.TrimSpace(form.Get(f.key + ssidName))
		if ssid == "" {
			return config.Table(nil), ""
		}
		return config.Table{{Key: "ssid", Value: ssid}, {Key: "passphrase", Value: readSecret(form, f.key, passphrase(was))}}, ""
	case someHours:
		return f.readHours(form, was)
	}
	return text, ""
}

// readSecret returns the secret that was there before, unless the form has a new one or asks to remove it.
func readSecret(form url.Values, name string, was any) any {
	switch {
	case form.Get(name+removeName) != "":
		return ""
	case form.Get(name) != "":
		return form.Get(name)
	case was == nil:
		return ""
	}
	return was
}

// passphrase returns the passphrase of a lender's Wi-Fi, or nil if there is none.
func passphrase(wifi any) any {
	table, _ := wifi.(config.Table)
	for _, p := range table {
		if p.Key == "passphrase" {
			return p.Value
		}
	}
	return nil
}

// readList reads a list. Values that were there before keep their order, so that a form that changes nothing does not reorder the
// file. A changed aList is in the form's order.
func (f *field) readList(form url.Values, was any) []string {
	chosen := form[f.key]
	for line := range strings.SplitSeq(form.Get(f.key+linesName), "\n") {
		if line = strings.TrimSpace(line); line != "" && f.kind == aList {
			chosen = append(slices.Clip(chosen), line)
		}
	}
	before, _ := was.([]string)
	list := []string{}
	if f.kind == checks || sameSet(before, chosen) {
		for _, s := range before {
			if slices.Contains(chosen, s) {
				list = append(list, s)
			}
		}
	}
	for _, s := range chosen {
		if !slices.Contains(list, s) || f.kind == aList && count(list, s) < count(chosen, s) {
			list = append(list, s)
		}
	}
	return list
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func count(list []string, s string) (n int) {
	for _, other := range list {
		if other == s {
			n++
		}
	}
	return n
}

func (f *field) readHours(form url.Values, was any) (value any, problem string) {
	before, _ := was.(string)
	switch form.Get(f.key + modeName) {
	case always:
		if f.isAlways(before) {
			return before, ""
		}
		return "", ""
	case byWeek:
		w, err := readWeek(form, f.key)
		if err != nil {
			return before, "week"
		}
		if old, ok := weekOf(before); ok && reflect.DeepEqual(old, w) {
			return before, "" // keep the old spelling
		}
		return w.String(), ""
	}
	return strings.TrimSpace(form.Get(f.key)), ""
}

// isAlways reports whether hours mean always open, or unknown hours for a field with unknown.
func (f *field) isAlways(text string) bool {
	if strings.TrimSpace(text) == "" {
		return true
	}
	schedule, err := hours.Parse(text)
	return !f.unknown && err == nil && schedule.Always()
}

// split splits a value into its number and its unit. A value without a unit gets the field's initial unit.
func (f *field) split(value string) (number, unit string) {
	if f.kind == aDuration {
		if d, err := time.ParseDuration(value); err == nil {
			for _, u := range slices.Backward(units[aDuration]) {
				one, _ := time.ParseDuration("1" + u)
				if d%one == 0 {
					return strconv.Itoa(int(d / one)), u
				}
			}
		}
	}
	end := len(strings.TrimRight(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
	if end == len(value) {
		return value, f.unit
	}
	return value[:end], value[end:]
}

// join joins a number and its unit as the file has them: "1500MB". It accepts French numbers, which have a decimal comma and
// spaces between thousands.
func (f *field) join(number, unit string) string {
	number = strings.NewReplacer(",", ".", " ", "", "\u00a0", "", "\u202f", "").Replace(number)
	switch {
	case number == "" && !f.required, strings.Trim(number, "0.") == "" && number != "" && f.kind != aDuration:
		return "0"
	case number == "":
		return ""
	}
	value := number + unit
	switch f.kind {
	case aSize:
		if size, err := config.ParseSize(value); err == nil {
			return size.String()
		}
	case aRate:
		if rate, err := config.ParseRate(value); err == nil {
			return rate.String()
		}
	case aDuration:
		if d, err := time.ParseDuration(value); err == nil {
			value = strings.TrimSuffix(d.String(), "0s")
			if strings.HasSuffix(value, "h0m") {
				value = strings.TrimSuffix(value, "0m")
			}
			if strings.HasSuffix(d.String(), "0s") && !strings.HasSuffix(d.String(), "m0s") {
				value = d.String() // as 10s
			}
		}
	}
	return value
}

// same reports whether two values of a field are equal. Empty lists are equal, and so are empty tables.
func same(a, b any) bool {
	if list, ok := a.([]string); ok && len(list) == 0 {
		other, ok := b.([]string)
		return ok && len(other) == 0
	}
	if table, ok := a.(config.Table); ok && len(table) == 0 {
		other, ok := b.(config.Table)
		return ok && len(other) == 0
	}
	return reflect.DeepEqual(a, b)
}

// input is a field as a page shows it.
type input struct {
	Kind     kind
	Name     string
	Label    string
	Help     []string
	Value    string
	Lines    string // the values of a list that are not choices, one per line
	Units    []option
	Options  []option
	Suggests []string
	Most     int
	Required bool
	Unknown  bool
	Rare     bool

	Set    bool // there is a secret
	Remove bool // the secret is to be removed
	Retype bool // a secret was typed, which is not shown again
	SSID   string

	Mode    string
	Week    []gridDay
	Off     bool
	Reading []string // how the box understands the hours

	Problem *problem
}

// option is one of several values.
type option struct {
	Value, Label string
	Chosen       bool
}

// gridDay is one day in the grid of a week's opening hours.
type gridDay struct {
	Name  string
	Spans []gridSpan
}

type gridSpan struct{ FromName, From, ToName, To string }

// problem says what is wrong with a value.
type problem struct {
	Text   string
	Detail string // in English, from the box
}

// input returns the field as the page shows it, with the form's value. was is its value in the configuration.
func (f *field) input(w *web.Words, form url.Values, was any) input {
	in := input{
		Kind: f.kind, Name: f.key, Label: w.T("field." + f.key), Help: w.Lines("help." + f.key),
		Value: form.Get(f.key), Lines: form.Get(f.key + linesName), Suggests: f.suggests, Most: f.most,
		Required: f.required, Unknown: f.unknown, Rare: f.rare, Remove: form.Get(f.key+removeName) != "",
		SSID: form.Get(f.key + ssidName), Mode: form.Get(f.key + modeName), Off: form.Get(f.key+offName) != "",
	}
	for _, c := range f.choices {
		in.Options = append(in.Options, option{c, f.label(w, c), slices.Contains(form[f.key], c)})
	}
	chosen := form.Get(f.key + unitName)
	for _, u := range units[f.kind] {
		in.Units = append(in.Units, option{u, w.T("measure." + u), u == chosen})
	}
	switch f.kind {
	case aSecret, aWiFi:
		secret := was
		if f.kind == aWiFi {
			secret = passphrase(was)
		}
		in.Retype, in.Value, in.Set = in.Value != "", "", secret != nil && secret != ""
	case someHours:
		for day := range weekdays {
			d := gridDay{Name: weekday(w, day)}
			for i := range spansADay {
				from, to := f.key+timeName(day, i, "from"), f.key+timeName(day, i, "to")
				d.Spans = append(d.Spans, gridSpan{from, form.Get(from), to, form.Get(to)})
			}
			in.Week = append(in.Week, d)
		}
		if in.Mode == asText {
			in.Reading = readingOf(w, in.Value)
		}
	}
	return in
}

// aMonday is the start of the week by which the page shows how the box reads opening hours.
var aMonday = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// weekday returns the name of a day. Day 0 is Monday.
func weekday(w *web.Words, day int) string { return w.T("when.weekday." + strconv.Itoa((day+1)%7)) }

// readingOf says how the box understands opening hours, one line per day.
func readingOf(w *web.Words, text string) (lines []string) {
	schedule, err := hours.Parse(text)
	if err != nil || schedule.Always() || strings.TrimSpace(text) == "" {
		return nil
	}
	for day, h := range schedule.Week(aMonday).Days {
		open := h.String()
		switch open {
		case "closed":
			open = w.T("settings.closed")
		case "day and night":
			open = w.T("settings.day-and-night")
		}
		lines = append(lines, w.T("settings.day", "day", weekday(w, day), "hours", open))
	}
	return lines
}

// sayHours returns opening hours with the names of days in words, if a week's grid can express them, and the text itself otherwise.
func sayHours(w *web.Words, text string) string {
	week, ok := weekOf(text)
	if !ok {
		return text
	}
	pairs := []string{"PH off", w.T("settings.holidays")}
	for day, short := range weekdays {
		pairs = append(pairs, short, weekday(w, day))
	}
	return strings.NewReplacer(pairs...).Replace(week.String())
}

// label returns the text for one of a field's choices.
func (f *field) label(w *web.Words, choice string) string {
	if i := slices.Index(f.choices, choice); i >= 0 && i < len(f.labels) {
		return w.T("choice." + f.labels[i])
	}
	return web.LangName(choice)
}

// say returns a value in words.
func (f *field) say(w *web.Words, value any) string {
	switch v := value.(type) {
	case bool:
		if v {
			return w.T("settings.yes")
		}
		return w.T("settings.no")
	case int:
		return strconv.Itoa(v)
	case []string:
		all := make([]string, len(v))
		for i, s := range v {
			if all[i] = s; slices.Contains(f.choices, s) {
				all[i] = f.label(w, s)
			}
		}
		if len(all) > 0 {
			return strings.Join(all, ", ")
		}
	case config.Table:
		for _, p := range v {
			if ssid, ok := p.Value.(string); ok && p.Key == "ssid" {
				return ssid
			}
		}
	case string:
		switch {
		case v == "" && f.kind == someHours && !f.unknown:
			return w.T("settings.always")
		case v == "":
		case v == "0" && (f.kind == aSize || f.kind == aRate):
			return w.T("settings." + cmp.Or(f.zero, "no-limit"))
		case f.kind == aSize || f.kind == aRate || f.kind == aDuration:
			number, unit := f.split(v)
			return w.T("settings.amount", "number", number, "unit", w.T("measure."+unit))
		case f.kind == aSecret:
			return w.T("settings.secret")
		case f.kind == someHours:
			return sayHours(w, v)
		case slices.Contains(f.choices, v):
			return f.label(w, v)
		default:
			return v
		}
	}
	return w.T("settings.nothing")
}
