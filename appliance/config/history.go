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

// History is a folder with the last versions of the configuration. Only root can read them, since they contain passwords.
type History struct {
	Dir string
}

// maxVersions is how many versions are kept.
const maxVersions = 10

// Version is a configuration that was in use, and what replaced it.
type Version struct {
	Revision Revision     `json:"revision"` // revision of its text
	Replaced time.Time    `json:"replaced"` // by the box's clock
	By       Role         `json:"by"`       // who replaced it
	Side     Side         `json:"side,omitempty"`
	Changes  []Difference `json:"changes"` // what the replacement changed, without secrets
}

// Side is the side from which somebody reached the box: "" is the box itself, or unknown.
type Side string

// The sides.
const (
	SideHotspot Side = "hotspot"
	SideWired   Side = "wired" // the network of an uplink
)

// Suffixes of a version's two files: its text, and its metadata. The name before the dot is the version's number.
const (
	textSuffix = ".toml"
	metaSuffix = ".json"
)

// Add stores a version, and removes the oldest ones beyond maxVersions. The text is written before the metadata, so that a version that
// a power cut leaves incomplete is ignored. If the last version has the same text, it is replaced: then the change that should have
// replaced it was never made.
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

// Versions returns the versions, newest first.
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

// Rewrite changes the text of all versions. A version that cannot be changed is removed.
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
	// The text is written first, so that what was removed from it cannot come back after a power cut.
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
	if err == nil { // the version must be on the disk before the change is made, and a removed password must not come back
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

// numbers returns the numbers of the versions, newest first.
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
