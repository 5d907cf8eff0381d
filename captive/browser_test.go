package captive

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/png"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	print "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"passerelle/appliance/state"
	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A real browser with scripts off, as in some phones' sign-in windows, is redirected to the first page, presses the button,
// sees the session and ends it. It opens the box by name over plain http, which is not a trustworthy origin: as on a hotspot, the
// browser then sends Origin but no Sec-Fetch-Site.
func TestPressWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	_, port, err := net.SplitHostPort(serve(t, newServer(b)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, asked := webtest.Browser(t)
	site := "http://partage.internal:" + port

	var title, button, refresh string
	var refreshes bool
	err = webtest.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(360, 740),
		chromedp.Navigate(site+"/"),
		shoot("first-page"),
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

	// In the last minutes the first page and the session's page have a button that makes the session longer.
	b.pass(func(s *state.Session) { s.Left, s.Extends = 8*time.Minute, true })
	var before, after string
	err = webtest.Run(ctx,
		chromedp.Navigate(site+"/"),
		chromedp.Click(`a[href="/session"]`),
		chromedp.WaitVisible(`form[action="/session/end"] button`),
		chromedp.Text(`.big`, &before, chromedp.ByQuery),
		chromedp.Navigate(site+"/"),
		chromedp.Click(`form[action="/session"] button`),
		chromedp.WaitVisible(`form[action="/session/end"] button`),
		chromedp.Text(`.big`, &after, chromedp.ByQuery),
		chromedp.WaitNotPresent(`form[action="/session"] button`),
	)
	if err != nil || before != "8 minutes" || after != "2 heures" {
		t.Errorf("before the press there are %q, after it %q, %v", before, after, err)
	}

	// When the day's data is used, the session continues slowly: the page says so.
	b.pass(slowly)
	err = webtest.Run(ctx,
		chromedp.Navigate(site+"/session"),
		chromedp.WaitVisible(`form[action="/session/end"] button`),
		chromedp.Text("main", &before),
		chromedp.Navigate(site+"/"),
		chromedp.WaitVisible(`a[href="/session"]`),
		chromedp.Text("main", &after),
		chromedp.WaitNotPresent(`form[action="/session"] button`),
		chromedp.Click(`a[href="/session"]`),
	)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(before, "Internet marche lentement jusqu’à demain.") || !strings.Contains(before, "Vous êtes connecté") {
		t.Errorf("in the slow lane the session's page says %q", before)
	}
	if !strings.Contains(after, "Vous êtes connecté") {
		t.Errorf("in the slow lane the first page says %q", after)
	}

	err = webtest.Run(ctx,
		chromedp.Click(`form[action="/session/end"] button`),
		chromedp.WaitVisible(`form[action="/session"] button`),
		chromedp.Text("h1", &before),
		chromedp.Click(`nav a[lang="en"]`),
		chromedp.WaitVisible(`form[action="/session?lang=en"] button`),
		chromedp.Text("h1", &title),
	)
	if err != nil {
		t.Fatal(err)
	}
	if before != "C’est arrêté. Merci." || title != "You have stopped. Thank you." {
		t.Errorf("after the end the titles are %q and, in English, %q", before, title)
	}
	for _, url := range asked() {
		if !strings.HasPrefix(url, site) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the pages made the browser ask for %s", url)
		}
	}
}

// shoot saves a screenshot in the folder that the environment variable SHOTS names, if it is set, as by make pictures.
func shoot(name string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		folder := os.Getenv("SHOTS")
		if folder == "" {
			return nil
		}
		var picture []byte
		if err := chromedp.CaptureScreenshot(&picture).Do(ctx); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644)
	})
}

// From the first page a browser without scripts gets to the essential services, on a screen of 320 px, where each link is
// large enough for a finger.
func TestEssentialWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	_, port, err := net.SplitHostPort(serve(t, newServer(newFakeBox())))
	if err != nil {
		t.Fatal(err)
	}
	ctx, asked := webtest.Browser(t)
	site := "http://partage.internal:" + port

	var title, colour string
	var sideways bool
	var lowest float64
	const heights = `[...document.querySelectorAll("main a")].map(a => a.getBoundingClientRect().height)`
	err = webtest.Run(ctx,
		emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+"/"),
		chromedp.Click(`a[href="/essential"]`),
		chromedp.WaitVisible(`a[href="https://www.caf.fr/"]`),
		chromedp.Text("h1", &title),
		chromedp.Evaluate(`getComputedStyle(document.querySelector(".services strong")).color`, &colour),
		chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &sideways),
		chromedp.Evaluate(`Math.min(...`+heights+`)`, &lowest),
	)
	if err != nil {
		t.Fatal(err)
	}
	if title != "Sites essentiels" {
		t.Errorf("the title is %q", title)
	}
	if colour != "rgb(11, 81, 73)" {
		t.Errorf("the services are %s: the policy does not let the style through", colour)
	}
	if sideways {
		t.Error("a screen of 320 px must be scrolled sideways (WCAG 2.2, 1.4.10)")
	}
	if lowest < 44 {
		t.Errorf("a link is %v px high", lowest)
	}
	for _, url := range asked() {
		if !strings.HasPrefix(url, site) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the pages made the browser ask for %s", url)
		}
	}
}

// A browser without scripts reads a lesson, clicks through its pictures and finds one by a search, on a screen of 320 px,
// with no horizontal scrolling and with links large enough for a finger.
func TestLessonsWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	b.site.State = state.Offline
	_, port, err := net.SplitHostPort(serve(t, newServer(b)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, asked := webtest.Browser(t)
	site := "http://partage.internal:" + port
	run := func(actions ...chromedp.Action) {
		t.Helper()
		if err := webtest.Run(ctx, actions...); err != nil {
			t.Fatal(err)
		}
	}
	// fits checks the current page, once a part of it is shown.
	fits := func(selector string) {
		t.Helper()
		var page string
		var sideways bool
		var small []string
		run(chromedp.WaitVisible(selector, chromedp.ByQuery), chromedp.Location(&page),
			chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &sideways),
			chromedp.Evaluate(`[...document.querySelectorAll("a,button,input:not([type=hidden]),summary")]
				.filter(e => !e.closest(".prose p,.prose li,.skip") && e.getBoundingClientRect().height < 44).map(e => e.outerHTML)`, &small))
		if sideways {
			t.Errorf("%s must be scrolled sideways (WCAG 2.2, 1.4.10)", page)
		}
		if len(small) > 0 {
			t.Errorf("%s has what is less than 44 px high: %q", page, small)
		}
	}
	follow := func(link, selector string) {
		t.Helper()
		run(chromedp.Click(link, chromedp.ByQuery))
		fits(selector)
	}

	run(emulation.SetScriptExecutionDisabled(true),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}),
		chromedp.EmulateViewport(320, 640), chromedp.Navigate(site+"/"))
	fits(`form[action="/stay"]`)
	follow(`a[href="/helpers"]`, `.prose`)
	follow(`a[href="/accessibility"]`, `.prose`)
	follow(`a.centre`, `a[href="/tutorials"]`)
	follow(`a[href="/tutorials"]`, `a[href="/tutorials/premiers-pas"]`)
	follow(`a[href="/tutorials/premiers-pas"]`, `a[href="/tutorials/wifi"]`)
	follow(`a[href="/tutorials/wifi"]`, `.steps`)
	follow(`a[href="/tutorials/wifi/1"]`, `.story`)
	lesson, _ := lessons.Own().Lesson("wifi", "fr")
	for n, step := range lesson.Steps {
		var heading, progress string
		run(chromedp.WaitVisible(fmt.Sprintf(`a[href="/tutorials/wifi/%d"]`, n+2), chromedp.ByQuery),
			chromedp.Text("h1", &heading), chromedp.Text(".progress span", &progress))
		if want := fmt.Sprintf("Image %d sur %d", n+1, len(lesson.Steps)); heading != step.Heading || progress != want {
			t.Errorf("picture %d says %q and %q", n+1, heading, progress)
		}
		follow(`a[rel="next"]`, `.trail`)
	}
	var title, answer string
	run(chromedp.WaitVisible(`.again`, chromedp.ByQuery), chromedp.Text("h1", &title))
	if title != "Bravo\u202f!" {
		t.Errorf("the end says %q", title)
	}
	follow(`a[href="/tutorials/wifi#questions"]`, `summary`)
	run(chromedp.Click(`summary`, chromedp.ByQuery), chromedp.WaitVisible(`details p`, chromedp.ByQuery),
		chromedp.Text(`details p`, &answer, chromedp.ByQuery))
	if answer != lesson.Questions[0].Answer {
		t.Errorf("the answer is %q", answer)
	}
	follow(`a[href="/tutorials"]`, `form[role="search"]`)
	run(chromedp.SendKeys(`#q`, "roue dente\r", chromedp.ByQuery))
	fits(`a[href="/tutorials/wifi#s2"]`)
	follow(`a[href="/tutorials/wifi#s2"]`, `#s2`)
	follow(`nav a[lang="en"]`, `html[lang="en"] .steps`)
	for _, url := range asked() {
		if !strings.HasPrefix(url, site) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the pages made the browser ask for %s", url)
		}
	}
}

// Each lesson prints on two pages, with the centre's card, a QR code of its address, and lines for notes. The lower third of a page
// is never empty.
func TestLessonsPrint(t *testing.T) {
	labtest.Root(t, webtest.Shell, "pdftoppm")
	t.Parallel()
	b := newFakeBox()
	withCard(b)
	_, port, err := net.SplitHostPort(serve(t, newServer(b)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, _ := webtest.Browser(t)
	for _, path := range lessons.Own().Paths() {
		for _, slug := range path.Lessons {
			file := filepath.Join(t.TempDir(), slug)
			err := webtest.Run(ctx, chromedp.Navigate("http://partage.internal:"+port+"/tutorials/"+slug+"?lang=fr"),
				chromedp.ActionFunc(func(ctx context.Context) error {
					const a4Width, a4Height = 8.27, 11.69 // inches
					pdf, _, err := print.PrintToPDF().WithPaperWidth(a4Width).WithPaperHeight(a4Height).WithPreferCSSPageSize(true).Do(ctx)
					return cmp.Or(err, os.WriteFile(file+".pdf", pdf, 0o600))
				}))
			if err != nil {
				t.Fatalf("print %s: %v", slug, err)
			}
			pages := paper(t, file, "30")
			for i, page := range pages {
				if free := emptyBelow(page); free > 1./3 {
					t.Errorf("%s: page %d of %d is empty from below by %.2f", slug, i+1, len(pages), free)
				}
			}
			if len(pages) != 2 {
				t.Errorf("%s: %d pages", slug, len(pages))
			}
			if slug == "wifi" {
				if text, err := webtest.ReadCode(paper(t, file, "100")[0]); err != nil || text != "http://partage.internal/tutorials/wifi" {
					t.Errorf("the code says %q, %v", text, err)
				}
			}
		}
	}
}

// paper returns the pages of FILE.pdf as pictures. The resolution is in pixels per inch.
func paper(t testing.TB, file, resolution string) (pages []image.Image) {
	t.Helper()
	if out, err := exec.Command("pdftoppm", "-r", resolution, "-gray", "-png", file+".pdf", file).CombinedOutput(); err != nil {
		t.Fatalf("pdftoppm: %v: %s", err, out)
	}
	names, err := filepath.Glob(file + "-*.png")
	if err != nil || len(names) == 0 {
		t.Fatalf("no pages of %s, %v", file, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		page, err := png.Decode(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, page)
	}
	return pages
}

// emptyBelow returns the part of a page's height that is empty at its lower edge, between 0 and 1.
func emptyBelow(page image.Image) float64 {
	all := page.Bounds()
	for y := all.Max.Y - 1; y >= all.Min.Y; y-- {
		for x := all.Min.X; x < all.Max.X; x++ {
			if c, _, _, _ := page.At(x, y).RGBA(); c < 0x8000 {
				return float64(all.Max.Y-1-y) / float64(all.Dy())
			}
		}
	}
	return 1
}

// Every control can be reached by keyboard, in the order of the page, and has a visible focus.
func TestKeyboard(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	_, port, err := net.SplitHostPort(serve(t, newServer(newFakeBox())))
	if err != nil {
		t.Fatal(err)
	}
	ctx, _ := webtest.Browser(t)
	for _, path := range []string{"/", "/tutorials", "/tutorials/wifi", "/tutorials/wifi/2"} {
		var wanted []string
		err := webtest.Run(ctx, chromedp.Navigate("http://partage.internal:"+port+path),
			chromedp.Evaluate(`[...document.querySelectorAll("a,button,input:not([type=hidden]),summary")]
				.filter(e => e.checkVisibility()).map(e => e.outerHTML)`, &wanted))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range wanted {
			var got, outline string
			err := webtest.Run(ctx, chromedp.KeyEvent(kb.Tab),
				chromedp.Evaluate(`document.activeElement.outerHTML`, &got),
				chromedp.Evaluate(`getComputedStyle(document.activeElement).outline`, &outline))
			if err != nil {
				t.Fatal(err)
			}
			if got != want || !strings.Contains(outline, "solid 3px") {
				t.Errorf("%s: the key pressed %d times leads to %s with the outline %q, want %s", path, i+1, got, outline, want)
			}
		}
	}
	var there string
	err = webtest.Run(ctx,
		chromedp.Focus(`a[rel="next"]`, chromedp.ByQuery), chromedp.KeyEvent(kb.Enter),
		chromedp.WaitVisible(`a[href="/tutorials/wifi/4"]`, chromedp.ByQuery), chromedp.Location(&there))
	if err != nil || !strings.HasSuffix(there, "/tutorials/wifi/3") {
		t.Errorf("Enter leads to %s, %v", there, err)
	}
}
