package admin

import (
	"errors"
	"net/http"
	"net/url"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/web"
)

// summaryPage shows the configuration that the answers result in, before it is used.
type summaryPage struct {
	techFrame
	Progress setupProgress
	Note     string // "changed" if the answers have changed since the page was shown
	Revision config.Revision
	Groups   []summaryGroup
	Text     string // the file, without secrets
	Radio    string // the Wi-Fi network to join afterwards; "" if the hotspot is wired
	Cable    bool   // the technician is not on the hotspot, and stays connected
}

func (summaryPage) Template() string { return "admin/setup-summary" }

// summaryGroup shows the answers of one page.
type summaryGroup struct {
	Title, Href string
	Facts       []summaryFact
}

type summaryFact struct{ Label, Value string }

// showSummary shows the summary of answers without a problem.
func (s *Server) showSummary(w http.ResponseWriter, r *request, m made, note string, status int) {
	p := summaryPage{
		techFrame: s.setupFrame(r, setupSummary), Progress: progressOf(r.Words, setupSummary), Note: note,
		Revision: config.RevisionOf(m.text), Groups: summaryOf(r.Words, m.conf), Cable: r.side == config.SideWired,
	}
	if m.conf.Hotspot.Radio == "hostapd" {
		p.Radio = m.conf.Hotspot.SSID
	}
	var masks config.Masks
	p.Text = string(masks.Mask(m.text))
	s.serve(w, r, p, status)
}

// summaryOf describes a configuration in words, page by page. Values that nobody gave are left out.
func summaryOf(w *web.Words, c *config.Config) (groups []summaryGroup) {
	values, d := c.Values(), c.Donations[0]
	for key, value := range d.Values() {
		values[key] = value
	}
	keys := [][]string{
		centreKeys, {"donation.name", "donation.interface", "donation.wifi", "donation.cap", "donation.period", "donation.hours", "donation.download", "donation.upload"},
		{"hotspot.ssid", "hotspot.password", "hotspot.radio", "hotspot.interface", "hotspot.country"}, limitKeys,
	}
	for i, s := range setupSteps {
		g := summaryGroup{Title: w.T("setup.title." + s.name), Href: setupPath + "/" + s.name}
		for _, key := range keys[i] {
			f, value := fieldOf(key), values[key]
			switch {
			case value == "" && key == "hotspot.password":
				g.Facts = append(g.Facts, summaryFact{f.title(w), w.T("setup.door.open")})
				continue
			case value == "" && key != "donation.hours", same(value, []string{}), same(value, config.Table{}):
				continue
			case key == "donation.period" && d.Cap == 0:
				continue
			case c.Hotspot.Radio == "none" && (key == "hotspot.ssid" || key == "hotspot.password" || key == "hotspot.country"):
				continue
			}
			g.Facts = append(g.Facts, summaryFact{f.title(w), f.say(w, value)})
		}
		groups = append(groups, g)
	}
	return groups
}

// share saves the configuration that the answers result in, if it is the one that the technician saw on the summary.
func (s *Server) share(w http.ResponseWriter, r *request, form url.Values) {
	a := s.answers()
	m := a.make()
	switch next := a.next(r.Words, m); {
	case next != setupSummary:
		r.Lead(w, http.StatusSeeOther, setupPath+"/"+next)
		return
	case form.Get(revisionName) != string(config.RevisionOf(m.text)):
		s.showSummary(w, r, m, "changed", http.StatusConflict)
		return
	}
	web.Yield(r.Request.Request)
	result, err := s.Configuration.Apply(r.Context(), m.text, "", r.side)
	switch {
	case err != nil:
		s.failed(w, r, "make the first configuration", err)
		return
	case result.Outcome == config.Conflict: // in the meantime a file has appeared
		s.forget()
		r.Lead(w, http.StatusSeeOther, adminPath)
		return
	case result.Outcome == config.Refused:
		s.cannot(w, r, errors.Join(errors.New(result.Why), problemsError(result.Problems)))
		return
	}
	s.forget()
	s.setupEnd(w, r, true)
}

// endPage is the last page of the first start.
type endPage struct {
	techFrame
	Progress  setupProgress
	Pictogram string
	Good      bool
	Starts    bool // the box restarts with the configuration now
	Lines     []string
	Why       string // in English, from the box
	Network   string // the Wi-Fi network; "" if the hotspot is wired
	Cable     bool   // the technician is not on the hotspot, and mostly stays connected
	Address   string // of this page
	Lights    []setupLight
}

func (endPage) Template() string { return "admin/setup-done" }

// setupLight is a blink pattern of the light, and what it means.
type setupLight struct{ Rhythm, Meaning string }

// lightsSaid are the States whose lights the last page explains.
var lightsSaid = []state.State{state.Sharing, state.Paused, state.Closed, state.Exhausted, state.Offline, state.Fault}

// setupEnd shows the last page. starts says that the box is about to restart with its first configuration.
func (s *Server) setupEnd(w http.ResponseWriter, r *request, starts bool) {
	box, words := s.Box.Status(), r.Words
	starts = starts || box.State == state.Starting || box.State == state.Setup
	p := endPage{
		techFrame: s.setupFrame(r, setupDone), Progress: progressOf(words, setupDone), Starts: starts,
		Pictogram: statePictograms[box.State], Good: box.State == state.Sharing, Address: r.site.Hostname + setupPath + "/" + setupDone,
		Cable: r.side == config.SideWired,
	}
	text, _, err := s.Configuration.Read()
	if c, parseErr := config.Parse(fileName, text); err == nil && parseErr == nil {
		p.Address = c.Box.Hostname + setupPath + "/" + setupDone
		if c.Hotspot.Radio == "hostapd" {
			p.Network = c.Hotspot.SSID
		}
	}
	p.Address = "https://" + p.Address
	switch {
	case starts:
		p.Pictogram, p.Good, p.Lines, p.Refresh = "wait", false, words.Lines("setup.end.starts"), 10
	case p.Good:
		p.Lines = words.Lines("setup.end.shares")
	default:
		p.Lines, p.Refresh = words.Lines("home."+string(box.State)), 10
		if box.State != state.Closed {
			p.Why = box.Why
		}
	}
	for _, st := range lightsSaid {
		p.Lights = append(p.Lights, setupLight{words.T("setup.rhythm." + string(st)), words.T("setup.means." + string(st))})
	}
	s.serve(w, r, p, http.StatusOK)
}
