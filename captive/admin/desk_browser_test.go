package admin

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	printing "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/voice"
	"passerelle/captive/voice/board"
	isoweek "passerelle/captive/voice/week"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// twice does something from the desk's page, and checks that it takes two presses at most.
func (d *visitor) twice(thing string, f func()) {
	d.Helper()
	d.presses = 0
	d.does(chromedp.Navigate(d.site+"/desk"), chromedp.WaitVisible(`ul.doors`, chromedp.ByQuery))
	f()
	if d.presses > 2 {
		d.Errorf("%s takes %d presses", thing, d.presses)
	}
}

// TestDeskInTwoPresses: on a phone of 360 px with scripts off, staff sign in with the code, and do each of their tasks in two
// presses. Then every page of theirs is judged in six languages.
func TestDeskInTwoPresses(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	p := newProvider(t)
	p.fill()
	p.box.in(func(*state.Status) {})
	code, err := p.box.logins.RenewDesk()
	if err != nil {
		t.Fatal(err)
	}
	d := visit(t, p.server, 360)
	d.does(chromedp.Navigate(d.site+"/desk"), chromedp.WaitVisible(`#code`, chromedp.ByQuery))
	shootHere(t, d.ctx, "desk-login")
	d.does(
		chromedp.EmulateViewport(360, 640),
		chromedp.SendKeys(`#code`, strings.ToLower(code)+"\r", chromedp.ByQuery),
		chromedp.WaitVisible(`ul.doors`, chromedp.ByQuery),
	)

	resume, pause := `button[value="resume"]`, `button[value="pause"]`
	d.twice("a pause", func() { d.press(pause, resume) })
	d.twice("what to say in a pause", func() {
		if say := d.text(`blockquote`); !strings.Contains(say, "Internet est en pause") {
			t.Errorf("in a pause staff may say %q", say)
		}
	})
	tomorrow := `button[value="tomorrow"]`
	d.twice("an end of the pause tomorrow", func() {
		d.press(tomorrow, resume)
		d.does(chromedp.WaitNotPresent(tomorrow, chromedp.ByQuery))
	})
	if lead := d.text(`.lead`); !strings.Contains(lead, "Il reprend tout seul demain à 8") {
		t.Errorf("the pause until tomorrow says %q", lead)
	}
	shootHere(t, d.ctx, "desk-paused")
	d.twice("resume", func() { d.press(resume, pause) })
	d.twice("a pause until tomorrow", func() { d.press(tomorrow, resume) })
	d.twice("resume again", func() { d.press(resume, pause) })
	cancel, restore := `button[value="cancel"][aria-label*="Chorale"]`, `button[value="restore"][aria-label*="Chorale"]`
	door := func(path string) string { return `a.door[href="` + path + `"]` }
	d.twice("a new event, every week", func() {
		d.press(door(agendaPath), `#title`)
		d.does(
			chromedp.SendKeys(`#title`, "Chorale", chromedp.ByQuery),
			chromedp.SetValue(`#on`, "2026-12-03", chromedp.ByQuery), // typed, it depends on the browser's language
			chromedp.Click(`input[value="week"]`, chromedp.ByQuery),
		)
		d.press(`form.settings button[type="submit"]`, cancel)
	})
	d.twice("an event that does not take place", func() {
		d.press(door(agendaPath), `#title`)
		d.press(cancel, restore)
	})
	d.twice("a cancelled event that takes place", func() {
		d.press(door(agendaPath), `#title`)
		d.press(restore, cancel)
	})
	d.does(chromedp.WaitNotPresent(restore, chromedp.ByQuery))
	d.twice("a notice to publish", func() {
		d.press(door(boardPath), `button[value="show"]`)
		d.presses++
		d.does(chromedp.Click(`button[value="show"]`, chromedp.ByQuery), chromedp.WaitNotPresent(`details.remove`, chromedp.ByQuery))
	})
	d.twice("a notice to refuse", func() {
		d.press(door(boardPath), `button[value="show"]`)
		d.presses++
		d.does(chromedp.Click(`button[value="remove"]`, chromedp.ByQuery), chromedp.WaitNotPresent(`button[value="show"]`, chromedp.ByQuery))
	})
	d.twice("what residents answered", func() { d.press(door(opinionPath), `#results`) })
	d.twice("the end of the question", func() {
		d.press(door(opinionPath), `form[action="/admin/opinion/close"] button`)
		d.presses++
		d.does(
			chromedp.Click(`form[action="/admin/opinion/close"] button`, chromedp.ByQuery),
			chromedp.WaitNotPresent(`form[action="/admin/opinion/close"]`, chromedp.ByQuery),
		)
	})
	d.twice("another question", func() {
		d.press(door(opinionPath), `#question`)
		d.does(
			chromedp.SendKeys(`#question`, "Que manque-t-il ici ?", chromedp.ByQuery),
			chromedp.SendKeys(`#choice1`, "Du café", chromedp.ByQuery), chromedp.SendKeys(`#choice2`, "Du calme", chromedp.ByQuery),
		)
		d.press(`form.settings button[type="submit"]`, `form[action="/admin/opinion/close"] button`)
	})
	d.twice("the poster", func() { d.press(door("/admin/poster"), `a.button[href^="/admin/poster/a4.pdf"]`) })

	if got := strings.Join(p.box.presses, ", "); got != "staff pauses sharing, staff pauses sharing until tomorrow, sharing resumes, staff pauses sharing until tomorrow, sharing resumes" {
		t.Errorf("the box was told %q", got)
	}
	for _, e := range p.box.journal.all[len(p.box.journal.all)-12:] {
		if e.By != config.RoleStaff {
			t.Errorf("noted %+v", e)
		}
	}

	_, err = voice.BoardFile(filepath.Join(p.state, "voice")).Update(func(b *board.Board) error {
		for i, text := range []string{"Je prête ma perceuse.", "Qui répare un vélo ?"} {
			b.Add(board.Post{Side: board.Sides[i], Kind: board.Kinds[i], Text: text, Week: isoweek.Of(noon)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	judged := func(name, path string, codes ...string) {
		d.does(chromedp.EmulateViewport(360, 640), chromedp.Navigate(d.site+path))
		shootHere(t, d.ctx, name)
		for _, code := range codes {
			d.judgedIn(path, code, code == "fr" || code == "ar")
		}
	}
	for _, c := range deskSituations {
		p.box.in(c.set)
		codes := []string{"fr"}
		if c.name == "sharing" || c.name == "paused-until" {
			codes = languages
		}
		judged("desk-"+c.name, "/desk", codes...)
	}
	for _, path := range staffPages {
		judged("staff"+strings.NewReplacer("/", "-", "?", "-", "=", "-").Replace(strings.TrimPrefix(path, "/admin")), path, languages...)
	}
	judged("staff-not-yours", "/admin/settings", languages...)
	judged("desk-ar", "/desk?lang=ar", "ar")
	d.stayed()
}

// TestDeskCard: a technician makes the code in a real browser, and the card is on one sheet of paper.
func TestDeskCard(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	p := newProvider(t)
	p.box.text = []byte(settingsText)
	d := visit(t, p.server, 320)
	d.enters("/admin/login?to="+deskCodePath, "", `button[value="renew"]`)
	shootHere(t, d.ctx, "code-none")
	d.press(`button[value="renew"]`, `.secret`)
	shown := d.text(`.secret`)
	if _, err := p.box.logins.SignInStaff(t.Context(), netip.MustParseAddr("10.80.0.77"), shown); err != nil {
		t.Errorf("the shown code %q: %v", shown, err)
	}
	shootHere(t, d.ctx, "code-card")
	d.does(chromedp.EmulateViewport(320, 640))
	d.fits()
	if folder := os.Getenv("SHOTS"); folder != "" {
		d.does(chromedp.ActionFunc(func(ctx context.Context) error {
			paper, _, err := printing.PrintToPDF().Do(ctx)
			if err == nil {
				err = os.WriteFile(filepath.Join(folder, "card.pdf"), paper, 0o644)
			}
			return err
		}))
	}
	d.judgedIn(deskCodePath, "fr", true)
	d.judgedIn(deskCodePath, "en", true)
}
