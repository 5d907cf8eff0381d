package admin

import (
	"io"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"passerelle/appliance/config"
	"passerelle/captive/admin/journal"
	"passerelle/captive/admin/login"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// TestAccessInABrowser judges the sign-in page with its help unfolded, the journal, and the pages that say why access is refused.
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
	v := visit(t, s, 320)
	var groups int
	v.does(
		chromedp.Navigate(v.site+"/admin/login"),
		chromedp.Click(`summary`, chromedp.ByQuery),
		chromedp.WaitVisible(`.fingerprint`, chromedp.ByQuery),
		chromedp.Evaluate(`document.querySelectorAll(".fingerprint code").length`, &groups),
	)
	if groups != 4 {
		t.Errorf("the fingerprint has %d groups", groups)
	}
	v.judged("/admin/login")
	v.enters("/admin/login", b.logins.Code(), `nav.parts`)
	v.judged("/admin/journal")
	v.judged("/admin/settings/access")
	for _, a := range []config.Access{config.Wired, config.AfterPress} {
		b.access = a
		v.judged("/admin/")
	}
}
