package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"passerelle/appliance/state"
	"passerelle/image/slot"
)

// slotsInterval is the time between two reads of the note about the slots, which is a file in memory.
const slotsInterval = 5 * time.Second

// cardSlots are the two systems on the card, as a note in memory describes them: the daemon has no access to the card itself.
// While the running one is on trial, the files on the disk keep their old format, which the release before can read.
type cardSlots struct {
	root fs.FS
	log  *slog.Logger

	mu   sync.Mutex
	some bool // the machine has slots
	note slot.Note
	said string // the error in the log
}

// read reads the note. A slot whose note cannot be read counts as not proven.
func (s *cardSlots) read() {
	note, err := slot.ReadNote(s.root)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.some, s.note = !errors.Is(err, slot.ErrNone), note
	said := ""
	if err != nil && s.some {
		if said = err.Error(); said != s.said {
			s.log.Warn("it is not known whether this slot has proved itself: it counts as on trial", "error", err)
		}
	}
	s.said = said
}

// proven tells whether the running slot has proved itself. A machine without slots needs no proof.
func (s *cardSlots) proven() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.some || s.note.Proven()
}

// has tells whether the machine has slots.
func (s *cardSlots) has() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.some
}

// status returns the slots, nil without any.
func (s *cardSlots) status() *state.Slots {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.some {
		return nil
	}
	n := s.note
	return &state.Slots{Running: string(n.Running), Good: string(n.Good), Next: string(n.Slot), Tries: n.Tries, Failed: string(n.Failed)}
}

// watch calls proved once the running slot has proved itself, and follows the note until ctx ends.
func (s *cardSlots) watch(ctx context.Context, proved func()) error {
	done := s.proven()
	if done {
		proved()
	}
	s.mu.Lock()
	some := s.some
	s.mu.Unlock()
	if !some {
		return nil
	}
	tick := time.NewTicker(slotsInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if s.read(); !done && s.proven() {
			done = true
			s.log.Info("this slot has proved itself")
			proved()
		}
	}
}

// migrate converts the files on the disk to this release's format, once the box can no longer fall back to another release on
// its own.
func (d *Daemon) migrate(accounts accountStore) {
	err := accounts.Migrate()
	if d.configured && d.refused.whileUsing(d.box.Written()) == nil && d.box.Site().State != state.Starting {
		err = errors.Join(err, d.accept(d.box.Written()))
	}
	if err != nil {
		d.log.Error("the disk keeps the form of the release before", "error", err)
	}
}
