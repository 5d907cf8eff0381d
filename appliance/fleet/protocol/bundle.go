package protocol

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
)

// Bundle is what a box needs in order to authenticate the hubs of its fleet and to ask for a membership. The maker of the fleet puts
// it on the card. It is not secret: its key may only ask for enrolment. It does not contain the hubs' addresses. These are in the
// box's configuration, which decides whether the box has a fleet at all, and shows a technician whom the box talks to.
type Bundle struct {
	Roots string `json:"roots"` // the CA certificates that sign the hubs', PEM
	Token string `json:"token"` // JWT of the user that asks for enrolment
	Seed  string `json:"seed"`  // the nkey seed of that user
}

// BundleFile is the path on the card where the maker of the fleet puts the bundle.
const BundleFile = "/usr/share/passerelle/fleet.json"

// MaxBundle is the limit of a bundle's text, in bytes.
const MaxBundle = 64 << 10

// ParseBundle reads a bundle's text, which is JSON.
func ParseBundle(text []byte) (Bundle, error) {
	var b Bundle
	if len(text) > MaxBundle {
		return b, fmt.Errorf("read the fleet's bundle: it is longer than %d bytes", MaxBundle)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return Bundle{}, fmt.Errorf("read the fleet's bundle: %w", err)
	}
	if err := b.check(); err != nil {
		return Bundle{}, fmt.Errorf("read the fleet's bundle: %w", err)
	}
	return b, nil
}

func (b Bundle) check() error {
	if _, err := b.Pool(); err != nil {
		return err
	}
	if b.Token == "" || b.Seed == "" {
		return errors.New("its token or seed is missing")
	}
	return nil
}

// Pool returns the CA certificates that sign the hubs'.
func (b Bundle) Pool() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(b.Roots)) {
		return nil, errors.New("it has no certificate of the hubs' authority")
	}
	return pool, nil
}
