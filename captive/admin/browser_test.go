package admin

import (
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A lender pauses and resumes in a real browser with scripts off, over https with a certificate that it trusts, on a narrow
// screen, also by keyboard.
func TestLenderWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	server := httptest.NewTLSServer(newServer(b, io.Discard))
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	site := "https://partage.internal:" + at.Port()
	ctx, asked := webtest.Browser(t)

	var title, colour string
	var sideways bool
	err = chromedp.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+page),
		chromedp.Text("h1", &title, chromedp.ByQuery),
		chromedp.Evaluate(`getComputedStyle(document.querySelector(".days .left")).fill`, &colour),
		chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &sideways),
		chromedp.Click(`button`, chromedp.ByQuery),
		chromedp.WaitVisible(`form[action="`+page+`/resume"] button`),
	)
	if err != nil {
		t.Fatal(err)
	}
	if title != "Merci de prêter votre connexion" {
		t.Errorf("the title is %q", title)
	}
	if colour != "rgb(11, 81, 73)" {
		t.Errorf("the bars are %s: the policy does not let the style through", colour)
	}
	if sideways {
		t.Error("a screen of 320 px must be scrolled sideways (WCAG 2.2, 1.4.10)")
	}
	tab, _ := webtest.Tab(t, ctx)
	judge := webtest.NewJudge(t, tab)
	for _, code := range []string{"fr", "en"} {
		flaws, err := judge.Page(site+page+"?lang="+code, code, "ltr", true)
		if err != nil {
			t.Error(err)
		}
		for _, flaw := range flaws {
			t.Error(flaw)
		}
	}
	err = chromedp.Run(ctx,
		chromedp.Click(`nav a`, chromedp.ByQuery),
		chromedp.WaitReady(`html[lang="en"]`, chromedp.ByQuery),
		chromedp.SendKeys(`button`, "\r", chromedp.ByQuery),
		chromedp.WaitVisible(`form[action="`+page+`/pause?lang=en"] button`),
		chromedp.Click(`summary`, chromedp.ByQuery),
		chromedp.WaitVisible(`tbody tr:nth-child(21) td`),
	)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.presses) != 2 {
		t.Errorf("the box was told %q", b.presses)
	}
	for _, u := range asked() {
		if !strings.HasPrefix(u, site) && !strings.HasPrefix(u, "data:") {
			t.Errorf("the page made the browser ask for %s", u)
		}
	}
}
