package store

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"go.etcd.io/bbolt"

	"passerelle/appliance/ledger"
)

// Set stores the hash of the token in a donation's link. It replaces the hash of the previous link.
func (s *Store) Set(donation string, hash [sha256.Size]byte) error {
	err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(linksBucket).Put([]byte(donation), hash[:]) })
	if err != nil {
		return fmt.Errorf("write the link of %q: %w", donation, err)
	}
	return nil
}

// Donation returns the name of the donation whose link has a token of this hash.
func (s *Store) Donation(hash [sha256.Size]byte) (name string, ok bool) {
	// Reading fails only once the store is closed.
	_ = s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(linksBucket).ForEach(func(donation, kept []byte) error {
			if bytes.Equal(kept, hash[:]) {
				name, ok = string(donation), true
			}
			return nil
		})
	})
	return name, ok
}

// SetPaused stores a donation's pause; the zero pause removes it. It returns once the change is on disk.
func (s *Store) SetPaused(donation string, p ledger.Pause) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		if p.By == "" {
			return tx.Bucket(pausesBucket).Delete([]byte(donation))
		}
		return tx.Bucket(pausesBucket).Put([]byte(donation), []byte(p.Text()))
	})
	if err != nil {
		return fmt.Errorf("write the pause of %q: %w", donation, err)
	}
	return nil
}

// Paused returns the pauses by donation. A pause whose end cannot be read has no end.
func (s *Store) Paused() (map[string]ledger.Pause, error) {
	paused := map[string]ledger.Pause{}
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(pausesBucket).ForEach(func(donation, text []byte) error {
			paused[string(donation)], _ = ledger.ParsePause(string(text))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the pauses: %w", err)
	}
	return paused, nil
}

// Known tells whether there is an account for a donation of this name, even if it is no longer configured.
func (s *Store) Known(donation string) (known bool) {
	// Reading fails only once the store is closed.
	_ = s.db.View(func(tx *bbolt.Tx) error {
		known = tx.Bucket(accountsBucket).Get([]byte(donation)) != nil
		return nil
	})
	return known
}
