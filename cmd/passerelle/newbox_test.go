package main

import (
	"crypto/tls"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// TestNewBoxWithoutRadio: a new box whose radio is missing waits for a technician, says where to reach it, and is set up over the cable,
// with an access point on another cable. On a configured box, a missing radio would be a fault.
func TestNewBoxWithoutRadio(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{})
	b.must(os.Remove(b.Config))
	lender, r := b.scene.Lenders[0], b.scene.Residents[0]
	site := "https://" + lender.Box.Addr().String()
	const behind = "eth1" // the cable to the access point
	b.run("ip", "link", "set", netlab.HotspotInterface, "name", behind)
	b.must(b.Start("--setup", "--verbose"))

	s := b.waitStatus("the technicians' pages", func(s state.Status) error {
		if s.State != state.Setup || s.Why != "no radio was found: set the box up over the cable" || !slices.Equal(s.Admin.Pages, []string{site + "/admin/"}) {
			return fmt.Errorf("%s: %s, with pages at %q", s.State, s.Why, s.Admin.Pages)
		}
		return nil
	})
	if s.Hotspot.WiFi == nil || s.Hotspot.WiFi.On {
		t.Errorf("its Wi-Fi is %+v", s.Hotspot.WiFi)
	}
	out, err := program("status", "--socket", b.Socket).CombinedOutput()
	b.must(err)
	code := regexp.MustCompile(`type the code (\S+)`).FindSubmatch(out)
	if code == nil || !strings.Contains(string(out), site+"/admin/") {
		t.Fatalf("status says\n%s", out)
	}

	jar, err := cookiejar.New(nil)
	b.must(err)
	client := lender.NAS.HTTPClient()
	client.Jar = jar
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	ask := func(q *http.Request) (status int, page, to string) {
		t.Helper()
		reply, err := client.Do(q)
		b.must(err)
		defer reply.Body.Close()
		text, err := io.ReadAll(reply.Body)
		b.must(err)
		return reply.StatusCode, html.UnescapeString(string(text)), reply.Header.Get("Location")
	}
	answer := func(path string, form url.Values, want int, next string) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, site+path, strings.NewReader(form.Encode()))
		b.must(err)
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Sec-Fetch-Site", "same-origin")
		if status, page, to := ask(q); status != want || to != next {
			t.Fatalf("%s is answered %d to %q:\n%s", path, status, to, page)
		}
	}
	answer("/admin/login", url.Values{"code": {string(code[1])}, "password": {"trois petits chats"}}, http.StatusSeeOther, "/admin/")
	answer("/admin/setup/centre", url.Values{"box.name": {"Le Lavoir"}}, http.StatusSeeOther, "/admin/setup/line")
	answer("/admin/setup/line", url.Values{
		"line": {"cable:" + lender.Interface}, "donation.name": {lent}, "plan": {"prepaid"}, "donation.download": {"0"}, "donation.upload": {"0"},
	}, http.StatusSeeOther, "/admin/setup/hotspot")
	_, page, _ := ask(b.request(http.MethodGet, site+"/admin/setup/hotspot"))
	if !strings.Contains(page, `name="place" value="wired:`+behind+`">`) || strings.Contains(page, netctl.Bridge) || !strings.Contains(page, "Branchez une clé") {
		t.Errorf("the page of the hotspot, whose cable nobody has chosen yet:\n%s", page)
	}
	answer("/admin/setup/hotspot", url.Values{
		"hotspot.ssid": {"Le Lavoir"}, "hotspot.country": {"FR"}, "door": {"open"}, "place": {"wired:" + behind},
	}, http.StatusSeeOther, "/admin/setup/limits")
	answer("/admin/setup/limits", url.Values{"preset": {"balanced"}}, http.StatusSeeOther, "/admin/setup/summary")
	_, page, _ = ask(b.request(http.MethodGet, site+"/admin/setup/summary"))
	revision := regexp.MustCompile(`name="revision" value="([^"]+)"`).FindStringSubmatch(page)
	if revision == nil {
		t.Fatalf("the summary:\n%s", page)
	}
	answer("/admin/setup/summary", url.Values{"revision": {revision[1]}}, http.StatusOK, "")

	if d := b.waitState(state.Sharing).Donations[0]; d.Name != lent || d.Cap != 10e9 {
		t.Errorf("the donation is %+v", d)
	}
	b.mustDo("clock", "--confirm")
	b.newcomer(r)

	text, err := os.ReadFile(b.Config)
	b.must(err)
	b.stop()
	withRadio := strings.Replace(strings.Replace(string(text), `radio = "none"`, `radio = "hostapd"`, 1), `"`+behind+`"`, `"wlan0"`, 1)
	b.must(b.Configure(withRadio))
	b.must(b.Start("--setup", "--verbose"))
	if s := b.waitState(state.Fault); !strings.Contains(s.Why, "radio") {
		t.Errorf("configured, without its radio: %s", s.Why)
	}
}
