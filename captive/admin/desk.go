package admin

import (
	"embed"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/admin/guide"
	"passerelle/captive/admin/journal"
	"passerelle/captive/admin/login"
	"passerelle/captive/findings"
	"passerelle/captive/poster"
	"passerelle/captive/voice/agenda"
	"passerelle/captive/web"
)

//go:embed desk/words/*.toml
var deskFiles embed.FS

// deskWords has the words of staff's pages, in all languages. Technicians' pages use them, too.
var deskWords = sub(deskFiles, "desk")

// staffCatalog has staff's pages and words.
var staffCatalog = web.NewCatalog(web.Share{Name: "admin", Files: staffFiles{}}, guide.Share(), findings.Share())

// staffFiles is the file system of staff's catalog: the technicians' pages, with staff's words instead of the technicians'.
type staffFiles struct{}

func (staffFiles) Open(name string) (fs.File, error) {
	if name == "words" || strings.HasPrefix(name, "words/") {
		return deskWords.Open(name)
	}
	return files.Open(name)
}

// sub returns a folder of embedded files. It panics if folder is not a valid path.
func sub(of embed.FS, folder string) fs.FS {
	f, err := fs.Sub(of, folder)
	if err != nil {
		panic(err)
	}
	return f
}

// staffLanguages returns the languages of staff's pages: all of them, the box's own first.
func staffLanguages(own string) *web.Languages {
	return staffCatalog.Offer(append([]string{own}, languages...)...)
}

// Paths of the desk. They are short, so that they can be said on the phone. Pages that staff share with technicians are below
// /admin/.
const (
	deskPath       = "/desk"
	deskSignInPath = "/desk/login"
)

// isDesk reports whether a path is one of the desk's own.
func isDesk(path string) bool { return path == deskPath || strings.HasPrefix(path, deskPath+"/") }

// deskRoutes are staff's pages, besides those of the content. All need the duty welcomes.
var deskRoutes = map[string]techHandler{
	"GET " + deskPath:          (*Server).desk,
	"GET " + deskPath + "/{$}": (*Server).desk,
	"POST " + deskPath:         (*Server).changeDesk,
	"POST /admin/logout":       (*Server).signOut,
	"GET " + guidePath:         (*Server).guide,
	"GET /admin/poster":        (*Server).posterPage,
	"GET /admin/poster/{file}": (*Server).posterPDF,
}

// deskTile is a link on the desk's page.
type deskTile struct {
	web.Door
	Waits bool // somebody waits for staff to act: the tile comes first
}

// deskTiles makes the tiles in the order of the page. A tile with shown false is left out.
var deskTiles = []func(*Server, *request) (tile deskTile, shown bool){
	(*Server).loansTile, (*Server).lendersTile, (*Server).boardTile, (*Server).agendaTile, (*Server).opinionTile, (*Server).posterTile,
	(*Server).doctorTile, (*Server).guideTile,
}

// deskPage is staff's first page: what the box does and why, what to tell residents, and links to the other pages.
type deskPage struct {
	techFrame
	advice
	Tomorrow   string // when a pause until tomorrow would end; "" if there is no button for it
	Paused     bool   // there is a button to resume
	Pauses     bool   // there is a button to pause
	Caps       []capWarning
	Situations []situation
	Tiles      []deskTile
}

// capWarning says that most of a loan is used, and what to do.
type capWarning struct {
	Name  string // of the donation
	Lines []string
}

func (deskPage) Template() string { return "admin/desk" }

func (s *Server) desk(w http.ResponseWriter, r *request) {
	box := s.Box.Status()
	p := deskPage{
		techFrame: s.tech(r, "desk", deskPath, r.Words.T("staff.title")), advice: adviceOf(r.Words, box, r.Now),
		Situations: situationsOf(r.Words, box, r.site), Caps: s.capsSeen.warnings(r.Words, box),
	}
	p.Pauses, p.Paused = pausable(box), box.PausedBy != ""
	if p.Pauses {
		p.Tomorrow = r.Words.T("staff.tomorrow-unknown")
		if !box.Tomorrow.IsZero() {
			p.Tomorrow = r.Words.T("staff.tomorrow-at", "when", r.Words.When(box.Tomorrow.In(r.Now.Location()), r.Now))
		}
	}
	for _, tileOf := range deskTiles {
		if t, ok := tileOf(s, r); ok {
			p.Tiles = append(p.Tiles, t)
		}
	}
	slices.SortStableFunc(p.Tiles, func(a, b deskTile) int {
		switch {
		case a.Waits == b.Waits:
			return 0
		case a.Waits:
			return -1
		}
		return 1
	})
	s.serve(w, r, p, http.StatusOK)
}

func (s *Server) boardTile(r *request) (t deskTile, shown bool) {
	t.Door = web.Door{Href: boardPath, Pictogram: "accompany", Title: r.Words.T("notices.title"), Text: r.Words.T("notices.none")}
	b, err := s.Content.Desk.Board()
	if err != nil {
		s.Log.Error("read the board", "err", err)
	} else if n := len(b.Waiting()); n > 0 {
		t.Text, t.Waits = r.Words.Count("notice-waits", n), true
	}
	return t, true
}

func (s *Server) agendaTile(r *request) (t deskTile, shown bool) {
	t.Door = web.Door{Href: agendaPath, Pictogram: "calendar", Title: r.Words.T("dates.title"), Text: r.Words.T("dates.none")}
	events, _ := s.Content.Desk.Agenda().Events() // the agenda's page reports the errors
	for _, o := range agenda.Occurrences(events, r.Now, startOfDay(r.Now).AddDate(0, 0, agendaDays)) {
		if !o.Cancelled && o.MovedTo.IsZero() {
			t.Text = r.Words.T("staff.next", "title", o.Title, "day", dateOf(r.Words, o.Start))
			break
		}
	}
	return t, true
}

func (s *Server) opinionTile(r *request) (t deskTile, shown bool) {
	t.Door = web.Door{Href: opinionPath, Pictogram: "speech", Title: r.Words.T("asking.title"), Text: r.Words.T("asking.none")}
	q, err := s.Content.Desk.Question()
	if err != nil {
		s.Log.Error("read the question", "err", err)
	} else if q != nil {
		t.Text = q.Text
	}
	return t, true
}

func (s *Server) posterTile(r *request) (t deskTile, shown bool) {
	t.Door = web.Door{Href: posterPath, Pictogram: "printer", Title: r.Words.T("print.title"), Text: r.Words.T("staff.poster")}
	return t, true
}

// Values of the form field "do": what to do with the sharing, or with a warning.
const (
	pauseNow      = "pause"
	pauseTomorrow = "tomorrow"
	resumeNow     = "resume"
	seenCap       = "seen"
)

// capsSeen records for which donations staff have dismissed the warning that most of the cap is used, with the start of that
// period. It is in memory only: after a restart the warnings appear once more.
type capsSeen struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

// warnings returns the warnings that nobody has dismissed in this period.
func (c *capsSeen) warnings(w *web.Words, box state.Status) (all []capWarning) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range box.Donations {
		if !mostlyUsed(d) {
			delete(c.seen, d.Name) // the entry is from an earlier period, or from a lower cap
			continue
		}
		if begun, ok := c.seen[d.Name]; !ok || !begun.Equal(d.PeriodStart) {
			left, _ := d.Split()
			all = append(all, capWarning{Name: d.Name, Lines: w.Lines(
				"staff.cap", "name", d.Name, "percent", strconv.Itoa(usedShare(d)), "size", w.Size(left),
			)})
		}
	}
	return all
}

// see dismisses the warning of a donation for this period.
func (c *capsSeen) see(name string, box state.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range box.Donations {
		if d.Name == name && mostlyUsed(d) {
			if c.seen == nil {
				c.seen = map[string]time.Time{}
			}
			c.seen[name] = d.PeriodStart
		}
	}
}

// changeDesk pauses or resumes sharing, or dismisses a warning.
func (s *Server) changeDesk(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	if form.Get("do") == seenCap {
		s.capsSeen.see(form.Get("name"), s.Box.Status())
		r.Lead(w, http.StatusSeeOther, deskPath)
		return
	}
	by, what := string(r.role), journal.Resumed
	switch form.Get("do") {
	case pauseNow:
		what, err = journal.Paused, s.Box.Pause(r.Context(), by)
	case pauseTomorrow:
		what, err = journal.PausedTo, s.Box.PauseUntilTomorrow(r.Context(), by)
	case resumeNow:
		err = s.Box.Resume(r.Context())
	default:
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	if err != nil {
		s.failed(w, r, "pause or resume sharing", err)
		return
	}
	s.note(r, what)
	r.Lead(w, http.StatusSeeOther, deskPath)
}

// deskSignInForm is staff's page to sign in.
type deskSignInForm struct {
	web.Frame
	Closed bool   // there is no code, so staff cannot sign in
	To     string // the page to show after signing in
	Wrong  string // as in signInForm
	Wait   string
	Other  string // the technicians' page to sign in

	Fingerprint []string
}

func (deskSignInForm) Template() string { return "admin/desk-login" }

func (s *Server) newDeskSignIn(r *request, to string) deskSignInForm {
	return deskSignInForm{
		Frame: r.Frame(deskSignInPath, r.Words.T("staff.sign-in")), Closed: !s.Logins.HasDesk(), To: to, Other: signInPath,
		Fingerprint: s.fingerprint(),
	}
}

func (s *Server) deskSignInPage(w http.ResponseWriter, hr *http.Request) {
	r := s.staffRequest(hr)
	to := hr.URL.Query().Get("to")
	if role, ok := s.roleOf(loginOf(hr)); ok && (role == config.RoleStaff || s.barred(r) == "") {
		http.Redirect(w, hr, returnPath(to, deskPath), http.StatusSeeOther)
		return
	}
	s.serve(w, r, s.newDeskSignIn(r, to), http.StatusOK)
}

// deskSignIn checks the desk's code.
func (s *Server) deskSignIn(w http.ResponseWriter, hr *http.Request) {
	r := s.staffRequest(hr)
	if !web.FromOurPages(hr) {
		s.refuse(w, r, http.StatusForbidden)
		return
	}
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	web.Yield(hr)
	token, err := s.Logins.SignInStaff(r.Context(), r.Client, form.Get("code"))
	if err == nil {
		s.setCookie(w, token, 0)
		http.Redirect(w, hr, returnPath(form.Get("to"), deskPath), http.StatusSeeOther)
		return
	}
	if r.Context().Err() != nil {
		return // the client is gone
	}
	p, status := s.newDeskSignIn(r, form.Get("to")), http.StatusForbidden
	if p.Wrong, p.Wait = signInProblem(r.Words, err); p.Wait != "" {
		status = http.StatusTooManyRequests
	}
	s.serve(w, r, p, status)
}

// staffRequest returns a request in one of the languages of staff's pages.
func (s *Server) staffRequest(hr *http.Request) *request {
	r := s.request(hr)
	r.Head, r.desk = s.current().staff(), true
	r.Negotiate()
	return r
}

const deskCodePath = "/admin/desk"

// deskCodePage is the page on which a technician makes the desk's code, or removes it. The code is shown once, on a card.
type deskCodePage struct {
	techFrame
	Up   web.Link
	Open bool // there is a code
	Card *deskCard
}

// deskCard is what staff need to sign in.
type deskCard struct {
	Code, Host string
	QR         poster.Code // leads to the desk
}

func (deskCodePage) Template() string { return "admin/desk-code" }

func (s *Server) deskCodePage(w http.ResponseWriter, r *request) {
	s.serve(w, r, s.newDeskCode(r), http.StatusOK)
}

func (s *Server) newDeskCode(r *request) deskCodePage {
	return deskCodePage{
		techFrame: s.tech(r, "settings", deskCodePath, r.Words.T("desk-code.title")),
		Up:        web.Link{Href: settingsPath, Text: r.Words.T("settings.title")}, Open: s.Logins.HasDesk(),
	}
}

// changeDeskCode renews the code, or removes it.
func (s *Server) changeDeskCode(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	web.Yield(r.Request.Request)
	switch form.Get("do") {
	case "renew":
		s.renewDeskCode(w, r)
	case "close":
		if err := s.Logins.CloseDesk(); err != nil {
			s.failed(w, r, "remove the desk's code", err)
			return
		}
		s.note(r, journal.DeskShut)
		r.Lead(w, http.StatusSeeOther, deskCodePath)
	default:
		s.refuse(w, r, http.StatusBadRequest)
	}
}

// renewDeskCode makes a new code, and shows it. Only this one response contains it.
func (s *Server) renewDeskCode(w http.ResponseWriter, r *request) {
	code, err := poster.NewCode("http://" + r.site.Hostname + deskPath)
	if err != nil {
		s.failed(w, r, "draw the desk's address", err)
		return
	}
	fresh, err := s.Logins.RenewDesk()
	if errors.Is(err, login.ErrNoPassword) { // a factory reset began meanwhile
		s.refuse(w, r, http.StatusConflict)
		return
	}
	if err != nil {
		s.failed(w, r, "renew the desk's code", err)
		return
	}
	s.note(r, journal.DeskCode)
	p := s.newDeskCode(r)
	p.Card = &deskCard{Code: fresh, Host: r.site.Hostname, QR: code}
	s.serve(w, r, p, http.StatusOK)
}
