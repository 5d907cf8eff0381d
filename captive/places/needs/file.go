package needs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"passerelle/appliance/private"
)

// File is the name of a centre's own rules in the share's folder.
const File = "needs.toml"

// Load returns a centre's own rules, or those in this package if it has none. If its own are broken, it returns those in
// this package and the error.
func Load(dir string, known Known) (*Guide, error) {
	g, err := Read(filepath.Join(dir, File), known)
	switch {
	case err == nil:
		return g, nil
	case errors.Is(err, fs.ErrNotExist):
		return Own(), nil
	default:
		return Own(), fmt.Errorf("the centre's own rules are not used: %w", err)
	}
}

// Read reads and checks a file.
func Read(path string, known Known) (*Guide, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text, known)
}

// readSmall reads a file, at most one byte more than [MaxSize].
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxSize+1))
}

// Edition returns an identifier of the current content of a centre's own rules.
func Edition(dir string) (string, error) { return private.Edition(filepath.Join(dir, File)) }

// Install checks a file and copies it into the share's folder. The error is private.ErrReplaced if the edition of the centre's own
// rules is not the one that was seen; "" stands for any.
func Install(dir, path string, known Known, seen string) (*Guide, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	g, err := Parse(path, text, known)
	if err != nil {
		return nil, err
	}
	unlock, err := claim(dir, seen)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := private.WriteFile(filepath.Join(dir, File), text, 0o644); err != nil {
		return nil, fmt.Errorf("write the rules: %w", err)
	}
	return g, nil
}

// Remove removes a centre's own rules. The error is fs.ErrNotExist if it has none, and private.ErrReplaced as for Install.
func Remove(dir, seen string) error {
	unlock, err := claim(dir, seen)
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.Remove(filepath.Join(dir, File)); err != nil {
		return err
	}
	return private.SyncFolder(dir)
}

// claim locks a centre's own rules against other changes.
func claim(dir, seen string) (unlock func(), err error) {
	unlock, err = private.ClaimForImport(dir, "."+File+".lock", "."+File+"[0-9]*")
	if err != nil {
		return nil, err
	}
	if err := private.CheckEdition(filepath.Join(dir, File), seen); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}
