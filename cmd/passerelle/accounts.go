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

// opened is what the accounts' place has when the daemon starts.
type opened struct {
	accounts
	books  map[string]*ledger.Book
	paused map[string]string
	aside  error // says which file could not be read, and that this one stands for it; nil if none is set aside
}

// openAccounts opens the store and reads all of it.
func (d *daemon) openAccounts() (o opened, err error) {
	s, err := d.openStore()
	switch {
	case errors.Is(err, private.ErrUnsafe): // that doesn't mend itself
		return o, wrong{err}
	case errors.Is(err, store.ErrLocked):
		return o, err
	case err != nil:
		d.log.Error("what is used of donations cannot be written down: lines with a cap are not shared", "error", err)
		return opened{accounts: noAccounts{err}, books: map[string]*ledger.Book{}}, nil
	}
	all, err := s.Load()
	if err == nil {
		o.paused, err = s.Paused()
	}
	if err != nil {
		return o, errors.Join(err, s.Close())
	}
	o.accounts, o.books = s.Store, map[string]*ledger.Book{}
	for name, a := range all {
		o.books[name] = ledger.Open(&a.Record, a.Days)
	}
	if s.aside != nil {
		o.aside = s.aside
	}
	return o, nil
}

// openedStore is a store with what lies aside, nil if nothing does.
type openedStore struct {
	*store.Store
	aside *store.Aside
}

func (d *daemon) openStore() (o openedStore, err error) {
	if err := private.Folder(d.state, 0o700); err != nil {
		return o, fmt.Errorf("make the state folder: %w", err)
	}
	var names []string
	for _, c := range d.config.Donations {
		names = append(names, c.Name)
	}
	o.Store, o.aside, err = store.Open(filepath.Join(d.state, ledgerFile), names, time.Now())
	if o.aside != nil {
		d.log.Error(o.aside.Error())
	}
	return o, err
}

// noAccounts says why there is no store.
type noAccounts struct{ error }

func (n noAccounts) Put(map[string]ledger.Record) error        { return n.error }
func (n noAccounts) SetPaused(string, string) error            { return n.error }
func (n noAccounts) Set(string, [sha256.Size]byte) error       { return n.error }
func (n noAccounts) Donation([sha256.Size]byte) (string, bool) { return "", false }
func (n noAccounts) Close() error                              { return nil }

// awaitDisk ends with restart once the store can be opened, which a daemon does when it starts.
func (d *daemon) awaitDisk(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(diskPatience):
		}
		if s, err := d.openStore(); err == nil {
			again := restart{why: "the disk can be written again", config: d.box.View().Config, configured: d.configured}
			return errors.Join(again, s.Close())
		}
	}
}
