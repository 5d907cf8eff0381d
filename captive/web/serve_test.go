package web

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestNoAddressInTheLog(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	l := NewServer(nil, slog.New(slog.NewTextHandler(&b, nil))).ErrorLog
	l.Print("http: panic serving 10.80.0.23:40000: oh")
	l.Print("http: panic serving [fe80::12:34%wlan0]:40000: oh")
	l.Print("http: TLS handshake error from 10.80.0.23:40000: remote error: tls: unknown certificate")
	l.Print("http: response from 10.80.0.23 was odd")
	got := b.String()
	if strings.Contains(got, "10.80") || strings.Contains(got, "fe80") || strings.Contains(got, "40000") {
		t.Errorf("an address is in the log:\n%s", got)
	}
	if strings.Count(got, "a client") != 3 || !strings.Contains(got, "oh") {
		t.Errorf("what happened is not in the log:\n%s", got)
	}
}
