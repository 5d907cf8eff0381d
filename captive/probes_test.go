package captive

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
)

// systems are the systems' probes, and the answers by which they recognise the internet.
var systems = []struct {
	name, url string
	status    int
	body      string
}{
	{"Android", "http://connectivitycheck.gstatic.com/generate_204", 204, ""},
	{"Android, fallback", "http://www.google.com/gen_204", 204, ""},
	{"Android of another maker", "http://connect.rom.miui.com/generate_204", 204, ""},
	{"ChromeOS", "http://clients3.google.com/generate_204", 204, ""},
	{"Edge", "http://edge-http.microsoft.com/captiveportal/generate_204", 204, ""},
	{"iOS", "http://captive.apple.com/hotspot-detect.html", 200, "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>"},
	{"iOS, root", "http://captive.apple.com/", 200, "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>"},
	{"macOS, old", "http://www.apple.com/library/test/success.html", 200, "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>"},
	{"Windows", "http://www.msftconnecttest.com/connecttest.txt", 200, "Microsoft Connect Test"},
	{"Windows, IPv6", "http://ipv6.msftconnecttest.com/connecttest.txt", 200, "Microsoft Connect Test"},
	{"Windows 7", "http://www.msftncsi.com/ncsi.txt", 200, "Microsoft NCSI"},
	{"Firefox", "http://detectportal.firefox.com/canonical.html", 200,
		`<meta http-equiv="refresh" content="0;url=https://support.mozilla.org/kb/captive-portal"/>`},
	{"Firefox, old", "http://detectportal.firefox.com/success.txt?ipv4", 200, "success\n"},
	{"GNOME", "http://nmcheck.gnome.org/check_network_status.txt", 200, "NetworkManager is online\n"},
	{"Debian", "http://network-test.debian.org/nm", 200, "NetworkManager is online\n"},
	{"Arch", "http://ping.archlinux.org/nm-check.txt", 200, "NetworkManager is online\n"},
	{"openSUSE", "http://conncheck.opensuse.org/", 200, "NetworkManager is online\n"},
	{"Ubuntu", "http://connectivity-check.ubuntu.com/", 204, ""},
	{"Ubuntu, with its port", "http://connectivity-check.ubuntu.com:80/", 204, ""},
	{"Ubuntu, with a final point", "http://connectivity-check.ubuntu.com./", 204, ""},
	{"Ubuntu, in capitals", "http://Connectivity-Check.Ubuntu.COM.:80/", 204, ""},
	{"iOS, with a final point", "http://captive.apple.com./any", 200, "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>"},
	{"Nintendo Switch", "http://ctest.cdn.nintendo.net/", 200, "ok"},
	{"Nintendo 3DS and Wii U", "http://conntest.nintendowifi.net/", 200, "ok"},
	{"Steam Deck", "http://test.steampowered.com/204", 204, ""},
	{"Xbox", "http://www.msftconnecttest.com/connecttest.txt", 200, "Microsoft Connect Test"},
	{"Fedora", "http://fedoraproject.org/static/hotspot.txt", 200, "OK"},
	{"KDE", "http://networkcheck.kde.org/", 200, "OK"},
	{"Kindle", "http://spectrum.s3.amazonaws.com/kindle-wifi/wifistub.html", 200,
		"<html><body>81ce4465-7167-4dcb-835b-dcc9e44c112a</body></html>\n"},
	{"anybody, of the box itself", "http://10.80.0.1/generate_204", 204, ""},
}

// The sign-in window opens for a resident who is not online, and closes for one who is or who dismissed the portal.
func TestProbes(t *testing.T) {
	t.Parallel()
	for _, who := range []struct {
		name    string
		set     func(*fakeBox)
		stays   bool
		success bool
	}{
		{name: "a stranger"},
		{name: "online", set: func(b *fakeBox) { b.has(nil) }, success: true},
		{name: "without data left", set: func(b *fakeBox) { b.has(func(s *state.Session) { s.DataLeft = 0 }) }},
		{name: "with a session in a pause", set: func(b *fakeBox) { b.has(nil); b.site.State = state.Paused }},
		{name: "dismissed in a pause", set: func(b *fakeBox) { b.site.State = state.Paused }, stays: true, success: true},
		{name: "dismissed without data", set: func(b *fakeBox) { b.has(func(s *state.Session) { s.DataLeft = 0 }) }, stays: true, success: true},
	} {
		b := newFakeBox()
		if who.set != nil {
			who.set(b)
		}
		s := newServer(b)
		if who.stays {
			want(t, ask(t, s, "POST /stay"), http.StatusSeeOther)
		}
		for _, system := range systems {
			t.Run(who.name+"/"+system.name, func(t *testing.T) {
				res := ask(t, s, "GET "+system.url)
				if !who.success {
					want(t, res, http.StatusFound, "Location: http://10.80.0.1/", "Cache-Control: no-store")
					return
				}
				want(t, res, system.status, "Cache-Control: no-store")
				if got := body(t, res); got != system.body {
					t.Errorf("body %q, want %q", got, system.body)
				}
			})
		}
	}
	res := ask(t, dismissed(t), "GET http://connectivity-check.ubuntu.com/")
	if got := map[string][]string(res.Header)["X-NetworkManager-Status"]; !slices.Equal(got, []string{"online"}) { // spelt as NetworkManager does
		t.Errorf("X-NetworkManager-Status: %q", got)
	}
}

// dismissed returns a server of a paused box whose resident dismissed the portal.
func dismissed(t *testing.T) *Server {
	b := newFakeBox()
	b.site.State = state.Paused
	s := newServer(b)
	want(t, ask(t, s, "POST /stay"), http.StatusSeeOther, "Location: /")
	return s
}

// Apple's probe is recognised by its name at unknown hosts and paths, but not when it requests the page that it was
// redirected to.
func TestAppleProbesAnywhere(t *testing.T) {
	t.Parallel()
	const probe, agent = "GET http://www.ibook.info/6fvFq8Nc/tULPvzrv.html", "User-Agent: CaptiveNetworkSupport-277.10.5 wispr"
	b := newFakeBox()
	s := newServer(b)
	want(t, ask(t, s, probe, agent), http.StatusFound, "Location: http://10.80.0.1/")
	want(t, ask(t, s, "GET /", agent), http.StatusOK)
	b.has(nil)
	if got := body(t, ask(t, s, probe, agent)); !strings.Contains(got, "<TITLE>Success</TITLE>") {
		t.Errorf("got %q", got)
	}
	if got := body(t, ask(t, s, "GET /", agent)); strings.Contains(got, "Success") {
		t.Errorf("the first page is %q", got)
	}
}

// The address that Windows opens for people redirects everybody to the first page, as any other site does.
func TestNoProbes(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://www.msftconnecttest.com/redirect", "http://www.google.com/", "http://example.org/generate_2040"} {
		want(t, ask(t, dismissed(t), "GET "+url), http.StatusFound, "Location: http://10.80.0.1/")
	}
	want(t, ask(t, newServer(newFakeBox()), "POST http://connectivitycheck.gstatic.com/generate_204"),
		http.StatusNetworkAuthenticationRequired)
}

// A connection that is older than the resident's session is closed, so that the next request gets through the gate.
func TestOldConnectionIsLetGo(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b)
	const probe, site = "GET http://connectivitycheck.gstatic.com/generate_204", "GET http://example.org/"
	want(t, ask(t, s, probe), http.StatusFound, "Connection: ")
	want(t, ask(t, s, site), http.StatusFound, "Connection: ")
	b.has(nil)
	want(t, ask(t, s, probe), http.StatusNoContent, "Connection: close")
	want(t, ask(t, s, site), http.StatusFound, "Connection: close")
	want(t, ask(t, s, site, "Accept: */*"), http.StatusNetworkAuthenticationRequired, "Connection: close")
	want(t, ask(t, s, "GET /session"), http.StatusOK, "Connection: ")
}

func TestStayEnds(t *testing.T) {
	t.Parallel()
	const probe = "GET http://connectivitycheck.gstatic.com/generate_204"
	b := newFakeBox()
	now := noon
	s := newServerAt(b, quiet, func() time.Time { return now })
	b.change(func(v *state.Site) { v.State = state.Closed })
	ask(t, s, "POST /stay")
	now = noon.Add(time.Hour - time.Second)
	want(t, ask(t, s, probe), http.StatusNoContent)
	b.change(func(v *state.Site) { v.State = state.Offline })
	want(t, ask(t, s, probe), http.StatusNoContent)
	b.change(func(v *state.Site) { v.State = state.Sharing })
	want(t, ask(t, s, probe), http.StatusFound) // there is internet: the window opens
	b.change(func(v *state.Site) { v.State = state.Closed })
	now = noon.Add(time.Hour)
	want(t, ask(t, s, probe), http.StatusFound)
}

func TestStaysAreBounded(t *testing.T) {
	t.Parallel()
	var s dismissals
	addr := netip.MustParseAddr("10.0.0.0")
	early := addr
	for i := range maxDismissals + 100 {
		s.add(addr, noon.Add(time.Duration(i)*time.Second/10), false)
		if len(s.until) > maxDismissals {
			t.Fatalf("%d are remembered", len(s.until))
		}
		addr = addr.Next()
	}
	if s.has(early, noon, false) {
		t.Error("the first is remembered instead of the last")
	}
	if late := addr.Prev(); !s.has(late, noon, false) {
		t.Error("the last is not remembered")
	}
	s.add(early, noon.Add(24*time.Hour), false)
	if len(s.until) != 1 {
		t.Errorf("%d are remembered after all others are over", len(s.until))
	}
}
