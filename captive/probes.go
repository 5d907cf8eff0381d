package captive

import (
	"net/http"
	"strconv"
	"strings"
)

// answer is what a system's probe expects to get from the internet: exactly this, or it calls the network captive.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func text(contentType, body string) *answer {
	return &answer{http.StatusOK, http.Header{
		"Content-Type":   {contentType},
		"Content-Length": {strconv.Itoa(len(body))},
		"Cache-Control":  noStore,
	}, []byte(body)}
}

// What the systems ask, as their own sources or documents have it: Android's NetworkMonitor.java, Chromium's
// captive_portal_detector.cc, Microsoft's NCSI documentation, Firefox's captivedetect.canonicalURL and -Content,
// NetworkManager's nm-connectivity.c and the distributions' conf.d, Apple's and Amazon's as seen on the wire.
var (
	noContent = &answer{http.StatusNoContent, http.Header{"Cache-Control": noStore}, nil}
	apple     = text("text/html", "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>")
	firefox   = text("text/html",
		`<meta http-equiv="refresh" content="0;url=https://support.mozilla.org/kb/captive-portal"/>`)
	firefoxOld   = text("text/plain", "success\n")
	windows      = text("text/plain", "Microsoft Connect Test")
	windowsOld   = text("text/plain", "Microsoft NCSI")
	networkMan   = text("text/plain", "NetworkManager is online\n")
	fedora       = text("text/plain", "OK")
	kindle       = text("text/html", "<html><body>81ce4465-7167-4dcb-835b-dcc9e44c112a</body></html>\n")
	ubuntu       = &answer{http.StatusNoContent, http.Header{"Cache-Control": noStore, "X-NetworkManager-Status": {"online"}}, nil}
	askedByPaths = map[string]*answer{
		"/generate_204":                   noContent, // Android, ChromeOS, Chromium
		"/gen_204":                        noContent,
		"/captiveportal/generate_204":     noContent, // Edge
		"/hotspot-detect.html":            apple,
		"/library/test/success.html":      apple,
		"/connecttest.txt":                windows, // Windows 10 on; also at ipv6.msftconnecttest.com
		"/ncsi.txt":                       windowsOld,
		"/canonical.html":                 firefox,
		"/success.txt":                    firefoxOld,
		"/check_network_status.txt":       networkMan, // GNOME
		"/nm":                             networkMan, // Debian
		"/nm-check.txt":                   networkMan, // Arch
		"/static/hotspot.txt":             fedora,
		"/kindle-wifi/wifistub.html":      kindle,
		"/kindle-wifi/wifistub-eink.html": kindle,
	}
	// Hosts that serve nothing but a probe, whatever the path.
	askedByHosts = map[string]*answer{
		"captive.apple.com":             apple,
		"connectivity-check.ubuntu.com": ubuntu,
		"nmcheck.gnome.org":             networkMan,
		"network-test.debian.org":       networkMan,
		"conncheck.opensuse.org":        networkMan,
		"ping.archlinux.org":            networkMan,
		"networkcheck.kde.org":          fedora,
	}
)

// appleProbe is how the User-Agent of Apple's probe begins. It asks at hosts and paths that change, too, and for the page that
// it is led to.
const appleProbe = "CaptiveNetworkSupport"

// answerFor returns what the system expects that asks for this, or nil if it is no system's probe. Windows' /redirect is
// none: it is what Windows opens for people once its probe failed.
func answerFor(host, path string) *answer {
	if a := askedByPaths[path]; a != nil {
		return a
	}
	return askedByHosts[strings.TrimSuffix(host, ":80")]
}

// probe answers a system's probe: with success to who is online or stays, else with the way to the first page.
func (s *Server) probe(w http.ResponseWriter, r *request, a *answer) {
	if !r.online() && !s.staying(r) {
		s.redirect(w, r)
		return
	}
	h := w.Header()
	for name, value := range a.header {
		h[name] = value
	}
	r.letGo(h)
	w.WriteHeader(a.status)
	w.Write(a.body) // a client that went away is no concern of ours
}
