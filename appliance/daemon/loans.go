package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"passerelle/appliance"
	"passerelle/appliance/config"
	"passerelle/appliance/private"
	"passerelle/appliance/state"
	"passerelle/captive/admin"
	"passerelle/captive/admin/months"
	"passerelle/captive/records"
)

// loans changes donations for their lenders' pages.
type loans struct {
	*appliance.Box
	*Daemon
}

var _ admin.Loans = loans{}

// LowerCap lowers a cap in the configuration, and with it a reserve that would be too large.
func (l loans) LowerCap(ctx context.Context, name string, bytes uint64, from config.Side) error {
	return l.change(ctx, name, from, func(d config.Donation) ([]config.Change, error) {
		if bytes == 0 || d.Cap != 0 && bytes >= uint64(d.Cap) { // a cap of 0 is none
			return nil, admin.ErrNotLower
		}
		limit := config.Size(bytes)
		changes := []config.Change{{Path: []string{"donation", name, "cap"}, Value: limit.String()}}
		if d.Reserve > limit/2 {
			changes = append(changes, config.Change{Path: []string{"donation", name, "reserve"}, Value: (limit / 2).String()})
		}
		return changes, nil
	})
}

// Close removes a donation from the configuration, and then from all older configurations that the box keeps.
func (l loans) Close(ctx context.Context, name string, from config.Side) error {
	if err := l.closing(func(all *[]string) error { *all = append(*all, name); return nil }); err != nil {
		return err
	}
	err := l.change(ctx, name, from, func(config.Donation) ([]config.Change, error) { return removal(name), nil })
	if err != nil && !errors.Is(err, state.ErrNoDonation) {
		unmark := l.closing(func(all *[]string) error {
			*all = slices.DeleteFunc(*all, func(n string) bool { return n == name })
			return nil
		})
		return errors.Join(err, unmark)
	}
	if err := l.forget(); err != nil {
		return errors.Join(admin.ErrKept, err)
	}
	return nil
}

func removal(name string) []config.Change {
	return []config.Change{{Path: []string{"donation", name}}}
}

// attempts is how often a lender's change is tried while others change the configuration too.
const attempts = 3

// change changes a donation in the configuration, and in the one that the undo of an unconfirmed change would restore.
func (l loans) change(
	ctx context.Context, name string, from config.Side, changes func(config.Donation) ([]config.Change, error),
) error {
	for range attempts {
		text, revision, err := l.file().Read()
		if err != nil {
			return err
		}
		c, err := config.Parse(l.paths.config, text)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(c.Donations, func(d config.Donation) bool { return d.Name == name })
		if i < 0 {
			return fmt.Errorf("%w: %q", state.ErrNoDonation, name)
		}
		edits, err := changes(c.Donations[i])
		if err != nil {
			return err
		}
		edited, err := config.Edit(text, edits)
		if err != nil {
			return err
		}
		if err := l.updater.rewritePending(func(text []byte) ([]byte, error) {
			before, err := config.Parse(l.paths.config, text)
			if err != nil {
				return nil, err
			}
			i := slices.IndexFunc(before.Donations, func(d config.Donation) bool { return d.Name == name })
			if i < 0 {
				return text, nil
			}
			edits, err := changes(before.Donations[i])
			if errors.Is(err, admin.ErrNotLower) {
				return text, nil
			}
			if err != nil {
				return nil, err
			}
			return config.Edit(text, edits)
		}); err != nil {
			return err
		}
		r, err := l.updater.applyFrom(ctx, edited, revision, config.RoleLender, from)
		switch {
		case err != nil:
			return err
		case r.Outcome == config.Refused:
			return errors.New(r.Why)
		case r.Outcome != config.Conflict:
			return nil
		}
	}
	return config.ErrChanged
}

// rewritePending changes the text that the undo of an unconfirmed change would restore.
func (d *configUpdater) rewritePending(change func([]byte) ([]byte, error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pending.rewrite(change)
}

// closingFile has the names of donations that are closed, until no copy of a configuration has them any more.
const closingFile = "closing.json"

func (d *Daemon) closing(f func(*[]string) error) error {
	_, err := records.File[[]string]{Path: filepath.Join(d.state, closingFile), Version: 1}.Update(f)
	return err
}

// finishForgetting completes a removal that a power cut interrupted.
func (d *Daemon) finishForgetting() {
	if err := d.forget(); err != nil {
		d.log.Error("copies of a closed loan's Wi-Fi password are still to be removed", "error", err)
	}
}

// forget removes the closed donations from all configurations that the box keeps, unless the current one has them again.
func (d *Daemon) forget() error {
	path := filepath.Join(d.state, closingFile)
	names, err := records.File[[]string]{Path: path, Version: 1}.Read()
	if err != nil || len(names) == 0 {
		return err
	}
	text, _, err := d.file().Read()
	if err == nil {
		var c *config.Config
		if c, err = config.Parse(d.paths.config, text); err == nil {
			names = slices.DeleteFunc(names, func(name string) bool {
				return slices.ContainsFunc(c.Donations, func(d config.Donation) bool { return d.Name == name })
			})
		}
	}
	if err != nil {
		return err // the closed donations are not known
	}
	without := func(text []byte) ([]byte, error) {
		for _, name := range names {
			var err error
			if text, err = config.Edit(text, removal(name)); err != nil {
				return nil, err
			}
		}
		return text, nil
	}
	err = rewriteCopies(config.History{Dir: filepath.Join(d.state, versionsFolder)}, filepath.Join(d.state, acceptedFolder), without)
	if err = errors.Join(err, d.backups.Forget()); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return private.SyncFolder(d.state)
}

// monthSample returns the counters that the box sums by month.
func (d *Daemon) monthSample() months.Sample {
	opened := uint64(0)
	for _, share := range d.shares {
		if share.Opened != nil {
			opened += share.Opened()
		}
	}
	return months.SampleOf(d.status(), time.Now().In(d.box.Config().Box.Timezone), opened)
}
