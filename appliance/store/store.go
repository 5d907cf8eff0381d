// Package store keeps the donations' accounts on disk. It owns the database file, its buckets, its schema's version and
// what happens to a file that cannot be read; it is the only user of bbolt. It must not know what an account means.
//
// # The file
//
//	schema    version → uvarint
//	accounts  donation's name → ledger.Record
//	days      donation's name → bucket: date as big-endian uint32 → ledger.Day, the last ledger.KeepDays of them
//	links     donation's name → SHA-256 of the token in its lender's link
//	pauses    donation's name → who paused it
//
// bbolt never overwrites a page that the last finished transaction needs: it writes new pages, waits until the disk has
// them, and then writes one of two meta pages with a checksum; so a power cut at any moment leaves the state before or
// after. Records carry checksums of their own, because bbolt has none on data pages.
//
// The list of free pages is written along (4 kB more a transaction): rebuilding it, bbolt reads the file in a goroutine
// of its own, where a damaged page would end the daemon instead of being noticed (etcd-io/bbolt issue 778).
package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"passerelle/appliance/ledger"
)

const (
	version     = 1
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
)

// buckets are those beside the schema.
var buckets = [][]byte{accountsBucket, daysBucket, linksBucket, pausesBucket}

// Errors of Open.
var (
	ErrNewer = errors.New("it was written by a newer version of passerelle: " +
		"install that one again, or move the file away, whereupon nothing is known of what was used")
	ErrLocked = errors.New("another passerelle has it open: stop that one first")
)

// Store is an open database. Make one with Open. Its methods are safe for concurrent use.
type Store struct {
	db *bbolt.DB
}

// Damage says that the database could not be read, and where it was put.
type Damage struct {
	Aside string // where the damaged file lies now
	Cause error
}

func (d *Damage) Error() string {
	return fmt.Sprintf("the record of what was used of the donations is damaged: it is kept as %s, "+
		"and until their periods end all donations with a cap count as spent: %v", d.Aside, d.Cause)
}

func (d *Damage) Unwrap() error { return d.Cause }

// Open opens the database, or makes one. One that cannot be read is set aside under a name with the date of now, and
// one made in its place in which each of the donations counts as spent; that is told by damage, with a store that
// works. An error is final: without a store nothing may be promised.
func Open(path string, donations []string, now time.Time) (s *Store, damage *Damage, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path, nil); err != nil {
			return nil, nil, err
		}
	} else if err != nil {
		return nil, nil, fmt.Errorf("open the ledger: %w", err)
	}
	s, err = open(path)
	if !errors.Is(err, errDamaged) {
		return s, nil, err
	}
	damage = &Damage{Aside: asideName(path, now), Cause: err}
	// The damaged file keeps its name until the other is complete: whenever the power fails, one of the two is there.
	if err := os.Link(path, damage.Aside); err != nil {
		return nil, nil, fmt.Errorf("set the damaged ledger aside: %w: %w", err, damage.Cause)
	}
	lost := map[string]ledger.Record{}
	for _, name := range donations {
		lost[name] = ledger.LostRecord()
	}
	if err := create(path, lost); err != nil { // on a full disk this is tried again and again
		return nil, nil, errors.Join(err, damage.Cause, os.Remove(damage.Aside))
	}
	s, err = open(path)
	return s, damage, err
}

// asideName returns a name that is not taken.
func asideName(path string, now time.Time) string {
	name := path + now.Format(".damaged-20060102-150405")
	for n := 1; ; n++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name
		}
		name = fmt.Sprintf("%s%s-%d", path, now.Format(".damaged-20060102-150405"), n)
	}
}

// create puts a new database with these records in the path's place, complete or not at all.
func create(path string, records map[string]ledger.Record) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("make a new ledger: %w", err)
		}
	}()
	unfinished := path + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(unfinished, mode, options(nil))
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
		return errors.Join(schema.Put(versionKey, binary.AppendUvarint(nil, version)), put(tx, records))
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

func options(opened func(*os.File)) *bbolt.Options {
	return &bbolt.Options{
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

var errDamaged = errors.New("the file is damaged")

// open opens a database that is there and reads all of it. Its error is errDamaged, or what keeps a sound one from
// being opened.
func open(path string) (s *Store, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open the ledger %s: %w", path, err)
		}
	}()
	var file *os.File
	var db *bbolt.DB
	err = guard(func() (err error) {
		db, err = bbolt.Open(path, mode, options(func(f *os.File) { file = f }))
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
		return ErrNewer
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

// check reads everything. It changes nothing.
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
		case v > version:
			return ErrNewer
		}
		if _, err := load(tx); err != nil {
			return err
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
		return fmt.Errorf("%w: %w", ErrNewer, err)
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

// putDay writes a day that is over, once, and lets the oldest go.
func putDay(tx *bbolt.Tx, name string, d ledger.Day) error {
	key := binary.BigEndian.AppendUint32(nil, uint32(d.Date))
	if b := tx.Bucket(daysBucket).Bucket([]byte(name)); b != nil && b.Get(key) != nil {
		return nil
	}
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
