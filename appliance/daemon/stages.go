package daemon

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"sync"

	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/state"
	"passerelle/captive/records"
	"passerelle/image/update"
)

// stages are what the box knows of how far a release may go: the last text of its hubs, and the newest one that was verified, which
// is kept. Whose stages count is known with a release only, so that a text is verified when a release asks. Methods are safe for
// concurrent use.
type stages struct {
	file records.File[rollout.Memory]
	log  *slog.Logger

	mu     sync.Mutex
	heard  []byte // nil once it was verified or refused
	memory rollout.Memory
}

func newStages(folder string, log *slog.Logger) *stages {
	s := &stages{file: records.File[rollout.Memory]{Path: filepath.Join(folder, fleetFolder, "stage.json"), Version: 1}, log: log}
	var err error
	if s.memory, err = s.file.Read(); err != nil {
		log.Warn("the stage of a release is not known any more", "error", err)
	}
	return s
}

// hear takes what a hub says.
func (s *stages) hear(text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Equal(text, s.memory.Text) {
		s.heard = text
	}
}

// wait returns why a release that goes out so is not taken now, by a box with that name in its fleet.
func (s *stages) wait(of update.Staged, box string, clock state.Clock) rollout.Wait {
	if of.Rule == (rollout.Rule{}) {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard != nil {
		next, err := s.memory.Hear(s.heard, of.Rule.Key)
		if err == nil {
			s.memory = next
			_, err = s.file.Update(func(m *rollout.Memory) error { *m = next; return nil })
		}
		if err != nil {
			s.log.Warn("a stage of the fleet", "error", err)
		}
		s.heard = nil
	}
	return rollout.Decide(rollout.Facts{
		Rule: of.Rule, Release: rollout.Hash(of.Manifest), Box: box, Stage: s.memory.Stage(of.Rule.Key), Now: clock.Now, Trusted: clock.Trusted,
	})
}
