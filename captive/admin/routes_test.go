package admin

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"passerelle/appliance/config"
)

// Routes that are not only for technicians. A new route for others must be added here.
var (
	// Routes for everybody: they show nothing private, or know the reader by a secret in the path, or ask for a secret.
	openRoutes = []string{
		"/", "GET /{$}", "GET /accessibility",
		"GET /lender/{token}", "POST /lender/{token}/pause", "POST /lender/{token}/tomorrow", "POST /lender/{token}/resume",
		"POST /lender/{token}/cap", "POST /lender/{token}/figure", "GET /lender/{token}/stop", "POST /lender/{token}/stop",
		"GET /admin/login", "POST /admin/login", "GET /desk/login", "POST /desk/login",
		"GET /lend", "GET /lend/phone", "POST /lend/phone", "GET /lend/phone/{id}",
	}
	// Routes for staff and technicians.
	staffRoutes = []string{
		"GET /desk", "GET /desk/{$}", "POST /desk", "POST /admin/logout",
		"GET /admin/agenda", "POST /admin/agenda", "GET /admin/agenda/{number}", "POST /admin/agenda/{number}",
		"GET /admin/board", "POST /admin/board",
		"GET /admin/opinion", "POST /admin/opinion", "POST /admin/opinion/close", "GET /admin/opinion/results/{file}",
		"GET /admin/poster", "GET /admin/poster/{file}", "GET /desk/guide",
		"GET /admin/loans", "POST /admin/loans/photo", "POST /admin/loans/text", "POST /admin/loans/listen",
		"GET /admin/loans/cable", "POST /admin/loans/cable", "GET /admin/loans/{id}", "POST /admin/loans/{id}",
		"GET /admin/lenders", "POST /admin/lenders", "GET /admin/lenders/sheet", "GET /admin/lenders/sheet/{file}",
		"GET /admin/lenders/year", "GET /admin/lenders/year/{file}",
		"GET /admin/doctor", "POST /admin/doctor",
	}
)

// browsers returns three browsers at the same box: one without a login, one of staff, and one of a technician.
func (p *provider) browsers() (nobody, staff, technician *provider) {
	p.t.Helper()
	code, err := p.box.logins.RenewDesk()
	if err != nil {
		p.t.Fatal(err)
	}
	one := func() *provider {
		x := *p.technician
		x.cookie = ""
		return &provider{technician: &x, state: p.state}
	}
	nobody, staff = one(), one()
	if res := staff.post(deskSignInPath, url.Values{"code": {code}}); res.Code != http.StatusSeeOther || res.Header().Get("Location") != deskPath {
		p.t.Fatalf("the desk's code is answered %d to %s", res.Code, res.Header().Get("Location"))
	}
	return nobody, staff, p
}

// request sends a request to a route.
func (p *provider) request(pattern string, headers ...string) *httptest.ResponseRecorder {
	method, path, ok := strings.Cut(pattern, " ")
	if !ok {
		method, path = http.MethodGet, pattern
	}
	path = strings.NewReplacer(
		"{$}", "", "{number}", "1", "{file}", "results.csv", "{step}", "centre", "{group}", "limits", "{token}", token,
	).Replace(path)
	if strings.Contains(path, "poster/") {
		path = "/admin/poster/a4.pdf"
	}
	switch {
	case strings.HasSuffix(path, "/upload"):
		return p.upload(strings.Split(path, "/")[2], "a.csv", firstList, nil, headers...)
	case method == http.MethodPost:
		return p.post(path, url.Values{"name": {"a"}, "edition": {"none"}}, headers...)
	}
	return p.get(path, headers...)
}

// TestRoutes: each route answers the roles that may use it, and nobody else. A technician may use all, staff the desk's, and a
// browser without a login is sent to the page to sign in.
func TestRoutes(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.fill()
	p.server = newServer(p.box, os.Stderr)
	nobody, staff, technician := p.browsers()
	for _, list := range [][]string{openRoutes, staffRoutes} {
		for _, pattern := range list {
			if !slices.Contains(p.server.patterns, pattern) {
				t.Errorf("there is no route %s", pattern)
			}
		}
	}
	if len(p.server.patterns) < 60 {
		t.Errorf("there are %d routes: they are elsewhere", len(p.server.patterns))
	}
	signIn := func(res *httptest.ResponseRecorder, door string) bool {
		return res.Code == http.StatusSeeOther && strings.HasPrefix(res.Header().Get("Location"), door)
	}
	for _, pattern := range p.server.patterns {
		if slices.Contains(openRoutes, pattern) {
			continue
		}
		door, staffs := signInPath, slices.Contains(staffRoutes, pattern)
		if staffs {
			door = deskSignInPath
		}
		before := len(p.box.presses) + len(p.box.journal.all)
		if res := nobody.request(pattern); !signIn(res, door) {
			t.Errorf("%s without a login: %d to %s", pattern, res.Code, res.Header().Get("Location"))
		}
		for what, cookie := range map[string]string{"a chosen cookie": "AAAA", "a part of one": technician.cookie[:20]} {
			x := *nobody.technician
			x.cookie = cookie
			if res := (&provider{technician: &x}).request(pattern); !signIn(res, door) {
				t.Errorf("%s with %s: %d", pattern, what, res.Code)
			}
		}
		if !staffs {
			if res := staff.request(pattern); res.Code != http.StatusForbidden || !strings.Contains(res.Body.String(), `href="/desk"`) {
				t.Errorf("%s in staff's browser: %d", pattern, res.Code)
			}
		}
		if strings.HasPrefix(pattern, "POST ") {
			for _, x := range []*provider{staff, technician} {
				if res := x.request(pattern, "Origin: https://evil.example", "Sec-Fetch-Site: cross-site"); res.Code != http.StatusForbidden {
					t.Errorf("%s from another site: %d", pattern, res.Code)
				}
			}
		}
		if after := len(p.box.presses) + len(p.box.journal.all); after != before {
			t.Errorf("%s changed something", pattern)
		}
	}
	// Roles that may use a route get its answer. This comes last, since some routes end logins or remove files.
	for _, pattern := range p.server.patterns {
		if slices.Contains(openRoutes, pattern) || pattern == "POST /admin/logout" {
			continue
		}
		all := []*provider{technician}
		if slices.Contains(staffRoutes, pattern) {
			all = append(all, staff)
		}
		for _, x := range all {
			res := x.request(pattern)
			if res.Code == http.StatusForbidden || signIn(res, signInPath) || signIn(res, deskSignInPath) {
				if !strings.Contains(pattern, "password") { // a wrong password is answered with 403, too
					t.Errorf("%s: %d to %s", pattern, res.Code, res.Header().Get("Location"))
				}
			}
		}
	}
	// An unknown role may use nothing.
	p.server.roleOf = func(string) (config.Role, bool) { return "somebody", true }
	for _, pattern := range p.server.patterns {
		if res := technician.request(pattern); !slices.Contains(openRoutes, pattern) && res.Code != http.StatusForbidden {
			t.Errorf("%s for another role: %d", pattern, res.Code)
		}
	}
}

// TestOneDoor: all code registers routes with handle, so that TestRoutes knows all of them.
func TestOneDoor(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	doors := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(file, "_test.go") {
			doors += len(regexp.MustCompile(`routes\.Handle`).FindAll(text, -1))
		}
	}
	if doors != 1 {
		t.Errorf("routes are registered in %d places", doors)
	}
}

// TestStaffSignIn: staff sign in with nothing but the desk's code, get to the page that they asked for, and sign out. A technician
// opens the same pages with the password. The code opens no technicians' page, and another site cannot sign in for them.
func TestStaffSignIn(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	nobody, _, _ := p.browsers()
	code, err := p.box.logins.RenewDesk()
	if err != nil {
		t.Fatal(err)
	}
	if res := nobody.get("/admin/board"); res.Header().Get("Location") != "/desk/login?to=%2Fadmin%2Fboard" {
		t.Errorf("a page of the desk leads to %s", res.Header().Get("Location"))
	}
	if res := nobody.get("/desk", "Sec-Fetch-Site: cross-site"); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), `href="/desk"`) {
		t.Errorf("from the residents' pages: %d", res.Code)
	}
	for _, wrong := range []string{"", password, "0000-0000"} {
		if res := nobody.post(deskSignInPath, url.Values{"code": {wrong}}); res.Code == http.StatusSeeOther || nobody.cookie != "" {
			t.Errorf("the code %q is answered %d", wrong, res.Code)
		}
	}
	if res := nobody.post(deskSignInPath, url.Values{"code": {code}}); res.Code != http.StatusTooManyRequests {
		t.Errorf("the right code after wrong ones is answered %d", res.Code)
	}
	staff := nobody
	staff.device = "10.80.0.24"
	for what, headers := range map[string][]string{
		"another site's form":   {"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"},
		"the residents' pages'": {"Origin: http://partage.internal", "Sec-Fetch-Site: same-site"},
	} {
		if res := staff.post(deskSignInPath, url.Values{"code": {code}}, headers...); res.Code != http.StatusForbidden || staff.cookie != "" {
			t.Errorf("%s is answered %d", what, res.Code)
		}
	}
	if res := staff.post(signInPath, url.Values{"password": {code}}); res.Code != http.StatusForbidden || staff.cookie != "" {
		t.Errorf("the code at the technicians' door is answered %d", res.Code)
	}
	res := staff.post(deskSignInPath, url.Values{"code": {" " + strings.ToLower(code)}, "to": {"/admin/board"}})
	if res.Code != http.StatusSeeOther || res.Header().Get("Location") != "/admin/board" {
		t.Fatalf("the code is answered %d to %s", res.Code, res.Header().Get("Location"))
	}
	if c := res.Result().Cookies()[0]; !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Domain != "" {
		t.Errorf("the cookie is %v", c)
	}
	if page := staff.get("/admin/settings").Body.String(); !strings.Contains(page, "n’est pas pour l’accueil") {
		t.Errorf("a technicians' page says:\n%s", page)
	}
	if res := staff.get(signInPath); res.Code != http.StatusOK {
		t.Errorf("a technician cannot sign in on the desk's phone: %d", res.Code)
	}
	if res := p.get(deskSignInPath); res.Header().Get("Location") != deskPath {
		t.Errorf("a technician who is signed in is led to %s", res.Header().Get("Location"))
	}
	staff.post(deskPath, url.Values{"do": {pauseNow}})
	p.post(deskPath, url.Values{"do": {resumeNow}})
	if got := strings.Join(p.box.presses, ", "); got != "staff pauses sharing, sharing resumes" {
		t.Errorf("the box was told %q", got)
	}
	if all := p.box.journal.all; all[len(all)-2].By != config.RoleStaff || all[len(all)-1].By != config.RoleTechnician {
		t.Errorf("noted %+v", all)
	}
	if page := p.get("/admin/journal").Body.String(); !strings.Contains(page, "À l’accueil") {
		t.Errorf("the journal does not say who paused:\n%s", page)
	}
	if res := staff.post("/admin/logout", nil); res.Header().Get("Location") != deskSignInPath {
		t.Errorf("signing out leads to %s", res.Header().Get("Location"))
	}
	if res := staff.get(deskPath); res.Code != http.StatusSeeOther {
		t.Errorf("after signing out: %d", res.Code)
	}
}
