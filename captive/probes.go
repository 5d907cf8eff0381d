package captive

import (
	"net/http"
	"strconv"
	"strings"
)

// answer is what an operating system's probe expects from the internet. Any other answer makes it call the network captive.
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

// The systems' probes are from their source code or documentation: Android's NetworkMonitor.java, Chromium's
// captive_portal_detector.cc, Microsoft's NCSI documentation, Firefox's captivedetect.canonicalURL and -Content,
// NetworkManager's nm-connectivity.c and the distributions' conf.d. Apple's and Amazon's are as seen on the wire.
var (
	noContent = &answer{http.StatusNoContent, http.Header{"Cache-Control": noStore}, nil}
	apple     = text("text/html", "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>")
	firefox   = text("text/html",
		`<meta http-equiv="refresh" content="0;url=https://support.mozilla.org/kb/captive-portal"/>`)
	firefoxOld = text("text/plain", "success\n")
	windows    = text("text/plain", "Microsoft Connect Test")
	windowsOld = text("text/plain", "Microsoft NCSI")
	networkMan = text("text/plain", "NetworkManager is online\n")
	fedora     = text("text/plain", "OK")
	kindle     = text("text/html", "<html><body>81ce4465-7167-4dcb-835b-dcc9e44c112a</body></html>\n")
	ubuntu     = &answer{http.StatusNoContent, http.Header{"Cache-Control": noStore, "X-NetworkManager-Status": {"online"}}, nil}
	// Nintendo's consoles (Switch, and before it 3DS and Wii U) check the X-Organization header.
	nintendo = &answer{http.StatusOK, http.Header{
		"Content-Type": {"text/plain"}, "Content-Length": {"2"}, "Cache-Control": noStore, "X-Organization": {"Nintendo"},
	}, []byte("ok")}
	askedByPaths = map[string]*answer{
		"/generate_204":                   noContent, // Android, ChromeOS, Chromium
		"/gen_204":                        noContent,
		"/captiveportal/generate_204":     noContent, // Edge
		"/hotspot-detect.html":            apple,
		"/library/test/success.html":      apple,
		"/connecttest.txt":                windows, // since Windows 10; also at ipv6.msftconnecttest.com
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
	// askedByHosts are hosts that serve nothing but a probe's answer, at any path.
	askedByHosts = map[string]*answer{
		"captive.apple.com":             apple,
		"connectivity-check.ubuntu.com": ubuntu,
		"nmcheck.gnome.org":             networkMan,
		"network-test.debian.org":       networkMan,
		"conncheck.opensuse.org":        networkMan,
		"ping.archlinux.org":            networkMan,
		"networkcheck.kde.org":          fedora,
		"ctest.cdn.nintendo.net":        nintendo,
		"ctest.cdn.n.nintendoswitch.cn": nintendo,
		"conntest.nintendowifi.net":     nintendo,
		"test.steampowered.com":         noContent, // Steam Deck
	}
)

// appleProbe is the prefix of the User-Agent of Apple's probe. The probe also requests hosts and paths that vary, and the page
// that it is redirected to.
const appleProbe = "CaptiveNetworkSupport"

// answerFor returns the answer that a system's probe expects, or nil if the request is not a probe. Windows' /redirect is
// not one: Windows opens it for people after its probe failed. A host may contain capitals and end in a dot.
func answerFor(host, path string) *answer {
	if a := askedByPaths[path]; a != nil {
		return a
	}
	return askedByHosts[strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(host, ":80"), "."))]
}

// probe answers a system's probe: with success to a resident who is online or dismissed the portal, else with a redirect to
// the first page.
func (s *Server) probe(w http.ResponseWriter, r *request, a *answer) {
	if !r.online() && !s.dismissed(r) {
		s.redirect(w, r)
		return
	}
	h := w.Header()
	for name, value := range a.header {
		h[name] = value
	}
	r.closeConn(h)
	w.WriteHeader(a.status)
	w.Write(a.body) // an error means that the client is gone
}
