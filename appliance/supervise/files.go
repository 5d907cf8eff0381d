package supervise

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

const folderMode = 0o700

// owner is who owns a child's files: a user and a group, by their IDs.
type owner struct{ uid, gid int }

// self is this process's.
var self = owner{os.Geteuid(), os.Getegid()}

// lookUp returns a user and their group; "" is this process's.
func lookUp(name string) (owner, error) {
	if name == "" {
		return self, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return owner{}, fmt.Errorf("%w: install what needs it, or adduser --system --no-create-home %s", err, name)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return owner{}, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return owner{uid, gid}, err
}

// mode returns the mode of an owner's files. This process reads the files of another user by its group.
func (o owner) mode() os.FileMode {
	if o.uid == self.uid {
		return 0o600
	}
	return 0o640
}

// write writes the file, unless it is up to date.
func (f File) write(o owner) (changed bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", f.Path, err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(f.Path), folderMode); err != nil {
		return false, err
	}
	if f.Keep {
		return false, f.ensureExists(o)
	}
	if f.upToDate(o) {
		return false, nil
	}
	return true, f.replace(o)
}

// upToDate tells whether the file on the disk has this content, owner and mode. Its owner may have changed it.
func (f File) upToDate(o owner) bool {
	have, err := os.OpenFile(f.Path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer have.Close()
	info, err := have.Stat()
	if err != nil || !o.has(info) || info.Size() != int64(len(f.Text)) {
		return false
	}
	data, err := io.ReadAll(io.LimitReader(have, info.Size()))
	return err == nil && string(data) == f.Text
}

// has tells whether info is that of a regular file of this owner, which this process's group may read.
func (o owner) has(info os.FileInfo) bool {
	st := info.Sys().(*syscall.Stat_t)
	return info.Mode() == o.mode() && int(st.Uid) == o.uid && int(st.Gid) == self.gid
}

// replace is renameio.WriteFile, which would keep the mode of the existing file, with the right mode and owner.
func (f File) replace(o owner) error {
	// Without a given folder, renameio would probe $TMPDIR with files of its own.
	p, err := renameio.NewPendingFile(f.Path, renameio.WithTempDir(filepath.Dir(f.Path)), renameio.WithStaticPermissions(o.mode()))
	if err != nil {
		return err
	}
	defer p.Cleanup()
	if _, err := p.WriteString(f.Text); err != nil {
		return err
	}
	if err := p.Chown(o.uid, self.gid); err != nil {
		return err
	}
	return p.CloseAtomicallyReplace()
}

// ensureExists creates the file if it is missing or not a regular file, and leaves its content alone.
func (f File) ensureExists(o owner) error {
	info, err := os.Lstat(f.Path)
	if err == nil && o.has(info) {
		return nil
	}
	if err == nil && !info.Mode().IsRegular() {
		if err := os.RemoveAll(f.Path); err != nil {
			return err
		}
	}
	// Only its owner, or CAP_FOWNER, changes a file's mode.
	if err := os.Lchown(f.Path, self.uid, self.gid); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	have, err := os.OpenFile(f.Path, os.O_RDONLY|os.O_CREATE|unix.O_NOFOLLOW, o.mode())
	if err != nil {
		return err
	}
	defer have.Close()
	return errors.Join(have.Chmod(o.mode()), have.Chown(o.uid, self.gid))
}

// ensureFolder creates a folder for this process only, or corrects its mode.
func ensureFolder(dir string) error {
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return err
	}
	have, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer have.Close()
	return errors.Join(have.Chown(self.uid, self.gid), have.Chmod(folderMode))
}

// removeAll removes the files. It is not an error if one is absent.
func removeAll(paths []string) error {
	var errs []error
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
