// Package offer puts a release into the repository that people sign, and removes it again. It owns what is signed of a release, and
// which files it has there. It must not know whose keys these are, nor be part of the box.
package offer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/trust"
	"passerelle/image/update/pack"
	"passerelle/image/update/plan"
)

// ErrWrong says that the release cannot be staged as requested.
var ErrWrong = errors.New("the release cannot be staged")

// Pack stores the files of a release. It returns the release's manifest, and the number of bytes stored. m is as for [pack.Release].
func Pack(r repository.Repository, m plan.Manifest, parts []pack.Part, olds []pack.Old) (_ plan.Manifest, stored int64, err error) {
	m, err = pack.Release(m, parts, olds, func(folder string, name plan.Hash, text []byte) error {
		stored += int64(len(text))
		return r.WriteHashed(folder, name, text)
	})
	return m, stored, err
}

// Stage stages a release whose files are stored; two keys of the release role then have to sign it. The error wraps ErrWrong if the
// manifest is invalid, or if its epoch is not above that of every other release for its board.
func Stage(r repository.Repository, m plan.Manifest, now time.Time) error {
	text, err := m.Format()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrWrong, err)
	}
	summary, err := json.Marshal(m.Summary())
	if err != nil {
		return err
	}
	name := plan.Name(m.Board, m.Epoch)
	return r.Change(now, func(t *metadata.TargetsType) error {
		for other := range t.Targets {
			var epoch int64
			if _, err := fmt.Sscanf(other, plan.Folder(m.Board)+"/%d.json", &epoch); err == nil && epoch >= m.Epoch {
				return fmt.Errorf("%w: epoch %d is released already: the next one is %d", ErrWrong, epoch, epoch+1)
			}
		}
		file, err := r.Add(name, text)
		if err != nil {
			return err
		}
		custom := json.RawMessage(summary)
		file.Custom = &custom
		if t.Targets == nil {
			t.Targets = map[string]*metadata.TargetFiles{}
		}
		t.Targets[name] = file
		return nil
	})
}

// Withdraw stages the removal of a release. The error wraps ErrWrong if there is no such release.
func Withdraw(r repository.Repository, board string, epoch int64, now time.Time) error {
	name := plan.Name(board, epoch)
	return r.Change(now, func(t *metadata.TargetsType) error {
		if t.Targets[name] == nil {
			return fmt.Errorf("%w: there is no release %s", ErrWrong, name)
		}
		delete(t.Targets, name)
		return nil
	})
}

// Files returns the names of the files of a repository's releases, in the order in which boxes read them, oldest release first. Each
// name appears once, and only if the file exists. A release that cannot be read is skipped.
func Files(repository fs.FS) (names []string) {
	var all []plan.Manifest
	manifests, _ := fs.Glob(repository, path.Join(trust.TargetsFolder, plan.Folder("*"), "*.json")) // the pattern is valid
	for _, name := range manifests {
		if text, err := fs.ReadFile(repository, name); err == nil {
			if m, err := plan.ParseManifest(text); err == nil {
				all = append(all, m)
			}
		}
	}
	slices.SortFunc(all, func(a, b plan.Manifest) int { return cmp.Compare(a.Epoch, b.Epoch) })
	known := map[string]bool{}
	add := func(folder string, sum plan.Hash) (name string) {
		name = trust.Hashed(folder, sum)
		if _, err := fs.Stat(repository, name); err == nil && !known[name] {
			known[name] = true
			names = append(names, name)
		}
		return name
	}
	for _, m := range all {
		text, err := fs.ReadFile(repository, add(plan.FileFolder, m.Index.SHA256))
		if err != nil {
			continue
		}
		index, err := plan.ParseIndex(text, m)
		if err != nil {
			continue
		}
		for _, c := range index {
			add(plan.ChunkFolder, c.SHA256)
		}
		for _, d := range m.Deltas {
			text, err := fs.ReadFile(repository, add(plan.FileFolder, d.SHA256))
			if err != nil {
				continue
			}
			runs, _ := plan.ParseRuns(text, index) // nil if it is damaged
			for _, r := range runs {
				add(plan.FileFolder, r.SHA256)
			}
		}
	}
	return names
}
