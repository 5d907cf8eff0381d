// Package private protects what one user owns from all others: folders in which nobody else can create, replace or remove anything, and
// locks that nobody else can hold. Anybody who can read a lock file can hold its lock (flock(2) requires no more), and a folder inside
// another user's folder can be renamed by that user. The package owns these checks, and how a file or the content of a folder gets to
// the disk as a whole. It must not know what a folder contains, nor what a lock is for.
package private

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Errors of Folder and Lock.
var (
	// ErrUnsafe says that another user may change the content of a folder, or created it.
	ErrUnsafe = errors.New("it is not safe from other users")
	// ErrLocked says that another process holds the lock.
	ErrLocked = errors.New("another process holds it")
)

// ErrReplaced says that something was replaced since it was seen.
var ErrReplaced = errors.New("somebody else has replaced it meanwhile")

// maxLinks is how many symbolic links a path may contain (MAXSYMLINKS in include/linux/namei.h).
const maxLinks = 40

// sharedFolders are shared by all users (file-hierarchy(7)). Their permissions are never changed.
var sharedFolders = []string{"/tmp", "/var/tmp", "/dev/shm"}

// Folder creates the folder at path, and its parents, with the permission bits mode, which let nobody else write. An existing folder
// keeps its permissions. If others may write in it, but nothing in it is theirs, it gets the mode. The error is ErrUnsafe, with the
// reason and a remedy, in these cases: the folder, or something in a folder that is writable by others, belongs to a user other than
// root and this process's; all users share the folder; a parent belongs to another user; a parent is writable by others without the
// sticky bit, which /tmp has. The path itself is cleaned by filepath.Clean, as filepath.Join cleans the paths of what is in the folder.
func Folder(path string, mode os.FileMode) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	at, rest := "/", split(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		here := filepath.Join(at, name) // at contains no link, so Join resolves .. as the kernel does
		info, err := statOrCreate(here, mode)
		if err != nil {
			return err
		}
		switch {
		case info.Mode().Type() == fs.ModeSymlink:
			if links++; links > maxLinks {
				return &fs.PathError{Op: "open", Path: path, Err: unix.ELOOP}
			}
			target, err := os.Readlink(here)
			if err != nil {
				return err
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(split(target), rest...)
			continue
		case !info.IsDir():
			return &fs.PathError{Op: "open", Path: here, Err: unix.ENOTDIR}
		case !writableByOthers(info):
		case len(rest) > 0 && info.Mode()&fs.ModeSticky != 0:
		case len(rest) > 0 || slices.Contains(sharedFolders, here):
			err = unsafeError(here)
		default:
			err = restrict(here, info.Mode(), mode)
		}
		if err != nil {
			return err
		}
		at = here
	}
	return nil
}

// statOrCreate returns the file info at the path, after creating a folder of this mode if nothing was there. The error is ErrUnsafe if
// it belongs to another user.
func statOrCreate(path string, mode os.FileMode) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Mkdir(path, mode)
		if err == nil {
			err = os.Chmod(path, mode) // independent of the umask
		}
		if err == nil || errors.Is(err, fs.ErrExist) {
			info, err = os.Lstat(path)
		}
	}
	if err != nil {
		return nil, err
	}
	if trusted(info) {
		return info, nil
	}
	name := strconv.Itoa(owner(info))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return nil, fmt.Errorf("%s: %w: it belongs to %s: remove it, or name another", path, ErrUnsafe, name)
}

// writableByOthers tells whether other users may write in a folder.
func writableByOthers(folder fs.FileInfo) bool { return folder.Mode()&0o022 != 0 }

// restrict sets the mode of a folder that is writable by others, unless something in it belongs to others.
func restrict(path string, is, mode os.FileMode) error {
	if err := checkOwners(path); err != nil {
		return err
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	err := checkOwners(path) // something may have been created just before the change
	if err != nil {
		err = errors.Join(err, os.Chmod(path, is))
	}
	return err
}

// checkOwners returns ErrUnsafe if something in the folder belongs to another user.
func checkOwners(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && !trusted(info) {
			return unsafeError(path)
		}
	}
	return nil
}

func unsafeError(path string) error {
	return fmt.Errorf("%s: %w: others may write in it: check its content, then chmod go-w %[1]s", path, ErrUnsafe)
}

// split returns the elements of a path. It keeps each .. because the element before it may be a symbolic link (path_resolution(7)).
func split(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

// Lock takes the lock at path, in a folder that Folder has checked, and creates its file if it is missing. It does not block: the error
// is ErrLocked if another process holds the lock. Closing the file releases it. The file's content belongs to the holder.
func Lock(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		held, err := tryLock(f, path)
		if held {
			return f, nil
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// tryLock locks the open file. It returns false without an error if the path now names another file.
func tryLock(f *os.File, path string) (held bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if info.Mode().Perm()&0o077 != 0 || !trusted(info) {
		// A user who could open this file may hold its lock for ever, so the file is replaced.
		if now, err := os.Lstat(path); err != nil || !os.SameFile(info, now) {
			return false, ignoreMissing(err)
		}
		return false, ignoreMissing(os.Remove(path))
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(info, now), ignoreMissing(err)
}

// ClaimForImport creates a folder of mode 0700, takes the lock of this name in it, and removes what a killed import left there:
// everything that matches a pattern of filepath.Match, which must not match the lock. It does not block: while another import runs, the
// error is ErrLocked, with what to do.
func ClaimForImport(dir, lock, leftovers string) (release func(), err error) {
	if err := Folder(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create %s: %w", dir, err)
	}
	f, err := Lock(filepath.Join(dir, lock))
	if errors.Is(err, ErrLocked) {
		return nil, busyError{}
	}
	if err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(dir, leftovers))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("remove an import's leftovers: %w", err)
	}
	return func() {
		// A child that this process is just starting has a copy of the file until it runs its program: closing is not enough.
		unix.Flock(int(f.Fd()), unix.LOCK_UN)
		f.Close()
	}, nil
}

// busyError is ErrLocked, worded for people who import.
type busyError struct{}

func (busyError) Error() string { return "another import is running; wait until it has finished" }
func (busyError) Unwrap() error { return ErrLocked }

// Edition identifies the file that is at a path now. Another file has another edition, unless the file was written in place. It is
// "none" if there is no file.
func Edition(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "none", nil
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x-%x-%x", info.Sys().(*syscall.Stat_t).Ino, info.ModTime().UnixNano(), info.Size()), nil
}

// CheckEdition returns ErrReplaced if the file at a path has another edition than seen; seen may be "" for any edition. The caller holds
// the lock of the file's folder.
func CheckEdition(path, seen string) error {
	if seen == "" {
		return nil
	}
	now, err := Edition(path)
	if err == nil && now != seen {
		err = ErrReplaced
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func trusted(info fs.FileInfo) bool { return owner(info) == 0 || owner(info) == os.Geteuid() }

func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// WriteFile puts a file with this text and mode at a path. After an error or a power cut, either the old file or the new one is there,
// complete. Once WriteFile has returned, the new one is on the disk. No other process may write the file at the same time: WriteFile
// removes what a power cut left of an earlier attempt.
func WriteFile(path string, text []byte, mode os.FileMode) error {
	return replace(path, text, mode, func() error { return nil })
}

// ReplaceFile is WriteFile, but keeps the replaced file, if there is one, at previous, in the same folder. What was at previous stays
// until the new file is on the disk.
func ReplaceFile(path, previous string, text []byte, mode os.FileMode) error {
	return replace(path, text, mode, func() error { return KeepAs(path, previous) })
}

// KeepAs puts the file at a path, if there is one, at previous as well, and replaces what was there. Both must be in one folder, in
// which no other process writes.
func KeepAs(path, previous string) error {
	link := besides(previous) + "0"
	if err := ignoreMissing(os.Remove(link)); err != nil {
		return err
	}
	if err := os.Link(path, link); err != nil {
		return ignoreMissing(err)
	}
	return errors.Join(os.Rename(link, previous), ignoreMissing(os.Remove(link))) // a rename of a file to itself leaves both names
}

// besides returns the common prefix of the names of temporary files that will replace a file.
func besides(path string) string { return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)) }

// replace is WriteFile, but calls keep when the text is on the disk, before it replaces the file.
func replace(path string, text []byte, mode os.FileMode, keep func() error) error {
	left, err := filepath.Glob(besides(path) + "[0-9]*")
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		return err
	}
	p, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	defer p.Cleanup()
	if _, err := p.Write(text); err != nil {
		return err
	}
	if err := p.Sync(); err != nil {
		return err
	}
	if err := keep(); err != nil {
		return err
	}
	if err := p.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// SyncFolder returns once a folder's entries are on the disk.
func SyncFolder(path string) error { return sync(path, (*os.File).Sync) }

// SyncFileSystem returns once the whole file system of a folder is on the disk: it takes one sync instead of one for each of thousands
// of files.
func SyncFileSystem(path string) error {
	return sync(path, func(f *os.File) error { return unix.Syncfs(int(f.Fd())) })
}

func sync(path string, do func(*os.File) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(do(f), f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
