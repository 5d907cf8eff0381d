package admin

import (
	"context"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/appliance/state"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A technician makes a new link, and a lender lowers the cap and stops the loan, in a real browser with scripts off; then their
// pages, the sheets and the six languages of the lender's page are judged.
func TestLendersWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	x := withSheets(t)
	x.box.offers = "fr en es pt ar uk"
	x.box.card = &state.Card{Phone: "01 23 45 67 89", Hours: "Mo-Sa 09:00-18:00"}
	server := httptest.NewTLSServer(x.server)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	site := "https://partage.internal:" + at.Port()
	ctx, _ := webtest.Browser(t)
	step := func(tasks ...chromedp.Action) {
		t.Helper()
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := chromedp.Run(limited, tasks...); err != nil {
			var at, page string
			_ = chromedp.Run(ctx, chromedp.Location(&at), chromedp.OuterHTML("main", &page, chromedp.ByQuery))
			t.Fatalf("%v at %s:\n%s", err, at, page)
		}
	}
	var link, wrong, note string
	step(
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+"/admin/login?to=/admin/lenders"),
		chromedp.SendKeys(`#password`, password, chromedp.ByQuery),
		chromedp.Click(`main button`, chromedp.ByQuery),
		chromedp.WaitVisible(`.donations details`, chromedp.ByQuery),
		chromedp.Click(`details summary`, chromedp.ByQuery),
		chromedp.Click(`details button`, chromedp.ByQuery),
		chromedp.WaitVisible(`svg.code`, chromedp.ByQuery),
		chromedp.Text(`.address`, &link, chromedp.ByQuery),
	)
	shootHere(t, ctx, "lenders")
	path := strings.TrimPrefix(link, "https://partage.internal")
	step(
		chromedp.Navigate(site+path),
		chromedp.Click(`.change summary`, chromedp.ByQuery),
		chromedp.SendKeys(`#less`, "500", chromedp.ByQuery),
		chromedp.Click(`form[action="`+path+`/cap"] button`, chromedp.ByQuery),
		chromedp.Text(`.wrong`, &wrong, chromedp.ByQuery),
		chromedp.SetValue(`#less`, "100", chromedp.ByQuery),
		chromedp.Click(`form[action="`+path+`/cap"] button`, chromedp.ByQuery),
		chromedp.Text(`.note[role=status]`, &note, chromedp.ByQuery),
	)
	if !strings.Contains(wrong, "pas plus petit") || !strings.Contains(note, "plus basse") {
		t.Errorf("it said %q and %q", wrong, note)
	}
	shootHere(t, ctx, "lender")

	tab, _ := webtest.Tab(t, ctx)
	judge := webtest.NewJudge(t, tab)
	check := func(path, code, dir string, thorough bool) {
		t.Helper()
		flaws, err := judge.Page(site+path, code, dir, thorough)
		if err != nil {
			t.Error(err)
		}
		for _, flaw := range flaws {
			t.Error(flaw)
		}
	}
	for _, of := range []string{
		"/admin/lenders?", "/admin/lenders/sheet?name=Fibre+du+centre&month=2026-11&", "/admin/lenders/year?year=2026&", "/admin/settings/metrics?",
	} {
		for _, code := range []string{"fr", "en"} {
			check(of+"lang="+code, code, "ltr", code == "fr")
		}
	}
	for _, code := range []string{"fr", "en", "es", "pt", "ar", "uk"} {
		dir := "ltr"
		if code == "ar" {
			dir = "rtl"
		}
		check(path+"?done=period&lang="+code, code, dir, code == "fr" || code == "ar")
		check(path+"/stop?lang="+code, code, dir, code == "fr")
	}
	var title string
	step(
		chromedp.Navigate(site+path),
		chromedp.Click(`.change>p a`, chromedp.ByQuery),
		chromedp.WaitVisible(`form[action="`+path+`/stop"] button`, chromedp.ByQuery),
		chromedp.Click(`form[action="`+path+`/stop"] button`, chromedp.ByQuery),
		chromedp.WaitNotPresent(`form[action="`+path+`/stop"] button`, chromedp.ByQuery),
		chromedp.Text(`h1`, &title, chromedp.ByQuery),
	)
	if title != "Votre prêt est terminé" {
		t.Errorf("after the stop the page is %q", title)
	}
}
