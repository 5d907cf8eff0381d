package admin

import (
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
)

// staffPages are staff's pages, besides the desk's own.
var staffPages = []string{
	"/admin/agenda", "/admin/agenda/1", "/admin/board", "/admin/opinion",
	"/admin/poster", "/admin/poster?size=a6", "/admin/poster?size=stickers",
	"/admin/lenders", "/admin/lenders/sheet?name=Fibre+du+centre&month=2026-11", "/admin/lenders/year?year=2026", "/admin/doctor",
	"/desk/guide",
}

// deskSituations are situations of a box for the desk's page.
var deskSituations = []struct {
	name string
	set  func(*state.Status)
}{
	{"sharing", func(*state.Status) {}},
	{"full", func(s *state.Status) {
		s.Hotspot.WiFi = &state.WiFi{SSID: "Partage de Co", AtCapacity: true}
	}},
	{"problems", func(s *state.Status) {
		for _, code := range []state.Code{state.PowerWeak, state.BoardHot, state.DiskFails, state.DiskErrors, state.ChildFails} {
			s.Problems = append(s.Problems, state.NewProblem(code, "error", "no space left on device"))
		}
	}},
	{"weak", func(s *state.Status) {
		s.Donations[0].Rate = &state.Rate{Down: 900_000, Up: 900_000, DownHeld: heldLine, UpHeld: "nothing"}
	}},
	{"paused", func(s *state.Status) { s.State, s.PausedBy = state.Paused, aTechnician }},
	{"paused-by-button", func(s *state.Status) { s.State, s.PausedBy = state.Paused, "the button" }},
	{"paused-by-command", func(s *state.Status) { s.State, s.PausedBy = state.Paused, "the command line" }},
	{"paused-until", func(s *state.Status) {
		s.State, s.PausedBy, s.PauseEnds, s.PausedUntil = state.Paused, "staff", true, s.Tomorrow
	}},
	{"paused-a-day", func(s *state.Status) {
		s.State, s.PausedBy, s.PauseEnds, s.Tomorrow, s.Clock.Trusted = state.Paused, "staff", true, time.Time{}, false
	}},
	{"paused-by-lenders", func(s *state.Status) { s.State = state.Paused }},
	{"closed", func(s *state.Status) { s.State = state.Closed }},
	{"closed-until", func(s *state.Status) { s.State, s.Opens = state.Closed, noon.Add(40*time.Hour) }},
	{"exhausted", func(s *state.Status) { s.State = state.Exhausted }},
	{"exhausted-until", func(s *state.Status) { s.State, s.Resets = state.Exhausted, noon.AddDate(0, 0, 10) }},
	{"offline", func(s *state.Status) { s.State, s.Tomorrow = state.Offline, time.Time{} }},
	{"starting", func(s *state.Status) { s.State = state.Starting }},
	{"fault", func(s *state.Status) { s.State = state.Fault }},
	{"setup", func(s *state.Status) { s.State = state.Setup }},
	{"setup-asked", func(s *state.Status) { s.State, s.Setup = state.Setup, noon.Add(10*time.Minute) }},
}

// in puts the box in a situation.
func (b *fakeBox) in(set func(*state.Status)) {
	s := newFakeBox().status
	s.Tomorrow = time.Date(2026, 11, 22, 8, 30, 0, 0, paris)
	s.Hotspot.WiFi = &state.WiFi{SSID: "Partage de Co - Les Lilas"}
	set(&s)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status = s
}

// TestDeskPage: what the desk's page says about every State, in French. The page is complete in each language.
func TestDeskPage(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.fill()
	_, staff, _ := p.browsers()
	missing := regexp.MustCompile(`staff\.(do|say|state|one|by|problem)[.-]`)
	for _, c := range deskSituations {
		t.Run(c.name, func(t *testing.T) {
			p.box.in(c.set)
			res := staff.get("/desk?lang=fr")
			webtest.Golden(t, "desk-"+c.name, &txtar.Archive{Files: []txtar.File{{Name: "fr", Data: webtest.Gist(res.Code, res.Body.String())}}})
			for _, code := range languages {
				page := staff.get("/desk?lang=" + code).Body.String()
				for _, flaw := range webtest.Flaws(code, page, res.Header().Get("Content-Security-Policy")) {
					t.Error(flaw)
				}
				if key := missing.FindString(page); key != "" || len(page) > 60_000 {
					t.Errorf("in %s, %d bytes: %q is not there", code, len(page), key)
				}
			}
		})
	}
}

// TestStaffLanguages: each of staff's pages is in the browser's language, for all six. It uses no message that only technicians'
// pages have.
func TestStaffLanguages(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.fill()
	p.box.in(func(*state.Status) {})
	nobody, staff, technician := p.browsers()
	for _, code := range languages {
		x, accept := staffCatalog.Language(code), "Accept-Language: "+code
		for _, path := range append([]string{"/desk", "/desk/login", "/admin/settings", "/admin/nothing"}, staffPages...) {
			who, status := staff, http.StatusOK
			switch path {
			case "/desk/login":
				who = nobody
			case "/admin/settings":
				status = http.StatusForbidden
			case "/admin/nothing":
				status = http.StatusNotFound
			}
			res := who.get(path, accept)
			page := res.Body.String()
			if res.Code != status || len(page) > 60_000 || !strings.Contains(page, `<html lang="`+code+`" dir="`+x.Direction+`"`) && path != "/admin/nothing" {
				t.Errorf("%s in %s: %d, %d bytes, begins %.80q", path, code, res.Code, len(page), page)
			}
			for _, flaw := range webtest.Flaws(code, page, res.Header().Get("Content-Security-Policy")) {
				if path != "/admin/nothing" { // that one is a lenders' page, in the box's languages
					t.Errorf("%s: %s", path, flaw)
				}
			}
			if key := unsaid(x, page); key != "" {
				t.Errorf("%s in %s says %q", path, code, key)
			}
		}
		// Answers to forms that say what is wrong.
		for what, res := range map[string]string{
			"a new link": staff.post("/admin/lenders", url.Values{"name": {"Fibre du centre"}}, accept).Body.String(),
			"no title":   staff.post("/admin/agenda", url.Values{"title": {""}}, accept).Body.String(),
			"no answers": staff.post("/admin/opinion", url.Values{"question": {"?"}, "seen": {"0"}}, accept).Body.String(),
			"gone":       staff.post("/admin/board", url.Values{"number": {"999"}, "do": {"show"}}, accept).Body.String(),
			"moved":      staff.post("/admin/agenda/1", url.Values{"version": {"99"}, "do": {"cancel"}}, accept).Body.String(),
			"no form":    staff.post("/desk", url.Values{"do": {"dance"}}, accept).Body.String(),
			"another":    staff.post("/desk", nil, accept, "Sec-Fetch-Site: cross-site").Body.String(),
			"wrong code": nobody.post("/desk/login", url.Values{"code": {code}}, accept).Body.String(),
		} {
			if key := unsaid(x, res); key != "" || !strings.Contains(res, `<html lang="`+code) {
				t.Errorf("%s in %s says %q: %.200s", what, code, key, res)
			}
		}
	}
	if page := technician.get("/desk", "Accept-Language: ar").Body.String(); !strings.Contains(page, `<html lang="fr"`) {
		t.Errorf("a technician's desk is in another language: %.200s", page)
	}
}

// unsaid returns a message key of technicians' or staff's words that a page shows instead of the message.
func unsaid(w *web.Words, page string) string {
	text := words(page)
	for _, key := range technicianKeys() {
		if strings.Contains(text, key) {
			if _, err := w.Message(key); err != nil {
				return key
			}
		}
	}
	return regexp.MustCompile(`\b(staff|notices|asking|dates|event|picture|print|desk-code|lenders|sheets|doctor|step|verdict|loan|guide)\.[a-z-]+`).FindString(text)
}

// technicianKeys returns the keys of the technicians' words that contain a dot.
var technicianKeys = func() func() []string {
	var keys []string
	return func() []string {
		if keys == nil {
			text, err := os.ReadFile("words/fr.toml")
			if err != nil {
				panic(err)
			}
			section := ""
			for line := range strings.SplitSeq(string(text), "\n") {
				if name, ok := strings.CutPrefix(line, "["); ok {
					section = strings.TrimSuffix(name, "]")
				} else if key, _, ok := strings.Cut(line, " = "); ok {
					keys = append(keys, section+"."+key)
				}
			}
		}
		return keys
	}
}()

// TestCapAtDesk: the desk is warned once per period about a loan of which most is used, until somebody dismisses the warning.
func TestCapAtDesk(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.fill()
	_, staff, _ := p.browsers()
	const said = "Fibre du centre » : 83 % du prêt est utilisé"
	used := func(bytes uint64, set ...func(*state.Donation)) {
		p.box.in(func(s *state.Status) {
			d := &s.Donations[0]
			d.Cap, d.Used, d.Left, d.Granted, d.Reserve, d.Margin = 200e9, bytes, 200e9-bytes, 0, 0, 0
			for _, f := range set {
				f(d)
			}
		})
	}
	warned := func() bool { return strings.Contains(text(staff.get("/desk").Body.String()), said) }
	see := url.Values{"do": {seenCap}, "name": {"Fibre du centre"}}
	used(159e9)
	if staff.post("/desk", see); warned() {
		t.Error("warned of 79 %")
	}
	used(167e9)
	for range 2 {
		if !warned() {
			t.Error("not warned of 83 %")
		}
	}
	for _, code := range languages {
		if page := staff.get("/desk", "Accept-Language: "+code).Body.String(); !strings.Contains(page, `name="do" value="seen"`) || !strings.Contains(page, "83") || strings.Contains(page, "staff.cap") {
			t.Errorf("in %s the desk says:\n%s", code, page)
		}
	}
	if res := staff.post("/desk", url.Values{"do": {seenCap}, "name": {"Mairie"}}); res.Code != http.StatusSeeOther || !warned() {
		t.Errorf("another loan’s warning is answered %d", res.Code)
	}
	if res := staff.post("/desk", see); res.Code != http.StatusSeeOther || warned() {
		t.Errorf("the press is answered %d, and the warning stays: %t", res.Code, warned())
	}
	used(170e9)
	if warned() || strings.Contains(text(staff.get("/desk").Body.String()), "85 %") {
		t.Error("warned twice in a period")
	}
	used(167e9, func(d *state.Donation) { d.PeriodStart = d.PeriodStart.AddDate(0, 1, 0) })
	if !warned() {
		t.Error("not warned in the next period")
	}
	staff.post("/desk", see)
	used(20e9, func(d *state.Donation) { d.PeriodStart = d.PeriodStart.AddDate(0, 1, 0) })
	staff.get("/desk")
	used(167e9, func(d *state.Donation) { d.PeriodStart = d.PeriodStart.AddDate(0, 1, 0) })
	if !warned() {
		t.Error("not warned after the cap was raised and mostly used again")
	}
	for what, f := range map[string]func(*state.Donation){
		"spent": func(d *state.Donation) { d.Spent = true }, "over": func(d *state.Donation) { d.Ended = true },
		"lost": func(d *state.Donation) { d.Lost = true }, "without a cap": func(d *state.Donation) { d.Cap = 0 },
	} {
		if used(167e9, f); warned() {
			t.Errorf("warned of a loan that is %s", what)
		}
	}
	if len(p.box.presses) != 0 {
		t.Errorf("the box was told %q", p.box.presses)
	}
}

// TestTiles: tiles that wait for staff come first on their page, whatever the usual order.
func TestTiles(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.fill()
	p.box.in(func(*state.Status) {})
	_, staff, technician := p.browsers()
	doors := regexp.MustCompile(`class="door( waits)?" href="([^"]+)"`)
	order := func() (all []string) {
		for _, m := range doors.FindAllStringSubmatch(staff.get("/desk?lang=fr").Body.String(), -1) {
			all = append(all, strings.TrimSuffix(m[2], "?lang=fr")+m[1])
		}
		return all
	}
	if got := order(); got[0] != "/admin/board waits" || !slices.Contains(got, "/admin/agenda") || !slices.Contains(got, "/admin/opinion") || !slices.Contains(got, "/admin/poster") {
		t.Errorf("the doors are %q", got)
	}
	b, err := p.server.Content.Desk.Board()
	if err != nil || len(b.Waiting()) == 0 {
		t.Fatalf("no notice waits: %v", err)
	}
	for _, n := range b.Waiting() {
		staff.post("/admin/board", url.Values{"number": {strconv.Itoa(n.Number)}, "do": {"show"}})
	}
	if got := order(); slices.Contains(got, "/admin/board waits") {
		t.Errorf("nothing waits, and the doors are %q", got)
	}
	if page := technician.get("/desk").Body.String(); !strings.Contains(page, `href="/admin/settings"`) || !strings.Contains(page, `href="/admin/board"`) {
		t.Errorf("a technician's desk:\n%s", page)
	}
}

// TestTwoDesks: two phones can be signed in at once, and each learns what the other one has done.
func TestTwoDesks(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.fill()
	p.box.in(func(*state.Status) {})
	code, err := p.box.logins.RenewDesk()
	if err != nil {
		t.Fatal(err)
	}
	desk := func(device string) *provider {
		x := *p.technician
		x.cookie, x.device = "", device
		d := &provider{technician: &x, state: p.state}
		if res := d.post("/desk/login", url.Values{"code": {code}}); res.Code != http.StatusSeeOther {
			t.Fatal(res.Code)
		}
		return d
	}
	one, two := desk("10.80.0.31"), desk("10.80.0.32")
	page := two.get("/admin/board").Body.String()
	number := regexp.MustCompile(`name="number" value="(\d+)"`).FindStringSubmatch(page)[1]
	press := url.Values{"number": {number}, "do": {"show"}}
	if res := one.post("/admin/board", press); res.Code != http.StatusSeeOther {
		t.Errorf("the first press is answered %d", res.Code)
	}
	two.says("the second press", two.post("/admin/board", press), http.StatusConflict, "Ce n’est plus là")
	for _, do := range []string{pauseTomorrow, pauseTomorrow, resumeNow, resumeNow} {
		for _, x := range []*provider{one, two} {
			if res := x.post("/desk", url.Values{"do": {do}}); res.Code != http.StatusSeeOther {
				t.Errorf("%s is answered %d", do, res.Code)
			}
		}
	}
	if _, err := p.box.logins.RenewDesk(); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*provider{one, two} {
		if res := x.get("/desk"); res.Code != http.StatusSeeOther {
			t.Errorf("after a new code the desk is answered %d", res.Code)
		}
	}
	if res := p.get("/admin/"); res.Code != http.StatusOK {
		t.Errorf("the technician is answered %d", res.Code)
	}
}

// TestDeskCode: a technician makes, renews and removes the code. It is shown in one response, and is in no log or journal.
func TestDeskCode(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	p := newProvider(t)
	p.server = newServer(p.box, &log)
	shown := regexp.MustCompile(`<bdi dir="ltr">([0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4})</bdi>`)
	if page := p.get(deskCodePath).Body.String(); shown.MatchString(page) || !strings.Contains(page, "Faire un code") {
		t.Errorf("without a code:\n%s", page)
	}
	var codes []string
	for range 2 {
		res := p.post(deskCodePath, url.Values{"do": {"renew"}})
		m := shown.FindStringSubmatch(res.Body.String())
		if m == nil || res.Header().Get("Cache-Control") != "no-store" || !strings.Contains(res.Body.String(), "partage.internal<wbr>/desk") {
			t.Fatalf("a new code is answered %d:\n%s", res.Code, res.Body)
		}
		codes = append(codes, m[1])
		if page := p.get(deskCodePath).Body.String(); shown.MatchString(page) || !strings.Contains(page, "Enlever le code") {
			t.Errorf("the code is shown again:\n%s", page)
		}
	}
	try := func(device, code string) int {
		x := *p.technician
		x.cookie, x.device = "", device
		return x.post(deskSignInPath, url.Values{"code": {code}}).Code
	}
	if a, b := try("10.80.0.41", codes[0]), try("10.80.0.42", codes[1]); a != http.StatusForbidden || b != http.StatusSeeOther {
		t.Errorf("the old code is answered %d, the new one %d", a, b)
	}
	if res := p.post(deskCodePath, url.Values{"do": {"close"}}); res.Code != http.StatusSeeOther {
		t.Errorf("removing is answered %d", res.Code)
	}
	if c := try("10.80.0.43", codes[1]); c != http.StatusForbidden {
		t.Errorf("the removed code is answered %d", c)
	}
	x := *p.technician
	x.cookie = ""
	if page := x.get(deskSignInPath).Body.String(); strings.Contains(page, `name="code"`) || !strings.Contains(page, "pas de code") {
		t.Errorf("the desk without a code:\n%s", page)
	}
	for _, e := range p.box.journal.all {
		for _, code := range codes {
			if strings.Contains(string(e.What)+strings.Join(e.Keys, " "), code) {
				t.Errorf("noted %+v", e)
			}
		}
	}
	if got := p.noted(); !slices.Equal(got, []string{"desk-code", "desk-code", "desk-shut"}) {
		t.Errorf("noted %q", got)
	}
	for _, code := range codes {
		if strings.Contains(log.String(), code) || strings.Contains(log.String(), strings.ReplaceAll(code, "-", "")) {
			t.Errorf("logged: %s", log.String())
		}
	}
}

// TestDeskAccess: while technicians' pages are closed, the desk is open to staff, but not to technicians.
func TestDeskAccess(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.fill()
	p.box.in(func(*state.Status) {})
	_, staff, technician := p.browsers()
	for _, access := range []string{"wired", "button"} {
		p.box.access = config.Access(access)
		staff.local, technician.local = "10.80.0.1", "10.80.0.1"
		for _, path := range append([]string{"/desk"}, staffPages...) {
			if res := staff.get(path); res.Code != http.StatusOK {
				t.Errorf("%s: %s for staff: %d", access, path, res.Code)
			}
			if res := technician.get(path); res.Code != http.StatusSeeOther || !strings.HasPrefix(res.Header().Get("Location"), deskSignInPath) {
				t.Errorf("%s: %s for a technician: %d", access, path, res.Code)
			}
		}
		if res := technician.get(deskSignInPath); res.Code != http.StatusOK {
			t.Errorf("%s: staff cannot sign in in a technician's browser: %d", access, res.Code)
		}
		if res := technician.get("/admin/"); res.Code != http.StatusForbidden {
			t.Errorf("%s: a technician is answered %d", access, res.Code)
		}
	}
	// The desk also exists on an uplink's own network, where the centre's computers are.
	p.box.access = config.Access("anywhere")
	staff.local = "192.168.1.20"
	if res := staff.get("/desk", "Host: 192.168.1.20"); res.Code != http.StatusOK {
		t.Errorf("on a connection's network: %d", res.Code)
	}
}

// TestCancelInList: a date of an event, and an event that takes place once, are cancelled and restored on the agenda's own page. An
// event that somebody else has changed in the meantime is not.
func TestCancelInList(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.fill()
	p.box.in(func(*state.Status) {})
	_, staff, _ := p.browsers()
	staff.post("/admin/agenda", url.Values{"title": {"Fête d’hiver"}, "on": {"2026-12-12"}, "every": {"once"}})
	button := func(do, name string) (path string, form url.Values) {
		t.Helper()
		page := staff.get("/admin/agenda").Body.String()
		for _, m := range regexp.MustCompile(`(?s)<form method="post" action="([^"]+)">(.*?)</form>`).FindAllStringSubmatch(page, -1) {
			if strings.Contains(m[2], `value="`+do+`"`) && strings.Contains(m[2], name) {
				form = url.Values{"do": {do}}
				for _, in := range regexp.MustCompile(`name="(version|day)" value="([^"]*)"`).FindAllStringSubmatch(m[2], -1) {
					form.Set(in[1], in[2])
				}
				return m[1], form
			}
		}
		t.Fatalf("no button to %s %s:\n%s", do, name, page)
		return "", nil
	}
	for _, name := range []string{"Café numérique, mercredi 2", "Fête d’hiver"} {
		path, form := button("cancel", name)
		if res := staff.post(path, form); res.Code != http.StatusSeeOther {
			t.Errorf("%s: %v is answered %d", name, form, res.Code)
		}
		staff.says("a second press", staff.post(path, form), http.StatusConflict, "Quelqu’un d’autre")
		path, form = button("restore", name)
		if res := staff.post(path, form); res.Code != http.StatusSeeOther {
			t.Errorf("%s: %v is answered %d", name, form, res.Code)
		}
		button("cancel", name)
	}
	button("restore", "mercredi 9") // it was cancelled before, and still is
	own, err := p.server.Content.Desk.Agenda().Own()
	if err != nil || len(own.Events) != 2 || own.Events[1].Off || len(own.Events[0].Days) != 1 {
		t.Errorf("the events are %+v, %v", own.Events, err)
	}
}
