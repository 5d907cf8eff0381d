package captive

import (
	"net/http"
	"strings"
	"testing"
)

// asked are requests for another site as real clients send them; page says whether a person would see the answer.
var asked = []struct {
	name, headers string // "Name: value", one per line
	page          bool
}{
	{"Chrome", "User-Agent: Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36\n" +
		"Upgrade-Insecure-Requests: 1\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7", true},
	{"Chrome, a picture", "Referer: http://news.example/\nAccept: image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", false},
	{"Chrome, a style", "Referer: http://news.example/\nAccept: text/css,*/*;q=0.1", false},
	{"Chrome, fetch", "Referer: http://news.example/\nOrigin: http://news.example\nAccept: */*", false},
	{"Chrome, a film", "Referer: http://news.example/\nAccept: */*\nRange: bytes=0-", false},
	{"Chrome, the rest of a download", "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\n" +
		"Range: bytes=1048576-\nIf-Range: \"5f1\"", false},
	{"Firefox", "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\nPriority: u=0, i", true},
	{"Firefox, looking again at a page that it has", "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\n" +
		"If-None-Match: \"5f1\"\nIf-Modified-Since: Sat, 21 Nov 2026 12:00:00 GMT", true},
	{"Firefox 3", "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\nKeep-Alive: 300", true},
	{"Safari, in a sign-in window", "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true},
	{"Android's old browser", "User-Agent: Mozilla/5.0 (Linux; U; Android 2.3.6; fr-fr; GT-S5830 Build/GINGERBREAD) AppleWebKit/533.1 (KHTML, like Gecko) Version/4.0 Mobile Safari/533.1\n" +
		"Accept: application/xml,application/xhtml+xml,text/html;q=0.9,text/plain;q=0.8,image/png,*/*;q=0.5", true},
	{"Android's old WebView, which names its app", "X-Requested-With: com.android.captiveportallogin\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", true},
	{"KaiOS", "User-Agent: Mozilla/5.0 (Mobile; Nokia_2720_Flip; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5.2\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true},
	{"Edge, before Chromium", "Accept: text/html, application/xhtml+xml, image/jxr, */*", true},
	{"Internet Explorer 9", "User-Agent: Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0)\nAccept: text/html, application/xhtml+xml, */*", true},
	{"Opera on a feature phone", "User-Agent: Opera/9.80 (J2ME/MIDP; Opera Mini/7.1/191.308; U; fr) Presto/2.12.423 Version/12.16\n" +
		"Accept: text/html, application/xml;q=0.9, application/xhtml+xml, image/png, image/webp, image/jpeg, image/gif, image/x-xbitmap, */*;q=0.1", true},
	{"a WAP phone", "User-Agent: Nokia6230/2.0 (04.44) Profile/MIDP-2.0 Configuration/CLDC-1.1\n" +
		"Accept: application/vnd.wap.wmlscriptc, text/vnd.wap.wml\nAccept: image/gif, application/vnd.wap.xhtml+xml, multipart/mixed", true},
	{"Lynx", "Accept: text/html, text/plain, text/sgml, text/css, application/xhtml+xml, */*;q=0.01", true},
	{"a browser that says so", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: iframe\nAccept: */*", true},
	{"a browser that says otherwise", "Sec-Fetch-Mode: cors\nAccept: text/html", false},
	{"jQuery, a piece of a page", "X-Requested-With: XMLHttpRequest\nAccept: text/html, */*; q=0.01", false},
	{"Internet Explorer 8, which names no type of pages: the 511 leads it on", "User-Agent: Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1)\n" +
		"Accept: image/gif, image/jpeg, image/pjpeg, application/x-shockwave-flash, application/msword, */*", false},
	{"curl", "User-Agent: curl/7.88.1\nAccept: */*", false},
	{"Wget", "User-Agent: Wget/1.21.3\nAccept: */*", false},
	{"busybox's wget", "User-Agent: Wget\nConnection: close", false},
	{"aria2", "User-Agent: aria2/1.36.0\nAccept: */*\nWant-Digest: SHA-512;q=1, SHA-256;q=1, SHA;q=0.1", false},
	{"apt, an index", "User-Agent: Debian APT-HTTP/1.3 (2.6.1)\nAccept: text/*\nCache-Control: max-age=0\nIf-Modified-Since: Sat, 21 Nov 2026 12:00:00 GMT", false},
	{"apt, a package", "User-Agent: Debian APT-HTTP/1.3 (2.6.1) non-interactive", false},
	{"git, smart", "User-Agent: git/2.39.5\nAccept: */*\nPragma: no-cache\nGit-Protocol: version=2", false},
	{"Python's urllib", "User-Agent: Python-urllib/3.11\nConnection: close", false},
	{"Python's requests", "User-Agent: python-requests/2.32.3\nAccept: */*", false},
	{"pip", "User-Agent: pip/24.0\nAccept: application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01", false},
	{"npm", "Accept: application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*", false},
	{"Java", "User-Agent: Java/1.8.0_392\nAccept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", false},
	{"Java 21", "User-Agent: Java/21.0.2\nAccept: text/html, image/gif, image/jpeg, */*; q=0.2", false},
	{"Go", "User-Agent: Go-http-client/1.1", false},
	{"an app on Android", "User-Agent: Dalvik/2.1.0 (Linux; U; Android 14; Pixel 7)", false},
	{"AntennaPod, an episode", "User-Agent: AntennaPod/3.5.0\nRange: bytes=0-", false},
	{"a reader of feeds", "User-Agent: Mozilla/5.0 (compatible; Miniflux/2.2)\n" +
		"Accept: application/xml, application/atom+xml, application/rss+xml, application/rdf+xml, application/feed+json, text/html, */*;q=0.9", false},
	{"VLC", "User-Agent: VLC/3.0.20 LibVLC/3.0.20\nRange: bytes=0-\nIcy-MetaData: 1", false},
	{"Windows' updates", "User-Agent: Microsoft BITS/7.8\nAccept: */*\nRange: bytes=0-1048575", false},
	{"Windows, a list of revoked certificates", "User-Agent: Microsoft-CryptoAPI/10.0\nAccept: */*", false},
	{"nothing at all", "", false},
}

// Clients that show pages to a person are redirected to the first page. All others get an error status, and a page that
// links a person to the first page.
func TestProgramsAreNotLed(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	for _, test := range asked {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "OPTIONS", "PROPFIND"} {
			res := ask(t, s, method+" http://news.example/episode.mp3?lang=en", append(strings.Split(test.headers, "\n"), "Accept-Language: fr")...)
			if test.page && (method == "GET" || method == "HEAD") {
				want(t, res, http.StatusFound, "Location: http://10.80.0.1/", "Cache-Control: no-store")
			} else {
				want(t, res, http.StatusNetworkAuthenticationRequired, "Location: ", "Cache-Control: no-store",
					"ETag: ", "Content-Range: ", "Connection: ")
				text := body(t, res)
				if test.name == "curl" {
					want(t, res, http.StatusNetworkAuthenticationRequired, "Content-Length: 1")
					if text != "" {
						t.Errorf("curl would write %q into its file", text)
					}
					continue
				}
				want(t, res, http.StatusNetworkAuthenticationRequired, "Content-Type: text/html; charset=utf-8")
				for _, part := range []string{`<meta http-equiv="refresh" content="0; url=http://10.80.0.1/">`, `<a href="http://10.80.0.1/">`} {
					if !strings.Contains(text, part) || len(text) > 400 {
						t.Errorf("%d bytes, want a few with %s:\n%s", len(text), part, text)
					}
				}
			}
			if t.Failed() {
				t.Fatalf("%s of %s", method, test.name)
			}
		}
	}
}

// The box's own pages, and the answers to probes, are the same for all clients.
func TestProgramsHaveTheBoxesOwnPages(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	for _, test := range asked {
		headers := strings.Split(test.headers, "\n")
		want(t, ask(t, s, "GET /", headers...), http.StatusOK)
		want(t, ask(t, s, "GET http://connectivitycheck.gstatic.com/generate_204", headers...), http.StatusFound, "Location: http://10.80.0.1/")
		if t.Failed() {
			t.Fatal(test.name)
		}
	}
}
