// Package webtest is what tests of pages share: requests, golden files, and a browser to check pages with. It must not know
// what is on a page.
package webtest

import (
	"context"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files of what is served now")

// What all pages have in common is left out of the golden files: web's own tests check it.
var alike = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`(?s)^.*<title>`), "<title>"},
	{regexp.MustCompile(`(?s)<link rel="icon".*</style>\n</head>\n`), ""},
	{regexp.MustCompile(`(?s)<svg [^>]*viewBox.*?</svg>`), "*"},
}

// Gist is a golden file's form of an answer: its status, and the page without what all pages have in common. In it * is a
// pictogram.
func Gist(status int, page string) []byte {
	for _, a := range alike {
		page = a.what.ReplaceAllString(page, a.by)
	}
	return []byte(strconv.Itoa(status) + "\n" + page)
}

// Golden fails the test unless testdata/NAME.txtar is the same. With -update it writes it.
func Golden(t testing.TB, name string, got *txtar.Archive) {
	t.Helper()
	golden := filepath.Join("testdata", name+".txtar")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, txtar.Format(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wanted, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(wanted), string(txtar.Format(got))); diff != "" {
		t.Errorf("%s differs (-want +got; -update writes it):\n%s", golden, diff)
	}
}

// Ask sends a request to a handler: "GET /path" of a site such as "http://10.80.0.1", or "GET http://host/path", then
// headers as "Name: value". It comes from an address with its port.
func Ask(t testing.TB, h http.Handler, site, from, line string, headers ...string) *http.Response {
	t.Helper()
	method, target, _ := strings.Cut(line, " ")
	if strings.HasPrefix(target, "/") {
		target = site + target
	}
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = from
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
		} else {
			r.Header.Add(name, value)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// Body reads a response's body.
func Body(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// browserLife bounds how long a test may use its browser.
const browserLife = 10 * time.Minute

// Browser starts Chromium for the test, and reports the URLs that its first tab requests. It resolves only the box's name,
// to loopback, and trusts the box's own certificate as its user would after being asked.
func Browser(t testing.TB) (ctx context.Context, asked func() []string) {
	t.Helper()
	return NewBrowser(t, chromedp.IgnoreCertErrors,
		chromedp.Flag("host-resolver-rules", "MAP partage.internal 127.0.0.1, MAP * ~NOTFOUND"))
}

// NewBrowser starts Chromium for the test as a person has it, but for these options, and reports the URLs that its first tab
// requests.
func NewBrowser(t testing.TB, more ...chromedp.ExecAllocatorOption) (ctx context.Context, asked func() []string) {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-component-update", true))
	options = append(options, more...)
	// Not the test's context, which ends before its cleanups: the browser must be closed cleanly.
	ctx, cancelTime := context.WithTimeout(context.Background(), browserLife)
	ctx, cancelProcess := chromedp.NewExecAllocator(ctx, options...)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil { // waits for the browser's exit
			t.Error(err)
		}
		cancel()
		cancelProcess()
		cancelTime()
	})
	asked = listen(ctx)
	if err := chromedp.Run(ctx); err != nil { // starts it: a tab opened before would be another browser's
		t.Fatal(err)
	}
	return ctx, asked
}

// Tab opens one more tab of a browser, and reports the URLs that it requests.
func Tab(t testing.TB, browser context.Context) (ctx context.Context, asked func() []string) {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	return ctx, listen(ctx)
}

// listen reports the URLs that a tab requests.
func listen(ctx context.Context) (asked func() []string) {
	var mu sync.Mutex
	var urls []string
	chromedp.ListenTarget(ctx, func(event any) {
		if request, ok := event.(*network.EventRequestWillBeSent); ok {
			mu.Lock()
			defer mu.Unlock()
			urls = append(urls, request.Request.URL)
		}
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return urls
	}
}
