package admin

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"passerelle/captive/admin/login"
)

// password is the technician's in these tests.
const password = "les lilas en mai"

// technician is a technician's browser, which has no cookies at first.
type technician struct {
	t      *testing.T
	box    *fakeBox
	server *Server
	cookie string
	local  string // the box's address that the connection reaches; "" for unknown
	device string // the browser's address; "" for the default
}

// newTechnician returns a technician whose box still has its setup code.
func newTechnician(t *testing.T) *technician {
	t.Helper()
	b := newFakeBox()
	var err error
	if b.logins, err = login.Open(t.TempDir(), time.Now); err != nil {
		t.Fatal(err)
	}
	return &technician{t: t, box: b, server: newServer(b, io.Discard)}
}

// signedIn returns a technician who has chosen the password, and is signed in.
func signedIn(t *testing.T) *technician {
	t.Helper()
	x := newTechnician(t)
	if res := x.post("/admin/login", url.Values{"code": {x.box.logins.Code()}, "password": {password}}); res.Code != http.StatusSeeOther {
		t.Fatalf("the setup code is answered %d: %s", res.Code, res.Body)
	}
	return x
}

func (x *technician) get(path string, headers ...string) *httptest.ResponseRecorder {
	x.t.Helper()
	return x.send(httptest.NewRequest(http.MethodGet, "https://partage.internal"+path, nil), headers...)
}

// post sends a form as a browser does from one of our pages.
func (x *technician) post(path string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	x.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "https://partage.internal"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return x.send(r, headers...)
}

func (x *technician) send(r *http.Request, headers ...string) *httptest.ResponseRecorder {
	x.t.Helper()
	r.RemoteAddr = cmp.Or(x.device, "10.80.0.23") + ":40000"
	if x.local != "" {
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(x.local), Port: 443}))
	}
	if x.cookie != "" {
		r.Header.Set("Cookie", cookie+"="+x.cookie)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	x.server.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.Name == cookie {
			x.cookie = c.Value
		}
	}
	return w
}

// TestSignIn: a technician chooses the password with the code. From then on the password alone opens the pages, and leads to the
// page that was requested.
func TestSignIn(t *testing.T) {
	t.Parallel()
	x := newTechnician(t)
	if res := x.get("/admin/"); res.Code != http.StatusSeeOther || res.Header().Get("Location") != "/admin/login" {
		t.Errorf("without a login: %d to %s", res.Code, res.Header().Get("Location"))
	}
	if page := x.get("/admin/login").Body.String(); !strings.Contains(page, `name="code"`) {
		t.Errorf("the first page has no field for the code:\n%s", page)
	}
	for _, form := range []url.Values{
		{"code": {""}, "password": {password}}, {"code": {"0000-0000"}, "password": {""}}, {"password": {password}}, {},
	} {
		if res := x.post("/admin/login", form); res.Code == http.StatusSeeOther || x.cookie != "" {
			t.Errorf("%v is answered %d", form, res.Code)
		}
	}
	x = signedIn(t)
	if page := x.get("/admin/").Body.String(); !strings.Contains(page, "Le partage marche") || !strings.Contains(page, "Fibre du centre") {
		t.Errorf("the home page:\n%s", page)
	}
	if page := x.get("/admin/?lang=en").Body.String(); !strings.Contains(page, "Sharing works") {
		t.Errorf("the home page in English:\n%s", page)
	}
	first := x.cookie
	if res := x.post("/admin/logout", nil); res.Code != http.StatusSeeOther {
		t.Errorf("signing out is answered %d", res.Code)
	}
	x.cookie = first
	if res := x.get("/admin/password"); res.Header().Get("Location") != "/admin/login?to=%2Fadmin%2Fpassword" {
		t.Errorf("after signing out: %d to %s", res.Code, res.Header().Get("Location"))
	}
	if page := x.get("/admin/login").Body.String(); strings.Contains(page, `name="code"`) {
		t.Error("the code is asked for again")
	}
	res := x.post("/admin/login", url.Values{"password": {password}, "to": {"/admin/password"}})
	if res.Code != http.StatusSeeOther || res.Header().Get("Location") != "/admin/password" || x.cookie == first {
		t.Errorf("the password is answered %d to %s", res.Code, res.Header().Get("Location"))
	}
	c := res.Result().Cookies()[0]
	if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("the cookie is %v", c)
	}
}

// TestDoors tries to get in without the password, or to make a technician's browser do something.
func TestDoors(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	mine := x.cookie
	for what, c := range map[string]string{"no cookie": "", "a chosen one": "AAAA", "a part of one": mine[:20], "one more letter": mine + "A"} {
		x.cookie = c
		for pattern := range techRoutes {
			method, path, _ := strings.Cut(strings.TrimSuffix(pattern, "{$}"), " ")
			res := x.get(path)
			if method == http.MethodPost {
				res = x.post(path, nil)
			}
			if res.Code != http.StatusSeeOther || !strings.HasPrefix(res.Header().Get("Location"), "/admin/login") {
				t.Errorf("%s: %s is answered %d", what, pattern, res.Code)
			}
		}
	}
	x.cookie = mine
	for what, headers := range map[string][]string{
		"another site's form":     {"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"},
		"the residents' pages'":   {"Origin: http://partage.internal", "Sec-Fetch-Site: same-site"},
		"an old browser's":        {"Origin: https://evil.example", "Sec-Fetch-Site: "},
		"a page without origin's": {"Origin: null", "Sec-Fetch-Site: cross-site"},
	} {
		for _, path := range []string{"/admin/pause", "/admin/login", "/admin/logout", "/admin/password"} {
			if res := x.post(path, url.Values{"password": {password}}, headers...); res.Code != http.StatusForbidden {
				t.Errorf("%s to %s is answered %d", what, path, res.Code)
			}
		}
	}
	if res := x.get("/admin/", "Host: rebind.evil.example"); res.Code != http.StatusMisdirectedRequest {
		t.Errorf("under another name: %d", res.Code)
	}
	for _, path := range []string{"/admin/../lender/x", "/admin//", "/admin/nothing", "/admin/%2e%2e/etc/passwd", "/admin"} {
		if res := x.get(path); res.Code == http.StatusOK {
			t.Errorf("%s is answered %d", path, res.Code)
		}
	}
	if len(x.box.presses) > 0 {
		t.Errorf("the box was told %q", x.box.presses)
	}
	for _, to := range []string{"https://evil.example/", "//evil.example/admin/", "/admin//evil.example", "javascript:alert(1)", "/lender/x", "/admin/\\evil", "\x00"} {
		if got := returnPath(to, adminPath); got != adminPath {
			t.Errorf("after signing in %q leads to %q", to, got)
		}
	}
	// For a link from another page, such as the residents' on plain http, the browser does not send the cookie at first.
	x.cookie = ""
	if res := x.get("/admin/", "Sec-Fetch-Site: cross-site"); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), `href="/admin/"`) {
		t.Errorf("from another page: %d", res.Code)
	}
}

// TestPresses: a technician pauses, resumes, and confirms the clock and a change.
func TestPresses(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	x.box.status.Clock.Trusted = false
	x.box.until = noon.Add(2 * time.Minute)
	page := x.get("/admin/").Body.String()
	for _, want := range []string{`action="/admin/pause"`, `action="/admin/clock"`, `action="/admin/confirm"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in:\n%s", want, page)
		}
	}
	for _, path := range []string{"/admin/pause", "/admin/resume", "/admin/clock", "/admin/confirm"} {
		if res := x.post(path, nil); res.Code != http.StatusSeeOther || res.Header().Get("Location") != adminPath {
			t.Errorf("%s is answered %d", path, res.Code)
		}
	}
	if got := strings.Join(x.box.presses, ", "); got != "a technician pauses sharing, sharing resumes, a technician confirms the time" {
		t.Errorf("the box was told %q", got)
	}
	if !x.box.until.IsZero() {
		t.Error("the change is not confirmed")
	}
	x.box.err = io.ErrUnexpectedEOF
	if res := x.post("/admin/pause", nil); res.Code != http.StatusInternalServerError || !strings.Contains(res.Body.String(), "Rien n’a changé") {
		t.Errorf("a failure is answered %d", res.Code)
	}
}

// TestChangePassword: only somebody who knows the password can change it.
func TestChangePassword(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	if res := x.post("/admin/password", url.Values{"password": {"wrong"}, "new": {"trois petits chats"}}); res.Code != http.StatusForbidden {
		t.Errorf("a wrong password is answered %d", res.Code)
	}
	if res := x.post("/admin/password", url.Values{"password": {password}, "new": {"court"}}); res.Code != http.StatusForbidden || !strings.Contains(res.Body.String(), "trop court") {
		t.Errorf("a short one is answered %d", res.Code)
	}
	if res := x.post("/admin/password", url.Values{"password": {password}, "new": {"trois petits chats"}}); res.Code != http.StatusSeeOther {
		t.Errorf("the change is answered %d", res.Code)
	}
	x.cookie = ""
	if res := x.post("/admin/login", url.Values{"password": {"trois petits chats"}}); res.Code != http.StatusSeeOther {
		t.Errorf("the new password is answered %d", res.Code)
	}
}
