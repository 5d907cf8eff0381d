package admin

import (
	"io"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/appliance/config"
	"passerelle/captive/admin/journal"
	"passerelle/captive/admin/login"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// TestAccessInABrowser judges the page to sign in with its help unfolded, the journal, and the refusals.
func TestAccessInABrowser(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	var err error
	if b.logins, err = login.Open(t.TempDir(), time.Now); err != nil {
		t.Fatal(err)
	}
	for _, e := range []journal.Entry{
		{What: journal.Paused, By: journal.Button},
		{What: journal.Clock, By: config.RoleCommandLine},
		{What: journal.Settings, By: config.RoleTechnician, Side: config.SideWired, Keys: []string{"admin.access", "hotspot.ssid"}},
		{What: journal.Settings, By: "nobody's confirmation", Keys: []string{"admin.access", "hotspot.ssid"}},
		{What: journal.Resumed, By: config.RoleTechnician, Side: config.SideHotspot},
	} {
		b.journal.Note(e)
	}
	s := newServer(b, io.Discard)
	s.Fingerprint = func() string {
		return "6A:A0:06:92:C6:3A:5B:F4 84:5D:E0:9E:37:DA:0B:A6 67:36:29:F0:CF:79:02:47 7F:22:12:1A:BB:24:F1:E4"
	}
	server := httptest.NewTLSServer(s)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	site := "https://partage.internal:" + at.Port()
	ctx, _ := webtest.Browser(t)
	tab, _ := webtest.Tab(t, ctx)
	judge := webtest.NewJudge(t, tab)
	judged := func(path string) {
		t.Helper()
		for _, code := range []string{"fr", "en"} {
			flaws, err := judge.Page(site+path+"?lang="+code, code, "ltr", code == "fr")
			if err != nil {
				t.Error(err)
			}
			for _, flaw := range flaws {
				t.Error(flaw)
			}
		}
	}
	var groups int
	err = chromedp.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+"/admin/login"),
		chromedp.Click(`summary`, chromedp.ByQuery),
		chromedp.WaitVisible(`.fingerprint`, chromedp.ByQuery),
		chromedp.Evaluate(`document.querySelectorAll(".fingerprint code").length`, &groups),
	)
	if err != nil || groups != 4 {
		t.Fatalf("%d groups, %v", groups, err)
	}
	judged("/admin/login")
	err = chromedp.Run(ctx,
		chromedp.Navigate(site+"/admin/login"),
		chromedp.SendKeys(`#code`, b.logins.Code(), chromedp.ByQuery),
		chromedp.SendKeys(`#password`, password, chromedp.ByQuery),
		chromedp.Click(`main form button`, chromedp.ByQuery),
		chromedp.WaitVisible(`nav.parts`, chromedp.ByQuery),
	)
	if err != nil {
		t.Fatal(err)
	}
	judged("/admin/journal")
	judged("/admin/settings/access")
	for _, a := range []config.Access{config.Wired, config.AfterPress} {
		b.access = a
		judged("/admin/")
	}
}
