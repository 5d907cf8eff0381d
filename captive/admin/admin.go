// Package admin serves the management pages over https: those of lenders, of staff and of technicians. It owns the handlers,
// decides which role may see which page (duties), and issues and verifies lenders' links. Package login decides who is signed
// in, and in which role. The package reads and changes the box through the interfaces declared here. It must not know about
// the kernel, files or databases, nor anything about residents.
//
// The pages are served on two sides: on the hotspot, and on the uplinks' own networks. Lenders' pages exist only on the hotspot.
//
// A lender's link is a secret of 130 random bits in the page's path. Only its SHA-256 hash is stored, and links are looked up
// by that hash. The timing of the lookup does not help an attacker, who cannot choose a token by its hash. Guesses are not
// rate-limited: with a thousand links, a million guesses a second for a hundred years succeed with a probability of 10⁻²¹,
// and a rate limit would let one resident lock a lender out of the page. Paths are never logged.
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
	"passerelle/appliance/hours"
	"passerelle/appliance/state"
	"passerelle/captive/admin/login"
	"passerelle/captive/admin/months"
	"passerelle/captive/admin/refusals"
	"passerelle/captive/lend"
	"passerelle/captive/web"
)

// Box is the part of the appliance that the pages use. Its methods are safe for concurrent use.
type Box interface {
	Site() state.Site
	Status() state.Status
	// SetDonationPaused pauses or resumes a donation, and records who did it. It returns once the change has taken effect.
	SetDonationPaused(ctx context.Context, name, by string, paused bool) error
	// Pause stops sharing until Resume, and records who did it.
	Pause(ctx context.Context, by string) error
	// PauseUntilTomorrow stops sharing until the next day's opening (Status.Tomorrow), and records who did it.
	PauseUntilTomorrow(ctx context.Context, by string) error
	Resume(ctx context.Context) error
	// ConfirmTime confirms that the machine's time of day is right.
	ConfirmTime(ctx context.Context, by string) error
}

// Tokens stores lenders' links by the hashes of their tokens. Its methods are safe for concurrent use.
type Tokens interface {
	// Set stores the hash of a donation's link, and revokes the previous link.
	Set(donation string, hash [sha256.Size]byte) error
	// Donation returns the name of the donation whose link has this hash.
	Donation(hash [sha256.Size]byte) (name string, ok bool)
}

// Parts are the dependencies of a Server.
type Parts struct {
	Box           Box
	Loans         Loans
	Tokens        Tokens
	Logins        *login.Keeper
	Configuration Configuration
	Day           *Day                  // counts of the last 24 hours; nil if nothing is counted
	Refusals      func() []refusals.Day // refusals of the last days; nil if nothing is counted
	Months        func() []months.Month // monthly counts; nil if nothing is counted
	Disk          func() Disk           // the disk that holds the box's state; nil if unknown
	Lists         func() []List         // lists of places; nil if there are none
	Journal       Journal
	Access        func() config.Access
	Fingerprint   func() string // fingerprint of the box's certificate, in groups; "" if there is none
	Machine       Machine
	Content       Content
	Doctor        Doctor
	Backups       Backups
	Updates       Updates
	Fleet         Fleet
	Offers        *lend.Room // connections that people offer to lend; nil: New makes an empty one
	Nearby        Nearby
	Known         func(donation string) bool // whether a donation of that name ever existed; nil if unknown
	SetupDir      string                     // folder for the answers of the first start
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

	capsSeen  capsSeen
	offering  *web.Allowance // rate limit on offers, per device
	admitting sync.Mutex     // held while the desk turns an offer into a donation

	// roleOf returns the role of a login.
	roleOf func(token string) (role config.Role, signedIn bool)
}

// New returns the handler.
func New(p Parts) *Server {
	s := &Server{Parts: p, routes: http.NewServeMux(), offering: web.NewAllowance(offerBurst, offerEvery)}
	if s.Offers == nil {
		s.Offers = &lend.Room{}
	}
	s.roleOf = func(token string) (config.Role, bool) { return s.Logins.Role(token) }
	var err error
	if s.uploads, err = newUploads(p.Content.Uploads); err != nil {
		p.Log.Warn("remove what was uploaded before", "err", err)
	}
	for pattern, h := range map[string]func(*Server, http.ResponseWriter, *request){
		"GET /{$}":                      (*Server).residents,
		"GET /accessibility":            (*Server).residents,
		"GET /lender/{token}":           (*Server).lender,
		"POST /lender/{token}/pause":    (*Server).pause,
		"POST /lender/{token}/tomorrow": (*Server).pauseUntilTomorrow,
		"POST /lender/{token}/resume":   (*Server).resume,
		"POST /lender/{token}/cap":      (*Server).lendLess,
		"POST /lender/{token}/figure":   (*Server).stateFigure,
		"GET /lender/{token}/stop":      (*Server).askToStop,
		"POST /lender/{token}/stop":     (*Server).stop,
		"/":                             (*Server).missing,
	} {
		s.handle(pattern, func(w http.ResponseWriter, r *http.Request) { h(s, w, s.request(r)) })
	}
	for pattern, h := range lendRoutes {
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

// ServeHTTP answers only for the box's own names and addresses: a request for another host gets status 421. On the uplinks'
// networks only technicians' and staff's pages exist.
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

// head holds what all pages share as long as the Site does not change.
type head struct {
	site                 state.Site
	lenders, technicians web.Head
	staff                func() *web.Head // made on first use: it has many languages
	until                time.Time        // when the words for the desk's hours expire
}

// current returns the head for the current Site.
func (s *Server) current() *head {
	h, site, now := s.head.Load(), s.Box.Site(), s.Now()
	if h == nil || h.site != site || !now.Before(h.until) {
		card := cardOf(site.Card)
		h = &head{
			site:    site,
			until:   cardHolds(card, now.In(site.Location)),
			lenders: web.Head{Centre: site.Centre, Card: card, Hostname: site.Hostname, Languages: lenderCatalog.Offer(site.Offered()...)},
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

// cardOf returns the part of the centre's card that lenders need: how to reach the desk.
func cardOf(c *state.Card) web.Card {
	if c == nil {
		return web.Card{}
	}
	card := web.Card{Address: c.Address, Postcode: c.Postcode, Town: c.Town, Phone: c.Phone}
	if c.Hours != "" {
		desk, _ := hours.Parse(c.Hours) // the configuration has checked them
		card.Hours = desk.InZone(hours.SchoolZone(c.SchoolZone))
	}
	return card
}

// cardHolds returns when the words for a card expire: when the desk next opens or closes, or at the next midnight if that is sooner.
func cardHolds(card web.Card, now time.Time) time.Time {
	y, m, d := now.Date()
	until := hours.DayStart(y, m, d+1, now.Location())
	if changes, _, ok := card.Hours.Next(now); ok && changes.Before(until) {
		return changes
	}
	return until
}

// request is an HTTP request with the Site for its page's head, and the side that it comes from.
type request struct {
	web.Request
	site state.Site
	side config.Side
	role config.Role // of the login; "" if not signed in
	desk bool        // the page is in staff's languages
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
	if r.side == config.SideWired { // the page below links to the residents' pages, which are not on this side
		http.Error(w, http.StatusText(http.StatusNotFound), http.StatusNotFound)
		return
	}
	s.serve(w, r, web.Notice{
		Frame:     r.Frame("/", r.Words.T("missing.title")),
		Pictogram: "search", Lines: r.Words.Lines("missing.text"), Home: true,
	}, http.StatusNotFound)
}
