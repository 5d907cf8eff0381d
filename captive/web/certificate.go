package web

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
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
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"passerelle/appliance/private"
)

// The dates of the box's own certificate. The board has no clock battery and may issue it at any date, while the phones that verify
// it know the time. A browser remembers that its user trusts this certificate, so renewals should be rare.
var (
	// Apple's systems refuse a certificate of more than 825 days without asking their user if it begins after June 2019
	// (https://support.apple.com/103769). This one begins earlier.
	certificateBegins = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)
	// The true time is later than this, whatever the clock says.
	certificateKnown = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
)

const (
	certificateYears = 10
	certificateSpare = 1 // years before its expiry at which it is renewed
)

// Certificate is the box's own self-signed certificate. It serves the pages that need https, because they carry a password or a
// lender's link; no authority certifies a box without a public name. It is safe for concurrent use.
type Certificate struct {
	Path string                                       // of the file with the certificate and its key
	Site func() (hostname string, address netip.Addr) // the box's current name and address
	Now  func() time.Time
	Log  *slog.Logger

	mu   sync.Mutex
	pair *tls.Certificate
}

// get returns the certificate in memory, or else the file's, or a new one if that does not fit. A new certificate that cannot be
// written to the file is used until the daemon ends.
func (c *Certificate) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair == nil {
		pair, err := readCertificate(c.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.Log.Warn("the box's certificate cannot be read: a new one is made", "error", err)
		}
		c.pair = pair
	}
	hostname, address := c.Site()
	if c.pair != nil && fits(c.pair.Leaf, hostname, address, c.Now()) {
		return c.pair, nil
	}
	pair, text, err := makeCertificate(hostname, address, c.Now())
	if err != nil {
		return nil, fmt.Errorf("create the box's certificate: %w", err)
	}
	if err := writeCertificate(c.Path, text); err != nil {
		c.Log.Warn("the box's new certificate will not outlive the daemon", "error", err)
	}
	c.pair = pair
	return pair, nil
}

// Fingerprint returns the SHA-256 of the certificate as browsers show it, in four groups of eight bytes in hex. With it a person can
// tell the box's pages from an impostor's.
func (c *Certificate) Fingerprint() (string, error) {
	pair, err := c.get()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, octet := range sha256.Sum256(pair.Leaf.Raw) {
		switch {
		case i == 0:
		case i%8 == 0:
			b.WriteByte(' ')
		default:
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%02X", octet)
	}
	return b.String(), nil
}

// fits says whether a certificate is for the box's names, and not about to expire.
func fits(leaf *x509.Certificate, hostname string, address netip.Addr, now time.Time) bool {
	return leaf.VerifyHostname(hostname) == nil && leaf.VerifyHostname(address.String()) == nil &&
		now.Before(leaf.NotAfter.AddDate(-certificateSpare, 0, 0))
}

// makeCertificate returns a new certificate, and its file's content.
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

		BasicConstraintsValid: true, // with IsCA false: it certifies only itself
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

// writeCertificate writes certificate and key into one file, so that they always match.
func writeCertificate(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("create the state folder: %w", err)
	}
	if err := private.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// errNotOurs ends a TLS handshake for another site's name.
var errNotOurs = errors.New("the client requests another site's name")

// TLS returns the box's TLS configuration. While the box is not sharing, every name resolves to the box. A connection to another
// site's name is closed without an answer, as if nothing listened there, so no user is asked to trust a certificate for another site.
func (c *Certificate) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Of TLS 1.2, only the cipher suites with authenticated encryption; crypto/tls would also accept CBC. The
		// certificate's key is ECDSA. All suites of 1.3 qualify.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos: []string{"http/1.1"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			hostname, address := c.Site()
			name := strings.TrimSuffix(hello.ServerName, ".")
			if name != "" && !strings.EqualFold(name, hostname) && name != address.String() {
				hello.Conn.Close() // before crypto/tls answers
				return nil, errNotOurs
			}
			return nil, nil
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get() },
	}
}
