// Package offer puts a release into the repository that people sign, and takes it out again. It owns what is signed of a release. It must
// not know whose keys these are, nor be part of the box.
package offer

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance/fleet/repository"
	"passerelle/image/update/pack"
	"passerelle/image/update/plan"
)

// ErrWrong says that the release cannot be staged as it was asked for.
var ErrWrong = errors.New("the release cannot be staged")

// Pack stores the files of a release, and returns its manifest and how many bytes they have. m is as for [pack.Release].
func Pack(r repository.Repository, m plan.Manifest, parts []pack.Part, olds []pack.Old) (_ plan.Manifest, stored int64, err error) {
	m, err = pack.Release(m, parts, olds, func(folder string, name plan.Hash, text []byte) error {
		stored += int64(len(text))
		return r.WriteHashed(folder, name, text)
	})
	return m, stored, err
}

// Stage stages a release whose files are stored. Two of the release role sign it then. The error wraps ErrWrong if its manifest could be
// read by nobody, or if its epoch is not above that of each other release of its board.
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

// Withdraw stages that a release is no longer offered. The error wraps ErrWrong if it is not.
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
