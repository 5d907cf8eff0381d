package captive

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"passerelle/captive/tutorials"
	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// everyLanguage is all that a centre may offer.
var everyLanguage = []string{"fr", "en", "ar", "es", "pt", "uk"}

// TestNoFlaw looks at every page in every language for whatever would keep somebody from using it: see [webtest.Judge].
// Lessons are all made alike: it looks at all in French, and at some in the other languages. So are colours and wide
// screens: it looks at them in French.
func TestNoFlaw(t *testing.T) {
	labtest.Root(t, "chromium")
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
	send := func(link string, codes ...string) {
		sep := "?"
		if strings.Contains(link, "?") {
			sep = "&"
		}
		for _, code := range codes {
			visits <- visit{link + sep + "lang=" + code, code}
		}
	}
	own := map[string]bool{}
	for _, c := range pageCases() {
		site := show(t, c)
		own[site] = true
		_, path, _ := strings.Cut(c.line, " ")
		send(site+path, everyLanguage...)
	}
	site := show(t, pageCase{line: "GET /", set: func(b *fakeBox) { withPack(t, b) }})
	own[site] = true
	send(site+"/packs/jeu", everyLanguage...)
	for _, path := range []string{
		"", "?q=wifi", "?q=zzzz", "/premiers-pas", "/wifi", "/wifi/1", "/wifi/4", "/wifi/9", "/nope",
	} {
		send(site+"/tutorials"+path, everyLanguage...)
	}
	send(site+"/helpers", everyLanguage...)
	send(site+"/accessibility", everyLanguage...)
	for _, path := range tutorials.Own().Paths() {
		for _, slug := range append([]string{path.Slug}, path.Lessons...) {
			send(site+"/tutorials/"+slug, "fr")
		}
	}
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
		// The session's page loads itself again each minute, for its numbers to be right where no script runs. WCAG 2.2.1
		// allows that, since the page has a link that turns it off. axe-core knows nothing of that link.
		if strings.Contains(link, "/session?lang=") && strings.Contains(flaw, "axe-core's meta-refresh:") {
			continue
		}
		t.Error(flaw)
	}
}

// show serves a page's case to the resident, and returns the site's address. Whatever the browser asks with, the answer is
// to the case's method: who opens its path sees what a press shows.
func show(t testing.TB, c pageCase) (site string) {
	b := newFakeBox()
	b.view.Languages = everyLanguage
	s := c.server(t, b)
	method, _, _ := strings.Cut(c.line, " ")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr, r.Method = resident+":40000", method
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "partage.internal", 1)
}
