package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"

	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/private"
)

// membership is what the box keeps on disk.
type membership struct {
	Seed        string `json:"seed"` // of the box's own key; the only secret
	Code        string `json:"code,omitempty"`
	Association string `json:"association,omitempty"`
	Token       string `json:"token,omitempty"` // only of a member
	public      string
}

func (m membership) name() string {
	if m.public == "" {
		return ""
	}
	return protocol.BoxName(m.public)
}

func (m membership) member() identity {
	return identity{name: m.name(), association: m.Association, token: m.Token, seed: m.Seed}
}

// store is the folder of a membership. It has one file, which is replaced atomically: a power cut leaves the old one or the new one.
type store struct{ dir string }

const fileMembership = "membership.json"

func (s store) file() string { return filepath.Join(s.dir, fileMembership) }

func (s store) load() (m membership, err error) {
	text, err := os.ReadFile(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return membership{}, nil
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return membership{}, fmt.Errorf("read %s: %w", s.file(), err)
	}
	if m.public, err = public(m.Seed); err != nil {
		return membership{}, fmt.Errorf("read %s: %w", s.file(), err)
	}
	return m, nil
}

func public(seed string) (string, error) {
	pair, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

func (s store) save(m membership) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return private.WriteFile(s.file(), text, 0o600)
}

// begin gives a box a code, and a key if it has none.
func (s store) begin(m membership, code string) (membership, error) {
	if m.Seed == "" {
		pair, err := nkeys.CreateUser()
		if err != nil {
			return m, err
		}
		seed, err := pair.Seed()
		if err != nil {
			return m, err
		}
		m.Seed = string(seed)
		if m.public, err = pair.PublicKey(); err != nil {
			return m, err
		}
	}
	m.Code = code
	return m, s.save(m)
}

func (s store) clear() error {
	err := os.Remove(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, private.SyncFolder(s.dir))
}
