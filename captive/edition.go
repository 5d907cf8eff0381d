package captive

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"passerelle/appliance/hours"
	"passerelle/captive/tutorials"
	"passerelle/captive/web"
)

// edition is all that is made from one View and one library: names, languages and finished pages. It is thrown away as a
// whole when these change, or when the words for its times do ("today", "tomorrow").
type edition struct {
	view        View
	lessons     *tutorials.Library
	from, until time.Time // while the words hold

	address    string   // the box's address as a Host header has it, without brackets
	portalHost string   // of View.PortalURL
	portal     string   // https URL of the first page for RFC 8908, or ""
	location   []string // of the first page, by the box's address
	secure     string   // likewise, where pages that need https begin

	languages *web.Languages

	pages shelf
}

// pageKey names a page that is the same for all residents.
type pageKey struct {
	page   page
	about  string // slug of a lesson or a path
	number int    // of a lesson's picture
	words  *web.Words
	chosen bool // the language was chosen by a link
	stays  bool
}

func newEdition(v View, lessons *tutorials.Library, now time.Time) *edition {
	e := &edition{
		view: v, lessons: lessons, from: now, until: wordsHold(v, now),
		languages: web.Offer(append([]string{v.Language}, v.Languages...)...),
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
	until := hours.DayStart(y, m, d+1, location(v))
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

// current returns the edition for a View and the lessons as they are now.
func (s *Server) current(v *View, now time.Time) *edition {
	e, lessons := s.edition.Load(), s.box.Lessons()
	if e != nil && e.lessons == lessons && sameView(&e.view, v) && !now.Before(e.from) && now.Before(e.until) {
		return e
	}
	e = newEdition(*v, lessons, now)
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

// errNoPage is returned for a page of a lesson that is not there.
var errNoPage = errors.New("no such page")

// document returns a page that is the same for all residents, made when it is first asked for.
func (e *edition) document(k pageKey) (*web.Document, error) {
	if d := e.pages.get(k); d != nil {
		return d, nil
	}
	p := e.compose(k)
	if p == nil {
		return nil, errNoPage
	}
	d, err := web.NewDocument(p)
	if err != nil {
		return nil, err
	}
	e.pages.put(k, d)
	return d, nil
}

// maxPages bounds the finished pages that are kept, in bytes. All lessons with all their pictures take 3 MB in two
// languages, those that residents really look at much less.
const maxPages = 4 << 20

// shelf keeps finished pages: at most maxPages, those that were asked for last. The zero value is empty.
type shelf struct {
	mu         sync.RWMutex
	young, old map[pageKey]*web.Document // a page of the old ones that is asked for is young again
	size       int                       // of the young ones, in bytes
}

// get returns a page, or nil.
func (s *shelf) get(k pageKey) *web.Document {
	s.mu.RLock()
	d, young := s.young[k]
	if !young {
		d = s.old[k]
	}
	s.mu.RUnlock()
	if !young && d != nil {
		s.put(k, d)
	}
	return d
}

// put keeps a page. When half the room is filled with young ones, these are old and the old ones go.
func (s *shelf) put(k pageKey, d *web.Document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || s.size+d.Size() > maxPages/2 {
		s.old, s.young, s.size = s.young, make(map[pageKey]*web.Document), 0
	}
	if s.young[k] == nil {
		s.size += d.Size()
	}
	s.young[k] = d
}
