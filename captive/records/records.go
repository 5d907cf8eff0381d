// Package records keeps a share's small data, such as an agenda, in one JSON file. The daemon and the command line change the same file,
// one at a time. Changes are atomic: after a power cut the file has the old content or the new one. The package owns the file's format,
// its versions, and what happens to a file that cannot be read; it does not know the content.
//
// A box may go back to the previous release, which sets a file with an unknown form aside. So a release that introduces a new form
// reads it, but still writes the old one; only the next release writes the new form. All files have had one form so far.
package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"passerelle/appliance/private"
)

// maxFile bounds a file, in bytes.
const maxFile = 16 << 20

// lockWait is how long a change waits for that of another process.
const lockWait = 5 * time.Second

// File is a file with records of a type. Its methods are safe for concurrent use, also by several processes.
type File[T any] struct {
	Path    string // in a folder that only its owner can write to; Update creates the folder
	Version int    // of the content's form, from 1

	// Upgrade reads the content of an older version; nil if there are no older versions.
	Upgrade func(version int, content json.RawMessage) (T, error)
}

// envelope is the file's JSON.
type envelope struct {
	Version int             `json:"version"`
	Content json.RawMessage `json:"content"`
}

// UnreadableError says that the file at Path could not be read because of Err, and was renamed to Aside.
type UnreadableError struct {
	Path, Aside string
	Err         error
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("%s cannot be read, and is now %s: %v", e.Path, e.Aside, e.Err)
}

func (e *UnreadableError) Unwrap() error { return e.Err }

// Read returns the records, or none if there is no file. A damaged file, or one of a newer version, is not changed: the error says what
// is wrong, and the next Update sets the file aside.
func (f File[T]) Read() (records T, err error) {
	text, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return records, nil
	}
	if err != nil {
		return records, err
	}
	return f.decode(text)
}

// decode returns the records of a file's text.
func (f File[T]) decode(text []byte) (records T, err error) {
	if len(text) > maxFile {
		return records, fmt.Errorf("%s is larger than %d bytes", f.Path, maxFile)
	}
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil {
		return records, fmt.Errorf("%s is damaged: %w", f.Path, err)
	}
	switch {
	case e.Version == f.Version:
		err = json.Unmarshal(e.Content, &records)
	case e.Version > f.Version:
		err = fmt.Errorf("it has the form %d of a newer release; this one knows %d", e.Version, f.Version)
	case e.Version < 1 || f.Upgrade == nil:
		err = fmt.Errorf("unknown form %d", e.Version)
	default:
		records, err = f.Upgrade(e.Version, e.Content)
	}
	if err != nil {
		var none T
		return none, fmt.Errorf("%s: %w", f.Path, err)
	}
	return records, nil
}

// Parse returns the records of a file's text, as Read does.
func (f File[T]) Parse(text []byte) (T, error) { return f.decode(text) }

// Text returns the text of a file with these records.
func (f File[T]) Text(records T) ([]byte, error) {
	content, err := json.Marshal(records)
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{f.Version, content})
}

// Update changes the records and returns the new ones. It writes only if change does not fail and the text differs. If the file could
// not be read, change gets no records, the file is kept under another name, and Update returns the new records together with an
// *UnreadableError. After any other error the file is unchanged, unless only the disk's confirmation of the new one is missing.
func (f File[T]) Update(change func(*T) error) (records T, err error) {
	if err := private.Folder(filepath.Dir(f.Path), 0o700); err != nil {
		return records, err
	}
	unlock, err := f.lock()
	if err != nil {
		return records, err
	}
	defer unlock()
	before, err := os.ReadFile(f.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return records, err
	}
	var unreadable *UnreadableError
	if err == nil {
		if records, err = f.decode(before); err != nil {
			unreadable = &UnreadableError{Path: f.Path, Err: err}
		}
	}
	if err := change(&records); err != nil {
		return records, err
	}
	after, err := f.Text(records)
	if err != nil {
		return records, err
	}
	if len(after) > maxFile {
		return records, fmt.Errorf("%s would be larger than %d bytes", f.Path, maxFile)
	}
	if bytes.Equal(before, after) {
		return records, nil
	}
	if unreadable == nil {
		return records, private.WriteFile(f.Path, after, 0o600)
	}
	if unreadable.Aside, err = f.aside(); err == nil {
		err = private.ReplaceFile(f.Path, unreadable.Aside, after, 0o600)
	}
	if err != nil {
		return records, fmt.Errorf("%w; keep it as %s, and begin a new file: %w", unreadable.Err, unreadable.Aside, err)
	}
	return records, unreadable
}

// lock waits until nobody else changes the file, for at most lockWait. The lock has a file of its own, because the records' file is
// replaced.
func (f File[T]) lock() (unlock func(), err error) {
	for waited := time.Duration(0); ; waited += lockWait / 100 {
		l, err := private.Lock(f.Path + ".lock")
		if err == nil {
			return func() { l.Close() }, nil
		}
		if !errors.Is(err, private.ErrLocked) || waited >= lockWait {
			return nil, err
		}
		time.Sleep(lockWait / 100)
	}
}

// aside returns a name for an unreadable file. Files set aside earlier keep their names.
func (f File[T]) aside() (name string, err error) {
	for n := 1; ; n++ {
		name = fmt.Sprintf("%s.unreadable-%d", f.Path, n)
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return name, err
		}
	}
}
