package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"passerelle/appliance"
	"passerelle/appliance/ledger"
	"passerelle/appliance/private"
	"passerelle/appliance/store"
	"passerelle/captive/admin"
)

// storeRetry is the time between attempts to open the store.
const storeRetry = 10 * time.Second

// ledgerFile is the store's file in the state folder.
const ledgerFile = "ledger.db"

// accountStore is the store, or a failedStore while the disk fails. In that case no line with a cap is shared, but everything
// else works.
type accountStore interface {
	appliance.Store
	admin.Tokens
	Known(donation string) bool
	Save() (store.Saved, error)
	Migrate() error
	Close() error
}

var _ accountStore = (*store.Store)(nil)

// openedAccounts are the accounts as stored when the daemon starts.
type openedAccounts struct {
	accountStore
	accounts    map[string]*ledger.Account
	paused      map[string]ledger.Pause
	quarantined error // names a file that could not be read and was replaced; nil if there is none
}

// openAccounts opens the store and reads all accounts.
func (d *Daemon) openAccounts() (o openedAccounts, err error) {
	s, err := d.openStore()
	switch {
	case errors.Is(err, private.ErrUnsafe): // permanent
		return o, InputError{err}
	case errors.Is(err, store.ErrLocked):
		return o, err
	case err != nil:
		d.log.Error("accounts cannot be written: donations with a cap are not shared", "error", err)
		return openedAccounts{accountStore: failedStore{err}, accounts: map[string]*ledger.Account{}}, nil
	}
	all, err := s.Load()
	if err == nil {
		o.paused, err = s.Paused()
	}
	if err != nil {
		return o, errors.Join(err, s.Close())
	}
	o.accountStore, o.accounts = s.Store, map[string]*ledger.Account{}
	for name, a := range all {
		o.accounts[name] = ledger.Open(&a.Record, a.Days)
	}
	if s.quarantined != nil {
		o.quarantined = s.quarantined
	}
	return o, nil
}

// openedStore is a store with its quarantined file, nil if there is none.
type openedStore struct {
	*store.Store
	quarantined *store.Quarantined
}

func (d *Daemon) openStore() (o openedStore, err error) {
	if err := private.Folder(d.state, 0o700); err != nil {
		return o, fmt.Errorf("make the state folder: %w", err)
	}
	var names []string
	for _, c := range d.config.Donations {
		names = append(names, c.Name)
	}
	o.Store, o.quarantined, err = store.Open(filepath.Join(d.state, ledgerFile), names, time.Now())
	if o.quarantined != nil {
		d.log.Error(o.quarantined.Error())
	}
	return o, err
}

// failedStore is a store that could not be opened.
type failedStore struct{ error }

func (n failedStore) Put(map[string]ledger.Record) error        { return n.error }
func (n failedStore) SetPaused(string, ledger.Pause) error      { return n.error }
func (n failedStore) Set(string, [sha256.Size]byte) error       { return n.error }
func (n failedStore) Donation([sha256.Size]byte) (string, bool) { return "", false }
func (n failedStore) Known(string) bool                         { return false }
func (n failedStore) Save() (store.Saved, error)                { return store.Saved{}, n.error }
func (n failedStore) Migrate() error                            { return nil } // openStore does, once it can
func (n failedStore) Close() error                              { return nil }

// retryStore restarts the daemon once the store can be opened.
func (d *Daemon) retryStore(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(storeRetry):
		}
		if s, err := d.openStore(); err == nil {
			d.end(exitReason{action: restarts, why: "the disk is writable again"})
			return s.Close()
		}
	}
}
