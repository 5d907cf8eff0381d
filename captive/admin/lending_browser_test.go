package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/appliance/state"
	"passerelle/captive/lend"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A lender fills in the form on a phone, the desk accepts, and the phone shows the lender's page without a further press. Then the
// desk reads a photo of a code. All this is in a real browser with scripts off. At the end every page of a loan is judged, in all
// languages.
func TestLendingWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	l := newLending(t)
	l.box.offers = "fr en ar es pt uk"
	l.box.nearby.phones = []lend.Plugged{{Interface: "usb0"}}
	l.box.nearby.networks = []lend.Heard{{Name: "Partage de Co", Strong: true}}
	photo := filepath.Join(t.TempDir(), "photo.png")
	if err := os.WriteFile(photo, codeOf(t, "WIFI:T:WPA;S:Chez Karim;P:"+secret+";;"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := visit(t, l.server, 320)
	var ticket, thanks string
	v.does(
		chromedp.Navigate(v.site+lend.FormPath),
		chromedp.SendKeys(`#network`, "iPhone d’Élise", chromedp.ByQuery),
		chromedp.SendKeys(`#password`, secret, chromedp.ByQuery),
		chromedp.SendKeys(`#lender`, "Élise", chromedp.ByQuery),
		chromedp.Click(`main form button`, chromedp.ByQuery),
		chromedp.Text(`.ticket`, &ticket, chromedp.ByQuery),
	)
	tab, _ := webtest.Tab(t, v.ctx)
	desk := &visitor{T: t, ctx: tab, site: v.site}
	desk.does(network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}))
	desk.enters("/admin/login?to=/admin/loans", "", `button[value="accept"]`)
	shootHere(t, desk.ctx, "loans")
	offer := l.server.Offers.Waiting(noon)[0]
	desk.press(`button[value="accept"]`, `svg.code`)
	shootHere(t, desk.ctx, "accepted")
	v.does( // the phone's page reloads itself
		chromedp.WaitVisible(`a.button[href^="/lender/"]`, chromedp.ByQuery),
		chromedp.Click(`a.button[href^="/lender/"]`, chromedp.ByQuery),
		chromedp.WaitReady(`body`, chromedp.ByQuery),
		chromedp.Location(&thanks),
	)
	desk.does(chromedp.Navigate(v.site+loansPath), chromedp.SetUploadFiles(`#file`, []string{photo}))
	desk.press(`form[enctype] button`, `button[value="accept"]`)
	desk.press(`button[value="accept"]`, `svg.code`)
	if l.donated("Élise") == nil || l.donated("Chez Karim") == nil || !strings.Contains(thanks, "/lender/") || ticket == "" {
		t.Errorf("the phone has %q and then %s; the donations are %+v", ticket, thanks, l.parsed().Donations)
	}
	if desk.presses != 3 {
		t.Errorf("the desk pressed %d times", desk.presses)
	}

	l.offers(with(elises, "network", "Partagé", "lender", "Zoé"), "10.80.0.43:1")
	l.box.change(func(s *state.Status, d *state.Donation) {
		d.Ended, d.Until, d.Period = true, state.DateOf(noon), "once"
	})
	waiting := l.server.Offers.Waiting(noon)[0]
	for name, path := range map[string]string{
		"form": lend.FormPath, "wait": lend.FormPath + "/" + waiting.ID + "?hold=1", "answered": lend.FormPath + "/" + offer.ID, "gone": lend.FormPath + "/none",
		"desk": loansPath, "loan": loansPath + "/" + waiting.ID, "cable": loansPath + "/cable", "over": lenderPath + token,
	} {
		desk.does(chromedp.Navigate(v.site + path))
		shootHere(t, desk.ctx, "lend-"+name)
		for _, code := range []string{"fr", "en", "ar", "es", "pt", "uk"} {
			desk.judgedIn(path, code, code == "fr")
		}
	}
	v.stayed()
}
