package admin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/captive/web/webtest"
)

// visitor is somebody who uses the pages in a real browser. Its scripts are off, and it asks for French.
type visitor struct {
	*testing.T
	ctx     context.Context // of the browser's tab
	site    string          // prefix of the pages' URLs
	asked   func() []string // returns what the tab has requested
	judge   *webtest.Judge  // in a tab of its own; nil until a page is judged
	presses int             // number of presses; tests reset it
}

// visit serves pages over https, and opens a browser of the given width in pixels.
func visit(t *testing.T, pages http.Handler, width int64) *visitor {
	t.Helper()
	v := &visitor{T: t, site: serve(t, pages)}
	v.ctx, v.asked = webtest.Browser(t)
	v.does(
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(width, 640),
	)
	return v
}

// serve serves pages over https, and returns the prefix of their URLs.
func serve(t *testing.T, pages http.Handler) (site string) {
	t.Helper()
	server := httptest.NewTLSServer(pages)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return "https://partage.internal:" + at.Port()
}

// actionLimit bounds how long some actions in the browser may take, on a busy machine.
const actionLimit = 5 * time.Minute

// does runs actions in the browser.
func (v *visitor) does(actions ...chromedp.Action) {
	v.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, actionLimit)
	defer cancel()
	if err := webtest.Run(ctx, actions...); err != nil {
		var at, page string
		ctx, cancel := context.WithTimeout(v.ctx, time.Second)
		defer cancel()
		_ = webtest.Run(ctx, chromedp.Location(&at), chromedp.OuterHTML("main", &page, chromedp.ByQuery)) // only for a better error message
		v.Fatalf("%v at %s:\n%s", err, at, page)
	}
}

// enters signs a technician in at a page, with the setup code if one is given, and waits for the element then.
func (v *visitor) enters(path, code, then string) {
	v.Helper()
	v.does(chromedp.Navigate(v.site + path))
	if code != "" {
		v.does(chromedp.SendKeys(`#code`, code, chromedp.ByQuery))
	}
	v.does(
		chromedp.SendKeys(`#password`, password, chromedp.ByQuery),
		chromedp.Click(`main form button`, chromedp.ByQuery),
		chromedp.WaitVisible(then, chromedp.ByQuery),
	)
}

// press presses the element what, and waits for the element then.
func (v *visitor) press(what, then string) {
	v.Helper()
	v.presses++
	v.does(chromedp.Click(what, chromedp.ByQuery), chromedp.WaitVisible(then, chromedp.ByQuery))
}

// text returns the text of an element.
func (v *visitor) text(of string) (text string) {
	v.Helper()
	v.does(chromedp.Text(of, &text, chromedp.ByQuery))
	return text
}

// fits fails the test if the page must be scrolled sideways (WCAG 2.2, 1.4.10).
func (v *visitor) fits() {
	v.Helper()
	var sideways bool
	v.does(chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &sideways))
	if sideways {
		v.Error("the page must be scrolled sideways")
	}
}

// judged judges a page thoroughly in French, and briefly in English.
func (v *visitor) judged(path string) {
	v.Helper()
	v.judgedIn(path, "fr", true)
	v.judgedIn(path, "en", false)
}

// judgedIn judges a page in a language.
func (v *visitor) judgedIn(path, code string, thorough bool) {
	v.Helper()
	if v.judge == nil {
		tab, _ := webtest.Tab(v.T, v.ctx)
		v.judge = webtest.NewJudge(v.T, tab)
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	flaws, err := v.judge.Page(v.site+path+sep+"lang="+code, code, staffCatalog.Language(code).Direction, thorough)
	if err != nil {
		v.Error(err)
	}
	for _, flaw := range flaws {
		v.Errorf("%s: %s", path, flaw)
	}
}

// stayed fails the test if the browser sent a request to any host but the box.
func (v *visitor) stayed() {
	v.Helper()
	for _, u := range v.asked() {
		if !strings.HasPrefix(u, v.site) && !strings.HasPrefix(u, "data:") {
			v.Errorf("the page made the browser ask for %s", u)
		}
	}
}
