package captive

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/netctl/netlab/labtest"
)

// A real browser, its scripts off as in some phones' sign-in windows, is led to the first page, presses the button, sees
// the session and ends it. It finds the box by name, so by no origin that browsers trust: they then send Origin but no
// Sec-Fetch-Site, as on a hotspot.
func TestPressWithoutScripts(t *testing.T) {
	labtest.Root(t, "chromium")
	t.Parallel()
	b := newFakeBox()
	_, port, err := net.SplitHostPort(serve(t, newServer(b)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, asked := browser(t)
	site := "http://partage.internal:" + port

	var title, button, refresh string
	var refreshes bool
	err = chromedp.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(360, 740),
		chromedp.Navigate(site+"/"),
		chromedp.Evaluate(`getComputedStyle(document.querySelector("button")).backgroundColor`, &button),
		chromedp.Click(`form[action="/session"] button`),
		chromedp.WaitVisible(`form[action="/session/end"] button`),
		chromedp.Text("h1", &title),
		chromedp.AttributeValue(`meta[http-equiv="refresh"]`, "content", &refresh, &refreshes, chromedp.ByQuery),
	)
	if err != nil {
		t.Fatal(err)
	}
	if title != "Vous êtes connecté" || refresh != "60" {
		t.Errorf("after the press: title %q, refresh %q", title, refresh)
	}
	if button != "rgb(11, 81, 73)" {
		t.Errorf("the button is %s: the policy does not let the style through", button)
	}
	err = chromedp.Run(ctx,
		chromedp.Click(`form[action="/session/end"] button`),
		chromedp.WaitVisible(`form[action="/session"] button`),
		chromedp.Click(`nav a[lang="en"]`),
		chromedp.WaitVisible(`form[action="/session?lang=en"] button`),
		chromedp.Text("h1", &title),
	)
	if err != nil {
		t.Fatal(err)
	}
	if title != "Welcome" {
		t.Errorf("in English the title is %q", title)
	}
	for _, url := range asked() {
		if !strings.HasPrefix(url, site) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the pages made the browser ask for %s", url)
		}
	}
}

// browser starts a browser for the test, and reports the URLs it asks for.
func browser(t *testing.T) (ctx context.Context, asked func() []string) {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("host-resolver-rules", "MAP partage.internal 127.0.0.1, MAP * ~NOTFOUND"),
		chromedp.Flag("disable-component-update", true))
	// Not the test's context: that is over before its cleanups, and the browser shall end in order.
	ctx, cancelTime := context.WithTimeout(context.Background(), time.Minute)
	ctx, cancelProcess := chromedp.NewExecAllocator(ctx, options...)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil { // waits for the browser to be gone
			t.Error(err)
		}
		cancel()
		cancelProcess()
		cancelTime()
	})
	var mu sync.Mutex
	var urls []string
	chromedp.ListenTarget(ctx, func(event any) {
		if request, ok := event.(*network.EventRequestWillBeSent); ok {
			mu.Lock()
			defer mu.Unlock()
			urls = append(urls, request.Request.URL)
		}
	})
	return ctx, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return urls
	}
}
