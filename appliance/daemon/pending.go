package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/private"
	"passerelle/appliance/state"
)

// Times of a pending change.
const (
	confirmWithin = 2 * time.Minute // from when the hotspot is on the air
	airWithin     = 5 * time.Minute // until the hotspot is on the air: a radio may listen to a channel first
)

// mayCutOff tells whether a change may keep its technician from reaching the box.
func mayCutOff(before, after *config.Config) bool {
	return before.Hotspot != after.Hotspot || before.Box.Hostname != after.Box.Hostname || before.Admin != after.Admin
}

// roleUndo is the role under which an unconfirmed change is undone.
const roleUndo config.Role = "nobody's confirmation"

// pending is a change of the configuration that may cut its technician off, such as another hotspot. It is undone unless it
// is confirmed from the pages within two minutes after the new hotspot is on the air. It is undone at the next start of the
// process, too: after a power cut nobody knows who could reach the box. That needs no clock, which a board may not have.
type pending struct {
	path    string
	changed chan struct{} // has an element if a change began or ended since the last receive

	mu    sync.Mutex
	until time.Time // when the change will be undone, zero if there is none or its hotspot is not on the air yet
}

// pendingFile is in the state folder, so that it survives a power cut.
const pendingFile = "unconfirmed.json"

func newPending(state string) *pending {
	return &pending{path: filepath.Join(state, pendingFile), changed: make(chan struct{}, 1)}
}

// unconfirmed is the content of the file.
type unconfirmed struct {
	Before []byte          `json:"before"` // the text that an undo restores
	After  config.Revision `json:"after"`  // the revision of the unconfirmed text
}

// read returns the pending change. The error is fs.ErrNotExist if there is none.
func (p *pending) read() (u unconfirmed, err error) {
	text, err := os.ReadFile(p.path)
	if err == nil {
		err = json.Unmarshal(text, &u)
	}
	return u, err
}

func (p *pending) write(u unconfirmed) error {
	text, err := json.Marshal(u)
	if err != nil {
		return err
	}
	if err := private.WriteFile(p.path, text, 0o600); err != nil {
		return fmt.Errorf("note a change that must be confirmed: %w", err)
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
	return nil
}

// begin records a change before it is made. If there are several unconfirmed changes, all of them are undone. undo reverts the
// record.
func (p *pending) begin(before []byte, after config.Revision) (undo func() error, err error) {
	old, err := p.read()
	switch {
	case err == nil:
		return func() error { return p.write(old) }, p.write(unconfirmed{old.Before, after})
	case errors.Is(err, fs.ErrNotExist):
		return p.end, p.write(unconfirmed{before, after})
	}
	return nil, err
}

// follow records a further change of a technician, which needs no confirmation itself.
func (p *pending) follow(after config.Revision) error {
	u, err := p.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && u.After != after {
		u.After = after
		err = p.write(u)
	}
	return err
}

// rewrite changes the text that an undo restores.
func (p *pending) rewrite(change func([]byte) ([]byte, error)) error {
	u, err := p.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := change(u.Before)
	if err != nil || bytes.Equal(text, u.Before) {
		return err
	}
	u.Before = text
	return p.write(u)
}

// end removes the record: the change is confirmed or undone.
func (p *pending) end() error {
	err := os.Remove(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil { // without the sync, a power cut could restore the file, and undo a confirmed change
		err = private.SyncFolder(filepath.Dir(p.path))
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
	return err
}

// Until returns when the pending change will be undone. Until its hotspot is on the air, or without such a change, ok is
// false.
func (p *pending) Until() (t time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until, !p.until.IsZero()
}

func (p *pending) setUntil(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = t
}

// undoAtStart undoes the pending change in the file, before it is loaded.
func (p *pending) undoAtStart(file config.File, log *slog.Logger) {
	u, err := p.read()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil { // a damaged file would block every further change of this kind
		log.Error("a change of the configuration may not have been confirmed, and stays", "error", errors.Join(err, p.end()))
		return
	}
	_, err = file.Save(u.Before, u.After)
	logUndone(log, err)
	if err == nil || errors.Is(err, config.ErrChanged) {
		err = p.end()
	}
	if err != nil {
		log.Error("an unconfirmed change remains", "error", err)
	}
}

func logUndone(log *slog.Logger, err error) {
	switch {
	case err == nil:
		log.Warn("nobody confirmed the last change of the configuration: it is undone")
	case errors.Is(err, config.ErrChanged):
		log.Warn("nobody confirmed the last change of the configuration, but the file is another one now: it stays")
	default:
		log.Error("nobody confirmed the last change of the configuration, but it cannot be undone", "error", err)
	}
}

// watch undoes pending changes that nobody confirms, until ctx ends. onAir returns once the hotspot is on the air.
func (p *pending) watch(ctx context.Context, u *configUpdater, onAir func(context.Context) error) error {
	for ctx.Err() == nil {
		if _, err := p.read(); err != nil {
			select {
			case <-ctx.Done():
			case <-p.changed:
			}
			continue
		}
		if p.settled(ctx, u, onAir) {
			continue
		}
		if err := u.undo(ctx); errors.Is(err, state.ErrStopped) {
			return nil
		}
	}
	return nil
}

// settled waits until the pending change is confirmed, another one is pending, or ctx ends, and returns true. It returns false
// once the time to confirm is over, or if the hotspot is not on the air in time.
func (p *pending) settled(ctx context.Context, u *configUpdater, onAir func(context.Context) error) bool {
	air, cancel := context.WithTimeout(ctx, airWithin)
	u.settle()
	err := onAir(air)
	cancel()
	if err != nil {
		return ctx.Err() != nil
	}
	p.setUntil(time.Now().Add(confirmWithin))
	defer p.setUntil(time.Time{})
	select {
	case <-ctx.Done():
		return true
	case <-p.changed:
		return true
	case <-time.After(confirmWithin):
		return false
	}
}

// settle waits for a running change.
func (d *configUpdater) settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
}

// Confirm confirms the pending change. The error is fs.ErrNotExist if there is none.
func (d *configUpdater) Confirm() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.pending.read(); err != nil {
		return err
	}
	return d.pending.end()
}

// undo returns to the configuration before the pending change.
func (d *configUpdater) undo(ctx context.Context) error {
	u, err := d.pending.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // confirmed at the last moment
	}
	if err == nil {
		var r config.Result
		if r, err = d.Apply(ctx, u.Before, u.After, roleUndo); err == nil && r.Outcome == config.Conflict {
			err = config.ErrChanged
		}
	}
	if errors.Is(err, state.ErrStopped) {
		return err
	}
	logUndone(d.log, err)
	return errors.Join(err, d.pending.end()) // also after an error: another attempt would fail again
}
