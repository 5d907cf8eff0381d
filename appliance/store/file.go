package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"passerelle/appliance/private"
)

const (
	lockTimeout = 2 * time.Second
	mode        = 0o600
)

var (
	schemaBucket = []byte("schema")
	versionKey   = []byte("version")
	replacesKey  = []byte("stands for")
)

// kind is a kind of file: its buckets besides schema, and its format versions.
type kind struct {
	name        string // for errors: "ledger"
	content     string // what it contains, for a sentence
	consequence string // of failing to read it, likewise

	buckets [][]byte
	oldest  uint64 // the format of a new file: see Versions
	writes  uint64 // the format of a migrated file
	reads   uint64 // the newest format that is read
	maxSize int    // of the file in bytes, 0 for no limit: it shares the disk

	// upgrade changes the content from a format to the next one; nil if there is nothing to change.
	upgrade func(tx *bbolt.Tx, from uint64) error

	// check reads all buckets. Its error is errNewer or errDamaged if one cannot be read.
	check func(*bbolt.Tx) error
	// merge adds the content of a replaced file to tx.
	merge func(tx, from *bbolt.Tx) error
}

// file is an open database of a kind.
type file struct {
	kind     *kind
	db       *bbolt.DB
	replaces string // the name of a file, "" for none
}

// open opens the database at path, or creates it. A file that cannot be read is quarantined and replaced by one that lost fills. open
// then returns it together with quarantined, at this start and each later one, until a release that can read the quarantined file
// has merged it.
func (k *kind) open(path string, lost func(*bbolt.Tx) error, now time.Time) (f *file, quarantined *Quarantined, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := k.create(path, "", fillNothing); err != nil {
			return nil, nil, err
		}
	} else if err != nil {
		return nil, nil, fmt.Errorf("open the %s: %w", k.name, err)
	}
	f, err = k.openExisting(path, false)
	switch {
	case errors.Is(err, errNewer), errors.Is(err, errDamaged):
		return k.quarantine(path, err, lost, now)
	case err != nil:
		return nil, nil, err
	}
	return f, f.restore(), nil
}

func fillNothing(*bbolt.Tx) error { return nil }

// Remove removes the database at path, with all files that Open quarantined or left incomplete: every file whose name begins with
// the database's name and a dot.
func Remove(path string) error {
	name := filepath.Base(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	var errs []error
	for _, e := range entries {
		if e.Name() == name || strings.HasPrefix(e.Name(), name+".") {
			errs = append(errs, os.Remove(filepath.Join(filepath.Dir(path), e.Name())))
		}
	}
	return errors.Join(errs...)
}

// create creates a new database at path, which fill fills, completely or not at all. It replaces the file named replaces, if any.
func (k *kind) create(path, replaces string, fill func(*bbolt.Tx) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("create the %s: %w", k.name, err)
		}
	}()
	unfinished := path + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(unfinished, mode, k.options(false, nil))
	if err != nil {
		return fmt.Errorf("%s: %w", unfinished, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		schema, err := tx.CreateBucket(schemaBucket)
		if err != nil {
			return err
		}
		for _, name := range k.buckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return errors.Join(schema.Put(versionKey, binary.AppendUvarint(nil, k.oldest)),
			putReplaces(tx, replaces), fill(tx))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("%s: %w", unfinished, err)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return err
	}
	return private.SyncFolder(filepath.Dir(path))
}

func (k *kind) options(readOnly bool, opened func(*os.File)) *bbolt.Options {
	return &bbolt.Options{
		ReadOnly:     readOnly,
		Timeout:      lockTimeout,
		MaxSize:      k.maxSize,
		NoStatistics: true,
		OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, perm)
			if err != nil {
				return nil, err
			}
			if opened != nil {
				opened(f)
			}
			// A user who can read the file can hold its lock. If the mode cannot be changed, nothing can be written either.
			if info, err := f.Stat(); err == nil && info.Mode().Perm()&^perm != 0 {
				f.Chmod(perm)
			}
			return f, nil
		},
	}
}

// Why a file cannot be read.
var (
	errNewer   = errors.New("a newer version of passerelle wrote it")
	errDamaged = errors.New("the file is damaged")
)

// openExisting opens an existing database and reads all of it. Its error is errNewer, errDamaged, or the reason why an intact file
// cannot be opened.
func (k *kind) openExisting(path string, readOnly bool) (f *file, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open the %s %s: %w", k.name, path, err)
		}
	}()
	var descriptor *os.File
	var db *bbolt.DB
	err = guard(func() (err error) {
		db, err = bbolt.Open(path, mode, k.options(readOnly, func(f *os.File) { descriptor = f }))
		return err
	})
	if err != nil {
		if descriptor != nil {
			descriptor.Close() // if bbolt panicked, this releases the lock; otherwise it is closed already
		}
		return nil, classify(err)
	}
	f = &file{kind: k, db: db}
	if err := f.check(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return f, nil
}

// classify distinguishes a damaged file from an intact one that cannot be opened.
func classify(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, errDamaged):
		return err
	case errors.Is(err, bolterrors.ErrTimeout):
		return ErrLocked
	case errors.Is(err, bolterrors.ErrVersionMismatch):
		return errNewer
	case errors.As(err, &errno):
		return err
	}
	return fmt.Errorf("%w: %w", errDamaged, err)
}

// guard turns the effects of a damaged file on bbolt, a panic or a fault in mapped memory, into errDamaged.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	return f()
}

// view runs a read transaction under guard.
func (f *file) view(read func(*bbolt.Tx) error) error {
	return guard(func() error { return f.db.View(read) })
}

// check reads everything. It changes nothing on disk.
func (f *file) check() error {
	return f.view(func(tx *bbolt.Tx) error {
		if info, err := os.Stat(f.db.Path()); err != nil {
			return err
		} else if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it has %d of %d bytes", errDamaged, info.Size(), tx.Size())
		}
		schema := tx.Bucket(schemaBucket)
		missing := func(name []byte) bool { return tx.Bucket(name) == nil }
		if schema == nil || slices.ContainsFunc(f.kind.buckets, missing) {
			return fmt.Errorf("%w: buckets are missing", errDamaged)
		}
		switch v, n := binary.Uvarint(schema.Get(versionKey)); {
		case n <= 0:
			return fmt.Errorf("%w: it has no version", errDamaged)
		case v > f.kind.reads:
			return errNewer
		}
		f.replaces = string(schema.Get(replacesKey))
		if err := f.kind.check(tx); err != nil {
			return err
		}
		// Every page has been read by now, so Check, which runs in its own goroutine, meets no fault in mapped memory.
		var wrong []error
		for err := range tx.Check() {
			wrong = append(wrong, err)
		}
		if len(wrong) > 0 {
			return fmt.Errorf("%w: %w", errDamaged, errors.Join(wrong...))
		}
		return nil
	})
}

// Migrate raises the file's format to the one that this release writes, in one transaction. Releases that only read older formats
// can then no longer read the file, so it is called once none of them can be booted automatically. A file of that format or a newer
// one does not change.
func (f *file) Migrate() error {
	err := f.db.Update(func(tx *bbolt.Tx) error {
		schema := tx.Bucket(schemaBucket)
		for {
			format, _ := binary.Uvarint(schema.Get(versionKey))
			if format >= f.kind.writes {
				return nil
			}
			if f.kind.upgrade != nil {
				if err := f.kind.upgrade(tx, format); err != nil {
					return err
				}
			}
			if err := schema.Put(versionKey, binary.AppendUvarint(nil, format+1)); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("raise the format of the %s: %w", f.kind.name, err)
	}
	return nil
}

// Close closes the database.
func (f *file) Close() error {
	if err := f.db.Close(); err != nil {
		return fmt.Errorf("close the %s: %w", f.kind.name, err)
	}
	return nil
}
