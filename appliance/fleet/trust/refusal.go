package trust

import (
	"errors"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Reason is why a file was refused.
type Reason string

// The reasons.
const (
	Unsigned Reason = "unsigned" // too few of the keys that may sign it have signed it
	Expired  Reason = "expired"  // it was valid once
	Older    Reason = "older"    // than a version that the box has seen
	Damaged  Reason = "damaged"  // it is not what the signed files say, or not such a file at all
	Missing  Reason = "missing"  // no role has signed such a file
)

// Refusal is the error for a file that is not trusted.
type Refusal struct {
	Reason Reason
	File   string
	Err    error
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s is refused (%s): %v", r.File, r.Reason, r.Err)
}

func (r *Refusal) Unwrap() error { return r.Err }

// refuse returns the library's error as a Refusal with its reason.
func refuse(file string, err error) error {
	reason := Damaged
	switch {
	case errors.Is(err, &metadata.ErrUnsignedMetadata{}):
		reason = Unsigned
	// The library's errors for bad versions and expired files also match ErrRepository, so these cases come first.
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		reason = Expired
	case errors.Is(err, &metadata.ErrBadVersionNumber{}):
		reason = Older
	}
	return &Refusal{reason, file, err}
}

func (t *Trust) expired(file string, when time.Time) error {
	return &Refusal{Expired, file, fmt.Errorf("it was good until %s, and it is %s", when.UTC().Format(time.DateOnly),
		t.reference.UTC().Format(time.DateOnly))}
}
