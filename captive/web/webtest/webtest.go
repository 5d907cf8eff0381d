// Package webtest is what tests of pages share: requests, golden files, and a browser to check pages with. It does not depend on
// what a page contains.
package webtest

import (
	"context"
	"errors"
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

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files of what is served now")

// alike matches what all pages have in common. It is left out of the golden files: web's own tests check it.
var alike = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`(?s)^.*<title>`), "<title>"},
	{regexp.MustCompile(`(?s)<link rel="icon".*</style>\n</head>\n`), ""},
	{regexp.MustCompile(`(?s)<svg [^>]*viewBox.*?</svg>`), "*"},
}

// Gist returns an answer in the form of a golden file: its status, and the page without what all pages have in common. An asterisk
// stands for a pictogram.
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

// Ask sends a request to a handler and returns the response. The line is "GET /path" for a path of site, such as "http://10.80.0.1",
// or "GET http://host/path". Headers are given as "Name: value". The request comes from the address and port in from.
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

// browserLife bounds how long a test may use its browser, on a busy machine.
const browserLife = 25 * time.Minute

// startLimit bounds how long a browser may take to start. It is long because other browsers start at the same time.
const startLimit = 2 * time.Minute

// Shell is the browser that tests of pages run: Chromium without the windows around a page, which took more processor time than the
// pages. The command of the same name is a wrapper: the browser would be its child, and would outlive a test that is killed.
const Shell = "/usr/lib/chromium/chromium-headless-shell"

// shared is the browser of this process's tests. It starts with the first test that uses it, and ends with the last one that runs at
// the same time.
var shared struct {
	mu    sync.Mutex
	users int
	ctx   context.Context
	stop  func() error
}

// Browser gives the test a window of the shell with cookies and a cache of its own, and reports the URLs that its first tab requests.
// The browser resolves only the box's name, to loopback, and trusts the box's own certificate, as its user would after being asked.
// The window has the focus, as the only window on a screen would.
func Browser(t testing.TB) (ctx context.Context, asked func() []string) {
	t.Helper()
	ctx, cancelTime := context.WithTimeout(share(t), browserLife)
	ctx, cancel := chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(func() {
		cancel()
		cancelTime()
	})
	asked = listen(ctx)
	if err := chromedp.Run(ctx, emulation.SetFocusEmulationEnabled(true)); err != nil {
		t.Fatal(err)
	}
	return ctx, asked
}

// share returns the shared browser, for as long as the test runs.
func share(t testing.TB) context.Context {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.users == 0 {
		profile, err := os.MkdirTemp("", "passerelle-browser-")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop, err := start(Shell, profile, chromedp.IgnoreCertErrors,
			chromedp.Flag("host-resolver-rules", "MAP partage.internal 127.0.0.1, MAP * ~NOTFOUND"))
		if err != nil {
			t.Fatal(errors.Join(err, os.RemoveAll(profile)))
		}
		shared.ctx, shared.stop = ctx, func() error { return errors.Join(stop(), os.RemoveAll(profile)) }
	}
	shared.users++
	t.Cleanup(func() {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if shared.users--; shared.users == 0 {
			if err := shared.stop(); err != nil {
				t.Error(err)
			}
		}
	})
	return shared.ctx
}

// NewBrowser starts a full Chromium for the test, with these options besides the common ones, and reports the URLs that its first tab
// requests.
func NewBrowser(t testing.TB, more ...chromedp.ExecAllocatorOption) (ctx context.Context, asked func() []string) {
	t.Helper()
	ctx, stop, err := start("chromium", t.TempDir(), more...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(ctx, browserLife)
	t.Cleanup(cancel)
	return ctx, listen(ctx)
}

// start starts a browser with a profile in a folder.
func start(program, profile string, more ...chromedp.ExecAllocatorOption) (ctx context.Context, stop func() error, err error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.UserDataDir(profile),
		chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(startLimit))
	// This is not a test's context, since that ends before the test's cleanups, and the browser must be closed cleanly.
	allocator, cancelProcess := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithBrowserOption(chromedp.WithDialTimeout(startLimit)))
	stop = func() error {
		late := time.AfterFunc(startLimit, cancelProcess)
		defer late.Stop()
		err := chromedp.Cancel(ctx) // waits for the browser's exit
		cancel()
		cancelProcess()
		return err
	}
	if err := chromedp.Run(ctx); err != nil { // this starts the browser: a tab opened before would start another one
		cancel()
		cancelProcess()
		return nil, nil, err
	}
	return ctx, stop, nil
}

// Tab opens one more tab of a browser, and reports the URLs that it requests.
func Tab(t testing.TB, browser context.Context) (ctx context.Context, asked func() []string) {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	asked = listen(ctx)
	if err := chromedp.Run(ctx); err != nil { // this opens the tab: if a shorter context used it first, the tab would close with that context
		t.Fatal(err)
	}
	return ctx, asked
}

// repeats is how often an action is repeated: each time it waits for its element in the page that is there now.
const repeats = 5

// Run runs actions in a tab, one after the other. An action that found its element in a page just before the next page replaced it is
// repeated: after a press, both pages may have such an element, or the tab may answer late on a busy machine.
func Run(ctx context.Context, actions ...chromedp.Action) error {
	for _, a := range actions {
		if all, ok := a.(chromedp.Tasks); ok {
			if err := Run(ctx, all...); err != nil {
				return err
			}
			continue
		}
		err := chromedp.Run(ctx, a)
		for i := 0; i < repeats && replaced(err); i++ {
			err = chromedp.Run(ctx, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replaced reports that an element's page was replaced, as Chromium's protocol says it (InspectorDOMAgent::AssertNode).
func replaced(err error) bool {
	of, ok := errors.AsType[*cdproto.Error](err)
	return ok && strings.Contains(of.Message, "ode with given id")
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
