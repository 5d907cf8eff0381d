package admin

import (
	"bytes"
	"context"
	"html"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	pages "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"passerelle/appliance/config"
	"passerelle/captive/admin/login"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// The network of the tests' posters.
const (
	posterSSID     = `Lilas ";\,: 🌉`
	posterPassword = `<b>&";\,:'`
	posterJoin     = `WIFI:T:WPA;S:Lilas \"\;\\\,\: 🌉;P:<b>&\"\;\\\,\:';;`
)

// posterText returns a configuration with that network, and with a desk whose hours differ from day to day.
func posterText(t *testing.T) []byte {
	t.Helper()
	text, err := config.Edit([]byte(settingsText), []config.Change{
		{Path: []string{"hotspot", "ssid"}, Value: posterSSID}, {Path: []string{"hotspot", "password"}, Value: posterPassword},
		{Path: []string{"centre", "hours"}, Value: "Mo 09:00-12:00,14:00-18:00; Tu 10:00-19:00; We 09:00-12:00; Th 08:30-17:45; Fr 14:00-18:00; Sa 09:00-12:30"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestPosterPage: links choose sizes and languages, and each choice has its files.
func TestPosterPage(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	x.box.text = posterText(t)
	page := html.UnescapeString(x.get("/admin/poster").Body.String())
	for _, want := range []string{
		`href="/admin/poster/a4.pdf?langs=fr,en"`, `href="/admin/poster?size=a6&langs=fr,en"`, `href="/admin/poster?size=a4&langs=en"`,
		"Pour les techniciens. Empreinte SHA-256 du certificat de partage.internal", `<bdi dir="ltr">3A:0F 77:C1</bdi>`,
		posterSSID, posterPassword, "Rejoignez le Wi\u2011Fi", "Join the Wi\u2011Fi", "size:A4", "Le mot de passe du Wi\u2011Fi est écrit dessus",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
	page = x.get("/admin/poster?lang=en&size=stickers&langs=ar,ar,xx,%22%3E").Body.String()
	if !strings.Contains(page, `lang="ar" dir="rtl"`) || strings.Contains(page, ".pdf") || !strings.Contains(page, "Arabic or Ukrainian") ||
		!strings.Contains(page, `href="/admin/poster?lang=en&amp;size=a6&amp;langs=ar"`) {
		t.Error("not the stickers in Arabic, without a PDF")
	}
	for path, status := range map[string]int{
		"/admin/poster/a4.pdf": 200, "/admin/poster/a6.pdf?langs=es,ar": 200, "/admin/poster/stickers.pdf?langs=pt": 200,
		"/admin/poster/a5.pdf": 404, "/admin/poster/a4": 404, "/admin/poster/a4.pdf?langs=uk": 404, "/admin/poster/..%2fa4.pdf": 404,
	} {
		res := x.get(path)
		if res.Code != status {
			t.Errorf("%s is answered %d", path, res.Code)
		}
		if status == 200 && (!bytes.HasPrefix(res.Body.Bytes(), []byte("%PDF-")) || res.Header().Get("Content-Type") != "application/pdf" ||
			res.Header().Get("Cache-Control") != "no-store") {
			t.Errorf("%s: %v, %.20q", path, res.Header(), res.Body)
		}
	}
	x.box.text = []byte("[box]\n")
	if res := x.get("/admin/poster"); res.Code != http.StatusSeeOther {
		t.Errorf("with a broken file: %d", res.Code)
	}
	res := x.get("/admin/poster", "Accept-Encoding: gzip")
	if n := res.Body.Len(); n > 60<<10 {
		t.Errorf("the page has %d bytes", n)
	}
}

// TestPosterInBrowser reads the QR codes back from what a browser shows and prints, and judges the page.
func TestPosterInBrowser(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	b.text = posterText(t)
	var err error
	if b.logins, err = login.Open(t.TempDir(), time.Now); err != nil {
		t.Fatal(err)
	}
	code := b.logins.Code()
	v := visit(t, newServer(b, io.Discard), 1280)
	v.does(chromedp.EmulateViewport(1280, 900, chromedp.EmulateScale(2)))
	v.enters("/admin/login", code, `nav.parts`)
	for size, sheet := range map[string]int{"a4": 2, "a6": 2, "stickers": 12} {
		var codes []*cdp.Node
		path := v.site + "/admin/poster?size=" + size + "&langs=fr,ar,uk"
		if err := webtest.Run(v.ctx, chromedp.Navigate(path), chromedp.Nodes(`svg.code`, &codes, chromedp.ByQueryAll)); err != nil {
			t.Fatal(err)
		}
		if len(codes) != 3*sheet {
			t.Errorf("%s: %d codes", size, len(codes))
		}
		for i, want := range []string{posterJoin, "http://partage.internal/"} {
			var shot []byte
			if err := webtest.Run(v.ctx, chromedp.Screenshot([]cdp.NodeID{codes[i].NodeID}, &shot, chromedp.ByNodeID)); err != nil {
				t.Fatal(err)
			}
			if got, err := readCode(shot); err != nil || got != want {
				t.Errorf("%s: code %d says %q, %v; want %q", size, i, got, err, want)
			}
		}
		var pdf, shot []byte
		err := webtest.Run(v.ctx, chromedp.FullScreenshot(&shot, 100), chromedp.ActionFunc(func(ctx context.Context) (err error) {
			pdf, _, err = pages.PrintToPDF().WithPreferCSSPageSize(true).WithPrintBackground(true).Do(ctx)
			return err
		}))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(pdf, []byte("/Type /Page\n")); n != 3 {
			t.Errorf("%s: three sheets are printed on %d pages", size, n)
		}
		if dir := os.Getenv("SCREENSHOTS"); dir != "" {
			for name, data := range map[string][]byte{"admin-poster-" + size + ".png": shot, "admin-poster-" + size + ".pdf": pdf} {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
					t.Error(err)
				}
			}
		}
	}
	for query, code := range map[string]string{"langs=fr,ar": "fr", "size=a6&langs=ar,uk": "en", "size=stickers&langs=pt": "fr"} {
		v.judgedIn("/admin/poster?"+query, code, true)
	}
}

// readCode reads the QR code in a screenshot.
func readCode(data []byte) (string, error) {
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	return webtest.ReadCode(picture)
}
