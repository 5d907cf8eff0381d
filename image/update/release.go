package update

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/private"
	"passerelle/image/slot"
	"passerelle/image/update/plan"
)

// Release is a release that is offered.
type Release struct {
	plan.Summary
	target trust.Target
}

// Offered returns the releases for a board, newest first. t must have been refreshed.
func Offered(t *trust.Trust, board string) ([]Release, error) {
	targets, err := t.Releases(plan.Folder(board))
	if err != nil {
		return nil, err
	}
	var offered []Release
	for _, target := range targets {
		s, err := plan.ParseSummary(target.Custom)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", target.Path, err)
		}
		if target.Path != plan.Name(board, s.Epoch) {
			return nil, fmt.Errorf("%s: its epoch is %d", target.Path, s.Epoch)
		}
		offered = append(offered, Release{s, target})
	}
	slices.SortFunc(offered, func(a, b Release) int { return cmp.Compare(b.Epoch, a.Epoch) })
	return offered, nil
}

// ID returns the SHA-256 of the release's manifest.
func (r Release) ID() plan.Hash { return plan.Hash(r.target.SHA256) }

// Staged returns how the release is rolled out.
func (r Release) Staged() (s Staged) {
	if r.Rollout != (rollout.Rule{}) {
		s = Staged{r.ID(), r.Rollout}
	}
	return s
}

// Manifest fetches a release's manifest.
func (r Release) Manifest(ctx context.Context, from trust.Source) (plan.Manifest, error) {
	text, err := trust.Fetch(ctx, from, r.target, plan.ManifestLimit)
	if err != nil {
		return plan.Manifest{}, err
	}
	m, err := plan.ParseManifest(text)
	if err == nil && m.Summary() != r.Summary {
		err = errors.New("it is not what was signed beside it")
	}
	if err != nil {
		return plan.Manifest{}, fmt.Errorf("%s: %w", r.target.Path, err)
	}
	return m, nil
}

// Sums caches the SHA-256 of the first bytes of a slot that does not change, by the number of these bytes, so that they are read only
// once. A nil Sums caches nothing. It is not safe for concurrent use.
type Sums map[int64]plan.Hash

// Identify returns the release whose root is in a slot, by its hash. found is false if it is none of the offered ones. seen is the
// cache of that slot, nil for none.
func Identify(ctx context.Context, in io.ReaderAt, offered []Release, seen Sums) (r Release, found bool, err error) {
	bySize := slices.Clone(offered)
	slices.SortFunc(bySize, func(a, b Release) int { return cmp.Compare(a.Root.Size, b.Root.Size) })
	h, at := sha256.New(), int64(0)
	for _, r := range bySize {
		if sum, known := seen[r.Root.Size]; known {
			if sum == r.Root.SHA256 {
				return r, true, nil
			}
			continue
		}
		n, err := io.Copy(h, contextReader{ctx, io.NewSectionReader(in, at, r.Root.Size-at)})
		if err != nil {
			return Release{}, false, fmt.Errorf("read the running slot: %w", err)
		}
		if at += n; at != r.Root.Size {
			break // the slot is shorter than that root
		}
		sum := plan.Hash(h.Sum(nil))
		if seen != nil {
			seen[at] = sum
		}
		if sum == r.Root.SHA256 {
			return r, true, nil
		}
	}
	return Release{}, false, nil
}

// Record is what the box remembers about installations and cannot see in the slots.
type Record struct {
	// Slots holds what was installed in each slot. It is written before the slot is tried.
	Slots map[slot.Name]Installed `json:"slots,omitempty"`
	// Barred holds releases that were tried here and failed.
	Barred []plan.Hash `json:"barred,omitempty"`
	// Known holds the newest releases that were offered, the newest last: a slot's release is identified by its hash.
	Known []plan.Summary `json:"known,omitempty"`
}

// Installed is a release in a slot.
type Installed struct {
	ID      plan.Hash `json:"id"`
	Version string    `json:"version"`
	Epoch   int64     `json:"epoch"`
	// Parts are the parts that were read back after the installation.
	Parts []plan.Part `json:"parts,omitempty"`
	// Staged is how the release is rolled out; zero if somebody asked for it.
	Staged Staged `json:"staged,omitzero"`
	// Ran says that the release has run here.
	Ran bool `json:"ran,omitempty"`
}

// Bounds of the record. Releases beyond them are older than the running epoch.
const (
	maxBarred = 16
	maxKnown  = 16
)

// RecordFile is the record's file name in the folder of the box's state.
const RecordFile = "updates.json"

// ReadRecord reads the record in a folder. It is empty if there is no file; a damaged file is an error.
func ReadRecord(dir string) (r Record, err error) {
	text, err := os.ReadFile(filepath.Join(dir, RecordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return Record{}, fmt.Errorf("read the record of installations: %w", err)
	}
	return r, nil
}

// Write writes the record to a folder.
func (r Record) Write(dir string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = private.WriteFile(filepath.Join(dir, RecordFile), append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the record of installations: %w", err)
	}
	return nil
}

// Failed bars the release in a slot whose trial failed, and tells whether that is new.
func (r *Record) Failed(n slot.Name) bool {
	what, known := r.Slots[n]
	if !known || slices.Contains(r.Barred, what.ID) {
		return false
	}
	r.Barred = append(r.Barred, what.ID)
	r.Barred = r.Barred[max(0, len(r.Barred)-maxBarred):]
	return true
}

// Install records what is about to be in a slot.
func (r *Record) Install(n slot.Name, m plan.Manifest, staged Staged) {
	if r.Slots == nil {
		r.Slots = map[slot.Name]Installed{}
	}
	r.Slots[n] = Installed{ID: m.ID(), Version: m.Version, Epoch: m.Epoch, Parts: m.Parts, Staged: staged}
}

// Runs records that a slot is running, and tells whether that is new.
func (r *Record) Runs(n slot.Name) bool {
	what, known := r.Slots[n]
	if !known || what.Ran {
		return false
	}
	what.Ran = true
	r.Slots[n] = what
	return true
}
