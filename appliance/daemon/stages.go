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

// stages are what the box knows about the stages of roll-outs: the last text from its hubs, and the newest verified one, which is
// stored. A release names the key that signs its stages, so a text is verified only when wait is called for a release. Methods are
// safe for concurrent use.
type stages struct {
	file records.File[rollout.Memory]
	log  *slog.Logger

	mu     sync.Mutex
	heard  []byte // the text to verify; nil once it is verified or refused
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

// hear stores the text of a hub, to be verified.
func (s *stages) hear(text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Equal(text, s.memory.Text) {
		s.heard = text
	}
}

// wait returns why the box, by its name in its fleet, does not take a release now; "" if it may.
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
