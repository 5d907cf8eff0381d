package captive

import (
	"errors"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/tutorials/lessons"
)

var (
	anyLink = regexp.MustCompile(`href="([^"]*)"`)
	anyID   = regexp.MustCompile(` id="([^"]*)"`)

	// narrowing matches the address of a list of places, or of a place in it, with more than one filter.
	narrowing = regexp.MustCompile(`^/places.*\?.*(q|page|service|for|care|free|open|bus|languages)=.*&(page|service|for|care|free|open|bus|languages)=`)
	// reachable matches links that need the internet, a phone or a mail program, and data: addresses: they are not followed.
	reachable = regexp.MustCompile(`^(data:|https://|mailto:|tel:|sms:)`)
)

// Every link on every page, from the first one on, leads to an existing page of the box, and to an existing fragment on it.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	withPlaces(t, b)
	s := newServer(b)
	seen, stories := map[string]map[string]bool{}, 0
	wanted := map[string]string{} // the page with the link, by the link's page and fragment
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
		if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
			return
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
				if narrowing.MatchString(link) || strings.HasPrefix(link, "/lend/") {
					continue // the filters of places combine to thousands of pages, and the form is served over https
				}
				visit(link)
			} else if !reachable.MatchString(link) {
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

// The lessons are available in every State, for everybody, and each page is small.
func TestLessonsInEveryState(t *testing.T) {
	t.Parallel()
	most := 0
	for _, state := range []state.State{
		state.Starting, state.Fault, state.Setup, state.Paused, state.Closed, state.Exhausted, state.Offline, state.Sharing,
	} {
		for _, authorized := range []bool{false, true} {
			b := newFakeBox()
			b.site.State = state
			if authorized {
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
					t.Errorf("%s, authorized %v: %s is %d bytes with status %d", state, authorized, path, weight, res.StatusCode)
				}
			}
		}
	}
	t.Logf("the heaviest: %d bytes", most)
}

// A lesson without a video has at most 40 kB on the wire with its headers, with and without compression.
func TestLessonWeight(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	const header, limit = 700, 40_000
	most, packed := 0, 0
	for _, p := range lessons.Own().Paths() {
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
		"/tutorials/nope/1", "/tutorials/premiers-pas/1", "/tutorials/media/", "/tutorials/media/p/a.mp4",
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

// pageCount returns the number of cached pages.
func pageCount(s *Server) int {
	kept := &s.snapshot.Load().pages
	return len(kept.young) + len(kept.old)
}

// A search shows lessons and the matching step, tolerates typing errors, and escapes the query.
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
		if strings.Contains(page, "<img") || strings.Contains(page, strings.Repeat("é", 201)) {
			t.Errorf("%.40q is on the page as it came", q)
		}
	}
	// The language can be changed without a new search.
	if page := search("wifi & co"); !strings.Contains(page, `href="/tutorials?lang=en&amp;q=wifi&#43;%26&#43;co"`) {
		t.Errorf("what was asked is lost with the language:\n%s", page)
	}
	if n := pageCount(s); n != 0 {
		t.Errorf("%d searches are kept", n)
	}
}

// The cached pages have a bound, and those in use stay.
func TestCache(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	ask(t, s, "GET /tutorials")
	c := &s.snapshot.Load().pages
	often := pageKey{name: "/tutorials", words: s.catalog.Language("fr")}
	first, ok := c.get(often)
	if !ok {
		t.Fatal("a page is not kept")
	}
	for i := range 4 * maxPages / first.Size() {
		c.put(pageKey{name: strconv.Itoa(i)}, first)
		if p, _ := c.get(often); p != first {
			t.Fatalf("after %d pages one that is asked for each time is gone", i)
		}
		if kept := (len(c.young) + len(c.old)) * first.Size(); kept > maxPages {
			t.Fatalf("%d bytes are kept", kept)
		}
	}
}

// withPack gives the box a pack of lessons with a video, and one of pages.
func withPack(t *testing.T, b *fakeBox) {
	t.Helper()
	dir, from := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"jardin/arroser/en.md": `+++
title = "Watering"
level = 1
+++
For people who have a garden.

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
	i := lessons.Importer{Dir: dir, MaxSize: lessons.DefaultMaxSize, Now: time.Now, Progress: func(int64, int64) {}}
	for _, name := range []string{"jardin", "jeu"} {
		if _, err := i.Import(t.Context(), filepath.Join(from, name), name); err != nil {
			t.Fatal(err)
		}
	}
	library, problems := lessons.Load(dir)
	if problems != nil {
		t.Fatal(problems)
	}
	b.tutorials.Show(library)
}

// A pack is available once it is imported. A lesson in another language says so. The size of its video is shown before the video
// is loaded, and ranges of it can be requested.
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
		if origin := ask(t, s, "GET "+test.path).Header.Get("Access-Control-Allow-Origin"); (origin == "*") != strings.HasPrefix(test.path, jeu) {
			t.Errorf("%s may be read by %q", test.path, origin)
		}
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
	for path, to := range map[string]string{"/packs/jardin": "/tutorials/jardin", "/packs/Jeu": "/packs/jeu", "/packs/jeu/": "/packs/jeu"} {
		want(t, ask(t, s, "GET "+path), http.StatusFound, "Location: "+to)
	}
	for _, path := range []string{
		"/tutorials/media/jardin/.pack.json", "/tutorials/media/jeu/index.html", "/packs/none", "/packs/jardin/arroser/en.md",
		jeu + "nope.js", jeu + "../jardin/arroser/en.md", jeu + ".pack.json",
	} {
		if res := ask(t, s, "GET "+path); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
	}
	// A pack's page is shown in its frame, whichever path leads to it.
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
