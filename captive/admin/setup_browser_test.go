package admin

import (
	"context"
	"io"
	"maps"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/captive/admin/login"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A technician walks through the first start in a real browser with scripts off; each page is judged on the way, in both
// languages.
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
	server := httptest.NewTLSServer(pages)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	site := "https://partage.internal:" + at.Port()
	ctx, asked := webtest.Browser(t)
	tab, _ := webtest.Tab(t, ctx)
	judge := webtest.NewJudge(t, tab)
	run := func(actions ...chromedp.Action) {
		t.Helper()
		if err := chromedp.Run(ctx, actions...); err != nil {
			t.Fatal(err)
		}
	}
	judged := func(step string) {
		t.Helper()
		for _, code := range []string{"fr", "en"} {
			flaws, err := judge.Page(site+"/admin/setup/"+step+"?lang="+code, code, "ltr", code == "fr")
			if err != nil {
				t.Error(err)
			}
			for _, flaw := range flaws {
				t.Error(flaw)
			}
		}
		shoot(t, ctx, site+"/admin/setup/"+step, step)
	}
	next := func(selector string) chromedp.Action {
		return chromedp.Tasks{
			chromedp.Click(`main form>button:not([hidden])`, chromedp.ByQuery), chromedp.WaitVisible(selector, chromedp.ByQuery),
		}
	}
	run(
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+"/admin/"),
		chromedp.SendKeys(`#code`, b.logins.Code(), chromedp.ByQuery),
		chromedp.SendKeys(`#password`, password, chromedp.ByQuery),
		chromedp.Click(`main button`, chromedp.ByQuery),
		chromedp.WaitVisible(`[name="box.name"]`, chromedp.ByQuery),
	)
	judged("centre")
	run(chromedp.SendKeys(`[name="box.name"]`, "Maison des Écluses", chromedp.ByQuery), next(`[name="line"]`))
	judged("line")
	run(chromedp.SetValue(`[name="donation.name"]`, "Fibre des Écluses", chromedp.ByQuery), next(`[name="door"]`))
	judged("hotspot")
	run(next(`[name="preset"]`))
	judged("limits")
	run(chromedp.Click(`[value="messages"]`, chromedp.ByQuery), next(`[action="/admin/setup/summary"]`))
	judged("summary")
	was := pages.answers()
	for step, chosen := range map[string]url.Values{ // what a choice shows is judged, too
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
	b.machine.radios = nil
	judged("hotspot")
	b.machine.radios = newBoxes.radios
	run(
		chromedp.Navigate(site+"/admin/setup/summary"), chromedp.WaitVisible(`[action="/admin/setup/summary"]`, chromedp.ByQuery),
		next(`a[href="/admin/setup/done"]`),
	)
	b.status = newFakeBox().status
	judged("done")
	if text := string(b.configuration.text); !strings.Contains(text, `name = "Maison des Écluses"`) {
		t.Errorf("the configuration is:\n%s", text)
	}
	for _, u := range asked() {
		if !strings.HasPrefix(u, site) && !strings.HasPrefix(u, "data:") {
			t.Errorf("the page made the browser ask for %s", u)
		}
	}
}

// shoot keeps pictures of a page in the folder SHOTS, if there is one.
func shoot(t *testing.T, ctx context.Context, page, name string) {
	folder := os.Getenv("SHOTS")
	if folder == "" {
		return
	}
	for _, width := range []int{320, 390, 1280} {
		var picture []byte
		if err := chromedp.Run(ctx, chromedp.EmulateViewport(int64(width), 800), chromedp.Navigate(page), chromedp.FullScreenshot(&picture, 100)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name+"-"+strconv.Itoa(width)+".png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := chromedp.Run(ctx, chromedp.EmulateViewport(320, 640), chromedp.Navigate(page)); err != nil {
		t.Fatal(err)
	}
}
