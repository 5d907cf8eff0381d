package admin

import (
	"context"
	"embed"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"passerelle/appliance/config"
	"passerelle/captive/admin/guide"
	"passerelle/captive/admin/journal"
	"passerelle/captive/admin/login"
	"passerelle/captive/findings"
	"passerelle/captive/web"
)

//go:embed pages/*.html pages/*.css words/*.toml
var files embed.FS

// catalog has the technicians' pages and words: in French and English only, unlike lenders' and staff's.
var catalog = web.NewCatalog(web.Share{Name: "admin", Files: files}, web.Share{Name: "desk", Files: deskWords}, guide.Share(), findings.Share())

// Configuration reads and changes the box's configuration. Its methods are safe for concurrent use.
type Configuration interface {
	// Read returns the file's text. Without a file the text is nil and the revision "".
	Read() (text []byte, r config.Revision, err error)
	// Apply replaces the file if it still has revision r, and applies the text to the box. It records the change, and the side
	// that it comes from.
	Apply(ctx context.Context, text []byte, r config.Revision, from config.Side) (config.Result, error)
	// Confirm confirms the last change, so that it is not undone. The error is fs.ErrNotExist if no change waits for that.
	Confirm() error
	// Effect returns what a change does to the people on the hotspot.
	Effect(before, after *config.Config) Effect
	// Until returns when the last change will be undone. ok is false if no change waits for a confirmation.
	Until() (t time.Time, ok bool)
	// Versions returns the earlier versions, newest first. Version returns the text of one of them.
	Versions() ([]config.Version, error)
	Version(r config.Revision) ([]byte, error)
}

// Effect is what a change of the configuration does to the people on the hotspot.
type Effect string

// The effects.
const (
	Undisturbed Effect = "undisturbed" // they notice nothing but the change itself
	Restarts    Effect = "restarts"    // the box restarts, and they continue after it
	ShutsOut    Effect = "shuts-out"   // they notice nothing, but the change is undone unless a technician confirms it
	CutsOff     Effect = "cuts-off"    // the hotspot restarts: the change is undone unless a technician confirms it
)

// cookie is the name of the login's cookie. With the prefix __Host- browsers accept it only over https, from this host, and for all
// paths (draft-ietf-httpbis-rfc6265bis, section 4.1.3.2).
const cookie = "__Host-login"

const (
	adminPath  = "/admin/"
	signInPath = "/admin/login"

	maxForm = 64 << 10 // bytes: the configuration's text is the largest field
)

// techHandler answers a request of somebody who is signed in and may see the page.
type techHandler func(*Server, http.ResponseWriter, *request)

// techRoutes are the technicians' pages. GET shows, POST changes; both need a login.
var techRoutes = map[string]techHandler{
	"GET /admin/{$}":       (*Server).home,
	"POST /admin/pause":    (*Server).pauseSharing,
	"POST /admin/resume":   (*Server).resumeSharing,
	"POST /admin/donation": (*Server).pauseDonation,
	"POST /admin/clock":    (*Server).confirmClock,
	"POST /admin/confirm":  (*Server).confirmChange,
	"GET /admin/password":  (*Server).passwordPage,
	"POST /admin/password": (*Server).changePassword,
	"GET /admin/journal":   (*Server).journal,

	"GET /admin/setup":         (*Server).setup,
	"GET /admin/setup/{step}":  (*Server).setupPage,
	"POST /admin/setup/{step}": (*Server).answerSetup,

	"GET /admin/settings":                   (*Server).settings,
	"GET /admin/settings/{group}":           (*Server).settingsGroup,
	"POST /admin/settings/{group}":          (*Server).prepareGroup,
	"GET /admin/settings/donations":         (*Server).donations,
	"POST /admin/settings/donations/move":   (*Server).moveDonation,
	"POST /admin/settings/donations/remove": (*Server).removeDonation,
	"GET /admin/settings/donation/{number}": (*Server).donation,
	"POST /admin/settings/donation":         (*Server).prepareDonation,
	"POST /admin/settings/save":             (*Server).saveSettings,
	"GET /admin/settings/text":              (*Server).settingsText,
	"POST /admin/settings/text":             (*Server).prepareText,
	"GET /admin/settings/text/download":     (*Server).downloadText,
	"GET /admin/settings/versions":          (*Server).versions,
	"POST /admin/settings/versions":         (*Server).prepareVersion,

	"GET " + deskCodePath:  (*Server).deskCodePage,
	"POST " + deskCodePath: (*Server).changeDeskCode,
}

// technicianRoutes registers the pages that need a login, and the pages to sign in.
func (s *Server) technicianRoutes() {
	for pattern, h := range techRoutes {
		s.signedIn(pattern, dutyRoute{configures, h})
	}
	for pattern, h := range fleetRoutes {
		s.signedIn(pattern, dutyRoute{configures, h})
	}
	for pattern, h := range updateRoutes {
		s.signedIn(pattern, dutyRoute{configures, h})
	}
	for pattern, h := range backupRoutes {
		s.signedIn(pattern, dutyRoute{configures, h})
	}
	for pattern, h := range stickRoutes {
		s.signedIn(pattern, dutyRoute{configures, h})
	}
	for pattern, route := range contentRoutes {
		s.signedIn(pattern, route)
	}
	for pattern, route := range doctorRoutes {
		s.signedIn(pattern, route)
	}
	for pattern, h := range loanRoutes {
		s.signedIn(pattern, dutyRoute{welcomes, h})
	}
	for pattern, h := range deskRoutes {
		s.signedIn(pattern, dutyRoute{welcomes, h})
	}
	s.technicians("GET "+signInPath, s.signInPage)
	s.technicians("POST "+signInPath, s.signIn)
	s.handle("GET "+deskSignInPath, s.deskSignInPage)
	s.handle("POST "+deskSignInPath, s.deskSignIn)
}

// signedIn registers a page for people who are signed in, in a role that has the page's duty. For technicians the configuration
// (admin.access) restricts from where and when the pages are open; for staff they are always open.
func (s *Server) signedIn(pattern string, route dutyRoute) {
	s.handle(pattern, func(w http.ResponseWriter, hr *http.Request) {
		role, ok := s.roleOf(loginOf(hr))
		r := s.techRequest(hr)
		why := ""
		if role != config.RoleStaff {
			why = s.barred(r)
		}
		if role == config.RoleStaff || (!ok || why != "") && route.duty == welcomes {
			r = s.staffRequest(hr)
		}
		r.role = role
		switch {
		case why != "" && route.duty != welcomes:
			s.bar(w, r, why)
		case hr.Method == http.MethodPost && !web.FromOurPages(hr):
			s.refuse(w, r, http.StatusForbidden)
		case !ok || why != "":
			s.mustSignIn(w, r, route.duty)
		case !may(role, route.duty):
			s.notYours(w, r)
		default:
			route.handler(s, w, r)
		}
	})
}

// technicians registers a page for technicians, signed in or not. It is closed where and when technicians have no access.
func (s *Server) technicians(pattern string, h func(http.ResponseWriter, *request)) {
	s.handle(pattern, func(w http.ResponseWriter, hr *http.Request) {
		r := s.techRequest(hr)
		if why := s.barred(r); why != "" {
			s.bar(w, r, why)
			return
		}
		h(w, r)
	})
}

// techRequest returns a request in one of the languages of technicians' pages.
func (s *Server) techRequest(hr *http.Request) *request {
	r := s.request(hr)
	r.Head = &s.current().technicians
	r.Negotiate()
	return r
}

// technicianLanguages returns the languages of technicians' pages. English is first if it is the box's own language.
func technicianLanguages(own string) *web.Languages {
	if own == "en" {
		return catalog.Offer("en", "fr")
	}
	return catalog.Offer("fr", "en")
}

// loginOf returns the token of a request's login, "" for none.
func loginOf(r *http.Request) string {
	c, err := r.Cookie(cookie)
	if err != nil {
		return ""
	}
	return c.Value
}

// mustSignIn redirects to the page to sign in, which leads back to the page that was requested. For a page that staff have it is
// staff's page to sign in.
//
// A browser sends the cookie only with requests from our own pages (SameSite=Strict). When another page links here, such as the
// residents' page on plain http, the cookie is missing. So the answer is a page that reloads itself once.
func (s *Server) mustSignIn(w http.ResponseWriter, r *request, d duty) {
	if r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		p := techNotice{Frame: r.Frame(r.URL.Path, homeOf(r).Text), Again: true}
		p.Refresh = 1
		s.serve(w, r, p, http.StatusOK)
		return
	}
	path, home := signInPath, adminPath
	if d == welcomes {
		path, home = deskSignInPath, deskPath
	}
	if r.Method == http.MethodGet && r.URL.Path != home {
		path += "?" + url.Values{"to": {r.URL.Path}}.Encode()
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r.Request.Request, path, http.StatusSeeOther)
}

// returnPath returns the page to show after signing in: to if it is one of our pages, else home. That prevents open redirects.
func returnPath(to, home string) string {
	if u, err := url.Parse(to); err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" ||
		!strings.HasPrefix(u.Path, adminPath) && !isDesk(u.Path) || strings.Contains(u.Path, "//") || strings.Contains(u.Path, "\\") {
		return home
	}
	return to
}

// techFrame is what technicians' and staff's pages have around their content.
type techFrame struct {
	web.Frame
	Here  string    // name of the part that this page belongs to
	Parts []part    // the menu; none for staff, and before signing in
	Until time.Time // when the last change will be undone; zero if no change waits for a confirmation
}

// part is an entry of the technicians' menu.
type part struct{ Name, Href, Pictogram string }

var parts = []part{
	{"home", adminPath, "house"},
	{"desk", deskPath, "people"},
	{"content", contentPath, "book"},
	{"settings", settingsPath, "sliders"},
	{"poster", posterPath, "printer"},
}

// tech returns the frame of a page. Staff have no menu, since the desk's page links to all of theirs, and they confirm no changes.
func (s *Server) tech(r *request, here, path, title string) techFrame {
	f := techFrame{Frame: r.Frame(path, title), Here: here}
	if !may(r.role, configures) {
		return f
	}
	f.Parts = parts
	if until, ok := s.Configuration.Until(); ok {
		f.Until = until
	}
	return f
}

// signInForm is the page to sign in, or to choose the first password with the setup code.
type signInForm struct {
	web.Frame
	First bool   // there is no password yet
	Code  string // the setup code as typed, if only the password was wrong
	To    string // the page to show after signing in
	Wrong string // what was wrong, "" for nothing
	Wait  string // how long this device must wait

	Fingerprint []string // of the certificate, in groups
}

func (signInForm) Template() string { return "admin/login" }

// techNotice reloads itself, or says that something was refused.
type techNotice struct {
	web.Frame
	Again bool // the page reloads itself
	Lines []string
	Back  web.Link
}

func (techNotice) Template() string { return "admin/notice" }

func (s *Server) signInPage(w http.ResponseWriter, r *request) {
	if role, ok := s.roleOf(loginOf(r.Request.Request)); ok && role == config.RoleTechnician {
		http.Redirect(w, r.Request.Request, returnPath(r.URL.Query().Get("to"), adminPath), http.StatusSeeOther)
		return
	}
	s.serve(w, r, s.newSignIn(r, r.URL.Query().Get("to"), ""), http.StatusOK)
}

func (s *Server) newSignIn(r *request, to, wrong string) signInForm {
	first := s.Logins.Code() != ""
	title := "login.title"
	if first {
		title = "login.first"
	}
	return signInForm{Frame: r.Frame(signInPath, r.Words.T(title)), First: first, To: to, Wrong: wrong, Fingerprint: s.fingerprint()}
}

// signIn checks a password, or the setup code with a first password.
func (s *Server) signIn(w http.ResponseWriter, r *request) {
	if !web.FromOurPages(r.Request.Request) {
		s.refuse(w, r, http.StatusForbidden)
		return
	}
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	web.Yield(r.Request.Request)
	var token string
	code, password := form.Get("code"), form.Get("password")
	if s.Logins.Code() != "" {
		if token, err = s.Logins.Start(r.Context(), r.Client, code, password); err == nil {
			s.note(r, journal.Password)
		}
	} else {
		token, err = s.Logins.SignIn(r.Context(), r.Client, password)
	}
	if err == nil {
		s.setCookie(w, token, 0)
		http.Redirect(w, r.Request.Request, returnPath(form.Get("to"), adminPath), http.StatusSeeOther)
		return
	}
	p, status := s.newSignIn(r, form.Get("to"), ""), http.StatusForbidden
	p.Wrong, p.Wait = signInProblem(r.Words, err)
	if errors.As(err, new(login.WeakError)) {
		p.Code = code
	}
	switch {
	case r.Context().Err() != nil:
		return // the client is gone
	case p.Wait != "":
		status = http.StatusTooManyRequests
	case p.Wrong == "":
		s.Log.Error("sign in a technician", "err", err)
		p.Wrong, status = r.Words.T("login.failed"), http.StatusInternalServerError
	}
	s.serve(w, r, p, status)
}

// signInProblem says what was wrong with a sign-in, and how long the device must wait.
func signInProblem(w *web.Words, err error) (wrong, wait string) {
	var waits *login.WaitError
	var weak login.WeakError
	switch {
	case errors.As(err, &waits):
		return w.T("login.wait"), w.Duration(waits.For + time.Minute/2)
	case errors.As(err, &weak):
		return w.T("login.weak." + string(weak)), ""
	case errors.Is(err, login.ErrWrong):
		return w.T("login.wrong"), ""
	case errors.Is(err, login.ErrDone):
		return w.T("login.done"), ""
	case errors.Is(err, login.ErrBusy):
		return w.T("login.busy"), ""
	}
	return "", ""
}

// setCookie sets the login's cookie. A negative age removes it.
func (s *Server) setCookie(w http.ResponseWriter, token string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookie, Value: token, Path: "/", MaxAge: age, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	w.Header().Set("Cache-Control", "no-store")
}

func (s *Server) signOut(w http.ResponseWriter, r *request) {
	s.Logins.SignOut(loginOf(r.Request.Request))
	s.setCookie(w, "", -1)
	path := signInPath
	if r.role == config.RoleStaff {
		path = deskSignInPath
	}
	r.Lead(w, http.StatusSeeOther, path)
}

// refuse says that a request did not come from our pages, or has no readable form.
func (s *Server) refuse(w http.ResponseWriter, r *request, status int) {
	w.Header().Set("Connection", "close")
	s.serve(w, r, techNotice{
		Frame: r.Frame(r.URL.Path, r.Words.T("refused.title")), Lines: r.Words.Lines("admin.refused"), Back: homeOf(r),
	}, status)
}

// notYours says that a page is not for staff.
func (s *Server) notYours(w http.ResponseWriter, r *request) {
	lines := r.Words.Lines("staff.not-yours")
	s.serve(w, r, techNotice{Frame: r.Frame(r.URL.Path, lines[0]), Lines: lines[1:], Back: homeOf(r)}, http.StatusForbidden)
}

// homeOf returns the link to the first page of the reader's role.
func homeOf(r *request) web.Link {
	if r.desk {
		return web.Link{Href: deskPath, Text: r.Words.T("staff.back")}
	}
	return web.Link{Href: adminPath, Text: r.Words.T("admin.back")}
}

// done redirects to a page after a change.
func (s *Server) done(w http.ResponseWriter, r *request, path string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r.Request.Request, path, http.StatusSeeOther)
}

// failed says that a change failed, and logs why.
func (s *Server) failed(w http.ResponseWriter, r *request, what string, err error) {
	if r.Context().Err() != nil {
		return // the client is gone
	}
	s.Log.Error(what, "err", err)
	s.serve(w, r, techNotice{
		Frame: r.Frame(r.URL.Path, r.Words.T("error.title")), Lines: r.Words.Lines("admin.failed"), Back: homeOf(r),
	}, http.StatusInternalServerError)
}
