package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"passerelle/appliance/ledger"
)

// Aside is a file that could not be read, and in whose place the present one was begun.
type Aside struct {
	File  string // where it lies now, as it was
	Newer bool   // a newer version of passerelle wrote it, and it waits for one that reads it; else it is damaged
	Cause error  // as far as it is known: what was found at an earlier start is not
}

func (a *Aside) Error() string {
	what := "is damaged: it is kept as " + a.File
	if a.Newer {
		what = "was written by a newer version of passerelle: it is kept as " + a.File + ", for the version that reads it"
	}
	text := "the record of what was used of the donations " + what +
		", and until their periods end all donations with a cap count as spent"
	if a.Cause != nil {
		text += ": " + a.Cause.Error()
	}
	return text
}

func (a *Aside) Unwrap() error { return a.Cause }

// What a file is called that is set aside, behind the name it had.
const (
	newerName   = ".newer-"
	damagedName = ".damaged-"
)

// setAside sets the file aside, which cannot be read for this cause, and opens another in its place.
func setAside(path string, cause error, donations []string, now time.Time) (*Store, *Aside, error) {
	a := &Aside{Newer: errors.Is(cause, errNewer), Cause: cause}
	kind := damagedName
	if a.Newer {
		kind = newerName
	}
	a.File = asideName(path+kind, now)
	// The file keeps its name until the other is complete: whenever the power fails, one of the two is there.
	if err := os.Link(path, a.File); err != nil {
		return nil, nil, fmt.Errorf("set the ledger aside: %w: %w", err, cause)
	}
	lost := map[string]ledger.Record{}
	for _, name := range donations {
		lost[name] = ledger.LostRecord()
	}
	if err := create(path, filepath.Base(a.File), lost); err != nil { // on a full disk this is tried again and again
		return nil, nil, errors.Join(err, cause, os.Remove(a.File))
	}
	s, err := open(path, false)
	return s, a, err
}

// asideName returns a name with the date that is not taken.
func asideName(path string, now time.Time) string {
	dated := path + now.Format("20060102-150405")
	name := dated
	for n := 1; ; n++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name
		}
		name = fmt.Sprintf("%s-%d", dated, n)
	}
}

func putStandsFor(tx *bbolt.Tx, file string) error {
	if file == "" {
		return tx.Bucket(schemaBucket).Delete(standsForKey)
	}
	return tx.Bucket(schemaBucket).Put(standsForKey, []byte(file))
}

// takeBack goes on from the file that this one stands for, if it can be read now, and then from the one that that one
// stood for. It returns the one that is still aside, nil if none is.
func (s *Store) takeBack() *Aside {
	for {
		if s.standsFor == "" {
			return nil
		}
		a := &Aside{File: filepath.Join(filepath.Dir(s.db.Path()), s.standsFor), Newer: strings.Contains(s.standsFor, newerName)}
		if _, err := os.Lstat(a.File); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !a.Newer { // damage doesn't mend itself
			return a
		}
		if a.Cause = s.goOnFrom(a.File); a.Cause != nil {
			return a
		}
	}
}

// goOnFrom takes over what is in another file, all or nothing, and removes it.
func (s *Store) goOnFrom(file string) error {
	earlier, err := open(file, true)
	if err != nil {
		return err
	}
	err = guard(func() error {
		return earlier.db.View(func(from *bbolt.Tx) error {
			return s.db.Update(func(tx *bbolt.Tx) error {
				return errors.Join(join(tx, from), putStandsFor(tx, earlier.standsFor))
			})
		})
	})
	if err := errors.Join(err, earlier.db.Close()); err != nil {
		return fmt.Errorf("go on from %s: %w", file, err)
	}
	s.standsFor = earlier.standsFor
	// Nothing names it any more: one that cannot be removed only takes up room.
	_ = os.Remove(file)
	return nil
}

// join adds an earlier file's accounts to those here, and the links and pauses that are not known here.
func join(tx, from *bbolt.Tx) error {
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
			records[name] = ledger.Join(earlier.Record, here.Record)
		}
		days := earlier.Days
		if today := earlier.Record.Today; today.Date != 0 && today.Date != records[name].Today.Date {
			days = append(days, today)
		}
		for _, d := range days {
			for _, also := range here.Days {
				if also.Date == d.Date {
					d = d.Join(also)
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
