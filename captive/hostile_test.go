package captive

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"passerelle/captive/web/webtest"
)

// Requests that no browser sends get a suitable answer, and the next resident is served.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	addr := serve(t, newServer(newFakeBox()))
	const host, end = "Host: 10.80.0.1\r\n", "Connection: close\r\n\r\n"
	for _, test := range []struct {
		name, raw string
		status    string
	}{
		{"a header of 1 MB", "GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("a", 1<<20) + "\r\n" + end, "431"},
		{"60,000 headers", "GET / HTTP/1.1\r\n" + host + strings.Repeat("X: a\r\n", 60_000) + end, "431"},
		{"a URL of 8 kB", "GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\n" + host + end, "404"},
		{"a URL of 8 kB elsewhere", "GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\nHost: example.org\r\n" + end, "511"},
		{"a query of 12 kB", "GET /?" + strings.Repeat("&", 12<<10) + " HTTP/1.1\r\n" + host + end, "200"},
		{"a query of 12 kB elsewhere", "GET /?" + strings.Repeat("%", 12<<10) + " HTTP/1.1\r\nHost: example.org\r\n" + end, "511"},
		{"a URL of 1 MB", "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\n" + host + end, "431"},
		{"no User-Agent, nor anything else", "GET / HTTP/1.0\r\n\r\n", "511"},
		{"no Host", "GET / HTTP/1.1\r\n" + end, "400"},
		{"an empty Host", "GET / HTTP/1.1\r\nHost: \r\n" + end, "511"},
		{"two Hosts", "GET / HTTP/1.1\r\n" + host + host + end, "400"},
		{"a whole URL", "GET http://example.org/ HTTP/1.1\r\n" + host + end, "511"},
		{"a proxy's method", "CONNECT example.org:443 HTTP/1.1\r\n" + host + end, "511"},
		{"an unknown method", "BREW / HTTP/1.1\r\n" + host + end, "405"},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"},
		{"a body that is announced too large", "POST /session HTTP/1.1\r\n" + host + "Content-Length: 100000000\r\n" + end, "413"},
		{"a body that is too large", "POST /session HTTP/1.1\r\n" + host + "Content-Length: 5000\r\n" + end + strings.Repeat("a", 5000), "413"},
		{"a body of many pieces", "POST /session HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n" + end +
			strings.Repeat("100\r\n"+strings.Repeat("a", 256)+"\r\n", 20) + "0\r\n\r\n", "413"},
		{"a body that is no body", "POST /session HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n" + end + "zz\r\n", "400"},
		{"a form", "POST /session HTTP/1.1\r\n" + host + "Content-Length: 3\r\n" + end + "a=b", "303"},
		{"garbage for a language", "GET / HTTP/1.1\r\n" + host + "Accept-Language: \xff\xfe,;q=,-,a-" + strings.Repeat("x-", 100) + "\r\n" + end, "200"},
		{"garbage for a coding", "GET / HTTP/1.1\r\n" + host + "Accept-Encoding: ;;q=,gzip;q=0,,gzip\r\n" + end, "200"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := webtest.Exchange(t, "127.0.0.2", addr, test.raw)
			if !strings.HasPrefix(got, "HTTP/1.1 "+test.status) && !strings.HasPrefix(got, "HTTP/1.0 "+test.status) {
				t.Errorf("got %.60q, %v; want %s", got, err, test.status)
			}
			if got, err := webtest.Exchange(t, "127.0.0.3", addr, webtest.GetFirst); err != nil || !strings.HasPrefix(got, "HTTP/1.1 200") {
				t.Errorf("the next resident got %.60q, %v", got, err)
			}
		})
	}
}

// The handler neither panics nor reports an internal error, whatever net/http passes to it.
func FuzzServe(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: 10.80.0.1\r\nAccept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, br\r\n\r\n")
	f.Add("POST /session?lang=en HTTP/1.1\r\nHost: partage.internal:80\r\nOrigin: http://partage.internal\r\nContent-Length: 1\r\n\r\na")
	f.Add("GET http://[::1]:80/generate_204?x HTTP/1.1\r\nHost: a\r\nSec-Fetch-Site: none\r\n\r\n")
	f.Add("HEAD /session HTTP/1.0\r\nAccept: application/json\r\n\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		r.RemoteAddr = resident + ":40000"
		b := newFakeBox()
		s := newServer(b)
		if len(raw)%2 == 0 {
			b.has(nil)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusNetworkAuthenticationRequired || w.Code < 200 {
			t.Errorf("status %d", w.Code)
		}
		if _, err := io.Copy(io.Discard, w.Body); err != nil {
			t.Error(err)
		}
		if w.Header().Get("Location") != "" && strings.ContainsAny(w.Header().Get("Location"), "\r\n") {
			t.Errorf("Location %q", w.Header().Get("Location"))
		}
	})
}
