package captive

import (
	"fmt"
	"html"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/places"
	"passerelle/captive/places/directory"
	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// withPlaces imports the fictional list, and sets the centre's card.
func withPlaces(t testing.TB, b *fakeBox) {
	t.Helper()
	list, err := os.ReadFile("places/testdata/lieux.csv")
	if err != nil {
		t.Fatal(err)
	}
	importPlaces(t, b, string(list))
	withCard(b)
}

// importPlaces imports a list.
func importPlaces(t testing.TB, b *fakeBox, list string) {
	t.Helper()
	dir := t.TempDir()
	i := directory.Importer{Dir: dir, Now: func() time.Time { return noon }}
	if _, err := i.Read(t.Context(), strings.NewReader(list), int64(len(list)), "lieux.csv", ""); err != nil {
		t.Fatal(err)
	}
	b.places = places.New(dir, quiet)
	b.places.Share().Refresh()
}

// withCard sets the centre's card.
func withCard(b *fakeBox) {
	b.site.Card = &state.Card{
		Address: "12 rue des Lilas", Postcode: "93260", Town: "Les Lilas", Phone: "01 99 00 11 22",
		Hours:   "Mo-Fr 09:00-12:30,14:00-19:00; Sa 10:00-17:00; PH off",
		Desk:    config.DeskServices,
		Located: true, Latitude: 48.8799, Longitude: 2.4165,
	}
}

// placePages returns pages of the fictional list: lists of each kind, and single places, the nearest first.
func placePages(t testing.TB) (lists, places []string) {
	b := newFakeBox()
	withPlaces(t, b)
	return []string{
		"/places", "/places?service=procedures&open=1&free=1", "/places?q=zzzz", "/places/numbers", "/tutorials?q=mediatheque",
	}, placesIn(body(t, ask(t, newServer(b), "GET /places")))[:6]
}

// placeLink matches a link to a place.
var placeLink = regexp.MustCompile(`href="(/places/[0-9a-f]{16})[^"]*"`)

// placesIn returns the paths of the places on a page, without repetition.
func placesIn(page string) (all []string) {
	seen := map[string]bool{}
	for _, m := range placeLink.FindAllStringSubmatch(page, -1) {
		if !seen[m[1]] {
			seen[m[1]] = true
			all = append(all, m[1])
		}
	}
	return all
}

// A list is nearest first, with what a resident needs to go there or call.
func TestPlaces(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	withPlaces(t, b)
	s := newServer(b)
	says := func(line string, parts ...string) string {
		t.Helper()
		page := content(t, s, line)
		for _, part := range parts {
			if !strings.Contains(page, part) {
				t.Errorf("%s: no %s in:\n%s", line, part, page)
			}
		}
		return page
	}
	first := says("GET /places", "Lieux trouvés : 15", "<strong>À 500 mètres</strong>", "Ouvert aujourd’hui jusqu’à 18 h",
		`href="tel:+33199001234"`, "01 99 00 12 34", `<svg class="plan"`, "Page 1 sur 2", `href="/places?page=2" rel="next"`,
		"Horaires inconnus : appelez avant d’y aller", `href="/places?service=procedures"`, `href="/places?open=1"`,
		`href="/places/numbers"`)
	if strings.Index(first, "Médiathèque des Tilleuls") > strings.Index(first, "Mission locale") {
		t.Error("the nearest is not the first")
	}
	if strings.Contains(first, "Bureau sans accueil") {
		t.Error("a place that receives nobody is shown as one to go to")
	}
	if n := len(placesIn(first)); n != 10 {
		t.Errorf("%d places on the first page", n)
	}
	if n := len(placesIn(says("GET /places?page=2", "Page 2 sur 2", `href="/places" rel="prev"`))); n != 5 {
		t.Errorf("%d places on the second page", n)
	}
	// A source may write Monday to Friday for every day, so the page says nothing about Saturday.
	says("GET /places?for=youth", "Mission locale", "Rien d’indiqué pour aujourd’hui, ouvre lundi 23 novembre à 9 h")

	// Each filter has a link that removes it.
	says("GET /places?service=procedures&open=1&free=1", `href="/places?free=1&open=1"`, `href="/places?free=1&service=procedures"`,
		"Papiers, démarches", "Ouvert maintenant", "Lieux trouvés : 2", `<input type="hidden" name="service" value="procedures">`)
	says("GET /places?bus=1", "Lieux trouvés : 1", "Bus France services")
	says("GET /places?languages=1", "Lieux trouvés : 2")
	says("GET /places?care=reading", "Lieux trouvés : 1", "Médiathèque")
	says("GET /places?for=youth&service=work", "Mission locale")
	says("GET /places?q=mediateque", "Médiathèque des Tilleuls", `value="mediateque"`)
	says("GET /places?q=93170", "Atelier du réemploi", "<strong>À 100 mètres</strong>")
	says("GET /places?q=zzzz", "Aucun lieu ne correspond", "01 99 00 11 22")
	says("GET /places?service=nope&page=0", "Lieux trouvés : 15", "Page 1 sur 2")
	for _, number := range []string{"3", "9999", "10001"} { // after the last page
		page := says("GET /places?page="+number+"&lang=fr", "Page 2 sur 2", `href="/places?lang=fr" rel="prev"`)
		if n := len(placesIn(page)); n != 5 || strings.Contains(page, `rel="next"`) {
			t.Errorf("page %s has %d places:\n%s", number, n, page)
		}
	}
	if page := says("GET /places?q=zzzz&page=7", "Aucun lieu ne correspond"); strings.Contains(page, `rel="prev"`) {
		t.Errorf("an empty list has pages:\n%s", page)
	}
	for _, page := range []string{"9999", "2"} {
		if all := body(t, ask(t, s, "GET /places?page="+page)); !strings.Contains(all, "page=2&amp;lang=en") && !strings.Contains(all, "lang=en&amp;page=2") {
			t.Errorf("page %s in another language is another one:\n%s", page, all)
		}
	}
	says("GET /tutorials?q=mediatheque", "Médiathèque des Tilleuls", "01 99 00 12 34")

	// A place's page keeps the filters in the link back.
	path := placesIn(first)[0]
	says("GET "+path+"?free=1&service=procedures", `href="/places?free=1&service=procedures"`, "Médiathèque des Tilleuls",
		"Ouvert aujourd’hui jusqu’à 18 h", "Du mardi au samedi", "de 10 h à 12 h 30", "4 place du Marché", "vers le nord-est",
		`href="tel:+33199001234"`, `href="mailto:bonjour@mediatheque.example"`, `href="https://www.mediatheque-tilleuls.example/"`,
		`href="https://rdv.example/tilleuls"`, "Ces liens ont besoin d’Internet.", "Vérifié en mars 2026", "Venez sans rendez-vous.",
		"On y parle anglais", "Gratuit", "Aidants Connect", `href="`+path+`.vcf"`, "Collectif des Tilleuls")
	res := ask(t, s, "GET "+path+".vcf")
	card := body(t, res)
	if res.Header.Get("Content-Type") != "text/vcard; charset=utf-8" || res.Header.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.Contains(card, "FN:Médiathèque des Tilleuls\r\nORG:") {
		t.Errorf("%v\n%s", res.Header, card)
	}
	for _, path := range []string{"/places/nope", "/places/0123456789abcdef", "/places/0123456789abcdef.vcf", "/places/" + strings.Repeat("9", 300), path + "/1", "/places/" + strings.ToUpper(strings.TrimPrefix(path, "/places/"))} {
		if res := ask(t, s, "GET "+path); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
	}
}

// content returns the part of a page between its header and its footer, with plain spaces and unescaped.
func content(t testing.TB, s http.Handler, line string) string {
	t.Helper()
	_, page, _ := strings.Cut(body(t, ask(t, s, line)), "<main")
	page, _, _ = strings.Cut(page, "</main>")
	return plainSpaces.Replace(html.UnescapeString(page))
}

// plainSpaces makes words easy to compare.
var plainSpaces = strings.NewReplacer("\u00a0", " ", "\u202f", " ")

// Without a list there are the national numbers and the centre.
func TestPlacesWithoutList(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	withCard(b)
	s := newServer(b)
	for _, path := range []string{"/places", "/places/numbers"} {
		page := body(t, ask(t, s, "GET "+path))
		for _, part := range []string{`href="tel:112"`, `href="sms:114"`, `href="tel:116006"`, `href="tel:3018"`, "Vérifié en novembre 2026", `href="tel:0199001122"`} {
			if !strings.Contains(page, part) {
				t.Errorf("%s: no %s", path, part)
			}
		}
	}
}

// The only links made from a list's text are to web pages, telephone numbers and mail addresses, and its text is never markup.
func TestHostilePlaces(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	withPlaces(t, b)
	b.site.Languages = strings.Join(everyLanguage, " ")
	s := newServer(b)
	allowed := regexp.MustCompile(`^(/|#|data:image/svg|https?://|mailto:|tel:\+?[0-9]+$|sms:[0-9]+$)`)
	for _, code := range everyLanguage {
		list := "/places?lang=" + code // the hostile place is among the nearest
		paths := []string{list, list + "&q=%22%3E%3Cb%3E", "/places/numbers?lang=" + code}
		for _, path := range placesIn(body(t, ask(t, s, "GET "+list))) {
			paths = append(paths, path+"?lang="+code)
		}
		for _, path := range paths {
			res := ask(t, s, "GET "+path)
			page := body(t, res)
			for _, flaw := range webtest.Flaws(code, page, res.Header.Get("Content-Security-Policy")) {
				t.Errorf("%s: %s", path, flaw)
			}
			for _, m := range anyLink.FindAllStringSubmatch(page, -1) {
				if link := html.UnescapeString(m[1]); !allowed.MatchString(link) {
					t.Errorf("%s: a link to %q", path, link)
				}
			}
		}
	}
}

// Each page of places takes at most 40 kB on the wire, in every State and language.
func TestPlacesWeight(t *testing.T) {
	t.Parallel()
	const header, limit = 700, 40_000
	most := 0
	for _, of := range []state.State{state.Sharing, state.Paused, state.Offline, state.Setup} {
		b := newFakeBox()
		withPlaces(t, b)
		b.site.State, b.site.Languages = of, strings.Join(everyLanguage, " ")
		s := newServer(b)
		for _, code := range everyLanguage {
			paths := []string{"/places?lang=" + code, "/places?service=procedures&lang=" + code, "/places/numbers?lang=" + code}
			for _, path := range placesIn(body(t, ask(t, s, "GET /places")))[:3] {
				paths = append(paths, path+"?lang="+code)
			}
			for _, path := range paths {
				res := ask(t, s, "GET "+path, "Accept-Encoding: gzip")
				if n := len(body(t, res)) + header; res.StatusCode != http.StatusOK || n > limit {
					t.Errorf("%s, %s: status %d, %d bytes", of, path, res.StatusCode, n)
				} else {
					most = max(most, n)
				}
			}
		}
	}
	t.Logf("the heaviest: %d bytes", most)
}

// The centre's card is on the first page, in printed pages, and on every page that says to ask the desk.
func TestCard(t *testing.T) {
	t.Parallel()
	for _, of := range []state.State{
		state.Starting, state.Fault, state.Setup, state.Paused, state.Closed, state.Exhausted, state.Offline, state.Sharing,
	} {
		b := newFakeBox()
		b.site.State = of
		if page := body(t, ask(t, newServer(b), "GET /")); strings.Contains(page, `id="desk"`) || strings.Contains(page, "tel:") {
			t.Errorf("%s: a card although nothing is known:\n%s", of, page)
		}
		withCard(b)
		s := newServer(b)
		for _, path := range []string{"/", "/tutorials/wifi", "/accessibility", "/nope", "/essential", "/places", "/helpers", "/session"} {
			page := plainSpaces.Replace(body(t, ask(t, s, "GET "+path)))
			for _, part := range []string{
				"12 rue des Lilas", "93260 Les Lilas", `href="tel:0199001122"`, "Ouvert aujourd’hui jusqu’à 17 h", "Du lundi au vendredi",
				"de 9 h à 12 h 30", "Aide pour les papiers", "Parler, être écouté",
			} {
				if !strings.Contains(page, part) {
					t.Errorf("%s, %s: no %q in:\n%s", of, path, part, page)
				}
			}
			if asks := path == "/tutorials/wifi" || path == "/accessibility" || path == "/nope" || path == "/" && of != state.Sharing; asks && !strings.Contains(page, "Appeler l’accueil :") {
				t.Errorf("%s, %s: nothing next to what says to ask the desk", of, path)
			}
		}
	}
}

// Pages list everything that the configuration says the desk helps with.
func TestDeskServices(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.site.Languages = strings.Join(everyLanguage, " ")
	s := newServer(b)
	for _, service := range config.DeskServices {
		b.change(func(s *state.Site) { s.Card = &state.Card{Desk: []string{service}} })
		for _, code := range everyLanguage {
			page := body(t, ask(t, s, "GET /?lang="+code))
			if word := web.Language(code).T("desk." + service); strings.Contains(word, "desk.") || !strings.Contains(page, "</svg>"+word+"</li></ul>") {
				t.Errorf("%s: the card does not say %q", code, word)
			}
		}
	}
}

// A resident without scripts, on a narrow phone, looks for help with papers on a Saturday: the phone number is one press
// from /places, and the way there two.
func TestPlacesWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	b.site.State = state.Offline
	withPlaces(t, b)
	_, port, err := net.SplitHostPort(serve(t, newServer(b)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, asked := webtest.Browser(t)
	site := "http://partage.internal:" + port
	var hours, number, street, back string
	var sideways bool
	var ok bool
	err = webtest.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+"/places"),
		chromedp.Click(`.choices a[href="/places?service=procedures"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`.wanted a`, chromedp.ByQuery),
		chromedp.Text(`.places .state`, &hours, chromedp.ByQuery),
		chromedp.AttributeValue(`.places a.call`, "href", &number, &ok, chromedp.ByQuery),
		chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &sideways),
		chromedp.Click(`.places h3 a`, chromedp.ByQuery),
		chromedp.WaitVisible(`.street`, chromedp.ByQuery),
		chromedp.Text(`.street`, &street, chromedp.ByQuery),
		chromedp.Click(`.trail a`, chromedp.ByQuery),
		chromedp.WaitVisible(`.wanted a`, chromedp.ByQuery),
		chromedp.Location(&back),
	)
	if err != nil {
		t.Fatal(err)
	}
	if plainSpaces.Replace(hours) != "Ouvert aujourd’hui jusqu’à 18 h" || number != "tel:+33199001234" || !strings.Contains(street, "4 place du Marché") {
		t.Errorf("the nearest is %q, called by %q, at %q", hours, number, street)
	}
	if sideways || back != site+"/places?service=procedures" {
		t.Errorf("scrolled sideways: %v; the way back leads to %s", sideways, back)
	}
	for _, url := range asked() {
		if !strings.HasPrefix(url, site) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the pages made the browser ask for %s", url)
		}
	}
}

// BenchmarkPlaces serves a list and a single place from a list of 20,000 places.
func BenchmarkPlaces(b *testing.B) {
	const n = 20_000
	list := []string{"id,nom,commune,code_postal,adresse,latitude,longitude,telephone,horaires,services,date_maj,pivot,source"}
	for i := range n {
		list = append(list, fmt.Sprintf("lieu-%d,Espace numérique %d,Ville %d,%05d,%d rue des Essais,%.5f,%.5f,+331990%05d,\"Mo-Fr %02d:00-12:%02d,14:00-%d:00; Sa 09:00-12:%02d\",Aide aux démarches administratives|Accès internet et matériel informatique,2026-03-04,00000000000000,Essai",
			i, i, i%900, 1000+i%95000, i%200, 43+float64(i%700)/100, -1+float64(i%811)/120, i, 8+i%3, i%60, 16+i%4, i%50))
	}
	box := newFakeBox()
	importPlaces(b, box, strings.Join(list, "\n")+"\n")
	withCard(box)
	s := newServer(box)
	path := placesIn(body(b, ask(b, s, "GET /places")))[0]
	for name, line := range map[string]string{"list": "GET /places", "filtered": "GET /places?service=procedures&open=1", "words": "GET /places?q=espace+numerique", "place": "GET " + path} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if res := ask(b, s, line, "Accept-Encoding: gzip"); res.StatusCode != http.StatusOK {
					b.Fatal(res.StatusCode)
				}
			}
		})
	}
}
