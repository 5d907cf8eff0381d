package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// aCertificate returns a certificate kept in a folder that does not exist yet, and its file.
func aCertificate(t *testing.T, now time.Time, log io.Writer) (c *Certificate, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "state", "https.pem")
	return &Certificate{
		Path: path, Log: slog.New(slog.NewTextHandler(log, nil)), Now: func() time.Time { return now },
		Site: func() (string, netip.Addr) { return "partage.internal", netip.MustParseAddr("10.80.0.1") },
	}, path
}

// leaf returns the certificate that c serves now.
func leaf(t *testing.T, c *Certificate) *x509.Certificate {
	t.Helper()
	pair, err := c.get()
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func year(y int) time.Time { return time.Date(y, 6, 1, 12, 0, 0, 0, time.UTC) }

// A browser with a correct clock can trust a certificate that was made with any wrong clock.
func TestCertificateOfAWrongClock(t *testing.T) {
	t.Parallel()
	for _, now := range []time.Time{{}, year(1970), year(2000), year(2027), year(2038), year(2099)} {
		c, path := aCertificate(t, now, io.Discard)
		cert := leaf(t, c)
		pool := x509.NewCertPool()
		pool.AddCert(cert)
		for _, name := range []string{"partage.internal", "10.80.0.1"} {
			for _, phone := range []int{2016, 2026, 2035} {
				if _, err := cert.Verify(x509.VerifyOptions{DNSName: name, Roots: pool, CurrentTime: year(phone)}); err != nil {
					t.Errorf("made when the clock says %d, seen in %d as %s: %v", now.Year(), phone, name, err)
				}
			}
		}
		if cert.NotBefore.After(time.Date(2019, 6, 30, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("it begins %s: Apple's systems refuse so long a one", cert.NotBefore)
		}
		if cert.IsCA || cert.PublicKeyAlgorithm != x509.ECDSA {
			t.Errorf("it certifies others: %t; its key is %s", cert.IsCA, cert.PublicKeyAlgorithm)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("its file: %v, %v", info.Mode(), err)
		}
	}
}

// The same certificate is used, whatever the clock does, until its last year or until the box's name or address changes.
func TestCertificateStays(t *testing.T) {
	t.Parallel()
	c, path := aCertificate(t, year(2027), io.Discard)
	first := leaf(t, c)
	again := func(now time.Time) *Certificate {
		return &Certificate{Path: path, Log: c.Log, Site: c.Site, Now: func() time.Time { return now }}
	}
	for _, now := range []time.Time{year(1970), year(2027), year(2035)} {
		if !leaf(t, again(now)).Equal(first) {
			t.Errorf("a daemon of %d makes another", now.Year())
		}
	}
	now := year(2027)
	c.Now = func() time.Time { return now }
	if now = year(2036).AddDate(0, 0, 1); leaf(t, c).Equal(first) {
		t.Error("it is not renewed in its last year")
	}
	renewed := leaf(t, c)
	if now = year(2027); !leaf(t, c).Equal(renewed) || !leaf(t, again(now)).Equal(renewed) {
		t.Error("a clock that goes back makes another")
	}
	c.Site = func() (string, netip.Addr) { return "lilas.internal", netip.MustParseAddr("10.80.0.1") }
	if err := leaf(t, c).VerifyHostname("lilas.internal"); err != nil {
		t.Errorf("after a new name: %v", err)
	}
	c.Site = func() (string, netip.Addr) { return "lilas.internal", netip.MustParseAddr("10.81.0.1") }
	if err := leaf(t, c).VerifyHostname("10.81.0.1"); err != nil {
		t.Errorf("after a new address: %v", err)
	}
}

// TestFingerprint: the fingerprint is that of the certificate that is served, as browsers show it, and changes with it.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	c, _ := aCertificate(t, year(2027), io.Discard)
	got, err := c.Fingerprint()
	sum := sha256.Sum256(leaf(t, c).Raw)
	if plain := strings.NewReplacer(":", "", " ", "").Replace(got); err != nil || !strings.EqualFold(plain, hex.EncodeToString(sum[:])) ||
		len(strings.Fields(got)) != 4 || len(strings.Fields(got)[3]) != 23 || got != strings.ToUpper(got) {
		t.Errorf("%q is not %x; %v", got, sum, err)
	}
	c.Site = func() (string, netip.Addr) { return "lilas.internal", netip.MustParseAddr("10.80.0.1") }
	if after, err := c.Fingerprint(); err != nil || after == got {
		t.Errorf("after a new name: %q, %v", after, err)
	}
}

// A damaged file is replaced, the certificate works although its file cannot be written, and both are logged.
func TestCertificateTrouble(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c, path := aCertificate(t, year(2027), &log)
	leaf(t, c)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{"empty": {}, "torn": text[:len(text)/2], "other": []byte("no certificate")} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		c.pair = nil
		leaf(t, c)
		if _, err := readCertificate(path); err != nil || !strings.Contains(log.String(), "cannot be read") {
			t.Errorf("%s: the new file: %v; the log: %s", name, err, &log)
		}
	}
	log.Reset()
	c, path = aCertificate(t, year(2027), &log)
	if err := os.WriteFile(filepath.Dir(path), nil, 0o600); err != nil { // so that no folder can be created
		t.Fatal(err)
	}
	first := leaf(t, c)
	if !leaf(t, c).Equal(first) {
		t.Error("without a file each client gets another certificate")
	}
	if _, err := os.Stat(path); err == nil || errors.Is(err, fs.ErrPermission) || !strings.Contains(log.String(), "will not outlive") ||
		!strings.Contains(log.String(), "create the state folder: mkdir") {
		t.Errorf("%v; the log: %s", err, &log)
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("the key is in the log")
	}
}

// Concurrent clients get the same certificate.
func TestCertificateTogether(t *testing.T) {
	t.Parallel()
	c, _ := aCertificate(t, year(2027), io.Discard)
	var all [8]*tls.Certificate
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() { all[i], _ = c.get() })
	}
	group.Wait()
	for _, pair := range all {
		if pair == nil || pair != all[0] {
			t.Fatal("there are several")
		}
	}
}

// serveSecurely serves a page on loopback as the box does on https, until the test ends.
func serveSecurely(t *testing.T) (address string) {
	t.Helper()
	c, _ := aCertificate(t, year(2027), io.Discard)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the page") })
	s, served := NewServer(page, c.Log), make(chan error, 1)
	go func() { served <- s.Serve(tls.NewListener(Limit(l, NewSlots(1)), c.TLS())) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// TLS is 1.3, or 1.2 with authenticated encryption: every suite that crypto/tls implements is tried alone.
func TestSuitesOfTLS(t *testing.T) {
	t.Parallel()
	address := serveSecurely(t)
	accepted := map[string]bool{}
	try := func(version, suite uint16) {
		t.Helper()
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		client := tls.Client(conn, &tls.Config{
			InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, CipherSuites: []uint16{suite},
		})
		if err := client.Handshake(); err == nil {
			s := client.ConnectionState()
			accepted[tls.VersionName(s.Version)+" "+tls.CipherSuiteName(s.CipherSuite)] = true
		}
	}
	tried := 0
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		for _, version := range suite.SupportedVersions {
			try(version, suite.ID)
			tried++
		}
	}
	secure := 0
	for name := range accepted {
		switch {
		case strings.HasPrefix(name, "TLS 1.3 "), strings.HasPrefix(name, "TLS 1.2 TLS_ECDHE_ECDSA_WITH_") &&
			(strings.Contains(name, "_GCM_") || strings.Contains(name, "_POLY1305_")):
			secure++
		default:
			t.Errorf("accepted: %s", name)
		}
	}
	if secure < 4 || tried < 30 {
		t.Errorf("of %d tries, accepted: %v", tried, accepted)
	}
}

// Only clients that request the box itself see its certificate: others find the connection closed.
func TestOtherSitesNamesSeeNoCertificate(t *testing.T) {
	t.Parallel()
	address := serveSecurely(t)
	for name, ours := range map[string]bool{
		"": true, "partage.internal": true, "Partage.Internal": true,
		"www.caf.fr": false, "partage.internal.example.org": false, "internal": false,
	} {
		raw, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		var saw int
		client := tls.Client(raw, &tls.Config{ServerName: name, InsecureSkipVerify: true,
			VerifyConnection: func(s tls.ConnectionState) error { saw = len(s.PeerCertificates); return nil }})
		if err := raw.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		err = client.Handshake()
		if ours != (err == nil) || ours != (saw == 1) {
			t.Errorf("%q: %v, %d certificates", name, err, saw)
		}
		if !ours && !errors.Is(err, io.EOF) {
			t.Errorf("%q: %v, want a connection that is closed", name, err)
		}
		if ours {
			if _, err := io.WriteString(client, "GET / HTTP/1.0\r\n\r\n"); err != nil {
				t.Error(err)
			}
			if answer, err := io.ReadAll(client); err != nil || !strings.HasSuffix(string(answer), "the page") {
				t.Errorf("%q: %.80q, %v", name, answer, err)
			}
		}
		raw.Close()
	}
}
