package private

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab/labtest"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	return info.Mode().Perm()
}

// TestFolder: a missing folder is created with the mode, an existing one keeps its own, and one that others can write in is closed.
func TestFolder(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	made := filepath.Join(top, "a", "b")
	must(t, Folder(made, 0o711))
	if mode(t, filepath.Dir(made)) != 0o711 || mode(t, made) != 0o711 {
		t.Errorf("made with modes %v and %v", mode(t, filepath.Dir(made)), mode(t, made))
	}
	must(t, os.Chmod(made, 0o755), Folder(made, 0o700))
	if mode(t, made) != 0o755 {
		t.Errorf("one that only its owner may write now has mode %v", mode(t, made))
	}
	must(t, os.WriteFile(filepath.Join(made, "own"), nil, 0o600))
	for _, open := range []os.FileMode{0o777, 0o777 | os.ModeSticky, 0o770, 0o757} {
		must(t, os.Chmod(made, open), Folder(made, 0o700))
		if mode(t, made) != 0o700 {
			t.Errorf("one with mode %v now has %v", open, mode(t, made))
		}
	}
	must(t, os.Symlink("a/../a/b", filepath.Join(top, "link")), Folder(filepath.Join(top, "link", "c"), 0o700))
	must(t, os.Symlink("loop", filepath.Join(top, "loop")))
	if err := Folder(filepath.Join(top, "loop"), 0o700); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link to itself: %v", err)
	}
	if err := Folder(filepath.Join(made, "own"), 0o700); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
	must(t, os.Chmod(filepath.Dir(made), 0o777))
	if err := Folder(made, 0o700); !errors.Is(err, ErrUnsafe) {
		t.Errorf("one that others may rename: %v", err)
	}
	must(t, os.Chmod(filepath.Dir(made), 0o777|os.ModeSticky), Folder(made, 0o700))
	before, err := os.Stat("/tmp")
	must(t, err)
	if err := Folder("/tmp", 0o700); !errors.Is(err, ErrUnsafe) {
		t.Errorf("/tmp itself: %v", err)
	}
	if after, err := os.Stat("/tmp"); err != nil || after.Mode() != before.Mode() {
		t.Errorf("/tmp now has mode %v: %v", after.Mode(), err)
	}
}

// TestFolderBehindLink: the target of a link is followed as the kernel follows it, where .. leads out of the folder that a link in the
// target leads to.
func TestFolderBehindLink(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"deep/../safe", "./deep/.././safe/", "deep/../safe/new/.."} {
		top := t.TempDir()
		real, lexical := filepath.Join(top, "far", "safe"), filepath.Join(top, "safe")
		must(t, os.MkdirAll(filepath.Join(top, "far", "down"), 0o755), os.MkdirAll(real, 0o755), os.Chmod(real, 0o755),
			os.Symlink("far/down", filepath.Join(top, "deep")), os.Symlink(target, filepath.Join(top, "link")))
		must(t, Folder(filepath.Join(top, "link", "a"), 0o700))
		if _, err := os.Stat(filepath.Join(top, "link", "a")); err != nil {
			t.Errorf("%s: %v", target, err)
		}
		if _, err := os.Lstat(lexical); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it made another folder: %v", target, err)
		}
		must(t, os.Chmod(real, 0o777))
		if err := Folder(filepath.Join(top, "link", "a"), 0o700); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s leads to a folder that others may write in: %v", target, err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	below, err := os.MkdirTemp("/tmp", "passerelle-")
	must(t, err)
	defer os.Remove(below)
	for _, target := range []string{"/tmp/.", below + "/.."} {
		must(t, os.Symlink(target, link))
		if err := Folder(link, 0o700); !errors.Is(err, ErrUnsafe) {
			t.Errorf("a link to %s: %v", target, err)
		}
		must(t, os.Remove(link))
	}
}

// TestFolderOfOthers: what another user has created is refused, and not changed.
func TestFolderOfOthers(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	for what, plant := range map[string]func(open, path string) error{
		"the folder":          func(_, path string) error { return os.Mkdir(path, 0o711) },
		"a link in its place": func(_, path string) error { return os.Symlink("/root", path) },
		"a file in its place": func(_, path string) error { return os.WriteFile(path, nil, 0o600) },
		"a link above it": func(open, _ string) error {
			return os.Symlink("/root", filepath.Join(open, "above"))
		},
		"the folder above it": func(open, _ string) error { return os.Mkdir(filepath.Join(open, "above"), 0o755) },
	} {
		open := t.TempDir()
		must(t, os.Chmod(filepath.Dir(open), 0o755), os.Chmod(open, 0o777|os.ModeSticky))
		path := filepath.Join(open, "ours")
		labtest.AsNobody(t, func() error { return plant(open, path) })
		if _, err := os.Lstat(filepath.Join(open, "above")); err == nil {
			path = filepath.Join(open, "above", "ours")
		}
		before, _ := os.Lstat(path)
		if err := Folder(path, 0o700); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s is another user's: %v", what, err)
		}
		after, _ := os.Lstat(path)
		if (before == nil) != (after == nil) || before != nil && before.Mode() != after.Mode() {
			t.Errorf("%s is another user's, and was changed: %v, %v", what, before, after)
		}
	}
	open := t.TempDir()
	must(t, os.Chmod(filepath.Dir(open), 0o755), os.Chmod(open, 0o777))
	labtest.AsNobody(t, func() error { return os.Symlink("/etc/passwd", filepath.Join(open, "lock")) })
	if err := Folder(open, 0o700); !errors.Is(err, ErrUnsafe) || mode(t, open) != 0o777 {
		t.Errorf("something in the folder is another user's: %v, %v", err, mode(t, open))
	}
}

// TestLock: one holds the lock at a time, until the file is closed.
func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	f, err := Lock(path)
	must(t, err)
	if mode(t, path) != 0o600 {
		t.Errorf("the lock has mode %v", mode(t, path))
	}
	if _, err := Lock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second one: %v", err)
	}
	must(t, f.Close())
	f, err = Lock(path)
	must(t, err)
	must(t, f.Close(), os.Remove(path), os.Symlink("elsewhere", path))
	if _, err := Lock(path); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link in its place: %v", err)
	}
}

// TestLockOfOthers: a lock file that others can open, and whose lock they can hold, is replaced. They cannot open ours.
func TestLockOfOthers(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "lock")
	must(t, os.WriteFile(path, nil, 0o644))
	var theirs *os.File
	labtest.AsNobody(t, func() (err error) {
		if theirs, err = os.Open(path); err == nil {
			err = unix.Flock(int(theirs.Fd()), unix.LOCK_SH)
		}
		return err
	})
	defer theirs.Close()
	f, err := Lock(path)
	must(t, err)
	defer f.Close()
	labtest.AsNobody(t, func() error {
		if f, err := os.Open(path); err == nil {
			f.Close()
			return errors.New("nobody can open the lock")
		}
		return nil
	})
	if _, err := Lock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second one: %v", err)
	}
}

// TestWriteFile: the file has the text and the mode, the previous one is kept, and what a power cut left of earlier attempts is removed.
func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, before := filepath.Join(dir, "a.json"), filepath.Join(dir, "a.before")
	other := filepath.Join(dir, ".a.json.lock")
	for _, left := range []string{path, ".a.json17", ".a.before0", other} {
		if !filepath.IsAbs(left) {
			left = filepath.Join(dir, left)
		}
		must(t, os.WriteFile(left, []byte("old"), 0o644))
	}
	must(t, WriteFile(path, []byte("one"), 0o600))
	must(t, ReplaceFile(path, before, []byte("two"), 0o640))
	must(t, KeepAs(filepath.Join(dir, "none"), before), KeepAs(path, path))
	for name, want := range map[string]string{path: "two", before: "one", other: "old"} {
		if text, err := os.ReadFile(name); string(text) != want || err != nil {
			t.Errorf("%s has %q, want %q: %v", name, text, want, err)
		}
	}
	if got := mode(t, path); got != 0o640 {
		t.Errorf("the mode is %v", got)
	}
	if all, err := os.ReadDir(dir); len(all) != 3 || err != nil {
		t.Errorf("there is %v, %v", all, err)
	}
	if err := WriteFile(filepath.Join(dir, "none", "a"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no folder: %v", err)
	}
}
