package daemon

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
)

// configUpdater is the only way to change the configuration of a running box. It validates a change, keeps the version before
// it, writes the file, and then applies it to the box. The accepted copy follows once the kernel does.
type configUpdater struct {
	file    config.File
	history config.History
	pending *pending
	box     reconfigurer
	note    func(journal.Entry) // adds to the journal of changes
	now     func() time.Time
	log     *slog.Logger
	restart func(with *config.Config, why string) // ends this run of the daemon
	hangups chan<- os.Signal                      // a signal makes the next run read the file

	mu      sync.Mutex // held during a change
	applied []byte     // the text that the box uses, nil if it uses no file
	closed  bool       // this run of the daemon ends
}

// reconfigurer is what the updater needs of appliance.Box.
type reconfigurer interface {
	Reconfigure(context.Context, *config.Config) (config.Outcome, error)
}

// Apply replaces the file, if it has the revision, and applies the text to the box. Errors of the caller or the text are in
// the Result; err is an error of the machine, or says that the daemon ends. Neither they nor the log contain a password.
func (d *configUpdater) Apply(ctx context.Context, text []byte, revision config.Revision, role config.Role) (config.Result, error) {
	return d.applyFrom(ctx, text, revision, role, "")
}

// applyFrom is Apply for somebody on a side.
func (d *configUpdater) applyFrom(ctx context.Context, text []byte, revision config.Revision, role config.Role, from config.Side) (config.Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, err := d.apply(ctx, text, revision, role, from)
	switch log := d.log.With("by", role); {
	case errors.Is(err, state.ErrStopped):
		select {
		case d.hangups <- syscall.SIGHUP:
		default: // one is pending
		}
	case err != nil:
		log.Error("reload failed; keeping current configuration", "error", err)
	case r.Problems != nil:
		log.Error("reload failed; keeping current configuration", "error", r.Problems)
	case r.Outcome == config.Applied && r.Why != "":
		log.Warn("configuration applied, but the kernel has not followed yet", "error", r.Why)
	case r.Outcome == config.Applied:
		log.Info("configuration applied")
	case r.Outcome == config.Restart:
		log.Info("configuration needs a restart", "why", r.Why)
	default:
		log.Warn("configuration not changed", "why", r.Why)
	}
	return r, err
}

func (d *configUpdater) apply(ctx context.Context, text []byte, revision config.Revision, role config.Role, from config.Side) (r config.Result, err error) {
	switch role {
	case config.RoleSignal, config.RoleCommandLine, config.RoleTechnician, config.RoleLender, roleUndo, roleEnd:
	default:
		return config.Result{Outcome: config.Refused, Why: fmt.Sprintf("%s may not change the configuration", role)}, nil
	}
	if d.closed {
		return r, state.ErrStopped
	}
	c, err := config.Parse(d.file.Path, text)
	if err == nil {
		err = d.save(c, text, revision, role, from)
	}
	switch {
	case errors.As(err, &r.Problems):
		r.Outcome, r.Why = config.Refused, r.Problems[0].String()
	case errors.Is(err, config.ErrChanged):
		r.Outcome, r.Why = config.Conflict, config.ErrChanged.Error()
	case err != nil:
		return r, err
	}
	if err != nil {
		_, r.Revision, _ = d.file.Read()
		return r, nil
	}
	r.Revision, d.applied = config.RevisionOf(text), text
	// The file is written: a caller that goes away no longer cancels the change.
	r.Outcome, err = d.box.Reconfigure(context.WithoutCancel(ctx), c)
	switch {
	case r.Outcome == config.Restart:
		r.Why = "the hotspot's interface, radio or address, the box's host name or its light and button changed"
		d.closed = true
		d.restart(c, r.Why)
	case err != nil && r.Outcome == config.Applied:
		r.Why = err.Error()
	case err != nil:
		return config.Result{}, fmt.Errorf("the configuration is in the file, but takes effect only at the next start: %w", err)
	}
	return r, nil
}

// save keeps the version that the box uses, records a change that a technician must confirm, and replaces the file. If one of
// these fails, nothing has changed; root's own file is applied anyway.
func (d *configUpdater) save(c *config.Config, text []byte, revision config.Revision, role config.Role, from config.Side) error {
	_, now, err := d.file.Read()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // the revision of no file is ""
	}
	if err != nil || now != revision {
		return cmp.Or(err, config.ErrChanged)
	}
	before, err := config.Parse(d.file.Path, d.applied)
	if err != nil || bytes.Equal(d.applied, text) { // there is no version before
		_, err := d.file.Save(text, revision)
		return err
	}
	changes := config.Differences(before, c)
	kept := d.history.Add(config.Version{
		Revision: config.RevisionOf(d.applied), Replaced: d.now(), By: role, Side: from, Changes: changes,
	}, d.applied)
	if kept != nil {
		if now != config.RevisionOf(text) { // otherwise root has written the file already
			return kept
		}
		d.log.Warn("the configuration before is not kept", "error", kept)
	}
	undo := func() error { return nil }
	if role == config.RoleTechnician && mayCutOff(before, c) {
		if undo, err = d.pending.begin(d.applied, config.RevisionOf(text)); err != nil {
			return err
		}
	}
	if _, err := d.file.Save(text, revision); err != nil {
		return errors.Join(err, undo())
	}
	d.note(journal.Entry{What: journal.Settings, By: role, Side: from, Keys: keysOf(changes)})
	if role != config.RoleTechnician && role != config.RoleLender { // root's own change, or an undo
		return d.pending.end()
	}
	return d.pending.follow(config.RevisionOf(text))
}

// keysOf returns the keys of changes, each once.
func keysOf(changes []config.Difference) (keys []string) {
	for _, c := range changes {
		if !slices.Contains(keys, c.Key) {
			keys = append(keys, c.Key)
		}
	}
	return keys
}

// Reload applies the file to the box.
func (d *configUpdater) Reload(ctx context.Context, role config.Role) (config.Result, error) {
	text, revision, err := d.file.Read()
	if err != nil {
		d.log.Error("reload failed; keeping current configuration", "by", role, "error", err)
		return config.Result{}, InputError{err}
	}
	return d.Apply(ctx, text, revision, role)
}

// close refuses further changes, and waits for a running one.
func (d *configUpdater) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// followHangups reloads the file on each SIGHUP.
func (d *configUpdater) followHangups(ctx context.Context, hangups <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
			if _, err := d.Reload(ctx, config.RoleSignal); errors.Is(err, state.ErrStopped) {
				return nil // the signal is pending for the next run
			}
		}
	}
}
