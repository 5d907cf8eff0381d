package dashboard

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// TestBrowser: a person signs in, confirms a waiting box and pauses another one, in a real browser with scripts off, on a narrow screen. Then
// every page is checked in both languages, narrow and wide, light and dark. If SCREENSHOTS names a folder, screenshots are stored there.
func TestBrowser(t *testing.T) {
	labtest.Root(t, "chromium")
	t.Parallel()
	w := newWorld(t)
	server := httptest.NewTLSServer(w.Server)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	site := "https://partage.internal:" + at.Port()
	ctx, asked := webtest.Browser(t)
	var title, done string
	if err := webtest.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+"/box/"+waiting),
		chromedp.SendKeys(`#code`, federationCode, chromedp.ByQuery),
		chromedp.Click(`main button`, chromedp.ByQuery),
		chromedp.WaitVisible(`.words`, chromedp.ByQuery),
		chromedp.Text("h1", &title, chromedp.ByQuery),
		chromedp.Click(`main form button`, chromedp.ByQuery),
		chromedp.WaitVisible(`[role=status]`, chromedp.ByQuery),
		chromedp.Text(`[role=status]`, &done, chromedp.ByQuery),
		chromedp.Navigate(site+"/box/"+lilas),
		chromedp.Click(`button[value=pause]`, chromedp.ByQuery),
		chromedp.WaitVisible(`[role=status]`, chromedp.ByQuery),
	); err != nil {
		t.Fatal(err)
	}
	if title != waiting || !strings.Contains(done, "fait") || !strings.Contains(w.registry.last(), "to pause") {
		t.Errorf("the box is called %q, the answer is %q, and last was done: %s", title, done, w.registry.last())
	}
	tab, _ := webtest.Tab(t, ctx)
	judge := webtest.NewJudge(t, tab)
	for name, path := range map[string]string{"home": "/", "attention": "/attention", "association": "/association/lilas", "box": "/box/" + lilas, "waiting": "/box/" + waiting,
		"revoke": "/box/" + lilas + "/revoke", "releases": "/releases", "rollout": "/releases/rollout", "sums": "/sums", "missing": "/none", "login": "/login"} {
		for _, code := range []string{"fr", "en"} {
			flaws, err := judge.Page(site+path+"?lang="+code, code, "ltr", true)
			if err != nil {
				t.Error(err)
			}
			for _, flaw := range flaws {
				t.Error(flaw)
			}
		}
		keep(t, tab, name, site+path)
	}
	for _, u := range asked() {
		if !strings.HasPrefix(u, site) && !strings.HasPrefix(u, "data:") {
			t.Errorf("the page made the browser ask for %s", u)
		}
	}
}

// keep stores screenshots of a page: on a phone's screen in light mode, and on a wide screen in dark and in light mode.
func keep(t *testing.T, tab context.Context, name, page string) {
	t.Helper()
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		return
	}
	for _, look := range []struct {
		width  int64
		scheme string
	}{{320, "light"}, {1280, "dark"}, {1280, "light"}} {
		var picture []byte
		if err := webtest.Run(tab, chromedp.EmulateViewport(look.width, 900),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}}),
			chromedp.Navigate(page), chromedp.FullScreenshot(&picture, 100)); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(folder, fmt.Sprintf("%s-%d-%s.png", name, look.width, look.scheme))
		if err := os.WriteFile(file, picture, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
