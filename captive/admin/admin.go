// Package admin serves the pages of those who manage the box, over https: lenders', staff's and technicians'. It owns their
// handlers and which role has which page (duties), and issues and verifies lenders' links; package login decides who is
// signed in, and in which role. It reads and changes the box through the interfaces declared
// here; it must not know kernels, files or databases, nor anything of residents.
//
// The pages are served on two sides: the hotspot, and the networks of the connections, where lenders' pages are not.
//
// A lender's link is a secret of 130 random bits in the page's path. Only its SHA-256 hash is stored, and it is looked up by
// its hash: the look-up's timing is of no use to an attacker, who cannot choose a token by its hash. Guesses are not
// rate-limited: with a thousand links, a million guesses a second for a hundred years succeed with a probability of 10⁻²¹,
// and a limit would let one resident lock a lender out of the page. Paths are never logged.
package admin

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/admin/login"
	"passerelle/captive/admin/refusals"
	"passerelle/captive/web"
)

// Box is what the pages need of the appliance. Its methods are safe for concurrent use.
type Box interface {
	Site() state.Site
	Status() state.Status
	// SetDonationPaused pauses or resumes a donation, and records by whom. It has taken effect when it returns.
	SetDonationPaused(ctx context.Context, name, by string, paused bool) error
	// Pause stops sharing until Resume, and records by whom.
	Pause(ctx context.Context, by string) error
	// PauseUntilTomorrow stops sharing until the next day's opening (Status.Tomorrow), and records by whom.
	PauseUntilTomorrow(ctx context.Context, by string) error
	Resume(ctx context.Context) error
	// ConfirmTime confirms that the machine's time of day is right.
	ConfirmTime(ctx context.Context, by string) error
}

// Tokens stores lenders' links by the hashes of their tokens. Its methods are safe for concurrent use.
type Tokens interface {
	// Set stores the hash of a donation's link, and revokes the link before it.
	Set(donation string, hash [sha256.Size]byte) error
	// Donation returns the name of the donation whose link has this hash.
	Donation(hash [sha256.Size]byte) (name string, ok bool)
}

// Parts are the dependencies of a Server.
type Parts struct {
	Box           Box
	Tokens        Tokens
	Logins        *login.Keeper
	Configuration Configuration
	Day           *Day                  // what the box did in the last 24 hours, nil if nobody counts
	Refusals      func() []refusals.Day // of the last days, nil if nobody counts
	Disk          func() Disk           // with the box's state, nil if unknown
	Lists         func() []List         // of places, nil if there are none
	Journal       Journal
	Access        func() config.Access
	Fingerprint   func() string // of the box's certificate, in groups; "" if there is none
	Machine       Machine
	Content       Content
	Doctor        Doctor
	Backups       Backups
	SetupDir      string // folder of the answers of the first start
	Now           func() time.Time
	Log           *slog.Logger
}

// Server is the http.Handler of the box's port 443.
type Server struct {
	Parts
	routes   *http.ServeMux
	patterns []string // of routes
	head     atomic.Pointer[head]
	drafts   drafts

	uploads *uploads
	// roleOf returns the role of a login.
	roleOf func(token string) (role config.Role, signedIn bool)
}

// New returns the handler.
func New(p Parts) *Server {
	s := &Server{Parts: p, routes: http.NewServeMux()}
	s.roleOf = func(token string) (config.Role, bool) { return s.Logins.Role(token) }
	var err error
	if s.uploads, err = newUploads(p.Content.Uploads); err != nil {
		p.Log.Warn("remove what was uploaded before", "err", err)
	}
	for pattern, h := range map[string]func(*Server, http.ResponseWriter, *request){
		"GET /{$}":                    (*Server).residents,
		"GET /accessibility":          (*Server).residents,
		"GET /lender/{token}":         (*Server).lender,
		"POST /lender/{token}/pause":  (*Server).pause,
		"POST /lender/{token}/resume": (*Server).resume,
		"/":                           (*Server).missing,
	} {
		s.handle(pattern, func(w http.ResponseWriter, r *http.Request) { h(s, w, s.request(r)) })
	}
	s.technicianRoutes()
	return s
}

// handle registers a route.
func (s *Server) handle(pattern string, h http.HandlerFunc) {
	s.patterns = append(s.patterns, pattern)
	s.routes.HandleFunc(pattern, h)
}

// ServeHTTP answers only for the box's own names. A request for another site's name gets no page. From the networks of the
// connections only technicians' and staff's pages exist.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, local := s.current(), localOf(r)
	address, wired := h.site.Address, sideOf(local, h.site.Address) == config.SideWired
	if wired {
		address = local
	}
	switch {
	case !web.IsOwnHost(r, "443", address.String(), h.site.Hostname):
		http.Error(w, http.StatusText(http.StatusMisdirectedRequest), http.StatusMisdirectedRequest)
	case wired && r.URL.Path == "/": // what people type
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, adminPath, http.StatusFound)
	case wired && !strings.HasPrefix(r.URL.Path, adminPath) && !isDesk(r.URL.Path):
		http.Error(w, http.StatusText(http.StatusNotFound), http.StatusNotFound)
	default:
		s.routes.ServeHTTP(w, r)
	}
}

// head is what all pages share while the Site does not change.
type head struct {
	site                 state.Site
	lenders, technicians web.Head
	staff                func() *web.Head // made when it is first requested: it has many languages
}

// current returns the head for the current Site.
func (s *Server) current() *head {
	h, site := s.head.Load(), s.Box.Site()
	if h == nil || h.site != site {
		h = &head{
			site:    site,
			lenders: web.Head{Centre: site.Centre, Hostname: site.Hostname, Languages: web.Offer(site.Offered()...)},
			staff: sync.OnceValue(func() *web.Head {
				return &web.Head{Centre: site.Centre, Hostname: site.Hostname, Languages: staffLanguages(site.Language)}
			}),
			technicians: web.Head{
				Centre: site.Centre, Hostname: site.Hostname, Languages: technicianLanguages(site.Language),
			},
		}
		s.head.Store(h)
	}
	return h
}

// request is a request with the Site for its page's head, and the side that it comes from.
type request struct {
	web.Request
	site state.Site
	side config.Side
	role config.Role // of the login; "" without one
	desk bool        // its page is in staff's languages
}

func (s *Server) request(hr *http.Request) *request {
	h := s.current()
	r := &request{
		Request: web.Request{Request: hr, Head: &h.lenders, Now: s.Now().In(h.site.Location)},
		site:    h.site, side: sideOf(localOf(hr), h.site.Address),
	}
	if from, err := netip.ParseAddrPort(hr.RemoteAddr); err == nil {
		r.Client = from.Addr().Unmap()
	}
	r.Negotiate()
	return r
}

// serve writes a page, or an error if its template fails.
func (s *Server) serve(w http.ResponseWriter, r *request, p web.Page, status int) {
	d, err := web.NewDocument(p)
	if err != nil {
		s.Log.Error("make a page", "err", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	d.Serve(w, r.Request.Request, status)
}

// residents redirects to the same path of the residents' pages, which are not on https: no phone trusts the box's
// certificate.
func (s *Server) residents(w http.ResponseWriter, r *request) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r.Request.Request, "http://"+r.site.Address.String()+r.URL.RequestURI(), http.StatusFound)
}

func (s *Server) missing(w http.ResponseWriter, r *request) {
	if r.side == config.SideWired { // the page leads to the residents'
		http.Error(w, http.StatusText(http.StatusNotFound), http.StatusNotFound)
		return
	}
	s.serve(w, r, web.Notice{
		Frame:     r.Frame("/", r.Words.T("missing.title")),
		Pictogram: "search", Lines: r.Words.Lines("missing.text"), Home: true,
	}, http.StatusNotFound)
}
