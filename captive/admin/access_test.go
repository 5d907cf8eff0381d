package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/captive/admin/login"
	"passerelle/captive/web"
)

// Addresses of the box in these tests.
const (
	onHotspot = "10.80.0.1"
	onLine    = "192.168.1.2"
)

// door is one of the box's addresses, served over TLS as the daemon does it.
type door struct {
	t    *testing.T
	real string // where the test reaches it
}

// open serves the technician's box as if each connection had reached the given address of the box.
func (x *technician) open(address string) *door {
	x.t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		x.t.Fatal(err)
	}
	c := &web.Certificate{
		Path: filepath.Join(x.t.TempDir(), "https.pem"), Now: time.Now, Log: log,
		Site: func() (string, netip.Addr) { return "partage.internal", netip.MustParseAddr(onHotspot) },
	}
	server := web.NewServer(x.server, log)
	at := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 443))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(tls.NewListener(web.Limit(reached{l, at}, web.NewSlots(2)), c.TLS())); !errors.Is(err, http.ErrServerClosed) {
			x.t.Errorf("serve: %v", err)
		}
	}()
	x.t.Cleanup(func() { server.Close(); <-done })
	return &door{x.t, l.Addr().String()}
}

// reached is a listener whose connections have another local address.
type reached struct {
	net.Listener
	at net.Addr
}

func (l reached) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return reachedConn{c, l.at}, err
}

type reachedConn struct {
	net.Conn
	at net.Addr
}

func (c reachedConn) LocalAddr() net.Addr { return c.at }

// browser is a browser at the door, with its own source address and at most one cookie.
type browser struct {
	*door
	http.Client
	site   string
	cookie string
}

// browser returns browser number n. site is the host name or address that it requests.
func (d *door) browser(n int, site string) *browser {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(n))}}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp4", d.real)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // its user trusts the box
	}
	d.t.Cleanup(transport.CloseIdleConnections)
	return &browser{door: d, site: site, Client: http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// reply is an answer that a browser gets.
type reply struct {
	status   int
	to, page string
	cookie   *http.Cookie // the cookie that the answer sets
}

// try sends a request: POST with a form, GET without one.
func (b *browser) try(ctx context.Context, path string, form url.Values, headers ...string) (r reply, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+b.site+path, nil)
	if form != nil && err == nil {
		q, err = http.NewRequestWithContext(ctx, http.MethodPost, "https://"+b.site+path, strings.NewReader(form.Encode()))
	}
	if err != nil {
		return r, err
	}
	if form != nil {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Origin", "https://"+b.site)
		q.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if b.cookie != "" {
		q.AddCookie(&http.Cookie{Name: cookie, Value: b.cookie})
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		q.Header.Set(name, value)
		switch {
		case name == "Host":
			q.Host = value
		case value == "":
			q.Header.Del(name)
		}
	}
	res, err := b.Do(q)
	if err != nil {
		return r, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	r = reply{res.StatusCode, res.Header.Get("Location"), string(text), nil}
	for _, c := range res.Cookies() {
		if c.Name == cookie {
			r.cookie, b.cookie = c, c.Value
		}
	}
	return r, err
}

// ask is try, but fails the test if there is no answer.
func (b *browser) ask(path string, form url.Values, headers ...string) reply {
	b.t.Helper()
	r, err := b.try(b.t.Context(), path, form, headers...)
	if err != nil {
		b.t.Fatalf("%s at %s: %v", path, b.site, err)
	}
	return r
}

// TestAccess tries each kind of access from each side, signed in or not.
func TestAccess(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	hotspot, line := x.open(onHotspot).browser(1, "partage.internal"), x.open(onLine).browser(2, onLine)
	// No header may decide the side.
	lies := []string{
		"X-Forwarded-For: 192.168.1.7", "X-Forwarded-Host: " + onLine, "Forwarded: for=192.168.1.7;host=" + onLine, "X-Real-IP: " + onLine,
	}
	for _, test := range []struct {
		access            config.Access
		window            time.Duration // how long the button's setup window is still open
		byHotspot, byLine string        // what a refusal says on each side
	}{
		{config.Anywhere, 0, "", ""},
		{config.Wired, 0, "fermées depuis le Wi‑Fi partagé", ""},
		{config.Wired, time.Minute, "fermées depuis le Wi‑Fi partagé", ""},
		{config.AfterPress, 0, "Tenez le bouton", "Tenez le bouton"},
		{config.AfterPress, -time.Second, "Tenez le bouton", "Tenez le bouton"},
		{config.AfterPress, time.Minute, "", ""},
	} {
		x.box.mu.Lock()
		x.box.access, x.box.status.Setup = test.access, time.Time{}
		if test.window != 0 {
			x.box.status.Setup = noon.Add(test.window)
		}
		x.box.mu.Unlock()
		for b, refusal := range map[*browser]string{hotspot: test.byHotspot, line: test.byLine} {
			for _, signedIn := range []string{"", x.cookie} {
				b.cookie = signedIn
				got := []reply{
					b.ask("/admin/", nil, lies...), b.ask("/admin/login", nil, lies...), b.ask("/admin/settings/text/download", nil, lies...),
				}
				if refusal != "" {
					got = append(got, b.ask("/admin/login", url.Values{"password": {password}}, lies...),
						b.ask("/admin/pause", url.Values{}, lies...), b.ask("/admin/confirm", url.Values{}, lies...))
				}
				for i, r := range got {
					refused := r.status == http.StatusForbidden && strings.Contains(r.page, refusal) && r.cookie == nil
					if refused != (refusal != "") {
						t.Errorf("%s, window %v, at %s, request %d: %d\n%s", test.access, test.window, b.site, i, r.status, r.page)
					}
					if refusal != "" && (strings.Contains(r.page, `type="password"`) || strings.Contains(r.page, "logout")) {
						t.Errorf("the refusal shows more:\n%s", r.page)
					}
				}
			}
		}
	}
	if len(x.box.presses) > 0 {
		t.Errorf("the box was told %q", x.box.presses)
	}
	if r := hotspot.ask("/lender/"+token, nil); r.status != http.StatusOK {
		t.Errorf("a lender is answered %d", r.status)
	}
}

// TestWiredSide: on an uplink's network only technicians' and staff's pages exist, under the box's address there or its name.
func TestWiredSide(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	d := x.open(onLine)
	b := d.browser(1, onLine)
	for _, path := range []string{
		"/", "/admin", "/accessibility", "/lender/" + token, "/session", "/admin/../lender/" + token, "/admin/%2e%2e/lender/" + token,
		"/admin/..%2flender/" + token, "/admin//../lender/" + token, "/admin/nothing", "//admin/", "/./admin/", "/ADMIN/", "/admin%2f",
	} {
		for range 3 {
			r := b.ask(path, nil)
			if r.status == http.StatusOK || strings.Contains(r.page, "<form") || strings.Contains(r.page, "http://") {
				t.Errorf("%s is answered %d\n%s", path, r.status, r.page)
			}
			if path = r.to; path == "" || strings.HasPrefix(path, "/admin/") {
				break
			}
		}
	}
	if r := b.ask("/lender/"+token+"/pause", url.Values{}); r.status != http.StatusNotFound {
		t.Errorf("a lender's button is answered %d", r.status)
	}
	for host, want := range map[string]int{
		onLine: http.StatusOK, onLine + ":443": http.StatusOK, "partage.internal": http.StatusOK,
		onHotspot: http.StatusMisdirectedRequest, "rebind.evil.example": http.StatusMisdirectedRequest, "192.168.1.3": http.StatusMisdirectedRequest,
		onLine + ":8443": http.StatusMisdirectedRequest, onLine + ".evil.example": http.StatusMisdirectedRequest, "localhost": http.StatusMisdirectedRequest,
	} {
		if r := b.ask("/admin/login", nil, "Host: "+host); r.status != want {
			t.Errorf("as %s it is answered %d, want %d", host, r.status, want)
		}
	}
	if _, err := d.browser(2, "rebind.evil.example").try(t.Context(), "/admin/", nil); err == nil {
		t.Error("there is a certificate for another name")
	}
	if r := x.open(onHotspot).browser(3, onLine).ask("/admin/login", nil); r.status != http.StatusMisdirectedRequest {
		t.Errorf("on the hotspot the other address is answered %d", r.status)
	}

	if r := b.ask("/admin/login", url.Values{"password": {password}}); r.status != http.StatusSeeOther || r.to != adminPath {
		t.Fatalf("the password is answered %d to %s", r.status, r.to)
	}
	for _, path := range []string{"/admin/pause", "/admin/resume", "/admin/clock"} {
		if r := b.ask(path, url.Values{}); r.status != http.StatusSeeOther {
			t.Errorf("%s is answered %d", path, r.status)
		}
	}
	if r := b.ask("/admin/password", url.Values{"password": {password}, "new": {"trois petits chats"}}); r.status != http.StatusSeeOther {
		t.Errorf("another password is answered %d", r.status)
	}
	page := words(b.ask("/admin/journal", nil).page)
	for _, want := range []string{
		"Mot de passe choisi aujourd’hui à 15 h 10 Depuis ces pages, par le réseau d’une connexion prêtée",
		"Heure confirmée", "Partage relancé", "Partage mis en pause",
		"Mot de passe choisi aujourd’hui à 15 h 10 Depuis ces pages, par le Wi‑Fi partagé", // the first one
	} {
		i := strings.Index(page, want)
		if i < 0 {
			t.Fatalf("no %q in the journal: %s", want, page)
		}
		page = page[i+len(want):]
	}
}

// TestFirstSignIn: a new box has no default password, and the setup code works only once.
func TestFirstSignIn(t *testing.T) {
	t.Parallel()
	x := newTechnician(t)
	b := x.open(onHotspot).browser(1, onHotspot)
	code := x.box.logins.Code()
	for n, form := range []url.Values{
		{}, {"password": {""}}, {"password": {"admin"}}, {"password": {"passerelle"}}, {"code": {""}, "password": {password}},
		{"code": {"0000-0000"}, "password": {password}}, {"code": {code}, "password": {""}}, {"code": {code}, "password": {"1234567890"}},
		{"code": {code}, "password": {"passerelle2026"}},
	} {
		b := x.open(onHotspot).browser(10+n, onHotspot)
		if r := b.ask("/admin/login", form); r.status != http.StatusForbidden || r.cookie != nil {
			t.Errorf("%v is answered %d", form, r.status)
		}
	}
	if r := b.ask("/admin/login", url.Values{"code": {code}, "password": {password}}); r.status != http.StatusSeeOther {
		t.Fatalf("the code is answered %d", r.status)
	}
	for n, form := range []url.Values{
		{"code": {code}, "password": {"un autre mot de passe"}}, {"code": {code}}, {"password": {""}}, {}, {"password": {password + " "}},
	} {
		if r := x.open(onLine).browser(20+n, onLine).ask("/admin/login", form); r.status != http.StatusForbidden || r.cookie != nil {
			t.Errorf("then %v is answered %d", form, r.status)
		}
	}
	page := b.ask("/admin/", nil).page
	for _, secret := range []string{code, password, b.cookie} {
		if strings.Contains(page, secret) {
			t.Errorf("the page shows %q", secret)
		}
	}
	if !strings.Contains(x.open(onHotspot).browser(3, onHotspot).ask("/admin/login", nil).page, "3A:0F") {
		t.Error("the page to sign in has no fingerprint")
	}
}

// TestFixation: a cookie from before signing in is not valid after it, nor is one from before signing out (session fixation).
func TestFixation(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	d := x.open(onHotspot)
	victim, attacker := d.browser(1, onHotspot), d.browser(2, onHotspot)
	victim.cookie = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	attacker.cookie = victim.cookie
	if r := victim.ask("/admin/login", url.Values{"password": {password}}); r.cookie == nil || r.cookie.Value == attacker.cookie ||
		!r.cookie.Secure || !r.cookie.HttpOnly || r.cookie.SameSite != http.SameSiteStrictMode || r.cookie.Domain != "" {
		t.Fatalf("signing in is answered %d with %v", r.status, r.cookie)
	}
	if r := attacker.ask("/admin/", nil); r.status != http.StatusSeeOther || r.to != signInPath {
		t.Errorf("the cookie from before is answered %d", r.status)
	}
	again, before := d.browser(3, onHotspot), victim.cookie
	again.cookie = before
	if r := again.ask("/admin/login", url.Values{"password": {password}}); r.cookie == nil || r.cookie.Value == before {
		t.Errorf("signing in again is answered %d with %v", r.status, r.cookie)
	}
	again.cookie = before
	again.ask("/admin/logout", url.Values{})
	victim.cookie = before
	if r := victim.ask("/admin/", nil); r.status != http.StatusSeeOther {
		t.Errorf("after signing out the cookie is answered %d", r.status)
	}
}

// TestForeignForms: a form of another site changes nothing, whatever headers its browser sends.
func TestForeignForms(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	b := x.open(onLine).browser(1, onLine)
	for what, headers := range map[string][]string{
		"another site":                {"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"},
		"a browser with Origin alone": {"Origin: https://evil.example", "Sec-Fetch-Site: "},
		"a browser that hides Origin": {"Origin: null", "Sec-Fetch-Site: "},
		"the box's other address":     {"Origin: https://" + onHotspot, "Sec-Fetch-Site: "},
		"a page of plain http":        {"Origin: http://" + onLine, "Sec-Fetch-Site: cross-site"},
		"another port":                {"Origin: https://" + onLine + ":8443", "Sec-Fetch-Site: same-site"},
	} {
		for _, path := range []string{"/admin/pause", "/admin/login", "/admin/logout", "/admin/password", "/admin/confirm", "/admin/settings/save", "/admin/settings/text"} {
			b.cookie = x.cookie
			if r := b.ask(path, url.Values{"password": {password}}, headers...); r.status != http.StatusForbidden || r.cookie != nil {
				t.Errorf("%s, %s is answered %d", what, path, r.status)
			}
		}
	}
	// A browser that sends neither of the headers, and no cookie from another site's page (SameSite).
	b.cookie = ""
	if r := b.ask("/admin/pause", url.Values{}, "Origin: ", "Sec-Fetch-Site: "); r.status != http.StatusSeeOther || r.to != signInPath {
		t.Errorf("without headers: %d", r.status)
	}
	if len(x.box.presses) > 0 {
		t.Errorf("the box was told %q", x.box.presses)
	}
	if len(x.box.journal.all) != 1 {
		t.Errorf("the journal: %+v", x.box.journal.all)
	}
}

// TestGuessers: while fifty devices guess as fast as they can, a technician signs in within ten seconds.
func TestGuessers(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	d := x.open(onHotspot)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var guessing, begun sync.WaitGroup
	for n := range 50 {
		b := d.browser(10+n, onHotspot)
		begun.Add(1)
		guessing.Go(func() {
			for i := range 1_000_000 {
				r, err := b.try(ctx, "/admin/login", url.Values{"password": {fmt.Sprint("guess number ", i)}})
				if i == 0 {
					begun.Done()
				}
				switch {
				case ctx.Err() != nil:
					return
				case err != nil:
					t.Errorf("a guess: %v", err)
					return
				case r.status == http.StatusSeeOther || r.cookie != nil:
					t.Errorf("a guess is answered %d", r.status)
					return
				}
			}
		})
	}
	begun.Wait()
	mine, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b := d.browser(1, "partage.internal")
	r, err := b.try(mine, "/admin/login", nil)
	if err == nil {
		r, err = b.try(mine, "/admin/login", url.Values{"password": {password}})
	}
	if err == nil {
		r, err = b.try(mine, "/admin/", nil)
	}
	if err != nil || r.status != http.StatusOK {
		t.Errorf("the technician is answered %d, %v", r.status, err)
	}
	stop()
	guessing.Wait()
}

// TestDevicesOfResidents: a resident's device gets no technicians' page, and learns nothing about the configuration.
func TestDevicesOfResidents(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	b := x.open(onHotspot).browser(1, onHotspot)
	for pattern := range techRoutes {
		method, path, _ := strings.Cut(strings.NewReplacer("{$}", "", "{group}", "hotspot", "{number}", "1").Replace(pattern), " ")
		var form url.Values
		if method == http.MethodPost {
			form = url.Values{"password": {password}}
		}
		r := b.ask(path, form)
		if r.status != http.StatusSeeOther || !strings.HasPrefix(r.to, signInPath) || r.cookie != nil || len(r.page) > 200 {
			t.Errorf("%s is answered %d to %q\n%s", pattern, r.status, r.to, r.page)
		}
	}
}

// TestSecretsOfBefore: the password in the file of an earlier start still works, and its setup code is gone.
func TestSecretsOfBefore(t *testing.T) {
	t.Parallel()
	x := newTechnician(t)
	dir := t.TempDir()
	first, err := login.Open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Start(t.Context(), netip.Addr{}, first.Code(), password); err != nil {
		t.Fatal(err)
	}
	if x.box.logins, err = login.Open(dir, time.Now); err != nil {
		t.Fatal(err)
	}
	x.server = newServer(x.box, io.Discard)
	b := x.open(onHotspot).browser(1, onHotspot)
	if page := b.ask("/admin/login", nil).page; strings.Contains(page, `name="code"`) {
		t.Error("the code is asked for")
	}
	if r := b.ask("/admin/login", url.Values{"password": {password}}); r.status != http.StatusSeeOther {
		t.Errorf("the password is answered %d", r.status)
	}
}

// TestChangeAccess: the preview says what to do, and the list of versions says from which side the change came.
func TestChangeAccess(t *testing.T) {
	t.Parallel()
	x := settler(t)
	form := x.form("/admin/settings/access", "/admin/settings/access")
	form.Set("admin.access", "wired")
	preview := x.post("/admin/settings/access", form)
	if got := words(preview.Body.String()); !strings.Contains(got, "confirmez dans les deux minutes") {
		t.Errorf("the preview: %s", got)
	}
	x.save(preview)
	if c, err := config.Parse(fileName, x.box.text); err != nil || c.Admin.Access != config.Wired {
		t.Errorf("the file: %v\n%s", err, x.box.text)
	}
	if v := x.box.configuration.changes; len(v) != 1 || v[0].Side != config.SideHotspot {
		t.Errorf("the versions: %+v", v)
	}
}
