package admin

import (
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"passerelle/appliance/private"
)

// Bounds of what waits to be imported.
const (
	uploadLife    = 15 * time.Minute
	maxUploads    = 2           // of a login
	maxAllUploads = 4           // of all
	spareRoom     = 150_000_000 // bytes that an upload leaves free on the disk: those that an import leaves, and more
	maxUploadName = 80          // bytes of a file's name
)

// upload is a file that a technician has sent, and what importing it would do. It is in a folder of its own, so that its name
// is the browser's as far as that can be a file's.
type upload struct {
	owner string // the login of the technician who sent it
	made  time.Time
	kind  *shelfKind
	path  string
	plan  Plan
}

// uploads are the files that wait to be imported. Its methods are safe for concurrent use.
type uploads struct {
	dir string

	mu  sync.Mutex
	all map[string]*upload // by id
}

// newUploads returns an empty folder. What an earlier server left is removed.
func newUploads(dir string) (*uploads, error) {
	u := &uploads{dir: dir, all: make(map[string]*upload)}
	if dir == "" {
		return u, nil
	}
	return u, os.RemoveAll(dir)
}

// receive writes a file of at most so many bytes, which is not among the uploads yet: see keep. The error is
// *http.MaxBytesError for a larger one.
func (u *uploads) receive(in io.Reader, name string, most int64) (path string, err error) {
	if err := private.Folder(u.dir, 0o700); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(u.dir, "")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir) // nothing can be done if that fails, too; the next server removes it
		}
	}()
	path = filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	n, err := io.Copy(f, io.LimitReader(in, most+1))
	if err == nil && n > most {
		err = &http.MaxBytesError{Limit: most}
	}
	if err != nil {
		f.Close()
		return "", err
	}
	return path, f.Close()
}

// keep adds a received file. The oldest ones of its login, and of all, make room.
func (u *uploads) keep(new *upload, now time.Time) (id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.expire(now)
	for u.count(new.owner) >= maxUploads {
		u.drop(u.oldest(new.owner))
	}
	for len(u.all) >= maxAllUploads {
		u.drop(u.oldest(""))
	}
	id, new.made = rand.Text(), now
	u.all[id] = new
	return id
}

func (u *uploads) count(owner string) (n int) {
	for _, x := range u.all {
		if x.owner == owner {
			n++
		}
	}
	return n
}

// oldest returns the id of a login's oldest file, or of all; "" for none.
func (u *uploads) oldest(owner string) (id string) {
	for other, x := range u.all {
		if (owner == "" || x.owner == owner) && (id == "" || x.made.Before(u.all[id].made)) {
			id = other
		}
	}
	return id
}

// expire removes what has waited for too long. u.mu is held.
func (u *uploads) expire(now time.Time) {
	for id, x := range u.all {
		if now.Sub(x.made) > uploadLife {
			u.drop(id)
		}
	}
}

// drop removes a file. u.mu is held.
func (u *uploads) drop(id string) {
	if x := u.all[id]; x != nil {
		delete(u.all, id)
		u.discard(x.path)
	}
}

// discard removes a received file.
func (u *uploads) discard(path string) { os.RemoveAll(filepath.Dir(path)) }

// take removes a login's file of a kind from those that wait. The caller discards it.
func (u *uploads) take(now time.Time, id, owner string, kind *shelfKind) (*upload, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.expire(now)
	x := u.all[id]
	if x == nil || x.owner != owner || x.kind != kind {
		return nil, false
	}
	delete(u.all, id)
	return x, true
}

// forget removes what has waited for too long.
func (u *uploads) forget(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.expire(now)
}

// fileNameOf returns a name for a file that a browser calls so: no path, no hidden file, and only letters, digits and a few
// signs. It has the ending.
func fileNameOf(name, ending string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	if len(name) > len(ending) && strings.EqualFold(name[len(name)-len(ending):], ending) {
		name = name[:len(name)-len(ending)]
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case r == unicode.ReplacementChar:
			return -1
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_', r == '.', r == ' ':
			return r
		}
		return '-'
	}, strings.ToValidUTF8(name, ""))
	if len(name) > maxUploadName {
		name = strings.ToValidUTF8(name[:maxUploadName], "")
	}
	if name = strings.Trim(name, "-. "); name == "" {
		name = "fichier"
	}
	return name + ending
}
