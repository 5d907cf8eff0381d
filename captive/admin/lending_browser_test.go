package admin

import (
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/appliance/state"
	"passerelle/captive/lend"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A lender fills in the form on a phone, the desk accepts, and the phone has the lender's page by itself; then the desk reads a
// code's photo. In a real browser with scripts off; then every page of a loan is judged, in all languages.
func TestLendingWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	l := newLending(t)
	l.box.offers = "fr en ar es pt uk"
	l.box.nearby.phones = []lend.Plugged{{Interface: "usb0"}}
	l.box.nearby.networks = []lend.Heard{{Name: "Partage de Co", Strong: true}}
	server := httptest.NewTLSServer(l.server)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	site := "https://partage.internal:" + at.Port()
	photo := filepath.Join(t.TempDir(), "photo.png")
	if err := os.WriteFile(photo, codeOf(t, "WIFI:T:WPA;S:Chez Karim;P:"+secret+";;"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, asked := webtest.Browser(t)
	presses := 0
	press := func(selector string) chromedp.Action {
		presses++
		return chromedp.Click(selector, chromedp.ByQuery)
	}
	var ticket, link string
	err = chromedp.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+lend.FormPath),
		chromedp.SendKeys(`#network`, "iPhone d’Élise", chromedp.ByQuery),
		chromedp.SendKeys(`#password`, secret, chromedp.ByQuery),
		chromedp.SendKeys(`#lender`, "Élise", chromedp.ByQuery),
		chromedp.Click(`main form button`, chromedp.ByQuery),
		chromedp.Text(`.ticket`, &ticket, chromedp.ByQuery),
		chromedp.Location(&link),
	)
	if err != nil {
		t.Fatal(err)
	}
	desk, _ := webtest.Tab(t, ctx)
	err = chromedp.Run(desk,
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.Navigate(site+"/admin/login?to=/admin/loans"),
		chromedp.SendKeys(`#password`, password, chromedp.ByQuery),
		chromedp.Click(`main button`, chromedp.ByQuery),
		chromedp.WaitVisible(`button[value="accept"]`, chromedp.ByQuery),
	)
	if err != nil {
		t.Fatal(err)
	}
	shootHere(t, desk, "loans")
	offer := l.server.Offers.Waiting(noon)[0]
	var thanks string
	err = chromedp.Run(desk,
		press(`button[value="accept"]`),
		chromedp.WaitVisible(`svg.code`, chromedp.ByQuery),
	)
	if err == nil {
		shootHere(t, desk, "accepted")
		err = chromedp.Run(ctx, // the phone loads its page again by itself
			chromedp.WaitVisible(`a.button[href^="/lender/"]`, chromedp.ByQuery),
			chromedp.Click(`a.button[href^="/lender/"]`, chromedp.ByQuery),
			chromedp.WaitReady(`body`, chromedp.ByQuery),
			chromedp.Location(&thanks),
		)
	}
	if err == nil {
		err = chromedp.Run(desk,
			chromedp.Navigate(site+loansPath),
			chromedp.SetUploadFiles(`#file`, []string{photo}),
			press(`form[enctype] button`),
			chromedp.WaitVisible(`button[value="accept"]`, chromedp.ByQuery),
		)
	}
	if err != nil {
		t.Fatal(err)
	}
	var loan string
	if err := chromedp.Run(desk, chromedp.Location(&loan), press(`button[value="accept"]`), chromedp.WaitVisible(`svg.code`, chromedp.ByQuery)); err != nil {
		t.Fatal(err)
	}
	if l.donated("Élise") == nil || l.donated("Chez Karim") == nil || !strings.Contains(thanks, "/lender/") || ticket == "" {
		t.Errorf("the phone has %q and then %s; the donations are %+v", ticket, thanks, l.parsed().Donations)
	}
	if presses != 3 {
		t.Errorf("the desk pressed %d times", presses)
	}

	l.offers(with(elises, "network", "Partagé", "lender", "Zoé"), "10.80.0.43:1")
	l.box.change(func(s *state.Status, d *state.Donation) {
		d.Ended, d.Until, d.Period = true, state.DateOf(noon), "once"
	})
	waiting := l.server.Offers.Waiting(noon)[0]
	judge := webtest.NewJudge(t, desk)
	for name, path := range map[string]string{
		"form": lend.FormPath, "wait": lend.FormPath + "/" + waiting.ID + "?hold=1", "answered": lend.FormPath + "/" + offer.ID, "gone": lend.FormPath + "/none",
		"desk": loansPath, "loan": loansPath + "/" + waiting.ID, "cable": loansPath + "/cable", "over": lenderPath + token,
	} {
		if err := chromedp.Run(desk, chromedp.Navigate(site+path)); err != nil {
			t.Fatal(err)
		}
		shootHere(t, desk, "lend-"+name)
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		for _, code := range []string{"fr", "en", "ar", "es", "pt", "uk"} {
			direction := "ltr"
			if code == "ar" {
				direction = "rtl"
			}
			flaws, err := judge.Page(site+path+sep+"lang="+code, code, direction, code == "fr")
			if err != nil {
				t.Error(err)
			}
			for _, flaw := range flaws {
				t.Errorf("%s: %s", name, flaw)
			}
		}
	}
	for _, u := range asked() {
		if !strings.HasPrefix(u, site) && !strings.HasPrefix(u, "data:") {
			t.Errorf("the page made the browser ask for %s", u)
		}
	}
}
