package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/store"
)

// exitAction is what follows a run of the daemon.
type exitAction int

const (
	ends     exitAction = iota // the process ends
	restarts                   // another run starts in the same process; sessions continue
	resets                     // another run starts in the same process, after a factory reset
)

// exitReason is why a run of the daemon ends.
type exitReason struct {
	action exitAction
	why    string
	config *config.Config // a technician's, for the next run; nil: the current one
	then   func(error)    // is called with the run's error before the next run, while nothing of the box is in use; may be nil
}

// runAll runs the daemon again and again, until ctx ends or a run fails. The end of ctx is not an error.
func (d *Daemon) runAll(ctx context.Context) error {
	defer context.AfterFunc(ctx, d.notifier.Stopping)()
	for {
		end, err := d.run(ctx)
		switch {
		case end.action == ends:
		case end.config != nil:
			d.config, d.configured = end.config, true
		default:
			d.config = d.box.Written() // it may have changed
		}
		if end.then != nil {
			end.then(err)
		}
		if end.action == resets {
			if err := d.factoryReset(); err != nil {
				d.log.Error("factory reset failed; keeping the current configuration", "error", err)
			} else {
				d.config, d.configured, d.refused, d.logins = config.Factory(), false, nil, nil
			}
		}
		switch {
		case ctx.Err() != nil && (err == nil || end.action != ends || errors.Is(err, ctx.Err())):
			d.log.Info("stopped: the gate is closed")
			return nil
		case end.action == ends:
			return err
		}
		d.notifier.Reloading()
		d.log.Info("restarting", "why", end.why, "error", err)
	}
}

// factoryReset removes the configuration and its versions, secrets and the certificate, the fleet's folder, a pause, the pages'
// counts, the shares' content and their downloads, the state before a restored backup, and the files in memory. It keeps what was
// used of the donations: a box that changes hands, or that somebody resets by mistake, must not spend a lender's cap twice. A second
// reset, of a box that nobody has configured since, removes the accounts too, and the quarantined ones. The configuration is removed
// first: if that fails, nothing is removed.
func (d *Daemon) factoryReset() error {
	if err := removeWritten(d.paths.config); err != nil {
		return err
	}
	var content error
	for _, s := range d.shares {
		content = errors.Join(content, os.RemoveAll(Content(d.state, s.Name)))
	}
	return errors.Join(
		content,
		os.RemoveAll(filepath.Join(d.state, acceptedFolder)),
		os.RemoveAll(filepath.Join(d.state, accessFolder)),
		os.RemoveAll(filepath.Join(d.state, countsFolder)),
		os.RemoveAll(filepath.Join(d.state, fleetFolder)),
		os.RemoveAll(filepath.Join(d.state, pauseFolder)),
		os.RemoveAll(filepath.Join(d.state, versionsFolder)),
		os.RemoveAll(d.setupDir()),
		d.pending.end(),
		d.resetLedger(),
		d.removeRestored(),
		removeWritten(filepath.Join(d.state, certificateFile)),
		removeWritten(filepath.Join(d.state, downloadsFile)),
		removeWritten(filepath.Join(d.state, closingFile)),
		removeWritten(DroppedFile(d.state)),
		removeWritten(d.runtimeStatePath()),
		removeWritten(d.handoverPath()),
		d.forgetResidents(),
	)
}

// resetLedger removes lenders' links and pauses, and, if nobody has configured the box, all accounts.
func (d *Daemon) resetLedger() error {
	path := filepath.Join(d.state, ledgerFile)
	if _, err := os.Lstat(path); d.untouched() || errors.Is(err, fs.ErrNotExist) {
		return store.Remove(path)
	}
	s, _, err := store.Open(path, nil, time.Now())
	if err != nil {
		return err
	}
	return errors.Join(s.ForgetPeople(), s.Close())
}

// removeWritten removes a file that renameio writes, and the temporary files that a power cut left in its folder. Their names are
// a dot, the file's name and a suffix.
func removeWritten(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	entries, listErr := os.ReadDir(filepath.Dir(path))
	if errors.Is(listErr, fs.ErrNotExist) {
		listErr = nil
	}
	errs := []error{err, listErr}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+filepath.Base(path)) {
			errs = append(errs, os.Remove(filepath.Join(filepath.Dir(path), e.Name())))
		}
	}
	return errors.Join(errs...)
}
