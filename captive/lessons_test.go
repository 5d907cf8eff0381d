package captive

import (
	"errors"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/decide"
	"passerelle/captive/tutorials"
)

var (
	anyLink = regexp.MustCompile(`href="([^"]*)"`)
	anyID   = regexp.MustCompile(` id="([^"]*)"`)
)

// Every link on every page, from the first one on, leads to a page of the box that is there, and to a place on it.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	seen, stories := map[string]map[string]bool{}, 0
	wanted := map[string]string{} // page and place: where the link stands
	var visit func(string)
	visit = func(path string) {
		if seen[path] != nil {
			return
		}
		ids := map[string]bool{}
		seen[path] = ids
		res := ask(t, s, "GET "+path)
		page := body(t, res)
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
		if strings.Contains(path, "lang=en") != strings.Contains(page, `<html lang="en"`) {
			t.Errorf("%s is in the wrong language", path)
		}
		if strings.Contains(page, `class="progress"`) {
			stories++
		}
		for _, m := range anyID.FindAllStringSubmatch(page, -1) {
			if ids[m[1]] {
				t.Errorf("%s: id %q twice", path, m[1])
			}
			ids[m[1]] = true
		}
		for _, m := range anyLink.FindAllStringSubmatch(page, -1) {
			link, place, placed := strings.Cut(html.UnescapeString(m[1]), "#")
			if link == "" {
				link = path
			}
			if placed {
				wanted[link+"#"+place] = path
			}
			if strings.HasPrefix(link, "/") {
				visit(link)
			} else if !strings.HasPrefix(link, "data:") && !strings.HasPrefix(link, "https://") {
				t.Errorf("%s: a link to %q", path, m[1])
			}
		}
	}
	visit("/?lang=fr")
	visit("/?lang=en")
	for target, from := range wanted {
		if page, place, _ := strings.Cut(target, "#"); strings.HasPrefix(page, "/") && !seen[page][place] {
			t.Errorf("%s: no place %q on %s", from, place, page)
		}
	}
	if len(seen) < 400 || stories < 300 {
		t.Errorf("only %d pages were found, %d of them pictures", len(seen), stories)
	}
}

// The lessons are there in every State, for everybody, and each page weighs little.
func TestLessonsInEveryState(t *testing.T) {
	t.Parallel()
	most := 0
	for _, state := range []decide.State{
		decide.Starting, decide.Fault, decide.Setup, decide.Paused, decide.Closed, decide.Exhausted, decide.Offline, decide.Sharing,
	} {
		for _, admitted := range []bool{false, true} {
			b := newFakeBox()
			b.view.State = state
			if admitted {
				b.has(nil)
			}
			s := newServer(b)
			for _, path := range []string{
				"/tutorials", "/tutorials/", "/tutorials?q=wifi", "/tutorials/premiers-pas", "/tutorials/wifi", "/tutorials/wifi/1",
				"/tutorials/wifi/9", "/helpers", "/accessibility",
			} {
				res := ask(t, s, "GET "+path, "Accept-Encoding: gzip")
				weight := len(body(t, res))
				if most = max(most, weight); res.StatusCode != http.StatusOK || weight > 15_000 {
					t.Errorf("%s, admitted %v: %s is %d bytes with status %d", state, admitted, path, weight, res.StatusCode)
				}
			}
		}
	}
	t.Logf("the heaviest: %d bytes", most)
}

// A lesson without a film weighs at most 40 kB on the wire, its headers included, whatever the client unpacks.
func TestLessonWeight(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	const header, limit = 700, 40_000
	most, packed := 0, 0
	for _, p := range tutorials.Own().Paths() {
		for _, slug := range p.Lessons {
			plain := len(body(t, ask(t, s, "GET /tutorials/"+slug)))
			if plain+header > limit {
				t.Errorf("%s: %d bytes", slug, plain)
			}
			most = max(most, plain)
			packed = max(packed, len(body(t, ask(t, s, "GET /tutorials/"+slug, "Accept-Encoding: gzip"))))
		}
	}
	t.Logf("the heaviest: %d bytes, compressed %d", most, packed)
}

func TestUnknownLessons(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	for _, path := range []string{
		"/tutorials/nope", "/tutorials/wifi/0", "/tutorials/wifi/10", "/tutorials/wifi/01", "/tutorials/wifi/+1", "/tutorials/wifi/1/2",
		"/tutorials/wifi/", "/tutorials/nope/1", "/tutorials/premiers-pas/1", "/tutorials/media/", "/tutorials/media/p/a.mp4",
		"/tutorials/media/../../etc/passwd", "/packs/", "/packs/p", "/packs/p/%2e%2e/%2e%2e/x", "/tutorials/wifi/" + strings.Repeat("9", 30),
	} {
		res := ask(t, s, "GET "+path)
		if page := body(t, res); res.StatusCode != http.StatusNotFound || !strings.Contains(page, `class="button" href="/tutorials"`) {
			t.Errorf("%s: status %d:\n%s", path, res.StatusCode, page)
		}
	}
	if res := ask(t, s, "POST /tutorials/wifi"); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("a POST: status %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
	}
	if n := pageCount(s); n > 2 {
		t.Errorf("%d pages are kept of what is not there", n)
	}
}

// pageCount is how many pages the server keeps.
func pageCount(s *Server) int {
	shelf := &s.edition.Load().pages
	return len(shelf.young) + len(shelf.old)
}

// A search shows lessons and the step that says it, forgives, and what was asked is but text.
func TestSearch(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	search := func(q string) string {
		t.Helper()
		res := ask(t, s, "GET /tutorials?q="+url.QueryEscape(q))
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%.40q: status %d", q, res.StatusCode)
		}
		return body(t, res)
	}
	if page := search("mot de pase"); !strings.Contains(page, `href="/tutorials/mots-de-passe`) {
		t.Errorf("a wrong letter is not forgiven:\n%s", page)
	}
	if page := search("roue dentée"); !strings.Contains(page, `href="/tutorials/wifi#s2"`) {
		t.Errorf("no way to the step:\n%s", page)
	}
	for _, q := range []string{"zzzzqqqq", `"><img qqqqzz>`, "\xff\x00", strings.Repeat("é", 5000)} {
		page := search(q)
		if !strings.Contains(page, "Nous n’avons rien trouvé") || !strings.Contains(page, `href="/tutorials/premiers-pas"`) {
			t.Errorf("%.40q: no kind words, or no paths:\n%.3000s", q, page)
		}
		if strings.Contains(page, "<img") || strings.Contains(page, strings.Repeat("é", maxQuery+1)) {
			t.Errorf("%.40q is on the page as it came", q)
		}
	}
	// The language can be changed without asking again.
	if page := search("wifi & co"); !strings.Contains(page, `href="/tutorials?lang=en&amp;q=wifi&#43;%26&#43;co"`) {
		t.Errorf("what was asked is lost with the language:\n%s", page)
	}
	if n := pageCount(s); n != 0 {
		t.Errorf("%d searches are kept", n)
	}
}

// The finished pages that are kept have a bound, and those that are asked for stay.
func TestShelf(t *testing.T) {
	t.Parallel()
	e := newEdition(aView(), tutorials.Own(), noon)
	words := e.languages.Others(nil)[0]
	often := pageKey{page: lessons, words: words}
	first, err := e.document(often)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 * maxPages / first.Size() {
		e.pages.put(pageKey{page: lesson, number: i}, first)
		if d, err := e.document(often); d != first || err != nil {
			t.Fatalf("after %d pages one that is asked for each time is gone: %v", i, err)
		}
		if kept := (len(e.pages.young) + len(e.pages.old)) * first.Size(); kept > maxPages {
			t.Fatalf("%d bytes are kept", kept)
		}
	}
}

// withPack gives the box a pack of lessons with a film, and one of pages.
func withPack(t *testing.T, b *fakeBox) {
	t.Helper()
	dir, from := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"jardin/arroser/en.md": `+++
title = "Watering"
level = 1
+++
For whoever has a garden.

## Watch the film.
![A can.](can.mp4)

## Look at the flower.
![A flower.](flower.svg)
`,
		"jardin/arroser/can.mp4":    "\x00\x00\x00\x18ftypisom" + strings.Repeat("film", 500_000),
		"jardin/arroser/can.fr.vtt": "WEBVTT\n",
		"jardin/arroser/flower.svg": `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><text>Flower</text></svg>`,
		"jeu/index.html":            `<script src="jeu.js"></script>`,
		"jeu/jeu.js":                "1",
	} {
		path := filepath.Join(from, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	i := tutorials.Importer{Dir: dir, Most: tutorials.MostBytes, Now: time.Now, Progress: func(int64, int64) {}}
	for _, name := range []string{"jardin", "jeu"} {
		if _, err := i.Import(t.Context(), filepath.Join(from, name), name); err != nil {
			t.Fatal(err)
		}
	}
	lessons, problems := tutorials.Load(dir)
	if problems != nil {
		t.Fatal(problems)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lessons = lessons
}

// A pack is there as soon as it was imported. A lesson that is in another language says so. Its film says its size before
// anything of it is loaded, and can be asked for in parts.
func TestPack(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b)
	const lesson = "/tutorials/jardin-arroser"
	if res := ask(t, s, "GET "+lesson); res.StatusCode != http.StatusNotFound {
		t.Fatalf("before the import: status %d", res.StatusCode)
	}
	withPack(t, b)
	page := body(t, ask(t, s, "GET "+lesson))
	for _, part := range []string{
		"Cette leçon n’est pas encore dans votre langue.", `<article lang="en" dir="ltr">`,
		`<video controls preload="none"`, `src="/tutorials/media/jardin/arroser/can.mp4" type="video/mp4"`,
		`srclang="fr" label="Français"`, "Ce film pèse 2\u00a0mégaoctets.", `<img class="drawing" src="/tutorials/media/jardin/arroser/flower.svg"`,
	} {
		if !strings.Contains(page, part) {
			t.Errorf("the lesson lacks %q:\n%s", part, page)
		}
	}
	if page := body(t, ask(t, s, "GET /tutorials")); !strings.Contains(page, `href="/packs/jeu"`) {
		t.Error("no way to the pack's pages")
	}
	frame := body(t, ask(t, s, "GET /packs/jeu"))
	m := regexp.MustCompile(`<iframe class="pack" src="(/packs/jeu/[0-9a-f]{16}/)" title="jeu" sandbox="allow-scripts">`).FindStringSubmatch(frame)
	if m == nil {
		t.Fatalf("no frame:\n%s", frame)
	}
	jeu := m[1]
	for _, test := range []struct {
		path, mediaType, policy string
		header                  string
		status, size            int
	}{
		{"/tutorials/media/jardin/arroser/can.mp4", "video/mp4", "sandbox; default-src 'none';", "Range: bytes=0-99", 206, 100},
		{"/tutorials/media/jardin/arroser/can.fr.vtt", "text/vtt; charset=utf-8", "sandbox; default-src 'none';", "", 200, 7},
		{"/tutorials/media/jardin/arroser/flower.svg", "image/svg+xml", "sandbox; default-src 'none';", "", 200, 83},
		{jeu, "text/html; charset=utf-8", "sandbox allow-scripts; default-src 'none';", "", 200, 30},
		{jeu + "index.html", "text/html; charset=utf-8", "sandbox allow-scripts; default-src 'none';", "", 200, 30},
		{jeu + "jeu.js", "text/javascript; charset=utf-8", "sandbox allow-scripts; default-src 'none';", "", 200, 1},
	} {
		headers := []string{"Accept: */*"}
		if test.header != "" {
			headers = append(headers, test.header)
		}
		res := ask(t, s, "GET "+test.path, headers...)
		size, h := len(body(t, res)), res.Header
		if res.StatusCode != test.status || size != test.size {
			t.Errorf("%s: status %d and %d bytes", test.path, res.StatusCode, size)
		}
		if h.Get("Content-Type") != test.mediaType || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", test.path, h)
		}
		if policy := h.Get("Content-Security-Policy"); !strings.HasPrefix(policy, test.policy) || strings.Contains(policy, "allow-same-origin") {
			t.Errorf("%s: policy %q", test.path, policy)
		}
	}
	for _, path := range []string{
		"/tutorials/media/jardin/.pack.json", "/tutorials/media/jeu/index.html", "/packs/jardin", "/packs/jardin/arroser/en.md",
		jeu + "nope.js", jeu + "../jardin/arroser/en.md", jeu + ".pack.json",
	} {
		if res := ask(t, s, "GET "+path); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
	}
	// A pack's page is shown in its frame, whatever else leads to it.
	for _, path := range []string{"/packs/jeu/", "/packs/jeu/index.html", "/packs/jeu/0123456789abcdef/index.html?lang=en", strings.TrimSuffix(jeu, "/")} {
		res := ask(t, s, "GET "+path)
		if to, _, _ := strings.Cut(res.Header.Get("Location"), "?"); res.StatusCode != http.StatusFound || to != "/packs/jeu" {
			t.Errorf("%s: status %d to %q", path, res.StatusCode, to)
		}
	}
	if res := ask(t, s, "GET "+jeu, "Sec-Fetch-Dest: document"); res.StatusCode != http.StatusFound {
		t.Errorf("in a window of its own: status %d", res.StatusCode)
	}
}
