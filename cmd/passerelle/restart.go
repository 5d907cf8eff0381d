package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"passerelle/appliance/config"
	"passerelle/appliance/store"
)

// restart ends a daemon for another to begin in its place, in the same process. Sessions go on.
type restart struct {
	why        string
	config     *config.Config // of the next
	configured bool           // by a technician
	reset      bool           // as it left the factory: nothing of the above
}

func (r restart) Error() string { return r.why }

// runAll runs one daemon after the other, until ctx ends or one cannot go on. That ctx ends is fine, whenever it does.
func (d *daemon) runAll(ctx context.Context) error {
	defer context.AfterFunc(ctx, d.manager.stopping)()
	for {
		err := d.run(ctx)
		var next restart
		again := errors.As(err, &next)
		if again && next.reset {
			if err := d.forgetAll(); err != nil {
				d.log.Error("the box cannot be reset and goes on as it was", "error", err)
			} else {
				d.config, d.configured = config.Factory(), false
			}
		} else if again {
			d.config, d.configured = next.config, next.configured
		}
		switch {
		case ctx.Err() != nil && (err == nil || again || errors.Is(err, ctx.Err())):
			d.log.Info("stopped: the gate is closed")
			return nil
		case !again:
			return err
		}
		d.manager.reloading()
		d.log.Info("restarting", "why", err)
	}
}

// forgetAll makes the box as it left the factory: without configuration, accounts (those that were set aside, too),
// certificate, packs of lessons and whatever lies in memory. It goes by what must not be half done: as long as the
// configuration cannot be removed, nothing is.
func (d *daemon) forgetAll() error {
	if err := removeWritten(d.paths.config); err != nil {
		return err
	}
	return errors.Join(
		os.RemoveAll(filepath.Join(d.state, acceptedFolder)),
		store.Remove(filepath.Join(d.state, ledgerFile)),
		removeWritten(filepath.Join(d.state, certificateFile)),
		removeWritten(d.keptPath()),
		removeWritten(d.asidePath()),
		d.forgetResidents(),
		os.RemoveAll(filepath.Join(d.state, packsFolder)),
	)
}

// removeWritten removes a file that is written by renameio, and beside it what a power cut left of one that was being
// written: its name with a dot before it and something behind.
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
