// Package plan decides how a release gets into a slot of the card with as few bytes as possible. It owns the format of a release's
// files (manifest, index, delta), and the choice, chunk by chunk, between what is already in the slot, what the running system has,
// and what is fetched. It is pure: it must not know who delivers files, nor how a slot is written.
//
// # A release
//
// A slot has two parts: an uncompressed squashfs as the root, and the container with the kernel. A release describes each part as
// content-defined chunks (64 kB on average), so that an insertion moves only the borders of its neighbours. Each chunk is a file of
// the repository, compressed on its own. A delta serves boxes that run one earlier release. It has runs of chunks that this release
// lacks, compressed with the bytes around the same position of its root as the dictionary. Measured with two images of 62 MB (190 MB
// in the slot) that differ in the daemon and two scripts: 2.5 MB are fetched, including index and delta.
package plan

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"passerelle/appliance/fleet/rollout"
)

// Folders below the targets folder of a repository.
const (
	ChunkFolder = "chunks" // by the SHA-256 of the chunk, compressed
	FileFolder  = "files"  // by the SHA-256 of the file: indexes, deltas, runs
)

// Form is the format version of manifests that this program reads.
const Form = 1

// Hash is a SHA-256. Its JSON is hexadecimal.
type Hash [32]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(h) {
		return fmt.Errorf("%q is no SHA-256", text)
	}
	copy(h[:], b)
	return nil
}

// File identifies a file of the repository by its content.
type File struct {
	Size   int64 `json:"size"`
	SHA256 Hash  `json:"sha256"`
}

// Part is a part of a slot.
type Part struct {
	Name   string `json:"name"` // "root" or "boot"
	At     int64  `json:"at"`   // its offset in the slot, in bytes
	Size   int64  `json:"size"`
	SHA256 Hash   `json:"sha256"`
}

func (p Part) valid() bool {
	return p.At >= 0 && p.At <= partLimit && p.Size >= 1 && p.Size <= partLimit
}

// The parts of a slot.
const (
	RootPart = "root" // the file system
	BootPart = "boot" // kernel, initrd and device trees: written last, since the slot cannot be booted without it
)

// Delta is for boxes that run one earlier release.
type Delta struct {
	From Part `json:"from"` // that release's root part
	File
}

// Manifest is a release, as the release role signs it.
type Manifest struct {
	Form    int    `json:"form"`
	Version string `json:"version"` // for people
	Board   string `json:"board"`   // the layout of the card and the boards that boot it
	// Epoch increases with each release. The box installs no release with an epoch below the running one. Needs is the lowest epoch
	// that the running release may have: both must be able to read the same data.
	Epoch int64  `json:"epoch"`
	Needs int64  `json:"needs"`
	Parts []Part `json:"parts"`
	// Rollout says whether the release goes out in stages.
	Rollout rollout.Rule `json:"rollout,omitzero"`
	Index   File         `json:"index"`
	Deltas  []Delta      `json:"deltas,omitempty"`
}

// Limits, in bytes.
const (
	ManifestLimit = 64 << 10
	IndexLimit    = 4 << 20 // 40 bytes a chunk: enough for a slot of 768 MB in chunks of 16 kB
	partLimit     = 1 << 30
)

// version is for people, and becomes part of file names.
var version = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+~-]{0,63}$`)

// ParseManifest parses a manifest. It ignores unknown keys, which a newer program may have written.
func ParseManifest(text []byte) (m Manifest, err error) {
	if err := json.Unmarshal(text, &m); err != nil {
		return Manifest{}, fmt.Errorf("read the manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return Manifest{}, fmt.Errorf("read the manifest: %w", err)
	}
	return m, nil
}

func (m Manifest) check() error {
	switch {
	case m.Form != Form:
		return fmt.Errorf("its form is %d, and this program reads %d: a release between must be installed first", m.Form, Form)
	case !version.MatchString(m.Version):
		return fmt.Errorf("its version %q", m.Version)
	case m.Board == "":
		return errors.New("it names no board")
	case m.Epoch < 1, m.Needs < 0, m.Needs > m.Epoch:
		return fmt.Errorf("its epoch %d, which needs %d", m.Epoch, m.Needs)
	case len(m.Parts) != 2 || m.Parts[0].Name != RootPart || m.Parts[1].Name != BootPart:
		return errors.New("its parts are not root and boot")
	case m.Index.Size < 1 || m.Index.Size > IndexLimit:
		return fmt.Errorf("its index has %d bytes", m.Index.Size)
	}
	if err := m.Rollout.Check(); err != nil {
		return err
	}
	end := int64(0)
	for _, p := range m.Parts {
		if p.At < end || !p.valid() {
			return fmt.Errorf("its part %s has %d bytes at %d", p.Name, p.Size, p.At)
		}
		end = p.At + p.Size
	}
	for _, d := range m.Deltas {
		if d.Size < 1 || d.Size > IndexLimit || !d.From.valid() {
			return fmt.Errorf("a delta has %d bytes, from a root of %d bytes at %d", d.Size, d.From.Size, d.From.At)
		}
	}
	return nil
}

// Format returns the manifest's text. The error says that the manifest is invalid.
func (m Manifest) Format() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("write the manifest: %w", err)
	}
	text, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("write the manifest: %w", err)
	}
	return append(text, '\n'), nil
}

// Summary is signed beside a manifest, so that a box can tell whether the release is running without fetching the manifest.
type Summary struct {
	Version string `json:"version"`
	Epoch   int64  `json:"epoch"`
	Root    Part   `json:"root"`

	Rollout rollout.Rule `json:"rollout,omitzero"`
}

// Summary returns the manifest's summary.
func (m Manifest) Summary() Summary { return Summary{m.Version, m.Epoch, m.Parts[0], m.Rollout} }

// ParseSummary reads a summary.
func ParseSummary(text []byte) (s Summary, err error) {
	if err := json.Unmarshal(text, &s); err != nil {
		return Summary{}, fmt.Errorf("read the release's summary: %w", err)
	}
	if !version.MatchString(s.Version) || s.Epoch < 1 || !s.Root.valid() {
		return Summary{}, fmt.Errorf("read the release's summary: version %q, epoch %d", s.Version, s.Epoch)
	}
	if err := s.Rollout.Check(); err != nil {
		return Summary{}, fmt.Errorf("read the release's summary: %w", err)
	}
	return s, nil
}

// Name returns the target path of a release for a board.
func Name(board string, epoch int64) string { return fmt.Sprintf("os/%s/%d.json", board, epoch) }

// Folder returns the folder of the target paths of a board's releases.
func Folder(board string) string { return "os/" + board }

// ID returns the identity of what a release puts into a slot.
func (m Manifest) ID() Hash {
	var all []byte
	for _, p := range m.Parts {
		all = append(all, p.SHA256[:]...)
	}
	return sum(all)
}

// Size returns the number of bytes from the start of the slot to the end of the release's last part.
func (m Manifest) Size() int64 {
	last := m.Parts[len(m.Parts)-1]
	return last.At + last.Size
}

// Running is the system that a release is compared with.
type Running struct {
	Board    string
	Epoch    int64 // 0 if unknown
	SlotSize int64
	Barred   []Hash // identities of releases that were tried and failed
}

// ErrNotFor says that a release cannot be installed here.
var ErrNotFor = errors.New("this release is not for this box")

// Fits returns an error that wraps ErrNotFor if a release may not be installed.
func (m Manifest) Fits(r Running) error {
	switch {
	case m.Board != r.Board:
		return fmt.Errorf("%w: it is for %s, and this is %s", ErrNotFor, m.Board, r.Board)
	case m.Epoch < r.Epoch:
		return fmt.Errorf("%w: it is older (%d) than what is running (%d)", ErrNotFor, m.Epoch, r.Epoch)
	case r.Epoch > 0 && r.Epoch < m.Needs:
		return fmt.Errorf("%w: what is running (%d) is older than the release can follow (%d): install one between first", ErrNotFor, r.Epoch, m.Needs)
	case m.Size() > r.SlotSize:
		return fmt.Errorf("%w: it fills %d bytes, and a slot has %d", ErrNotFor, m.Size(), r.SlotSize)
	}
	for _, b := range r.Barred {
		if b == m.ID() {
			return fmt.Errorf("%w: it was tried here, and did not work", ErrNotFor)
		}
	}
	return nil
}
