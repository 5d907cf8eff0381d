package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"passerelle/appliance/fleet/command"
	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/fleet/report"
	"passerelle/captive/web/webtest"
	"passerelle/cmd/hub/authority"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/stages"
	"passerelle/cmd/hub/survey"
)

var now = time.Date(2027, 3, 29, 9, 0, 0, 0, time.UTC)

const (
	lilas, lilas2, waiting, roses = "aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc", "dddddddddd"

	federationCode, lilasCode = "7K2QX-0M4TW", "00000-11111"
)

var words = [protocol.WordCount]string{"abeille", "bateau", "citron", "dragon"}

// fakeRegistry records what it is asked to do.
type fakeRegistry struct {
	mu     sync.Mutex
	people map[string]registry.Person
	did    []string
	err    error
	kept   registry.Rollout
}

func (f *fakeRegistry) Person(_ context.Context, typed string) (registry.Person, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.people[typed]
	return p, ok, nil
}

func (f *fakeRegistry) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fakeRegistry) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.did) == 0 {
		return ""
	}
	return f.did[len(f.did)-1]
}

func (f *fakeRegistry) Confirm(_ context.Context, author, box string, w []string) error {
	if strings.Join(w, " ") != strings.Join(words[:], " ") {
		return registry.ErrWords
	}
	return f.note("%s confirms %s", author, box)
}
func (f *fakeRegistry) Revoke(_ context.Context, author, box string) error {
	return f.note("%s revokes %s", author, box)
}
func (f *fakeRegistry) Place(_ context.Context, author, box, centre, department string) error {
	return f.note("%s places %s in %q %s", author, box, centre, department)
}
func (f *fakeRegistry) Rollout(context.Context) (registry.Rollout, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kept, f.kept.Phase != "", nil
}
func (f *fakeRegistry) ChangeRollout(_ context.Context, author, did string, edit func(*registry.Rollout) error) error {
	f.mu.Lock()
	err := edit(&f.kept)
	if err == nil {
		f.kept.Number++
		f.kept.By = author
	}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.note("%s: %s", author, did)
}
func (f *fakeRegistry) PutCommand(_ context.Context, author, association, box string, body []byte) error {
	c, err := command.Parse(body)
	if err != nil {
		return err
	}
	return f.note("%s asks %s of %s to %s until %s as %s", author, box, association, c.Action, c.Expires.Format(time.RFC3339), c.By)
}

// world is a dashboard of three associations, one of them without boxes, and four boxes.
type world struct {
	*testing.T
	*Server
	registry *fakeRegistry
	fleet    *survey.Fleet
}

func newWorld(t *testing.T) *world {
	t.Helper()
	f := &survey.Fleet{Now: func() time.Time { return now }}
	f.Members(authority.Members{Associations: map[string]authority.Association{"lilas": {Region: "nord"}, "roses": {Region: "sud"}, "vide": {}}})
	f.Box(registry.Box{Name: lilas, Association: "lilas", Stage: registry.Member, Centre: "Centre des <b>Lilas</b>", Department: "59", Confirmed: now.AddDate(0, -1, 0), By: "Ana"})
	f.Box(registry.Box{Name: lilas2, Association: "lilas", Stage: registry.Member, Department: "974", Confirmed: now.AddDate(0, -1, 0), By: "Ana"})
	f.Box(registry.Box{Name: waiting, Association: "lilas", Stage: registry.Waiting, Words: words, Asked: now.Add(-time.Hour)})
	f.Box(registry.Box{Name: roses, Association: "roses", Stage: registry.Member, Centre: "Maison des Roses", Department: "2A", Confirmed: now.AddDate(0, -1, 0), By: "Bo"})
	for ago := 20; ago > 0; ago-- {
		at := now.AddDate(0, 0, -ago)
		for _, b := range []string{lilas, lilas2, roses} {
			r := report.Report{Form: report.Form, Day: report.Day(at.Format(time.DateOnly)), Release: "1.2.0", State: "sharing", Sessions: 12,
				Donations: []report.Donation{{Index: 1, Kind: "cable", Bytes: 1e9, State: "used"}}, Faults: []report.Fault{}}
			association := "lilas"
			switch b {
			case lilas2:
				if r.Languages = []report.Language{{Code: "ar"}, {Code: "fr", Reviewed: true}}; ago == 1 {
					r.Fell = &report.Fell{Version: "1.3.0", Why: "pages"}
				}
				r.Faults, r.State = []report.Fault{{Code: "kernel-fails", Error: true}}, "fault"
			case roses:
				association = "roses"
				if ago < 10 {
					continue
				}
			}
			text, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			f.Report(association, b, r.Day.Report(), text, at.Add(20*time.Hour))
		}
	}
	e, err := json.Marshal(command.Outcome{ID: "aaaaaaaa", Action: command.Pause, At: now.Add(-time.Hour), Verdict: command.Yields})
	if err != nil {
		t.Fatal(err)
	}
	f.Report("lilas", lilas, protocol.Done, e, now.Add(-time.Hour))
	e, err = report.Diagnosis{Form: report.DiagnosisForm, At: now.Add(-2 * time.Hour).UTC().Truncate(time.Second), Verdict: "fault", Steps: []report.Step{
		{Step: "box", Verdict: "ok", Code: "box-sharing"}, {Step: "gateway", Donation: 2, Verdict: "fault", Code: "gateway-silent"},
		{Step: report.Unknown, Verdict: "warning", Code: report.Unknown}, {Step: "clock", Verdict: "skipped", Code: "not-in-time"},
	}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	f.Report("lilas", lilas, protocol.Diagnosis, e, now.Add(-time.Hour))
	f.Report("lilas", lilas, protocol.Diagnosis, []byte(`{"form":1,"verdict":"<b>"}`), now)
	w := &world{T: t, registry: &fakeRegistry{people: map[string]registry.Person{
		federationCode: {Name: "Fa"}, lilasCode: {Name: "Ana", Association: "lilas"},
	}, kept: registry.Rollout{Version: "1.2.0", Permille: 10, Phase: registry.Going, Began: now.AddDate(0, 0, -3), By: "ana", Number: 7}}, fleet: f}
	w.Server = New(Options{Registry: w.registry, Survey: f, Federation: "Fédération", Hosts: []string{"hub.example.org", "127.0.0.1", "partage.internal"},
		Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	return w
}

// browser is a person's browser, with its cookie and its address.
type browser struct {
	*world
	cookie  string
	address string
}

func (b *browser) do(method, path string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://hub.example.org"+path, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.RemoteAddr = b.address + ":1234"
	if b.cookie != "" {
		r.AddCookie(&http.Cookie{Name: cookie, Value: b.cookie})
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		b.cookie = c.Value
	}
	return w
}

func (b *browser) get(path string) (int, string) {
	w := b.do(http.MethodGet, path, nil)
	return w.Code, w.Body.String()
}

func (w *world) signIn(code string) *browser {
	w.Helper()
	b := &browser{world: w, address: "192.0.2.1"}
	if r := b.do(http.MethodPost, "/login", url.Values{"code": {code}}); r.Code != http.StatusSeeOther {
		w.Fatalf("sign in: %d, %s", r.Code, r.Body)
	}
	return b
}

// TestRoles: people of the federation see all boxes, those of an association see its own, and others see nothing.
func TestRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nobody, federation, association := &browser{world: w, address: "192.0.2.9"}, w.signIn(federationCode), w.signIn(lilasCode)
	for _, path := range []string{"/", "/attention", "/association/lilas", "/association/roses", "/association/vide", "/box/" + lilas, "/box/" + waiting, "/box/" + roses,
		"/box/" + roses + "/revoke", "/releases", "/releases/rollout", "/sums", "/sums/passerelle.csv"} {
		if code, page := nobody.get(path); code != http.StatusSeeOther || page != "" {
			t.Errorf("GET %s without a login: %d, %s", path, code, page)
		}
		if code, _ := federation.get(path); code != http.StatusOK {
			t.Errorf("GET %s by the federation: %d", path, code)
		}
		want := http.StatusOK
		if strings.Contains(path, "roses") || strings.Contains(path, "vide") || strings.Contains(path, roses) {
			want = http.StatusNotFound
		}
		code, page := association.get(path)
		if code != want {
			t.Errorf("GET %s by an association: %d, want %d", path, code, want)
		}
		if strings.Contains(page, roses) && !strings.Contains(path, roses) || strings.Contains(strings.ToLower(page), "maison des roses") {
			t.Errorf("GET %s shows an association another one's box", path)
		}
	}
	for _, what := range []string{"confirm", "place", "command", "revoke"} {
		form := url.Values{"do": {"pause"}, "words": {strings.Join(words[:], " ")}}
		if r := nobody.do(http.MethodPost, "/box/"+lilas+"/"+what, form); r.Code != http.StatusSeeOther {
			t.Errorf("%s without a login: %d", what, r.Code)
		}
		if r := association.do(http.MethodPost, "/box/"+roses+"/"+what, form); r.Code != http.StatusNotFound {
			t.Errorf("%s of another association's box: %d", what, r.Code)
		}
		if r := federation.do(http.MethodPost, "/box/"+lilas+"/"+what, form, "Sec-Fetch-Site", "cross-site"); r.Code != http.StatusForbidden {
			t.Errorf("%s from another site: %d", what, r.Code)
		}
	}
	if did := w.registry.last(); did != "" {
		t.Errorf("something was done: %s", did)
	}
	if code, _ := federation.get("/association/none"); code != http.StatusNotFound {
		t.Errorf("an association that does not exist: %d", code)
	}

	// A person whose code ends is out at the next page.
	w.registry.mu.Lock()
	delete(w.registry.people, lilasCode)
	w.registry.mu.Unlock()
	if code, _ := association.get("/"); code != http.StatusSeeOther {
		t.Errorf("somebody without a code has the pages: %d", code)
	}
	federation.do(http.MethodPost, "/logout", nil)
	if code, _ := federation.get("/"); code != http.StatusSeeOther {
		t.Errorf("after signing out: %d", code)
	}
}

// TestGuess: the rate of wrong codes is limited, and above the limit not even a right code is tried.
func TestGuess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := &browser{world: w, address: "192.0.2.7"}
	wrong := 0
	for ; wrong < 50; wrong++ {
		if r := b.do(http.MethodPost, "/login", url.Values{"code": {"00000-00000"}}); r.Code == http.StatusTooManyRequests {
			break
		} else if r.Code != http.StatusForbidden {
			t.Fatalf("a wrong code: %d", r.Code)
		}
	}
	if wrong != 5 {
		t.Errorf("%d wrong codes are tried within a minute", wrong)
	}
	if r := b.do(http.MethodPost, "/login", url.Values{"code": {federationCode}}); r.Code != http.StatusTooManyRequests || b.cookie != "" {
		t.Errorf("a code is tried: %d", r.Code)
	}
	w.signIn(federationCode) // from another address
	if r := b.do(http.MethodPost, "/login", url.Values{"code": {strings.Repeat("x", 5000)}}); r.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a huge form: %d", r.Code)
	}
	if r := b.do(http.MethodGet, "/login", nil, "Host", "x"); r.Code != http.StatusOK {
		t.Errorf("the page to sign in: %d", r.Code)
	}
	other := httptest.NewRequest(http.MethodGet, "https://evil.example/", nil)
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, other)
	if answer.Code != http.StatusMisdirectedRequest {
		t.Errorf("another site's name: %d", answer.Code)
	}
	for to, want := range map[string]string{"/box/x": "/box/x", "//evil.example": "/", "https://evil.example/": "/", "/\\evil": "/", "": "/", "javascript:x": "/"} {
		if got := returnPath(to); got != want {
			t.Errorf("after signing in, %q leads to %q", to, got)
		}
	}
}

// TestActions: what a person does with a box is done, and in their name.
func TestActions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signIn(lilasCode)
	for _, test := range []struct {
		box, what string
		form      url.Values
		status    int
		did       string
	}{
		{waiting, "confirm", url.Values{"words": {"abeille bateau citron tigre"}}, http.StatusConflict, ""},
		{waiting, "confirm", url.Values{"words": {strings.Join(words[:], " ")}}, http.StatusSeeOther, "Ana confirms " + waiting},
		{lilas, "command", url.Values{"do": {"pause"}}, http.StatusSeeOther, "Ana asks " + lilas + " of lilas to pause until 2027-03-30T09:00:00Z as Ana"},
		{lilas, "command", url.Values{"do": {"resume"}}, http.StatusSeeOther, "Ana asks " + lilas + " of lilas to resume until 2027-03-30T09:00:00Z as Ana"},
		{lilas, "command", url.Values{"do": {"diagnose"}}, http.StatusSeeOther, "Ana asks " + lilas + " of lilas to diagnose until 2027-03-30T09:00:00Z as Ana"},
		{lilas, "command", url.Values{"do": {"explode"}}, http.StatusBadRequest, ""},
		{waiting, "command", url.Values{"do": {"pause"}}, http.StatusBadRequest, ""},
		{lilas, "place", url.Values{"centre": {" Les Lilas "}, "department": {"2A"}}, http.StatusSeeOther, "Ana places " + lilas + ` in "Les Lilas" 2A`},
		{lilas, "place", url.Values{"centre": {"x"}, "department": {"99"}}, http.StatusBadRequest, ""},
		{lilas, "revoke", nil, http.StatusSeeOther, "Ana revokes " + lilas},
	} {
		before := w.registry.last()
		if test.did == "" {
			test.did = before
		}
		r := b.do(http.MethodPost, "/box/"+test.box+"/"+test.what, test.form)
		if r.Code != test.status || w.registry.last() != test.did {
			t.Errorf("%s %v: %d, did %q, want %d, %q", test.what, test.form, r.Code, w.registry.last(), test.status, test.did)
		}
	}
	w.registry.err = errors.New("no hub leads")
	if r := b.do(http.MethodPost, "/box/"+lilas+"/revoke", nil); r.Code != http.StatusServiceUnavailable || strings.Contains(r.Body.String(), "leads") {
		t.Errorf("the hubs cannot: %d", r.Code)
	}
}

// TestRollout: only people of the federation can raise, halt, resume and abandon the roll-out that they see. The numbers are those of the
// whole fleet.
func TestRollout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	federation, association := w.signIn(federationCode), w.signIn(lilasCode)
	press := func(b *browser, do, number string, headers ...string) int {
		return b.do(http.MethodPost, "/releases/rollout", url.Values{"do": {do}, "number": {number}}, headers...).Code
	}
	for name, code := range map[string]int{
		"an association": press(association, "raise", "7"), "another site": press(federation, "raise", "7", "Sec-Fetch-Site", "cross-site"),
		"no such action": press(federation, "explode", "7"), "no number": press(federation, "raise", ""),
	} {
		if code != http.StatusForbidden {
			t.Errorf("%s: %d", name, code)
		}
	}
	if _, page := association.get("/releases/rollout"); strings.Contains(page, `value="raise"`) || !strings.Contains(page, "Vous ne pouvez rien changer") {
		t.Error("an association has the buttons")
	}
	if code := press(federation, "raise", "6"); code != http.StatusConflict || w.registry.last() != "" {
		t.Errorf("from an older page: %d, %s", code, w.registry.last())
	}
	for i, x := range []struct {
		do     string
		status int
		says   []string
	}{
		{"resume", http.StatusConflict, []string{"La version avance"}},
		{"raise", http.StatusSeeOther, []string{"<strong>Une box sur 10</strong>"}},
		{"raise", http.StatusSeeOther, []string{"<strong>Toutes les box</strong>", "En tout : 3", "Ont la version et vont bien : 2", "Pas encore de réponse : 1", `value="halt"`}},
		{"raise", http.StatusConflict, nil},
		{"halt", http.StatusSeeOther, []string{"La version est arrêtée", `value="resume"`, `value="abandon"`}},
		{"resume", http.StatusSeeOther, []string{"La version avance"}},
		{"halt", http.StatusSeeOther, nil},
		{"abandon", http.StatusSeeOther, []string{"Vous ne pouvez rien changer", "est abandonnée"}},
		{"resume", http.StatusConflict, nil},
	} {
		if code := press(federation, x.do, fmt.Sprint(w.registry.kept.Number)); code != x.status {
			t.Errorf("%d, %s: %d, want %d", i, x.do, code, x.status)
		}
		_, page := federation.get("/releases/rollout")
		for _, s := range x.says {
			if !strings.Contains(plain.Replace(page), s) {
				t.Errorf("%d, %s: the page does not say %s:\n%s", i, x.do, s, page[max(0, strings.Index(page, "<main")):])
			}
		}
	}
	if did := w.registry.last(); did != "Fa: abandon roll-out" {
		t.Errorf("last was done: %s", did)
	}
	for _, why := range stages.Reasons {
		w.registry.kept.Phase, w.registry.kept.Why = registry.Halted, string(why)
		for _, lang := range []string{"fr", "en"} {
			if _, page := federation.get("/releases/rollout?lang=" + lang); strings.Contains(page, "hub.rollout") {
				t.Errorf("%s has no words in %s", why, lang)
			}
		}
	}
	w.registry.kept = registry.Rollout{}
	if code, _ := federation.get("/releases/rollout"); code != http.StatusNotFound {
		t.Errorf("without a roll-out: %d", code)
	}
	if _, page := federation.get("/releases"); strings.Contains(page, "/releases/rollout") {
		t.Error("a link leads to no roll-out")
	}
}

// plain replaces no-break spaces by spaces.
var plain = strings.NewReplacer("\u00a0", " ", "\u202f", " ")

// TestPages: what pages say in both languages, and that they escape texts.
func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signIn(federationCode)
	for path, want := range map[string][]string{
		"/": {`<strong>3</strong> box en tout`, `<strong>1</strong> vont bien`, `<strong>2</strong> sont à regarder`, `<strong>1</strong> attendent`, `Une panne : kernel-fails`, `ne donne plus de nouvelles`, `<circle class="well"`, `<path class="needs"`, "Sans département, donc pas sur la carte"},
		"/attention": {`Maison des Roses`, `La box attend votre accord`, `La box a quitté la version 1.3.0 et repris celle d’avant. Ses pages ne répondaient pas.`,
			`Langues à vérifier`, `Arabe, nombre de box : 1`},
		"/box/" + lilas2:     {`La box a quitté la version 1.3.0`, `Langues à vérifier : Arabe`},
		"/association/lilas": {`Centre des &lt;b&gt;Lilas`, `en panne`, `attend votre accord`},
		"/association/vide":  {`pas encore de box`},
		"/box/" + lilas: {`1.2.0`, `Acceptée par Ana`, `une personne devant la box a décidé autrement`, `<option value="59" selected>59 Nord`, `<td>12</td><td>1 gigaoctet</td>`,
			`Ce que la box a trouvé`, `La box a cherché ce qui ne va pas : aujourd’hui à`, `Passerelle, prêt 2 <span class="small">En panne</span>`,
			`<p>La passerelle … ne répond pas.</p>`, `<li>Redémarrez la box internet, et attendez trois minutes.</li>`, `une chose que ce hub ne connaît pas`,
			`<ul><li>Ce que fait la box</li><li>Horloge</li></ul>`},
		"/box/" + waiting:   {`<li>abeille</li><li>bateau</li><li>citron</li><li>dragon</li>`},
		"/releases":         {`Version 1.2.0`, `Box qui l’ont : 3`, `en panne ou sans nouvelles : 2`, `Box revenues en arrière : 0`, `Rien ne demande`, `href="/releases/rollout"`},
		"/releases/rollout": {`La version 1.2.0, étape par étape`, `La version avance`, `<strong>Une box sur 100</strong>`, `En tout : 0`, `value="raise"`, `value="halt"`},
		"/sums":             {`mars 2027`, `Box : 3`, `51 gigaoctets`},
	} {
		code, page := b.get(path)
		if code != http.StatusOK {
			t.Errorf("GET %s: %d", path, code)
		}
		for _, s := range want {
			if !strings.Contains(plain.Replace(page), s) {
				t.Errorf("%s does not say %s:\n%s", path, s, page[max(0, strings.Index(page, "<main")):])
			}
		}
		for _, lang := range []string{"fr", "en"} {
			r := b.do(http.MethodGet, path+"?lang="+lang, nil)
			for _, flaw := range webtest.Flaws(lang, r.Body.String(), r.Header().Get("Content-Security-Policy")) {
				t.Errorf("%s in %s: %s", path, lang, flaw)
			}
		}
	}
	if r := b.do(http.MethodGet, "/sums/passerelle.csv", nil); !strings.HasPrefix(r.Body.String(), "month,region,association,boxes,days,sessions_at_least,bytes\n2027-03,nord,lilas,2,40,480,40000000000\n2027-03,sud,roses,1,11,132,11000000000\n") {
		t.Errorf("the sums are:\n%s", r.Body)
	}
}

// TestMap: every département has an outline and a position, and the registry knows it.
func TestMap(t *testing.T) {
	t.Parallel()
	if len(departements) != 101 || len(byNumber) != 101 {
		t.Fatalf("%d départements", len(departements))
	}
	path := regexp.MustCompile(`^(M\d+ \d+(l-?\d+[ -]-?\d+|l-?\d+ ?-?\d+)+z)+$`)
	for _, d := range departements {
		if d.Name == "" || d.X <= 0 || d.X >= 1000 || d.Y <= 0 || d.Y >= 1120 || !path.MatchString(d.Path) {
			t.Errorf("%s %s at %g, %g: %s", d.Number, d.Name, d.X, d.Y, d.Path)
		}
	}
	// A hundred boxes of one département do not hide each other.
	var boxes []survey.Box
	for range 100 {
		boxes = append(boxes, survey.Box{Box: registry.Box{Department: "75"}})
	}
	placed := map[dot]bool{}
	for _, d := range dots(boxes, func(survey.Box) string { return "well" }) {
		placed[d] = true
	}
	if len(placed) != 100 {
		t.Errorf("100 boxes are at %d places", len(placed))
	}
}
