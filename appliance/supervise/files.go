package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// write brings the file to the disk, unless it is there already.
func (f File) write() (changed bool, err error) {
	mode := f.Mode
	if mode == 0 {
		mode = 0o600
	}
	if info, err := os.Lstat(f.Path); err == nil && info.Mode() == mode && info.Size() == int64(len(f.Data)) {
		if have, err := os.ReadFile(f.Path); err == nil && bytes.Equal(have, f.Data) {
			return false, nil
		}
	}
	dir := filepath.Dir(f.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, fmt.Errorf("write %s: %w", f.Path, err)
	}
	if err := f.replace(dir, mode); err != nil {
		return false, fmt.Errorf("write %s: %w", f.Path, err)
	}
	return true, nil
}

// replace is renameio.WriteFile, but that would keep the mode of the file that is there.
func (f File) replace(dir string, mode os.FileMode) error {
	// Without a given folder, renameio would try out $TMPDIR with files of its own.
	p, err := renameio.NewPendingFile(f.Path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	defer p.Cleanup()
	if _, err := p.Write(f.Data); err != nil {
		return err
	}
	return p.CloseAtomicallyReplace()
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
