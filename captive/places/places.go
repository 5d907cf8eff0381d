// Package places is a share: the places where people help, the telephone numbers that work without internet, and the questions that
// lead to them. It owns their pages, words, addresses, the plan and the search results. Package directory owns the lists of places.
// Package places does not depend on the box. Of the other shares it only knows the built-in lessons, which the questions lead to.
package places

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"passerelle/captive/places/directory"
	"passerelle/captive/places/needs"
	"passerelle/captive/web"
)

//go:embed pages/*.html pages/*.css words/*.toml
var files embed.FS

// Places shows the lists and numbers in a folder. Create one with New; its methods are safe for concurrent use.
type Places struct {
	dir string
	log *slog.Logger

	guide atomic.Pointer[needs.Guide] // the questions of /needs

	mu      sync.RWMutex // held while the directory is read, never while an answer is sent
	lists   *directory.Directory
	numbers []Number
	version uint64

	foundNumbers *numberIndex // the search index of numbers
}

// New returns a share of the lists in a folder, which is read by the share's Refresh.
func New(dir string, log *slog.Logger) *Places {
	lists, _ := directory.Open("") // no lists
	p := &Places{dir: dir, log: log, lists: lists, numbers: builtInNumbers()}
	p.foundNumbers = newNumberIndex(p.numbers)
	p.guide.Store(needs.Own())
	return p
}

// Share returns what the residents' server mounts.
func (p *Places) Share() web.Share {
	routes := map[string]web.Route{
		"/places":         {Get: p.overview},
		"/places/":        {Get: p.below},
		"/places/numbers": {Get: p.numbersPage},
	}
	for path, r := range p.needsRoutes() {
		routes[path] = r
	}
	return web.Share{
		Name: "places", Files: files, Routes: routes,
		Refresh: p.refresh, Version: p.currentVersion, Doors: doors, Search: p.search,
	}
}

// doors returns the door to the questions, which lead to lessons, people and places.
func doors(w *web.Words) []web.Door {
	return []web.Door{{Href: "/needs", Pictogram: "lifebuoy", Title: w.T("places.door"), Text: w.T("places.door-text"), Session: true}}
}

// placesDoor returns a door to the places.
func placesDoor(w *web.Words) web.Door {
	return web.Door{Href: "/places", Pictogram: "pin", Title: w.T("places.title"), Text: w.T("places.text")}
}

// numbersDoor returns a door to the numbers.
func numbersDoor(w *web.Words) web.Door {
	return web.Door{Href: "/places/numbers", Pictogram: "phone", Title: w.T("number.title"), Text: w.T("number.text")}
}

// refresh reads the folder again. A broken list is left out, and broken numbers are replaced by the built-in ones.
func (p *Places) refresh() {
	p.refreshNeeds()
	lists, problems := directory.Open(p.dir)
	for _, err := range problems {
		p.log.Warn("places are missing: import the list again, or remove it", "error", err)
	}
	numbers, err := readNumbers(p.dir)
	if err != nil {
		p.log.Warn("the built-in numbers are shown: correct the file, or remove it", "error", err)
	}
	index := newNumberIndex(numbers)
	p.mu.Lock()
	old := p.lists
	p.lists, p.numbers, p.foundNumbers = lists, numbers, index
	p.version++
	p.mu.Unlock()
	if err := old.Close(); err != nil {
		p.log.Warn("close the lists of places", "error", err)
	}
}

func (p *Places) currentVersion() uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.version
}

// nationalNumbers returns the current numbers.
func (p *Places) nationalNumbers() []Number {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.numbers
}

// overview lists the places that match the query.
func (p *Places) overview(w http.ResponseWriter, r *web.Request) {
	page, err := p.newListPage(r, parseWish(r.URL.Query()))
	if err != nil {
		p.fail(w, r, err)
		return
	}
	r.Serve(w, page, http.StatusOK)
}

// placePath matches a path below /places/: a place's ID, or its vCard.
var placePath = regexp.MustCompile(`^([0-9a-f]{16})(\.vcf)?$`)

// below serves a place's page or its vCard.
func (p *Places) below(w http.ResponseWriter, r *web.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/places/")
	if name == "" {
		p.overview(w, r)
		return
	}
	m := placePath.FindStringSubmatch(name)
	if m == nil {
		p.missing(w, r)
		return
	}
	p.mu.RLock()
	place, err := p.lists.Place(m[1])
	p.mu.RUnlock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.missing(w, r)
	case err != nil:
		p.fail(w, r, err)
	case m[2] != "":
		h := w.Header()
		h.Set("Content-Type", "text/vcard; charset=utf-8")
		h.Set("Content-Disposition", `attachment; filename="`+m[1]+`.vcf"`)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		fmt.Fprint(w, vCard(place)) // an error means that the client is gone
	default:
		r.Serve(w, p.newPlacePage(r, place, parseWish(r.URL.Query())), http.StatusOK)
	}
}

// numbersPage lists the national numbers.
func (p *Places) numbersPage(w http.ResponseWriter, r *web.Request) {
	r.Serve(w, numbersPage{
		Frame:  r.Frame("/places/numbers", r.Words.T("number.title")),
		Groups: newNumberGroups(r.Words, p.nationalNumbers(), r.Now),
		Doors:  []web.Door{placesDoor(r.Words)},
	}, http.StatusOK)
}

// missing says that there is no such place.
func (p *Places) missing(w http.ResponseWriter, r *web.Request) {
	const name = "places.missing"
	if !r.Kept(w, name) {
		r.Keep(w, name, web.Notice{
			Frame:     r.Frame("/", r.Words.T("places.missing.title")),
			Pictogram: "search", Lines: r.Words.Lines("places.missing.text"),
			To: &web.Link{Href: "/places", Text: r.Words.T("places.all")},
		}, http.StatusNotFound)
	}
}

// fail says that a list cannot be read.
func (p *Places) fail(w http.ResponseWriter, r *web.Request, err error) {
	p.log.Error("read the lists of places", "err", err)
	r.Serve(w, web.Notice{
		Frame: r.Frame("/places", r.Words.T("error.title")), Pictogram: "fault", Lines: r.Words.Lines("error.text"), Retry: true,
	}, http.StatusInternalServerError)
}

// maxFound bounds the places that the search in all shares shows. The page of places shows all.
const maxFound = 6

// search finds numbers and places, for the search in all shares.
func (p *Places) search(w *web.Words, query string, most int) []web.Found {
	p.mu.RLock()
	places, sure, err := p.lists.Search(query, min(most, maxFound))
	numbers := p.foundNumbers
	p.mu.RUnlock()
	if err != nil {
		p.log.Error("search the lists of places", "err", err)
	}
	found := web.Found{Title: w.T("places.title"), Pictogram: "pin", Sure: sure}
	for _, place := range places {
		found.Tiles = append(found.Tiles, newSearchTile(w, place))
	}
	return []web.Found{numbers.search(w, query, most), found}
}
