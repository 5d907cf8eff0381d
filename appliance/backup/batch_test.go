package backup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab/labtest"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// before and after are a box's files before and after a change.
var (
	before = map[string]string{"state/ledger.db": "old", "state/places/a.list": "old", "etc/box.toml": "old", "state/voice/agenda.json": "kept"}
	after  = map[string]string{"state/ledger.db": "new", "state/places/b.list": "new", "etc/box.toml": "new", "state/voice/agenda.json": "kept"}
)

func lay(t testing.TB, root string) {
	t.Helper()
	for name, text := range before {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
	}
}

// prepare prepares the change.
func prepare(root string) (*Batch, error) {
	b, err := Begin(filepath.Join(root, "state/restore"))
	if err != nil {
		return nil, err
	}
	beside := filepath.Join(root, "etc/.box.toml.new")
	errs := []error{
		b.Write(filepath.Join(root, "state/ledger.db"), []byte("new")),
		b.Write(filepath.Join(root, "state/places/b.list"), []byte("new")),
		os.WriteFile(beside, []byte("new"), 0o600),
	}
	b.Prepared(beside, filepath.Join(root, "etc/box.toml"))
	b.Remove(filepath.Join(root, "state/places/a.list"))
	b.Remove(filepath.Join(root, "state/places/none.list"))
	return b, errors.Join(errs...)
}

// TestBatch: a batch is committed completely, and leaves nothing behind. A dropped batch changes nothing.
func TestBatch(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	lay(t, root)
	b, err := prepare(root)
	must(t, err, b.Drop())
	if diff := cmp.Diff(before, content(t, root)); diff != "" {
		t.Errorf("given up (-want +got):\n%s", diff)
	}
	b, err = prepare(root)
	must(t, err, b.Commit())
	if diff := cmp.Diff(after, content(t, root)); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
}

// TestBatchPowerCut: whenever the power fails during a batch, Finish results in the old state or the new one.
func TestBatchPowerCut(t *testing.T) {
	t.Parallel()
	steps := 3 + 1 // moves and removals that a committed batch may have made
	for done := -1; done <= steps; done++ {
		root := t.TempDir()
		lay(t, root)
		dir := filepath.Join(root, "state/restore")
		b, err := prepare(root)
		must(t, err)
		want := after
		if done < 0 {
			want = before // it was not committed
		} else {
			must(t, b.commit())
			for i, m := range b.plan.Moves[:min(done, len(b.plan.Moves))] {
				from := m.From
				if !filepath.IsAbs(from) {
					from = filepath.Join(dir, commitName, from)
				}
				if err := os.Rename(from, m.To); err != nil {
					t.Fatal(i, err)
				}
			}
			if done == steps {
				must(t, os.Remove(b.plan.Removes[0]))
			}
		}
		finished, err := Finish(dir)
		must(t, err)
		if finished != (done >= 0) {
			t.Errorf("after %d steps it was finished: %t", done, finished)
		}
		if done < 0 { // the next batch cleans up
			b, err := Begin(dir)
			must(t, err, b.Drop(), os.RemoveAll(filepath.Join(root, "etc/.box.toml.new")))
		}
		if diff := cmp.Diff(want, content(t, root)); diff != "" {
			t.Errorf("after %d steps (-want +got):\n%s", done, diff)
		}
		if again, err := Finish(dir); again || err != nil {
			t.Errorf("again: %t, %v", again, err)
		}
	}
}

// TestBatchFullDisk: with any amount of room on the disk, the result is the old state and an error, or the new state.
func TestBatchFullDisk(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	refused := 0
	for pages := 4; pages < 40; pages++ {
		root := t.TempDir()
		must(t, unix.Mount("tmpfs", root, "tmpfs", 0, "size=1m"))
		t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
		lay(t, root)
		filler, err := os.Create(filepath.Join(root, "filler"))
		must(t, err)
		for range 1<<20/4096 - pages {
			if _, err := filler.Write(make([]byte, 4096)); err != nil {
				break
			}
		}
		must(t, filler.Close())
		b, err := prepare(root)
		if err == nil {
			err = b.Commit()
		} else if b != nil {
			b.Drop()
		}
		want := after
		if err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				t.Errorf("with %d pages: %v", pages, err)
			}
			want, refused = before, refused+1
		}
		os.Remove(filepath.Join(root, "filler"))
		os.Remove(filepath.Join(root, "etc/.box.toml.new"))
		if diff := cmp.Diff(want, content(t, root)); diff != "" {
			t.Errorf("with %d pages, %v (-want +got):\n%s", pages, err, diff)
		}
	}
	if refused == 0 {
		t.Error("the disk was never full")
	}
}
