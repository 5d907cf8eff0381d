package captive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
)

// want fails the test unless the response has the status, and the headers given as "Name: value".
func want(t *testing.T, res *http.Response, status int, headers ...string) {
	t.Helper()
	if res.StatusCode != status {
		t.Errorf("status %d, want %d", res.StatusCode, status)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if got := res.Header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
}

func TestPressAndEnd(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b)
	if got := body(t, ask(t, s, "GET /")); !strings.Contains(got, "Aller sur Internet") {
		t.Errorf("the first page has no button:\n%s", got)
	}
	want(t, ask(t, s, "POST /session"), http.StatusSeeOther, "Location: /session", "Cache-Control: no-store")
	if got := body(t, ask(t, s, "GET /session")); !strings.Contains(got, "Vous êtes connecté") {
		t.Errorf("my session does not say that I am connected:\n%s", got)
	}
	want(t, ask(t, s, "GET /session/end"), http.StatusFound, "Location: /session") // it has not ended
	want(t, ask(t, s, "POST /session/end"), http.StatusSeeOther, "Location: /session/end")
	if got := body(t, ask(t, s, "GET /session/end")); !strings.Contains(got, "C’est arrêté. Merci.") || !strings.Contains(got, "Aller sur Internet") {
		t.Errorf("after the end:\n%s", got)
	}
	if got := body(t, ask(t, s, "GET /session")); !strings.Contains(got, "Vous n’êtes pas connecté") {
		t.Errorf("my session still runs:\n%s", got)
	}
}

func TestChosenLanguageIsCarriedOn(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b)
	page := body(t, ask(t, s, "GET /?lang=en"))
	for _, part := range []string{`<html lang="en"`, `action="/session?lang=en"`, `href="/?lang=fr" lang="fr"`} {
		if !strings.Contains(page, part) {
			t.Errorf("no %s in:\n%s", part, page)
		}
	}
	want(t, ask(t, s, "POST /session?lang=en"), http.StatusSeeOther, "Location: /session?lang=en")
	want(t, ask(t, s, "POST /stay?lang=en"), http.StatusSeeOther, "Location: /?lang=en")
	want(t, ask(t, s, "POST /stay?lang=xx"), http.StatusSeeOther, "Location: /")
	if hold := body(t, ask(t, s, "GET /session?lang=en&hold=1")); strings.Contains(hold, `http-equiv="refresh"`) ||
		!strings.Contains(hold, `href="/session?lang=en"`) {
		t.Errorf("the page that should hold still:\n%s", hold)
	}
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		accept, offered, want string
	}{
		{"", "fr en", "fr"},
		{"en", "fr en", "en"},
		{"en-GB,en;q=0.9,fr;q=0.8", "fr en", "en"},
		{"fr-CA", "en fr", "fr"},
		{"de,en;q=0.5", "fr en", "en"},
		{"zh-Hans-CN", "fr en", "fr"},
		{"en", "fr", "fr"},
		{"ar-DZ,fr;q=0.5", "fr ar", "ar"},
		{"pt-BR", "fr pt", "pt"},
		{"ru,uk;q=0.8,en;q=0.5", "fr en uk", "uk"},
		{"de", "fr de", "fr"}, // it has no words
		{"en;q=x;;;,,-\x00\xff", "fr en", "fr"},
		{strings.Repeat("en-", 100), "fr en", "fr"},
		{strings.Repeat("a-b,", 50), "fr en", "fr"},
		{"en-GB,en;q=0.9," + strings.Repeat("de-AT;q=0.5,", 40), "fr en", "en"}, // more than 256 bytes: the first ones count
		{"en-GB,ar;q=0.9," + strings.Repeat("de;q=0.5,", 25) + "fr;q=0.95-and-more", "fr ar", "ar"}, // cut within a language
	} {
		b := newFakeBox()
		b.site.Languages = test.offered
		b.site.Language, _, _ = strings.Cut(test.offered, " ")
		s := newServer(b)
		for range 2 { // the second time from the cache
			if got := body(t, ask(t, s, "GET /", "Accept-Language: "+test.accept)); !strings.Contains(got, `<html lang="`+test.want+`"`) {
				t.Errorf("Accept-Language %q of %q: not in %q", test.accept, test.offered, test.want)
			}
		}
	}
}

func TestAdmitErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err    error
		state  state.State
		status int
		says   string
	}{
		{state.ErrNotSharing, state.Paused, http.StatusServiceUnavailable, "Internet est en pause"},
		{state.ErrNotSharing, state.Sharing, http.StatusServiceUnavailable, "en même temps"},
		{state.ErrDataSpent, state.Sharing, http.StatusForbidden, "Vous aurez une nouvelle part demain."},
		{fmt.Errorf("look up: %w", state.ErrUnknown), state.Sharing, http.StatusForbidden, "Nous ne voyons pas votre appareil"},
		{state.ErrStopped, state.Sharing, http.StatusServiceUnavailable, "Attendez quelques secondes"},
		{errors.New("add an entry: no space"), state.Sharing, http.StatusInternalServerError, "Cela n’a pas marché"},
	} {
		b := newFakeBox()
		b.admit, b.site.State = test.err, test.state
		res := ask(t, newServer(b), "POST /session")
		if got := body(t, res); res.StatusCode != test.status || !strings.Contains(got, test.says) {
			t.Errorf("Admit says %q: status %d, want %d with %q in:\n%s", test.err, res.StatusCode, test.status, test.says, got)
		}
	}

	b := newFakeBox()
	b.has(nil)
	b.endErr = errors.New("delete an entry: no such set")
	want(t, ask(t, newServer(b), "POST /session/end"), http.StatusInternalServerError)
}

// If the State changes between the request's snapshot and Authorize, the new one is shown.
func TestStateChangesUnderAPress(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(pausing{b})
	res := ask(t, s, "POST /session")
	want(t, res, http.StatusServiceUnavailable)
	if got := body(t, res); !strings.Contains(got, "Internet est en pause") {
		t.Errorf("it does not say why:\n%s", got)
	}
}

// pausing is a box that pauses when a session is requested.
type pausing struct{ *fakeBox }

func (b pausing) Authorize(context.Context, netip.Addr) (state.Session, error) {
	b.change(func(v *state.Site) { v.State = state.Paused })
	return state.Session{}, state.ErrNotSharing
}

func TestHostNames(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	for host, own := range map[string]bool{
		"10.80.0.1": true, "10.80.0.1:80": true, "partage.internal": true, "partage.internal:80": true,
		"PARTAGE.Internal": true, "partage.internal.": true, "partage.internal.:80": true,
		"": false, ":80": false, ":": false, "10.80.0.1:8080": false, "10.80.0.1:http": false, "10.80.0.1:80:80": false,
		"10.80.0.2": false, "010.080.000.001": false, "0x0a500001": false, "172526593": false, "10.80.0.1.": false,
		"[10.80.0.1": false, "[::1]": false, "[::1]:80": false, "[fe80::1%25eth0]": false, "[]": false, "::1": false,
		"[10.80.0.1]x": false, "example.org": false, "partage.internal.example.org": false, "xn--e1aybc": false,
		"localhost": false, "127.0.0.1": false, "partage.internal/": false, " ": false, "a b": false, "é": false,
	} {
		res := ask(t, s, "GET /", "Host: "+host, aBrowser)
		if own {
			want(t, res, http.StatusOK, "Cache-Control: no-store")
		} else {
			want(t, res, http.StatusFound, "Location: http://10.80.0.1/", "Cache-Control: no-store")
		}
		if t.Failed() {
			t.Fatalf("at Host %q", host)
		}
	}
	want(t, ask(t, s, "GET http://10.80.0.2/session?lang=en"), http.StatusFound, "Location: http://10.80.0.1/")
}

// Paths that need https redirect to https at the box's address, and only if the box was requested by one of its own names.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	for line, location := range map[string]string{
		"GET /admin/":                               "https://10.80.0.1/admin/",
		"GET /admin":                                "https://10.80.0.1/admin",
		"GET http://10.80.0.1:80/admin/x?y=%2f":     "https://10.80.0.1/admin/x?y=%2f",
		"HEAD http://partage.internal/lender/a%2fb": "https://10.80.0.1/lender/a%2fb",
		"GET http://www.example.org/lender/abc":     "http://10.80.0.1/",
	} {
		want(t, ask(t, s, line), http.StatusFound, "Location: "+location, "Cache-Control: no-store")
	}
	for _, path := range []string{"/administration", "//lender/abc"} {
		want(t, ask(t, s, "GET "+path), http.StatusNotFound)
	}
	b := newFakeBox()
	b.site.Address = netip.MustParseAddr("fd00:80::1")
	want(t, ask(t, newServer(b), "GET http://partage.internal/lender/abc"), http.StatusFound, "Location: https://[fd00:80::1]/lender/abc")
}

func TestIPv6Address(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.site.Address = netip.MustParseAddr("fd00:80::1")
	s := newServer(b)
	want(t, ask(t, s, "GET /", "Host: [fd00:80::1]"), http.StatusOK)
	want(t, ask(t, s, "GET /", "Host: [fd00:80::1]:80"), http.StatusOK)
	want(t, ask(t, s, "GET /", "Host: example.org", aBrowser), http.StatusFound, "Location: http://[fd00:80::1]/")
}

func TestCrossSite(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"an old phone", nil, http.StatusSeeOther},
		{"our page", []string{"Origin: http://10.80.0.1"}, http.StatusSeeOther},
		{"our page by name", []string{"Host: partage.internal", "Origin: http://partage.internal"}, http.StatusSeeOther},
		{"our page, modern", []string{"Sec-Fetch-Site: same-origin"}, http.StatusSeeOther},
		{"typed in", []string{"Sec-Fetch-Site: none"}, http.StatusSeeOther},
		{"another site", []string{"Origin: http://example.org"}, http.StatusForbidden},
		{"another site, modern", []string{"Sec-Fetch-Site: cross-site", "Origin: http://10.80.0.1"}, http.StatusForbidden},
		{"a neighbour site", []string{"Sec-Fetch-Site: same-site"}, http.StatusForbidden},
		{"a file or a sandbox", []string{"Origin: null"}, http.StatusForbidden},
		{"another port", []string{"Origin: http://10.80.0.1:8080"}, http.StatusForbidden},
		{"not for us", []string{"Host: example.org"}, http.StatusNetworkAuthenticationRequired},
		{"a site's own post that was led here", []string{"Host: example.org", "Origin: http://example.org"}, http.StatusNetworkAuthenticationRequired},
		{"no host", []string{"Host: "}, http.StatusNetworkAuthenticationRequired},
	} {
		for _, path := range []string{"/session", "/session/end", "/stay"} {
			b := newFakeBox()
			s := newServer(b)
			if path == "/session/end" {
				b.has(nil)
			}
			res := ask(t, s, "POST "+path, test.headers...)
			_, online := b.Session(netip.MustParseAddr(resident))
			changed := b.admits > 0 || path == "/session/end" && !online || s.dismissals.has(netip.MustParseAddr(resident), noon, true)
			if res.StatusCode != test.status || changed != (test.status == http.StatusSeeOther) {
				t.Errorf("%s, POST %s: status %d, want %d; changed something: %v", test.name, path, res.StatusCode, test.status, changed)
			}
		}
	}
}

func TestMethodsAndPaths(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b)
	for line, status := range map[string]int{
		"GET /": 200, "HEAD /": 200, "GET /session": 200, "HEAD /session": 200, "GET /captive-portal/api": 200,
		"GET /essential": 200, "GET /healthz": 200, "GET /favicon.ico": 204,
		"GET /nope": 404, "GET /session/": 302, "POST /session/": 404, "GET //": 404, "GET /../etc/passwd": 404, "GET /%2e%2e/": 404, "POST /nope": 404,
		"POST /": 405, "PUT /session": 405, "DELETE /session": 405, "OPTIONS /": 405, "PATCH /stay": 405, "TRACE /": 405,
		"POST /essential": 405, "GET /session/end": 200, "GET /stay": 405, "BREW /": 405, "POST /captive-portal/api": 405,
	} {
		if res := ask(t, s, line); res.StatusCode != status {
			t.Errorf("%s: status %d, want %d", line, res.StatusCode, status)
		}
	}
	want(t, ask(t, s, "PUT /session"), 405, "Allow: GET, HEAD, POST")
	want(t, ask(t, s, "POST /lender/abc"), 405, "Allow: GET, HEAD")
	want(t, ask(t, s, "GET /stay"), 405, "Allow: POST")
	want(t, ask(t, s, "CONNECT http://example.org/"), 511)
	want(t, ask(t, s, "OPTIONS http://example.org/"), 511)
	if b.admits > 0 {
		t.Error("a session was started")
	}
}

func TestPageHeaders(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b)
	for _, line := range []string{"GET /", "GET /session", "GET /nope", "PUT /"} {
		res := ask(t, s, line)
		want(t, res, res.StatusCode, "Content-Type: text/html; charset=utf-8", "Cache-Control: no-store",
			"X-Content-Type-Options: nosniff", "Referrer-Policy: same-origin")
		csp := res.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: no %s in %q", line, part, csp)
			}
		}
		if strings.Contains(csp, "script") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %q lets something run", line, csp)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b)
	for _, now := range state.States {
		b.change(func(v *state.Site) { v.State = now })
		status := http.StatusOK
		if now == state.Starting || now == state.Fault {
			status = http.StatusServiceUnavailable
		}
		if res := ask(t, s, "GET /healthz"); res.StatusCode != status {
			t.Errorf("%s: status %d, want %d", now, res.StatusCode, status)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	const portal = "https://portail.example/captive-portal/api"
	for _, test := range []struct {
		name         string
		set          func(*fakeBox)
		stay         bool
		session, api string
	}{
		{
			name:    "a stranger",
			session: `{"state":"sharing","online":false,"seconds_left":0,"seconds_given":0,"can_extend":false,"stay":false}`,
			api:     `{"captive":true,"can-extend-session":false}`,
		},
		{
			name: "a stranger, with an https name",
			set:  func(b *fakeBox) { b.site.PortalURL = portal },
			api: `{"captive":true,"user-portal-url":"https://portail.example/","venue-info-url":"https://portail.example/",` +
				`"can-extend-session":false}`,
		},
		{
			name: "a stranger, with a name that is not https",
			set:  func(b *fakeBox) { b.site.PortalURL = "http://portail.example/" },
			api:  `{"captive":true,"can-extend-session":false}`,
		},
		{
			name: "online",
			set:  func(b *fakeBox) { b.has(nil) },
			session: `{"state":"sharing","online":true,"seconds_left":6300,"seconds_given":7200,` +
				`"bytes_left":320000000,"bytes_given":500000000,"can_extend":false,"stay":false}`,
			api: `{"captive":false,"can-extend-session":false,"seconds-remaining":6300,"bytes-remaining":320000000}`,
		},
		{
			name:    "online without a limit of data",
			set:     func(b *fakeBox) { b.has(func(s *state.Session) { s.Limited = false }) },
			session: `{"state":"sharing","online":true,"seconds_left":6300,"seconds_given":7200,"can_extend":false,"stay":false}`,
			api:     `{"captive":false,"can-extend-session":false,"seconds-remaining":6300}`,
		},
		{
			name: "a session in a pause",
			set:  func(b *fakeBox) { b.has(nil); b.site.State = state.Paused },
			session: `{"state":"paused","online":false,"seconds_left":6300,"seconds_given":7200,` +
				`"bytes_left":320000000,"bytes_given":500000000,"can_extend":false,"stay":false}`,
			api: `{"captive":true,"can-extend-session":false}`,
		},
		{
			name: "data spent",
			set:  func(b *fakeBox) { b.has(func(s *state.Session) { s.DataLeft = 0 }) },
			session: `{"state":"sharing","online":false,"seconds_left":6300,"seconds_given":7200,` +
				`"bytes_left":0,"bytes_given":500000000,"can_extend":false,"stay":false}`,
			api: `{"captive":true,"can-extend-session":false}`,
		},
		{
			name: "data spent, in the slow lane",
			set:  func(b *fakeBox) { b.has(slowly) },
			session: `{"state":"sharing","online":true,"seconds_left":6300,"seconds_given":7200,` +
				`"bytes_left":0,"bytes_given":500000000,"slow":true,"can_extend":false,"stay":false}`,
			api: `{"captive":false,"can-extend-session":false,"seconds-remaining":6300}`,
		},
		{
			name: "a session about to end",
			set:  func(b *fakeBox) { b.has(func(s *state.Session) { s.Left, s.Extends = 9*time.Minute, true }) },
			session: `{"state":"sharing","online":true,"seconds_left":540,"seconds_given":7200,` +
				`"bytes_left":320000000,"bytes_given":500000000,"can_extend":true,"stay":false}`,
			api: `{"captive":false,"can-extend-session":true,"seconds-remaining":540,"bytes-remaining":320000000}`,
		},
		{
			name: "one in a pause",
			set: func(b *fakeBox) {
				b.has(func(s *state.Session) { s.Left, s.Limited, s.Extends = 9*time.Minute, false, true })
				b.site.State = state.Paused
			},
			session: `{"state":"paused","online":false,"seconds_left":540,"seconds_given":7200,"can_extend":false,"stay":false}`,
			api:     `{"captive":true,"can-extend-session":false}`,
		},
		{
			name:    "dismissed",
			set:     func(b *fakeBox) { b.site.State = state.Offline },
			stay:    true,
			session: `{"state":"offline","online":false,"seconds_left":0,"seconds_given":0,"can_extend":false,"stay":true}`,
			api:     `{"captive":false,"can-extend-session":false}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newFakeBox()
			if test.set != nil {
				test.set(b)
			}
			s := newServer(b)
			if test.stay {
				want(t, ask(t, s, "POST /stay"), http.StatusSeeOther)
			}
			api := ask(t, s, "GET /captive-portal/api")
			want(t, api, http.StatusOK, "Content-Type: application/captive+json", "Cache-Control: private, no-store")
			if got := strings.TrimSpace(body(t, api)); got != test.api {
				t.Errorf("API:\n got %s\nwant %s", got, test.api)
			}
			mine := ask(t, s, "GET /session", "Accept: application/json")
			want(t, mine, http.StatusOK, "Content-Type: application/json", "Cache-Control: no-store")
			got := body(t, mine)
			var status Status
			if err := json.Unmarshal([]byte(got), &status); err != nil {
				t.Fatal(err)
			}
			if test.session != "" && strings.TrimSpace(got) != test.session {
				t.Errorf("session:\n got %s\nwant %s", got, test.session)
			}
		})
	}
}

// The https name of the API is one of the box's own: phones request it there.
func TestPortalHost(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.site.PortalURL = "https://portail.example/captive-portal/api"
	want(t, ask(t, newServer(b), "GET /captive-portal/api", "Host: portail.example"), http.StatusOK)
}

// A change in any field of the Site renews the pages: the old value of a field that is not compared would stay on them.
func TestSameSiteSeesEveryField(t *testing.T) {
	t.Parallel()
	base := aSite()
	if same := aSite(); base != same {
		t.Fatal("a Site is not the same as itself")
	}
	for i := range reflect.TypeFor[state.Site]().NumField() {
		other := aSite()
		f := reflect.ValueOf(&other).Elem().Field(i)
		switch v := f.Addr().Interface().(type) {
		case *state.State:
			*v += "x"
		case *string:
			*v += "x"
		case *bool:
			*v = !*v
		case *netip.Addr:
			*v = v.Next()
		case *netip.Prefix:
			*v = netip.PrefixFrom(v.Addr(), v.Bits()+1)
		case **time.Location:
			*v = time.UTC
		case **[]state.Service:
			*v = services(config.France)
		case **state.Card:
			*v = &state.Card{}
		case **map[string]string:
			*v = &map[string]string{}
		case *time.Duration:
			*v++
		case *uint64:
			*v++
		case *time.Time:
			*v = v.Add(time.Second)
		default:
			t.Fatalf("no other value is known for %T", v)
		}
		if base == other {
			t.Errorf("%s is not compared", reflect.TypeFor[state.Site]().Field(i).Name)
		}
	}
}

// Pages that name a time change at midnight, or when that time has come.
func TestWordsOfTimeFollowTheClock(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.site.State = state.Closed
	b.site.Opens = time.Date(2026, 11, 23, 8, 30, 0, 0, paris)
	now := noon
	s := newServerAt(b, quiet, func() time.Time { return now })
	for _, test := range []struct {
		now  time.Time
		says string
	}{
		{noon, "ouvre lundi 23 novembre à 8\u202fh\u202f30."},
		{noon.AddDate(0, 0, 1), "ouvre demain à 8\u202fh\u202f30."},
		{time.Date(2026, 11, 23, 0, 0, 0, 0, paris), "ouvre aujourd’hui à 8\u202fh\u202f30."},
		{time.Date(2026, 11, 23, 8, 30, 0, 0, paris), "Demandez les horaires à l’accueil."},
		{noon, "ouvre lundi 23 novembre à 8\u202fh\u202f30."}, // the clock was corrected
	} {
		now = test.now
		if got := body(t, ask(t, s, "GET /")); !strings.Contains(got, test.says) {
			t.Errorf("at %s: no %q in:\n%s", now, test.says, got)
		}
	}
}

// A client whose address cannot be parsed gets the page, but no session.
func TestNoAddress(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b)
	r := httptest.NewRequest("POST", "http://10.80.0.1/session", nil)
	r.RemoteAddr = "@"
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || b.admits > 0 {
		t.Errorf("status %d after %d admissions", w.Code, b.admits)
	}
}

// TestTypedPaths: a page is found by its path in capitals, and with a trailing slash.
func TestTypedPaths(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	for path, to := range map[string]string{
		"/tutorials/wifi/":         "/tutorials/wifi",
		"/Tutorials/WiFi":          "/tutorials/WiFi",
		"/tutorials/WIFI":          "/tutorials/wifi",
		"/tutorials/wifi/2/":       "/tutorials/wifi/2",
		"/TUTORIALS":               "/tutorials",
		"/Helpers/":                "/helpers",
		"/helpers/":                "/helpers",
		"/Accessibility":           "/accessibility",
		"/Admin/":                  "/admin/",
		"/tutorials/wifi/?lang=en": "/tutorials/wifi?lang=en",
	} {
		want(t, ask(t, s, "GET http://10.80.0.1"+path), http.StatusFound, "Location: "+to)
	}
	for _, path := range []string{"/tutorials/none/", "/None/", "/session/ended/", "/helpers/x/", "/tutorials/wifi/99/"} {
		want(t, ask(t, s, "GET http://10.80.0.1"+path), http.StatusNotFound)
	}
	want(t, ask(t, s, "GET http://10.80.0.1/tutorials/"), http.StatusOK)
}
