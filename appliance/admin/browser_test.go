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

// A real browser, its scripts off, on https with a certificate it was told to trust: a lender pauses and resumes, on a
// narrow screen, by keyboard as well.
func TestLenderWithoutScripts(t *testing.T) {
	labtest.Root(t, "chromium")
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
	var flaws []string
	err = chromedp.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+page),
		chromedp.Text("h1", &title, chromedp.ByQuery),
		chromedp.Evaluate(`getComputedStyle(document.querySelector(".days .left")).fill`, &colour),
		chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &sideways),
		chromedp.Evaluate(findFlaws, &flaws),
		chromedp.Click(`button`, chromedp.ByQuery),
		chromedp.WaitVisible(`form[action="`+page+`/resume"] button`),
	)
	if err != nil {
		t.Fatal(err)
	}
	if title != "Votre connexion est partagée" {
		t.Errorf("the title is %q", title)
	}
	if colour != "rgb(11, 81, 73)" {
		t.Errorf("the bars are %s: the policy does not let the style through", colour)
	}
	if sideways {
		t.Error("a screen of 320 px must be scrolled sideways (WCAG 2.2, 1.4.10)")
	}
	for _, flaw := range flaws {
		t.Error(flaw)
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

// findFlaws lists what would keep somebody from using the page: what WCAG 2.2 numbers beside each.
const findFlaws = `(() => {
	const flaws = [], all = s => [...document.querySelectorAll(s)];
	if (!document.documentElement.lang) flaws.push("the page has no language (3.1.1)");
	if (all("h1").length != 1 || all("main").length != 1) flaws.push("not one heading and one main part (1.3.1)");
	for (const e of all("a, button, summary")) {
		const {width, height} = e.getBoundingClientRect();
		if (!e.textContent.trim()) flaws.push("nothing says what it does (4.1.2): " + e.outerHTML);
		if (width < 44 || height < 44) flaws.push(width + " by " + height + " px are too small to touch (2.5.5): " + e.outerHTML);
	}
	for (const e of all("svg"))
		if (e.getAttribute("aria-hidden") != "true") flaws.push("a drawing without words (1.1.1): " + e.outerHTML);
	for (const e of all("[aria-labelledby], [aria-describedby]"))
		for (const id of (e.getAttribute("aria-labelledby") || e.getAttribute("aria-describedby")).split(" "))
			if (!document.getElementById(id)) flaws.push("it is named by nothing (1.3.1): " + id);
	const ids = all("[id]").map(e => e.id);
	if (new Set(ids).size != ids.length) flaws.push("two parts have one id: " + ids);
	return flaws;
})()`
