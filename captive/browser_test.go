package captive

import (
	"net"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A real browser, its scripts off as in some phones' sign-in windows, is led to the first page, presses the button, sees
// the session and ends it. It finds the box by name, so by no origin that browsers trust: they then send Origin but no
// Sec-Fetch-Site, as on a hotspot.
func TestPressWithoutScripts(t *testing.T) {
	labtest.Root(t, "chromium")
	t.Parallel()
	b := newFakeBox()
	_, port, err := net.SplitHostPort(serve(t, newServer(b)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, asked := webtest.Browser(t)
	site := "http://partage.internal:" + port

	var title, button, refresh string
	var refreshes bool
	err = chromedp.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(360, 740),
		chromedp.Navigate(site+"/"),
		chromedp.Evaluate(`getComputedStyle(document.querySelector("button")).backgroundColor`, &button),
		chromedp.Click(`form[action="/session"] button`),
		chromedp.WaitVisible(`form[action="/session/end"] button`),
		chromedp.Text("h1", &title),
		chromedp.AttributeValue(`meta[http-equiv="refresh"]`, "content", &refresh, &refreshes, chromedp.ByQuery),
	)
	if err != nil {
		t.Fatal(err)
	}
	if title != "Vous êtes connecté" || refresh != "60" {
		t.Errorf("after the press: title %q, refresh %q", title, refresh)
	}
	if button != "rgb(11, 81, 73)" {
		t.Errorf("the button is %s: the policy does not let the style through", button)
	}
	err = chromedp.Run(ctx,
		chromedp.Click(`form[action="/session/end"] button`),
		chromedp.WaitVisible(`form[action="/session"] button`),
		chromedp.Click(`nav a[lang="en"]`),
		chromedp.WaitVisible(`form[action="/session?lang=en"] button`),
		chromedp.Text("h1", &title),
	)
	if err != nil {
		t.Fatal(err)
	}
	if title != "Welcome" {
		t.Errorf("in English the title is %q", title)
	}
	for _, url := range asked() {
		if !strings.HasPrefix(url, site) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the pages made the browser ask for %s", url)
		}
	}
}

// From the first page a browser without scripts gets to the essential services, on a screen of 320 px, where each link is
// large enough for a finger.
func TestEssentialWithoutScripts(t *testing.T) {
	labtest.Root(t, "chromium")
	t.Parallel()
	_, port, err := net.SplitHostPort(serve(t, newServer(newFakeBox())))
	if err != nil {
		t.Fatal(err)
	}
	ctx, asked := webtest.Browser(t)
	site := "http://partage.internal:" + port

	var title, colour string
	var sideways bool
	var lowest float64
	const heights = `[...document.querySelectorAll("main a")].map(a => a.getBoundingClientRect().height)`
	err = chromedp.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+"/"),
		chromedp.Click(`a[href="/essential"]`),
		chromedp.WaitVisible(`a[href="https://www.caf.fr/"]`),
		chromedp.Text("h1", &title),
		chromedp.Evaluate(`getComputedStyle(document.querySelector(".services strong")).color`, &colour),
		chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &sideways),
		chromedp.Evaluate(`Math.min(...`+heights+`)`, &lowest),
	)
	if err != nil {
		t.Fatal(err)
	}
	if title != "Sites essentiels" {
		t.Errorf("the title is %q", title)
	}
	if colour != "rgb(11, 81, 73)" {
		t.Errorf("the services are %s: the policy does not let the style through", colour)
	}
	if sideways {
		t.Error("a screen of 320 px must be scrolled sideways (WCAG 2.2, 1.4.10)")
	}
	if lowest < 44 {
		t.Errorf("a link is %v px high", lowest)
	}
	for _, url := range asked() {
		if !strings.HasPrefix(url, site) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the pages made the browser ask for %s", url)
		}
	}
}
