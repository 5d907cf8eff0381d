package captive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/web"
)

// Server answers residents. It is the http.Handler of the box's port 80, to which the gate also redirects what captive
// residents request from other sites.
type Server struct {
	box        Box
	log        *slog.Logger
	now        func() time.Time
	began      time.Time
	dismissals dismissals
	refusals   refusals

	calls   *web.Turns     // to start or end a session
	presses *web.Allowance // of each device

	shares  []web.Share
	catalog *web.Catalog
	routes  map[string]route // by path
	folders map[string]route // routes whose path ends in "/", by the path without its slashes

	snapshot atomic.Pointer[snapshot]
	served   atomic.Int64 // when a page was last served, in nanoseconds after began; 0: never
}

// Bounds on residents' requests to the box. Ending a session takes the kernel ten milliseconds if its connection table is
// large. So each device has one request in flight at a time, devices that pressed less often lately are served first, and a token
// bucket limits the rate of each device's presses.
const (
	callsAtOnce  = 2 // one runs, the next is ready
	waitingCalls = 128

	pressBurst = 100
	pressEvery = 5 * time.Second
)

// retryAfter is the Retry-After of an answer that says busy, in seconds.
const retryAfter = "2"

// New returns the residents' handler with these shares mounted. The clock is for calendar words ("tomorrow") and for how
// long a dismissal lasts. Two shares with the same path are a programming error, and panic.
func New(box Box, log *slog.Logger, now func() time.Time, shares ...web.Share) *Server {
	s := &Server{
		box: box, log: log, now: now, began: now(),
		calls:   web.NewTurns(callsAtOnce, waitingCalls),
		presses: web.NewAllowance(pressBurst, pressEvery),
		shares:  shares, catalog: web.NewCatalog(shares...), routes: maps.Clone(routes),
		folders: make(map[string]route),
	}
	for _, share := range shares {
		for path, r := range share.Routes {
			if _, taken := s.routes[path]; taken {
				panic("share " + share.Name + ": the path " + path + " is taken")
			}
			s.routes[path] = route{get: mounted(r.Get), post: mounted(r.Post), form: true}
		}
	}
	for path, r := range s.routes {
		if folder, ok := strings.CutSuffix(path, "/"); ok && folder != "" {
			s.folders[folder[1:]] = r
		}
	}
	return s
}

// mounted adapts a share's handler.
func mounted(h web.Handler) handler {
	if h == nil {
		return nil
	}
	return func(_ *Server, w http.ResponseWriter, r *request) { h(w, &r.Request) }
}

// Refresh makes the named share, or all shares if the name is empty, read its content from the disk again.
func (s *Server) Refresh(name string) error {
	known := name == ""
	for _, share := range s.shares {
		if name != "" && share.Name != name {
			continue
		}
		known = true
		if share.Refresh != nil {
			share.Refresh()
		}
	}
	if !known {
		return fmt.Errorf("there is no share %q", name)
	}
	return nil
}

// Served returns the time since a page was last served to a resident, or since the Server began if none was. The box itself
// requests no pages, so a served page is the best evidence that pages can be served.
func (s *Server) Served() time.Duration {
	return s.now().Sub(s.began.Add(time.Duration(s.served.Load())))
}

// HTTPServer returns a server for s. Serve it on a listener from [Limit], which bounds the connections of each client.
func (s *Server) HTTPServer() *http.Server { return web.NewServer(s, s.log) }

// request is a request with its resident's session and the box's facts at that moment.
type request struct {
	web.Request
	*snapshot
	server     *Server
	session    state.Session
	authorized bool // session is set
}

// sharing says whether the box shares a connection.
func (r *request) sharing() bool { return r.site.State == state.Sharing }

// online says whether the resident's packets pass.
func (r *request) online() bool { return r.authorized && r.sharing() && !r.spent() }

// extends says whether a press makes the resident's session longer.
func (r *request) extends() bool { return r.online() && r.session.Extends }

// spent says whether the resident's session has used up its data and does not continue at the slow rate.
func (r *request) spent() bool {
	return r.authorized && r.session.Limited && r.session.DataLeft == 0 && !r.session.Slow
}

// closeConn makes the answer close the connection if the resident is online. The request was for another site, and reached the
// box only because its connection is older than the session. The next connection passes the gate.
func (r *request) closeConn(h http.Header) {
	if r.online() {
		h["Connection"] = closing
	}
}

// Header values that never change, shared by all responses. Nothing may modify them.
var (
	noStore = []string{"no-store"}
	closing = []string{"close"}
	nothing = []string{"0"}
	one     = []string{"1"}
)

// ServeHTTP answers systems' probes and requests for the box's own names. Of requests for other sites it redirects those of
// browsers, and answers those of programs with an error.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	now, site := s.now(), s.box.Site()
	r := &request{server: s}
	r.Request.Request, r.Mount, r.Now = hr, r, now.In(site.Location)
	r.use(s.current(&site, now))
	if from, err := netip.ParseAddrPort(hr.RemoteAddr); err == nil {
		r.Client = from.Addr().Unmap()
		r.session, r.authorized = s.box.Session(r.Client)
	}
	reads := hr.Method == http.MethodGet || hr.Method == http.MethodHead
	answer := answerFor(hr.Host, hr.URL.Path)
	switch {
	case reads && answer != nil:
		s.probe(w, r, answer)
	case r.isOwnHost():
		s.route(w, r)
	case reads && strings.HasPrefix(hr.UserAgent(), appleProbe):
		s.probe(w, r, apple)
	case reads && showsPage(hr.Header):
		s.redirect(w, r)
	default:
		s.refuse(w, r)
	}
}

// use makes a snapshot the one that the request is answered from.
func (r *request) use(snap *snapshot) { r.snapshot, r.Head = snap, &snap.head }

// isOwnHost says whether the request names the box itself.
func (r *request) isOwnHost() bool {
	return web.IsOwnHost(r.Request.Request, "80", r.address, r.site.Hostname, r.portalHost)
}

// redirect redirects to the first page.
func (s *Server) redirect(w http.ResponseWriter, r *request) {
	h := w.Header()
	h["Location"] = r.location
	h["Cache-Control"] = noStore
	h["Content-Length"] = nothing
	r.closeConn(h)
	w.WriteHeader(http.StatusFound)
}

// redirectHTTPS redirects to the same path over https, with the box's own certificate: for pages with a password, or a
// lender's link.
func (s *Server) redirectHTTPS(w http.ResponseWriter, r *request) {
	h := w.Header()
	h.Set("Location", r.secure+r.URL.RequestURI())
	h["Cache-Control"] = noStore
	h["Content-Length"] = nothing
	w.WriteHeader(http.StatusFound)
}

// handler answers one method of one path.
type handler func(*Server, http.ResponseWriter, *request)

// route answers the methods of a path.
type route struct {
	get, post handler
	form      bool // post reads the body itself
}

// routes are the paths that belong to no share: see [web.Share].
var routes = map[string]route{
	"/":                   {get: (*Server).first},
	"/session":            {get: (*Server).session, post: (*Server).authorize},
	"/session/end":        {get: (*Server).ended, post: (*Server).end},
	"/essential":          {get: (*Server).essential},
	"/stay":               {post: (*Server).dismiss},
	"/captive-portal/api": {get: (*Server).api},
	"/healthz":            {get: (*Server).health},
	"/favicon.ico":        {get: (*Server).favicon},
	"/accessibility":      {get: (*Server).accessibility},
	"/admin/":             {get: (*Server).redirectHTTPS},
	"/desk":               {get: (*Server).redirectHTTPS},
	"/lender/":            {get: (*Server).redirectHTTPS},
	"/lend/":              {get: (*Server).redirectHTTPS}, // the page itself is a share
}

// route answers requests for the box's own names.
func (s *Server) route(w http.ResponseWriter, r *request) {
	r.Negotiate()
	paths, ok := s.find(r.URL.Path)
	switch {
	case !ok && s.usual(r) != "":
		r.Lead(w, http.StatusFound, s.usual(r))
	case !ok:
		s.page(w, r, missing, http.StatusNotFound)
	case paths.get != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		paths.get(s, w, r)
	case paths.post != nil && r.Method == http.MethodPost:
		s.change(w, r, paths)
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

// find returns the route of a path: its own, or its folder's.
func (s *Server) find(path string) (r route, ok bool) {
	if r, ok = s.routes[path]; ok {
		return r, true
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	r, ok = s.folders[first]
	return r, ok
}

// usual returns the path of a page that was requested in capitals or with a trailing slash, or "" if there is no such page.
func (s *Server) usual(r *request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return ""
	}
	first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	lower := strings.ToLower(first)
	if to, ok := s.routes["/"+lower]; ok && first != "" && rest == "" && to.get != nil {
		return "/" + lower
	}
	if _, ok := s.folders[lower]; ok && lower != first {
		return "/" + lower + "/" + rest
	}
	return ""
}

// change passes a POST to its handler if it comes from one of the box's own pages.
func (s *Server) change(w http.ResponseWriter, r *request, to route) {
	status := http.StatusOK
	if !to.form {
		status = web.CheckPOST(w, r.Request.Request)
	} else if !web.FromOurPages(r.Request.Request) {
		status = http.StatusForbidden
	}
	if status != http.StatusOK {
		s.page(w, r, refused, status)
		return
	}
	to.post(s, w, r)
}

// page writes a page that is the same for all residents.
func (s *Server) page(w http.ResponseWriter, r *request, p page, status int) {
	if r.Words == nil {
		r.Negotiate()
	}
	stays := p.offersStay() && s.dismissed(r)
	k := pageKey{string(p), r.Words, r.Chosen, stays}
	if kept, ok := r.pages.get(k); ok {
		s.serve(w, r, kept.Document, nil, status)
		return
	}
	r.keep(w, k, r.compose(p, stays), status)
}

// keep renders a page, caches it and writes it.
func (r *request) keep(w http.ResponseWriter, k pageKey, p web.Page, status int) {
	d, err := web.NewDocument(p)
	if err == nil {
		r.pages.put(k, keptPage{d, status})
	}
	r.server.serve(w, r, d, err, status)
}

// Kept is for shares: see [web.Mount].
func (r *request) Kept(w http.ResponseWriter, name string) bool {
	kept, ok := r.pages.get(pageKey{name: name, words: r.Words, chosen: r.Chosen})
	if ok {
		r.server.serve(w, r, kept.Document, nil, kept.status)
	}
	return ok
}

// Keep is for shares: see [web.Mount].
func (r *request) Keep(w http.ResponseWriter, name string, p web.Page, status int) {
	r.keep(w, pageKey{name: name, words: r.Words, chosen: r.Chosen}, p, status)
}

// Serve renders a page for this request only, and writes it: see [web.Mount].
func (r *request) Serve(w http.ResponseWriter, p web.Page, status int) {
	d, err := web.NewDocument(p)
	r.server.serve(w, r, d, err, status)
}

// busy says that too many requests are waiting. The page has a button that repeats the resident's request.
func (s *Server) busy(w http.ResponseWriter, r *request) {
	if r.Context().Err() != nil {
		return // the client is gone
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

// serve writes a page, or an error if its template fails.
func (s *Server) serve(w http.ResponseWriter, r *request, d *web.Document, err error, status int) {
	if err != nil {
		s.log.Error("render a page", "err", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	d.Serve(w, r.Request.Request, status)
	if status == http.StatusOK {
		s.served.Store(int64(r.Now.Sub(s.began)))
	}
}

// dismissed says whether the resident dismissed the portal: pressed "stay here".
func (s *Server) dismissed(r *request) bool { return s.dismissals.has(r.Client, r.Now, r.sharing()) }

// obstacle returns the page that says why the resident cannot be online now, or "" if nothing prevents it.
func (r *request) obstacle() page {
	switch {
	case !r.sharing():
		return page(r.site.State)
	case r.spent():
		return spent
	default:
		return ""
	}
}

func (s *Server) first(w http.ResponseWriter, r *request) {
	p := first
	if obstacle := r.obstacle(); obstacle != "" {
		p = obstacle
	} else if r.extends() {
		p = ending
	} else if r.authorized {
		p = online
	}
	s.page(w, r, p, http.StatusOK)
}

// essential shows the services of the walled garden, while it is open.
func (s *Server) essential(w http.ResponseWriter, r *request) {
	switch {
	case r.site.Essential && r.online():
		s.page(w, r, essentialOnline, http.StatusOK)
	case r.site.Essential:
		s.page(w, r, essential, http.StatusOK)
	case r.site.Services != nil && !r.sharing():
		s.page(w, r, page(r.site.State), http.StatusOK)
	default:
		s.page(w, r, missing, http.StatusNotFound)
	}
}

// session shows the resident's session, as a page or as JSON.
func (s *Server) session(w http.ResponseWriter, r *request) {
	w.Header().Set("Vary", "Accept")
	if wantsJSON(r) {
		s.sessionJSON(w, r)
		return
	}
	if p := r.obstacle(); p != "" {
		s.page(w, r, p, http.StatusOK)
		return
	}
	if !r.authorized {
		s.page(w, r, none, http.StatusOK)
		return
	}
	r.Serve(w, r.sessionPage(r.URL.Query().Has("hold")), http.StatusOK)
}

// errBusy says that too many requests are waiting.
var errBusy = errors.New("too many requests")

// call calls the box for the resident when it is the resident's turn. It returns errBusy if the device pressed too often or too
// many requests are waiting.
func (s *Server) call(r *request, f func(context.Context) error) error {
	had, ok := s.presses.Take(r.Client, r.Now)
	if !ok {
		return errBusy
	}
	web.Yield(r.Request.Request)
	done, ok := s.calls.Take(r.Context(), r.Client, had)
	if !ok {
		return errBusy
	}
	defer done()
	return f(r.Context())
}

// authorize starts the resident's session, or makes it longer.
func (s *Server) authorize(w http.ResponseWriter, r *request) {
	err := state.ErrUnknown
	if r.Client.IsValid() {
		err = s.call(r, func(ctx context.Context) error {
			_, err := s.box.Authorize(ctx, r.Client)
			return err
		})
		s.refusals.count(r.Client, r.Now, err)
	}
	switch {
	case err == nil:
		r.Lead(w, http.StatusSeeOther, "/session")
	case errors.Is(err, state.ErrNotSharing):
		p := busy // for a box that shares again by now
		site := s.box.Site()
		r.use(s.current(&site, r.Now))
		if !r.sharing() {
			p = page(site.State)
		}
		s.page(w, r, p, http.StatusServiceUnavailable)
	case errors.Is(err, state.ErrDataSpent):
		s.page(w, r, spent, http.StatusForbidden)
	case errors.Is(err, state.ErrUnknown):
		s.page(w, r, unknown, http.StatusForbidden)
	default:
		s.fail(w, r, "admit a resident", err)
	}
}

// fail reports that a request of the resident's failed.
func (s *Server) fail(w http.ResponseWriter, r *request, what string, err error) {
	switch {
	case errors.Is(err, errBusy), errors.Is(err, state.ErrStopped):
		s.busy(w, r)
	case r.Context().Err() != nil: // the client is gone
	default:
		s.log.Error(what, "err", err)
		s.page(w, r, failed, http.StatusInternalServerError)
	}
}

// end ends the resident's session, if there is one.
func (s *Server) end(w http.ResponseWriter, r *request) {
	if r.authorized {
		if err := s.call(r, func(ctx context.Context) error { return s.box.End(ctx, r.Client) }); err != nil {
			s.fail(w, r, "end a session", err)
			return
		}
	}
	r.Lead(w, http.StatusSeeOther, "/session/end")
}

// ended says that the resident's session has ended. A resident who has a session again is redirected to it.
func (s *Server) ended(w http.ResponseWriter, r *request) {
	switch p := r.obstacle(); {
	case p != "":
		s.page(w, r, p, http.StatusOK)
	case r.authorized:
		r.Lead(w, http.StatusFound, "/session")
	default:
		s.page(w, r, ended, http.StatusOK)
	}
}

// dismiss dismisses the portal: it makes systems' probes of the resident succeed for an hour, so that the phone keeps the
// network.
func (s *Server) dismiss(w http.ResponseWriter, r *request) {
	s.dismissals.add(r.Client, r.Now, r.sharing())
	r.Lead(w, http.StatusSeeOther, "/")
}

func (s *Server) accessibility(w http.ResponseWriter, r *request) {
	s.page(w, r, accessibility, http.StatusOK)
}

// health is for monitoring. It answers 200 once the first plan has been applied; by then the control socket answers, too.
func (s *Server) health(w http.ResponseWriter, r *request) {
	w.Header()["Cache-Control"] = noStore
	if s := r.site.State; s == state.Starting || s == state.Fault {
		http.Error(w, string(s), http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n") // an error means that the client is gone
}

// favicon answers browsers that ignore the icon in the page.
func (s *Server) favicon(w http.ResponseWriter, r *request) {
	w.Header().Set("Cache-Control", "max-age=86400")
	w.WriteHeader(http.StatusNoContent)
}
