package captive

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// everyLanguage is all that a centre may offer.
var everyLanguage = []string{"fr", "en", "ar", "es", "pt", "uk"}

// TestNoFlaw checks every page of this package and every lesson in every language for barriers to its use: see [webtest.Judge].
// Lessons have one layout, so it checks all of them in French, and some in the other languages. Colours and wide screens are
// checked in French only.
func TestNoFlaw(t *testing.T) {
	tour(t, func(send sender) {
		for _, c := range pageCases() {
			_, path, _ := strings.Cut(c.line, " ")
			send(show(t, c), path, everyLanguage...)
		}
		site := show(t, pageCase{line: "GET /", set: func(b *fakeBox) { withPack(t, b) }})
		send(site, "/packs/jeu", everyLanguage...)
		for _, path := range []string{
			"", "?q=wifi", "?q=zzzz", "/premiers-pas", "/wifi", "/wifi/1", "/wifi/4", "/wifi/9", "/nope",
		} {
			send(site, "/tutorials"+path, everyLanguage...)
		}
		send(site, "/helpers", everyLanguage...)
		send(site, "/accessibility", everyLanguage...)
		for _, path := range lessons.Own().Paths() {
			for _, slug := range append([]string{path.Slug}, path.Lessons...) {
				send(site, "/tutorials/"+slug, "fr")
			}
		}
	})
}

// TestNoFlawInPlaces is TestNoFlaw for the pages of places, and for pages with the centre's card.
func TestNoFlawInPlaces(t *testing.T) {
	tour(t, func(send sender) {
		site := show(t, pageCase{line: "GET /", set: func(b *fakeBox) { withPlaces(t, b) }})
		lists, all := placePages(t)
		for _, path := range append(lists, all[:2]...) {
			send(site, path, everyLanguage...)
		}
		for _, path := range append(all[2:], "/", "/tutorials/wifi", "/accessibility", "/nope") {
			send(site, path, "fr", "ar")
		}
	})
}

// sender queues a page to be judged in some languages.
type sender func(site, path string, codes ...string)

// tour judges pages in two tabs of a browser of its own. The pages load nothing from elsewhere.
func tour(t *testing.T, pages func(send sender)) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	browser, asked := webtest.Browser(t)
	tab, askedToo := webtest.Tab(t, browser)
	type visit struct{ link, code string }
	visits := make(chan visit)
	var judging sync.WaitGroup
	for _, j := range []*webtest.Judge{webtest.NewJudge(t, browser), webtest.NewJudge(t, tab)} {
		judging.Go(func() {
			for v := range visits {
				judge(t, j, v.link, v.code)
			}
		})
	}
	own := map[string]bool{}
	pages(func(site, path string, codes ...string) {
		own[site] = true
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		for _, code := range codes {
			visits <- visit{site + path + sep + "lang=" + code, code}
		}
	})
	close(visits)
	judging.Wait()
	for _, url := range append(asked(), askedToo()...) {
		parts := strings.SplitAfterN(url, "/", 4)
		if !strings.HasPrefix(url, "data:") && !own[strings.TrimSuffix(strings.Join(parts[:3], ""), "/")] {
			t.Errorf("the pages made the browser ask for %s", url)
		}
	}
}

// judge fails the test for each flaw of a page.
func judge(t testing.TB, j *webtest.Judge, link, code string) {
	flaws, err := j.Page(link, code, web.Language(code).Direction, code == "fr")
	if err != nil {
		t.Error(err)
	}
	for _, flaw := range flaws {
		// The session's page reloads itself each minute, so that its numbers are right without scripts. WCAG 2.2.1 allows
		// that, since the page has a link that turns it off. axe-core does not know that link.
		if strings.Contains(link, "/session?lang=") && strings.Contains(flaw, "axe-core's meta-refresh:") {
			continue
		}
		t.Error(flaw)
	}
}

// show serves a page's case to the resident, and returns the site's address. The answer is always to the case's own method,
// so opening its path shows the result of a press.
func show(t testing.TB, c pageCase) (site string) {
	b := newFakeBox()
	b.site.Languages = strings.Join(everyLanguage, " ")
	s := c.server(t, b)
	method, _, _ := strings.Cut(c.line, " ")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr, r.Method = resident+":40000", method
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "partage.internal", 1)
}
