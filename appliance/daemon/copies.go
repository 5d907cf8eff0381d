package daemon

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"passerelle/appliance/config"
	"passerelle/appliance/private"
)

// rewriteCopies changes the copies of the configuration that the box keeps: the earlier versions and the accepted ones. A copy
// that cannot be changed is removed.
func rewriteCopies(history config.History, accepted string, change func([]byte) ([]byte, error)) error {
	err := history.Rewrite(change)
	for _, name := range []string{acceptedLast, acceptedBefore} {
		err = errors.Join(err, rewriteFile(filepath.Join(accepted, name), change))
	}
	return err
}

// rewriteFile changes a file that has secrets. One that cannot be changed is removed.
func rewriteFile(path string, change func([]byte) ([]byte, error)) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	changed, err := change(text)
	switch {
	case err != nil:
		return errors.Join(os.Remove(path), private.SyncFolder(filepath.Dir(path)))
	case bytes.Equal(changed, text):
		return nil
	}
	return private.WriteFile(path, changed, 0o600)
}
