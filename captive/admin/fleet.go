package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/web"
)

// Fleet is the box's membership in a fleet. Its methods are safe for concurrent use. The errors say why something cannot be done.
type Fleet interface {
	// Status returns the box's status with the fields Fleet, Layers and Commands.
	Status() state.Status
	// Join requests membership with the code on a sticker. Leave discards the membership or the request.
	Join(code string) error
	Leave() error
	// Accept opens an essential service that the fleet proposes. Withdraw closes it again.
	Accept(ctx context.Context, service string) error
	Withdraw(ctx context.Context, service string) error
}

const (
	fleetPath = "/admin/fleet"

	fleetDo    = "do" // the name of the field; its values:
	doJoin     = "join"
	doLeave    = "leave"
	doAccept   = "accept"
	doWithdraw = "withdraw"

	fleetCode    = "code"
	fleetService = "service"
)

// maxCode is how many bytes of a typed code are used. A code has ten letters, and people type separators between them.
const maxCode = 100

// fleetRoutes are the page of the fleet and its buttons.
var fleetRoutes = map[string]techHandler{
	"GET " + fleetPath:  (*Server).fleet,
	"POST " + fleetPath: (*Server).pressFleet,
}

// fleetPage shows the box's membership in a fleet, what the fleet has changed and proposes, and what it asked the box to do.
type fleetPage struct {
	techFrame
	None     bool             // the configuration has no hubs
	Lines    []string         // the state of the membership
	Compare  []string         // words that the technician compares with those at the fleet
	Wrong    string           // why the last request failed, in the page's language
	Why      string           // the same in English
	Warn     []problem        // what else does not work
	Join     bool             // there is a field for a code
	Leave    bool             // there is a membership or a request to leave
	Typed    string           // the code of a request that failed
	Proposed []state.Proposal // By is in the page's language, here and in the next two fields
	Set      []state.LayerKey
	Refused  []state.LayerKey
	Handouts []fleetFile
	Commands []fleetCommand
}

// fleetFile is a file that the fleet hands out.
type fleetFile struct {
	Name, What, By, State string
	Why                   string // in English
}

// fleetCommand is something that the fleet asked the box to do.
type fleetCommand struct {
	When, What, Became string
	By                 string
}

func (fleetPage) Template() string { return "admin/fleet" }

func (s *Server) fleet(w http.ResponseWriter, r *request) {
	s.showFleet(w, r, "", nil, http.StatusOK)
}

// showFleet shows the page, with the error of the last request if it failed.
func (s *Server) showFleet(w http.ResponseWriter, r *request, typed string, failed error, status int) {
	p := fleetPage{techFrame: s.tech(r, "settings", fleetPath, r.Words.T("fleet.title")), Typed: typed}
	now := s.Fleet.Status()
	if p.None = now.Fleet == nil; !p.None {
		p.describe(r.Words, now)
	}
	if failed != nil {
		p.Wrong, p.Why = r.Words.T("fleet.wrong.press"), failed.Error()
	}
	s.serve(w, r, p, status)
}

// The words of packages fleet, protocol, updates and command for which the page has messages.
var (
	fleetStages   = []string{"alone", "asking", "waiting", "member"}
	fleetRefusals = []string{"unknown", "used", "refused"}
	fleetActions  = []string{"pause", "resume", "diagnose"}
	fleetFiles    = []string{"here", "coming", "waits", "failed", "own", "removed"}
	fleetWaits    = []string{"residents", "hours", "clock"}
	fleetVerdicts = []string{"done", "failed", "expired", "undated", "yields", "nothing"}
)

func (p *fleetPage) describe(w *web.Words, s state.Status) {
	f := s.Fleet
	member := f.Stage == "member"
	switch {
	case f.Revoked:
		p.Lines = w.Lines("fleet.revoked")
	case member:
		p.Lines = w.Lines("fleet.stage.member", "association", f.Association, "box", f.Box)
		how := "away"
		if f.Connected {
			how = "connected"
		} else if f.Mode == "visits" {
			how = "visits"
		}
		p.Lines = append(p.Lines, w.T("fleet.how."+how))
		if !f.Contact.IsZero() {
			p.Lines = append(p.Lines, w.T("fleet.contact", "day", w.Day(f.Contact), "at", w.At(f.Contact)))
		}
	case slices.Contains(fleetStages, f.Stage):
		p.Lines = w.Lines("fleet.stage." + f.Stage)
	}
	p.Compare = f.Words
	p.Join = !member && f.Stage != "waiting" || f.Revoked
	p.Leave = f.Stage != "alone"
	if slices.Contains(fleetRefusals, f.Refusal) {
		p.Wrong = w.T("fleet.refusal." + f.Refusal)
	}
	switch {
	case f.Waits != "":
		p.Warn = append(p.Warn, problem{Text: w.T("fleet.waits"), Detail: f.Waits})
	case f.Error != "":
		p.Warn = append(p.Warn, problem{Text: w.T("fleet.fails"), Detail: f.Error})
	}
	if f.Files != "" {
		p.Warn = append(p.Warn, problem{Text: w.T("fleet.files"), Detail: f.Files})
	}
	if l := s.Layers; l != nil {
		p.Proposed, p.Set, p.Refused = slices.Clone(l.Proposed), levels(w, l.Set), levels(w, l.Refused)
		for i := range p.Proposed {
			p.Proposed[i].By = levelName(w, p.Proposed[i].By)
		}
		for _, u := range l.Unread {
			p.Warn = append(p.Warn, problem{Text: w.T("fleet.unread", "who", levelName(w, u.By)), Detail: u.Error})
		}
	}
	for _, h := range f.Handouts {
		if !slices.Contains(fleetFiles, h.State) {
			continue
		}
		file := fleetFile{Name: h.Name, What: w.T("fleet.file.kind." + h.Kind), By: levelName(w, h.By), Why: h.Why}
		file.State = w.T("fleet.file."+h.State, "done", w.Size(h.Done), "size", w.Size(h.Size))
		if slices.Contains(fleetWaits, h.Why) {
			file.State, file.Why = file.State+" "+w.T("fleet.file.because."+h.Why), ""
		}
		p.Handouts = append(p.Handouts, file)
	}
	for _, c := range s.Commands {
		if slices.Contains(fleetActions, c.Action) && slices.Contains(fleetVerdicts, c.Verdict) {
			p.Commands = append(p.Commands, fleetCommand{
				When: w.Day(c.At) + " " + w.At(c.At), What: w.T("fleet.action." + c.Action), By: c.By, Became: w.T("fleet.verdict." + c.Verdict),
			})
		}
	}
}

// levels returns a copy of keys with By in the page's language.
func levels(w *web.Words, keys []state.LayerKey) []state.LayerKey {
	keys = slices.Clone(keys)
	for i := range keys {
		keys[i].By = levelName(w, keys[i].By)
	}
	return keys
}

// levelName translates the name that package layer gives to a level of the fleet into the page's language.
func levelName(w *web.Words, by string) string {
	if kind, name, ok := strings.Cut(by, " "); ok && (kind == "region" || kind == "association") {
		return w.T("fleet.level."+kind, "name", name)
	}
	return w.T("fleet.level.all")
}

// pressFleet does what the pressed button asks for, and redirects to the page.
func (s *Server) pressFleet(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil || !readable(form) || s.Fleet.Status().Fleet == nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	web.Yield(r.Request.Request)
	what, typed := journal.What(""), ""
	switch form.Get(fleetDo) {
	case doJoin:
		typed = form.Get(fleetCode)
		typed = typed[:min(len(typed), maxCode)]
		what, err = journal.FleetAsked, s.Fleet.Join(typed)
	case doLeave:
		what, err = journal.FleetLeft, s.Fleet.Leave()
	case doAccept:
		what, err = journal.ServiceAccepted, s.Fleet.Accept(r.Context(), form.Get(fleetService))
	case doWithdraw:
		what, err = journal.ServiceWithdrawn, s.Fleet.Withdraw(r.Context(), form.Get(fleetService))
	default:
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	if err != nil {
		s.showFleet(w, r, typed, err, http.StatusConflict)
		return
	}
	s.note(r, what)
	r.Lead(w, http.StatusSeeOther, fleetPath)
}
