package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// History is a folder with the last versions of the configuration, which only root may read: they have passwords.
type History struct {
	Dir string
}

// maxVersions is how many versions are kept.
const maxVersions = 10

// Version is a configuration that was in use, and what replaced it.
type Version struct {
	Revision Revision     `json:"revision"` // of its text
	Replaced time.Time    `json:"replaced"` // by the box's clock
	By       Role         `json:"by"`       // who replaced it
	Side     Side         `json:"side,omitempty"`
	Changes  []Difference `json:"changes"` // what then changed, without secrets
}

// Side is from where a technician reached the box: "" is the box itself, or unknown.
type Side string

// The sides.
const (
	SideHotspot Side = "hotspot"
	SideWired   Side = "wired" // a network of the connections
)

// Files of a version: its text, and what is known of it. The name before the dot is its number.
const (
	textSuffix = ".toml"
	metaSuffix = ".json"
)

// Add stores the text of a version, and removes the oldest one beyond the limit. The text is written first: what a power cut
// leaves without its other half is ignored. The same text as the last version's replaces that one: what should have replaced
// it never came.
func (h History) Add(v Version, text []byte) error {
	if err := os.MkdirAll(h.Dir, 0o700); err != nil {
		return err
	}
	numbers, err := h.numbers()
	if err != nil {
		return err
	}
	next := 1
	if len(numbers) > 0 {
		next = numbers[0] + 1
		if last, err := h.version(numbers[0]); err == nil && last.Revision == v.Revision {
			next, numbers = numbers[0], numbers[1:]
		}
	}
	meta, err := json.Marshal(v)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		suffix string
		text   []byte
	}{{textSuffix, text}, {metaSuffix, meta}} {
		if err := h.write(next, file.suffix, file.text); err != nil {
			return fmt.Errorf("keep the configuration before: %w", cmp.Or(readOnly(err), err))
		}
	}
	for _, n := range numbers[min(maxVersions-1, len(numbers)):] {
		err = errors.Join(err, os.Remove(h.path(n, metaSuffix)), os.Remove(h.path(n, textSuffix)))
	}
	return err
}

// Versions returns the versions, the last one first.
func (h History) Versions() (all []Version, err error) {
	numbers, err := h.numbers()
	for _, n := range numbers {
		if v, err := h.version(n); err == nil {
			all = append(all, v)
		}
	}
	return all, err
}

// Text returns the text of a version. The error is fs.ErrNotExist if there is none of that revision.
func (h History) Text(r Revision) ([]byte, error) {
	numbers, err := h.numbers()
	if err != nil {
		return nil, err
	}
	for _, n := range numbers {
		if v, err := h.version(n); err == nil && v.Revision == r {
			text, err := os.ReadFile(h.path(n, textSuffix))
			if err == nil && RevisionOf(text) != r {
				err = fmt.Errorf("%s is damaged", h.path(n, textSuffix))
			}
			return text, err
		}
	}
	return nil, fmt.Errorf("version %.8s: %w", r, fs.ErrNotExist)
}

// Rewrite changes the text of all versions. One that cannot be changed is removed.
func (h History) Rewrite(change func([]byte) ([]byte, error)) error {
	numbers, err := h.numbers()
	for _, n := range numbers {
		err = errors.Join(err, h.rewrite(n, change))
	}
	return err
}

func (h History) rewrite(n int, change func([]byte) ([]byte, error)) error {
	text, err := os.ReadFile(h.path(n, textSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	v, metaErr := h.version(n)
	changed, err := change(text)
	switch {
	case err != nil || metaErr != nil:
		return errors.Join(os.Remove(h.path(n, textSuffix)), os.Remove(h.path(n, metaSuffix)), syncFolder(h.Dir))
	case bytes.Equal(changed, text) && v.Revision == RevisionOf(text):
		return nil
	}
	// The text is first: what it no longer says must not come back after a power cut.
	v.Revision = RevisionOf(changed)
	meta, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return errors.Join(h.write(n, textSuffix, changed), h.write(n, metaSuffix, meta))
}

// write replaces a file of a version.
func (h History) write(n int, suffix string, text []byte) error {
	err := removeLeft(h.path(n, suffix))
	if err == nil {
		err = renameio.WriteFile(h.path(n, suffix), text, 0o600, renameio.WithTempDir(h.Dir))
	}
	if err == nil { // a version before is on the disk before the change is made; a password that is taken back does not come back
		err = syncFolder(h.Dir)
	}
	return err
}

func (h History) version(n int) (v Version, err error) {
	meta, err := os.ReadFile(h.path(n, metaSuffix))
	if err == nil {
		err = json.Unmarshal(meta, &v)
	}
	return v, err
}

func (h History) path(n int, suffix string) string {
	return filepath.Join(h.Dir, fmt.Sprintf("%06d%s", n, suffix))
}

// numbers returns the numbers of the versions, the last one first.
func (h History) numbers() (numbers []int, err error) {
	entries, err := os.ReadDir(h.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		name, isMeta := strings.CutSuffix(e.Name(), metaSuffix)
		var n int
		if _, err := fmt.Sscanf(name, "%06d", &n); isMeta && err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.SortFunc(numbers, func(a, b int) int { return cmp.Compare(b, a) })
	return numbers, err
}
