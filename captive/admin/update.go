package admin

import (
	"cmp"
	"net/http"
	"slices"

	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/web"
)

// Updates bring the box's own system. Its methods are safe for concurrent use.
type Updates interface {
	// Status tells what runs and what comes; nil on a machine without slots.
	Status() *state.Updates
	// Look asks the configured address for a newer release now. FromStick takes one from a USB stick; expired passes over the expiry
	// of its signatures. Other restarts the box into the other slot. The errors say why it cannot be done now.
	Look() error
	FromStick(expired bool) error
	Other() error
}

const (
	updatePath = "/admin/update"

	updateDo = "do" // and one of these:
	doLook   = "look"
	doStick  = "stick"
	doExpire = "expired"
	doOther  = "other"
)

// updateRoutes are the page of updates and its presses.
var updateRoutes = map[string]techHandler{
	"GET " + updatePath:  (*Server).update,
	"POST " + updatePath: (*Server).pressUpdate,
}

// updatePage shows which system runs and what comes in its place.
type updatePage struct {
	techFrame
	None    bool     // the machine has no slots
	Lines   []string // what runs
	Fell    []string // the box went back from a system
	FellWhy string   // in English
	Next    []string // what comes, and when
	Busy    bool
	Wrong   string // of the last request or press, in the page's language
	Why     string // likewise, in English
	Mirror  bool   // there is an address to ask
	Old     bool   // only the expiry of its signatures is in the way of a stick
	Other   bool   // there may be another system
}

func (updatePage) Template() string { return "admin/update" }

func (s *Server) update(w http.ResponseWriter, r *request) {
	s.showUpdate(w, r, nil, http.StatusOK)
}

// showUpdate shows the page, with the error of a press.
func (s *Server) showUpdate(w http.ResponseWriter, r *request, failed error, status int) {
	p := updatePage{techFrame: s.tech(r, "settings", updatePath, r.Words.T("update.title"))}
	u := s.Updates.Status()
	if p.None = u == nil; !p.None {
		p.describe(r.Words, *u)
	}
	if failed != nil {
		p.Wrong, p.Why = r.Words.T("update.wrong.now"), failed.Error()
	}
	s.serve(w, r, p, status)
}

// updateWrong are the words for why a request failed, by the codes of package agent.
var updateWrong = map[string]string{
	"busy": "busy", "stick": "no-stick", "unfit": "unfit", "blocked": "blocked", "ran": "ran", "root": "root",
	"expired": "expired", "unsigned": "unsigned", "older": "older", "damaged": "damaged", "missing": "damaged",
}

// updateWaits are the words for why something is not done now, as packages updates and rollout have them.
var updateWaits = []string{"residents", "hours", "clock", "quiet", "later", "halted"}

func (p *updatePage) describe(w *web.Words, u state.Updates) {
	p.Busy, p.Mirror, p.Other, p.Old = u.Busy, u.From != "", u.Other != "" || u.FellBack != "" || u.Ready, u.Code == "expired"
	if u.Busy {
		p.Refresh = 5
	}
	switch {
	case !u.Read:
		p.Lines = w.Lines("update.unread")
	case u.Version == "":
		p.Lines = w.Lines("update.unnamed")
	default:
		p.Lines = w.Lines("update.runs", "version", u.Version)
	}
	if u.Other != "" {
		p.Lines = append(p.Lines, w.T("update.beside", "version", u.Other))
	}
	if u.FellBack != "" {
		if p.Fell, p.FellWhy = w.Lines("update.fell"), u.FellBackWhy; u.FellBackWhy == "" {
			p.Fell = append(p.Fell, w.T("update.fell-silent"))
		}
	}
	switch {
	case u.Ready && !u.Auto:
		p.Next = w.Lines("update.ready-press")
	case u.Ready && u.Starts == "":
		p.Next = w.Lines("update.ready-now")
	case u.Ready:
		p.Next = append(w.Lines("update.ready"), w.T("update.waits."+u.Starts))
	case u.Size != 0 && !u.Current:
		p.Next = w.Lines("update.coming", "version", u.Newest, "done", w.Size(u.Done), "size", w.Size(u.Size))
	case u.Current && !u.Checked.IsZero():
		p.Next = w.Lines("update.newest", "day", w.Day(u.Checked), "at", w.At(u.Checked))
	}
	if slices.Contains(updateWaits, u.Fetches) && !u.Ready && !u.Busy && p.Mirror {
		if u.Fetches == "later" || u.Fetches == "halted" {
			p.Next = append(p.Next, w.T("update.exists", "version", u.Newest))
		}
		p.Next = append(p.Next, w.T("update.waits."+u.Fetches))
	}
	if u.Error != "" && !u.Busy {
		p.Wrong, p.Why = w.T("update.wrong."+cmp.Or(updateWrong[u.Code], "failed")), u.Error
	}
}

// pressUpdate does what a press asks for, and leads back to the page, which shows how it goes.
func (s *Server) pressUpdate(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil || s.Updates.Status() == nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	what := journal.What("")
	switch form.Get(updateDo) {
	case doLook:
		what, err = journal.UpdateLook, s.Updates.Look()
	case doStick:
		what, err = journal.UpdateStick, s.Updates.FromStick(false)
	case doExpire:
		what, err = journal.UpdateExpired, s.Updates.FromStick(true)
	case doOther:
		what, err = journal.OtherSystem, s.Updates.Other()
	default:
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	if err != nil {
		s.showUpdate(w, r, err, http.StatusConflict)
		return
	}
	s.note(r, what)
	r.Lead(w, http.StatusSeeOther, updatePath)
}
