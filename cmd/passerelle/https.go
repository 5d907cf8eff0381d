package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"passerelle/captive/web"
)

// certificateFile is where the state folder has the certificate and its key.
const certificateFile = "https.pem"

// When the box's own certificate is valid. The board has no clock battery and may make it on any day of any year, while
// the phones that judge it know the time. A browser remembers that its user trusts this certificate, so a new one is rare.
var (
	// Apple's systems refuse a certificate of more than 825 days without asking their user if it begins after June 2019
	// (https://support.apple.com/103769). This one begins earlier.
	certificateBegins = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)
	// It is later than this, whatever the clock says.
	certificateKnown = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
)

const (
	certificateYears = 10
	certificateSpare = 1 // years before its end when it is made anew
)

// certificate is the box's own, self-made: the pages on https hold a password or a lender's link, and no authority
// certifies a box without a public name. It is safe for concurrent use.
type certificate struct {
	path string
	site func() (hostname string, address netip.Addr) // what the box is called now
	now  func() time.Time
	log  *slog.Logger

	mu   sync.Mutex
	pair *tls.Certificate
}

// get returns the certificate: the one in memory, the file's, or a new one if that does not fit. One that cannot be
// written serves all the same, until the daemon ends.
func (c *certificate) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair == nil {
		pair, err := readCertificate(c.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("the box's certificate cannot be read: a new one is made", "error", err)
		}
		c.pair = pair
	}
	hostname, address := c.site()
	if c.pair != nil && fits(c.pair.Leaf, hostname, address, c.now()) {
		return c.pair, nil
	}
	pair, text, err := makeCertificate(hostname, address, c.now())
	if err != nil {
		return nil, fmt.Errorf("make the box's certificate: %w", err)
	}
	if err := writeCertificate(c.path, text); err != nil {
		c.log.Warn("the box's new certificate will not outlive the daemon", "error", err)
	}
	c.pair = pair
	return pair, nil
}

// fits says whether a certificate is the box's, and not near its end.
func fits(leaf *x509.Certificate, hostname string, address netip.Addr, now time.Time) bool {
	return leaf.VerifyHostname(hostname) == nil && leaf.VerifyHostname(address.String()) == nil &&
		now.Before(leaf.NotAfter.AddDate(-certificateSpare, 0, 0))
}

// makeCertificate returns a new certificate, and the text of its file.
func makeCertificate(hostname string, address netip.Addr, now time.Time) (*tls.Certificate, []byte, error) {
	if now.Before(certificateKnown) {
		now = certificateKnown
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: hostname},
		DNSNames:     []string{hostname},
		IPAddresses:  []net.IP{address.AsSlice()},
		NotBefore:    certificateBegins,
		NotAfter:     now.AddDate(certificateYears, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},

		BasicConstraintsValid: true, // of none but itself
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	text := bytes.Join([][]byte{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}, nil)
	pair, err := tls.X509KeyPair(text, text)
	return &pair, text, err
}

// readCertificate reads the file that writeCertificate wrote.
func readCertificate(path string) (*tls.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return &pair, nil
}

// writeCertificate writes certificate and key, in one file so that they always go together.
func writeCertificate(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	// Beside it: /tmp is no place for a key, and a factory reset does not look there.
	if err := renameio.WriteFile(path, text, 0o600, renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// errNotOurs ends a handshake for another site's name.
var errNotOurs = errors.New("a client wants another site's name")

// tlsConfig is how the box speaks TLS. While the box shares nothing, every name leads residents' browsers and apps here:
// they find the connection closed, as if nobody listened, and nobody is asked to trust a certificate for another site.
func (c *certificate) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Of TLS 1.2 what crypto/tls would take besides is not authenticated with its encryption (CBC). The certificate's key
		// is ECDSA's. Those of 1.3 are all of this kind.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos: []string{"http/1.1"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			hostname, address := c.site()
			name := strings.TrimSuffix(hello.ServerName, ".")
			if name != "" && !strings.EqualFold(name, hostname) && name != address.String() {
				hello.Conn.Close() // before crypto/tls says anything
				return nil, errNotOurs
			}
			return nil, nil
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get() },
	}
}

// serve serves h on l, which is limited, with the certificate until ctx ends.
func (c *certificate) serve(ctx context.Context, l net.Listener, h http.Handler) error {
	return serve(ctx, web.NewServer(h, c.log), tls.NewListener(l, c.tlsConfig()))
}
