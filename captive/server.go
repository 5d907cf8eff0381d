package captive

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"passerelle/appliance/decide"
	"passerelle/captive/web"
)

// Server answers residents. It is the http.Handler of the box's port 80, to which the gate also leads what residents
// without a session ask of others.
type Server struct {
	box   Box
	log   *slog.Logger
	now   func() time.Time
	began time.Time
	stays stays

	calls   *web.Turns     // to have the box admit somebody, or end a session
	presses *web.Allowance // of each device

	edition atomic.Pointer[edition]
	served  atomic.Int64 // when a page was last served, in nanoseconds after began; 0: never
}

// Bounds on what the box is asked to do for residents. A session's end takes the kernel ten milliseconds where it has room
// for many connections: so each device has one thing done at a time, who pressed less often lately comes first, and who
// presses again and again is told to wait.
const (
	callsAtOnce  = 2 // one is being done, the next is at hand
	waitingCalls = 128

	pressBurst = 100
	pressEvery = 5 * time.Second
)

// retryAfter is what a device is told that asks for more, in seconds.
const retryAfter = "2"

// New returns the residents' handler. The clock is read for calendar words ("tomorrow") and for how long somebody stays.
func New(box Box, log *slog.Logger, now func() time.Time) *Server {
	return &Server{
		box: box, log: log, now: now, began: now(),
		calls:   web.NewTurns(callsAtOnce, waitingCalls),
		presses: web.NewAllowance(pressBurst, pressEvery),
	}
}

// Served returns for how long no page was served to anybody; the box itself asks for none. That some are is the best proof
// that residents are.
func (s *Server) Served() time.Duration {
	return s.now().Sub(s.began.Add(time.Duration(s.served.Load())))
}

// HTTPServer returns a server for s. Serve it on a listener from [Limit], which bounds how many connections each client
// has.
func (s *Server) HTTPServer() *http.Server { return web.NewServer(s, s.log) }

// request is a request with what is known of who sends it and of the box at that moment.
type request struct {
	*http.Request
	*edition
	at       time.Time
	addr     netip.Addr // invalid if the request came over no IP network
	session  Session
	admitted bool // session is one
}

// sharing says whether the box shares a connection.
func (r *request) sharing() bool { return r.view.State == decide.Sharing }

// online says whether the resident's packets pass.
func (r *request) online() bool { return r.admitted && r.sharing() && !r.spent() }

// extends says whether a press makes the resident's session longer.
func (r *request) extends() bool { return r.online() && r.session.Extends }

// spent says whether the resident has a session without data left in it.
func (r *request) spent() bool { return r.admitted && r.session.Limited && r.session.DataLeft == 0 }

// letGo asks a resident who is online to open a new connection for the next request. This one was meant for somebody on
// the internet and came to the box because it is older than the session: the next one gets through.
func (r *request) letGo(h http.Header) {
	if r.online() {
		h["Connection"] = closing
	}
}

// Header values that never change, shared by all responses: nothing may write into them.
var (
	noStore = []string{"no-store"}
	closing = []string{"close"}
	nothing = []string{"0"}
	one     = []string{"1"}
)

// ServeHTTP answers systems' probes and requests for the box's own names, leads people's browsers to these, and tells
// programs that ask others that this was not they.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	now, view := s.now(), s.box.View()
	r := &request{Request: hr, edition: s.current(&view, now), at: now}
	if from, err := netip.ParseAddrPort(hr.RemoteAddr); err == nil {
		r.addr = from.Addr().Unmap()
		r.session, r.admitted = s.box.Session(r.addr)
	}
	reads := hr.Method == http.MethodGet || hr.Method == http.MethodHead
	answer := answerFor(hr.Host, hr.URL.Path)
	switch {
	case reads && answer != nil:
		s.probe(w, r, answer)
	case r.own(hr):
		s.route(w, r)
	case reads && strings.HasPrefix(hr.UserAgent(), appleProbe):
		s.probe(w, r, apple)
	case reads && showsPage(hr.Header):
		s.redirect(w, r)
	default:
		s.refuse(w, r)
	}
}

// redirect leads to the first page.
func (s *Server) redirect(w http.ResponseWriter, r *request) {
	h := w.Header()
	h["Location"] = r.location
	h["Cache-Control"] = noStore
	h["Content-Length"] = nothing
	r.letGo(h)
	w.WriteHeader(http.StatusFound)
}

// redirectHTTPS leads to the same on https: pages that hold a password, or a lender's link, are served with the box's own
// certificate.
func (s *Server) redirectHTTPS(w http.ResponseWriter, r *request) {
	h := w.Header()
	h.Set("Location", r.secure+r.URL.RequestURI())
	h["Cache-Control"] = noStore
	h["Content-Length"] = nothing
	w.WriteHeader(http.StatusFound)
}

// handler answers one method of one path.
type handler func(*Server, http.ResponseWriter, *request)

// routes are the box's own paths.
var routes = map[string]struct{ get, post handler }{
	"/":                   {get: (*Server).first},
	"/session":            {get: (*Server).mine, post: (*Server).admit},
	"/session/end":        {post: (*Server).end},
	"/essential":          {get: (*Server).essential},
	"/stay":               {post: (*Server).stay},
	"/captive-portal/api": {get: (*Server).api},
	"/healthz":            {get: (*Server).health},
	"/favicon.ico":        {get: (*Server).favicon},
	"/tutorials":          {get: (*Server).tutorials},
	"/helpers":            {get: (*Server).helpers},
	"/accessibility":      {get: (*Server).accessibility},
}

// folders are the box's own paths with something below them, by their first part.
var folders = map[string]handler{
	"admin":     (*Server).redirectHTTPS,
	"lender":    (*Server).redirectHTTPS,
	"tutorials": (*Server).lesson,
	"packs":     (*Server).pack,
}

// route answers for the box's own names.
func (s *Server) route(w http.ResponseWriter, r *request) {
	paths, ok := routes[r.URL.Path]
	if !ok {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		paths.get, ok = folders[first]
	}
	switch {
	case !ok:
		s.page(w, r, missing, http.StatusNotFound)
	case paths.get != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		paths.get(s, w, r)
	case paths.post != nil && r.Method == http.MethodPost:
		s.change(w, r, paths.post)
	default:
		var allow []string
		if paths.get != nil {
			allow = append(allow, "GET, HEAD")
		}
		if paths.post != nil {
			allow = append(allow, "POST")
		}
		w.Header().Set("Allow", strings.Join(allow, ", "))
		s.page(w, r, refused, http.StatusMethodNotAllowed)
	}
}

// change lets a POST through to h if it comes from our own pages.
func (s *Server) change(w http.ResponseWriter, r *request, h handler) {
	if status := web.CheckChange(w, r.Request); status != http.StatusOK {
		s.page(w, r, refused, status)
		return
	}
	h(s, w, r)
}

// page writes a page that is the same for all residents.
func (s *Server) page(w http.ResponseWriter, r *request, p page, status int) {
	k := pageKey{page: p, stays: offersStay(p) && s.staying(r)}
	k.words, k.chosen = r.words(r.Request)
	d, err := r.document(k)
	s.serve(w, r, d, err, status)
}

// busy says that there is no turn for what the resident asked for, with a button that asks for it again.
func (s *Server) busy(w http.ResponseWriter, r *request) {
	if r.Context().Err() != nil {
		return // who asked went away
	}
	w.Header().Set("Retry-After", retryAfter)
	if wantsJSON(r) {
		st := s.status(r)
		st.Busy = true
		s.writeJSON(w, "application/json", "no-store", http.StatusServiceUnavailable, st)
		return
	}
	s.page(w, r, busy, http.StatusServiceUnavailable)
}

func wantsJSON(r *request) bool { return strings.Contains(r.Header.Get("Accept"), "application/json") }

// offersStay says whether a page has the button "stay here".
func offersStay(p page) bool {
	return p == first || p == none || p == essential || notices[p].OffersStay
}

// serve writes a page, or that there is none because a template is wrong.
func (s *Server) serve(w http.ResponseWriter, r *request, d *web.Document, err error, status int) {
	if err != nil {
		s.log.Error("make a page", "err", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	d.Serve(w, r.Request, status)
	if status == http.StatusOK {
		s.served.Store(int64(r.at.Sub(s.began)))
	}
}

// staying says whether the resident pressed "stay here".
func (s *Server) staying(r *request) bool { return s.stays.has(r.addr, r.at, r.sharing()) }

// standing returns the page that says why the resident cannot be online now, or "" if nothing is in the way.
func (r *request) standing() page {
	switch {
	case !r.sharing():
		return page(r.view.State)
	case r.spent():
		return spent
	default:
		return ""
	}
}

func (s *Server) first(w http.ResponseWriter, r *request) {
	p := first
	if obstacle := r.standing(); obstacle != "" {
		p = obstacle
	} else if r.extends() {
		p = ending
	} else if r.admitted {
		p = online
	}
	s.page(w, r, p, http.StatusOK)
}

// essential shows the services that are open to everybody, while they are.
func (s *Server) essential(w http.ResponseWriter, r *request) {
	switch {
	case r.view.Essential && r.online():
		s.page(w, r, essentialOnline, http.StatusOK)
	case r.view.Essential:
		s.page(w, r, essential, http.StatusOK)
	case len(r.view.Services) > 0 && !r.sharing():
		s.page(w, r, page(r.view.State), http.StatusOK)
	default:
		s.page(w, r, missing, http.StatusNotFound)
	}
}

// mine is the resident's session, as a page or as JSON.
func (s *Server) mine(w http.ResponseWriter, r *request) {
	w.Header().Set("Vary", "Accept")
	if wantsJSON(r) {
		s.mineJSON(w, r)
		return
	}
	if p := r.standing(); p != "" {
		s.page(w, r, p, http.StatusOK)
		return
	}
	if !r.admitted {
		s.page(w, r, none, http.StatusOK)
		return
	}
	words, chosen := r.words(r.Request)
	d, err := web.NewDocument(r.mySession(words, chosen, r.session, r.URL.Query().Has("hold")))
	s.serve(w, r, d, err, http.StatusOK)
}

// call has the box do something for the resident, when it is the resident's turn.
func (s *Server) call(r *request, f func(context.Context) error) error {
	had, ok := s.presses.Take(r.addr, r.at)
	if !ok {
		return ErrBusy
	}
	web.Yield(r.Request)
	done, ok := s.calls.Take(r.Context(), r.addr, had)
	if !ok {
		return ErrBusy
	}
	defer done()
	return f(r.Context())
}

// admit starts the resident's session, or makes it longer.
func (s *Server) admit(w http.ResponseWriter, r *request) {
	err := ErrUnknown
	if r.addr.IsValid() {
		err = s.call(r, func(ctx context.Context) error {
			_, err := s.box.Admit(ctx, r.addr)
			return err
		})
	}
	switch {
	case err == nil:
		s.seeOther(w, r, "/session")
	case errors.Is(err, ErrNotSharing):
		p := busy // it shares again by now
		view := s.box.View()
		r.edition = s.current(&view, r.at)
		if !r.sharing() {
			p = page(view.State)
		}
		s.page(w, r, p, http.StatusServiceUnavailable)
	case errors.Is(err, ErrDataSpent):
		s.page(w, r, spent, http.StatusForbidden)
	case errors.Is(err, ErrUnknown):
		s.page(w, r, unknown, http.StatusForbidden)
	default:
		s.fail(w, r, "admit a resident", err)
	}
}

// fail says that something could not be done for the resident.
func (s *Server) fail(w http.ResponseWriter, r *request, what string, err error) {
	switch {
	case errors.Is(err, ErrBusy):
		s.busy(w, r)
	case r.Context().Err() != nil: // who asked went away
	default:
		s.log.Error(what, "err", err)
		s.page(w, r, failed, http.StatusInternalServerError)
	}
}

// end ends the resident's session, if there is one.
func (s *Server) end(w http.ResponseWriter, r *request) {
	if r.admitted {
		if err := s.call(r, func(ctx context.Context) error { return s.box.End(ctx, r.addr) }); err != nil {
			s.fail(w, r, "end a session", err)
			return
		}
	}
	s.seeOther(w, r, "/")
}

// stay makes systems' probes of the resident succeed for an hour, so that the phone keeps the network.
func (s *Server) stay(w http.ResponseWriter, r *request) {
	s.stays.add(r.addr, r.at, r.sharing())
	s.seeOther(w, r, "/")
}

// seeOther leads from a form to a page.
func (s *Server) seeOther(w http.ResponseWriter, r *request, path string) {
	s.lead(w, r, http.StatusSeeOther, path)
}

// lead leads to a page of ours, in the language that was chosen.
func (s *Server) lead(w http.ResponseWriter, r *request, status int, path string) {
	if words, chosen := r.words(r.Request); chosen {
		path += "?lang=" + words.Code
	}
	h := w.Header()
	h.Set("Location", path)
	h["Cache-Control"] = noStore
	h["Content-Length"] = nothing
	w.WriteHeader(status)
}

// health is for who watches the box: 200 once the first plan has been applied. The command line is answered by then.
func (s *Server) health(w http.ResponseWriter, r *request) {
	w.Header()["Cache-Control"] = noStore
	if s := r.view.State; s == decide.Starting || s == decide.Fault {
		http.Error(w, string(s), http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n") // a client that went away is no concern of ours
}

// favicon spares browsers that do not know the icon in the page the question.
func (s *Server) favicon(w http.ResponseWriter, r *request) {
	w.Header().Set("Cache-Control", "max-age=86400")
	w.WriteHeader(http.StatusNoContent)
}
