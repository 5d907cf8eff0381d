package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// File is a configuration on disk. It can have several writers: a technician's editor, the command line, the box.
type File struct{ Path string }

// Revision identifies the text that a change is based on.
type Revision string

// ErrChanged says that the file has changed since it was read. Nothing was written.
var ErrChanged = errors.New("the file has changed meanwhile: read it again and repeat the change")

// RevisionOf returns the revision of a file with this text.
func RevisionOf(text []byte) Revision {
	sum := sha256.Sum256(text)
	return Revision(hex.EncodeToString(sum[:]))
}

// Read returns the text and its revision. The error is fs.ErrNotExist if there is no file.
func (f File) Read() ([]byte, Revision, error) {
	file, err := f.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%s: %w: passerelle init %[1]s writes one to start from", f.Path, fs.ErrNotExist)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read configuration: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err != nil {
		return nil, "", fmt.Errorf("read configuration: %w", err)
	}
	return text, RevisionOf(text), nil
}

// open opens the file. An editor that replaces the file, run by root, may leave a file that only root can read. If the folder belongs
// to this process's user, open then makes that user the owner of the file, which needs CAP_CHOWN.
func (f File) open() (*os.File, error) {
	file, err := os.Open(f.Path)
	if !errors.Is(err, fs.ErrPermission) {
		return file, err
	}
	folder, statErr := os.Stat(filepath.Dir(f.Path))
	if statErr != nil || int(folder.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() ||
		os.Lchown(f.Path, os.Geteuid(), os.Getegid()) != nil {
		return nil, err
	}
	return os.Open(f.Path)
}

// Load reads and parses the configuration. If the file can be read but is not valid, the error is of type Problems.
func (f File) Load() (*Config, error) {
	text, _, err := f.Read()
	if err != nil {
		return nil, err
	}
	return Parse(f.Path, text)
}

// Save validates a text, and replaces the file if it still has revision r. Revision "" stands for a missing file, which Save creates.
// The error is of type Problems if the text is not valid, and ErrChanged if the file has another revision, or exists although r is "".
// Then nothing is written. If the file already has that text, nothing is written either, so that this works on a read-only disk.
func (f File) Save(text []byte, r Revision) (*Config, error) {
	c, err := Parse(f.Path, text)
	if err != nil {
		return nil, err
	}
	if r == "" {
		err = f.create(text, c.HasSecret())
	} else {
		err = f.write(text, r, c.HasSecret())
	}
	if err != nil {
		return nil, fmt.Errorf("write configuration %s: %w", f.Path, err)
	}
	return c, nil
}

// write replaces the file atomically. It keeps a symbolic link and the mode, except that with a secret only the owner keeps access. If
// it runs as root, it also keeps the owner.
func (f File) write(text []byte, r Revision, secret bool) error {
	path, err := filepath.EvalSymlinks(f.Path)
	if err != nil {
		return err
	}
	lock, err := lockFile(path)
	if err != nil {
		return err
	}
	defer lock.Close()
	_, now, err := File{path}.Read()
	if err != nil {
		return err
	}
	if now != r {
		return ErrChanged
	}
	if now == RevisionOf(text) {
		return nil
	}
	info, err := lock.Stat()
	if err != nil {
		return err
	}
	// The temporary file must be in the same folder, since rename works only within a file system.
	folder := filepath.Dir(path)
	if err := removeLeft(path); err != nil {
		return err
	}
	pending, err := pendingFile(path, text)
	if err != nil {
		return err
	}
	defer pending.Cleanup()
	owner := info.Sys().(*syscall.Stat_t)
	if os.Geteuid() == 0 && (owner.Uid != 0 || int(owner.Gid) != os.Getegid()) {
		if err := pending.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	mode := info.Mode().Perm()
	if secret {
		mode &^= 0o077
	}
	if err := pending.Chmod(mode); err != nil {
		return err
	}
	if err := pending.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncFolder(folder)
}

// Prepare validates a text, and writes and syncs it to a file beside the configuration. Renaming that file to target replaces the
// configuration. It has the mode and owner that Save would give the file. The error is of type Problems if the text is not valid.
func (f File) Prepare(text []byte) (beside, target string, err error) {
	c, err := Parse(f.Path, text)
	if err != nil {
		return "", "", err
	}
	target, err = filepath.EvalSymlinks(f.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	if missing {
		target, err = f.Path, os.MkdirAll(filepath.Dir(f.Path), 0o755)
	}
	var info os.FileInfo
	if err == nil && !missing {
		info, err = os.Stat(target)
	}
	if err != nil {
		return "", "", fmt.Errorf("write configuration %s: %w", f.Path, err)
	}
	beside = filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".prepared")
	if err := f.prepare(beside, text, info, c.HasSecret()); err != nil {
		os.Remove(beside) // it is incomplete
		return "", "", fmt.Errorf("write configuration %s: %w", f.Path, err)
	}
	return beside, target, nil
}

// prepare writes a file with the mode and owner of info, which is nil if there is no file yet.
func (f File) prepare(path string, text []byte, info os.FileInfo, secret bool) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err := readOnly(err); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	defer file.Close() // has no effect after the Close below
	mode := os.FileMode(0o644)
	if info != nil {
		mode = info.Mode().Perm()
		if owner := info.Sys().(*syscall.Stat_t); os.Geteuid() == 0 && (owner.Uid != 0 || int(owner.Gid) != os.Getegid()) {
			if err := file.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
				return err
			}
		}
	}
	if secret {
		mode &^= 0o077
	}
	if _, err := file.Write(text); err != nil {
		return err
	}
	if err := errors.Join(file.Chmod(mode), file.Sync(), file.Close()); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// create creates the file atomically, and its folder if necessary. The error is ErrChanged if the file exists. Others can read the file
// unless it has a secret.
func (f File) create(text []byte, secret bool) error {
	if _, err := os.Lstat(f.Path); err == nil {
		return ErrChanged
	}
	folder := filepath.Dir(f.Path)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	pending, err := pendingFile(f.Path, text)
	if err != nil {
		return err
	}
	defer pending.Cleanup()
	mode := os.FileMode(0o644)
	if secret {
		mode = 0o600
	}
	if err := errors.Join(pending.Chmod(mode), pending.Sync()); err != nil {
		return err
	}
	// renameio would replace a file that somebody wrote in the meantime.
	err = unix.Renameat2(unix.AT_FDCWD, pending.Name(), unix.AT_FDCWD, f.Path, unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) {
		return ErrChanged
	}
	if err != nil {
		return err
	}
	return syncFolder(folder)
}

// removeLeft removes temporary files that a power cut left behind in earlier writes of a file, since they contain its passwords. The
// caller must be the only writer of the file.
func removeLeft(path string) error {
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"[0-9]*")) // renameio's temporary names
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	return cmp.Or(readOnly(err), err)
}

// pendingFile returns a temporary file with the text, in the folder of the file that it will replace.
func pendingFile(path string, text []byte) (*renameio.PendingFile, error) {
	pending, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	if err := readOnly(err); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if _, err := pending.Write(text); err != nil {
		return nil, errors.Join(err, pending.Cleanup())
	}
	return pending, nil
}

// syncFolder syncs a folder's entries to the disk.
func syncFolder(path string) error {
	disk, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(disk.Sync(), disk.Close())
}

// lockFile opens the file, and locks it until it is closed. It does not wait for the lock: the process that holds it is changing the
// file, so the error is ErrChanged. The lock is on the file itself, so that only processes that can read the file can hold it.
func lockFile(path string) (*os.File, error) {
	for {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			file.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = ErrChanged
			}
			return nil, err
		}
		locked, err := file.Stat()
		if err == nil {
			var now os.FileInfo
			if now, err = os.Stat(path); err == nil && os.SameFile(locked, now) {
				return file, nil
			}
		}
		file.Close() // the file was replaced before it was locked: try again
		if err != nil {
			return nil, err
		}
	}
}

// readOnly returns an error that says what to do if err is about a read-only disk, and nil otherwise.
func readOnly(err error) error {
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w: nothing was changed; make the disk writable (mount -o remount,rw), or use a file on another one", unix.EROFS)
	}
	return nil
}
