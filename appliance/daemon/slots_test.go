package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/image/slot"
)

// files are a machine's files that change.
type files struct{ now atomic.Pointer[fstest.MapFS] }

func (f *files) Open(name string) (fs.File, error) { return f.now.Load().Open(name) }

func started(from, note string) *fstest.MapFS {
	m := fstest.MapFS{"proc/cmdline": {Data: []byte(from)}}
	if note != "" {
		m[slot.NotePath[1:]] = &fstest.MapFile{Data: []byte(note)}
	}
	return &m
}

// TestCardSlots: the files on the disk keep their format until the slot has proved itself, and are converted once.
func TestCardSlots(t *testing.T) {
	t.Parallel()
	const (
		trial  = `{"running":"b","slot":"b","good":"a","tries":2}`
		proven = `{"running":"b","slot":"b","good":"b"}`
	)
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		f := new(files)
		f.now.Store(started("passerelle.slot=b", ""))
		s := cardSlots{root: f, log: slog.New(slog.NewTextHandler(&log, nil))}
		s.read()
		if s.proven() || !strings.Contains(log.String(), "counts as on trial") {
			t.Errorf("without a note the slot is proven; log %q", &log)
		}
		ctx, stop := context.WithCancel(t.Context())
		proved, ended := 0, make(chan error)
		go func() { ended <- s.watch(ctx, func() { proved++ }) }()
		for _, step := range []struct {
			note   string
			want   *state.Slots
			raised int
		}{
			{trial, &state.Slots{Running: "b", Good: "a", Next: "b", Tries: 2}, 0},
			{"damaged", &state.Slots{Running: "b"}, 0},
			{proven, &state.Slots{Running: "b", Good: "b", Next: "b"}, 1},
			{`{"running":"b","slot":"a","good":"b","tries":3}`, &state.Slots{Running: "b", Good: "b", Next: "a", Tries: 3}, 1},
		} {
			f.now.Store(started("passerelle.slot=b", step.note))
			time.Sleep(slotsInterval)
			synctest.Wait()
			if diff := cmp.Diff(step.want, s.status()); diff != "" || proved != step.raised {
				t.Errorf("%s: raised %d times\n%s", step.note, proved, diff)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestNoSlots: a machine without slots needs no proof, and nothing is watched.
func TestNoSlots(t *testing.T) {
	t.Parallel()
	s := cardSlots{root: started("quiet", "")}
	s.read()
	proved := 0
	if err := s.watch(t.Context(), func() { proved++ }); err != nil || proved != 1 || !s.proven() || s.status() != nil {
		t.Errorf("%v, proved %d times, %+v", err, proved, s.status())
	}
}

// TestTrialKeepsTheAcceptedConfiguration: after a trial the release before still finds its own fallback.
func TestTrialKeepsTheAcceptedConfiguration(t *testing.T) {
	t.Parallel()
	d := testDaemon(t)
	d.card = cardSlots{some: true, note: slot.Note{Running: slot.B, Slot: slot.B, Good: slot.A}}
	last := filepath.Join(d.state, acceptedFolder, acceptedLast)
	if err := d.accept(config.Factory()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(last); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a slot on trial stores a configuration: %v", err)
	}
	d.card.note.Good = slot.B
	if err := d.accept(config.Factory()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(last); err != nil {
		t.Error(err)
	}
}
