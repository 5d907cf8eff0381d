// Package private keeps what one user owns from all others: folders in which nobody else can put, exchange or remove
// anything, and locks that nobody else can hold. A lock that everybody may read, everybody may hold (flock(2) asks for no
// more), and a folder below one of somebody else's is that user's to rename. It owns these checks; it must not know what
// lies in a folder, nor what a lock is for.
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

	"golang.org/x/sys/unix"
)

// Errors of Folder and Lock.
var (
	// ErrUnsafe says that somebody else may change what is in a folder, or has made it.
	ErrUnsafe = errors.New("it is not safe from other users")
	// ErrLocked says that another process holds the lock.
	ErrLocked = errors.New("another process holds it")
)

// maxLinks is how many links a path may lead over (MAXSYMLINKS in include/linux/namei.h).
const maxLinks = 40

// shared are the folders that all users share (file-hierarchy(7)). One of these is never closed to them.
var shared = []string{"/tmp", "/var/tmp", "/dev/shm"}

// Folder makes the folder at path, and those above it, with the permission bits mode, which let nobody else write. One
// that is there keeps its own, unless others may write in it and have not: then it gets the mode. The error is
// ErrUnsafe, with the reason and what to do, if the folder, or what is in one that is open to others, is another user's
// than root's and this process's; if it is one that all users share; or if a folder above it is another user's, or open
// to others without the sticky bit, which /tmp has.
func Folder(path string, mode os.FileMode) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	at, rest := "/", split(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." { // of a link
			at = filepath.Dir(at)
			continue
		}
		here := filepath.Join(at, name)
		info, err := look(here, mode)
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
		case !open(info):
		case len(rest) > 0 && info.Mode()&fs.ModeSticky != 0:
		case len(rest) > 0 || slices.Contains(shared, here):
			err = unsafe(here)
		default:
			err = shut(here, info.Mode(), mode)
		}
		if err != nil {
			return err
		}
		at = here
	}
	return nil
}

// look returns what is at the path, a folder of this mode if there was nothing. The error is ErrUnsafe if it is another
// user's.
func look(path string, mode os.FileMode) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Mkdir(path, mode)
		if err == nil {
			err = os.Chmod(path, mode) // whatever the umask
		}
		if err == nil || errors.Is(err, fs.ErrExist) {
			info, err = os.Lstat(path)
		}
	}
	if err != nil {
		return nil, err
	}
	if ours(info) {
		return info, nil
	}
	name := strconv.Itoa(owner(info))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return nil, fmt.Errorf("%s: %w: it belongs to %s: remove it, or name another", path, ErrUnsafe, name)
}

// open says whether others may write in a folder.
func open(folder fs.FileInfo) bool { return folder.Mode()&0o022 != 0 }

// shut gives the folder, in which others may write, its mode, unless something in it is theirs.
func shut(path string, is, mode os.FileMode) error {
	if err := noneOfOthers(path); err != nil {
		return err
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	err := noneOfOthers(path) // it may have come just before
	if err != nil {
		err = errors.Join(err, os.Chmod(path, is))
	}
	return err
}

// noneOfOthers is ErrUnsafe if something in the folder is another user's.
func noneOfOthers(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && !ours(info) {
			return unsafe(path)
		}
	}
	return nil
}

func unsafe(path string) error {
	return fmt.Errorf("%s: %w: they may write in it: see what is in it, then chmod go-w %[1]s", path, ErrUnsafe)
}

// split returns the names in a path.
func split(path string) []string {
	return strings.FieldsFunc(filepath.Clean(path), func(r rune) bool { return r == '/' })
}

// Lock takes the lock at path, in a folder that Folder has made, and makes its file if it is missing. It does not wait:
// the error is ErrLocked if another process holds it. Closing the file gives it back; what is in it is the holder's.
func Lock(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		held, err := take(f, path)
		if held {
			return f, nil
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// take locks the open file. It is not held, without an error, if the path now names another one.
func take(f *os.File, path string) (held bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if info.Mode().Perm()&0o077 != 0 || !ours(info) {
		// Whoever could open this file may hold it for ever: it makes place for another.
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

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func ours(info fs.FileInfo) bool { return owner(info) == 0 || owner(info) == os.Geteuid() }

func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
