package captive

import (
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

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
	secure     string   // likewise, where pages that need https begin

	languages *web.Languages

	mu    sync.RWMutex
	pages map[pageKey]*web.Document
}

// pageKey names a page that is the same for all residents.
type pageKey struct {
	page   page
	words  *web.Words
	chosen bool // the language was chosen by a link
	stays  bool
}

func newEdition(v View, now time.Time) *edition {
	e := &edition{
		view: v, from: now, until: wordsHold(v, now),
		languages: web.Offer(append([]string{v.Language}, v.Languages...)...), pages: make(map[pageKey]*web.Document),
	}
	host := v.Hostname
	if v.Address.IsValid() {
		e.address = v.Address.String()
		if host = e.address; v.Address.Is6() {
			host = "[" + host + "]"
		}
	}
	e.location = []string{"http://" + host + "/"}
	e.secure = "https://" + host
	if u, err := url.Parse(v.PortalURL); err == nil && u.Scheme == "https" && u.Host != "" {
		e.portalHost = u.Hostname()
		e.portal = "https://" + u.Host + "/"
	}
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
		a.Opens.Equal(b.Opens) && a.Refills.Equal(b.Refills) && a.DataResets.Equal(b.DataResets) &&
		a.Essential == b.Essential && slices.Equal(a.Services, b.Services)
}

// own says whether a request names the box itself.
func (e *edition) own(r *http.Request) bool {
	return web.Own(r, "80", e.address, e.view.Hostname, e.portalHost)
}

// words returns the language for a request, and whether it was chosen by a link.
func (e *edition) words(r *http.Request) (w *web.Words, chosen bool) { return e.languages.For(r) }

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
