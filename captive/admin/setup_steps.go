package admin

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"passerelle/appliance/config"
	"passerelle/captive/web"
)

// Names and values of form fields that are not keys of the configuration.
const (
	lineName   = "line"   // "KIND:INTERFACE"
	planName   = "plan"   // the name of one of plans, or own
	placeName  = "place"  // where the hotspot is: "radio:INTERFACE" or "wired:INTERFACE"
	doorName   = "door"   // "open" for a hotspot without a password, "closed" for one with a password
	presetName = "preset" // the name of one of presets, or own

	own      = "own"  // the technician's own values
	aNetwork = "wifi" // the KIND of a lender's Wi-Fi
)

var centreKeys = []string{
	"box.name", "centre.address", "centre.postcode", "centre.town", "centre.phone", "centre.hours", "centre.desk",
}

var centreStep = step{
	name: "centre", keys: append([]string{foundName}, centreKeys...),
	start:  startCentre,
	change: changeCentre,
	lacks:  centreLacks,
	parts:  centreParts,
}

func startCentre(answers, seen) url.Values {
	return startOf(map[string]any{"box.name": "", "centre.hours": "", "centre.desk": []string{}})
}

func changeCentre(form url.Values) []config.Change { return changesOf(form, centreKeys...) }

func centreLacks(form url.Values, _ answers) map[string]string {
	problems := lacksOf(form, centreKeys...)
	if strings.TrimSpace(form.Get("box.name")) == "" {
		problems["box.name"] = "name"
	}
	return problems
}

func centreParts(f setupForm, w *web.Words) []setupPart {
	more := []string{"centre.hours", "centre.desk"}
	return []setupPart{
		{Finder: f.finder, Inputs: f.fields(centreKeys[:5]...)},
		{Inputs: f.fields(more...), Title: w.T("setup.more.centre"), Open: f.wrongIn(more...)},
	}
}

// plan is a typical contract of a lender, with the cap and the period that suit it.
type plan struct{ name, cap, period string }

var plans = []plan{{"fibre", "200GB", "month"}, {"prepaid", "10GB", "once"}, {"unlimited", "0", "month"}}

var (
	planKeys = []string{"donation.cap", "donation.period", "donation.resets"}
	lentKeys = []string{"donation.hours", "donation.download", "donation.upload"}
)

var lineStep = step{
	name: "line", keys: slices.Concat([]string{lineName, planName, "donation.name", "donation.wifi"}, planKeys, lentKeys),
	start:  startLine,
	change: changeLine,
	lacks:  lineLacks,
	parts:  lineParts,
}

func startLine(a answers, m seen) url.Values {
	form := startOf(map[string]any{
		"donation.cap": "200GB", "donation.period": "month", "donation.resets": 1,
		"donation.hours": "", "donation.download": "20mbit", "donation.upload": "5mbit",
	})
	form.Set("donation.name", a[centreStep.name].Get("box.name"))
	form.Set(planName, plans[0].name)
	works := func(l Line) bool { return l.State == Works }
	if i := slices.IndexFunc(m.lines, works); i >= 0 {
		form.Set(lineName, lineValue(m.lines[i]))
		if m.lines[i].Kind == Phone {
			form.Set(planName, "prepaid")
		}
	}
	return form
}

func lineLacks(form url.Values, _ answers) map[string]string {
	problems := map[string]string{}
	kind, device, ok := strings.Cut(form.Get(lineName), ":")
	if !ok || device == "" || !slices.Contains([]string{string(Cable), string(Phone), string(Bridge), aNetwork}, kind) {
		problems[lineName] = "line"
	}
	if kind == aNetwork && strings.TrimSpace(form.Get("donation.wifi"+ssidName)) == "" {
		problems["donation.wifi"] = "wifi"
	}
	if strings.TrimSpace(form.Get("donation.name")) == "" {
		problems["donation.name"] = "name"
	}
	keys := lentKeys
	switch name := form.Get(planName); {
	case name == own:
		keys = slices.Concat(planKeys, lentKeys)
		if form.Get("donation.period") != "week" && form.Get("donation.period") != "month" {
			keys = slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return key == "donation.resets" })
		}
	case !slices.ContainsFunc(plans, func(p plan) bool { return p.name == name }):
		problems[planName] = "choose"
	}
	for key, word := range lacksOf(form, keys...) {
		problems[key] = word
	}
	return problems
}

func lineParts(f setupForm, w *web.Words) (parts []setupPart) {
	var lines []bigOption
	for _, l := range f.seen.lines {
		if l.Kind == Bridge {
			continue // mostly a network of residents
		}
		lines = append(lines, bigOption{
			Value: lineValue(l), Title: w.T("setup.line." + string(l.Kind)), Lines: []string{w.T("setup.state." + string(l.State))},
			Detail: strings.TrimSpace(l.Interface + " " + l.Address), Good: l.State == Works,
			Bad: l.State != Works && l.State != Testing,
		})
	}
	if device := f.seen.joins(); device != "" {
		lines = append(lines, bigOption{
			Value: aNetwork + ":" + device, Title: w.T("setup.line.wifi"), Lines: []string{w.T("setup.line.wifi-note")},
			Detail: device,
		})
	}
	for i, l := range lines { // it is offered, so that both can be exchanged
		if _, device, _ := strings.Cut(l.Value, ":"); device == f.taken {
			lines[i].Lines = append(l.Lines, w.T("setup.line.taken-note"))
		}
	}
	line := f.choice(lineName, lines...)
	line.Again = true
	if line.None = w.Lines("setup.none.line"); f.seen.failed {
		line.None = w.Lines("setup.none.failed")
	}
	parts = append(parts, setupPart{Choice: line})
	if f.seen.joins() != "" {
		parts = append(parts, setupPart{Inputs: f.fields("donation.wifi"), When: aNetwork})
	}
	var offers []bigOption
	for _, p := range plans {
		offers = append(offers, bigOption{
			Value: p.name, Title: w.T("setup.plan." + p.name), Lines: []string{w.T("setup.plan-note." + p.name)},
		})
	}
	offers = append(offers, bigOption{Value: own, Title: w.T("setup.plan.own")})
	return append(parts,
		setupPart{Inputs: f.fields("donation.name")},
		setupPart{Choice: f.choice(planName, offers...)},
		setupPart{Inputs: f.fields(planKeys...), When: own},
		setupPart{Inputs: f.fields(lentKeys...), Title: w.T("setup.more.line"), Open: f.wrongIn(lentKeys...)},
	)
}

// uplink returns the kind and the interface of the uplink, "" if they are not answered.
func (a answers) uplink() (kind, device string) {
	kind, device, _ = strings.Cut(a[lineStep.name].Get(lineName), ":")
	return kind, device
}

func lineValue(l Line) string { return string(l.Kind) + ":" + l.Interface }

// joins returns the interface that can join a lender's Wi-Fi: that of a second radio, or a new one on the only radio. It returns ""
// if no radio can join one.
func (m seen) joins() string {
	switch {
	case len(m.radios) > 1:
		return m.radios[1].Interface
	case len(m.radios) == 1 && m.radios[0].Client && m.radios[0].Interface != newClient:
		return newClient
	}
	return ""
}

// newClient is the interface that joins a lender's Wi-Fi on the hotspot's radio. The box creates it.
const newClient = "wlan1"

// changeLine makes the first donation from a form. It replaces the donation of the example.
func changeLine(form url.Values) []config.Change {
	kind, device, _ := strings.Cut(form.Get(lineName), ":")
	read := func(key string) any {
		value, _ := fieldOf(key).read(form, nil)
		return value
	}
	table := config.Table{
		{Key: "name", Value: read("donation.name")}, {Key: "interface", Value: device},
		{Key: "download", Value: read("donation.download")}, {Key: "upload", Value: read("donation.upload")},
	}
	if kind == aNetwork {
		table = append(table, config.Pair{Key: "wifi", Value: read("donation.wifi")})
	}
	limit, period := read("donation.cap"), read("donation.period")
	if i := slices.IndexFunc(plans, func(p plan) bool { return p.name == form.Get(planName) }); i >= 0 {
		limit, period = plans[i].cap, plans[i].period
	}
	table = append(table, config.Pair{Key: "cap", Value: limit}, config.Pair{Key: "period", Value: period})
	if form.Get(planName) == own && (period == "week" || period == "month") {
		if day, wrong := fieldOf("donation.resets").read(form, nil); wrong == "" {
			table = append(table, config.Pair{Key: "resets", Value: day})
		}
	}
	if size, err := config.ParseSize(limit.(string)); err == nil { // reserve a hundredth for essential services
		table = append(table, config.Pair{Key: "reserve", Value: (size / 100).String()})
	}
	if text, _ := read("donation.hours").(string); text != "" {
		table = append(table, config.Pair{Key: "hours", Value: text})
	}
	return []config.Change{{Path: []string{"donation", exampleDonation}, Value: table}}
}

// exampleDonation is the name of the example's donation.
var exampleDonation = func() string {
	c, err := config.Parse(fileName, config.Example())
	if err != nil {
		panic("admin: the example is not valid: " + err.Error())
	}
	return c.Donations[0].Name
}()

const maxSSID = 32 // bytes (IEEE 802.11-2020, 9.4.2.2)

var hotspotStep = step{
	name: "hotspot", keys: []string{placeName, doorName, "hotspot.ssid", "hotspot.password", "hotspot.country"},
	start:  startHotspot,
	change: changeHotspot,
	lacks:  hotspotLacks,
	parts:  hotspotParts,
}

// startHotspot chooses a radio, if there is one. It never chooses a cable: without an access point behind it, nobody could join,
// so that is for the technician to decide.
func startHotspot(a answers, m seen) url.Values {
	ssid := a[centreStep.name].Get("box.name")
	for len(ssid) > maxSSID {
		_, size := utf8.DecodeLastRuneInString(ssid)
		ssid = ssid[:len(ssid)-size]
	}
	form := url.Values{doorName: {"open"}, "hotspot.ssid": {strings.TrimSpace(ssid)}, "hotspot.country": {"FR"}}
	_, taken := a.uplink()
	for _, r := range slices.Backward(m.radios) {
		if r.Interface != taken {
			form.Set(placeName, "radio:"+r.Interface)
		}
	}
	return form
}

func changeHotspot(form url.Values) []config.Change {
	kind, device, _ := strings.Cut(form.Get(placeName), ":")
	radio := "hostapd"
	if kind == "wired" {
		radio = "none"
	}
	password := form.Get("hotspot.password")
	if form.Get(doorName) == "open" {
		password = ""
	}
	changes := []config.Change{
		{Path: []string{"hotspot", "interface"}, Value: device},
		{Path: []string{"hotspot", "radio"}, Value: radio},
		{Path: []string{"hotspot", "password"}, Value: password},
	}
	return append(changes, changesOf(form, "hotspot.ssid", "hotspot.country")...)
}

// clashes returns a word for each answer about the hotspot that does not go with the uplink, by field. The page of the uplink comes
// first, so the hotspot gives way. A nil form has none.
func clashes(form url.Values, a answers) map[string]string {
	problems := map[string]string{}
	kind, uplink := a.uplink()
	if _, device, _ := strings.Cut(form.Get(placeName), ":"); device != "" && device == uplink {
		problems[placeName] = "taken"
	}
	if form != nil && kind == aNetwork && strings.TrimSpace(form.Get("hotspot.country")) == "" { // the box joins a Wi-Fi by its rules
		problems["hotspot.country"] = "country"
	}
	return problems
}

func hotspotLacks(form url.Values, a answers) map[string]string {
	problems := clashes(form, a)
	if kind, device, _ := strings.Cut(form.Get(placeName), ":"); device == "" || kind != "radio" && kind != "wired" {
		problems[placeName] = "choose"
	}
	switch form.Get(doorName) {
	case "open":
	case "closed":
		if form.Get("hotspot.password") == "" {
			problems["hotspot.password"] = "password"
		}
	default:
		problems[doorName] = "choose"
	}
	return problems
}

func hotspotParts(f setupForm, w *web.Words) []setupPart {
	var places []bigOption
	for _, r := range f.seen.radios {
		if r.Interface == f.taken {
			continue
		}
		o := bigOption{
			Value: "radio:" + r.Interface, Title: w.T("setup.place.radio"), Detail: r.Interface, Good: true,
			Lines: []string{w.T("setup.radio.found")},
		}
		say := func(has bool, line string) {
			if has {
				o.Lines = append(o.Lines, line)
			}
		}
		say(r.Stations > 0, w.T("setup.radio.stations", "number", w.Count("phone", r.Stations)))
		say(r.Fast, w.T("setup.radio.fast"))
		say(r.Encrypts, w.T("setup.radio.encrypts"))
		places = append(places, o)
	}
	for _, l := range f.seen.lines {
		if l.Kind == Phone || l.Interface == f.taken {
			continue
		}
		o := bigOption{
			Value: "wired:" + l.Interface, Title: w.T("setup.place." + string(l.Kind)), Detail: l.Interface,
			Lines: []string{w.T("setup.place-note")},
		}
		if l.State == Works || l.State == NoInternet || l.State == Testing {
			o.Lines, o.Bad = []string{w.T("setup.place-internet")}, true
		}
		places = append(places, o)
	}
	place := f.choice(placeName, places...)
	place.Again = true
	if len(f.seen.radios) == 0 && !f.seen.failed {
		place.Note = w.Lines("setup.none.radio")
	}
	if place.None = w.Lines("setup.none.place"); f.seen.failed {
		place.None = w.Lines("setup.none.failed")
	}
	return []setupPart{
		{Inputs: f.fields("hotspot.ssid")},
		{Choice: f.choice(doorName,
			bigOption{Value: "open", Title: w.T("setup.door.open"), Lines: []string{w.T("setup.door.open-note")}},
			bigOption{Value: "closed", Title: w.T("setup.door.closed"), Lines: []string{w.T("setup.door.closed-note")}},
		)},
		{Inputs: f.fields("hotspot.password"), When: "closed"},
		{Choice: place},
		{Inputs: f.fields("hotspot.country"), Title: w.T("setup.more.country"), Open: f.wrongIn("hotspot.country")},
	}
}

// preset is a set of limits for each resident, by a name that staff of a centre understand.
type preset struct{ name, session, download, upload, data string }

var presets = []preset{
	{"messages", "2h", "2mbit", "512kbit", "200MB"},
	{"balanced", "2h", "4mbit", "1mbit", "500MB"},
	{"video", "4h", "8mbit", "2mbit", "2GB"},
}

var limitKeys = []string{"limits.session", "limits.data", "limits.download", "limits.upload"}

func (p preset) values() map[string]any {
	return map[string]any{
		"limits.session": p.session, "limits.data": p.data, "limits.download": p.download, "limits.upload": p.upload,
	}
}

var limitsStep = step{
	name: "limits", keys: append([]string{presetName}, limitKeys...),
	start:  startLimits,
	change: changeLimits,
	lacks:  limitsLacks,
	parts:  limitsParts,
}

func startLimits(answers, seen) url.Values {
	form := startOf(presets[1].values())
	form.Set(presetName, presets[1].name)
	return form
}

func changeLimits(form url.Values) []config.Change {
	if i := slices.IndexFunc(presets, func(p preset) bool { return p.name == form.Get(presetName) }); i >= 0 {
		form = startOf(presets[i].values())
	}
	return changesOf(form, limitKeys...)
}

func limitsLacks(form url.Values, _ answers) map[string]string {
	name := form.Get(presetName)
	if name != own && !slices.ContainsFunc(presets, func(p preset) bool { return p.name == name }) {
		return map[string]string{presetName: "choose"}
	}
	return nil
}

func limitsParts(f setupForm, w *web.Words) []setupPart {
	var options []bigOption
	for _, p := range presets {
		values := p.values()
		say := func(key string) string { return fieldOf(key).say(w, values[key]) }
		options = append(options, bigOption{
			Value: p.name, Title: w.T("setup.preset." + p.name), Lines: []string{
				w.T("setup.preset-note." + p.name),
				w.T("setup.preset-facts", "time", say("limits.session"), "data", say("limits.data"), "rate", say("limits.download")),
			},
		})
	}
	options = append(options, bigOption{Value: own, Title: w.T("setup.preset.own")})
	return []setupPart{
		{Choice: f.choice(presetName, options...)},
		{Inputs: f.fields(limitKeys...), When: own},
	}
}
