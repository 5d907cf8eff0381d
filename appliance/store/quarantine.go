package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// Quarantined is a file that could not be read. The present file replaces it.
type Quarantined struct {
	File  string // its present path; its content is unchanged
	Newer bool   // written by a newer version of passerelle, and kept for a version that reads it; otherwise it is damaged
	Cause error  // if known: a cause found at an earlier start is not

	kind *kind
}

func (a *Quarantined) Error() string {
	what := "is damaged: it is kept as " + a.File
	if a.Newer {
		what = "was written by a newer version of passerelle: it is kept as " + a.File + ", for the version that reads it"
	}
	text := a.kind.content + " " + what + ", and " + a.kind.consequence
	if a.Cause != nil {
		text += ": " + a.Cause.Error()
	}
	return text
}

func (a *Quarantined) Unwrap() error { return a.Cause }

// Suffixes of a quarantined file's name.
const (
	newerName   = ".newer-"
	damagedName = ".damaged-"
)

// quarantine renames the file, which cannot be read because of cause, and opens a new one in its place, which lost fills.
func (k *kind) quarantine(path string, cause error, lost func(*bbolt.Tx) error, now time.Time) (*file, *Quarantined, error) {
	a := &Quarantined{Newer: errors.Is(cause, errNewer), Cause: cause, kind: k}
	why := damagedName
	if a.Newer {
		why = newerName
	}
	a.File = quarantineName(path+why, now)
	// The file keeps its name until the new one is complete: whenever the power fails, one of the two exists.
	if err := os.Link(path, a.File); err != nil {
		return nil, nil, fmt.Errorf("quarantine the %s: %w: %w", k.name, err, cause)
	}
	if err := k.create(path, filepath.Base(a.File), lost); err != nil { // on a full disk, retried at each start
		return nil, nil, errors.Join(err, cause, os.Remove(a.File))
	}
	f, err := k.openExisting(path, false)
	return f, a, err
}

// quarantineName returns a free name with a timestamp.
func quarantineName(path string, now time.Time) string {
	dated := path + now.Format("20060102-150405")
	name := dated
	for n := 1; ; n++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name
		}
		name = fmt.Sprintf("%s-%d", dated, n)
	}
}

func putReplaces(tx *bbolt.Tx, file string) error {
	if file == "" {
		return tx.Bucket(schemaBucket).Delete(replacesKey)
	}
	return tx.Bucket(schemaBucket).Put(replacesKey, []byte(file))
}

// restore merges the file that this one replaces, if it can be read now, and then the file that was replaced by that one, and so on.
// It returns the file that is still quarantined, nil if none is.
func (f *file) restore() *Quarantined {
	for {
		if f.replaces == "" {
			return nil
		}
		a := &Quarantined{File: filepath.Join(filepath.Dir(f.db.Path()), f.replaces), Newer: strings.Contains(f.replaces, newerName), kind: f.kind}
		if _, err := os.Lstat(a.File); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !a.Newer { // damage is permanent
			return a
		}
		if a.Cause = f.mergeFrom(a.File); a.Cause != nil {
			return a
		}
	}
}

// mergeFrom merges another file in one transaction, and removes it.
func (f *file) mergeFrom(path string) error {
	earlier, err := f.kind.openExisting(path, true)
	if err != nil {
		return err
	}
	err = guard(func() error {
		return earlier.db.View(func(from *bbolt.Tx) error {
			return f.db.Update(func(tx *bbolt.Tx) error {
				return errors.Join(f.kind.merge(tx, from), putReplaces(tx, earlier.replaces))
			})
		})
	})
	if err := errors.Join(err, earlier.db.Close()); err != nil {
		return fmt.Errorf("merge %s: %w", path, err)
	}
	f.replaces = earlier.replaces
	// Nothing refers to that file any more: if it cannot be removed, it only takes up disk space.
	_ = os.Remove(path)
	return nil
}
