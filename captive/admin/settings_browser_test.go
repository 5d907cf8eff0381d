package admin

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"passerelle/appliance/state"
	"passerelle/captive/admin/login"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A technician changes hours on the week's grid, sees what changes, and saves, in a real browser with scripts off. Then every page
// of the configuration is judged.
func TestSettingsWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	b.text = []byte(settingsText)
	var err error
	if b.logins, err = login.Open(t.TempDir(), time.Now); err != nil {
		t.Fatal(err)
	}
	code := b.logins.Code()
	v := visit(t, newServer(b, io.Discard), 320)
	v.enters("/admin/login", code, `nav.parts`)
	var changes string
	v.does(
		chromedp.Navigate(v.site+"/admin/settings/donation/1"),
		chromedp.SetValue(`[name="donation.hours.day6.from0"]`, "10:00", chromedp.ByQuery),
		chromedp.SetValue(`[name="donation.hours.day6.to0"]`, "12:00", chromedp.ByQuery),
		chromedp.Click(`form.settings>button`, chromedp.ByQuery),
		chromedp.WaitVisible(`form[action="/admin/settings/save"]`, chromedp.ByQuery),
		chromedp.Text(`ul.changes`, &changes, chromedp.ByQuery),
		chromedp.Click(`form[action="/admin/settings/save"] button`, chromedp.ByQuery),
		chromedp.WaitVisible(`.sign.good`, chromedp.ByQuery),
	)
	if !strings.Contains(changes, "lundi-vendredi 08:30-19:00; samedi 09:00-12:00; dimanche 10:00-12:00") {
		t.Errorf("the preview says %q", changes)
	}
	if !strings.Contains(string(b.text), `hours = "Mo-Fr 08:30-19:00; Sa 09:00-12:00; Su 10:00-12:00"`) {
		t.Errorf("the file is:\n%s", b.text)
	}

	b.updates.status = &state.Updates{
		Read: true, Version: "2026.1", Other: "2026.2", FellBack: "2026.2", FellBackWhy: "the portal does not answer", From: "a.example", Code: "expired", Error: "old",
	}
	b.fleet.status = aMember
	for _, path := range append(slices.Clone(settingsPages), updatePath, fleetPath) {
		if strings.HasSuffix(path, "download") {
			continue
		}
		v.judged(path)
	}
	v.stayed()
}
