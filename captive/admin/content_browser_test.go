package admin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A technician imports a list of places, finds the centre in it, and publishes a notice, in a real browser with scripts off;
// then every page of the content is judged.
func TestContentWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	p := newProvider(t)
	p.fill()
	file := filepath.Join(t.TempDir(), "Isère.csv")
	if err := os.WriteFile(file, []byte(secondList), 0o600); err != nil {
		t.Fatal(err)
	}
	v := visit(t, p.server, 320)
	v.enters("/admin/login?to=/admin/places", "", `#file`)
	var changes, warnings, town string
	v.does(
		chromedp.SendKeys(`#name`, "isere", chromedp.ByQuery),
		chromedp.SetUploadFiles(`#file`, []string{file}, chromedp.ByQuery),
		chromedp.Click(`form.settings button`, chromedp.ByQuery),
		chromedp.WaitVisible(`form[action="/admin/places/import"]`, chromedp.ByQuery),
		chromedp.Text(`ul.changes`, &changes, chromedp.ByQuery),
		chromedp.Text(`ol.warnings`, &warnings, chromedp.ByQuery),
	)
	shootHere(t, v.ctx, "plan")
	v.does(
		chromedp.Click(`form[action="/admin/places/import"] button`, chromedp.ByQuery),
		chromedp.WaitVisible(`.sign.good`, chromedp.ByQuery),
		chromedp.Navigate(v.site+"/admin/settings/centre"),
		chromedp.SendKeys(`#find`, "lilas\r", chromedp.ByQuery),
		chromedp.WaitVisible(`button[name="take"]`, chromedp.ByQuery),
	)
	shootHere(t, v.ctx, "found")
	v.does(
		chromedp.Click(`button[name="take"]`, chromedp.ByQuery),
		chromedp.WaitNotPresent(`button[name="take"]`, chromedp.ByQuery),
		chromedp.Value(`[name="centre.town"]`, &town, chromedp.ByQuery),
		chromedp.Navigate(v.site+"/admin/board"),
		chromedp.Click(`button[value="show"]`, chromedp.ByQuery),
		chromedp.WaitNotPresent(`details.remove`, chromedp.ByQuery), // only one notice waits, so there is no button to refuse all
	)
	if !strings.Contains(changes, "En plus") || !strings.Contains(warnings, "Ligne 4") || town != "Valfleury" {
		t.Errorf("the plan says %q and %q; the town is %q", changes, warnings, town)
	}
	if b, err := p.server.Content.Desk.Board(); err != nil || len(b.Waiting()) != 1 {
		t.Errorf("the board is %+v, %v", b, err)
	}

	for _, path := range contentPages {
		v.does(chromedp.Navigate(v.site + path))
		shootHere(t, v.ctx, strings.ReplaceAll(strings.TrimPrefix(path, "/admin/"), "/", "-"))
		v.judged(path)
	}
	v.stayed()
}

// shootHere saves screenshots of the page that a browser shows in the folder $SHOTS, if that is set.
func shootHere(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	folder := os.Getenv("SHOTS")
	if folder == "" {
		return
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{320, 1280} {
			var picture []byte
			err := webtest.Run(ctx, chromedp.EmulateViewport(width, 800),
				emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
				chromedp.FullScreenshot(&picture, 100))
			if err == nil {
				err = os.WriteFile(filepath.Join(folder, fmt.Sprintf("%s-%s-%d.png", name, scheme, width)), picture, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := webtest.Run(ctx, chromedp.EmulateViewport(320, 640)); err != nil {
		t.Fatal(err)
	}
}
