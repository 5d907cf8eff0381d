package captive

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/language"

	"passerelle/captive/web"
)

// edition is all that is made from one View: names, languages and finished pages. It is thrown away as a whole when the
// View changes, or when the words for its times do ("today", "tomorrow").
type edition struct {
	view        View
	from, until time.Time // while the words hold

	address    string   // the box's address as a Host header has it, without brackets
	portalHost string   // of View.PortalURL
	portal     string   // https URL of the first page for RFC 8908, or ""
	location   []string // of the first page, by the box's address

	offered []*web.Words // the default language first, never empty
	matcher language.Matcher

	mu      sync.RWMutex
	accepts map[string]*web.Words // by Accept-Language
	pages   map[pageKey]*web.Document
}

// pageKey names a page that is the same for all residents.
type pageKey struct {
	page   page
	words  *web.Words
	chosen bool // the language was chosen by a link
	stays  bool
}

// maxAccepts bounds the Accept-Language values that are remembered. A phone model has a handful.
const maxAccepts = 256

func newEdition(v View, now time.Time) *edition {
	e := &edition{
		view: v, from: now, until: wordsHold(v, now),
		accepts: make(map[string]*web.Words), pages: make(map[pageKey]*web.Document),
	}
	host := v.Hostname
	if v.Address.IsValid() {
		e.address = v.Address.String()
		if host = e.address; v.Address.Is6() {
			host = "[" + host + "]"
		}
	}
	e.location = []string{"http://" + host + "/"}
	if u, err := url.Parse(v.PortalURL); err == nil && u.Scheme == "https" && u.Host != "" {
		e.portalHost = u.Hostname()
		e.portal = "https://" + u.Host + "/"
	}
	for _, code := range append([]string{v.Language}, v.Languages...) {
		if w := web.Language(code); w != nil && !slices.Contains(e.offered, w) {
			e.offered = append(e.offered, w)
		}
	}
	if len(e.offered) == 0 {
		e.offered = []*web.Words{web.Language("fr")}
	}
	tags := make([]language.Tag, len(e.offered))
	for i, w := range e.offered {
		tags[i] = w.Tag
	}
	e.matcher = language.NewMatcher(tags)
	return e
}

// wordsHold returns when the words for a View's times are no longer right: at the next midnight, or when one comes.
func wordsHold(v View, now time.Time) time.Time {
	y, m, d := now.In(location(v)).Date()
	until := time.Date(y, m, d+1, 0, 0, 0, 0, location(v))
	for _, t := range []time.Time{v.Opens, v.Refills, v.DataResets} {
		if t.After(now) && t.Before(until) {
			until = t
		}
	}
	return until
}

func location(v View) *time.Location {
	if v.Location == nil {
		return time.UTC
	}
	return v.Location
}

// current returns the edition for a View.
func (s *Server) current(v *View, now time.Time) *edition {
	if e := s.edition.Load(); e != nil && sameView(&e.view, v) && !now.Before(e.from) && now.Before(e.until) {
		return e
	}
	e := newEdition(*v, now)
	s.edition.Store(e)
	return e
}

// sameView compares every field of two Views.
func sameView(a, b *View) bool {
	return a.State == b.State && a.Centre == b.Centre && a.Address == b.Address && a.Network == b.Network &&
		a.Hostname == b.Hostname && a.Language == b.Language && slices.Equal(a.Languages, b.Languages) &&
		a.PortalURL == b.PortalURL && a.Location == b.Location &&
		a.SessionLength == b.SessionLength && a.Download == b.Download && a.Upload == b.Upload && a.Data == b.Data &&
		a.Opens.Equal(b.Opens) && a.Refills.Equal(b.Refills) && a.DataResets.Equal(b.DataResets)
}

// own says whether a request names the box itself: by address or name, at port 80 or the one it came in by.
func (e *edition) own(r *http.Request) bool {
	host, port, ok := splitHost(r.Host)
	if !ok || host == "" || port != "" && port != "80" && port != localPort(r) {
		return false
	}
	name := strings.TrimSuffix(host, ".")
	return host == e.address || strings.EqualFold(name, e.view.Hostname) ||
		e.portalHost != "" && strings.EqualFold(name, e.portalHost)
}

// splitHost splits a Host header (RFC 9110, section 7.2) without allocating; net.SplitHostPort makes an error of a
// missing port.
func splitHost(s string) (host, port string, ok bool) {
	if rest, bracketed := strings.CutPrefix(s, "["); bracketed {
		if host, rest, ok = strings.Cut(rest, "]"); !ok {
			return "", "", false
		}
		if rest == "" {
			return host, "", true
		}
		port, ok = strings.CutPrefix(rest, ":")
		return host, port, ok
	}
	host, port, _ = strings.Cut(s, ":")
	return host, port, !strings.Contains(port, ":")
}

// localPort returns the port at which a request came in, or "".
func localPort(r *http.Request) string {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return ""
	}
	_, port, err := net.SplitHostPort(local.String())
	if err != nil {
		return ""
	}
	return port
}

// words returns the language for a request, and whether it was chosen by a link: else the phone's, else the box's own.
func (e *edition) words(r *http.Request) (w *web.Words, chosen bool) {
	if r.URL.RawQuery != "" {
		code := r.URL.Query().Get("lang")
		for _, w := range e.offered {
			if w.Code == code {
				return w, true
			}
		}
	}
	header := r.Header.Get("Accept-Language")
	if header == "" || len(header) > maxLanguage {
		return e.offered[0], false
	}
	e.mu.RLock()
	w = e.accepts[header]
	e.mu.RUnlock()
	if w != nil {
		return w, false
	}
	w = e.offered[0]
	if tags, _, err := language.ParseAcceptLanguage(header); err == nil {
		if _, i, confidence := e.matcher.Match(tags...); confidence != language.No {
			w = e.offered[i]
		}
	}
	e.mu.Lock()
	if len(e.accepts) < maxAccepts {
		e.accepts[strings.Clone(header)] = w // the request's own string holds on to its whole header
	}
	e.mu.Unlock()
	return w, false
}

// document returns a page that is the same for all residents, made when it is first asked for.
func (e *edition) document(k pageKey) (*web.Document, error) {
	e.mu.RLock()
	d := e.pages[k]
	e.mu.RUnlock()
	if d != nil {
		return d, nil
	}
	d, err := web.NewDocument(e.compose(k))
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.pages[k] = d
	e.mu.Unlock()
	return d, nil
}
