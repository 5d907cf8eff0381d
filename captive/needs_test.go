package captive

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/appliance/state"
	"passerelle/captive/places/needs"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// Somebody in danger finds a number in two presses from the first page, without scripts, on a narrow screen and without
// internet, and can leave the page in one press. The page opened by leaving does not learn which page was left.
func TestNeedsInDanger(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	b.site.State = state.Offline
	s := newServer(b)
	var mu sync.Mutex
	referers := map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		referers[r.URL.Path] = r.Referer()
		mu.Unlock()
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, _ := webtest.Browser(t)
	site := "http://partage.internal:" + port
	var title, heading, away, number string
	err = webtest.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+"/"),
		chromedp.Click(`a[href="/needs"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`a[href="/needs/info"]`, chromedp.ByQuery),
		chromedp.Click(`a[href="/needs/info"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`a[href="tel:112"]`, chromedp.ByQuery),
		chromedp.Click(`a[href="/needs/info/d"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`.best a[href^="tel:"]`, chromedp.ByQuery),
		chromedp.AttributeValue(`.best a`, "href", &number, nil, chromedp.ByQuery),
		chromedp.Title(&title),
		chromedp.Click(`a.leave`, chromedp.ByQuery),
		chromedp.WaitVisible(`form[role="search"]`, chromedp.ByQuery),
		chromedp.Location(&away), chromedp.Text("h1", &heading, chromedp.ByQuery),
	)
	if err != nil {
		t.Fatal(err)
	}
	if title != "Informations – Centre social des Lilas" || number != "tel:3114" {
		t.Errorf("the page is titled %q and leads to %s", title, number)
	}
	if away != site+"/tutorials" || heading != "Apprendre" {
		t.Errorf("leaving leads to %s, %q", away, heading)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, path := range []string{"/tutorials", "/needs/info/d"} {
		if referer, asked := referers[path]; !asked || referer != "" {
			t.Errorf("%s learned of %q (asked: %v)", path, referer, asked)
		}
	}
}

// TestNeedsNoFlaw is TestNoFlaw for every question and for answers of each kind, in every language.
func TestNeedsNoFlaw(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	b.site.Languages = strings.Join(everyLanguage, " ")
	s := newServer(b)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	site := strings.Replace(server.URL, "127.0.0.1", "partage.internal", 1)
	paths := map[string]bool{"/needs": true, "/needs/papers": true, "/needs/papers/alone": true, "/needs/info": true}
	seen := map[*needs.Rule]bool{}
	for a := range needs.Own().All() {
		if rule := needs.Own().Rule(a); !seen[rule] {
			seen[rule], paths["/needs/"+a.Path()] = true, true
		}
	}
	browser, _ := webtest.Browser(t)
	j := webtest.NewJudge(t, browser)
	for path := range paths {
		for _, code := range everyLanguage {
			if code == "fr" || len(path) < len("/needs/papers/alone") {
				judge(t, j, site+path+"?lang="+code, code)
			}
		}
	}
}

// Somebody who reads Arabic and no French gets to the answer by pictures and Arabic words, and has a French sentence to show
// at the desk.
func TestNeedsInArabic(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	b.site.Languages = "fr en ar"
	withPlaces(t, b)
	_, port, err := net.SplitHostPort(serve(t, newServer(b)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, _ := webtest.Browser(t)
	var direction, heading, toShow string
	var sideways bool
	err = webtest.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "ar-DZ,ar;q=0.9"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate("http://partage.internal:"+port+"/"),
		chromedp.Click(`a[href="/needs"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`a[href="/needs/papers"]`, chromedp.ByQuery),
		chromedp.Click(`a[href="/needs/papers"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`a[href="/needs/papers/alone"]`, chromedp.ByQuery),
		chromedp.Click(`a[href="/needs/papers/alone"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`a[href="/needs/papers/alone/phone"]`, chromedp.ByQuery),
		chromedp.Click(`a[href="/needs/papers/alone/phone"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`main a[href^="tel:"]`, chromedp.ByQuery),
		chromedp.Evaluate(`document.documentElement.dir`, &direction),
		chromedp.Text("h1", &heading, chromedp.ByQuery),
		chromedp.Text(`main [lang="fr"]`, &toShow, chromedp.ByQuery),
		chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &sideways),
	)
	if err != nil {
		t.Fatal(err)
	}
	if direction != "rtl" || heading == "" || strings.ContainsAny(heading, "abcdefghijklmnopqrstuvwxyz") {
		t.Errorf("the answer is written %s, under %q", direction, heading)
	}
	if !strings.Contains(plainSpaces.Replace(toShow), "J’ai une démarche à faire.") || sideways {
		t.Errorf("to show at the desk: %q; scrolled sideways: %v", toShow, sideways)
	}
}
