package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"passerelle/appliance"
	"passerelle/appliance/admin"
	"passerelle/appliance/ledger"
	"passerelle/appliance/private"
	"passerelle/appliance/store"
)

// diskPatience is the time between attempts to open the accounts.
const diskPatience = 10 * time.Second

// ledgerFile is where the state folder has the accounts.
const ledgerFile = "ledger.db"

// accounts is the store, or what stands in for it while the disk gives none: nothing can be written then, so no line with
// a cap is shared, and the pages and all else are there.
type accounts interface {
	appliance.Accounts
	admin.Tokens
	Close() error
}

var _ accounts = (*store.Store)(nil)

// openAccounts opens the store and reads all of it. A file of a newer version is refused.
func (d *daemon) openAccounts() (a accounts, books map[string]*ledger.Book, paused map[string]string, err error) {
	s, err := d.openStore()
	switch {
	case errors.Is(err, private.ErrUnsafe): // that doesn't mend itself
		return nil, nil, nil, wrong{err}
	case errors.Is(err, store.ErrNewer), errors.Is(err, store.ErrLocked):
		return nil, nil, nil, err
	case err != nil:
		d.log.Error("what is used of donations cannot be written down: lines with a cap are not shared", "error", err)
		return noAccounts{err}, map[string]*ledger.Book{}, nil, nil
	}
	all, err := s.Load()
	if err == nil {
		paused, err = s.Paused()
	}
	if err != nil {
		return nil, nil, nil, errors.Join(err, s.Close())
	}
	books = map[string]*ledger.Book{}
	for name, a := range all {
		books[name] = ledger.Open(&a.Record, a.Days)
	}
	return s, books, paused, nil
}

func (d *daemon) openStore() (*store.Store, error) {
	if err := private.Folder(d.state, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	var names []string
	for _, c := range d.config.Donations {
		names = append(names, c.Name)
	}
	s, damage, err := store.Open(filepath.Join(d.state, ledgerFile), names, time.Now())
	if damage != nil {
		d.log.Error(damage.Error())
	}
	return s, err
}

// noAccounts says why there is no store.
type noAccounts struct{ error }

func (n noAccounts) Put(map[string]ledger.Record) error        { return n.error }
func (n noAccounts) SetPaused(string, string) error            { return n.error }
func (n noAccounts) Set(string, [sha256.Size]byte) error       { return n.error }
func (n noAccounts) Donation([sha256.Size]byte) (string, bool) { return "", false }
func (n noAccounts) Close() error                              { return nil }

// awaitDisk ends with anew once the store can be opened, which a daemon does when it starts.
func (d *daemon) awaitDisk(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(diskPatience):
		}
		if s, err := d.openStore(); err == nil {
			again := anew{why: "the disk can be written again", config: d.box.Config, configured: d.configured}
			return errors.Join(again, s.Close())
		}
	}
}
