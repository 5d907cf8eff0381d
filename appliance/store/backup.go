package store

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"passerelle/appliance/ledger"
)

// ledgerKey is the key in schema of what identifies this ledger: a random text, from its first backup on. It needs no format of its
// own: a release that does not know it ignores it, and continues with the accounts that it identifies.
var ledgerKey = []byte("ledger")

// Saved is the part of a ledger that goes into a backup.
type Saved struct {
	Ledger    string                   `json:"ledger"` // identifies the ledger that it was made from
	Donations map[string]SavedDonation `json:"donations"`
}

// SavedDonation is the part of a donation that goes into a backup.
type SavedDonation struct {
	Record []byte     `json:"record,omitempty"` // as ledger.Record.Append writes it; none if the donation has no account
	Days   []SavedDay `json:"days,omitempty"`
	Link   []byte     `json:"link,omitempty"` // SHA-256 of the token in its lender's link
	Paused string     `json:"paused,omitempty"`
}

// SavedDay is a day of a donation, as ledger.Day.Append writes it.
type SavedDay struct {
	Date ledger.Date `json:"date"`
	Sums []byte      `json:"sums"`
}

// Account returns the donation's account. ok is false if there is none. The error says why it cannot be read.
func (d SavedDonation) Account() (a SavedAccount, ok bool, err error) {
	if d.Record == nil {
		return a, false, nil
	}
	if a.Record, err = ledger.Decode(d.Record); err != nil {
		return a, false, err
	}
	for i, day := range d.Days {
		if i > 0 && day.Date <= d.Days[i-1].Date || day.Date < 1_01_01 || day.Date > 9999_12_31 || i >= ledger.KeepDays {
			return a, false, fmt.Errorf("day %d: %w", day.Date, ledger.ErrDamaged)
		}
		sums, err := ledger.DecodeDay(day.Date, day.Sums)
		if err != nil {
			return a, false, err
		}
		a.Days = append(a.Days, sums)
	}
	return a, true, nil
}

// WithoutSecrets returns the ledger without the hashes of lenders' links, and the names of the donations that have such a link.
func (s Saved) WithoutSecrets() (plain Saved, links []string) {
	plain = Saved{Ledger: s.Ledger, Donations: map[string]SavedDonation{}}
	for _, name := range slices.Sorted(maps.Keys(s.Donations)) {
		d := s.Donations[name]
		if d.Link != nil {
			links = append(links, name)
		}
		d.Link = nil
		plain.Donations[name] = d
	}
	return plain, links
}

// ParseSaved reads a ledger from a backup, and checks all of it.
func ParseSaved(text []byte) (s Saved, err error) {
	if err := json.Unmarshal(text, &s); err != nil {
		return Saved{}, fmt.Errorf("read the accounts: %w", err)
	}
	for name, d := range s.Donations {
		if _, _, err := d.Account(); err != nil {
			return Saved{}, fmt.Errorf("read the account of %q: %w", name, err)
		}
		if name == "" || len(name) > bbolt.MaxKeySize || d.Link != nil && len(d.Link) != sha256.Size || len(d.Paused) > 100 {
			return Saved{}, fmt.Errorf("read the account of %.100q: %w", name, ledger.ErrDamaged)
		}
	}
	return s, nil
}

// Save returns the part of the ledger that goes into a backup.
func (s *Store) Save() (saved Saved, err error) {
	if err := s.identify(); err != nil {
		return Saved{}, err
	}
	err = s.view(func(tx *bbolt.Tx) (err error) {
		saved, err = save(tx)
		return err
	})
	if err != nil {
		return Saved{}, fmt.Errorf("read the ledger: %w", err)
	}
	return saved, nil
}

// identify gives the ledger its random text, if it has none.
func (s *Store) identify() error {
	known := false
	if err := s.view(func(tx *bbolt.Tx) error { known = tx.Bucket(schemaBucket).Get(ledgerKey) != nil; return nil }); err != nil || known {
		return err
	}
	err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(schemaBucket).Put(ledgerKey, []byte(rand.Text())) })
	if err != nil {
		return fmt.Errorf("identify the ledger: %w", err)
	}
	return nil
}

func save(tx *bbolt.Tx) (Saved, error) {
	s := Saved{Ledger: string(tx.Bucket(schemaBucket).Get(ledgerKey)), Donations: map[string]SavedDonation{}}
	all, err := load(tx)
	if err != nil {
		return s, err
	}
	for name, a := range all {
		d := SavedDonation{Record: a.Record.Append(nil)}
		for _, day := range a.Days {
			d.Days = append(d.Days, SavedDay{day.Date, day.Append(nil)})
		}
		s.Donations[name] = d
	}
	set := func(bucket []byte, put func(d *SavedDonation, value []byte)) error {
		return tx.Bucket(bucket).ForEach(func(name, value []byte) error {
			d := s.Donations[string(name)]
			put(&d, bytes.Clone(value))
			s.Donations[string(name)] = d
			return nil
		})
	}
	err = errors.Join(
		set(linksBucket, func(d *SavedDonation, value []byte) { d.Link = value }),
		set(pausesBucket, func(d *SavedDonation, value []byte) { d.Paused = string(value) }),
	)
	return s, err
}

// ForgetPeople removes the data of people behind the donations: lenders' links, and who paused what. What was used stays.
func (s *Store) ForgetPeople() error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for _, bucket := range [][]byte{linksBucket, pausesBucket} {
			if err := tx.DeleteBucket(bucket); err != nil {
				return err
			}
			if _, err := tx.CreateBucket(bucket); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove links and pauses: %w", err)
	}
	return nil
}

// Restored returns what a donation's account becomes when a backup is restored; present is nil if the ledger has no account. With
// undo the backup is the state before an earlier restore onto this ledger.
func Restored(from Saved, name string, present *ledger.Record, sameLedger, undo bool) (r ledger.Record, ok bool, err error) {
	saved, ok, err := from.Donations[name].Account()
	switch {
	case err != nil:
		return r, false, err
	case !ok && present == nil:
		return r, false, nil
	case !ok:
		return *present, true, nil
	case undo && present != nil && sameLedger:
		return ledger.Undo(saved.Record, *present), true, nil
	}
	return ledger.Restore(saved.Record, present, sameLedger), true, nil
}

// Restore brings a backup's accounts into the ledger, all or none. For each donation the larger use counts, and what is not in the
// backup stays. Links and pauses that the ledger has stay; with undo, the links are those of the backup. stated has what somebody
// states that lines have carried in the running period, by donation: see [ledger.Record.State].
func (s *Store) Restore(from Saved, undo bool, stated map[string]uint64) error {
	if err := s.identify(); err != nil {
		return err
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		present, err := load(tx)
		if err != nil {
			return err
		}
		same := from.Ledger != "" && from.Ledger == string(tx.Bucket(schemaBucket).Get(ledgerKey))
		records := map[string]ledger.Record{}
		for _, name := range slices.Sorted(maps.Keys(from.Donations)) {
			d := from.Donations[name]
			var here *ledger.Record
			if a, known := present[name]; known {
				here = &a.Record
			}
			r, ok, err := Restored(from, name, here, same, undo)
			if err != nil {
				return fmt.Errorf("%q: %w", name, err)
			}
			if bytes, is := stated[name]; ok && is && r.Lost {
				r.State(bytes)
			}
			if ok {
				records[name] = r
			}
			saved, _, err := d.Account()
			if err != nil {
				return fmt.Errorf("%q: %w", name, err)
			}
			days := saved.Days
			if today := saved.Record.Today; here != nil && today.Date != 0 && today.Date < here.Today.Date {
				days = append(days, today)
			}
			for _, day := range days {
				if err := putDay(tx, name, day); err != nil {
					return fmt.Errorf("%q: %w", name, err)
				}
			}
			links, pauses := tx.Bucket(linksBucket), tx.Bucket(pausesBucket)
			if d.Link != nil && (undo || links.Get([]byte(name)) == nil) {
				if err := links.Put([]byte(name), d.Link); err != nil {
					return err
				}
			}
			if d.Paused != "" && pauses.Get([]byte(name)) == nil {
				if err := pauses.Put([]byte(name), []byte(d.Paused)); err != nil {
					return err
				}
			}
		}
		return put(tx, records)
	})
	if err != nil {
		return fmt.Errorf("restore the ledger: %w", err)
	}
	return nil
}
