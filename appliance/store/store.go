// Package store keeps on disk what must survive a power cut: the donations' accounts. It owns the database files, their buckets,
// their format versions, and the handling of a file that cannot be read. No other package uses bbolt. It must not know what an
// account means.
//
// Every file is of a kind, which defines its buckets and versions. Files of all kinds are opened, checked, guarded and quarantined
// in the same way. Data that belongs to no account has a file of its own: if that file is full or damaged, caps still work.
//
// # The ledger
//
//	schema    version → uvarint; stands for → the name of the file that this one replaces, if any;
//	          ledger → a random text that identifies it, from its first backup on
//	accounts  donation's name → ledger.Record
//	days      donation's name → bucket: date as big-endian uint32 → ledger.Day, the last ledger.KeepDays of them
//	links     donation's name → SHA-256 of the token in its lender's link
//	pauses    donation's name → who paused it, and on a second line until when, if it ends on its own (ledger.Pause)
//
// bbolt never overwrites a page that the last committed transaction needs. It writes new pages, waits until the disk has them, and
// then writes one of two meta pages with a checksum. So a power cut at any moment leaves the state before or after a transaction.
// Records carry checksums of their own, because bbolt has none on data pages.
//
// # Versions
//
// The file's version names its format. A box may be rolled back to the previous release. So one release reads a format before any
// release writes it: the release that writes it is installed only after the one that reads it was marked good. In code, each release
// writes one format ([formatWritten]), and reads all formats up to the next one ([formatRead]):
//
//   - A box that was away may skip releases, so the release in its other slot may read less. Therefore a file keeps its format, and
//     a new file has the oldest format that this release writes ([formatOldest]), until [Store.Migrate]. The daemon calls it once
//     its slot has proved itself. A release that drops an old format declares the oldest release that it can follow.
//   - The format after the written one may add things: other buckets, other keys in schema, fields at the end of records (which
//     have versions of their own by the same rule). It changes nothing that exists, above all not what counts as used. A release
//     that does not know the additions ignores them. And because that release still writes what it knows, the additions may be
//     missing or stale.
//   - Such a file is read, and keeps its format: unknown parts are skipped and left alone, and the version is not lowered, so that
//     the newer release finds its additions again. Records are written in this release's version, which every newer release reads.
//   - A format that does more than add takes the version after the next, so that a release without code for it does not read it. One
//     release reads it and the release after that writes it, as usual: there, formatRead is two more than formatWritten.
//   - A file of a newer format is quarantined like a damaged one: it is renamed with a timestamp and replaced by a new file. The
//     caps of all configured donations then count as spent until their periods end. The new file names the one that it replaces.
//     The first release that can read the replaced file merges it: accounts continue from both files (ledger.Merge), and links and
//     pauses come back unless newer ones are known.
//
// The freelist is written with each transaction (4 kB more). Without it, bbolt would rebuild it by reading the file in a goroutine of
// its own, where a damaged page would end the daemon instead of being detected (etcd-io/bbolt issue 778).
package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"passerelle/appliance/ledger"
)

const (
	formatOldest  = 1                 // the format of a file that is not migrated, see Versions
	formatWritten = 1                 // the format of a migrated file
	formatRead    = formatWritten + 1 // the newest format that is read
)

var (
	accountsBucket = []byte("accounts")
	daysBucket     = []byte("days")
	linksBucket    = []byte("links")
	pausesBucket   = []byte("pauses")
)

// ledgerKind is the kind of file that holds the donations' accounts.
var ledgerKind = &kind{
	name: "ledger", content: "the record of what was used of the donations",
	consequence: "until their periods end all donations with a cap count as spent",
	buckets:     [][]byte{accountsBucket, daysBucket, linksBucket, pausesBucket},
	oldest:      formatOldest, writes: formatWritten, reads: formatRead,
	check: check, merge: merge,
}

// ErrLocked is an error of Open.
var ErrLocked = errors.New("another passerelle has it open: stop that one first")

// Store holds the donations' accounts. Make one with Open. Its methods are safe for concurrent use.
type Store struct{ *file }

// Open opens the database, or creates it. A file that cannot be read is quarantined and replaced by one in which each of the
// donations counts as spent. Open then returns a working store together with quarantined, at this start and each later one, until a
// release that can read the quarantined file has merged it. An error is final: without a store nothing may be granted.
func Open(path string, donations []string, now time.Time) (s *Store, quarantined *Quarantined, err error) {
	return openLedger(ledgerKind, path, donations, now)
}

// openLedger is Open for a release whose ledger is of this kind.
func openLedger(k *kind, path string, donations []string, now time.Time) (s *Store, quarantined *Quarantined, err error) {
	lost := map[string]ledger.Record{}
	for _, name := range donations {
		lost[name] = ledger.LostRecord()
	}
	f, quarantined, err := k.open(path, func(tx *bbolt.Tx) error { return put(tx, lost) }, now)
	if err != nil {
		return nil, nil, err
	}
	return &Store{f}, quarantined, nil
}

// check reads all accounts, links and pauses.
func check(tx *bbolt.Tx) error {
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
	return nil
}

// SavedAccount is what the store holds for a donation.
type SavedAccount struct {
	Record ledger.Record
	Days   []ledger.Day // those that are over, oldest first, including the record's LastDay
}

// Load returns the accounts by donation, including donations that are no longer configured: their name may come back
// within the period.
func (s *Store) Load() (all map[string]SavedAccount, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		all, err = load(tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return all, nil
}

func load(tx *bbolt.Tx) (map[string]SavedAccount, error) {
	all := map[string]SavedAccount{}
	err := tx.Bucket(accountsBucket).ForEach(func(name, value []byte) error {
		r, err := ledger.Decode(value)
		if err != nil {
			return fmt.Errorf("%q: %w", name, fileError(err))
		}
		all[string(name)] = SavedAccount{Record: r}
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
			d, err := ledger.DecodeDay(ledger.Date(binary.BigEndian.Uint32(key)), value)
			a.Days = append(a.Days, d)
			return fileError(err)
		})
		all[string(name)] = a
		return err
	})
}

// fileError wraps the ledger's decoding errors in the errors of a file.
func fileError(err error) error {
	switch {
	case errors.Is(err, ledger.ErrNewer):
		return fmt.Errorf("%w: %w", errNewer, err)
	case errors.Is(err, ledger.ErrDamaged):
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return err
}

// Put writes records by donation and returns once they are on disk. After an error the disk has either all of them or none, and
// nothing that they commit may be granted.
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
		if err == nil && r.LastDay.Date != 0 {
			err = putDay(tx, name, r.LastDay)
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

// setDay writes a day, replacing an earlier version of it, and deletes the oldest days.
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

// merge adds the accounts of a replaced file to those in tx, and the links and pauses that tx does not have.
func merge(tx, from *bbolt.Tx) error {
	accounts, err := load(from)
	if err != nil {
		return err
	}
	present, err := load(tx)
	if err != nil {
		return err
	}
	records := map[string]ledger.Record{}
	for name, earlier := range accounts {
		here, known := present[name]
		if !known {
			records[name] = earlier.Record
		} else {
			records[name] = ledger.Merge(earlier.Record, here.Record)
		}
		days := earlier.Days
		if today := earlier.Record.Today; today.Date != 0 && today.Date != records[name].Today.Date {
			days = append(days, today)
		}
		for _, d := range days {
			for _, also := range here.Days {
				if also.Date == d.Date {
					d = d.Add(also)
				}
			}
			if err := setDay(tx, name, d); err != nil {
				return fmt.Errorf("%q: %w", name, err)
			}
		}
	}
	for _, bucket := range [][]byte{linksBucket, pausesBucket} {
		here := tx.Bucket(bucket)
		err := from.Bucket(bucket).ForEach(func(donation, value []byte) error {
			if here.Get(donation) != nil {
				return nil
			}
			return here.Put(donation, value)
		})
		if err != nil {
			return err
		}
	}
	return put(tx, records)
}
