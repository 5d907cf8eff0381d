package admin

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"passerelle/appliance/state"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A technician makes a new link, and a lender lowers the cap and stops the loan, in a real browser with scripts off. Then their
// pages, the sheets and the six languages of the lender's page are judged.
func TestLendersWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	x := withSheets(t)
	x.box.offers = "fr en es pt ar uk"
	x.box.card = &state.Card{Phone: "01 23 45 67 89", Hours: "Mo-Sa 09:00-18:00"}
	v := visit(t, x.server, 320)
	v.enters("/admin/login?to=/admin/lenders", "", `.donations details`)
	var link, wrong, note string
	v.does(
		chromedp.Click(`details summary`, chromedp.ByQuery),
		chromedp.Click(`details button`, chromedp.ByQuery),
		chromedp.WaitVisible(`svg.code`, chromedp.ByQuery),
		chromedp.Text(`.address`, &link, chromedp.ByQuery),
	)
	shootHere(t, v.ctx, "lenders")
	path := strings.TrimPrefix(link, "https://partage.internal")
	v.does(
		chromedp.Navigate(v.site+path),
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
	shootHere(t, v.ctx, "lender")

	for _, of := range []string{
		"/admin/lenders", "/admin/lenders/sheet?name=Fibre+du+centre&month=2026-11", "/admin/lenders/year?year=2026", "/admin/settings/metrics",
	} {
		v.judged(of)
	}
	for _, code := range []string{"fr", "en", "es", "pt", "ar", "uk"} {
		v.judgedIn(path+"?done=period", code, code == "fr" || code == "ar")
		v.judgedIn(path+"/stop", code, code == "fr")
	}
	var title string
	v.does(
		chromedp.Navigate(v.site+path),
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
