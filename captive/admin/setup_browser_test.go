package admin

import (
	"context"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"passerelle/captive/admin/login"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A technician goes through the first start in a real browser with scripts off. Each page is judged on the way, in both languages.
func TestFirstStartWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	b.fresh(t)
	var err error
	if b.logins, err = login.Open(t.TempDir(), time.Now); err != nil {
		t.Fatal(err)
	}
	pages := newServer(b, io.Discard)
	v := visit(t, pages, 320)
	judged := func(step string) {
		t.Helper()
		v.judged("/admin/setup/" + step)
		shoot(t, v.ctx, v.site+"/admin/setup/"+step, step)
	}
	next := func(selector string) chromedp.Action {
		return chromedp.Tasks{
			chromedp.Click(`main form>button:not([hidden])`, chromedp.ByQuery), chromedp.WaitVisible(selector, chromedp.ByQuery),
		}
	}
	v.enters("/admin/", b.logins.Code(), `[name="box.name"]`)
	judged("centre")
	v.does(chromedp.SendKeys(`[name="box.name"]`, "Maison des Écluses", chromedp.ByQuery), next(`[name="line"]`))
	judged("line")
	v.does(chromedp.SetValue(`[name="donation.name"]`, "Fibre des Écluses", chromedp.ByQuery), next(`[name="door"]`))
	judged("hotspot")
	v.does(next(`[name="preset"]`))
	judged("limits")
	v.does(chromedp.Click(`[value="messages"]`, chromedp.ByQuery), next(`[action="/admin/setup/summary"]`))
	judged("summary")
	was := pages.answers()
	for step, chosen := range map[string]url.Values{ // the fields that a choice unfolds are judged, too
		"line": {lineName: {"wifi:wlan1"}, planName: {own}}, "hotspot": {doorName: {"closed"}}, "limits": {presetName: {own}},
	} {
		form := maps.Clone(was[step])
		maps.Copy(form, chosen)
		if _, err := pages.keep(step, form); err != nil {
			t.Fatal(err)
		}
		judged(step)
		if _, err := pages.keep(step, was[step]); err != nil {
			t.Fatal(err)
		}
	}
	// Somebody goes back, and gives the uplink the radio that the hotspot has.
	b.machine.radios = []Radio{newBoxes.radios[0], {Interface: "wlan1", Stations: 10}}
	for _, x := range []struct{ step, name, value, shown string }{
		{"hotspot", placeName, "radio:wlan1", "line"}, {"line", lineName, "wifi:wlan1", "hotspot"},
	} {
		form := maps.Clone(was[x.step])
		form.Set(x.name, x.value)
		form.Set("donation.wifi.ssid", "Amina")
		if _, err := pages.keep(x.step, form); err != nil {
			t.Fatal(err)
		}
		v.judged("/admin/setup/" + x.shown)
		shoot(t, v.ctx, v.site+"/admin/setup/"+x.shown, "taken-"+x.shown)
	}
	for _, step := range []string{"hotspot", "line"} {
		if _, err := pages.keep(step, was[step]); err != nil {
			t.Fatal(err)
		}
	}
	b.machine.radios = nil
	judged("hotspot")
	b.machine.radios = newBoxes.radios
	v.does(
		chromedp.Navigate(v.site+"/admin/setup/summary"), chromedp.WaitVisible(`[action="/admin/setup/summary"]`, chromedp.ByQuery),
		next(`a[href="/admin/setup/done"]`),
	)
	b.status = newFakeBox().status
	judged("done")
	if text := string(b.configuration.text); !strings.Contains(text, `name = "Maison des Écluses"`) {
		t.Errorf("the configuration is:\n%s", text)
	}
	v.stayed()
}

// shoot saves screenshots of a page in the folder $SHOTS, if that is set.
func shoot(t *testing.T, ctx context.Context, page, name string) {
	folder := os.Getenv("SHOTS")
	if folder == "" {
		return
	}
	for _, width := range []int{320, 390, 1280} {
		var picture []byte
		if err := webtest.Run(ctx, chromedp.EmulateViewport(int64(width), 800), chromedp.Navigate(page), chromedp.FullScreenshot(&picture, 100)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name+"-"+strconv.Itoa(width)+".png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := webtest.Run(ctx, chromedp.EmulateViewport(320, 640), chromedp.Navigate(page)); err != nil {
		t.Fatal(err)
	}
}
