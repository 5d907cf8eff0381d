package web

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestNoAddressInTheLog(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	l := NewServer(nil, slog.New(slog.NewTextHandler(&b, nil))).ErrorLog
	l.Print("http: panic serving 10.80.0.23:40000: oh")
	l.Print("http: panic serving [fe80::12:34%wlan0]:40000: oh")
	l.Print("http: TLS handshake error from 10.80.0.23:40000: remote error: tls: unknown certificate")
	l.Print("http: URL query contains semicolon, which is no longer a supported separator")
	l.Print("http: response from 10.80.0.23 was odd")
	got := b.String()
	if strings.Contains(got, "10.80") || strings.Contains(got, "fe80") || strings.Contains(got, "40000") {
		t.Errorf("an address is in the log:\n%s", got)
	}
	if strings.Count(got, "a client") != 3 || !strings.Contains(got, "oh") {
		t.Errorf("what happened is not in the log:\n%s", got)
	}
	if strings.Count(got, "\n") != 3 || strings.Count(got, "level=ERROR") != 2 {
		t.Errorf("not two faults of ours and a warning:\n%s", got)
	}
	b.Reset()
	l.Print("http: panic serving 10.80.0.23:40000: oh\n" + strings.Repeat("where é\n", 10_000))
	if b.Len() > 2*maxComplaint || !strings.Contains(b.String(), "oh") {
		t.Errorf("a panic makes %d bytes", b.Len())
	}
}

// deadlines is a ResponseWriter that counts how often its client's deadline is extended.
type deadlines struct {
	*httptest.ResponseRecorder
	given int
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	if time.Until(t) <= 0 {
		return errors.New("no time at all")
	}
	d.given++
	return nil
}

// Each piece of a large answer has a deadline, and writers without deadlines work as well.
func TestExtendDeadline(t *testing.T) {
	t.Parallel()
	film := strings.Repeat("film", 100_000)
	d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	for _, w := range []http.ResponseWriter{d, httptest.NewRecorder()} {
		if n, err := io.Copy(ExtendDeadline(w), io.LimitReader(strings.NewReader(film), int64(len(film)))); err != nil || n != int64(len(film)) {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	if d.given < 10 || d.Body.String() != film {
		t.Errorf("more time was given %d times, %d bytes arrived", d.given, d.Body.Len())
	}
}

// TestReadForm: a small form is read; a larger one, or a body that is not a form, is an error.
func TestReadForm(t *testing.T) {
	t.Parallel()
	const form = "application/x-www-form-urlencoded"
	for _, test := range []struct {
		kind, body string
		want       string // a value, or the error
	}{
		{form, "text=a+drill%21&text=b", "a drill!"},
		{form + "; charset=utf-8", "text=a", "a"},
		{form, "", ""},
		{form, "text=" + strings.Repeat("a", 1<<20), "too large"},
		{form, "text=%zz", "not a form of ours"},
		{"multipart/form-data; boundary=x", "--x--", "not a form of ours"},
		{"text/plain", "text=a", "not a form of ours"},
		{"", "text=a", "not a form of ours"},
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/board?text=query", strings.NewReader(test.body))
		if r.Header.Set("Content-Type", test.kind); test.kind == "" {
			r.Header.Del("Content-Type")
		}
		values, err := (&Request{Request: r}).ReadForm(w, 1000)
		got := values.Get("text")
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, test.want) || test.want == "" && got != "" {
			t.Errorf("%q of %q: %q, want %q", test.body[:min(20, len(test.body))], test.kind, got, test.want)
		}
	}
}
