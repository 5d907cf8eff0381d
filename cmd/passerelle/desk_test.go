package main

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/control"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// deskBrowser is a browser at the desk, on the hotspot.
type deskBrowser struct {
	b      *box
	client *http.Client
	cookie *http.Cookie // of the sign-in
}

func (b *box) deskBrowser(r *netlab.Resident) *deskBrowser {
	client := r.HTTPClient()
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // its user accepted the certificate
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &deskBrowser{b: b, client: client}
}

// send posts a form, or gets a page if there is no form, and returns the answer's status and Location.
func (d *deskBrowser) send(path string, form url.Values) (status int, to string) {
	d.b.t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	q, err := http.NewRequestWithContext(d.b.t.Context(), method, "https://10.80.0.1"+path, strings.NewReader(form.Encode()))
	d.b.must(err)
	q.Close = true
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.Header.Set("Sec-Fetch-Site", "same-origin")
	if d.cookie != nil {
		q.AddCookie(d.cookie)
	}
	reply, err := d.client.Do(q)
	d.b.must(err)
	reply.Body.Close()
	for _, c := range reply.Cookies() {
		d.cookie = c
	}
	return reply.StatusCode, reply.Header.Get("Location")
}

// TestDesk: a technician creates the desk's code. Staff sign in with it and pause until tomorrow. The pause survives a kill and a power
// cut, and staff resume.
func TestDesk(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2})
	r, phone := b.scene.Residents[0], b.scene.Residents[1]
	b.newcomer(r)
	b.join(phone)
	if out, err := program("desk", "code", "--socket", b.Socket).CombinedOutput(); err == nil || !strings.Contains(string(out), "choose the password first") {
		t.Errorf("before anybody chose the password: %v, %s", err, out)
	}
	first, err := control.Client{Socket: b.Socket}.SetupCode(t.Context())
	b.must(err)
	technician := b.deskBrowser(phone)
	if status, to := technician.send("/admin/login", url.Values{"code": {first}, "password": {"les lilas en mai"}}); status != http.StatusSeeOther || to != "/admin/" {
		t.Fatalf("the setup code is answered %d to %q", status, to)
	}
	code, _, _ := strings.Cut(b.mustDo("desk", "code"), "\n")
	if strings.Contains(b.Log(), code) {
		t.Errorf("the code %s is in the log", code)
	}

	reply, err := phone.Get(t.Context(), portal+"/desk")
	b.must(err)
	if to := reply.Header.Get("Location"); reply.Status != http.StatusFound || to != "https://10.80.0.1/desk" {
		t.Errorf("without TLS: %d to %q", reply.Status, to)
	}
	signIn := func() *deskBrowser {
		t.Helper()
		d := b.deskBrowser(phone)
		if status, to := d.send("/desk/login", url.Values{"code": {strings.ToLower(code)}}); status != http.StatusSeeOther || to != "/desk" {
			t.Fatalf("the code is answered %d to %q", status, to)
		}
		return d
	}
	desk := signIn()
	if status, _ := desk.send("/admin/settings", nil); status != http.StatusForbidden {
		t.Errorf("the settings are answered %d", status)
	}
	if status, to := desk.send("/desk", url.Values{"do": {"tomorrow"}}); status != http.StatusSeeOther || to != "/desk" {
		t.Errorf("a pause is answered %d to %q", status, to)
	}
	until := time.Time{}
	paused := func(what string) {
		t.Helper()
		s := b.waitState(state.Paused)
		if until.IsZero() {
			until = s.PausedUntil
		}
		if s.PausedBy != "staff" || !s.PauseEnds || until.IsZero() || !s.PausedUntil.Equal(until) || until.Sub(s.Clock.Now) > 31*time.Hour {
			t.Errorf("%s: paused by %q until %v, at first %v", what, s.PausedBy, s.PausedUntil, until)
		}
		b.blocked(r)
	}
	paused("at once")
	b.kill()
	b.start()
	paused("after a kill")
	b.kill()
	if err := os.Remove(b.path("kept.json")); err != nil { // a power cut loses what is in memory
		t.Fatal(err)
	}
	b.start()
	paused("after a power cut")
	if status, to := desk.send("/desk", nil); status != http.StatusSeeOther || !strings.HasPrefix(to, "/desk/login") {
		t.Errorf("a login outlives the daemon: %d to %q", status, to)
	}
	desk = signIn()
	if status, _ := desk.send("/desk", url.Values{"do": {"resume"}}); status != http.StatusSeeOther {
		t.Errorf("resume is answered %d", status)
	}
	b.waitState(state.Sharing)
	b.kill()
	b.start()
	b.waitState(state.Sharing)
	b.mustDo("pause", "--until-tomorrow")
	b.waitState(state.Paused)
	b.mustDo("resume")
	b.mustDo("desk", "close")
	if status, _ := b.deskBrowser(phone).send("/desk/login", url.Values{"code": {code}}); status != http.StatusForbidden {
		t.Errorf("the removed code is answered %d", status)
	}
	if s, err := b.Status(t.Context()); err != nil || s.PauseEnds {
		t.Errorf("after resume: %+v, %v", s.State, err)
	}
}
