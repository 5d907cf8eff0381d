package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/admin/login"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// fakeBackups has one backup, whose text is its passphrase.
type fakeBackups struct {
	says     state.Restore
	last     state.RestoreResult
	undoable bool
	err      error
	sticks   []state.Stick
	stick    *state.StickBackup
	asked    []string
	restored func() // makes the box what it is after a restore
}

func (f *fakeBackups) does(format string, a ...any) error {
	f.asked = append(f.asked, fmt.Sprintf(format, a...))
	return f.err
}

func (*fakeBackups) Name() string { return "passerelle-lilas-2026-11-21.backup" }

func (f *fakeBackups) Write(w io.Writer, passphrase string) error {
	if err := f.does("write with %q", passphrase); err != nil {
		return err
	}
	_, err := io.WriteString(w, "sealed with "+passphrase)
	return err
}

func (*fakeBackups) MaxFile() int64 { return 300_000_000 }

func (f *fakeBackups) Check(r io.Reader, passphrase string) (state.Restore, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return state.Restore{}, err
	}
	return f.says, f.does("check %q with %q", text, passphrase)
}

func (f *fakeBackups) CheckUndo() (state.Restore, error) {
	says := f.says
	says.Undo = true
	if !f.undoable {
		return says, fs.ErrNotExist
	}
	return says, f.does("check undo")
}

func (f *fakeBackups) Undoable() bool { return f.undoable }
func (f *fakeBackups) Drop()          { f.does("drop") }

func (f *fakeBackups) Restore(id string, used map[string]uint64, from config.Side) error {
	if err := f.does("restore %s %v from %s", id, used, from); err != nil {
		return err
	}
	f.last = state.RestoreResult{Restore: f.says, Running: true}
	if f.restored != nil {
		f.restored()
		f.last.Running, f.last.Done = false, noon
	}
	return nil
}

func (f *fakeBackups) Last() state.RestoreResult { return f.last }

func (f *fakeBackups) StateUse(_ context.Context, donation string, bytes uint64) error {
	return f.does("use %d of %s", bytes, donation)
}

func (f *fakeBackups) Sticks(context.Context) ([]state.Stick, error) { return f.sticks, nil }
func (f *fakeBackups) LastStick() *state.StickBackup                 { return f.stick }
func (f *fakeBackups) WriteStick(context.Context) error              { return f.does("write to the stick") }

func (f *fakeBackups) MarkStick(_ context.Context, device, passphrase string) error {
	return f.does("mark %s with %q", device, passphrase)
}

func (f *fakeBackups) CheckStick(_ context.Context, device, name, passphrase string) (state.Restore, error) {
	return f.says, f.does("check %s of %s with %q", name, device, passphrase)
}

var errWrongPhrase = errors.New("wrong")

func (*fakeBackups) Trouble(err error) string {
	if errors.Is(err, errWrongPhrase) {
		return "wrong"
	}
	if why, ok := errors.AsType[stickError](err); ok {
		return string(why)
	}
	return ""
}

// savedLilas is the content of a backup for which the page shows all its parts.
var savedLilas = state.Restore{
	ID: "7", Made: noon.Add(-50 * time.Hour), Release: "1.2", Centre: "Centre social des Lilas", Network: "Partage de Co - Les Lilas", CutsOff: true,
	Settings:   []state.SettingChange{{Key: "box.name", Before: `"Les Roses"`, After: `"Les Lilas"`}, {Donation: "Fibre du centre", Key: "donation.cap", Before: `"100GB"`, After: `"200GB"`}},
	NewSecrets: []string{`hotspot "Lilas" password`},
	Accounts:   []state.RestoredAccount{{Donation: "Fibre du centre", Cap: 200e9, Saved: 84e9, Used: 84e9, Unknown: true}, {Donation: "4G d’Élise", Cap: 2e9, Saved: 1e9, Here: 2e9, Used: 2e9}},
	Files: []state.RestoredFile{
		{Kind: "places", Name: "isere", Change: state.FileNew}, {Kind: "calendar", Name: "fetes", Change: state.FileGone},
		{Kind: "agenda", Change: state.FileChanged}, {Kind: "certificate", Change: state.FileSame}, {Kind: "numbers", Change: state.FileNew}, {Kind: "needs", Change: state.FileNew}, {Kind: "stick", Change: state.FileNew},
	},
	Unusable: []string{"voice/calendars/a.ics: half a calendar"}, Packs: []string{"Vikidia"}, Kept: []string{"board", "opinion", "access"},
}

// uploads uploads a backup.
func (x *technician) uploads(passphrase, text string) *httptest.ResponseRecorder {
	x.t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	err := m.WriteField("passphrase", passphrase)
	w, fileErr := m.CreateFormFile("file", "a.backup")
	if err = errors.Join(err, fileErr); err == nil {
		_, err = io.WriteString(w, text)
	}
	if err = errors.Join(err, m.Close()); err != nil {
		x.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "https://partage.internal/admin/backup/upload", &b)
	r.Header.Set("Content-Type", m.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	res := x.send(r)
	if b.Len() > 0 {
		x.t.Errorf("%d bytes of the upload are not read: a browser that still sends shows no answer", b.Len())
	}
	return res
}

// TestBackupPages: a technician downloads a backup, sees what restoring one would change, restores it with the usage that was
// stated, and undoes that.
func TestBackupPages(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	f := &x.box.backups
	f.says = savedLilas
	res := x.post("/admin/backup/download", url.Values{"passphrase": {"quatre mots au hasard"}, "seal": {"yes"}})
	if res.Body.String() != "sealed with quatre mots au hasard" || res.Header().Get("Content-Disposition") != "attachment; filename=passerelle-lilas-2026-11-21.backup" {
		t.Errorf("the download is %d, %v: %s", res.Code, res.Header(), res.Body)
	}
	x.post("/admin/backup/download", url.Values{"passphrase": {"typed, but not asked for"}})
	if res := x.post("/admin/backup/download", url.Values{"passphrase": {""}, "seal": {"yes"}}); res.Code != http.StatusUnprocessableEntity || !strings.Contains(res.Body.String(), "trop courte") {
		t.Errorf("sealed without a passphrase: %d", res.Code)
	}
	res = x.uploads("quatre mots", "the file")
	page := res.Body.String()
	for _, of := range []string{`name="id" value="7"`, "Les Roses", "Fibre du centre", `name="used.0"`, "Vikidia", "half a calendar", "annonces", "liste de lieux", "hotspot"} {
		if !strings.Contains(page, of) {
			t.Errorf("the plan (%d) lacks %q:\n%s", res.Code, of, words(page))
		}
	}
	if strings.Contains(page, `name="used.1"`) {
		t.Error("it asks for a use that is known")
	}
	form := url.Values{"id": {"7"}, "of.0": {"Fibre du centre"}, "used.0": {"90,5"}, "of.1": {"4G d’Élise"}}
	if res := x.post("/admin/backup/restore", form); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), "Elle redémarre") {
		t.Errorf("restoring: %d: %s", res.Code, words(res.Body.String()))
	}
	form.Set("used.0", "beaucoup")
	if res := x.post("/admin/backup/restore", form); res.Code != http.StatusUnprocessableEntity || !strings.Contains(res.Body.String(), "gigaoctets") {
		t.Errorf("a use that is no number: %d", res.Code)
	}
	x.post("/admin/backup/drop", nil)
	f.undoable = true
	if page := x.get("/admin/backup").Body.String(); !strings.Contains(page, "/admin/backup/undo") {
		t.Error("nothing to undo")
	}
	if page := x.post("/admin/backup/undo", nil).Body.String(); !strings.Contains(page, "Voici ce que fera le retour") {
		t.Errorf("undoing:\n%s", words(page))
	}
	x.box.change(func(_ *state.Status, d *state.Donation) { d.Lost = true })
	if page := x.get("/admin/backup").Body.String(); !strings.Contains(page, `action="/admin/backup/used"`) {
		t.Error("it does not ask what was used")
	}
	if res := x.post("/admin/backup/used", url.Values{"of": {"Fibre du centre"}, "used": {"12"}}); res.Code != http.StatusSeeOther {
		t.Errorf("stating is answered %d", res.Code)
	}
	want := `write with "quatre mots au hasard"|write with ""|check "the file" with "quatre mots"|restore 7 map[Fibre du centre:90500000000] from hotspot|drop|check undo|use 12000000000 of Fibre du centre`
	if got := strings.Join(f.asked, "|"); got != want {
		t.Errorf("asked for\n%s, want\n%s", got, want)
	}
	if got := len(x.box.journal.all); got != 4 { // the password, two backups, and the usage; the daemon records restores itself
		t.Errorf("the journal has %d entries: %v", got, x.box.journal.all)
	}
}

// TestBackupTroubles: errors are explained in words, and nobody who is not signed in gets any part of a backup.
func TestBackupTroubles(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	f := &x.box.backups
	for want, err := range map[string]error{
		"bonne phrase": errWrongPhrase, "pleine": fmt.Errorf("write: %w", syscall.ENOSPC), "n’a pas pu": errors.New("a fault"), "Trop de temps": fs.ErrNotExist,
	} {
		f.err = err
		for what, res := range map[string]*httptest.ResponseRecorder{
			"upload":   x.uploads("", "x"),
			"restore":  x.post("/admin/backup/restore", url.Values{"id": {"1"}}),
			"download": x.post("/admin/backup/download", url.Values{}),
		} {
			if page := res.Body.String(); res.Code < 400 || !strings.Contains(page, want) {
				t.Errorf("%s, with %v: %d: %s", what, err, res.Code, words(page))
			}
		}
	}
	f.err = nil
	for _, cookie := range []string{"", "wrong"} {
		stranger := *x
		stranger.cookie = cookie
		f.asked = nil
		for pattern := range backupRoutes {
			method, path, _ := strings.Cut(pattern, " ")
			res := stranger.get(path)
			if method == http.MethodPost {
				res = stranger.post(path, url.Values{"id": {"7"}, "used": {"1"}})
			}
			if res.Code != http.StatusSeeOther || !strings.HasPrefix(res.Header().Get("Location"), "/admin/login") {
				t.Errorf("%s to a stranger: %d", pattern, res.Code)
			}
		}
		if f.asked != nil {
			t.Errorf("a stranger's requests did %q", f.asked)
		}
	}
	for pattern := range backupRoutes { // requests from another site's page are refused, even with the browser's cookie
		if method, path, _ := strings.Cut(pattern, " "); method == http.MethodPost {
			if res := x.post(path, url.Values{"id": {"7"}}, "Sec-Fetch-Site: cross-site"); res.Code != http.StatusForbidden {
				t.Errorf("%s from another site: %d", pattern, res.Code)
			}
		}
	}
	if f.asked != nil {
		t.Errorf("another site's requests did %q", f.asked)
	}
}

// TestBackupDisk: a backup that the disk has no room for is refused, and one is checked if nothing is known of the disk.
func TestBackupDisk(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	text := strings.Repeat("x", 200_000)
	x.box.disk = Disk{Free: spareRoom + 10, Total: 8e9}
	if res := x.uploads("", text); res.Code < 400 || !strings.Contains(res.Body.String(), "pleine") {
		t.Errorf("on a full disk: %d: %s", res.Code, words(res.Body.String()))
	}
	if f := &x.box.backups; f.asked != nil {
		t.Errorf("on a full disk it did %q", f.asked)
	}
	x.server.Disk = nil
	if res := x.uploads("", text); res.Code != http.StatusOK {
		t.Errorf("on an unknown disk: %d: %s", res.Code, words(res.Body.String()))
	}
}

// TestBackupInBrowser: a new box is restored in three presses from its first page, in a real browser with scripts off. Each page
// of the backups is judged.
func TestBackupInBrowser(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	full := b.text
	b.fresh(t)
	b.backups.says = savedLilas
	b.backups.says.First, b.backups.says.Settings, b.backups.says.CutsOff = true, nil, false
	b.backups.restored = func() { b.text = full; b.status = newFakeBox().status }
	var err error
	if b.logins, err = login.Open(t.TempDir(), time.Now); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "lilas.backup")
	if err := os.WriteFile(file, []byte("a backup"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := visit(t, newServer(b, io.Discard), 320)
	v.enters("/admin/", b.logins.Code(), `a[href^="/admin/setup/backup"]`)
	v.judged("/admin/setup/backup")
	shoot(t, v.ctx, v.site+"/admin/setup/backup", "backup-first")
	v.does(
		chromedp.Navigate(v.site+"/admin/setup/centre"),
		chromedp.Click(`a[href^="/admin/setup/backup"]`, chromedp.ByQuery), // the first press
		chromedp.WaitVisible(`#file`, chromedp.ByQuery),
		chromedp.SendKeys(`#open`, "quatre mots au hasard", chromedp.ByQuery),
		chromedp.SetUploadFiles(`#file`, []string{file}, chromedp.ByQuery),
		chromedp.Click(`form[action^="/admin/backup/upload"] button`, chromedp.ByQuery), // the second
		chromedp.WaitVisible(`form[action^="/admin/backup/restore"]`, chromedp.ByQuery),
	)
	shootHere(t, v.ctx, "backup-plan-first")
	v.does(
		chromedp.SendKeys(`[name="used.0"]`, "90,5", chromedp.ByQuery),
		chromedp.Click(`form[action^="/admin/backup/restore"] button`, chromedp.ByQuery), // the third
		chromedp.WaitVisible(`a[href^="/admin/backup/restore"]`, chromedp.ByQuery),
	)
	shootHere(t, v.ctx, "backup-runs")
	v.does(
		chromedp.Click(`a[href^="/admin/backup/restore"]`, chromedp.ByQuery),
		chromedp.WaitVisible(`a[href^="/admin/poster"]`, chromedp.ByQuery), // the last page of the first start
	)
	if want := `check "a backup" with "quatre mots au hasard"|restore 7 map[Fibre du centre:90500000000] from hotspot`; strings.Join(b.backups.asked, "|") != want {
		t.Errorf("asked for %q", b.backups.asked)
	}

	b.backups.undoable = true
	b.backups.last = state.RestoreResult{Restore: savedLilas, Done: noon}
	b.change(func(_ *state.Status, d *state.Donation) { d.Lost = true })
	v.judged("/admin/backup")
	shoot(t, v.ctx, v.site+"/admin/backup", "backup")
	b.backups.last.Error = "no space left on device"
	v.judged("/admin/backup")

	// The plan is the answer to a form, so it is served at a path of its own to be judged.
	plan := newServer(b, io.Discard)
	plan.routes.HandleFunc("GET /plan", func(w http.ResponseWriter, hr *http.Request) {
		r := plan.techRequest(hr)
		r.role = config.RoleTechnician
		plan.showRestore(w, r, savedLilas)
	})
	v.site = serve(t, plan)
	v.judged("/plan")
	shoot(t, v.ctx, v.site+"/plan", "backup-plan")
}
