package admin

import (
	"html/template"
	"net/http"
	"slices"

	"passerelle/appliance/state"
	"passerelle/captive/admin/guide"
	"passerelle/captive/web"
	"passerelle/hw"
)

const guidePath = deskPath + "/guide"

// guidePage is the centre's guide, to read and to print: how to plug the box in, what its light and button mean, what to tell
// people and what to do when something happens, what the box keeps, and what the law asks.
type guidePage struct {
	techFrame
	Up         web.Link
	Facts      []web.Fact // about this box
	Phone      web.Phone  // the centre's
	Week       []web.OpenDays
	Plug       []string // steps
	Lights     []guideLight
	LightsText []string
	Holds      []guideHold
	Situations []situation
	Cases      []guideCase
	Law        guide.Law
	LawLang    *web.Lang // nil if it is the page's language
}

func (guidePage) Template() string { return "admin/guide" }

// guideLight says what the light of a State looks like and means.
type guideLight struct {
	Lamp    template.HTML
	Rhythm  string
	Colours string
	Means   []string // the first is its name
	Do      []string
	Say     []string
}

// guideHold says what the button does after it was held for some time.
type guideHold struct {
	Lamp    template.HTML
	Held    string
	Rhythm  string // the light's, while the button is held
	Does    string
	Nothing bool
}

// guideCase says what to do when something happens.
type guideCase struct {
	Title string
	Steps []string
}

// guideTile is the desk's link to the guide.
func (s *Server) guideTile(r *request) (t deskTile, shown bool) {
	t.Door = web.Door{Href: guidePath, Pictogram: "lifebuoy", Title: r.Words.T("guide.title"), Text: r.Words.T("guide.tile")}
	return t, true
}

func (s *Server) guide(w http.ResponseWriter, r *request) {
	x, box := r.Words, s.Box.Status()
	p := guidePage{
		techFrame: s.tech(r, "desk", guidePath, x.T("guide.title")), Up: web.Link{Href: deskPath, Text: x.T("staff.title")},
		Plug: x.Lines("guide.plug-steps",
			"starting", guide.Rhythm(x, hw.States[state.Starting]), "sharing", guide.Rhythm(x, hw.States[state.Sharing])),
		Lights:     lightsOf(x),
		LightsText: x.Lines("guide.lights-text", "time", x.Count("second", int(guide.Drawn.Seconds()))),
		Holds:      holdsOf(x),
		Cases:      casesOf(x),
		Law:        guide.LawIn(x.Code),
	}
	if !slices.Contains(guide.LawLanguages, x.Code) {
		p.LawLang = x.Lang(guide.LawLanguages[0])
	}
	if wifi := box.Hotspot.WiFi; wifi != nil {
		p.Facts = append(p.Facts, web.Fact{Pictogram: "wifi", Text: x.T("guide.wifi", "name", x.Isolate(wifi.SSID))})
	}
	site := "http://" + r.site.Hostname
	p.Facts = append(p.Facts,
		web.Fact{Pictogram: "globe", Text: x.T("guide.page", "address", x.Isolate(site))},
		web.Fact{Pictogram: "people", Text: x.T("guide.desk", "address", x.Isolate(site+deskPath))})
	card := cardOf(r.site.Card)
	if card.Phone != "" {
		p.Phone = web.NewPhone(card.Phone)
	}
	if card.Hours != nil {
		usual, others := x.OpenWeek(card.Hours, true, r.Now)
		p.Week = append(usual, others...)
	}
	box.State = state.Sharing // the guide has what can happen to one resident while the box shares
	p.Situations = situationsOf(x, box, r.site)
	s.serve(w, r, p, http.StatusOK)
}

// lightsOf returns the lights of all States, with the words that the desk's page has for them.
func lightsOf(x *web.Words) (all []guideLight) {
	for _, s := range state.States {
		l := guideLight{
			Lamp: guide.Lamp(hw.States[s]), Rhythm: guide.Rhythm(x, hw.States[s]),
			Colours: x.T("guide.lights-colour", "list", guide.Colours(x, hw.States[s])),
			Means:   x.Lines("staff.state." + string(s)),
			Do:      optional(x.Message("staff.do." + string(s))), Say: optional(x.Message("staff.say." + string(s))),
		}
		switch s {
		case state.Paused:
			l.Do = x.Lines("guide.do-paused")
		case state.Fault:
			l.Means = append(l.Means, x.T("guide.card-too"))
		case state.Setup:
			l.Means = append(l.Means, x.Lines("staff.state.setup-asked")...)
		}
		all = append(all, l)
	}
	slices.Reverse(all) // the usual State, Sharing, comes first
	return all
}

// holdsOf returns what the button does, by how long it is held.
func holdsOf(x *web.Words) (all []guideHold) {
	for _, h := range hw.AllHolds() {
		all = append(all, guideHold{
			Lamp: guide.Lamp(hw.Holds[h.Does]), Held: guide.Held(x, h), Rhythm: guide.Rhythm(x, hw.Holds[h.Does]),
			Does: x.T("guide.does." + string(h.Does)), Nothing: h.Does == hw.Nothing,
		})
	}
	return all
}

// casesOf returns what can happen, and what to do then.
func casesOf(x *web.Words) []guideCase {
	loans := lenderCatalog.Language(x.Code).T("lend.desk-title")
	return []guideCase{
		{x.T("guide.when-internet"), append(x.Lines("guide.when-internet-do"), x.Lines("staff.do.offline")...)},
		{x.T("guide.when-join"), x.Lines("guide.when-join-do")},
		{x.T("guide.when-unplugged"), x.Lines("guide.when-unplugged-do")},
		{x.T("guide.when-lend"), x.Lines("guide.when-lend-do", "loans", loans)},
		{x.T("guide.when-card"), x.Lines("guide.when-card-do", "fault", guide.Rhythm(x, hw.States[state.Fault]))},
		{x.T("guide.when-code"), x.Lines("guide.when-code-do")},
	}
}
