package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/rogpeppe/go-internal/txtar"

	"passerelle/appliance/config"
	"passerelle/appliance/doctor"
	"passerelle/appliance/state"
	"passerelle/captive/admin/login"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// fakeDoctor returns a fixed result, or none.
type fakeDoctor struct {
	found    *state.Diagnosis
	log      []state.LogEntry
	err      error
	searches int
}

func (f *fakeDoctor) Search() {
	f.searches++
	f.found = &state.Diagnosis{Began: noon, Running: true, Steps: []state.Finding{
		doctor.NewFinding(state.StepBox, "box-sharing"), {Step: state.StepDisk},
	}}
}

func (f *fakeDoctor) Diagnosis() (d state.Diagnosis, ok bool) {
	if f.found == nil {
		return d, false
	}
	return *f.found, true
}

func (f *fakeDoctor) RecentLog() []state.LogEntry { return f.log }

func (f *fakeDoctor) Support(context.Context) ([]byte, error) { return []byte("PK"), f.err }

// of returns a finding of a donation.
func of(name string, f state.Finding) state.Finding {
	f.Of = name
	return f
}

// found returns a diagnosis after a cable was pulled.
func found() *state.Diagnosis {
	const fibre = "Fibre du centre"
	d := &state.Diagnosis{Began: noon.Add(-time.Minute), Took: 4321, Bytes: 2345, Steps: []state.Finding{
		doctor.NewFinding(state.StepBox, "box-offline"),
		of(fibre, doctor.NewFinding(state.StepInterface, "interface-ok", "interface", "eth0", "kind", ": network cable")),
		of(fibre, doctor.NewFinding(state.StepLink, "link-unplugged", "interface", "eth0")),
		of(fibre, doctor.NewFinding(state.StepAddress, "not-after", "step", "link")),
		doctor.NewFinding(state.StepRadio, "radio-off", "why", "wlan0 does not exist"),
		doctor.NewFinding(state.StepDisk, "disk-ok", "room", "20000000000", "total", "29000000000", "took", "12"),
		{Step: state.StepLights, Verdict: state.Warn, Code: "of-another-release", Saw: "A light is blue.", Do: "Paint it."},
	}}
	d.Verdict = d.Worst()
	return d
}

// TestDoctor compares the page before, during and after a diagnosis with its golden file.
func TestDoctor(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(*fakeDoctor){
		"new":     func(*fakeDoctor) {},
		"running": (*fakeDoctor).Search,
		"well": func(f *fakeDoctor) {
			f.found = &state.Diagnosis{Began: noon, Steps: []state.Finding{doctor.NewFinding(state.StepBox, "box-sharing")}}
		},
		"found": func(f *fakeDoctor) {
			f.found = found()
			f.log = []state.LogEntry{
				{At: noon.Add(-2 * time.Minute), Level: "INFO", Code: "state", Args: map[string]string{"state": "offline", "why": "eth0 has no link"}},
				{At: noon.Add(-time.Minute), Level: "INFO", Code: "uplink-probed", Args: map[string]string{"interface": "eth0", "works": "false", "why": "eth0 has no link"}},
				{At: noon, Level: "WARN", Code: "of-another-release", Text: "the moon is full: phase 1"},
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := signedIn(t)
			fake := &fakeDoctor{}
			f(fake)
			x.server.Doctor = fake
			got := new(txtar.Archive)
			for _, lang := range []string{"fr", "en"} {
				res := x.get(doctorPath, "Accept-Language: "+lang)
				if refresh := strings.Contains(res.Body.String(), `http-equiv="refresh"`); refresh != (name == "running") {
					t.Errorf("%s: the page refreshes itself: %t", lang, refresh)
				}
				got.Files = append(got.Files, txtar.File{Name: lang, Data: webtest.Gist(res.Code, res.Body.String())})
			}
			webtest.Golden(t, "doctor-"+name, got)
		})
	}
}

// TestDoctorAtMost: with twelve donations and a long log the page takes at most 60 kB on the wire.
func TestDoctorAtMost(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	fake := &fakeDoctor{found: found()}
	line := slices.Clone(fake.found.Steps[1:4])
	for i := range 12 {
		for _, f := range line {
			fake.found.Steps = append(fake.found.Steps, of(fmt.Sprint("Téléphone ", i), f))
		}
	}
	for i := range 500 {
		fake.log = append(fake.log, state.LogEntry{At: noon, Level: "WARN", Text: fmt.Sprintf("line %d: %s", i, strings.Repeat("long ", 60))})
	}
	x.server.Doctor = fake
	res := x.get(doctorPath, "Accept-Encoding: gzip")
	if n := res.Body.Len(); res.Code != http.StatusOK || n > 60_000 {
		t.Errorf("%d, %d bytes", res.Code, n)
	}
}

// TestSearchByPress: only a button starts a diagnosis, and only for somebody who is signed in. The support file needs a login, too.
func TestSearchByPress(t *testing.T) {
	t.Parallel()
	x := newTechnician(t)
	fake := &fakeDoctor{}
	x.server.Doctor = fake
	for _, stranger := range []struct {
		res  *httptest.ResponseRecorder
		door string
	}{{x.get(doctorPath), deskSignInPath}, {x.post(doctorPath, nil), deskSignInPath}, {x.get(supportPath), signInPath}} {
		if to := stranger.res.Header().Get("Location"); stranger.res.Code != http.StatusSeeOther || !strings.HasPrefix(to, stranger.door) {
			t.Errorf("a stranger is answered %d to %q, want %s", stranger.res.Code, to, stranger.door)
		}
	}
	y := signedIn(t)
	y.server.Doctor = fake
	y.get(doctorPath)
	if r := y.post(doctorPath, nil, "Sec-Fetch-Site: cross-site"); r.Code != http.StatusForbidden || fake.searches != 0 {
		t.Errorf("another site's press is answered %d, %d searches", r.Code, fake.searches)
	}
	if r := y.post(doctorPath+"?lang=en", nil); r.Code != http.StatusSeeOther || r.Header().Get("Location") != doctorPath+"?lang=en" || fake.searches != 1 {
		t.Errorf("a press is answered %d to %q, %d searches", r.Code, r.Header().Get("Location"), fake.searches)
	}
	if r := y.get(supportPath); r.Code != http.StatusOK || r.Body.String() != "PK" || r.Header().Get("Content-Type") != "application/zip" {
		t.Errorf("the file: %d, %q, %v", r.Code, r.Body, r.Header())
	}
	fake.err = errors.New("no memory")
	if r := y.get(supportPath); r.Code != http.StatusInternalServerError {
		t.Errorf("a file that cannot be made is answered %d", r.Code)
	}
	y.server.roleOf = func(string) (config.Role, bool) { return "visitor", true }
	for pattern, route := range doctorRoutes {
		method, path, _ := strings.Cut(pattern, " ")
		if r := y.send(httptest.NewRequest(method, "https://partage.internal"+path, nil), "Sec-Fetch-Site: same-origin"); r.Code != http.StatusForbidden {
			t.Errorf("%s, whose duty is %s, is answered %d to a role without duties", pattern, route.duty, r.Code)
		}
	}
}

// TestDoctorWords: each code of the doctor has words in the languages of its readers. The words use only arguments that the doctor
// gives, and say what to do if the doctor does. Codes that only the command finds, without a daemon, have words for technicians
// only.
func TestDoctorWords(t *testing.T) {
	t.Parallel()
	argument := regexp.MustCompile(`\{[a-z]+\}`)
	stopped := regexp.MustCompile(`^(daemon|config|ports)-|^not-running$`)
	for _, language := range languages {
		for code, english := range doctor.Codes() {
			of := staffCatalog
			if stopped.MatchString(string(code)) {
				if of = catalog; language != "fr" && language != "en" {
					continue
				}
			}
			w := of.Language(language)
			text, err := w.Message("found." + string(code))
			if err != nil {
				t.Errorf("%s: %v", w.Code, err)
				continue
			}
			for _, name := range argument.FindAllString(text, -1) {
				if !strings.Contains(english, name) {
					t.Errorf("%s: %s: the doctor gives no %s", w.Code, code, name)
				}
			}
			f := doctor.NewFinding(state.StepBox, code)
			if x := newFound(w, f, true); (f.Do != "") != (len(x.Do) > 0) || len(x.Saw) == 0 {
				t.Errorf("%s: %s: saw %q, do %q", w.Code, code, x.Saw, x.Do)
			}
		}
	}
}

// TestDoctorAtDesk: staff can run a diagnosis, too, and see its steps in their languages. They see neither the box's English texts
// nor its log nor the support file.
func TestDoctorAtDesk(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	fake := &fakeDoctor{found: found(), log: []state.LogEntry{{At: noon, Level: "WARN", Text: "the moon is full"}}}
	p.server.Doctor = fake
	_, staff, technician := p.browsers()
	got := new(txtar.Archive)
	for _, lang := range languages {
		res := staff.get(doctorPath, "Accept-Language: "+lang)
		page := res.Body.String()
		for _, secret := range []string{"does not exist", "the moon is full", supportPath, "/admin/settings"} {
			if strings.Contains(page, secret) {
				t.Errorf("in %s staff see %q", lang, secret)
			}
		}
		for _, flaw := range webtest.Flaws(lang, page, res.Header().Get("Content-Security-Policy")) {
			t.Error(flaw)
		}
		got.Files = append(got.Files, txtar.File{Name: lang, Data: webtest.Gist(res.Code, page)})
	}
	webtest.Golden(t, "doctor-desk", got)
	if page := technician.get(doctorPath).Body.String(); !strings.Contains(page, "wlan0 does not exist") || !strings.Contains(page, supportPath) {
		t.Errorf("a technician sees:\n%s", page)
	}
	if res := staff.post(doctorPath, nil); res.Code != http.StatusSeeOther || fake.searches != 1 {
		t.Errorf("a press at the desk is answered %d, %d searches", res.Code, fake.searches)
	}
}

// A technician runs a diagnosis in a real browser with scripts off, on a narrow screen: the page reloads itself until the end. Then
// the page is judged before, during and after a diagnosis.
func TestDoctorWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	var err error
	if b.logins, err = login.Open(t.TempDir(), time.Now); err != nil {
		t.Fatal(err)
	}
	code := b.logins.Code()
	handler := newServer(b, io.Discard)
	fake := &slowDoctor{}
	handler.Doctor = fake
	v := visit(t, handler, 320)
	v.enters("/admin/login", code, `.loans`)
	v.press(`a[href^="/admin/doctor"]`, `form[action^="/admin/doctor"] button`)
	v.press(`form[action^="/admin/doctor"] button`, `.v-fault`)
	v.fits()
	if title := v.text(`h1`); title != "La cause\u00a0: Lien" {
		t.Errorf("the title is %q", title)
	}
	for _, scene := range []string{"new", "found", "running"} {
		fake.set(scene)
		for _, code := range []string{"fr", "en"} {
			v.judgedIn(doctorPath+"?hold=1", code, scene == "found")
			v.does(chromedp.Navigate(v.site + doctorPath + "?hold=1&lang=" + code))
			shootHere(t, v.ctx, "doctor-"+scene+"-"+code)
		}
	}
}

// slowDoctor ends a diagnosis once the page was loaded twice during it.
type slowDoctor struct {
	fakeDoctor
	looks int
	fixed bool
}

func (f *slowDoctor) Diagnosis() (state.Diagnosis, bool) {
	if f.found != nil && f.found.Running && !f.fixed {
		if f.looks++; f.looks > 2 {
			f.found = found()
		}
	}
	return f.fakeDoctor.Diagnosis()
}

func (f *slowDoctor) set(scene string) {
	f.fixed = true
	switch scene {
	case "new":
		f.found = nil
	case "found":
		f.found = found()
		f.log = []state.LogEntry{{At: noon, Level: "WARN", Code: "problem", Args: map[string]string{"error": "eth0 has no link"}}}
	default:
		f.Search()
	}
}
