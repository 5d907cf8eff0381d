package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
)

// roleEnd is the role under which the end of a loan changes the configuration.
const roleEnd config.Role = "the end of a loan"

// forgetEvery is the time between two looks for loans that are over.
const forgetEvery = time.Minute

// forgetEnded removes the passwords of loans that are over, until ctx ends. While the clock is not trusted, no loan is over.
func (d *Daemon) forgetEnded(ctx context.Context) error {
	tick := time.NewTicker(forgetEvery)
	defer tick.Stop()
	var done []string // the loans whose passwords are removed everywhere
	for {
		var over []string
		for _, x := range d.box.Status().Donations {
			if x.Ended {
				over = append(over, x.Name)
			}
		}
		if len(over) > 0 && !slices.Equal(over, done) {
			err := d.updater.forgetNetworks(ctx, over, filepath.Join(d.state, acceptedFolder))
			if err == nil {
				err = d.backups.Forget()
			}
			switch {
			case err == nil:
				done = over
				d.log.Info("the passwords of loans that are over are forgotten", "loans", len(over))
			case errors.Is(err, state.ErrStopped):
				return nil
			case !errors.Is(err, errPending):
				d.log.Error("the password of a loan that is over is not forgotten yet", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// errPending says that a change waits for a technician's confirmation: the configuration that an undo would restore has the
// passwords, too.
var errPending = errors.New("a change waits to be confirmed")

// forgetNetworks removes the networks of these donations from the configuration, and then from its copies. If a power cut
// interrupts it, the next call completes it.
func (d *configUpdater) forgetNetworks(ctx context.Context, donations []string, accepted string) error {
	if _, err := d.pending.read(); !errors.Is(err, fs.ErrNotExist) {
		return errPending
	}
	text, revision, err := d.file.Read()
	if err != nil {
		return err
	}
	c, err := config.Parse(d.file.Path, text)
	if err != nil {
		return err
	}
	edited, secrets := text, []string(nil)
	for _, x := range c.Donations {
		if !slices.Contains(donations, x.Name) || x.WiFi == nil && x.APN == "" {
			continue
		}
		if x.WiFi != nil && x.WiFi.Passphrase != "" {
			secrets = append(secrets, x.WiFi.Passphrase)
		}
		if edited, err = config.ForgetNetwork(edited, x.Name); err != nil {
			return fmt.Errorf("forget the network of %q: %w", x.Name, err)
		}
	}
	if !bytes.Equal(edited, text) {
		r, err := d.Apply(ctx, edited, revision, roleEnd)
		if err == nil && r.Outcome != config.Applied && r.Outcome != config.Restart {
			err = errors.New(r.Why)
		}
		if err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	without := func(text []byte) ([]byte, error) { return config.Forget(text, donations, secrets) }
	return rewriteCopies(d.history, accepted, without)
}
