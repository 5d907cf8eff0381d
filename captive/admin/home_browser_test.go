package admin

import (
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/appliance/state"
	"passerelle/captive/admin/login"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A technician pauses one donation and resumes it in a real browser with scripts off, on a narrow screen; then the page is
// judged as it is when all is well, and with everything that can be wrong.
func TestHomeWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	var err error
	if b.logins, err = login.Open(t.TempDir(), time.Now); err != nil {
		t.Fatal(err)
	}
	code := b.logins.Code()
	handler := newServer(b, io.Discard)
	handler.Day = aDay(b)
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	site := "https://partage.internal:" + at.Port()
	ctx, asked := webtest.Browser(t)

	var paused, resumed string
	var sideways bool
	err = chromedp.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+"/admin/login"),
		chromedp.SendKeys(`#code`, code, chromedp.ByQuery),
		chromedp.SendKeys(`#password`, password, chromedp.ByQuery),
		chromedp.Click(`main button`, chromedp.ByQuery),
		chromedp.WaitVisible(`.loans`, chromedp.ByQuery),
		chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &sideways),
		chromedp.Click(`.loans button[value="pause"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`.loans button[value="resume"]`, chromedp.ByQuery),
		chromedp.Text(`.loan`, &paused, chromedp.ByQuery),
		chromedp.Click(`.loans button[value="resume"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`.loans button[value="pause"]`, chromedp.ByQuery),
		chromedp.Text(`.loan`, &resumed, chromedp.ByQuery),
	)
	if err != nil {
		t.Fatal(err)
	}
	if sideways {
		t.Error("a screen of 320 px must be scrolled sideways (WCAG 2.2, 1.4.10)")
	}
	if !strings.Contains(paused, "En pause, par la personne qui règle la box") || !strings.Contains(resumed, "Utilisée maintenant") {
		t.Errorf("the donation is %q, then %q", paused, resumed)
	}

	tab, _ := webtest.Tab(t, ctx)
	judge := webtest.NewJudge(t, tab)
	for _, step := range []func(){func() {}, func() { spoil(b, handler) }, func() {
		b.change(func(box *state.Status, d *state.Donation) {
			box.State, box.Why, box.Clock.Trusted = state.Offline, "eth0 has a link but no default route", false
			d.Works, d.Chosen, d.Why, box.Donations[1].PausedBy = false, false, "eth0 has a link but no default route", itsLender
			b.offers = "fr en es uk"
		})
	}} {
		step()
		for _, code := range []string{"fr", "en"} {
			flaws, err := judge.Page(site+"/admin/?lang="+code, code, "ltr", true)
			if err != nil {
				t.Error(err)
			}
			for _, flaw := range flaws {
				t.Error(flaw)
			}
		}
	}
	for _, u := range asked() {
		if !strings.HasPrefix(u, site) && !strings.HasPrefix(u, "data:") {
			t.Errorf("the page made the browser ask for %s", u)
		}
	}
}
