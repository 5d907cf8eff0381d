package webtest

import (
	"io"
	"net"
	"testing"
	"time"
)

// DialFrom connects from one of the loopback addresses.
func DialFrom(t testing.TB, from, to string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	return c, c.SetDeadline(time.Now().Add(20 * time.Second))
}

// Exchange sends raw bytes from an address and returns everything received until the server closes.
func Exchange(t testing.TB, from, to, raw string) (string, error) {
	t.Helper()
	c, err := DialFrom(t, from, to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := io.WriteString(c, raw); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// GetFirst requests the first page on a connection of its own.
const GetFirst = "GET / HTTP/1.1\r\nHost: 10.80.0.1\r\nConnection: close\r\n\r\n"
