// Package store keeps the donations' accounts on disk. It owns the database file, its buckets, its schema's version and
// what happens to a file that cannot be read; it is the only user of bbolt. It must not know what an account means.
//
// # The file
//
//	schema    version → uvarint; stands for → the name of the file in whose place this one was begun, if it was
//	accounts  donation's name → ledger.Record
//	days      donation's name → bucket: date as big-endian uint32 → ledger.Day, the last ledger.KeepDays of them
//	links     donation's name → SHA-256 of the token in its lender's link
//	pauses    donation's name → who paused it
//
// bbolt never overwrites a page that the last finished transaction needs: it writes new pages, waits until the disk has
// them, and then writes one of two meta pages with a checksum; so a power cut at any moment leaves the state before or
// after. Records carry checksums of their own, because bbolt has none on data pages.
//
// # Versions
//
// The file has a form, which its version names, and a box may be given back the release before the one that it runs. So a
// form is read by one release before any writes it: the release that writes it comes after the one that reads it was
// marked good. In code, each release [writes] one form, and reads all up to [reads], the next one:
//
//   - The form after the one that is written may have more: other buckets, other keys in schema, fields at the end of
//     records (which have versions of their own by the same rule). It changes nothing of what there is, above all not what
//     counts as used: a release that does not know what was added goes by the rest. And since that release goes on writing
//     what it knows, what was added may be missing or out of date.
//   - Such a file is read, and stays in its form: what this release does not know is passed over and left alone, and the
//     version is not lowered, so that the newer release finds its additions again. Records are written as this release
//     writes them, which every newer one reads.
//   - A form that is no such addition takes the version after the next, so that no release reads it which has no code for
//     it. One release reads it and the one after that writes it, as ever: there, reads is two more than writes.
//   - A file of a newer form is set aside as it is, under a dated name, and another begun in its place, as for one that is
//     damaged: the caps of all donations that are configured count as spent until their periods end. The new file says
//     for which one it stands. The first release that can read that one takes it back: accounts go on from both files
//     (ledger.Join), links and pauses come back where no newer ones are known.
//
// The list of free pages is written along (4 kB more a transaction): rebuilding it, bbolt reads the file in a goroutine
// of its own, where a damaged page would end the daemon instead of being noticed (etcd-io/bbolt issue 778).
package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"passerelle/appliance/ledger"
)

const (
	writes = 1          // the form of the file, see Versions
	reads  = writes + 1 // the newest form that is read

	lockTimeout = 2 * time.Second
	mode        = 0o600
)

var (
	schemaBucket   = []byte("schema")
	accountsBucket = []byte("accounts")
	daysBucket     = []byte("days")
	linksBucket    = []byte("links")
	pausesBucket   = []byte("pauses")
	versionKey     = []byte("version")
	standsForKey   = []byte("stands for")
)

// buckets are those beside the schema.
var buckets = [][]byte{accountsBucket, daysBucket, linksBucket, pausesBucket}

// ErrLocked is an error of Open.
var ErrLocked = errors.New("another passerelle has it open: stop that one first")

// Store is an open database. Make one with Open. Its methods are safe for concurrent use.
type Store struct {
	db        *bbolt.DB
	standsFor string // the name of a file, "" for none
}

// Open opens the database, or makes one. One that cannot be read is set aside, and one made in its place in which each of
// the donations counts as spent; that is told by aside, with a store that works, at this start and at each that follows,
// until a release that reads the file has taken it back. An error is final: without a store nothing may be promised.
func Open(path string, donations []string, now time.Time) (s *Store, aside *Aside, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path, "", nil); err != nil {
			return nil, nil, err
		}
	} else if err != nil {
		return nil, nil, fmt.Errorf("open the ledger: %w", err)
	}
	s, err = open(path, false)
	switch {
	case errors.Is(err, errNewer), errors.Is(err, errDamaged):
		return setAside(path, err, donations, now)
	case err != nil:
		return nil, nil, err
	}
	return s, s.takeBack(), nil
}

// Remove removes the database at path, with all that Open set aside or did not finish: what has its name before a dot.
func Remove(path string) error {
	name := filepath.Base(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the ledger: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if e.Name() == name || strings.HasPrefix(e.Name(), name+".") {
			errs = append(errs, os.Remove(filepath.Join(filepath.Dir(path), e.Name())))
		}
	}
	return errors.Join(errs...)
}

// create puts a new database with these records in the path's place, complete or not at all. It stands for another file,
// or for none.
func create(path, standsFor string, records map[string]ledger.Record) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("make a new ledger: %w", err)
		}
	}()
	unfinished := path + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(unfinished, mode, options(false, nil))
	if err != nil {
		return fmt.Errorf("%s: %w", unfinished, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		schema, err := tx.CreateBucket(schemaBucket)
		if err != nil {
			return err
		}
		for _, name := range buckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return errors.Join(schema.Put(versionKey, binary.AppendUvarint(nil, writes)),
			putStandsFor(tx, standsFor), put(tx, records))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("%s: %w", unfinished, err)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func options(readOnly bool, opened func(*os.File)) *bbolt.Options {
	return &bbolt.Options{
		ReadOnly:     readOnly,
		Timeout:      lockTimeout,
		NoStatistics: true,
		OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, perm)
			if err != nil {
				return nil, err
			}
			if opened != nil {
				opened(f)
			}
			// Who may read the file may hold its lock. Where the mode cannot be changed, nothing can be written, either.
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

// open opens a database that is there and reads all of it. Its error is errNewer, errDamaged, or what keeps a sound one
// from being opened.
func open(path string, readOnly bool) (s *Store, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open the ledger %s: %w", path, err)
		}
	}()
	var file *os.File
	var db *bbolt.DB
	err = guard(func() (err error) {
		db, err = bbolt.Open(path, mode, options(readOnly, func(f *os.File) { file = f }))
		return err
	})
	if err != nil {
		if file != nil {
			file.Close() // if bbolt panicked, this gives the lock back; else it is closed already
		}
		return nil, classify(err)
	}
	s = &Store{db: db}
	if err := guard(s.check); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// classify tells a damaged file from a sound one that cannot be opened.
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

// guard turns what bbolt does on a damaged file, a panic or a fault of the memory map, into errDamaged.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	return f()
}

// check reads everything. It changes nothing on disk.
func (s *Store) check() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		if info, err := os.Stat(s.db.Path()); err != nil {
			return err
		} else if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it has %d of %d bytes", errDamaged, info.Size(), tx.Size())
		}
		schema := tx.Bucket(schemaBucket)
		missing := func(name []byte) bool { return tx.Bucket(name) == nil }
		if schema == nil || slices.ContainsFunc(buckets, missing) {
			return fmt.Errorf("%w: buckets are missing", errDamaged)
		}
		switch v, n := binary.Uvarint(schema.Get(versionKey)); {
		case n <= 0:
			return fmt.Errorf("%w: it has no version", errDamaged)
		case v > reads:
			return errNewer
		}
		s.standsFor = string(schema.Get(standsForKey))
		if _, err := load(tx); err != nil {
			return err
		}
		for _, bucket := range [][]byte{linksBucket, pausesBucket} {
			err := tx.Bucket(bucket).ForEach(func(donation, value []byte) error {
				_, _ = bytes.Clone(donation), bytes.Clone(value)
				return nil
			})
			if err != nil {
				return err
			}
		}
		// Every page has been touched, so that this, in a goroutine of its own, finds no fault of the memory map.
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

// Account is what the store has of a donation.
type Account struct {
	Record ledger.Record
	Days   []ledger.Day // those that are over, oldest first, but for the last, which is in the record
}

// Load returns the accounts by donation, also of donations that are no longer configured: their name may come back
// within the period.
func (s *Store) Load() (all map[string]Account, err error) {
	err = guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			all, err = load(tx)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return all, nil
}

func load(tx *bbolt.Tx) (map[string]Account, error) {
	all := map[string]Account{}
	err := tx.Bucket(accountsBucket).ForEach(func(name, value []byte) error {
		r, err := ledger.Decode(value)
		if err != nil {
			return fmt.Errorf("%q: %w", name, translate(err))
		}
		all[string(name)] = Account{Record: r}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, tx.Bucket(daysBucket).ForEachBucket(func(name []byte) error {
		a := all[string(name)]
		err := tx.Bucket(daysBucket).Bucket(name).ForEach(func(key, value []byte) error {
			if len(key) != 4 {
				return fmt.Errorf("%q: %w: a day's key has %d bytes", name, errDamaged, len(key))
			}
			d, err := ledger.DecodeDay(int32(binary.BigEndian.Uint32(key)), value)
			a.Days = append(a.Days, d)
			return translate(err)
		})
		all[string(name)] = a
		return err
	})
}

// translate gives the ledger's errors their meaning for a file.
func translate(err error) error {
	switch {
	case errors.Is(err, ledger.ErrNewer):
		return fmt.Errorf("%w: %w", errNewer, err)
	case errors.Is(err, ledger.ErrDamaged):
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return err
}

// Put writes records by donation and returns once the disk has them. After an error the disk has either all of them or
// none: nothing may be granted that they promise.
func (s *Store) Put(records map[string]ledger.Record) error {
	if err := s.db.Update(func(tx *bbolt.Tx) error { return put(tx, records) }); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return nil
}

func put(tx *bbolt.Tx, records map[string]ledger.Record) error {
	for _, name := range slices.Sorted(maps.Keys(records)) {
		r := records[name]
		err := tx.Bucket(accountsBucket).Put([]byte(name), r.Append(nil))
		if err == nil && r.Last.Date != 0 {
			err = putDay(tx, name, r.Last)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

// putDay writes a day that is over, once.
func putDay(tx *bbolt.Tx, name string, d ledger.Day) error {
	key := binary.BigEndian.AppendUint32(nil, uint32(d.Date))
	if b := tx.Bucket(daysBucket).Bucket([]byte(name)); b != nil && b.Get(key) != nil {
		return nil
	}
	return setDay(tx, name, d)
}

// setDay writes a day, whatever there was of it, and lets the oldest go.
func setDay(tx *bbolt.Tx, name string, d ledger.Day) error {
	key := binary.BigEndian.AppendUint32(nil, uint32(d.Date))
	b, err := tx.Bucket(daysBucket).CreateBucketIfNotExists([]byte(name))
	if err != nil {
		return err
	}
	if err := b.Put(key, d.Append(nil)); err != nil {
		return err
	}
	var keys [][]byte
	if err := b.ForEach(func(key, _ []byte) error { keys = append(keys, key); return nil }); err != nil {
		return err
	}
	for _, oldest := range keys[:max(0, len(keys)-ledger.KeepDays)] {
		if err := b.Delete(slices.Clone(oldest)); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the database.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close the ledger: %w", err)
	}
	return nil
}
