package captive

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"passerelle/captive/web"
)

// garden is a page of a share that only this test has.
type garden struct {
	web.Frame
	Said string
}

func (garden) Template() string { return "garden/garden" }

// gardenBox is a box that mounts one more share, a minimal one.
type gardenBox struct {
	*fakeBox
	made, version atomic.Uint64 // rendered pages, and their version
}

func (b *gardenBox) shares() []web.Share {
	words := func(said string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("[garden]\ntitle = \"" + said + "\"\n[unit]\nnote.one = \"{number} note\"\nnote.other = \"{number} notes\"")}
	}
	return append(b.fakeBox.shares(), web.Share{
		Name: "garden",
		Files: fstest.MapFS{
			"pages/garden.html": {Data: []byte(`{{define "main"}}<h1>{{t "garden.title"}}</h1><p class="said">{{.Said}}</p>{{end}}` +
				`{{define "style"}}<style>{{style "garden"}}</style>{{end}}`)},
			"pages/garden.css": {Data: []byte(".said{margin:0}")},
			"words/fr.toml":    words("Le jardin"), "words/en.toml": words("The garden"),
		},
		Routes: map[string]web.Route{
			"/garden": {
				Get: func(w http.ResponseWriter, r *web.Request) {
					if r.Kept(w, "/garden") {
						return
					}
					b.made.Add(1)
					said := fmt.Sprint("<", b.version.Load(), ">, ", r.Words.Count("note", 2))
					r.Keep(w, "/garden", garden{r.Frame("/garden", r.Words.T("garden.title")), said}, http.StatusOK)
				},
				Post: func(w http.ResponseWriter, r *web.Request) {
					b.version.Add(1)
					r.Lead(w, http.StatusSeeOther, "/garden")
				},
			},
			"/notes/": {Get: func(w http.ResponseWriter, r *web.Request) { fmt.Fprint(w, r.URL.Path) }},
		},
		Version: b.version.Load,
		Doors: func(w *web.Words) []web.Door {
			return []web.Door{{Href: "/garden", Pictogram: "pin", Title: w.T("garden.title")}}
		},
		Search: func(w *web.Words, query string, _ int) (found []web.Found) {
			if strings.Contains(query, "drill") {
				found = []web.Found{{Title: "Tools", Pictogram: "tool", Tiles: []web.Tile{{Href: "/garden", Title: "A drill"}}, Sure: 1}}
			}
			return found
		},
	})
}

// TestShare: a share brings its pages, words, paths, doors and search results, and no other code needs to know about it.
func TestShare(t *testing.T) {
	t.Parallel()
	b := &gardenBox{fakeBox: newFakeBox()}
	s := newServer(b)
	says := func(line string, parts ...string) {
		t.Helper()
		res := ask(t, s, line)
		page := body(t, res)
		for _, part := range parts {
			if !strings.Contains(page, part) {
				t.Errorf("%s: no %s in:\n%s", line, part, page)
			}
		}
	}
	says("GET /", `href="/tutorials"`, `<a class="door" href="/garden">`, "<strong>Le jardin</strong>")
	says("GET /garden?lang=en", `<html lang="en"`, "<h1>The garden</h1>", "&lt;0&gt;, 2\u00a0notes", ".said{margin:0}", `href="/garden?lang=fr"`)
	for range 3 {
		says("GET /garden", `<html lang="fr"`, "<h1>Le jardin</h1>", "&lt;0&gt;")
	}
	if n := b.made.Load(); n != 2 {
		t.Errorf("the page was made %d times in two languages", n)
	}
	want(t, ask(t, s, "POST /garden?lang=en"), http.StatusSeeOther, "Location: /garden?lang=en", "Cache-Control: no-store")
	says("GET /garden", "&lt;1&gt;")
	want(t, ask(t, s, "POST /garden", "Origin: http://evil.example"), http.StatusForbidden)
	says("GET /garden", "&lt;1&gt;")
	want(t, ask(t, s, "DELETE /garden"), http.StatusMethodNotAllowed, "Allow: GET, HEAD, POST")
	want(t, ask(t, s, "POST /notes/1"), http.StatusMethodNotAllowed, "Allow: GET, HEAD")
	says("GET /notes/a/b", "/notes/a/b")
	says("GET /notes", "/notes")
	want(t, ask(t, s, "GET /notesx"), http.StatusNotFound)
	says("GET /tutorials?q=drill", `href="/garden"`, "<span>Tools</span>", "A drill")
	says("GET /tutorials?q=wifi", `href="/tutorials/wifi`)

	// A path or a message has one owner.
	for what, twice := range map[string]web.Share{
		"path":    {Name: "other", Files: fstest.MapFS{}, Routes: map[string]web.Route{"/session": {}}},
		"message": {Name: "other", Files: fstest.MapFS{"words/fr.toml": {Data: []byte("[page]\nhome = \"x\"")}}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("the same %s twice is taken", what)
				}
			}()
			ask(t, New(b, quiet, s.now, twice), "GET /?lang=fr")
		}()
	}
}
