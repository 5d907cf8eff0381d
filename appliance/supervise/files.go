package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

const (
	fileMode   = 0o600
	folderMode = 0o700
)

// write brings the file to the disk, unless it is there already.
func (f File) write() (changed bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", f.Path, err)
		}
	}()
	uid, err := f.uid()
	if err != nil {
		return false, err
	}
	if f.Owner != "" {
		err = ownFolder(filepath.Dir(f.Path), uid)
	} else {
		err = os.MkdirAll(filepath.Dir(f.Path), folderMode)
	}
	if err != nil {
		return false, err
	}
	if f.Keep {
		return false, f.keep(uid)
	}
	if f.sound(uid) {
		return false, nil
	}
	return true, f.replace(uid)
}

// uid returns the number of the file's owner.
func (f File) uid() (int, error) {
	if f.Owner == "" {
		return os.Geteuid(), nil
	}
	u, err := user.Lookup(f.Owner)
	if err != nil {
		return 0, fmt.Errorf("%w: install what needs it, or adduser --system --no-create-home %s", err, f.Owner)
	}
	return strconv.Atoi(u.Uid)
}

// sound says whether the file is on the disk as it should be. Who owns its folder may have put anything in its place:
// no link is followed, no pipe waited for.
func (f File) sound(uid int) bool {
	have, err := os.OpenFile(f.Path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer have.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(have.Fd()), &st); err != nil || st.Mode != unix.S_IFREG|fileMode || int(st.Uid) != uid ||
		st.Size != int64(len(f.Data)) {
		return false
	}
	data, err := io.ReadAll(io.LimitReader(have, st.Size))
	return err == nil && bytes.Equal(data, f.Data)
}

// replace is renameio.WriteFile, but that would keep the mode of the file that is there.
func (f File) replace(uid int) error {
	// Without a given folder, renameio would try out $TMPDIR with files of its own.
	p, err := renameio.NewPendingFile(f.Path, renameio.WithTempDir(filepath.Dir(f.Path)), renameio.WithStaticPermissions(fileMode))
	if err != nil {
		return err
	}
	defer p.Cleanup()
	if _, err := p.Write(f.Data); err != nil {
		return err
	}
	if err := p.Chown(uid, -1); err != nil {
		return err
	}
	return p.CloseAtomicallyReplace()
}

// keep makes the file if it is missing, or is none, and leaves its content alone.
func (f File) keep(uid int) error {
	if info, err := os.Lstat(f.Path); err == nil && !info.Mode().IsRegular() {
		if err := os.RemoveAll(f.Path); err != nil {
			return err
		}
	}
	have, err := os.OpenFile(f.Path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, fileMode)
	if err != nil {
		return err
	}
	defer have.Close()
	return own(have, uid, fileMode)
}

// ownFolder makes the folder, or puts it right.
func ownFolder(dir string, uid int) error {
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return err
	}
	have, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer have.Close()
	return own(have, uid, folderMode)
}

// own gives an open file or folder its owner and mode, if it has others.
func own(f *os.File, uid int, mode uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	var err error
	if int(st.Uid) != uid {
		err = f.Chown(uid, -1)
	}
	if st.Mode&^unix.S_IFMT != mode {
		err = errors.Join(err, f.Chmod(os.FileMode(mode)))
	}
	return err
}

// removeAll removes the files; one that isn't there is no error.
func removeAll(paths []string) error {
	var errs []error
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
