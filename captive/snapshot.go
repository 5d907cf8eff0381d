package captive

import (
	"net/url"
	"strings"
	"sync"
	"time"

	"passerelle/appliance/hours"
	"passerelle/appliance/state"
	"passerelle/captive/web"
)

// snapshot is everything made from one Site and one version of each share: names, languages and rendered pages. It is
// discarded as a whole when these change, or when its words for times ("today", "tomorrow") expire.
type snapshot struct {
	site        state.Site
	versions    []uint64  // of the shares
	from, until time.Time // while the words for times hold

	address    string   // the box's address as a Host header has it, without brackets
	portalHost string   // of Site.PortalURL
	portal     string   // https URL of the first page for RFC 8908, or ""
	location   []string // of the first page, by the box's address
	secure     string   // the prefix of URLs of pages that need https, also by the box's address

	head  web.Head
	pages cache
	found sync.Map // of *serviceIndex, by language
}

func (s *Server) newSnapshot(v state.Site, versions []uint64, now time.Time) *snapshot {
	snap := &snapshot{
		site: v, versions: versions, from: now,
		head: web.Head{
			Centre: v.Centre, Card: card(v.Card), Hostname: v.Hostname,
			Languages: s.catalog.Offer(v.Offered()...),
		},
	}
	snap.until = wordsHold(v, snap.head.Card.Hours, now)
	host := v.Hostname
	if v.Address.IsValid() {
		snap.address = v.Address.String()
		if host = snap.address; v.Address.Is6() {
			host = "[" + host + "]"
		}
	}
	snap.location = []string{"http://" + host + "/"}
	snap.secure = "https://" + host
	if u, err := url.Parse(v.PortalURL); err == nil && u.Scheme == "https" && u.Host != "" {
		snap.portalHost = u.Hostname()
		snap.portal = "https://" + u.Host + "/"
	}
	return snap
}

// card returns the centre's card for pages.
func card(c *state.Card) (shown web.Card) {
	if c == nil {
		return shown
	}
	shown = web.Card{Address: c.Address, Postcode: c.Postcode, Town: c.Town, Phone: c.Phone, Desk: c.Desk}
	if c.Hours != "" {
		desk, _ := hours.Parse(c.Hours) // the configuration has checked them
		shown.Hours = desk.InZone(hours.SchoolZone(c.SchoolZone))
	}
	if c.Located {
		shown.At = &web.Point{Latitude: c.Latitude, Longitude: c.Longitude}
	}
	return shown
}

// wordsHold returns when the words for a Site's times expire: at the next midnight, at the first of these times, or when the desk
// next opens or closes, whichever comes first.
func wordsHold(v state.Site, desk *hours.Schedule, now time.Time) time.Time {
	y, m, d := now.In(v.Location).Date()
	until := hours.DayStart(y, m, d+1, v.Location)
	changes, _, _ := desk.Next(now.In(v.Location))
	for _, t := range []time.Time{v.Opens, v.Resets, v.Resumes, v.DataResets, changes} {
		if t.After(now) && t.Before(until) {
			until = t
		}
	}
	return until
}

// current returns the snapshot for a Site and the shares' current versions.
func (s *Server) current(v *state.Site, now time.Time) *snapshot {
	snap := s.snapshot.Load()
	if snap != nil && snap.site == *v && s.shows(snap.versions) && !now.Before(snap.from) && now.Before(snap.until) {
		return snap
	}
	versions := make([]uint64, len(s.shares))
	for i, share := range s.shares {
		versions[i] = share.Version()
	}
	snap = s.newSnapshot(*v, versions, now)
	s.snapshot.Store(snap)
	return snap
}

// shows says whether these are the shares' current versions.
func (s *Server) shows(versions []uint64) bool {
	for i, share := range s.shares {
		if share.Version() != versions[i] {
			return false
		}
	}
	return true
}

// pageKey names a page that is the same for all residents.
type pageKey struct {
	name   string // one of this package's pages, or a share's
	words  *web.Words
	chosen bool // the language was chosen by a link
	stays  bool
}

// keptPage is a rendered page.
type keptPage struct {
	*web.Document
	status int
}

// maxPages bounds the cached pages, in bytes. All lessons with all their pictures take 3 MB in two languages; the pages that
// residents read take much less.
const maxPages = 4 << 20

// cache keeps rendered pages in two generations: at most maxPages, the most recently requested ones. The zero value is
// empty.
type cache struct {
	mu         sync.RWMutex
	young, old map[pageKey]keptPage // an old page that is requested becomes young
	size       int                  // of the young generation, in bytes
}

// get returns a cached page.
func (c *cache) get(k pageKey) (p keptPage, ok bool) {
	c.mu.RLock()
	p, young := c.young[k]
	ok = young
	if !young {
		p, ok = c.old[k]
	}
	c.mu.RUnlock()
	if ok && !young {
		c.put(k, p)
	}
	return p, ok
}

// put caches a page. If the young generation would exceed half of maxPages, it becomes the old one, and the old one is dropped.
func (c *cache) put(k pageKey, p keptPage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.young == nil || c.size+p.Size() > maxPages/2 {
		c.old, c.young, c.size = c.young, make(map[pageKey]keptPage), 0
	}
	if _, known := c.young[k]; !known {
		c.size += p.Size()
		k.name = strings.Clone(k.name) // a substring of the request would keep all of it in memory
	}
	c.young[k] = p
}
