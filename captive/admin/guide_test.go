package admin

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	printing "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/rogpeppe/go-internal/txtar"

	"passerelle/appliance/state"
	"passerelle/captive/admin/guide"
	"passerelle/captive/web/webtest"
	"passerelle/hw"
	"passerelle/netctl/netlab/labtest"
)

// guided returns a box for which everything in the guide can be filled in.
func guided(t *testing.T) *provider {
	t.Helper()
	p := newProvider(t)
	p.fill()
	p.box.in(func(*state.Status) {})
	p.box.card = &state.Card{Phone: "01 23 45 67 89", Hours: "Mo-Fr 09:00-12:00,14:00-18:00; Sa 09:00-12:00"}
	return p
}

// TestGuide: the guide is complete in the two languages of the law. In the other languages the law is in French, and marked as
// French. The guide says what is known about the box, and has all lights and holds of package hw.
func TestGuide(t *testing.T) {
	t.Parallel()
	p := guided(t)
	_, staff, technician := p.browsers()
	golden := &txtar.Archive{}
	for _, code := range languages {
		res := staff.get("/desk/guide?lang=" + code)
		page := res.Body.String()
		if code == "fr" || code == "en" {
			golden.Files = append(golden.Files, txtar.File{Name: code, Data: webtest.Gist(res.Code, page)})
		}
		for _, flaw := range webtest.Flaws(code, page, res.Header().Get("Content-Security-Policy")) {
			t.Error(flaw)
		}
		if len(page) > 60_000 {
			t.Errorf("in %s it has %d bytes", code, len(page))
		}
		x := staffCatalog.Language(code)
		if in := strings.Contains(page, `aria-labelledby="law" lang="fr"`); in == (code == "fr" || code == "en") {
			t.Errorf("in %s the law is marked as French: %v", code, in)
		}
		for _, s := range state.States {
			if lamp := string(guide.Lamp(hw.States[s])); !strings.Contains(page, lamp) || !strings.Contains(page, guide.Rhythm(x, hw.States[s])) {
				t.Errorf("in %s the light of %s is not there", code, s)
			}
		}
		for _, h := range hw.AllHolds() {
			if !strings.Contains(page, guide.Held(x, h)) || !strings.Contains(page, string(guide.Lamp(hw.Holds[h.Does]))) {
				t.Errorf("in %s holding the button for %v is not there", code, h.From)
			}
		}
		for _, fact := range []string{"Partage de Co - Les Lilas", "http://partage.internal/desk", `href="tel:0123456789"`} {
			if !strings.Contains(page, fact) {
				t.Errorf("in %s it lacks %s", code, fact)
			}
		}
	}
	webtest.Golden(t, "guide", golden)
	if res := technician.get("/desk/guide"); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), `href="/admin/settings`) {
		t.Errorf("a technician's guide is answered %d", res.Code)
	}

	// It is also complete before anything is known about the box.
	bare := newProvider(t)
	_, staff, _ = bare.browsers()
	if page := staff.get("/desk/guide?lang=fr").Body.String(); strings.Contains(page, "tel:") || strings.Contains(page, "Les heures") || !strings.Contains(page, "La lumière") {
		t.Errorf("of an unknown box it says:\n%s", words(page))
	}
}

// TestGuideInBrowser: the guide is printed on A4 sheets. Each chapter begins at the top of a sheet, and no sheet is nearly empty.
// How the guide looks on screens is judged with staff's other pages.
func TestGuideInBrowser(t *testing.T) {
	labtest.Root(t, webtest.Shell, "pdftotext")
	t.Parallel()
	p := guided(t)
	code, err := p.box.logins.RenewDesk()
	if err != nil {
		t.Fatal(err)
	}
	d := visit(t, p.server, 360)
	d.does(
		chromedp.Navigate(d.site+"/desk/login?to=/desk/guide"),
		chromedp.SendKeys(`#code`, code+"\r", chromedp.ByQuery),
		chromedp.WaitVisible(`.lights`, chromedp.ByQuery),
	)
	shootHere(t, d.ctx, "guide")
	folder := os.Getenv("SHOTS")
	if folder == "" {
		folder = t.TempDir()
	}
	for lang, chapters := range map[string][]string{
		"fr": {"Le guide de la box", "La lumière", "Que faire quand…", "Ce que la loi demande"},
		"ar": {"", "", "", "Ce que la loi demande"},
	} {
		var pdf []byte
		d.does(chromedp.Navigate(d.site+"/desk/guide?lang="+lang), chromedp.ActionFunc(func(ctx context.Context) (err error) {
			pdf, _, err = printing.PrintToPDF().WithPreferCSSPageSize(true).WithPrintBackground(true).Do(ctx)
			return err
		}))
		name := filepath.Join(folder, "guide-"+lang+".pdf")
		if err := os.WriteFile(name, pdf, 0o644); err != nil {
			t.Fatal(err)
		}
		said, err := exec.Command("pdftotext", "-layout", name, "-").Output()
		if err != nil {
			t.Fatalf("pdftotext: %v", err)
		}
		pages := strings.Split(strings.TrimSuffix(string(said), "\f"), "\f")
		if len(pages) > 6 {
			t.Errorf("in %s it is printed on %d pages", lang, len(pages))
		}
		for _, chapter := range chapters {
			first := false
			for _, page := range pages {
				first = first || strings.HasPrefix(strings.TrimSpace(page), chapter)
			}
			if !first {
				t.Errorf("in %s no page begins with %q", lang, chapter)
			}
		}
		for i, page := range pages {
			if lines := strings.Count(strings.TrimSpace(page), "\n"); lines < 8 {
				t.Errorf("in %s page %d has %d lines: %s", lang, i+1, lines, page)
			}
		}
	}
	d.stayed()
}
