package admin

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/voice"
	"passerelle/captive/voice/board"
	"passerelle/captive/voice/opinion"
	isoweek "passerelle/captive/voice/week"
	"passerelle/captive/web/webtest"
)

const csvHead = "id,nom,commune,code_postal,adresse,telephone,horaires,date_maj\n"

// Two lists of places.
const (
	firstList = csvHead +
		"1,Espace des Lilas,Valfleury,12000,1 rue des Lilas,0180059880,Mo-Fr 09:00-17:00,2026-10-02\n" +
		"2,Atelier du Pont,Valfleury,12000,2 quai du Pont,,,2026-10-02\n" +
		"3,Bus numérique,Valfleury,12000,3 place Haute,,,2026-10-02\n"
	secondList = csvHead +
		"1,Espace des Lilas,Valfleury,12000,1 rue des Lilas,0180059880,Mo-Fr 09:00-17:00,2026-10-02\n" +
		"2,Atelier du Pont,Valfleury,12000,20 quai du Pont,,,2026-11-02\n" +
		"4,Café du Port,Valfleury,12000,4 quai du Port,,sur rendez-vous,2026-11-02\n"
)

// provider is a technician whose box has its content on disk.
type provider struct {
	*technician
	state   string
	reads   []string // shares that were told to read their files again
	fetches fakeDownloads
}

// fakeDownloads are downloads that begin, unless the test forbids it.
type fakeDownloads struct {
	all     []state.Download
	started []string
	err     error
}

func (d *fakeDownloads) Start(name string) error {
	if d.err == nil {
		d.started = append(d.started, name)
	}
	return d.err
}

func (d *fakeDownloads) Status() []state.Download { return d.all }

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{state: t.TempDir()}
	x := newTechnician(t)
	x.box.content = RealContent(p.state, func(share string) error {
		p.reads = append(p.reads, share)
		return nil
	}, func() time.Time { return noon })
	x.box.content.Downloads = &p.fetches
	x.server = newServer(x.box, os.Stderr)
	p.technician = x
	p.signIn(x.box.logins.Code())
	return p
}

// signIn signs in. With a code it chooses the first password.
func (p *provider) signIn(code string) {
	p.t.Helper()
	p.cookie = ""
	if res := p.post("/admin/login", url.Values{"code": {code}, "password": {password}}); res.Code != http.StatusSeeOther {
		p.t.Fatalf("signing in is answered %d", res.Code)
	}
}

// another returns a second technician of the same box.
func (p *provider) another() *provider {
	p.t.Helper()
	x := *p.technician
	other := &provider{technician: &x, state: p.state}
	other.signIn("")
	return other
}

// upload sends a file as a browser does from one of our pages.
func (p *provider) upload(kind, name, text string, fields map[string]string, headers ...string) *httptest.ResponseRecorder {
	p.t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for field, value := range fields {
		if err := m.WriteField(field, value); err != nil {
			p.t.Fatal(err)
		}
	}
	w, err := m.CreateFormFile("file", name)
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err = errors.Join(err, m.Close()); err != nil {
		p.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "https://partage.internal/admin/"+kind+"/upload", &b)
	r.Header.Set("Content-Type", m.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return p.technician.send(r, headers...)
}

// imports presses "import" on a plan.
func (p *provider) imports(kind string, plan *httptest.ResponseRecorder, more ...string) *httptest.ResponseRecorder {
	p.t.Helper()
	if plan.Code != http.StatusOK && plan.Code != http.StatusUnprocessableEntity {
		p.t.Fatalf("no plan: %d: %s", plan.Code, words(plan.Body.String()))
	}
	form := fieldsOf(p.t, plan.Body.String(), "/admin/"+kind+"/import")
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return p.post("/admin/"+kind+"/import", form)
}

// put imports a file.
func (p *provider) put(kind, name, text string) {
	p.t.Helper()
	res := p.imports(kind, p.upload(kind, name, text, nil))
	if res.Code != http.StatusOK || !strings.Contains(res.Body.String(), `class="sign good"`) {
		p.t.Fatalf("%s is answered %d: %s", name, res.Code, words(res.Body.String()))
	}
}

// says fails the test unless an answer has the status and contains the words.
func (p *provider) says(what string, res *httptest.ResponseRecorder, status int, want ...string) {
	p.t.Helper()
	text := words(res.Body.String())
	if res.Code != status {
		p.t.Errorf("%s: %d, want %d: %s", what, res.Code, status, text)
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			p.t.Errorf("%s: no %q in: %s", what, w, text)
		}
	}
}

// noted returns the changes in the journal after the choice of the password, oldest first.
func (p *provider) noted() (all []string) {
	for _, e := range p.box.journal.all {
		if e.By != config.RoleTechnician || e.Side != config.SideHotspot || e.Keys != nil {
			p.t.Errorf("noted %+v", e)
		}
		all = append(all, string(e.What))
	}
	return all[1:] // the first one is the password
}

// left returns the files that wait to be imported.
func (p *provider) left() (all []string) {
	all, err := filepath.Glob(filepath.Join(p.state, "uploads", "*", "*"))
	if err != nil {
		p.t.Error(err)
	}
	return all
}

func pack(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPlaces: a technician imports a list, sees what importing another one would change, imports it, and restores the first one.
func TestPlaces(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.says("without a list", p.get("/admin/places"), http.StatusOK, "Aucune liste", "Au plus 200 mégaoctets", "Aucune adresse n’est indiquée")
	plan := p.upload("places", "Isère 2026.CSV", firstList, nil)
	p.says("the plan", plan, http.StatusOK, "isere-2026", "3 lieux", "C’est une nouvelle liste", "Le plus récent : octobre 2026")
	if page := words(p.get("/admin/places").Body.String()); !strings.Contains(page, "Aucune liste") {
		t.Errorf("the plan has imported: %s", page)
	}
	if len(p.left()) != 1 || len(p.reads) > 0 {
		t.Errorf("%v wait; read: %v", p.left(), p.reads)
	}
	p.says("the import", p.imports("places", plan), http.StatusOK, "La liste est importée")
	if len(p.left()) > 0 || !slices.Equal(p.reads, []string{"places"}) {
		t.Errorf("%v wait; read: %v", p.left(), p.reads)
	}
	p.says("pressed twice", p.imports("places", plan), http.StatusConflict, "Ce fichier n’est plus là")
	p.says("the list", p.get("/admin/places"), http.StatusOK, "isere-2026", "3 lieux", "Fichier : Isère 2026.csv", "Importé aujourd’hui")

	plan = p.upload("places", "x.csv", secondList, map[string]string{"name": "isere-2026"})
	p.says("another one", plan, http.StatusOK, "En plus : 1 lieu", "En moins : 1 lieu", "Changés : 1 lieu", "remplace la liste de ce nom",
		"corrigé ou laissé de côté", "Ligne 4", "horaires")
	if res := p.post("/admin/places/drop", url.Values{"upload": {fieldsOf(t, plan.Body.String(), "/admin/places/drop").Get("upload")}}); res.Code != http.StatusSeeOther || len(p.left()) > 0 {
		t.Errorf("changing nothing is answered %d; %v wait", res.Code, p.left())
	}
	plan = p.upload("places", "x.csv", secondList, map[string]string{"name": "isere-2026"})
	p.says("the import", p.imports("places", plan), http.StatusOK, "La liste est importée")
	page := p.get("/admin/places")
	p.says("the warnings are kept", page, http.StatusOK, "corrigé ou laissé de côté", "Ligne 4")
	form := fieldsOf(t, page.Body.String(), "/admin/places/undo")
	p.says("undo", p.post("/admin/places/undo", form), http.StatusOK, "La liste d’avant est revenue")
	p.says("undo of a page of before", p.post("/admin/places/undo", form), http.StatusConflict, "Quelqu’un d’autre a changé cela")

	plan = p.upload("places", "x.csv", csvHead+"1,Espace des Lilas,Valfleury,12000,1 rue,,,2026-10-02\n", map[string]string{"name": "isere-2026"})
	p.says("far fewer", plan, http.StatusOK, "beaucoup moins de lieux")
	again := p.imports("places", plan)
	p.says("far fewer, unasked", again, http.StatusUnprocessableEntity, "beaucoup moins de lieux")
	p.says("far fewer, all the same", p.imports("places", again, "fewer", "yes"), http.StatusOK, "La liste est importée")

	form = fieldsOf(t, p.get("/admin/places").Body.String(), "/admin/places/remove")
	p.says("remove", p.post("/admin/places/remove", form), http.StatusOK, "La liste est enlevée")
	page = p.get("/admin/places")
	p.says("removed", page, http.StatusOK, "Enlevé. Vous pouvez encore le remettre.")
	p.says("bring back", p.post("/admin/places/undo", fieldsOf(t, page.Body.String(), "/admin/places/undo")), http.StatusOK, "est revenue")
	want := []string{"places-imported", "places-imported", "places-restored", "places-imported", "places-removed", "places-restored"}
	if got := p.noted(); !slices.Equal(got, want) {
		t.Errorf("noted %v, want %v", got, want)
	}
	for _, code := range []string{"fr", "en"} {
		if page := p.get("/admin/journal?lang=" + code).Body.String(); strings.Contains(page, "journal.") {
			t.Errorf("the journal has no words:\n%s", page)
		}
	}
}

// TestOldPlaces: the page says that a list is older than six months, if the clock is trusted.
func TestOldPlaces(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.put("places", "a.csv", strings.ReplaceAll(firstList, "2026-10-02", "2026-02-02"))
	p.says("an old list", p.get("/admin/places"), http.StatusOK, "plus de six mois")
	p.box.status.Clock.Trusted = false
	if page := words(p.get("/admin/places").Body.String()); strings.Contains(page, "plus de six mois") {
		t.Error("old by a clock that is not trusted")
	}
}

// TestTwoImport: two technicians start from the same list. The second learns of the first one's change, which is not overwritten.
func TestTwoImport(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	other := p.another()
	for kind, c := range map[string]struct{ file, first, second, has string }{
		"places":    {"a.csv", firstList, secondList, "3 lieux"},
		"packs":     {"a.zip", pack(t, map[string]string{"index.html": "<title>Un</title>"}), pack(t, map[string]string{"index.html": "<title>Deux</title>"}), "Un"},
		"calendars": {"a.ics", calendarOf("Un"), calendarOf("Deux"), "1 rendez-vous"},
		"needs":     {"a.toml", rulesOf(p), rulesOf(p) + "\n# another\n", "Les règles du centre sont en place"},
	} {
		theirs := p.upload(kind, c.file, c.second, nil)
		p.says(kind, other.imports(kind, other.upload(kind, c.file, c.first, nil)), http.StatusOK)
		p.says(kind+" of before", p.imports(kind, theirs), http.StatusConflict, "Quelqu’un d’autre a changé cela")
		p.says(kind+" now", p.get("/admin/"+kind), http.StatusOK, c.has)
		mine := fieldsOf(t, p.upload(kind, c.file, c.second, nil).Body.String(), "/admin/"+kind+"/import")
		p.says("another's upload", other.post("/admin/"+kind+"/import", mine), http.StatusConflict, "Ce fichier n’est plus là")
		form := fieldsOf(t, p.get("/admin/"+kind).Body.String(), "/admin/"+kind+"/remove")
		p.says(kind+" again", p.post("/admin/"+kind+"/import", mine), http.StatusOK)
		p.says("remove "+kind+" of before", other.post("/admin/"+kind+"/remove", form), http.StatusConflict, "Quelqu’un d’autre a changé cela")
	}
	if left := p.left(); len(left) > 0 {
		t.Errorf("%v wait", left)
	}
}

func calendarOf(titles ...string) string {
	text := "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//FR\r\n"
	for i, title := range titles {
		text += fmt.Sprintf("BEGIN:VEVENT\r\nUID:%d\r\nDTSTAMP:20261101T100000Z\r\nSUMMARY:%s\r\nDTSTART:20261202T140000\r\nDTEND:20261202T160000\r\nEND:VEVENT\r\n", i, title)
	}
	return text + "END:VCALENDAR\r\n"
}

// rulesOf returns the rules in use.
func rulesOf(p *provider) string {
	res := p.get("/admin/needs/file")
	if res.Code != http.StatusOK || !strings.HasPrefix(res.Header().Get("Content-Disposition"), "attachment") {
		p.t.Errorf("the rules are answered %d, %v", res.Code, res.Header())
	}
	return res.Body.String()
}

// TestOtherShelves: packs, calendars and rules are imported, replaced and removed like lists of places.
func TestOtherShelves(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	plan := p.upload("packs", "Jardin.zip", pack(t, map[string]string{"index.html": "<title>Le jardin</title>", "a.html": "a"}), nil)
	p.says("a pack", plan, http.StatusOK, "jardin", "Le jardin", "Des pages à lire")
	p.says("import it", p.imports("packs", plan), http.StatusOK, "Le paquet est importé")
	plan = p.upload("packs", "Jardin.zip", pack(t, map[string]string{"index.html": "<title>Le jardin</title>", "b.html": "b"}), nil)
	p.says("another pack", plan, http.StatusOK, "En plus : 1 fichier", "En moins : 1 fichier", "Changés : 0 fichier")
	page := p.get("/admin/packs")
	p.says("the packs", page, http.StatusOK, "Le jardin", "Importé aujourd’hui")
	p.says("remove it", p.post("/admin/packs/remove", fieldsOf(t, page.Body.String(), "/admin/packs/remove")), http.StatusOK, "Le paquet est enlevé")

	p.says("a calendar", p.imports("calendars", p.upload("calendars", "ville.ics", calendarOf("Un", "Deux"), nil)), http.StatusOK, "Le calendrier est importé")
	p.says("the same", p.upload("calendars", "ville.ics", calendarOf("Un", "Deux"), nil), http.StatusOK, "Rien à changer")
	p.says("another", p.upload("calendars", "ville.ics", calendarOf("Un", "Deux bis", "Trois"), nil), http.StatusOK, "En plus : 1 rendez-vous", "Changés : 1 rendez-vous")
	p.says("the agenda", p.get("/admin/agenda"), http.StatusOK, "Un", "calendrier importé", "14 h – 16 h")

	p.says("the built-in rules", p.get("/admin/needs"), http.StatusOK, "Les règles de départ sont en place", "Voir où mène chaque réponse")
	rules := rulesOf(p)
	p.says("rules that lead nowhere", p.upload("needs", "mes.toml", rules+"\n[[rule]]\nto = [\"lesson nowhere\"]\n", nil), http.StatusUnprocessableEntity, "Rien n’a changé", "mes.toml:")
	p.says("own rules", p.imports("needs", p.upload("needs", "mes.toml", "# Les nôtres\n"+rules, nil)), http.StatusOK, "Les règles du centre sont en place")
	if now := rulesOf(p); !strings.HasPrefix(now, "# Les nôtres") {
		t.Errorf("the rules in use are %.100s", now)
	}
	page = p.get("/admin/needs")
	p.says("the built-in ones again", p.post("/admin/needs/remove", fieldsOf(t, page.Body.String(), "/admin/needs/remove")), http.StatusOK, "Les règles de départ sont revenues")
	want := []string{"pack-imported", "pack-removed", "calendar-imported", "rules-imported", "rules-removed"}
	if got := p.noted(); !slices.Equal(got, want) {
		t.Errorf("noted %v, want %v", got, want)
	}
}

// TestFetch: a button starts a download, or the page says why it cannot start.
func TestFetch(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.fetches.all = []state.Download{{Name: "places", From: "data.example", Done: noon.Add(-time.Hour), Result: "312 places"}, {Name: "agenda", From: "ville.example", Tried: noon.Add(-time.Hour), Error: "it is not a calendar"}}
	p.says("places", p.get("/admin/places"), http.StatusOK, "Depuis data.example", "Le dernier : aujourd’hui à 14 h 10")
	p.says("calendars", p.get("/admin/calendars"), http.StatusOK, "Rien n’a encore été téléchargé", "n’a pas réussi", "it is not a calendar")
	for kind, name := range map[string]string{"places": "places", "calendars": "agenda"} {
		if res := p.post("/admin/"+kind+"/fetch", nil); res.Code != http.StatusSeeOther || !slices.Contains(p.fetches.started, name) {
			t.Errorf("fetching %s is answered %d", kind, res.Code)
		}
	}
	p.fetches.all[0].Running, p.fetches.all[0].Bytes = true, 2_000_000
	page := p.get("/admin/places")
	p.says("running", page, http.StatusOK, "en cours : 2 mégaoctets reçus")
	if !strings.Contains(page.Body.String(), `http-equiv="refresh"`) || strings.Contains(page.Body.String(), "/admin/places/fetch") {
		t.Errorf("while it runs:\n%s", page.Body)
	}
	p.fetches.err = errors.New("nothing is shared now")
	p.says("not now", p.post("/admin/places/fetch", nil), http.StatusConflict, "ne télécharge pas maintenant", "nothing is shared now")
	if got := p.noted(); len(got) != 2 {
		t.Errorf("noted %v", got)
	}
}

// TestContentDoors: a request without a login, from another site, under another host name, or for a path that is not a page shows and
// changes nothing.
func TestContentDoors(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	ask := func(pattern string, headers ...string) *httptest.ResponseRecorder {
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.NewReplacer("{number}", "1", "{file}", "results.csv").Replace(path)
		switch {
		case strings.HasSuffix(path, "/upload"):
			return p.upload(strings.Split(path, "/")[2], "a.csv", firstList, nil, headers...)
		case method == http.MethodPost:
			return p.post(path, url.Values{"name": {"a"}, "edition": {"none"}}, headers...)
		}
		return p.get(path, headers...)
	}
	mine := p.cookie
	for what, c := range map[string]string{"no cookie": "", "a chosen one": "AAAA", "a part of one": mine[:20]} {
		p.cookie = c
		for pattern, route := range contentRoutes {
			door := signInPath
			if route.duty == welcomes {
				door = deskSignInPath
			}
			if res := ask(pattern); res.Code != http.StatusSeeOther || !strings.HasPrefix(res.Header().Get("Location"), door) {
				t.Errorf("%s: %s is answered %d", what, pattern, res.Code)
			}
		}
	}
	p.cookie = mine
	for pattern := range contentRoutes {
		if !strings.HasPrefix(pattern, "POST") {
			continue
		}
		if res := ask(pattern, "Origin: https://evil.example", "Sec-Fetch-Site: cross-site"); res.Code != http.StatusForbidden {
			t.Errorf("another site's %s is answered %d", pattern, res.Code)
		}
		if res := ask(pattern, "Host: rebind.evil.example"); res.Code != http.StatusMisdirectedRequest {
			t.Errorf("under another name %s is answered %d", pattern, res.Code)
		}
	}
	for _, path := range []string{"/admin/uploads", "/admin/uploads/", "/admin/places/upload", "/admin/places/../uploads", "/admin/agenda/x", "/admin/opinion/results/secrets", "/admin/opinion/results/..%2f..%2fledger"} {
		if res := p.get(path); res.Code == http.StatusOK {
			t.Errorf("%s is answered %d", path, res.Code)
		}
	}
	if got := p.noted(); len(got) > 0 {
		t.Errorf("noted %v", got)
	}
}

// TestHostileUploads: a file that is not of its shelf's kind is refused with a reason, and leaves nothing behind. A program in a
// pack is left out.
func TestHostileUploads(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.put("places", "a.csv", firstList)
	p.put("packs", "a.zip", pack(t, map[string]string{"index.html": "<title>Un</title>"}))
	for what, c := range map[string]struct {
		kind, file, text string
		want             string
	}{
		"not a zip":              {"packs", "a.zip", "hello", "not a complete zip"},
		"half a zip":             {"packs", "a.zip", pack(t, map[string]string{"index.html": "<title>Deux</title>"})[:60], "not a complete zip"},
		"a path upwards":         {"packs", "b.zip", pack(t, map[string]string{"index.html": "x", "../../evil.html": "x"}), "evil.html"},
		"an absolute path":       {"packs", "b.zip", pack(t, map[string]string{"index.html": "x", "/etc/evil.html": "x"}), "evil.html"},
		"a picture that is none": {"packs", "b.zip", pack(t, map[string]string{"index.html": "x", "a.png": "<script>"}), "a.png"},
		"another CSV":            {"places", "a.csv", "a,b\n1,2\n", "its first line has no"},
		"HTML":                   {"places", "a.csv", "<html><script>alert(1)</script>", "its first line has no"},
		"an empty list":          {"places", "a.csv", csvHead, "0 places"},
		"not a calendar":         {"calendars", "a.ics", "hello", "not a calendar"},
		"half a calendar":        {"calendars", "a.ics", calendarOf("Un")[:120], "cut off"},
		"not TOML":               {"needs", "a.toml", "\x00\xff", "a.toml:1"},
		"a name that is a path":  {"places", "../../../etc/a.csv", "a,b\n", "a.csv: it is not in the format"},
	} {
		res := p.upload(c.kind, c.file, c.text, nil)
		p.says(what, res, http.StatusUnprocessableEntity, "Rien n’a changé", c.want)
		if strings.Contains(res.Body.String(), "<script>") || strings.Contains(words(res.Body.String()), p.state) {
			t.Errorf("%s: the page has a script or a path:\n%s", what, res.Body)
		}
	}
	harmless := p.upload("packs", "b.zip", pack(t, map[string]string{"index.html": "x", "run.exe": "MZ"}), nil)
	p.says("a program", harmless, http.StatusOK, "Ce que la box a corrigé ou laissé de côté", "run.exe", "is left out")
	p.post("/admin/packs/drop", url.Values{"upload": {fieldsOf(t, harmless.Body.String(), "/admin/packs/drop").Get("upload")}})
	for what, name := range map[string]string{"a path": "../evil", "too long": strings.Repeat("a", 60), "HTML": "<b>"} {
		p.says(what, p.upload("places", "a.csv", firstList, map[string]string{"name": name}), http.StatusUnprocessableEntity, "cannot be a list's name")
	}
	p.says("no file", p.upload("places", "", "", nil), http.StatusUnprocessableEntity, "Choisissez d’abord un fichier")
	p.says("a form of another kind", p.post("/admin/places/upload", url.Values{"file": {firstList}}), http.StatusBadRequest)
	p.says("too large", p.upload("needs", "a.toml", strings.Repeat("#", 400<<10), nil), http.StatusRequestEntityTooLarge, "Il est trop grand")
	p.says("a calendar that is too large", p.upload("calendars", "a.ics", strings.Repeat("#", 5_100_000), nil), http.StatusRequestEntityTooLarge, "Il est trop grand")
	if left := p.left(); len(left) > 0 {
		t.Errorf("%v wait", left)
	}
	p.says("the list", p.get("/admin/places"), http.StatusOK, "3 lieux")
	p.says("the pack", p.get("/admin/packs"), http.StatusOK, "Un")
	if found, _ := filepath.Glob(filepath.Join(p.state, "*")); len(found) != 3 { // places, tutorials, uploads
		t.Errorf("in the state folder: %v", found)
	}
}

// TestUploadNames: a file is stored under a name that is neither a path nor a hidden file.
func TestUploadNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"isere.csv": "isere.csv", "Isère 2026.CSV": "Isère 2026.csv", "../../etc/passwd": "passwd.csv", `C:\Users\a.csv`: "a.csv",
		".csv": "csv.csv", ".htaccess": "htaccess.csv", "": "fichier.csv", "..": "fichier.csv", "a\x00b.csv": "a-b.csv",
		"\xff\xfe.csv": "fichier.csv", strings.Repeat("é", 200): strings.Repeat("é", 40) + ".csv", "a/.": "fichier.csv", "<b>.csv": "b.csv",
	} {
		if got := fileNameOf(name, ".csv"); got != want {
			t.Errorf("%q is written as %q, want %q", name, got, want)
		}
	}
}

// TestUploadsEnd: the number of waiting uploads is limited, and each is forgotten after a while.
func TestUploadsEnd(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	now := noon
	p.server.Now = func() time.Time { return now }
	var plans []*httptest.ResponseRecorder
	for i := range 5 {
		now = noon.Add(time.Duration(i) * time.Second)
		plans = append(plans, p.upload("places", fmt.Sprintf("a%d.csv", i), firstList, nil))
	}
	if left := p.left(); len(left) != maxUploads {
		t.Errorf("%v wait", left)
	}
	p.says("one that made room", p.imports("places", plans[0]), http.StatusConflict, "n’est plus là")
	now = noon.Add(uploadLife + time.Minute)
	p.says("one that waited for too long", p.imports("places", plans[4]), http.StatusConflict, "n’est plus là")
	if left := p.left(); len(left) > 0 {
		t.Errorf("%v wait", left)
	}
	p.upload("places", "a.csv", firstList, nil)
	p.server = newServer(p.box, os.Stderr)
	if left := p.left(); len(left) > 0 {
		t.Errorf("after a restart %v wait", left)
	}
}

// failingShelf is a shelf whose imports fail.
type failingShelf struct {
	Shelf
	err error
}

func (f failingShelf) Remove(string, string) error { return f.err }

// TestFullDisk: the page says that the disk is full or read-only, and the old content stays.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.put("places", "a.csv", firstList)
	p.box.disk = Disk{Free: spareRoom + 10, Total: 8e9}
	p.says("an upload to a full disk", p.upload("places", "a.csv", secondList, nil), http.StatusInsufficientStorage, "Le disque de la box est plein")
	p.box.disk = Disk{}
	form := fieldsOf(t, p.get("/admin/places").Body.String(), "/admin/places/remove")
	for err, want := range map[error]string{
		fmt.Errorf("write: %w", syscall.ENOSPC): "Le disque de la box est plein", fmt.Errorf("write: %w", syscall.EROFS): "ne peut plus écrire sur son disque",
	} {
		p.server.Content.Places = failingShelf{p.box.content.Places, err}
		p.says("a change", p.post("/admin/places/remove", form), http.StatusInsufficientStorage, want, "Rien n’a changé")
	}
	p.server.Content.Places = p.box.content.Places
	p.says("the list", p.get("/admin/places"), http.StatusOK, "3 lieux")
}

// TestBoard: notices are shown, refused and removed, and the page says so if somebody else has already dealt with one.
func TestBoard(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	file := voice.BoardFile(filepath.Join(p.state, "voice"))
	if _, err := file.Update(func(b *board.Board) error {
		for _, text := range []string{"Je prête ma perceuse.\nElle est lourde.", "Qui répare un vélo ?", "<script>alert(1)</script>"} {
			b.Add(board.Post{Side: board.Offer, Kind: "lend", Text: text, Week: isoweek.Of(noon)})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	page := p.get("/admin/board")
	p.says("the board", page, http.StatusOK, "Je prête ma perceuse", "Annonce 1", "propose", "prêter", "Le tableau est fermé")
	if strings.Contains(page.Body.String(), "<script>") {
		t.Error("a notice has a script")
	}
	p.says("the overview", p.get("/admin/content"), http.StatusOK, "3 annonces attendent")
	press := func(do string, numbers ...string) *httptest.ResponseRecorder {
		return p.post("/admin/board", url.Values{"do": {do}, "number": numbers})
	}
	if res := press("show", "1"); res.Code != http.StatusSeeOther {
		t.Errorf("publishing is answered %d", res.Code)
	}
	p.says("publish again", press("show", "1"), http.StatusConflict, "Ce n’est plus là")
	if res := press("remove", "2", "3"); res.Code != http.StatusSeeOther {
		t.Errorf("refusing is answered %d", res.Code)
	}
	p.says("refuse again", press("remove", "1", "2"), http.StatusConflict, "Ce n’est plus là")
	b, err := file.Read()
	if err != nil || len(b.Posts) != 1 || b.Posts[0].Number != 1 || b.Posts[0].Waits() {
		t.Errorf("the board is %+v, %v", b, err)
	}
	for _, form := range []url.Values{{}, {"number": {"1"}}, {"do": {"eat"}, "number": {"1"}}, {"do": {"show"}, "number": {"x"}}, {"do": {"remove"}}} {
		if res := p.post("/admin/board", form); res.Code != http.StatusBadRequest {
			t.Errorf("%v is answered %d", form, res.Code)
		}
	}
	if got := p.noted(); !slices.Equal(got, []string{"notices-shown", "notices-removed"}) {
		t.Errorf("noted %v", got)
	}
	if !slices.Contains(p.reads, "voice") {
		t.Error("the box was not told")
	}
}

// TestOpinion: a question is asked, replaced only by somebody who has seen it, and ended. Results are shown and downloaded.
func TestOpinion(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.says("no question", p.get("/admin/opinion"), http.StatusOK, "Rien n’est demandé", "encore rien à montrer")
	form := url.Values{"seen": {"0"}, "question": {"Que faut-il d’abord ?"}, "choice1": {"Des ordinateurs"}, "picture1": {"repair"}, "choice2": {"Des ateliers"}}
	if res := p.post("/admin/opinion", form); res.Code != http.StatusSeeOther {
		t.Fatalf("asking is answered %d: %s", res.Code, words(res.Body.String()))
	}
	p.says("asked", p.get("/admin/opinion"), http.StatusOK, "Que faut-il d’abord ?", "Des ateliers")
	p.says("by another who saw none", p.post("/admin/opinion", form), http.StatusConflict, "a changé la question")
	p.says("end one that was not seen", p.post("/admin/opinion/close", url.Values{"seen": {"0"}}), http.StatusConflict, "a changé la question")
	for what, c := range map[string]struct {
		change map[string]string
		status int
	}{
		"no question": {map[string]string{"question": " "}, http.StatusUnprocessableEntity}, "one answer": {map[string]string{"choice2": ""}, http.StatusUnprocessableEntity},
		"twice the same": {map[string]string{"choice2": "Des ordinateurs"}, http.StatusUnprocessableEntity}, "too long": {map[string]string{"question": strings.Repeat("a", 300)}, http.StatusUnprocessableEntity},
		"no such picture": {map[string]string{"picture1": "../../x"}, http.StatusBadRequest}, "no number": {map[string]string{"seen": "x"}, http.StatusBadRequest},
	} {
		other := url.Values{}
		for name, v := range form {
			other[name] = slices.Clone(v)
		}
		other.Set("seen", "1")
		for name, v := range c.change {
			other.Set(name, v)
		}
		p.says(what, p.post("/admin/opinion", other), c.status)
	}
	file := voice.OpinionFile(filepath.Join(p.state, "voice"))
	if _, err := file.Update(func(o *opinion.Opinions) error {
		before := isoweek.Of(noon).Add(-1)
		o.Add(opinion.Press{Week: before, Part: opinion.Choice, Question: 1, Which: 1}, 7)
		o.Add(opinion.Press{Week: before, Part: opinion.Choice, Question: 1, Which: 0}, 2)
		o.Add(opinion.Press{Week: before, Part: opinion.Face, Service: "www.caf.fr", Which: 0}, 6)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	p.says("results", p.get("/admin/opinion"), http.StatusOK, "Des ateliers 7", "Des ordinateurs moins de 5", "www.caf.fr", "très mal 6")
	for name, want := range map[string]string{"results.csv": "Des ateliers,7", "results.schema.json": `"minimum": 5`} {
		res := p.get("/admin/opinion/results/" + name)
		if res.Code != http.StatusOK || !strings.Contains(res.Body.String(), want) || !strings.Contains(res.Header().Get("Content-Disposition"), name) ||
			res.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s is answered %d, %v:\n%s", name, res.Code, res.Header(), res.Body)
		}
	}
	if res := p.post("/admin/opinion/close", url.Values{"seen": {"1"}}); res.Code != http.StatusSeeOther {
		t.Errorf("ending is answered %d", res.Code)
	}
	p.says("ended", p.get("/admin/opinion"), http.StatusOK, "Rien n’est demandé", "Des ateliers 7")
	if got := p.noted(); !slices.Equal(got, []string{"question-asked", "question-closed"}) {
		t.Errorf("noted %v", got)
	}
}

// TestAgenda: events are added, cancelled, moved and removed. A change is refused if the event has changed since it was shown.
func TestAgenda(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.says("nothing", p.get("/admin/agenda"), http.StatusOK, "Rien n’est prévu")
	form := url.Values{"title": {" Café  numérique "}, "on": {"2026-12-02"}, "from": {"14:00"}, "to": {"16:00"}, "every": {"week"}, "where": {"Salle <b>"}}
	if res := p.post("/admin/agenda", form); res.Code != http.StatusSeeOther {
		t.Fatalf("adding is answered %d: %s", res.Code, words(res.Body.String()))
	}
	p.says("added", p.get("/admin/agenda"), http.StatusOK, "Café numérique", "mercredi 2 décembre", "mercredi 9 décembre", "14 h – 16 h", "Salle <b>")
	event := p.get("/admin/agenda/1")
	p.says("the event", event, http.StatusOK, "Café numérique", "chaque semaine", "mercredi 2 décembre")
	was := fieldsOf(t, event.Body.String(), "/admin/agenda/1")
	press := func(do string, more url.Values) *httptest.ResponseRecorder {
		more.Set("do", do)
		return p.post("/admin/agenda/1", more)
	}
	if res := press("cancel", url.Values{"version": was["version"], "day": {"2026-12-02"}}); res.Code != http.StatusSeeOther {
		t.Errorf("cancelling is answered %d: %s", res.Code, words(res.Body.String()))
	}
	p.says("cancel as seen before", press("cancel", url.Values{"version": was["version"]}), http.StatusConflict, "Quelqu’un d’autre a changé cela")
	p.says("a day without it", press("cancel", url.Values{"version": {"1"}, "day": {"2026-12-03"}}), http.StatusUnprocessableEntity, "does not take place")
	p.says("nowhere", press("move", url.Values{"version": {"1"}, "day": {"2026-12-09"}}), http.StatusUnprocessableEntity, "nouveau jour")
	if res := press("move", url.Values{"version": {"1"}, "day": {"2026-12-09"}, "date": {"2026-12-10"}}); res.Code != http.StatusSeeOther {
		t.Errorf("moving is answered %d: %s", res.Code, words(res.Body.String()))
	}
	p.says("changed", p.get("/admin/agenda"), http.StatusOK, "Annulé", "Déplacé au jeudi 10 décembre", "Au lieu du mercredi 9 décembre")
	for what, c := range map[string]struct {
		field, value, want string
	}{
		"no title": {"title", "", "Donnez un titre"}, "no day": {"on", "", "Donnez un jour"}, "no such day": {"on", "2026-02-30", "Donnez un jour"},
		"no beginning": {"from", "", "heure du début"}, "a last day before": {"until", "2026-11-30", "avant le premier"}, "a wrong time": {"from", "25:00", "25:00"},
	} {
		other := url.Values{}
		for name, v := range form {
			other[name] = slices.Clone(v)
		}
		other.Set(c.field, c.value)
		res := p.post("/admin/agenda", other)
		p.says(what, res, http.StatusUnprocessableEntity, c.want)
		if !strings.Contains(res.Body.String(), `value="16:00"`) {
			t.Errorf("%s: what was typed is lost", what)
		}
	}
	p.says("a day that is over", p.post("/admin/agenda", url.Values{"title": {"a"}, "on": {"2026-11-20"}}), http.StatusUnprocessableEntity, "Ce jour est passé")
	if res := press("remove", url.Values{"version": {"2"}}); res.Code != http.StatusSeeOther {
		t.Errorf("removing is answered %d", res.Code)
	}
	p.says("removed", p.get("/admin/agenda"), http.StatusOK, "Rien n’est prévu")
	if res := p.get("/admin/agenda/1"); res.Code != http.StatusNotFound {
		t.Errorf("its page is answered %d", res.Code)
	}
	if got := p.noted(); !slices.Equal(got, []string{"event-added", "event-cancelled", "event-moved", "event-removed"}) {
		t.Errorf("noted %v", got)
	}
}

// TestFindCentre: the centre's fields are filled from a list, before anything is saved, in the settings and at the first start.
func TestFindCentre(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.box.text = []byte(settingsText)
	if page := p.get("/admin/settings/centre").Body.String(); strings.Contains(page, `name="find"`) {
		t.Error("there is nothing to search in")
	}
	p.put("places", "a.csv", firstList)
	form := p.form("/admin/settings/centre", "/admin/settings/centre")
	form.Set("box.name", "Mon centre")
	form.Set("find", "lilas")
	res := p.post("/admin/settings/centre", form) // Enter
	p.says("found", res, http.StatusOK, "Espace des Lilas", "1 rue des Lilas", "12000 Valfleury", "C’est lui")
	form = fieldsOf(t, res.Body.String(), "/admin/settings/centre")
	if form.Get("box.name") != "Mon centre" {
		t.Error("what was typed is lost")
	}
	id := regexp.MustCompile(`name="take" value="([0-9a-f]{16})"`).FindStringSubmatch(res.Body.String())
	if id == nil {
		t.Fatalf("nothing to take in:\n%s", res.Body)
	}
	form.Set("take", id[1])
	res = p.post("/admin/settings/centre", form)
	form = fieldsOf(t, res.Body.String(), "/admin/settings/centre")
	for key, want := range map[string]string{
		"box.name": "Espace des Lilas", "centre.address": "1 rue des Lilas", "centre.postcode": "12000", "centre.town": "Valfleury",
		"centre.phone": "01 80 05 98 80", "centre.hours.mode": "week", "centre.hours.day0.from0": "09:00",
	} {
		if got := form.Get(key); strings.ReplaceAll(got, "\u00a0", " ") != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if p.parsed().Box.Name == "Espace des Lilas" {
		t.Error("it is saved before it was seen")
	}
	form.Set("centre.phone", "01 80 05 98 81")
	p.save(p.post("/admin/settings/centre", form))
	if c := p.parsed(); c.Box.Name != "Espace des Lilas" || c.Centre.Town != "Valfleury" || c.Centre.Phone != "01 80 05 98 81" {
		t.Errorf("saved: %q, %+v", c.Box.Name, c.Centre)
	}
	form = p.form("/admin/settings/centre", "/admin/settings/centre")
	form.Set("find", "xyzzy")
	p.says("nothing found", p.post("/admin/settings/centre", form), http.StatusOK, "Aucun lieu trouvé")
	form.Set("take", "0123456789abcdef")
	p.says("a place that is gone", p.post("/admin/settings/centre", form), http.StatusOK, "Chercher le centre")

	p.box.text, p.box.status.Donations, p.box.answers = nil, nil, t.TempDir()
	p.server = newServer(p.box, os.Stderr)
	form = p.form("/admin/setup/centre", "/admin/setup/centre")
	form.Set("find", "lilas")
	form.Set("search", "yes")
	if res := p.post("/admin/setup/centre", form); res.Header().Get("Location") != "/admin/setup/centre" {
		t.Fatalf("searching leads to %q", res.Header().Get("Location"))
	}
	page := p.get("/admin/setup/centre")
	p.says("found at the first start", page, http.StatusOK, "Espace des Lilas", "C’est lui")
	form = fieldsOf(t, page.Body.String(), "/admin/setup/centre")
	form.Set("take", id[1])
	if res := p.post("/admin/setup/centre", form); res.Header().Get("Location") != "/admin/setup/centre" {
		t.Fatalf("taking leads to %q", res.Header().Get("Location"))
	}
	form = p.form("/admin/setup/centre", "/admin/setup/centre")
	if form.Get("centre.town") != "Valfleury" || form.Get("box.name") != "Espace des Lilas" {
		t.Errorf("the form is %v", form)
	}
	if res := p.post("/admin/setup/centre", form); res.Header().Get("Location") != "/admin/setup/line" {
		t.Errorf("then it leads to %q", res.Header().Get("Location"))
	}
}

// contentPages are the pages of the content, with something on each.
var contentPages = []string{
	"/admin/content", "/admin/places", "/admin/packs", "/admin/calendars", "/admin/needs", "/admin/agenda", "/admin/agenda/1",
	"/admin/board", "/admin/opinion", "/admin/settings/centre", "/admin/journal",
}

// fill puts something on every page of the content.
func (p *provider) fill() {
	p.t.Helper()
	p.box.text = []byte(settingsText)
	p.put("places", "isere.csv", strings.Replace(firstList, "3,Bus", "3,\"Bus <b> d’à côté", 1))
	p.put("places", "vieux.csv", strings.ReplaceAll(secondList, "2026-1", "2025-1"))
	p.put("packs", "jardin.zip", pack(p.t, map[string]string{"index.html": "<title>Le jardin & <b></title>"}))
	p.put("calendars", "ville.ics", calendarOf("Fête <b>", "Marché"))
	p.post("/admin/agenda", url.Values{"title": {"Café numérique"}, "on": {"2026-12-02"}, "from": {"14:00"}, "to": {"16:00"}, "every": {"week"}, "where": {"Salle <i>"}})
	p.post("/admin/agenda/1", url.Values{"version": {"0"}, "do": {"cancel"}, "day": {"2026-12-09"}})
	p.post("/admin/opinion", url.Values{"seen": {"0"}, "question": {"Que faut-il <b> d’abord ?"}, "choice1": {"Des ordinateurs <i>"}, "picture1": {"repair"}, "choice2": {"Des ateliers"}})
	_, err := voice.BoardFile(filepath.Join(p.state, "voice")).Update(func(b *board.Board) error {
		for i, text := range []string{"Je prête ma perceuse le samedi.\nElle perce le béton <b>.", "Qui répare un vélo ?", "Je peux accompagner à la mairie."} {
			b.Add(board.Post{Side: board.Sides[i%2], Kind: board.Kinds[i], Text: text, Week: isoweek.Of(noon)})
		}
		return b.Accept(3, noon)
	})
	_, opinionErr := voice.OpinionFile(filepath.Join(p.state, "voice")).Update(func(o *opinion.Opinions) error {
		before := isoweek.Of(noon).Add(-1)
		o.Add(opinion.Press{Week: before, Part: opinion.Choice, Question: 1, Which: 1}, 17)
		o.Add(opinion.Press{Week: before, Part: opinion.Choice, Question: 1, Which: 0}, 9)
		o.Add(opinion.Press{Week: before, Part: opinion.Face, Service: "www.caf.fr", Which: 1}, 6)
		return nil
	})
	if err := errors.Join(err, opinionErr); err != nil {
		p.t.Fatal(err)
	}
	p.fetches.all = []state.Download{{Name: "places", From: "data.example", Done: noon.Add(-50 * time.Hour), Tried: noon.Add(-time.Hour), Error: "the server answers 404"}}
}

// TestContentPages: each page is complete in both languages, escapes what others wrote, and is small.
func TestContentPages(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.fill()
	for _, path := range contentPages {
		for _, code := range []string{"fr", "en"} {
			res := p.get(path + "?lang=" + code)
			page := res.Body.String()
			for _, flaw := range webtest.Flaws(code, page, res.Header().Get("Content-Security-Policy")) {
				t.Errorf("%s: %s", path, flaw)
			}
			if res.Code != http.StatusOK || len(page) > 60_000 {
				t.Errorf("%s in %s is answered %d, %d bytes", path, code, res.Code, len(page))
			}
		}
	}
}
