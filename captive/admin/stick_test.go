package admin

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"passerelle/appliance/state"
	"passerelle/captive/admin/login"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// plugged returns sticks of each kind.
func plugged() []state.Stick {
	day := func(n int) state.Date { return state.DateOf(noon.AddDate(0, 0, -n)) }
	return []state.Stick{
		{Device: "sda1", Size: 16e9, Free: 15e9, Ours: true, Centre: "Centre social des Lilas", Backups: []state.StickFile{
			{Name: "000002-2026-11-21.backup", Size: 4e5, Date: day(0)}, {Name: "000001-2026-11-20.backup", Size: 4e5, Date: day(1)},
		}},
		{Device: "sdb1", Size: 32e9, Free: 3e9},
		{Device: "sdc", Size: 8e9, Free: 8e9, Centre: "<Les Roses>", Backups: []state.StickFile{{Name: "000009-2026-01-02.backup", Date: day(300)}}},
		{Device: "sdd1", Wrong: "file-system"}, {Device: "sde1", Wrong: "of another release"},
	}
}

// TestStickPages: a technician marks a stick, writes to it, and restores from it. Errors are explained in words.
func TestStickPages(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	f := &x.box.backups
	page := x.get("/admin/backup").Body.String()
	if !strings.Contains(page, "Aucune clé n’est branchée") || strings.Contains(page, "/admin/backup/stick") {
		t.Errorf("without a stick:\n%s", words(page))
	}
	f.sticks, f.says = plugged(), savedLilas
	page = x.get("/admin/backup").Body.String()
	for _, of := range []string{
		"Cette clé garde les sauvegardes de cette box", "La box n’écrit pas encore sur cette clé", "&lt;Les Roses&gt;", "FAT32", "n’a pas pu se servir",
		`name="device" value="sdb1"`, `name="device" value="sdc"`, `value="sda1/000002-2026-11-21.backup"`, "/admin/backup/stick/write",
	} {
		if !strings.Contains(page, of) {
			t.Errorf("the page lacks %q:\n%s", of, words(page))
		}
	}
	for _, device := range []string{"sda1", "sdd1", "sde1"} {
		if strings.Contains(page, `name="device" value="`+device+`"`) {
			t.Errorf("it offers to mark %s", device)
		}
	}
	mark := url.Values{"device": {"sdb1"}, "passphrase": {"quatre mots au hasard"}}
	restore := url.Values{"saved": {"sda1/000002-2026-11-21.backup"}, "passphrase": {"quatre mots au hasard"}}
	for path, form := range map[string]url.Values{"mark": mark, "write": nil} {
		if res := x.post("/admin/backup/stick/"+path, form); res.Code != http.StatusSeeOther {
			t.Errorf("%s: %d: %s", path, res.Code, words(res.Body.String()))
		}
	}
	if res := x.post("/admin/backup/stick/restore", restore); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), `name="id" value="7"`) {
		t.Errorf("the plan is %d: %s", res.Code, words(res.Body.String()))
	}
	for _, want := range []string{`mark sdb1 with "quatre mots au hasard"`, "write to the stick", `check 000002-2026-11-21.backup of sda1 with "quatre mots au hasard"`} {
		if !strings.Contains(strings.Join(f.asked, "|"), want) {
			t.Errorf("asked for %q, want %q", f.asked, want)
		}
	}
	for want, err := range map[string]error{"La clé est pleine": errStick("full"), "verrou": errStick("read-only"), "n’a pas pu se servir": errStick("new"), "bonne phrase": errWrongPhrase, "n’a pas pu": errors.New("a fault")} {
		f.err = err
		for path, form := range map[string]url.Values{"mark": mark, "write": nil, "restore": restore} {
			if res := x.post("/admin/backup/stick/"+path, form); res.Code < 400 || !strings.Contains(res.Body.String(), want) {
				t.Errorf("%s, with %v: %d: %s", path, err, res.Code, words(res.Body.String()))
			}
		}
	}
	f.err = nil
	for last, want := range map[state.StickBackup]string{
		{}:                           "Aucune sauvegarde n’est encore",
		{Done: noon.Add(-time.Hour)}: "Dernière sauvegarde sur la clé USB",
		{Done: noon.AddDate(0, 0, -3), Failed: noon, Why: "absent"}:           "n’était pas branchée",
		{Done: noon.AddDate(0, 0, -3), Failed: noon, Why: "x", Error: "boom"}: "boom",
	} {
		f.stick = &last
		if page := x.get("/admin/backup").Body.String(); !strings.Contains(page, want) {
			t.Errorf("%+v: the page lacks %q:\n%s", last, want, words(page))
		}
		if page := x.get("/admin/").Body.String(); !strings.Contains(page, "clé USB") {
			t.Errorf("%+v: the home page lacks it:\n%s", last, words(page))
		}
	}

	f.asked = nil
	stranger := *x
	stranger.cookie = ""
	for pattern := range stickRoutes {
		_, path, _ := strings.Cut(pattern, " ")
		if res := stranger.post(path, mark); res.Code != http.StatusSeeOther || !strings.HasPrefix(res.Header().Get("Location"), "/admin/login") {
			t.Errorf("%s to a stranger: %d", pattern, res.Code)
		}
		if res := x.post(path, mark, "Sec-Fetch-Site: cross-site"); res.Code != http.StatusForbidden {
			t.Errorf("%s from another site: %d", pattern, res.Code)
		}
	}
	if f.asked != nil {
		t.Errorf("others' requests did %q", f.asked)
	}
}

type stickError string

func (e stickError) Error() string { return string(e) }

func errStick(code string) error { return stickError("stick-" + code) }

// TestStickInBrowser: a new box with a stick offers to restore the backup on its first page. It takes three presses, with scripts
// off. The pages are judged.
func TestStickInBrowser(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	full := b.text
	b.fresh(t)
	b.backups.says, b.backups.sticks = savedLilas, plugged()[:1]
	b.backups.says.First, b.backups.says.Settings, b.backups.says.CutsOff = true, nil, false
	b.backups.restored = func() { b.text = full; b.status = newFakeBox().status }
	var err error
	if b.logins, err = login.Open(t.TempDir(), time.Now); err != nil {
		t.Fatal(err)
	}
	v := visit(t, newServer(b, io.Discard), 320)
	const offer = `main section a[href^="/admin/setup/backup"]`
	v.enters("/admin/", b.logins.Code(), offer)
	shootHere(t, v.ctx, "stick-offer")
	v.judged("/admin/setup/centre")
	v.does(
		chromedp.Navigate(v.site+"/admin/setup/centre"),
		chromedp.Click(offer, chromedp.ByQuery), // the first press
		chromedp.WaitVisible(`#unlock`, chromedp.ByQuery),
		chromedp.SendKeys(`#unlock`, "quatre mots au hasard", chromedp.ByQuery),
	)
	shootHere(t, v.ctx, "stick-first")
	v.does(
		chromedp.Click(`form[action^="/admin/backup/stick/restore"] button`, chromedp.ByQuery), // the second
		chromedp.WaitVisible(`form[action^="/admin/backup/restore"]`, chromedp.ByQuery),
		chromedp.Click(`form[action^="/admin/backup/restore"] button`, chromedp.ByQuery), // the third
		chromedp.WaitVisible(`a[href^="/admin/backup/restore"]`, chromedp.ByQuery),
	)
	if want := `check 000002-2026-11-21.backup of sda1 with "quatre mots au hasard"|restore 7 map[] from hotspot`; strings.Join(b.backups.asked, "|") != want {
		t.Errorf("asked for %q", b.backups.asked)
	}
	b.backups.last = state.RestoreResult{}
	b.backups.sticks, b.backups.stick = plugged(), &state.StickBackup{Done: noon.AddDate(0, 0, -3), Failed: noon, Why: "full"}
	v.judged("/admin/backup")
	shoot(t, v.ctx, v.site+"/admin/backup", "stick")
}
