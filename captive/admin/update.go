package admin

import (
	"cmp"
	"net/http"
	"slices"

	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/web"
)

// Updates installs releases of the box's own system. Its methods are safe for concurrent use.
type Updates interface {
	// Status returns which release runs and which one comes next, or nil on a machine without slots.
	Status() *state.Updates
	// Look asks the configured mirror for a newer release now. FromStick installs one from a USB stick; with expired it accepts
	// signatures that have expired. Other restarts the box into the other slot. The errors say why it cannot be done now.
	Look() error
	FromStick(expired bool) error
	Other() error
}

const (
	updatePath = "/admin/update"

	updateDo = "do" // the name of the field; its values:
	doLook   = "look"
	doStick  = "stick"
	doExpire = "expired"
	doOther  = "other"
)

// updateRoutes are the page of updates and its buttons.
var updateRoutes = map[string]techHandler{
	"GET " + updatePath:  (*Server).update,
	"POST " + updatePath: (*Server).pressUpdate,
}

// updatePage shows which release runs, and which one comes next.
type updatePage struct {
	techFrame
	None    bool     // the machine has no slots
	Lines   []string // the release that runs
	Fell    []string // says that the box fell back to the previous release
	FellWhy string   // in English
	Next    []string // the next release, and when it starts
	Busy    bool
	Wrong   string // why the last request failed, in the page's language
	Why     string // the same in English
	Mirror  bool   // a mirror is configured
	Old     bool   // the last release was refused only because its signatures have expired
	Other   bool   // the other slot may have a release
}

func (updatePage) Template() string { return "admin/update" }

func (s *Server) update(w http.ResponseWriter, r *request) {
	s.showUpdate(w, r, nil, http.StatusOK)
}

// showUpdate shows the page, with the error of the last request if it failed.
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

// updateWrong has the words for why a request failed, by the codes of package agent.
var updateWrong = map[string]string{
	"busy": "busy", "stick": "no-stick", "unfit": "unfit", "blocked": "blocked", "ran": "ran", "root": "root",
	"expired": "expired", "unsigned": "unsigned", "older": "older", "damaged": "damaged", "missing": "damaged",
}

// updateWaits are the words of packages updates and rollout for why something is not done now.
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

// pressUpdate does what the pressed button asks for, and redirects to the page, which shows the progress.
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
