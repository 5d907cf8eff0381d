package voice_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// serveAgenda serves the box's pages on loopback until the test ends, and returns their site.
func serveAgenda(t testing.TB, b *agendaBox) (site string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, served := b.server.HTTPServer(), make(chan error, 1)
	go func() { served <- server.Serve(web.Limit(l, web.NewSlots(2))) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "http://partage.internal:" + port
}

// TestAgendaForEverybody: the pages have no flaw in any language, on a phone and on a wide screen, in light and in dark mode.
func TestAgendaForEverybody(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newAgendaBox(t)
	b.has(t, "a", aFortnight...)
	site := serveAgenda(t, b)
	ctx, _ := webtest.Browser(t)
	judge := webtest.NewJudge(t, ctx)
	for _, code := range sixLanguages {
		direction := "ltr"
		if code == "ar" {
			direction = "rtl"
		}
		for _, path := range []string{"/agenda", "/agenda/ca978112ca", "/agenda/18ac3e7343", "/agenda/nope"} {
			flaws, err := judge.Page(site+path+"?lang="+code, code, direction, code == "fr" || code == "ar")
			if err != nil {
				t.Fatal(err)
			}
			for _, flaw := range flaws {
				t.Error(flaw)
			}
		}
	}
}

// TestAgendaOnAPhone: a resident finds the next event from the first page, and the file for the phone, without scripts.
func TestAgendaOnAPhone(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newAgendaBox(t)
	b.has(t, "a", aFortnight...)
	site := serveAgenda(t, b)
	ctx, asked := webtest.Browser(t)
	var door, event, file string
	err := webtest.Run(ctx,
		chromedp.EmulateViewport(320, 640),
		chromedp.Navigate(site+"/?lang=fr"),
		chromedp.Text(`.door[href^="/agenda"]`, &door, chromedp.ByQuery),
		chromedp.Click(`.door[href^="/agenda"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`.day`, chromedp.ByQuery),
		chromedp.Click(`a.event[href^="/agenda/ca978112ca"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`.trail a[href^="/agenda"]`, chromedp.ByQuery),
		chromedp.Text("h1", &event, chromedp.ByQuery),
		chromedp.AttributeValue(`.phone .button`, "href", &file, nil, chromedp.ByQuery),
	)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(door, "En ce moment") || event != "Café <b>numérique</b>" || file != "/agenda/ca978112ca.ics" {
		t.Errorf("door %q, event %q, file %q", door, event, file)
	}
	for _, url := range asked() {
		if !strings.HasPrefix(url, site) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the pages made the browser ask for %s", url)
		}
	}
	res, _ := b.ask(t, "GET "+file)
	if res.StatusCode != http.StatusOK {
		t.Errorf("the file: %d", res.StatusCode)
	}
}
