package daemon

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"passerelle/appliance/backup"
	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/state"
	"passerelle/captive/admin"
	"passerelle/captive/admin/journal"
	"passerelle/image/stick"
)

// openBackups completes a restore that a power cut interrupted, before any of the box's files are read.
func (d *Daemon) openBackups() error {
	d.backups = &Backups{paths: d.paths, release: d.release, log: d.log, now: time.Now, trusted: d.clockTrusted}
	d.backups.ledger = d.backups.openLedger
	finished, err := backup.Finish(d.backups.restoring(""))
	switch {
	case err != nil:
		d.log.Error("a backup is restored in part; the rest follows at the next start", "error", err)
	case finished:
		d.log.Info("a restored backup is complete")
	}
	d.backups.mu.Lock()
	defer d.backups.mu.Unlock()
	d.backups.drop()
	return nil
}

// use makes backups use the running box's ledger.
func (b *Backups) use(l accountLedger) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ledger = func() (accountLedger, func() error, error) { return l, func() error { return nil }, nil }
}

// restoreBackup restores a checked backup, between this run and the next one.
func (d *Daemon) restoreBackup(id string, stated map[string]uint64, role config.Role, side config.Side) error {
	c, err := d.backups.take(id, stated)
	if err != nil {
		return err
	}
	d.end(exitReason{action: restarts, why: "a backup is restored", then: func(err error) {
		if err == nil {
			err = d.backups.apply(c, stated, role, side)
		}
		d.backups.finish(c, err)
		if err != nil && !errors.Is(err, backup.ErrUnfinished) {
			d.log.Error("the backup is not restored", "error", err)
			return
		}
		if err != nil {
			d.log.Error("a backup is restored in part; the rest follows at the next start", "error", err)
		}
		what := journal.Restored
		if c.says.Undo {
			what = journal.RestoreUndone
		}
		d.journal.Note(journal.Entry{What: what, By: role, Side: side})
		if c.manifest.Has(savedAccess) {
			d.logins = nil // the next run reads them again
		}
		d.config, d.configured, d.refused = config.Factory(), false, nil
		if err := d.loadConfig(true); err != nil {
			d.log.Error("the restored configuration", "error", err)
		}
	}})
	return nil
}

// RefusedBackup tells whether an error is due to the backup or the caller, and not to this machine.
func RefusedBackup(err error) bool {
	for _, e := range []error{
		backup.ErrNotBackup, backup.ErrNewer, backup.ErrPassphrase, backup.ErrWrong, backup.ErrDamaged, backup.ErrCut, backup.ErrTooLarge,
		ErrUnconfigured, ErrNotChecked, ErrUnusable, state.ErrUseKnown, state.ErrNoDonation, fs.ErrNotExist,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.As(err, &backup.WeakError{})
}

// removeRestored removes the files left from restored backups, which have secrets.
func (d *Daemon) removeRestored() error { return os.RemoveAll(filepath.Join(d.state, restoreFolder)) }

// clockTrusted tells whether the time of day is known to be right.
func (d *Daemon) clockTrusted() bool { return d.box != nil && d.box.Status().Clock.Trusted }

// WriteBackup writes a backup, and adds that to the journal.
func (c controlled) WriteBackup(w io.Writer, passphrase string) error {
	return c.noted(journal.BackedUp, refuseBackup(c.backups.Write(w, passphrase)))
}

// KeepBackup keeps a backup on the box.
func (c controlled) KeepBackup() (string, error) {
	path, err := c.backups.Keep()
	return path, refuseBackup(err)
}

// CheckBackup checks a backup.
func (c controlled) CheckBackup(r io.Reader, passphrase string) (state.Restore, error) {
	says, err := c.backups.Check(r, passphrase)
	return says, refuseBackup(err)
}

// CheckUndo checks the state before the last restored backup.
func (c controlled) CheckUndo() (state.Restore, error) {
	says, err := c.backups.CheckUndo()
	if errors.Is(err, fs.ErrNotExist) {
		err = control.Refuse(errors.New("no backup was restored: there is nothing to undo"))
	}
	return says, refuseBackup(err)
}

// RestoreBackup starts to restore a checked backup.
func (c controlled) RestoreBackup(id string, used map[string]uint64) error {
	return refuseBackup(c.Daemon.restoreBackup(id, used, config.RoleCommandLine, ""))
}

// LastRestore returns the result of the last restore.
func (c controlled) LastRestore() state.RestoreResult { return c.backups.Last() }

// StateUse records how many bytes a donation's line has carried, as somebody states.
func (c controlled) StateUse(ctx context.Context, donation string, bytes uint64) error {
	return refuseBackup(c.Box.StateUse(ctx, donation, bytes))
}

// refuseBackup returns an error as the control socket reports it.
func refuseBackup(err error) error {
	if err != nil && RefusedBackup(err) {
		return control.Refuse(err)
	}
	return err
}

// technicianBackups are the box's backups as technicians' pages see them.
type technicianBackups struct{ *Daemon }

var _ admin.Backups = technicianBackups{}

func (t technicianBackups) Name() string { return t.backups.Name() }

func (t technicianBackups) Write(w io.Writer, passphrase string) error {
	return t.backups.Write(w, passphrase)
}

func (technicianBackups) MaxFile() int64 { return backup.MaxSize }

func (t technicianBackups) Check(r io.Reader, passphrase string) (state.Restore, error) {
	return t.backups.Check(r, passphrase)
}

func (t technicianBackups) CheckUndo() (state.Restore, error) { return t.backups.CheckUndo() }
func (t technicianBackups) Undoable() bool                    { return t.backups.Undoable() }
func (t technicianBackups) Drop()                             { t.backups.Drop() }
func (t technicianBackups) Last() state.RestoreResult         { return t.backups.Last() }

func (t technicianBackups) Restore(id string, used map[string]uint64, from config.Side) error {
	return t.restoreBackup(id, used, config.RoleTechnician, from)
}

func (t technicianBackups) StateUse(ctx context.Context, donation string, bytes uint64) error {
	return t.box.StateUse(ctx, donation, bytes)
}

func (technicianBackups) Trouble(err error) string {
	for _, known := range []struct {
		err  error
		word string
	}{
		{backup.ErrPassphrase, "passphrase"}, {backup.ErrWrong, "wrong"}, {backup.ErrNotBackup, "not-backup"}, {backup.ErrNewer, "newer"},
		{backup.ErrCut, "cut"}, {backup.ErrTooLarge, "large"}, {backup.ErrDamaged, "damaged"}, {ErrUnusable, "unusable"},
		{ErrNotChecked, "expired"}, {state.ErrUseKnown, "expired"},
	} {
		if errors.Is(err, known.err) {
			return known.word
		}
	}
	if errors.As(err, &backup.WeakError{}) {
		return "weak"
	}
	if why, ok := errors.AsType[*stick.Error](err); ok {
		return "stick-" + string(why.Code)
	}
	if errors.Is(err, stick.ErrNone) {
		return "stick-failed"
	}
	return ""
}
