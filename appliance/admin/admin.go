// Package admin serves the pages of those who look after the box, on https: now lenders', later technicians' and staff's.
// It owns their handlers and how lenders' links are made and known again. What it shows and changes it asks for through
// the interfaces declared here; it must not know kernels, files or databases, and nothing of residents.
//
// A lender's link is a secret of 130 random bits in the page's path. Only its SHA-256 hash is kept, and looked up as a
// whole: how long that takes says nothing of use, since nobody can choose a token by its hash. Guesses are not counted:
// a thousand links and a million guesses a second for a hundred years find one with a probability of 10⁻²¹, and a count
// would let one resident keep a lender from the page. Paths are never logged.
package admin

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"passerelle/captive/web"
)

// Site is the box as its pages are headed.
type Site struct {
	Centre    string         // the centre's name
	Address   netip.Addr     // the box's IPv4 address on the hotspot
	Hostname  string         // the box's name on the hotspot
	Language  string         // default language
	Languages []string       // offered
	Location  *time.Location // never nil
}

// Lenders is what a lender's page needs of the appliance. Its methods are safe for concurrent use.
type Lenders interface {
	// Donation returns a donation as it is now, if the configuration has it.
	Donation(name string) (Donation, bool)
	// SetDonationPaused pauses or resumes a donation. It says by whom, and has taken effect when it returns.
	SetDonationPaused(ctx context.Context, name, by string, paused bool) error
}

// Tokens keeps lenders' links, by the hashes of their tokens. Its methods are safe for concurrent use.
type Tokens interface {
	// Set makes this the hash of a donation's link. The link before it is forgotten.
	Set(donation string, hash [sha256.Size]byte) error
	// Donation returns the name of the donation whose link has this hash.
	Donation(hash [sha256.Size]byte) (name string, ok bool)
}

// Parts are what the pages are made of.
type Parts struct {
	Site    func() Site
	Lenders Lenders
	Tokens  Tokens
	Now     func() time.Time
	Log     *slog.Logger
}

// Server is the http.Handler of the box's port 443.
type Server struct {
	Parts
	routes *http.ServeMux
	head   atomic.Pointer[head]
}

// New returns the handler.
func New(p Parts) *Server {
	s := &Server{Parts: p, routes: http.NewServeMux()}
	for pattern, h := range map[string]func(*Server, http.ResponseWriter, *request){
		"GET /{$}":                    (*Server).residents,
		"GET /accessibility":          (*Server).residents,
		"GET /lender/{token}":         (*Server).lender,
		"POST /lender/{token}/pause":  (*Server).pause,
		"POST /lender/{token}/resume": (*Server).resume,
		"/":                           (*Server).missing,
	} {
		s.routes.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { h(s, w, s.request(r)) })
	}
	return s
}

// ServeHTTP answers for the box's own names only: another site's name that leads here is no page of ours.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := s.current()
	if !web.Own(r, "443", h.site.Address.String(), h.site.Hostname) {
		http.Error(w, http.StatusText(http.StatusMisdirectedRequest), http.StatusMisdirectedRequest)
		return
	}
	s.routes.ServeHTTP(w, r)
}

// head is what all pages have in common as long as the Site is the same.
type head struct {
	site      Site
	languages *web.Languages
}

// current returns the head for the Site as it is now.
func (s *Server) current() *head {
	h, site := s.head.Load(), s.Site()
	if h == nil || !h.site.equal(site) {
		h = &head{site, web.Offer(append([]string{site.Language}, site.Languages...)...)}
		s.head.Store(h)
	}
	return h
}

func (s Site) equal(t Site) bool {
	return s.Centre == t.Centre && s.Address == t.Address && s.Hostname == t.Hostname && s.Language == t.Language &&
		slices.Equal(s.Languages, t.Languages) && s.Location == t.Location
}

// request is a request with what its page is headed by.
type request struct {
	*http.Request
	*head
	words  *web.Words
	chosen bool // the language was chosen by a link
}

func (s *Server) request(hr *http.Request) *request {
	r := &request{Request: hr, head: s.current()}
	r.words, r.chosen = r.languages.For(hr)
	return r
}

// frame is what a page at a path has around it.
func (r *request) frame(path, title string) web.Frame {
	f := web.Frame{
		Words: r.words, Others: r.languages.Others(r.words), Title: title, Path: path,
		Centre: r.site.Centre, Hostname: r.site.Hostname,
	}
	if r.chosen {
		f.Language = r.words.Code
	}
	return f
}

// serve writes a page, or that there is none because a template is wrong.
func (s *Server) serve(w http.ResponseWriter, r *request, p web.Page, status int) {
	d, err := web.NewDocument(p)
	if err != nil {
		s.Log.Error("make a page", "err", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	d.Serve(w, r.Request, status)
}

// residents leads to the residents' page of the same path, which is not on https: no phone trusts the box's certificate.
func (s *Server) residents(w http.ResponseWriter, r *request) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r.Request, "http://"+r.site.Address.String()+r.URL.RequestURI(), http.StatusFound)
}

func (s *Server) missing(w http.ResponseWriter, r *request) {
	s.serve(w, r, web.Notice{
		Frame:     r.frame("/", r.words.T("missing.title")),
		Pictogram: "search", Lines: r.words.Lines("missing.text"), Home: true,
	}, http.StatusNotFound)
}
