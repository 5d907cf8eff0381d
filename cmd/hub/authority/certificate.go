package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// since is when all certificates begin. A board without a clock assumes the day on which its program was built, which may be before its fleet
// was made.
var since = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// How long certificates hold, in years.
const (
	caYears   = 40
	hostYears = 10
)

// Pair is a certificate and its private key, both PEM. If one text holds both, it is the value of both fields.
type Pair struct{ Certificate, Key []byte }

// One returns the pair as one text, for a file in which both are replaced at once.
func (p Pair) One() []byte { return append(slices.Clone(p.Certificate), p.Key...) }

// TLS returns the pair for a server. It is an error if the certificate and the key do not match.
func (p Pair) TLS() (tls.Certificate, error) {
	c, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		return c, fmt.Errorf("read a certificate and its key: %w", err)
	}
	return c, nil
}

// leaf returns the certificate.
func (p Pair) leaf() (*x509.Certificate, error) {
	c, err := p.TLS()
	if err != nil {
		return nil, err
	}
	return c.Leaf, nil
}

// End returns when the certificate ends.
func (p Pair) End() (time.Time, error) {
	c, err := p.leaf()
	if err != nil {
		return time.Time{}, err
	}
	return c.NotAfter, nil
}

// Belongs returns an error unless one of the certificates in roots, PEM, signed the pair's certificate, which may have ended.
func (p Pair) Belongs(roots []byte) error {
	c, err := p.leaf()
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	if _, err := c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: c.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		return fmt.Errorf("a hub's certificate: %w", err)
	}
	return nil
}

// NewCA makes the authority that signs the hubs' certificates.
func NewCA(now time.Time) (Pair, error) {
	return certificate(&x509.Certificate{
		Subject: pkix.Name{CommonName: "Passerelle fleet"}, NotAfter: now.AddDate(caYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
}

// Host makes the certificate of a hub for its host name or address. The hub shows it to boxes as a server, and to other hubs also as a
// client.
func (ca Pair) Host(host string, now time.Time) (Pair, error) {
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: host}, NotAfter: now.AddDate(hostYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		t.IPAddresses = []net.IP{ip}
	} else {
		t.DNSNames = []string{host}
	}
	return certificate(t, &ca)
}

func certificate(t *x509.Certificate, ca *Pair) (Pair, error) {
	fail := func(err error) (Pair, error) {
		return Pair{}, fmt.Errorf("make the certificate of %s: %w", t.Subject.CommonName, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fail(err)
	}
	t.SerialNumber, t.NotBefore = serial, since
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	parent, signer := t, key
	if ca != nil {
		if parent, signer, err = ca.parse(); err != nil {
			return fail(err)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return fail(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fail(err)
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}

func (ca Pair) parse() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	c, _ := pem.Decode(ca.Certificate)
	k, _ := pem.Decode(ca.Key)
	if c == nil || k == nil {
		return nil, nil, errors.New("the authority is no PEM")
	}
	certificate, err := x509.ParseCertificate(c.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(k.Bytes)
	if err != nil {
		return nil, nil, err
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("the authority's key is a %T", key)
	}
	return certificate, signer, nil
}
