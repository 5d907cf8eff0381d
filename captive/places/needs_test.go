package places

import (
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/captive/places/directory"
	"passerelle/captive/places/needs"
	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
)

// allLanguages are the languages of the pages.
var allLanguages = []string{"fr", "en", "ar", "es", "pt", "uk"}

// mount serves a share's pages without a server.
type mount struct{ r *web.Request }

func (mount) Kept(http.ResponseWriter, string) bool { return false }
func (m mount) Keep(w http.ResponseWriter, _ string, p web.Page, status int) {
	m.Serve(w, p, status)
}
func (mount) Search(string, int) []web.Found { return nil }
func (m mount) Serve(w http.ResponseWriter, p web.Page, status int) {
	d, err := web.NewDocument(p)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	d.Serve(w, m.r.Request, status)
}

// asker requests pages from a share.
type asker struct {
	places *Places
	head   *web.Head
	routes map[string]web.Route
}

func newAsker(dir string) *asker {
	p := New(dir, slog.New(slog.DiscardHandler))
	share := p.Share()
	return &asker{p, &web.Head{
		Centre: "Centre social des Lilas", Hostname: "partage.internal",
		Card:      web.Card{Phone: "01 23 45 67 89", Desk: []string{"papers"}},
		Languages: web.NewCatalog(share).Offer(allLanguages...),
	}, share.Routes}
}

// get requests a path.
func (a *asker) get(path string) *httptest.ResponseRecorder {
	r := &web.Request{
		Request: httptest.NewRequest("GET", path, nil), Head: a.head,
		Now: time.Date(2026, 11, 21, 15, 10, 0, 0, time.UTC), // a Saturday
	}
	r.Mount = mount{r}
	r.Negotiate()
	w := httptest.NewRecorder()
	route, ok := a.routes[r.URL.Path]
	if !ok {
		route = a.routes["/"+strings.Split(r.URL.Path, "/")[1]+"/"]
	}
	route.Get(w, r)
	return w
}

// needsPaths returns the paths of all questions and answers.
func needsPaths() []string {
	paths := map[string]bool{"/needs": true}
	for a := range needs.Own().All() {
		for i := range a {
			paths[needsPath(a[:i+1])] = true
		}
	}
	return slices.Sorted(maps.Keys(paths))
}

// discreetPath matches the paths of the pages about danger.
var discreetPath = regexp.MustCompile(`^/needs/info\b`)

var (
	aTitle  = regexp.MustCompile(`<title>([^<]*)</title>`)
	anyHref = regexp.MustCompile(`href="([^"]*)"`)
)

// Every question and every answer is a complete and small page in every language. Every answer says how to do it without the internet.
func TestNeedsPages(t *testing.T) {
	t.Parallel()
	a := newAsker(t.TempDir())
	heaviest := 0
	for _, code := range allLanguages {
		words := web.NewCatalog(a.places.Share()).Language(code)
		for _, path := range needsPaths() {
			res := a.get(path + "?lang=" + code)
			page := res.Body.String()
			if res.Code != http.StatusOK {
				t.Fatalf("%s in %s: status %d: %s", path, code, res.Code, page)
			}
			for _, flaw := range webtest.Flaws(code, page, res.Header().Get("Content-Security-Policy")) {
				t.Errorf("%s in %s: %s", path, code, flaw)
			}
			heaviest = max(heaviest, len(page))
			without := words.T("needs.without")
			if discreetPath.MatchString(path) {
				without = words.T("needs.without-now")
			}
			if asks := strings.Contains(page, `class="choices"`); asks == strings.Contains(page, without) {
				t.Errorf("%s in %s: a question, or how to do it without the internet", path, code)
			}
			for _, m := range anyHref.FindAllStringSubmatch(page, -1) {
				href := strings.ReplaceAll(m[1], "&amp;", "&")
				u, err := url.Parse(href)
				switch {
				case err != nil:
					t.Errorf("%s: %s: %v", path, href, err)
				case slices.Contains([]string{"tel", "sms", "data"}, u.Scheme) || strings.HasPrefix(href, "#"):
				case u.Scheme != "" || !strings.HasPrefix(u.Path, "/"):
					t.Errorf("%s links to %s", path, href)
				}
			}
		}
	}
	if heaviest > 40_000 {
		t.Errorf("the heaviest page has %d bytes", heaviest)
	}
	t.Logf("the heaviest page has %d bytes without compression", heaviest)
}

// A page about danger leaves as few traces as it can: nothing is stored, no linked page learns its address, and neither its title,
// icon nor address reveals what it is about. Its first link leads away, and a number is one press away from the first question.
func TestNeedsDiscreet(t *testing.T) {
	t.Parallel()
	a := newAsker(t.TempDir())
	ordinary := a.get("/needs").Body.String()
	icon := func(page string) string {
		_, rest, _ := strings.Cut(page, `<link rel="icon"`)
		line, _, _ := strings.Cut(rest, "\n")
		return line
	}
	for _, code := range allLanguages {
		neutral := web.NewCatalog(a.places.Share()).Language(code).T("needs.neutral")
		for _, path := range needsPaths() {
			res := a.get(path + "?lang=" + code)
			page := res.Body.String()
			title := aTitle.FindStringSubmatch(page)[1]
			_, main, _ := strings.Cut(page, `<main id="content">`)
			first := anyHref.FindStringSubmatch(main)[1]
			if !strings.Contains(res.Header().Get("Cache-Control"), "no-store") || len(res.Result().Cookies()) > 0 {
				t.Errorf("%s is stored: %v", path, res.Header())
			}
			if !discreetPath.MatchString(path) {
				if res.Header().Get("Referrer-Policy") != "same-origin" || strings.Contains(page, `class="button leave"`) || strings.HasPrefix(title, neutral) {
					t.Errorf("%s is discreet", path)
				}
				continue
			}
			if res.Header().Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("%s: Referrer-Policy %q", path, res.Header().Get("Referrer-Policy"))
			}
			if !strings.HasPrefix(title, neutral+" – ") || strings.Count(title, "–") != 1 || icon(page) != icon(ordinary) {
				t.Errorf("%s: the title is %q", path, title)
			}
			if first != "/tutorials?lang="+code {
				t.Errorf("%s: the first link leads to %s", path, first)
			}
			if !strings.Contains(main, `href="tel:`) || strings.Contains(main, "<form") {
				t.Errorf("%s: no number, or a form", path)
			}
			if keys := strings.TrimPrefix(path, "/needs/"); !regexp.MustCompile(`^info(/[a-e])?$`).MatchString(keys) {
				t.Errorf("the address %s tells what the page is about", path)
			}
		}
	}
	for path, numbers := range map[string][]string{
		"/needs/info":   {"tel:112", "sms:114"},
		"/needs/info/a": {"tel:17", "sms:114", "tel:3919", "tel:116006"},
		"/needs/info/b": {"tel:115"},
		"/needs/info/c": {"tel:15", "tel:112", "sms:114"},
		"/needs/info/d": {"tel:3114", "tel:15"},
		"/needs/info/e": {"tel:119", "tel:17", "tel:3018"},
	} {
		page := a.get(path).Body.String()
		at := 0
		for _, number := range numbers {
			i := strings.Index(page[at:], `href="`+number+`"`)
			if i < 0 {
				t.Errorf("%s: no %s, or not in this order", path, number)
				break
			}
			at += i
		}
	}
}

// A path that is not an answer leads to the question again, in the chosen language.
func TestNeedsUnknown(t *testing.T) {
	t.Parallel()
	a := newAsker(t.TempDir())
	for path, to := range map[string]string{
		"/needs/nope":                             "/needs",
		"/needs/":                                 "",
		"/needs/papers/":                          "/needs/papers",
		"/needs/papers//alone":                    "/needs/papers",
		"/needs/papers/nope?lang=ar":              "/needs/papers?lang=ar",
		"/needs/papers/alone/nope":                "/needs/papers/alone",
		"/needs/papers/alone/phone/x":             "/needs/papers/alone/phone",
		"/needs/info/alone":                       "/needs/info",
		"/needs/%3Cscript%3E":                     "/needs",
		"/needs/..%2f..%2fetc/passwd":             "/needs",
		"/needs/" + strings.Repeat("papers/", 99): "/needs/papers",
	} {
		res := a.get(path)
		if to == "" {
			if res.Code != http.StatusOK {
				t.Errorf("%s: status %d", path, res.Code)
			}
			continue
		}
		if res.Code != http.StatusFound || res.Header().Get("Location") != to || res.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d to %q, want %q", path, res.Code, res.Header().Get("Location"), to)
		}
	}
	for path, r := range a.places.needsRoutes() {
		if r.Post != nil {
			t.Errorf("%s can be posted to", path)
		}
	}
}

// Answers lead to places only if there are some; without a list, the centre, lessons and numbers remain.
func TestNeedsWithoutPlaces(t *testing.T) {
	t.Parallel()
	a := newAsker(t.TempDir())
	for _, path := range needsPaths() {
		page := a.get(path).Body.String()
		if strings.Contains(page, `href="/places?`) {
			t.Errorf("%s leads to an empty list", path)
		}
	}
	page := a.get("/needs/device/alone/phone").Body.String()
	if !strings.Contains(page, `class="button in" href="/tutorials/materiel-occasion"`) {
		t.Errorf("the best answer is not the lesson:\n%s", page)
	}
}

// With a list, answers lead to the kinds of places in it, and to no others; the pages that they lead to show these places.
func TestNeedsWithPlaces(t *testing.T) {
	t.Parallel()
	const head = "id,nom,commune,code_postal,adresse,latitude,longitude,typologie,dispositif_programmes_nationaux,services,pivot,date_maj\n"
	row := func(name, kind, programme, service string) string {
		return name + "," + name + ",Tilleul-sur-Orne,61000,1 rue du Bac,48.43,0.09," + kind + "," + programme + "," + service +
			",00000000000000,2026-11-01\n"
	}
	file := head
	for d, label := range labels {
		switch d.Kind {
		case needs.Typology:
			file += row("Lieu "+d.Key, d.Key, "", "")
		case needs.Programme:
			file += row("Lieu "+d.Key, "ASSO", label, "")
		}
	}
	for _, term := range directory.Services {
		file += row("Service "+term.Key, "ASSO", "", term.Label)
	}
	few := head + row("Point information du marché", "ASSO", "", "") + row("Ressources", "PI", "", "Loisirs et créations numériques")
	for name, test := range map[string]struct {
		csv string
		all bool
	}{"all": {file, true}, "others": {few, false}} {
		dir := t.TempDir()
		path := filepath.Join(t.TempDir(), "lieux.csv")
		if err := os.WriteFile(path, []byte(test.csv), 0o644); err != nil {
			t.Fatal(err)
		}
		importer := directory.Importer{Dir: dir, Now: time.Now}
		if _, err := importer.Import(t.Context(), path, ""); err != nil {
			t.Fatal(err)
		}
		a := newAsker(dir)
		a.places.refresh()
		r := &web.Request{Request: httptest.NewRequest("GET", "/needs", nil), Head: a.head}
		r.Negotiate()
		for _, rule := range needs.Own().Rules {
			for _, to := range rule.To {
				if !to.IsPlace() {
					continue
				}
				shown, ok := a.places.destination(r, to)
				if ok != test.all {
					t.Errorf("%s: %s is shown: %v", name, to, ok)
				} else if ok && !strings.Contains(a.get(shown.Href).Body.String(), to.Key) {
					t.Errorf("%s: %s leads to %s, which lacks it", name, to, shown.Href)
				}
			}
		}
		page := a.get("/needs/device/alone/phone").Body.String()
		if got := strings.Contains(page, `class="button in" href="/places?q=Ressourcerie"`); got != test.all {
			t.Errorf("%s: the best answer is the list: %v\n%s", name, got, page)
		}
	}
}

// The phrase for the desk is in French, with its meaning in the reader's language.
func TestNeedsSay(t *testing.T) {
	t.Parallel()
	a := newAsker(t.TempDir())
	page := a.get("/needs/papers/alone/phone?lang=ar").Body.String()
	for _, want := range []string{
		`<blockquote class="say" lang="fr" dir="ltr"><span class="line">J’ai une démarche à faire.</span>`,
		`<span class="line">On peut m’appeler au téléphone.</span> <span class="line">Qui peut m’aider` + "\u202f?</span> </blockquote>",
		"علي أن أنجز معاملة إدارية.", "يمكنكم الاتصال بي بالهاتف.", "من يمكنه أن يساعدني؟",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in:\n%s", want, page)
		}
	}
	if page := a.get("/needs/papers/alone/phone").Body.String(); strings.Contains(page, "Cela veut dire") {
		t.Error("French is explained in French")
	}
}

// A centre's own rules are used after a refresh, broken ones never; texts that are only in French say so, and are escaped.
func TestNeedsOfACentre(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := newAsker(dir)
	own := filepath.Join(dir, needs.File)
	text := strings.NewReplacer(
		`ask.fr = "De quoi avez-vous besoin ?"`, `ask.fr = "Que <b>voulez-vous</b> ?"`,
		`ask.ar = "ماذا تحتاجون؟"`, "",
	).Replace(string(needs.Own().File()))
	if err := os.WriteFile(own, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	a.places.refreshNeeds()
	page := a.get("/needs?lang=ar").Body.String()
	if want := "<h1 lang=\"fr\" dir=\"ltr\">Que &lt;b&gt;voulez-vous&lt;/b&gt;\u202f?</h1>"; !strings.Contains(page, want) {
		t.Errorf("no %s in:\n%s", want, page)
	}
	if err := os.WriteFile(own, []byte(strings.Replace(text, "lesson wifi", "lesson gone", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	a.places.refreshNeeds()
	if page := a.get("/needs").Body.String(); !strings.Contains(page, "De quoi avez-vous besoin") {
		t.Error("broken rules are used")
	}
}

// Everything that the built-in rules name exists in every language, and everything that rules may name has words.
func TestNeedsKnown(t *testing.T) {
	t.Parallel()
	if _, err := needs.Parse(needs.OwnName, needs.Own().File(), NeedsKnown()); err != nil {
		t.Error(err)
	}
	a := newAsker(t.TempDir())
	r := &web.Request{Request: httptest.NewRequest("GET", "/needs", nil), Head: a.head}
	r.Negotiate()
	var all []needs.Destination
	for _, key := range needs.Persons {
		all = append(all, needs.Destination{Kind: needs.Person, Key: key})
		if !web.HasPictogram(personPictograms[key]) {
			t.Errorf("%s has no pictogram", key)
		}
	}
	all = append(all, needs.Destination{Kind: needs.Page, Key: "helpers"})
	for _, d := range all {
		if shown, ok := a.places.destination(r, d); !ok || strings.HasPrefix(shown.Title.Lines[0], "need.") {
			t.Errorf("%s is shown as %v", d, shown)
		}
	}
	for _, term := range directory.Services {
		if _, err := r.Words.Message("need.place." + term.Key + ".title"); err != nil {
			t.Error(err)
		}
	}
	for d := range labels {
		if _, err := r.Words.Message("need.place." + d.Key + ".title"); err != nil {
			t.Error(err)
		}
	}
	for _, unknown := range []needs.Destination{
		{Kind: needs.Lesson, Key: "gone"}, {Kind: needs.Path, Key: "wifi"}, {Kind: needs.Page, Key: "admin"}, {Kind: needs.Number, Key: "118218"},
		{Kind: needs.Service, Key: "magic"}, {Kind: needs.Programme, Key: "PIMMS"}, {Kind: needs.Typology, Key: "france-services"},
	} {
		if NeedsKnown().Destination(unknown) {
			t.Errorf("%s exists", unknown)
		}
	}
}

// Texts of the built-in rules follow the conventions of the words files, as far as a program can check them.
func TestNeedsTexts(t *testing.T) {
	t.Parallel()
	wrong := regexp.MustCompile("['\"<>{}\u00a0\u202f\u200b]|  | $|^ ")
	for line := range strings.SplitSeq(string(needs.Own().File()), "\n") {
		m := regexp.MustCompile(`^(ask|title|hint|say|text)\.([a-z]+) = "(.*)"$`).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if bad := wrong.FindString(m[3]); bad != "" {
			t.Errorf("%q has %q", line, bad)
		}
		if m[2] == "ar" && strings.ContainsAny(m[3], "?,;") || m[2] != "ar" && strings.ContainsAny(m[3], "؟،؛") {
			t.Errorf("%q has the marks of another language", line)
		}
		if m[2] == "fr" && regexp.MustCompile(`[^ ][?!;]|[^ ] ?:[^ ]`).MatchString(m[3]) {
			t.Errorf("%q lacks a space", line)
		}
	}
}
