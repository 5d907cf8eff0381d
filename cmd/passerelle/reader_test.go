package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"passerelle/appliance/daemon"
	"passerelle/appliance/state"
	"passerelle/captive/web"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// reader is a resident with a browser in the resident's namespace.
type reader struct {
	*box
	ctx context.Context // the browser's tab
}

// reader starts the resident's browser.
func (b *box) reader(r *netlab.Resident) reader {
	b.t.Helper()
	const port = "127.0.0.1:9222" // of the resident's own loopback
	proc, err := r.Start("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio",
		"--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
		"--user-data-dir=/run/browser", "--remote-debugging-address=127.0.0.1", "--remote-debugging-port=9222", "about:blank")
	b.must(err)
	exposed, err := r.Expose("127.0.0.1:0", port)
	b.must(err)
	wait(b.t, "the browser", func() error {
		reply, err := http.Get("http://" + exposed.String() + "/json/version")
		if err != nil {
			return fmt.Errorf("%w: %s", err, proc.Output())
		}
		return reply.Body.Close()
	})
	// Not the test's context, which ends before its cleanups: the tab must be closed cleanly.
	ctx, cancelTime := context.WithTimeout(context.Background(), 10*patience)
	ctx, cancelBrowser := chromedp.NewRemoteAllocator(ctx, "http://"+exposed.String())
	ctx, cancel := chromedp.NewContext(ctx)
	b.t.Cleanup(func() {
		cancel()
		cancelBrowser()
		cancelTime()
	})
	b.must(chromedp.Run(ctx)) // opens the tab, which ends with the context of this first run
	return reader{b, ctx}
}

// browse runs browser actions within a time limit.
func (r reader) browse(what string, actions ...chromedp.Action) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		r.t.Fatalf("%s: %v", what, err)
	}
}

// eval returns the value of a JavaScript expression on the current page.
func (r reader) eval(expression string) (value string) {
	r.t.Helper()
	r.browse(expression, chromedp.Evaluate("String("+expression+")", &value))
	return value
}

// follow clicks a link or button, and waits for the next page.
func (r reader) follow(selector string) {
	r.t.Helper()
	r.browse("mark the page", chromedp.Evaluate("void (window.before = true)", nil))
	r.browse("press "+selector, chromedp.Click(selector, chromedp.ByQuery))
	wait(r.t, "the page behind "+selector, func() (err error) {
		var there bool
		err = chromedp.Run(r.ctx, chromedp.Evaluate("!window.before && document.readyState == 'complete'", &there))
		if err == nil && !there {
			err = errors.New("it does not come")
		}
		return err
	})
}

// says fails the test unless the selected element has the text.
func (r reader) says(selector, want string) {
	r.t.Helper()
	got := r.eval(fmt.Sprintf("document.querySelector(%q)?.textContent", selector))
	if plain(got) != plain(want) {
		r.t.Errorf("%s: %s says %q, want %q", r.eval("location.href"), selector, got, want)
	}
}

// plain returns a text without typesetting, such as direction marks and special spaces.
func plain(s string) string {
	s = strings.Map(func(c rune) rune {
		if c >= 0x2066 && c <= 0x2069 {
			return -1
		}
		return c
	}, s)
	return strings.Join(strings.Fields(strings.NewReplacer(" ", " ", " ", " ").Replace(s)), " ")
}

// TestReader: in three languages, with and without scripts, a resident is redirected to the first page by the phone's own probe, gets
// online with one press, sees the address to return to, reads a tutorial, looks at its pictures, finds another one despite a typing
// error, prints it, and changes the language. Without internet the tutorials are still available.
func TestReader(t *testing.T) {
	labtest.Root(t, "chromium")
	t.Parallel()
	b := newBox(t, settings{languages: `["fr", "en", "ar"]`}, netlab.Options{})
	b.scene.Internet.Names.Set("connectivitycheck.gstatic.com", netlab.WebAddr)
	resident := b.scene.Residents[0]
	b.join(resident)
	r := b.reader(resident)
	words := web.NewCatalog(daemon.Shares("", slog.New(slog.DiscardHandler), nil, nil)...)
	for _, test := range []struct{ language, other, typo, finds string }{
		{"fr", "en", "mot de pase", "/tutorials/mots-de-passe"},
		{"en", "ar", "pasword", "/tutorials/mots-de-passe"},
		{"ar", "fr", "franceconect", "/tutorials/franceconnect"},
	} {
		for _, scripts := range []bool{true, false} {
			r.browse("prepare",
				emulation.SetScriptExecutionDisabled(!scripts), chromedp.EmulateViewport(360, 740),
				network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": test.language}))
			r.visit(words.Language(test.language), words.Language(test.other), test.typo, test.finds)
		}
	}
	b.admit(resident)
	shots := os.Getenv("SCREENSHOTS")
	r.shoot(shots, "session")
	b.must(b.scene.Lenders[0].Unplug())
	b.waitState(state.Offline)
	for _, code := range []string{"fr", "en", "ar"} {
		r.browse("open the first page", chromedp.Navigate("http://partage.internal/?lang="+code))
		r.says("h1", web.Language(code).T("offline.title"))
		r.follow(`.door[href^="/tutorials"]`)
		r.follow(".tile")
		r.follow(".tile")
		if n := r.eval(`document.querySelectorAll(".steps > li svg.drawing").length`); n < "3" {
			t.Errorf("without the internet a lesson has %s drawings", n)
		}
	}
	r.shoot(shots, "offline")
}

// visit does what a resident does without a session. The resident has none afterwards.
func (r reader) visit(words, other *web.Words, typo, finds string) {
	t := r.t
	t.Helper()
	r.browse("probe", chromedp.Navigate(probe))
	if at := r.eval("location.href"); at != portal+"/" {
		t.Fatalf("the probe led to %s", at)
	}
	r.says("h1", words.T("first.title"))
	r.follow(`form[action^="/session"] button`)
	r.says("h1", words.T("session.title"))
	r.says(".address", "partage.internal")

	r.browse("come back", chromedp.Navigate("http://partage.internal/"))
	r.says("h1", words.T("online.title"))
	r.follow(`.door[href^="/tutorials"]`)
	r.says("h1", words.T("tutorials.title"))
	r.follow(".tile")
	r.follow(".tile")
	lesson := r.eval("document.querySelector('h1').textContent")
	steps := r.eval(`document.querySelectorAll(".steps > li").length`)
	r.follow(".pictures a")
	for n := 1; r.eval(`document.querySelector(".turn") != null`) == "true"; n++ {
		r.says(".progress span", words.T("story.progress", "number", fmt.Sprint(n), "count", steps))
		r.follow(`a[rel="next"]`)
	}
	r.says("h1", words.T("story.done"))
	r.follow(`a.again`)
	r.follow(`a[rel="next"]`)
	r.follow(`a[rel="prev"]`)
	r.says(".progress span", words.T("story.progress", "number", "1", "count", steps))
	r.follow(`a[rel="prev"]`)
	r.says("h1", lesson)

	r.browse("open the lessons", chromedp.Navigate("http://partage.internal/tutorials"),
		chromedp.SendKeys("#q", typo, chromedp.ByQuery))
	r.follow(".search button")
	r.says("#found", words.T("tutorials.found"))
	if hits := r.eval(`[...document.querySelectorAll(".tile")].map(a => a.pathname).join(" ")`); !strings.Contains(hits, finds) {
		t.Errorf("%q finds %s, not %s", typo, hits, finds)
	}
	r.follow(fmt.Sprintf(`.tile[href^=%q]`, finds))

	r.follow(fmt.Sprintf(`header nav a[lang=%q]`, other.Code))
	r.inLanguage(other)
	r.follow(`.trail a`)
	r.says("h1", other.T("tutorials.title"))
	r.inLanguage(other)
	r.follow(`.tile`)
	r.inLanguage(other)
	r.follow(`header .centre`)
	r.inLanguage(other)
	r.follow(`a.button`)
	r.says("h1", other.T("session.title"))
	r.inLanguage(other)

	for _, slug := range []string{"wifi", "mots-de-passe", "franceconnect"} {
		r.browse("open a lesson", chromedp.Navigate("http://partage.internal/tutorials/"+slug))
		if n := r.printed(); n < 1 || n > 2 {
			t.Errorf("%s: %s is printed on %d pages", words.Code, slug, n)
		}
	}
	r.browse("open the session", chromedp.Navigate("http://partage.internal/session"))
	r.follow(`form[action^="/session/end"] button`)
	r.says("h1", words.T("ended.title"))
}

// inLanguage fails the test unless the page is in the language.
func (r reader) inLanguage(w *web.Words) {
	r.t.Helper()
	if got := r.eval(`document.documentElement.lang + " " + document.documentElement.dir`); got != w.Code+" "+w.Direction {
		r.t.Errorf("%s is in %s, want %s", r.eval("location.href"), got, w.Code)
	}
}

var pdfPage = regexp.MustCompile(`/Type\s*/Page\b[^s]`)

// printed returns the number of A4 pages that the page prints on.
func (r reader) printed() (pages int) {
	r.t.Helper()
	r.browse("print", chromedp.ActionFunc(func(ctx context.Context) error {
		const width, height = 210 / 25.4, 297 / 25.4 // inches
		pdf, _, err := page.PrintToPDF().WithPaperWidth(width).WithPaperHeight(height).WithPreferCSSPageSize(true).Do(ctx)
		pages = len(pdfPage.FindAll(pdf, -1))
		return err
	}))
	return pages
}

// shoot takes screenshots of the residents' current page in common widths and colours, for people to check, if a folder is given.
func (r reader) shoot(folder, when string) {
	r.t.Helper()
	if folder == "" {
		return
	}
	r.must(os.MkdirAll(folder, 0o755))
	paths := map[string]string{
		"first": "/", "session": "/session", "tutorials": "/tutorials", "path": "/tutorials/premiers-pas",
		"lesson": "/tutorials/wifi", "story": "/tutorials/wifi/1",
	}
	if when == "offline" {
		paths = map[string]string{"offline": "/"}
	}
	for name, path := range paths {
		for _, language := range []string{"fr", "ar"} {
			r.browse("open "+path, chromedp.Navigate("http://partage.internal"+path+"?lang="+language))
			for _, scheme := range []string{"light", "dark"} {
				for _, width := range []int64{320, 390, 768, 1280} {
					var png []byte
					r.browse("take a picture of "+path,
						emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
						chromedp.EmulateViewport(width, 740), chromedp.FullScreenshot(&png, 100))
					file := fmt.Sprintf("%s-%s-%s-%d.png", name, language, scheme, width)
					r.must(os.WriteFile(filepath.Join(folder, file), png, 0o644))
				}
			}
		}
	}
}
