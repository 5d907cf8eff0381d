// Package tutorials is a share: the lessons, and packs' pages. It owns their pages, words, addresses and search results. Package
// lessons owns the lessons themselves. Package tutorials depends neither on the box nor on other shares.
package tutorials

import (
	"embed"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/web"
)

//go:embed pages/*.html pages/*.css words/*.toml
var files embed.FS

// Bounds on a search.
const (
	maxQuery = 200 // characters of a query
	maxHits  = 12
)

// Tutorials shows a library. Create one with New; its methods are safe for concurrent use.
type Tutorials struct {
	dir   string
	log   *slog.Logger
	shown atomic.Pointer[shown]

	opened atomic.Uint64 // how often a lesson was opened
}

// shown is a library with its version.
type shown struct {
	*lessons.Library
	version uint64
}

// New returns a share that shows the built-in lessons; Refresh adds the packs in a folder.
func New(dir string, log *slog.Logger) *Tutorials {
	t := &Tutorials{dir: dir, log: log}
	t.shown.Store(&shown{Library: lessons.Own()})
	return t
}

// Refresh reads the packs again. It skips a broken one.
func (t *Tutorials) Refresh() {
	library, problems := lessons.Load(t.dir)
	for _, err := range problems {
		t.log.Warn("lessons are missing: import the pack again, or remove it", "error", err)
	}
	t.Show(library)
}

// Show replaces the library.
func (t *Tutorials) Show(l *lessons.Library) {
	for {
		before := t.shown.Load()
		if t.shown.CompareAndSwap(before, &shown{l, before.version + 1}) {
			return
		}
	}
}

// Library returns the current library.
func (t *Tutorials) Library() *lessons.Library { return t.shown.Load().Library }

// Share returns what the residents' server mounts.
func (t *Tutorials) Share() web.Share {
	return web.Share{
		Name: "tutorials", Files: files,
		Routes: map[string]web.Route{
			"/tutorials":  {Get: t.overview},
			"/tutorials/": {Get: t.lesson},
			"/packs/":     {Get: t.pack},
			"/helpers":    {Get: t.helpers},
		},
		Refresh: t.Refresh,
		Version: func() uint64 { return t.shown.Load().version },
		Doors:   doors,
		Opened:  t.opened.Load,
		Search:  t.search,
	}
}

// doors returns the links to the lessons, and to the page for helpers.
func doors(w *web.Words) []web.Door { return []web.Door{lessonsDoor(w), helpersDoor(w)} }

func lessonsDoor(w *web.Words) web.Door {
	return web.Door{Href: "/tutorials", Pictogram: "book", Title: w.T("learn.title"), Text: w.T("learn.text"), Session: true}
}

func helpersDoor(w *web.Words) web.Door {
	return web.Door{Href: "/helpers", Pictogram: "people", Title: w.T("help.title"), Text: w.T("help.text")}
}

// overview lists all lessons, or the search results of all shares.
func (t *Tutorials) overview(w http.ResponseWriter, r *web.Request) {
	const name = "/tutorials"
	asked := strings.TrimSpace(r.URL.Query().Get("q"))
	if asked != "" {
		if cut := []rune(asked); len(cut) > maxQuery {
			asked = string(cut[:maxQuery])
		}
		r.Serve(w, newSearch(r, t.Library(), strings.ToValidUTF8(asked, "")), http.StatusOK)
	} else if !r.Kept(w, name) {
		r.Keep(w, name, newOverview(r, t.Library()), http.StatusOK)
	}
}

// lesson serves the paths below /tutorials/: a path of lessons, a lesson, one of its pictures, or a pack's file.
func (t *Tutorials) lesson(w http.ResponseWriter, r *web.Request) {
	if slug := strings.TrimPrefix(r.URL.Path, "/tutorials/"); r.Method == http.MethodGet {
		if _, ok := t.Library().Lesson(slug, r.Words.Code); ok {
			t.opened.Add(1)
		}
	}
	if slug, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/tutorials/"), fileSuffix); ok && t.file(w, r, slug) {
		return
	}
	if r.Kept(w, r.URL.Path) {
		return
	}
	below := strings.TrimPrefix(r.URL.Path, "/tutorials/")
	usual := strings.ToLower(strings.TrimRight(below, "/"))
	switch file, media := strings.CutPrefix(below, "media/"); {
	case usual == "":
		t.overview(w, r)
		return
	case media:
		t.media(w, r, file)
		return
	}
	if page := t.page(r, below); page != nil {
		r.Keep(w, r.URL.Path, page, http.StatusOK)
	} else if usual != below && t.page(r, usual) != nil { // requested in capitals or with a trailing slash
		r.Lead(w, http.StatusFound, "/tutorials/"+usual)
	} else {
		t.missing(w, r)
	}
}

// page returns the page below /tutorials/: a path of lessons, a lesson or one of its pictures; nil for none.
func (t *Tutorials) page(r *web.Request, below string) web.Page {
	slug, rest, deeper := strings.Cut(below, "/")
	l := t.Library()
	if deeper {
		return newStory(r, l, slug, pictureNumber(rest))
	} else if path, ok := l.Path(slug); ok {
		return newPath(r, l, path)
	}
	return newLesson(r, l, slug)
}

// pictureNumber parses the number of a picture; it returns 0 if it is invalid.
func pictureNumber(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || strconv.Itoa(n) != text {
		return 0
	}
	return n
}

// missing says that there is no such lesson.
func (t *Tutorials) missing(w http.ResponseWriter, r *web.Request) {
	const name = "tutorials.missing"
	if !r.Kept(w, name) {
		r.Keep(w, name, web.Notice{
			Frame:     r.Frame("/", r.Words.T("tutorials.missing.title")),
			Pictogram: "search", Lines: r.Words.Lines("tutorials.missing.text"),
			To: &web.Link{Href: "/tutorials", Text: r.Words.T("tutorials.all")},
		}, http.StatusNotFound)
	}
}

// helpers serves the page for helpers.
func (t *Tutorials) helpers(w http.ResponseWriter, r *web.Request) {
	const name = "/helpers"
	if !r.Kept(w, name) {
		r.Keep(w, name, newHelpers(r), http.StatusOK)
	}
}

// search finds lessons, and the page for helpers.
func (t *Tutorials) search(w *web.Words, query string, most int) []web.Found {
	found := web.Found{Title: w.T("tutorials.lessons"), Pictogram: "book"}
	helpers := web.Found{Title: w.T("help.title"), Pictogram: "people"}
	var pictures []lessons.Drawing
	for _, hit := range t.Library().Search(w.Code, query, most) {
		if hit.Lesson == nil {
			helpers.Sure, helpers.Tiles = hit.Sure, []web.Tile{newHelpersTile(w)}
			continue
		}
		tile, picture := newHit(w, hit)
		found.Sure = max(found.Sure, hit.Sure)
		found.Tiles, pictures = append(found.Tiles, tile), append(pictures, picture)
	}
	found.Sprite = lessons.Sprite(pictures...)
	return []web.Found{found, helpers}
}
