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

// Limits on uploads that wait to be imported.
const (
	uploadLife    = 15 * time.Minute
	maxUploads    = 2           // per login
	maxAllUploads = 4           // in all
	spareRoom     = 150_000_000 // bytes that an upload leaves free on the disk: more than an import must leave free
	maxUploadName = 80          // bytes of a file's name
)

// upload is a file that a technician has sent, and what importing it would do. It is in a folder of its own, so that it can keep
// the name that the browser sent, except for characters that are not safe in a file name.
type upload struct {
	owner string // the login of the technician who sent it
	made  time.Time
	kind  *shelfKind
	path  string
	plan  Plan
}

// uploads holds the files that wait to be imported. Its methods are safe for concurrent use, except those for which u.mu is held.
type uploads struct {
	dir string

	mu  sync.Mutex
	all map[string]*upload // by id
}

// newUploads returns uploads in an empty folder. It removes what an earlier run of the daemon left there.
func newUploads(dir string) (*uploads, error) {
	u := &uploads{dir: dir, all: make(map[string]*upload)}
	if dir == "" {
		return u, nil
	}
	return u, os.RemoveAll(dir)
}

// receive writes a file of at most most bytes. It does not wait to be imported until keep adds it. The error is a
// *http.MaxBytesError for a larger file.
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
			os.RemoveAll(dir) // if that fails, too, newUploads removes it at the next start
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

// keep adds a received file, and returns its id. The oldest files of its login, and of all logins, are dropped to make room.
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

// count returns how many files of a login wait. u.mu is held.
func (u *uploads) count(owner string) (n int) {
	for _, x := range u.all {
		if x.owner == owner {
			n++
		}
	}
	return n
}

// oldest returns the id of a login's oldest file, or of the oldest file of all logins if owner is "". It returns "" for none. u.mu
// is held.
func (u *uploads) oldest(owner string) (id string) {
	for other, x := range u.all {
		if (owner == "" || x.owner == owner) && (id == "" || x.made.Before(u.all[id].made)) {
			id = other
		}
	}
	return id
}

// expire removes files that have waited for too long. u.mu is held.
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

// take returns a login's file of a kind, and removes it from those that wait. The caller must discard it or keep it again.
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

// forget removes files that have waited for too long.
func (u *uploads) forget(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.expire(now)
}

// full reports whether an upload would leave less than spareRoom free on the disk.
func (s *Server) full(r *request) bool {
	if s.Disk == nil {
		return false
	}
	d := s.Disk()
	return d.Total > 0 && uint64(max(r.ContentLength, 0))+spareRoom > d.Free
}

// fileNameOf returns a safe file name for the name that a browser sent. It has no path, is not a hidden file, contains only letters,
// digits and a few other characters, and has the ending.
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
