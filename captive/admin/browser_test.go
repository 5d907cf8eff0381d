package admin

import (
	"io"
	"testing"

	"github.com/chromedp/chromedp"

	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A lender pauses and resumes in a real browser with scripts off, over https with a certificate that the browser trusts, on a
// narrow screen, and also by keyboard.
func TestLenderWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	v := visit(t, newServer(b, io.Discard), 320)
	var colour string
	v.does(
		chromedp.Navigate(v.site+page),
		chromedp.Evaluate(`getComputedStyle(document.querySelector(".days .left")).fill`, &colour),
	)
	v.fits()
	title := v.text("h1")
	v.press(`button`, `form[action="`+page+`/resume"] button`)
	if title != "Merci de prêter votre connexion" {
		t.Errorf("the title is %q", title)
	}
	if colour != "rgb(11, 81, 73)" {
		t.Errorf("the bars are %s: the policy does not let the style through", colour)
	}
	v.judgedIn(page, "fr", true)
	v.judgedIn(page, "en", true)
	v.does(
		chromedp.Click(`nav a`, chromedp.ByQuery),
		chromedp.WaitReady(`html[lang="en"]`, chromedp.ByQuery),
		chromedp.SendKeys(`button`, "\r", chromedp.ByQuery),
		chromedp.WaitVisible(`form[action="`+page+`/pause?lang=en"] button`),
		chromedp.Click(`summary`, chromedp.ByQuery),
		chromedp.WaitVisible(`tbody tr:nth-child(21) td`),
	)
	if len(b.presses) != 2 {
		t.Errorf("the box was told %q", b.presses)
	}
	v.stayed()
}
