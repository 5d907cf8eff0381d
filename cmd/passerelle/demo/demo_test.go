package demo

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/appliance/config"
)

func TestStoryEndsWithTheFirstFailure(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	screen := newScreen(&out, func() { t.Error("the screen broke") })
	said := func(seen string, err error) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return seen, err }
	}
	err := story{
		{"One", said("fine\nvery fine", nil)},
		{"Two", said("half of it", errors.New("the other half is missing\nfor a reason"))},
		{"Three", said("", errors.New("must not be played"))},
	}.play(t.Context(), screen)
	if err == nil || err.Error() != "step 2 failed: Two" {
		t.Errorf("the story ended with %v", err)
	}
	const want = " 1  One\n  ✓ fine\n  ✓ very fine\n\n" +
		" 2  Two\n  ✓ half of it\n  ✗ the other half is missing\n    for a reason\n\n"
	if out.String() != want {
		t.Errorf("the story was told as\n%s\nwant\n%s", out.String(), want)
	}

	ctx, cancel := context.WithCancel(t.Context())
	err = story{{"One", func(context.Context) (string, error) { cancel(); return "", ctx.Err() }}}.play(ctx, screen)
	if err == nil || !strings.HasPrefix(err.Error(), "interrupted at step 1") {
		t.Errorf("an interrupted story ended with %v", err)
	}
}

func TestScreenDraws(t *testing.T) {
	t.Parallel()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	bars := []bar{rateBar("Amina", 2e6, 8e6), rateBar("Bo", 8e6, 8e6)}

	var out bytes.Buffer
	terminal := screen{out: &out, fd: int(null.Fd())} // of unknown width: 80
	terminal.draw("sharing", time.Hour, bars...)
	terminal.last = time.Time{}
	terminal.draw("sharing", time.Hour, bars...)
	const clear = "\r\x1b[2K    "
	frame := clear + "sharing\n" +
		clear + "Amina  " + strings.Repeat("█", 12) + "▌" + strings.Repeat("░", 37) + "  2.0 Mbit/s\n" +
		clear + "Bo     " + strings.Repeat("█", 50) + "  8.0 Mbit/s\n"
	if want := frame + "\x1b[3A" + frame; out.String() != want {
		t.Errorf("on a terminal %q, want %q", out.String(), want)
	}

	out.Reset()
	terminal.drawn, terminal.last = 0, time.Time{}
	terminal.draw("", time.Hour, bar{"card", []part{{0.5, solid, ""}, {0.26, "▓", ""}, {0.2, "▚", ""}}, "10.0 MB"})
	want := clear + "card  " +
		strings.Repeat("█", 25) + strings.Repeat("▓", 13) + strings.Repeat("▚", 10) + "░░  10.0 MB\n"
	if out.String() != want {
		t.Errorf("a bar of parts is %q, want %q", out.String(), want)
	}

	out.Reset()
	file := newScreen(&out, nil)
	file.draw("sharing", time.Hour, bars...)
	file.draw("sharing", time.Hour, bars...)
	if want := "    sharing, Amina 2.0 Mbit/s, Bo 8.0 Mbit/s\n"; out.String() != want {
		t.Errorf("in a file %q, want %q", out.String(), want)
	}

	broken := false
	newScreen(failingWriter{}, func() { broken = true }).say("hello")
	if !broken {
		t.Error("a screen that takes nothing was not noticed")
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestNeedsRoot(t *testing.T) {
	t.Parallel()
	if err := needs(1000); err == nil || !strings.Contains(err.Error(), "sudo") {
		t.Errorf("without root: %v", err)
	}
}

// TestDoors: a port in use is reported, or another port is used if none was named.
func TestDoors(t *testing.T) {
	t.Parallel()
	open := func(address string) doors {
		t.Helper()
		d, err := openDoors(address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.close)
		return d
	}
	d := open("")
	_, err := openDoors(d.plain.Addr().String())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("a port that is taken: %v", err)
	}
	if other := open(""); other.url("") == d.url("") || other.secureURL() == d.secureURL() {
		t.Error("two have the same port")
	}
	for _, door := range []string{d.url(""), d.secureURL(), open("127.0.0.2:0").secureURL()} {
		if u, err := url.Parse(door); err != nil || !strings.HasPrefix(u.Host, "127.0.0.") {
			t.Errorf("%s is not on loopback: %v", door, err)
		}
	}
}

// TestStays: the demo stays open only if somebody can end it, or if its address was given.
func TestStays(t *testing.T) {
	t.Parallel()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, c := range []struct {
		o    Options
		want bool
	}{
		{Options{In: terminal}, true},
		{Options{In: null}, false},
		{Options{}, false},
		{Options{In: null, Listen: "127.0.0.1:0"}, true},
		{Options{In: terminal, Listen: "127.0.0.1:0", Once: true}, false},
	} {
		if is := c.o.stays(); is != c.want {
			t.Errorf("%+v stays: %v", c.o, is)
		}
	}
}

// TestWindow: what a resident sees has the browser's own addresses. There is no answer for a name that a foreign name server could
// resolve to this machine.
func TestWindow(t *testing.T) {
	t.Parallel()
	d, err := openDoors("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	conf, err := config.Parse("the demo's configuration", []byte(boxConfig))
	if err != nil {
		t.Fatal(err)
	}
	var asked *http.Request
	location := ""
	w := newWindow(nil, conf, d)
	w.forward = answers(func(r *http.Request) *http.Response {
		asked = r
		return &http.Response{StatusCode: http.StatusFound, Header: http.Header{"Location": {location}}, Body: http.NoBody}
	})
	plain, secure := strings.TrimPrefix(d.url(""), "http://"), strings.TrimPrefix(d.secureURL(), "https://")
	_, plainPort, _ := strings.Cut(plain, ":")
	_, securePort, _ := strings.Cut(secure, ":")
	for _, c := range []struct {
		host, origin, location string
		tls                    bool
		to, from, leads        string
	}{
		{plain, "http://" + plain, "http://10.80.0.1/", false, "http://10.80.0.1", "http://10.80.0.1", "http://" + plain + "/"},
		{plain, "http://elsewhere.example", "/session", false, "http://10.80.0.1", "http://elsewhere.example", "/session"},
		{plain, "", "https://10.80.0.1/admin/", false, "http://10.80.0.1", "", "https://" + secure + "/admin/"},
		{"localhost:" + plainPort, "", "https://partage.internal/admin/", false, "http://10.80.0.1", "", "https://localhost:" + securePort + "/admin/"},
		{secure, "https://" + secure, "/admin/", true, "https://10.80.0.1", "https://10.80.0.1", "/admin/"},
		{secure, "", "http://10.80.0.1/", true, "https://10.80.0.1", "", "http://" + plain + "/"},
		{secure, "", "http://10.80.0.10/", true, "https://10.80.0.1", "", "http://10.80.0.10/"},
		{"internet.localhost:" + plainPort, "", "http://10.80.0.1/", false, "http://www.example", "", "http://" + plain + "/"},
		{"[::1]:" + plainPort, "", "https://10.80.0.1/", false, "http://10.80.0.1", "", "https://[::1]:" + securePort + "/"},
	} {
		location = c.location
		q := httptest.NewRequest(http.MethodPost, "http://"+c.host+"/", nil)
		if c.origin != "" {
			q.Header.Set("Origin", c.origin)
		}
		if c.tls {
			q.TLS = &tls.ConnectionState{}
		}
		out := httptest.NewRecorder()
		w.ServeHTTP(out, q)
		to := asked.URL.Scheme + "://" + asked.URL.Host
		if from := asked.Header.Get("Origin"); to != c.to || from != c.from || out.Header().Get("Location") != c.leads {
			t.Errorf("%+v: %s was asked from %q, and leads to %s", c, to, from, out.Header().Get("Location"))
		}
	}
	for _, host := range []string{"evil.example", "evil.example:8080", "10.80.0.1.evil.example", "evil.localhost", ""} {
		out := httptest.NewRecorder()
		q := httptest.NewRequest(http.MethodGet, "http://x/", nil)
		q.Host = host
		if w.ServeHTTP(out, q); out.Code != http.StatusMisdirectedRequest {
			t.Errorf("%q is answered %d", host, out.Code)
		}
	}
}

// answers answers requests.
type answers func(*http.Request) *http.Response

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r), nil }
