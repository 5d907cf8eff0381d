package daemon

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"passerelle/appliance/backup"
	"passerelle/appliance/clock"
	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/records"
	"passerelle/image/stick"
)

// stickSocket is the socket of the server that mounts sticks (image/passerelle-stick.socket), beside the run directory.
func (p paths) stickSocket() string { return p.runDir() + "-stick.sock" }

// When a backup is written to a stick.
const (
	stickLook   = time.Minute      // between looks at the clock
	stickRetry  = time.Hour        // after a failure
	stickSettle = 10 * time.Minute // after a start, by day: lines, the clock and the radio come first
	stickMissed = 30 * time.Hour   // a box that is off at night writes by day
	stickAbsent = 48 * time.Hour   // before a missing stick is a problem
	nightEnd    = 6                // o'clock
	nightOpen   = 3                // from this hour on also while the box is open
)

// stickRecord is what the box stores about its sticks. It is in the folder of secrets, so that a restored box continues with the
// same sticks.
type stickRecord struct {
	Box  string            `json:"box"` // the mark on the sticks; "" before the first stick
	Key  backup.Key        `json:"key"` // seals the backups
	Last state.StickBackup `json:"last"`
}

// sticks are the USB sticks that keep backups. Methods are safe for concurrent use.
type sticks struct {
	*Daemon
	client stick.Client
	now    func() time.Time // in the box's zone
	up     func() time.Duration
	name   func() string // the box's name

	writing sync.Mutex
	mu      sync.Mutex
	kept    *stickRecord  // as the file has it; nil if it must be read
	wrote   time.Duration // when this run last wrote a backup, since boot; 0 for not yet
}

func (d *Daemon) newSticks() *sticks {
	conf := func() config.Box {
		if d.box == nil { // the first problems are read before there is a box
			return d.config.Box
		}
		return d.box.Config().Box
	}
	return &sticks{
		Daemon: d, client: stick.Client{Socket: d.stickSocket()}, up: clock.SinceBoot,
		now:  func() time.Time { return time.Now().In(conf().Timezone) },
		name: func() string { return conf().Name },
	}
}

func (p paths) stickFile() records.File[stickRecord] {
	return records.File[stickRecord]{Path: filepath.Join(p.state, accessFolder, "stick.json"), Version: 1}
}

// record returns the stored record. An unreadable file counts as none: a stick can be marked again.
func (s *sticks) record() stickRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		r, err := s.stickFile().Read()
		if err != nil {
			s.log.Warn("the sticks for backups", "error", err)
		}
		s.kept = &r
	}
	return *s.kept
}

// change changes the stored record.
func (s *sticks) change(f func(*stickRecord)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.stickFile().Update(func(r *stickRecord) error { f(r); return nil })
	if _, aside := errors.AsType[*records.UnreadableError](err); err == nil || aside {
		s.kept = &r
		return nil
	}
	return fmt.Errorf("keep what is known of sticks: %w", err)
}

// Last returns the result of the last write to sticks, nil if no stick is marked.
func (s *sticks) Last() *state.StickBackup {
	if r := s.record(); r.Box != "" {
		return &r.Last
	}
	return nil
}

// problems returns the problems with the sticks that need attention.
func (s *sticks) problems() []state.Problem {
	last := s.Last()
	if last == nil || last.Why == "" {
		return nil
	}
	switch stick.Code(last.Why) {
	case stick.Absent:
		if age := s.now().Sub(last.Done); age >= 0 && age < stickAbsent {
			return nil
		}
		return []state.Problem{state.NewProblem(state.StickAbsent)}
	case stick.Busy, stick.Slow:
		if age := s.now().Sub(last.Done); age >= 0 && age < stickAbsent { // one missed night is not a problem
			return nil
		}
	case stick.Damaged:
		return []state.Problem{state.NewProblem(state.StickDamaged)}
	case stick.Full:
		return []state.Problem{state.NewProblem(state.StickFull)}
	case stick.ReadOnly:
		return []state.Problem{state.NewProblem(state.StickReadOnly)}
	}
	return []state.Problem{state.NewProblem(state.StickFails, "error", last.Error)}
}

// List returns the sticks that are plugged in. Without a USB drive it does not ask the server.
func (s *sticks) List(ctx context.Context) (all []state.Stick, err error) {
	if len(stick.Devices(s.root)) == 0 {
		return nil, nil
	}
	found, err := s.client.List(ctx)
	if err != nil {
		return nil, err
	}
	box := s.record().Box
	for _, f := range found {
		one := state.Stick{
			Device: f.Device, Size: f.Size, Free: f.Free, Ours: box != "" && f.Mark.Box == box, Centre: f.Mark.Centre, Backups: []state.StickFile{},
		}
		if f.Wrong != nil {
			one.Wrong = string(f.Wrong.Code)
		}
		for _, b := range f.Backups {
			if date, ok := b.Date(); ok {
				one.Backups = append(one.Backups, state.StickFile{Name: b.Name, Size: b.Size, Date: state.DateOf(date)})
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// Mark marks a stick for this box, and writes the first backup to it. The passphrase opens this backup and all that follow; it is
// not stored. It also seals the backups of sticks that were marked before.
func (s *sticks) Mark(ctx context.Context, device, passphrase string) error {
	if !s.configured {
		return ErrUnconfigured
	}
	key, err := backup.NewKey(passphrase)
	if err != nil {
		return err
	}
	box := cmp.Or(s.record().Box, rand.Text())
	if err := s.client.SetMark(ctx, device, stick.Mark{Box: box, Centre: s.name()}); err != nil {
		return err
	}
	if err := s.change(func(r *stickRecord) {
		r.Box, r.Key, r.Last.Failed, r.Last.Why, r.Last.Error = box, key, time.Time{}, "", ""
	}); err != nil {
		return err
	}
	return s.Write(ctx)
}

// errNoStick says that no stick of this box is plugged in.
var errNoStick = &stick.Error{Code: stick.Absent, Text: "no USB stick that is marked for this box is plugged in"}

// Write writes a backup to each stick of this box that is plugged in. It succeeds if one of them has it. The result is stored,
// unless no stick is marked: then the error is errNoStick.
func (s *sticks) Write(ctx context.Context) error {
	if !s.writing.TryLock() {
		return &stick.Error{Code: stick.Busy, Text: "a backup is being written to a stick"}
	}
	defer s.writing.Unlock()
	r := s.record()
	if r.Box == "" {
		return errNoStick
	}
	err := s.write(ctx, r)
	if err != nil && ctx.Err() != nil { // the box stops, or the caller went away
		return err
	}
	kept := s.change(func(r *stickRecord) {
		if err == nil {
			r.Last = state.StickBackup{Done: s.now()}
			return
		}
		r.Last.Failed, r.Last.Why, r.Last.Error = s.now(), stickWhy(err), err.Error()
	})
	if err != nil {
		s.log.Warn("no backup is written to a stick", "error", err)
		return errors.Join(err, kept)
	}
	s.log.Info("a backup is written to a stick")
	s.mu.Lock()
	s.wrote = s.up()
	s.mu.Unlock()
	return kept
}

// stickWhy is the code of an error.
func stickWhy(err error) string {
	if why, ok := errors.AsType[*stick.Error](err); ok {
		return string(why.Code)
	}
	return string(stick.Failed)
}

func (s *sticks) write(ctx context.Context, r stickRecord) error {
	if len(stick.Devices(s.root)) == 0 {
		return errNoStick
	}
	all, err := s.client.List(ctx)
	if err != nil {
		return err
	}
	written := false
	why := error(errNoStick)
	for _, one := range all {
		switch {
		case one.Wrong != nil && (one.Wrong.Code == stick.Damaged || one.Wrong.Code == stick.Slow || one.Wrong.Code == stick.Busy):
			why = one.Wrong // it may be this box's stick
			continue
		case one.Mark.Box != r.Box:
			continue
		}
		_, err := s.client.Write(ctx, one.Device, r.Box, s.now(), func(w io.Writer) error { return s.backups.writeAlone(w, r.Key) })
		if err == nil {
			written = true
		} else {
			why = err
		}
	}
	if written {
		return nil
	}
	return why
}

// stickDue tells whether a backup is due now. quiet says that the box is closed, up is the time since boot, and wrote is when this
// run wrote the last one, since boot; 0 for not yet.
func stickDue(now time.Time, trusted, quiet bool, last state.StickBackup, up, wrote time.Duration) bool {
	since := func(t time.Time) time.Duration { // the clock may have been put back
		if t.IsZero() || t.After(now) {
			return stickMissed
		}
		return now.Sub(t)
	}
	switch {
	case !last.Failed.IsZero() && since(last.Failed) < stickRetry:
		return false
	case !trusted: // dates mean nothing
		return up >= stickSettle && (wrote == 0 || up-wrote >= 24*time.Hour)
	case !last.Done.After(now) && state.DateOf(last.Done.In(now.Location())) == state.DateOf(now):
		return false
	case now.Hour() < nightEnd && (quiet || now.Hour() >= nightOpen):
		return true
	}
	return up >= stickSettle && since(last.Done) >= stickMissed
}

// run writes a backup each night until ctx ends.
func (s *sticks) run(ctx context.Context) error {
	look := time.NewTicker(stickLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		last := s.Last()
		s.mu.Lock()
		wrote := s.wrote
		s.mu.Unlock()
		if last != nil && s.configured && stickDue(s.now(), s.clockTrusted(), s.box.Site().State == state.Closed, *last, s.up(), wrote) {
			s.Write(ctx) // status and log have the error
		}
	}
}

// Check checks a backup of a stick, as Backups.Check does.
func (s *sticks) Check(ctx context.Context, device, name, passphrase string) (state.Restore, error) {
	f, err := s.client.Read(ctx, device, name)
	if err != nil {
		return state.Restore{}, err
	}
	defer f.Close()
	return s.backups.Check(f, passphrase)
}

// Sticks returns the sticks that are plugged in.
func (t technicianBackups) Sticks(ctx context.Context) ([]state.Stick, error) {
	return t.sticks.List(ctx)
}

// MarkStick marks a stick, and writes the first backup to it.
func (t technicianBackups) MarkStick(ctx context.Context, device, passphrase string) error {
	return t.sticks.Mark(ctx, device, passphrase)
}

// WriteStick writes a backup to the sticks of this box.
func (t technicianBackups) WriteStick(ctx context.Context) error { return t.sticks.Write(ctx) }

// CheckStick checks a backup of a stick.
func (t technicianBackups) CheckStick(ctx context.Context, device, name, passphrase string) (state.Restore, error) {
	return t.sticks.Check(ctx, device, name, passphrase)
}

// LastStick returns the result of the last write to sticks.
func (t technicianBackups) LastStick() *state.StickBackup { return t.sticks.Last() }

// ListSticks returns the sticks that are plugged in.
func (c controlled) ListSticks(ctx context.Context) ([]state.Stick, error) {
	all, err := c.sticks.List(ctx)
	return all, refuseStick(err)
}

// MarkStick marks a stick, and adds that to the journal.
func (c controlled) MarkStick(ctx context.Context, device, passphrase string) error {
	return c.noted(journal.BackedUp, refuseStick(c.sticks.Mark(ctx, device, passphrase)))
}

// WriteStick writes a backup to the sticks of this box, and adds that to the journal.
func (c controlled) WriteStick(ctx context.Context) error {
	return c.noted(journal.BackedUp, refuseStick(c.sticks.Write(ctx)))
}

// refuseStick returns an error as the control socket reports it: errors of a stick are the caller's, who stands at the box.
func refuseStick(err error) error {
	if _, ok := errors.AsType[*stick.Error](err); ok || errors.Is(err, stick.ErrNone) {
		return control.Refuse(err)
	}
	return refuseBackup(err)
}
