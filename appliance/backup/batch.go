package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/google/renameio/v2"

	"passerelle/appliance/private"
)

// Batch is a set of files that replace others together, or not at all. Everything that needs room on the disk is done before
// [Batch.Commit] renames one folder. What follows are only renames, which [Finish] completes after a power cut.
type Batch struct {
	dir  string
	plan plan
}

// plan is what is done after the commit, in this order. Paths are absolute, except as noted.
type plan struct {
	Moves   []move   `json:"moves"`
	Removes []string `json:"removes"`
}

type move struct {
	From string `json:"from"` // absolute, or a name in the batch's folder
	To   string `json:"to"`
}

// Folders in the batch's own folder.
const (
	nextName   = "next"      // the batch is being prepared
	commitName = "committed" // the batch is done, or partly done
	planName   = "plan.json"
)

// Begin begins a batch in a folder that is on the same file system as the files to replace. It removes what a killed batch left.
func Begin(dir string) (*Batch, error) {
	b := &Batch{dir: dir}
	if err := private.Folder(dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(dir, commitName)); err == nil {
		return nil, errors.New("an earlier change is not complete: restart the box")
	}
	if err := b.Drop(); err != nil {
		return nil, err
	}
	return b, os.Mkdir(b.next(), 0o700)
}

func (b *Batch) next() string { return filepath.Join(b.dir, nextName) }

// New returns a path for a file that will replace the one at to. The caller creates it with mode 0600.
func (b *Batch) New(to string) (path string, err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", err
	}
	name := strconv.Itoa(len(b.plan.Moves))
	b.plan.Moves = append(b.plan.Moves, move{name, to})
	return filepath.Join(b.next(), name), nil
}

// Write adds a file with this text.
func (b *Batch) Write(to string, text []byte) error {
	path, err := b.New(to)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	return err
}

// Move moves a file into the batch. The file must be on the batch's file system.
func (b *Batch) Move(from, to string) error {
	path, err := b.New(to)
	if err == nil {
		err = os.Rename(from, path)
	}
	return err
}

// Prepared adds a file that is complete and synced, on the file system of the one that it will replace. It is for other file systems
// than the batch's.
func (b *Batch) Prepared(from, to string) {
	b.plan.Moves = append(b.plan.Moves, move{from, to})
}

// Remove adds the removal of a file, if it exists.
func (b *Batch) Remove(path string) { b.plan.Removes = append(b.plan.Removes, path) }

// Commit commits the batch. After an error for which errors.Is(err, ErrUnfinished), it is committed, and Finish completes it. After
// any other error nothing is changed.
func (b *Batch) Commit() error {
	if err := b.commit(); err != nil {
		return err
	}
	_, err := Finish(b.dir)
	return err
}

// commit passes the point of no return.
func (b *Batch) commit() error {
	text, err := json.Marshal(b.plan)
	if err == nil {
		err = renameio.WriteFile(filepath.Join(b.next(), planName), text, 0o600, renameio.WithTempDir(b.next()))
	}
	if err == nil {
		err = private.SyncFileSystem(b.next())
	}
	if err == nil {
		err = os.Rename(b.next(), filepath.Join(b.dir, commitName))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("nothing is changed: %w", err), b.Drop())
	}
	if err := private.SyncFolder(b.dir); err != nil {
		return fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	return nil
}

// Drop gives the batch up. Nothing is changed.
func (b *Batch) Drop() error {
	for _, m := range b.plan.Moves {
		if filepath.IsAbs(m.From) {
			os.Remove(m.From) // it is unused, and harmless if it stays
		}
	}
	return os.RemoveAll(b.next())
}

// ErrUnfinished says that a change is committed, but not complete.
var ErrUnfinished = errors.New("the change is not complete")

// Finish completes a committed batch, if there is one in the folder. It is called before anything reads the files. The error is
// ErrUnfinished with the reason.
func Finish(dir string) (finished bool, err error) {
	committed := filepath.Join(dir, commitName)
	text, err := os.ReadFile(filepath.Join(committed, planName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, os.RemoveAll(committed) // the rest of a complete batch
	}
	var p plan
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	folders := map[string]bool{}
	for _, m := range p.Moves {
		if err != nil {
			break
		}
		from := m.From
		if !filepath.IsAbs(from) {
			from = filepath.Join(committed, from)
		}
		folders[filepath.Dir(m.To)] = true
		if err = os.Rename(from, m.To); errors.Is(err, fs.ErrNotExist) {
			err = nil // it has been moved already
		}
	}
	for _, path := range p.Removes {
		if err != nil {
			break
		}
		folders[filepath.Dir(path)] = true
		if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	for folder := range folders {
		if err != nil {
			break
		}
		if err = private.SyncFolder(folder); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = errors.Join(os.Remove(filepath.Join(committed, planName)), os.RemoveAll(committed), private.SyncFolder(dir))
	}
	if err != nil {
		return true, fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	return true, nil
}
