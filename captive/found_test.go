package captive

import (
	"fmt"
	"html"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"passerelle/captive/search"
)

// question is a row of testdata/queries.tsv.
type question struct {
	set, language, query string
	want                 []string
}

func readQueries(t testing.TB) (all []question) {
	t.Helper()
	b, err := os.ReadFile("testdata/queries.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 4 {
			t.Fatalf("%q has %d columns", line, len(f))
		}
		all = append(all, question{f[0], f[1], f[2], strings.Split(f[3], "|")})
	}
	return all
}

// resultTile matches a result, with its path, fragment and title.
var resultTile = regexp.MustCompile(`<a class="tile" href="([^"?#]*)[^"#]*#?([^"]*)">.*?<strong>(.*?)</strong>`)

// results returns the results on a search page in their order, named as in testdata/queries.tsv.
func results(page string) (all []string) {
	_, page, ok := strings.Cut(page, `id="found"`)
	if !ok {
		return nil
	}
	page, _, _ = strings.Cut(page, `class="doors"`)
	if strings.Contains(page, `class="tiles symbols"`) {
		return nil // the list of paths
	}
	for _, m := range resultTile.FindAllStringSubmatch(page, -1) {
		path, fragment := m[1], html.UnescapeString(m[2])
		switch {
		case strings.HasPrefix(path, "/tutorials/"):
			all = append(all, strings.TrimPrefix(path, "/tutorials/"))
		case path == "/essential":
			all = append(all, "essential:"+fragment)
		case path == "/places/numbers":
			all = append(all, "tel:"+strings.TrimPrefix(fragment, "n"))
		case placeLink.MatchString(`href="` + path + `"`):
			all = append(all, "place:"+html.UnescapeString(m[3]))
		default:
			all = append(all, path)
		}
	}
	return all
}

// TestQueriesFindTheirAnswer: at least nine of ten queries show a right answer first, and queries that this box has no answer to
// find nothing.
func TestQueriesFindTheirAnswer(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.site.Languages = "fr en es pt ar uk"
	withPlaces(t, b)
	s := newServer(b)
	const all, none = "right first", "nothing for what is not here"
	right, of := map[string]int{}, map[string]int{}
	var wrong []string
	for _, a := range readQueries(t) {
		page := body(t, ask(t, s, "GET /tutorials?lang="+a.language+"&q="+url.QueryEscape(a.query)))
		got := append(results(page), "-")
		kind := all
		if slices.Equal(a.want, []string{"-"}) {
			kind = none
		}
		key := a.set + ": " + kind
		of[key]++
		if slices.Contains(a.want, got[0]) {
			right[key]++
		} else {
			wrong = append(wrong, fmt.Sprintf("%s %s %q: %s, want %s", a.set, a.language, a.query, got[:min(3, len(got))], strings.Join(a.want, " or ")))
		}
	}
	for key, least := range map[string]int{
		"tuned: " + all: 90, "held: " + all: 90, "fresh: " + all: 90, "eight: " + all: 90, "later: " + all: 90, "last: " + all: 90, "third: " + all: 90, "fourth: " + all: 90, "fifth: " + all: 90,
		"tuned: " + none: 95, "held: " + none: 95, "fresh: " + none: 95, "later: " + none: 80, "last: " + none: 80, "third: " + none: 95, "fourth: " + none: 95, "fifth: " + none: 95,
	} {
		t.Logf("%s: %d of %d", key, right[key], of[key])
		if 100*right[key] < least*of[key] {
			t.Errorf("%s: %d of %d, want %d %%", key, right[key], of[key], least)
		}
	}
	if !testing.Verbose() && !t.Failed() {
		return
	}
	for _, line := range wrong {
		t.Log(line)
	}
}

// TestServiceKeywords: every essential service that is shown has keywords in all six languages, and each keyword has a word that is
// searched for.
func TestServiceKeywords(t *testing.T) {
	t.Parallel()
	shown, keywords := map[string]bool{}, serviceKeywords()
	for _, s := range *france {
		if s.Site == "" {
			continue
		}
		shown[s.Name] = true
		for _, language := range []string{"fr", "en", "es", "pt", "ar", "uk"} {
			if len(keywords[s.Name][language]) == 0 {
				t.Errorf("%s has no keywords in %s", s.Name, language)
			}
		}
	}
	for name, all := range keywords {
		if !shown[name] {
			t.Errorf("%s is no essential service", name)
		}
		for language, words := range all {
			for _, w := range words {
				if !search.Says(w) {
					t.Errorf("%s: %s: %q has no word that is searched for", name, language, w)
				}
			}
		}
	}
}

// TestResultsByKind: each kind has its heading, results lead to their place on a page, and essential services are found only
// while they are open.
func TestResultsByKind(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	withPlaces(t, b)
	s := newServer(b)
	for query, parts := range map[string][]string{
		"caf":              {`<span>Leçons</span>`, `href="/tutorials/compte-caf"`, `<span>Sites essentiels</span>`, `href="/essential#caf.fr"`},
		"samu":             {`<span>Numéros utiles</span>`, `href="/places/numbers#n15"`},
		"médiathèque":      {`<span>Lieux d’aide</span>`},
		"aider mon voisin": {`<span>Aider quelqu’un</span>`, `href="/helpers"`},
		"<b>xyzzyx</b>":    {"Demandez à l’accueil du centre.", `value="&lt;b&gt;xyzzyx&lt;/b&gt;"`, `href="/tutorials/premiers-pas"`, "01 99 00 11 22"},
	} {
		page := strings.ReplaceAll(body(t, ask(t, s, "GET /tutorials?q="+url.QueryEscape(query))), "\u00a0", " ")
		for _, part := range parts {
			if !strings.Contains(page, part) {
				t.Errorf("%s: no %s", query, part)
			}
		}
	}
	for page, id := range map[string]string{"/essential": `id="caf.fr"`, "/places/numbers": `id="n116006"`} {
		if !strings.Contains(body(t, ask(t, s, "GET "+page)), id) {
			t.Errorf("%s has no %s", page, id)
		}
	}
	b.site.Essential = false
	if page := body(t, ask(t, s, "GET /tutorials?q=impots")); strings.Contains(page, "/essential") {
		t.Error("a closed service is found")
	}
}

// TestResultsSayTheirLanguage: a result that is in another language says so before it is opened.
func TestResultsSayTheirLanguage(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.site.Languages = "fr en uk"
	s := newServer(b)
	if page := body(t, ask(t, s, "GET /tutorials?lang=uk&q=wifi")); !strings.Contains(page, "Французькою</span>") {
		t.Error("not said in Ukrainian")
	}
	if page := body(t, ask(t, s, "GET /tutorials?lang=fr&q=wifi")); strings.Contains(page, "En français</span>") {
		t.Error("said of a lesson in the page's language")
	}
}

// BenchmarkSearch searches everything that the box has: the lessons, the services, the numbers and the agenda.
func BenchmarkSearch(b *testing.B) {
	box := newFakeBox()
	s := newServer(box)
	site := box.Site()
	r := &request{server: s}
	r.Request.Request, r.Now = commonRequest("10.80.0.1/tutorials"), noon
	r.use(s.current(&site, noon))
	r.Negotiate()
	for _, query := range []string{
		"wifi", "mo de passe oublié", "je voudrais savoir comment faire pour avoir une attestation de la caf svp",
		"zqvkawoxbu zqvkbwoxcu zqvkcwoxdu zqvkdwoxeu zqvkewoxfu zqvkfwoxgu zqvkgwoxhu zqvkhwoxiu zqvkiwoxju",
	} {
		b.Run(query[:4], func(b *testing.B) {
			for b.Loop() {
				r.Search(query, 12)
			}
		})
	}
}
