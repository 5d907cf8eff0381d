// Package dashboard is a hub's pages for the people of a federation: what boxes report, what needs attention, and what a person may ask of
// a box. It owns the pages, their words, the map, who may see and do what, and the logins. It must not know servers, streams or files: it
// reads a survey, and changes the fleet through an interface.
//
// Pages are rendered on the hub, need no script, load nothing from other hosts, and have the frame of all pages of the product. A person of
// an association sees and changes the boxes of that association only. To them, other boxes do not exist.
//
// # Codes
//
// A person signs in with a code of 50 bits. The hubs store a hash of it, keyed with a key of their own. Package attempts limits the rate of
// wrong codes, for each address and for all. A login is in this hub's memory only. It ends after some hours, or when the person's code ends.
// Its cookie is one that browsers send only with requests from these pages.
package dashboard

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"passerelle/captive/findings"
	"passerelle/captive/web"
	"passerelle/cmd/hub/attempts"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/survey"
)

//go:embed pages/*.html pages/*.css words/*.toml
var files embed.FS

var catalog = web.NewCatalog(web.Share{Name: "dashboard", Files: files}, findings.Share())

// Registry is what the pages need of the registry.
type Registry interface {
	Person(ctx context.Context, code string) (registry.Person, bool, error)
	Confirm(ctx context.Context, author, box string, words []string) error
	Revoke(ctx context.Context, author, box string) error
	Place(ctx context.Context, author, box, centre, department string) error
	PutCommand(ctx context.Context, author, association, box string, body []byte) error
	Rollout(ctx context.Context) (registry.Rollout, bool, error)
	ChangeRollout(ctx context.Context, author, did string, edit func(*registry.Rollout) error) error
}

// Survey is what the pages show.
type Survey interface {
	Boxes() []survey.Box
	Associations() map[string]string // region by association
}

// Options of a dashboard.
type Options struct {
	Registry   Registry
	Survey     Survey
	Federation string   // its name
	Hosts      []string // names and addresses by which browsers may call this hub
	Now        func() time.Time
	Log        *slog.Logger
}

// Server is the http.Handler of the pages.
type Server struct {
	Options
	head   web.Head
	routes *http.ServeMux
	limit  *attempts.Limit
	logins logins
}

// New returns the handler.
func New(o Options) *Server {
	s := &Server{Options: o, routes: http.NewServeMux(), limit: &attempts.Limit{Now: o.Now}}
	s.head = web.Head{Centre: o.Federation, Languages: catalog.Offer("fr", "en")}
	s.logins.now = o.Now
	s.routes.HandleFunc("GET "+pathLogin, s.open(s.signInPage))
	s.routes.HandleFunc("POST "+pathLogin, s.open(s.signIn))
	for pattern, h := range map[string]func(http.ResponseWriter, *request){
		"GET /{$}":                 s.home,
		"GET /attention":           s.attention,
		"GET /association/{name}":  s.association,
		"GET /box/{name}":          s.box,
		"POST /box/{name}/confirm": s.confirm,
		"POST /box/{name}/place":   s.place,
		"POST /box/{name}/command": s.command,
		"GET /box/{name}/revoke":   s.askRevoke,
		"POST /box/{name}/revoke":  s.revoke,
		"GET /releases":            s.releases,
		"GET " + pathRollout:       s.rollout,
		"POST " + pathRollout:      s.changeRollout,
		"GET /sums":                s.sums,
		"GET /sums/passerelle.csv": s.sumsCSV,
		"POST /logout":             s.signOut,
		"/":                        s.missing,
	} {
		s.routes.HandleFunc(pattern, s.signedIn(h))
	}
	return s
}

const (
	pathHome  = "/"
	pathLogin = "/login"

	pathRollout = "/releases/rollout"

	maxForm  = 4 << 10 // bytes
	patience = 10 * time.Second
)

// ServeHTTP answers only requests for the hub's own names, against DNS rebinding: another site's page cannot read these pages through a name
// that resolves to this hub.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, host := range s.Hosts {
		if web.IsOwnHost(r, "443", host, host) {
			s.routes.ServeHTTP(w, r)
			return
		}
	}
	http.Error(w, http.StatusText(http.StatusMisdirectedRequest), http.StatusMisdirectedRequest)
}

// request is a person's request.
type request struct {
	web.Request
	person registry.Person
	token  string // the login's, from the cookie
}

// sees tells whether the person may know of a box or an association.
func (r *request) sees(association string) bool {
	return r.person.Association == "" || r.person.Association == association
}

// boxes returns the boxes that the person sees.
func (s *Server) boxes(r *request) (seen []survey.Box) {
	for _, b := range s.Survey.Boxes() {
		if r.sees(b.Association) {
			seen = append(seen, b)
		}
	}
	return seen
}

func (s *Server) request(hr *http.Request) *request {
	r := &request{Request: web.Request{Request: hr, Head: &s.head, Now: s.Now()}}
	if from, err := netip.ParseAddrPort(hr.RemoteAddr); err == nil {
		r.Client = from.Addr().Unmap()
	}
	r.Negotiate()
	return r
}

// open serves a page that needs no login.
func (s *Server) open(h func(http.ResponseWriter, *request)) http.HandlerFunc {
	return func(w http.ResponseWriter, hr *http.Request) { h(w, s.request(hr)) }
}

// cookie is the name of the login's cookie. With this prefix, browsers accept it only over https, from this host, and for all paths
// (draft-ietf-httpbis-rfc6265bis, section 4.1.3.2).
const cookie = "__Host-hub"

// signedIn serves a page to a person who is signed in, and redirects others to the login page.
func (s *Server) signedIn(h func(http.ResponseWriter, *request)) http.HandlerFunc {
	return func(w http.ResponseWriter, hr *http.Request) {
		r := s.request(hr)
		if c, err := hr.Cookie(cookie); err == nil {
			r.token = c.Value
		}
		ctx, stop := context.WithTimeout(hr.Context(), patience)
		defer stop()
		r.Request.Request = hr.WithContext(ctx)
		code, ok := s.logins.code(r.token)
		if ok {
			var err error
			// The code is looked up for each request, so that a person whose code has ended is out at once, at every hub.
			if r.person, ok, err = s.Registry.Person(ctx, code); err != nil {
				s.failed(w, r, "look a person up", err)
				return
			}
		}
		switch {
		case hr.Method == http.MethodPost && !web.FromOurPages(hr):
			s.explain(w, r, http.StatusForbidden, "hub.refused", pathHome)
		case !ok:
			var query url.Values
			if hr.Method == http.MethodGet && hr.URL.Path != pathHome {
				query = url.Values{"to": {hr.URL.Path}}
			}
			s.lead(w, r, pathLogin, query)
		default:
			h(w, r)
		}
	}
}

// lead redirects to a page (303, so that it works after a POST, too). It keeps the language that a link chose.
func (s *Server) lead(w http.ResponseWriter, r *request, path string, query url.Values) {
	if r.Chosen {
		if query == nil {
			query = url.Values{}
		}
		query.Set("lang", r.Words.Code)
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	w.Header().Set("Location", path)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusSeeOther)
}

func (s *Server) serve(w http.ResponseWriter, r *request, p web.Page, status int) {
	d, err := web.NewDocument(p)
	if err != nil {
		s.Log.Error("make a page", "err", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	d.Serve(w, r.Request.Request, status)
}

// frame is what every page has around its content.
type frame struct {
	web.Frame
	Here   string // the name of the part that this page belongs to
	Parts  []part // the navigation; none before signing in
	Person string
	Up     web.Link
}

// part is a part of the pages, in the navigation.
type part struct{ Name, Href, Pictogram string }

var parts = []part{{"home", pathHome, "pin"}, {"attention", "/attention", "fault"}, {"releases", "/releases", "history"}, {"sums", "/sums", "data"}}

func (s *Server) frame(r *request, here, path, title string) frame {
	f := frame{Frame: r.Frame(path, title), Here: here, Person: r.person.Name}
	if r.person.Name != "" {
		f.Parts = parts
	}
	return f
}

// noticePage shows one message, and a link to go on.
type noticePage struct {
	frame
	Lines []string
}

func (noticePage) Template() string { return "dashboard/notice" }

// explain answers with the page of a message. The message's first line is the title.
func (s *Server) explain(w http.ResponseWriter, r *request, status int, key, back string, pairs ...string) {
	lines := r.Words.Lines(key, pairs...)
	p := noticePage{s.frame(r, "", pathHome, lines[0]), lines[1:]}
	p.Up = web.Link{Href: back, Text: r.Words.T("hub.back")}
	s.serve(w, r, p, status)
}

func (s *Server) failed(w http.ResponseWriter, r *request, what string, err error) {
	s.Log.Warn(what, "err", err)
	s.explain(w, r, http.StatusServiceUnavailable, "hub.away", pathHome)
}

func (s *Server) missing(w http.ResponseWriter, r *request) {
	s.explain(w, r, http.StatusNotFound, "hub.missing", pathHome)
}

// signInForm is the login page.
type signInForm struct {
	frame
	To    string // the page to show afterwards
	Wrong string // what was wrong, "" for nothing
}

func (signInForm) Template() string { return "dashboard/login" }

func (s *Server) signInPage(w http.ResponseWriter, r *request) {
	s.serve(w, r, signInForm{frame: s.frame(r, "", pathLogin, r.Words.T("hub.login.title")), To: returnPath(r.URL.Query().Get("to"))}, http.StatusOK)
}

// returnPath returns the path to show after signing in. It is always one of this hub, whatever a link says, against open redirects.
func returnPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(u.Path, "/") ||
		strings.Contains(u.Path, "//") || strings.Contains(u.Path, "\\") {
		return pathHome
	}
	return u.Path
}

func (s *Server) signIn(w http.ResponseWriter, r *request) {
	if !web.FromOurPages(r.Request.Request) {
		s.explain(w, r, http.StatusForbidden, "hub.refused", pathLogin)
		return
	}
	form, ok := s.form(w, r)
	if !ok {
		return
	}
	again := func(status int, why string) {
		p := signInForm{frame: s.frame(r, "", pathLogin, r.Words.T("hub.login.title")), To: returnPath(form.Get("to")), Wrong: r.Words.T("hub.login." + why)}
		s.serve(w, r, p, status)
	}
	address := ""
	if r.Client.IsValid() {
		address = r.Client.String()
	}
	if !s.limit.Allowed(address) {
		again(http.StatusTooManyRequests, "wait")
		return
	}
	ctx, stop := context.WithTimeout(r.Context(), patience)
	defer stop()
	code := form.Get("code")
	_, known, err := s.Registry.Person(ctx, code)
	if err != nil {
		s.failed(w, r, "look a person up", err)
		return
	}
	if !known {
		s.limit.Wrong(address)
		again(http.StatusForbidden, "wrong")
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookie, Value: s.logins.add(code), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	s.lead(w, r, returnPath(form.Get("to")), nil)
}

func (s *Server) signOut(w http.ResponseWriter, r *request) {
	s.logins.remove(r.token)
	http.SetCookie(w, &http.Cookie{Name: cookie, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	s.lead(w, r, pathLogin, nil)
}

// form reads the request's form. If it cannot, it answers with an error page, and ok is false.
func (s *Server) form(w http.ResponseWriter, r *request) (url.Values, bool) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		status := http.StatusBadRequest
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			status = http.StatusRequestEntityTooLarge
		}
		s.explain(w, r, status, "hub.refused", pathHome)
		return nil, false
	}
	return form, true
}

// Hosts returns the names by which browsers call a hub with a certificate for these names and addresses.
func Hosts(names []string, addresses []net.IP) (hosts []string) {
	for _, ip := range addresses {
		hosts = append(hosts, ip.String())
	}
	return append(hosts, names...)
}
