package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"passerelle/appliance/config"
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
	ledgers, err := filepath.Glob(filepath.Join(d.state, ledgerFile) + "*")
	if err != nil {
		return err
	}
	for _, path := range append([]string{
		d.paths.config, filepath.Join(d.state, acceptedFolder), filepath.Join(d.state, certificateFile), d.keptPath(),
	}, ledgers...) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return errors.Join(d.forgetResidents(), os.RemoveAll(filepath.Join(d.state, packsFolder)))
}
