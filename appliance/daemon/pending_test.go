package daemon

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"passerelle/appliance/config"
	"passerelle/captive/admin"
)

// onSSID is the configuration of centre A with another hotspot.
func onSSID(ssid string) []byte {
	return bytes.Replace(named("A"), []byte("[hotspot]\n"), []byte("[hotspot]\nssid = \""+ssid+"\"\n"), 1)
}

// watched is an updater whose pending changes are watched; its hotspot is on the air after a while.
type watched struct {
	*testUpdater
	air time.Duration
}

func watchPending(t *testing.T) *watched { return watchOf(t, newTestUpdater(t)) }

func watchOf(t *testing.T, u *testUpdater) *watched {
	w := &watched{testUpdater: u}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.pending.watch(ctx, w.configUpdater, func(ctx context.Context) error {
			select {
			case <-time.After(w.air):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	t.Cleanup(func() { stop(); <-done })
	return w
}

// change replaces the text in the file, as a technician.
func (w *watched) change(text []byte) {
	w.t.Helper()
	_, revision, err := w.file.Read()
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := w.Apply(w.t.Context(), text, revision, config.RoleTechnician)
	if err != nil || r.Outcome != config.Applied {
		w.t.Fatalf("%+v, %v", r, err)
	}
}

// has compares the file's text.
func (w *watched) has(text []byte) {
	w.t.Helper()
	synctest.Wait()
	if got, _, err := w.file.Read(); err != nil || !bytes.Equal(got, text) {
		w.t.Errorf("the file is not as wanted: %v\n%s", err, got)
	}
}

// TestUndo: a change that may cut its technician off is undone two minutes after its hotspot is on the air, unless it is
// confirmed. Other changes are not.
func TestUndo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watchPending(t)
		w.change(named("B"))
		time.Sleep(time.Hour)
		w.has(named("B"))
		if err := w.Confirm(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a harmless change waits for a confirmation: %v", err)
		}

		w.air = time.Minute
		w.change(onSSID("Two"))
		synctest.Wait()
		if _, ok := w.pending.Until(); ok {
			t.Error("the time runs before the hotspot is on the air")
		}
		time.Sleep(w.air + time.Second)
		synctest.Wait()
		if until, ok := w.pending.Until(); !ok || time.Until(until) != confirmWithin-time.Second {
			t.Errorf("the change is undone in %v", time.Until(until))
		}
		time.Sleep(confirmWithin - 2*time.Second)
		w.has(onSSID("Two"))
		time.Sleep(2 * time.Second)
		w.has(named("B"))
		if last := w.box.got[len(w.box.got)-1]; last != "B" {
			t.Errorf("the box uses the configuration of %s", last)
		}
		versions, err := w.history.Versions()
		if err != nil || len(versions) != 3 || versions[0].By != roleUndo {
			t.Errorf("versions %+v, %v", versions, err)
		}

		w.change(onSSID("Three"))
		time.Sleep(w.air + time.Second)
		if err := w.Confirm(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		w.has(onSSID("Three"))
	})
}

// TestUndoAccess: a change of the access that locks out its technician is undone.
func TestUndoAccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watchPending(t)
		closed := append([]byte("[admin]\naccess = \"button\"\n"), named("A")...)
		before, after := mustParse(t, named("A")), mustParse(t, closed)
		if got := (configuration{}).Effect(before, after); got != admin.ShutsOut {
			t.Errorf("the preview says %q", got)
		}
		w.change(closed)
		synctest.Wait()
		w.has(closed)
		time.Sleep(confirmWithin + time.Second)
		w.has(named("A"))
		if len(w.notes) != 2 || w.notes[0].By != config.RoleTechnician || w.notes[1].By != roleUndo ||
			strings.Join(w.notes[0].Keys, " ") != "admin.access" {
			t.Errorf("the journal has %+v", w.notes)
		}
	})
}

func mustParse(t *testing.T, text []byte) *config.Config {
	t.Helper()
	c, err := config.Parse("passerelle.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestUndoSeveral: two changes in a row are undone together, back to what was confirmed last.
func TestUndoSeveral(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watchPending(t)
		w.change(onSSID("Two"))
		time.Sleep(time.Minute)
		w.change(onSSID("Three"))
		time.Sleep(time.Minute)
		w.change(bytes.Replace(onSSID("Three"), []byte(`"A"`), []byte(`"B"`), 1)) // harmless, and based on what is not confirmed
		time.Sleep(confirmWithin + time.Second)
		w.has(named("A"))
	})
}

// TestUndoTwo: a second unconfirmed change has its own two minutes, and both are undone.
func TestUndoTwo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watchPending(t)
		w.change(onSSID("Two"))
		time.Sleep(time.Minute)
		w.change(onSSID("Three"))
		time.Sleep(confirmWithin - time.Second)
		w.has(onSSID("Three"))
		time.Sleep(2 * time.Second)
		w.has(named("A"))
	})
}

// TestUndoAfterRestart: a change for which the daemon restarted is undone, too, even if the run before had no time to notice it.
func TestUndoAfterRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := newTestUpdater(t)
		mustWrite(t, u.file.Path, string(onSSID("Two")))
		u.applied = onSSID("Two")
		if err := u.pending.write(unconfirmed{named("A"), config.RevisionOf(onSSID("Two"))}); err != nil {
			t.Fatal(err)
		}
		w := watchOf(t, u)
		time.Sleep(confirmWithin + time.Second)
		w.has(named("A"))
	})
}

// TestDamagedNote: a record that cannot be read is removed.
func TestDamagedNote(t *testing.T) {
	t.Parallel()
	u := newTestUpdater(t)
	mustWrite(t, u.pending.path, "{")
	u.pending.undoAtStart(u.file, u.configUpdater.log)
	u.check(config.Result{}, "A")
	if _, err := u.pending.read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the note remains: %v", err)
	}
}

// TestUndoOfRoot: an undo keeps what root writes meanwhile.
func TestUndoOfRoot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watchPending(t)
		w.change(onSSID("Two"))
		mustWrite(t, w.file.Path, string(onSSID("Root's")))
		time.Sleep(confirmWithin + time.Second)
		w.has(onSSID("Root's"))
		if r, err := w.Reload(t.Context(), config.RoleSignal); err != nil || r.Outcome != config.Applied {
			t.Fatalf("%+v, %v", r, err)
		}
		time.Sleep(confirmWithin + time.Second)
		w.has(onSSID("Root's"))
	})
}

// TestNotOnAir: a change whose hotspot does not come on the air is undone.
func TestNotOnAir(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watchPending(t)
		w.air = time.Hour
		w.change(onSSID("Two"))
		time.Sleep(airWithin + time.Second)
		w.has(named("A"))
	})
}

// TestUndoAtStart: at whatever step a power cut happens, the box starts with the configuration before the unconfirmed change.
func TestUndoAtStart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		what          string
		file, want    []byte
		pending       bool
		before, after []byte
	}{
		{"nothing is pending", named("A"), named("A"), false, nil, nil},
		{"noted, not yet written", named("A"), named("A"), true, named("A"), onSSID("Two")},
		{"written, not confirmed", onSSID("Two"), named("A"), true, named("A"), onSSID("Two")},
		{"confirmed", onSSID("Two"), onSSID("Two"), false, nil, nil},
		{"undone, the note is left", named("A"), named("A"), true, named("A"), onSSID("Two")},
		{"root wrote another", onSSID("Root's"), onSSID("Root's"), true, named("A"), onSSID("Two")},
	} {
		u := newTestUpdater(t)
		mustWrite(t, u.file.Path, string(test.file))
		if test.pending {
			if err := u.pending.write(unconfirmed{test.before, config.RevisionOf(test.after)}); err != nil {
				t.Fatal(err)
			}
			mustWrite(t, filepath.Join(filepath.Dir(u.pending.path), ".unconfirmed.json123"), `{"before":"`)
		}
		for range 2 {
			u.pending.undoAtStart(u.file, u.configUpdater.log)
		}
		if got, _, err := u.file.Read(); err != nil || !bytes.Equal(got, test.want) {
			t.Errorf("%s: %v\n%s", test.what, err, got)
		}
		if _, err := u.pending.read(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the note remains: %v", test.what, err)
		}
	}
}

// TestDiskFails: a change is not made if it cannot be recorded, or if the version before it cannot be kept.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	for _, blocked := range []func(u *testUpdater) string{
		func(u *testUpdater) string { return u.history.Dir },
		func(u *testUpdater) string { return filepath.Dir(u.pending.path) },
	} {
		u := newTestUpdater(t)
		u.pending.path = filepath.Join(filepath.Dir(u.pending.path), "pending", pendingFile)
		if path := blocked(u); true { // a file where a folder must be
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			mustWrite(t, path, "")
		}
		_, err := u.Apply(t.Context(), onSSID("Two"), config.RevisionOf(named("A")), config.RoleTechnician)
		if err == nil || strings.Contains(err.Error(), "petits") {
			t.Errorf("error %v", err)
		}
		u.check(config.Result{}, "A")
	}
}
