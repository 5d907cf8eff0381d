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

// Batch is a set of files that replace others at once, or not at all. All that takes room on the disk is done before [Batch.Commit]
// renames one folder; what follows that are renames, which [Finish] goes on with after a power cut.
type Batch struct {
	dir  string
	plan plan
}

// plan is what is done after the commit, in this order. Paths are absolute.
type plan struct {
	Moves   []move   `json:"moves"`
	Removes []string `json:"removes"`
}

type move struct {
	From string `json:"from"` // absolute, or a name in the batch's folder
	To   string `json:"to"`
}

// Folders of a batch in its own.
const (
	nextName   = "next"      // it is being prepared
	commitName = "committed" // it is done, or half done
	planName   = "plan.json"
)

// Begin begins a batch in a folder, which is on the file system of the files that it replaces. It removes what a killed one left.
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

// New returns a path for a file that will replace the one at to. The caller creates it, of mode 0600.
func (b *Batch) New(to string) (path string, err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", err
	}
	name := strconv.Itoa(len(b.plan.Moves))
	b.plan.Moves = append(b.plan.Moves, move{name, to})
	return filepath.Join(b.next(), name), nil
}

// Write adds a file with a text.
func (b *Batch) Write(to string, text []byte) error {
	path, err := b.New(to)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	return err
}

// Move adds a file that is on the batch's file system, and takes it from where it is.
func (b *Batch) Move(from, to string) error {
	path, err := b.New(to)
	if err == nil {
		err = os.Rename(from, path)
	}
	return err
}

// Prepared adds a file that is complete and on the disk beside the one that it will replace: for another file system.
func (b *Batch) Prepared(from, to string) {
	b.plan.Moves = append(b.plan.Moves, move{from, to})
}

// Remove adds that a file is removed, if it is there.
func (b *Batch) Remove(path string) { b.plan.Removes = append(b.plan.Removes, path) }

// Commit makes the batch. After an error of errors.Is(err, ErrUnfinished) it is made, and Finish completes it; after any other
// one nothing is changed.
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
			os.Remove(m.From) // it is of no use, and does no harm
		}
	}
	return os.RemoveAll(b.next())
}

// ErrUnfinished says that a change is made, but not complete.
var ErrUnfinished = errors.New("the change is not complete")

// Finish completes a committed batch, if there is one in the folder. It is called before anybody reads the files; the error is
// ErrUnfinished with the reason.
func Finish(dir string) (finished bool, err error) {
	committed := filepath.Join(dir, commitName)
	text, err := os.ReadFile(filepath.Join(committed, planName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, os.RemoveAll(committed) // what is left of a complete one
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
			err = nil // it has been moved
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
