package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"passerelle/appliance/fleet/content"
	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/private"
	"passerelle/appliance/state"
	"passerelle/captive/admin"
	"passerelle/captive/places/directory"
	"passerelle/captive/records"
	"passerelle/captive/tutorials/lessons"
)

// What has become of a file that the fleet hands out: state.FleetFile has these words.
const (
	fileHere    = "here"    // it is imported
	fileComing  = "coming"  // it is being fetched
	fileWaits   = "waits"   // for its hours, or for a budget
	fileFailed  = "failed"  // or it is refused
	fileOwn     = "own"     // the box has one of that name that somebody here imported or changed: it stays
	fileRemoved = "removed" // somebody here has removed it: it stays away until its next version
)

// noEdition is the edition of what is not there (private.Edition).
const noEdition = "none"

// handout is what is known of a file that the fleet handed out.
type handout struct {
	Kind    content.Kind `json:"kind"`
	Name    string       `json:"name"`
	SHA256  string       `json:"sha256,omitempty"`  // of the file that was imported last; "": none was
	Edition string       `json:"edition,omitempty"` // of what that made: another one is not the fleet's

	// An import that has begun, and after a power cut perhaps ended: it has if the edition is another one.
	Begun    string `json:"begun,omitempty"`    // the SHA-256 of its file
	Replaces string `json:"replaces,omitempty"` // the edition before
}

// ended returns what is known once the import that had begun has ended, in whatever way. now is the edition that is there.
func (k handout) ended(now string) handout {
	if k.Begun != "" && now != k.Replaces {
		k.SHA256, k.Edition = k.Begun, now
	}
	k.Begun, k.Replaces = "", ""
	return k
}

// handoutShelf is where the files of a kind are imported, by the code of a technician's upload.
type handoutShelf struct {
	admin.Shelf
	edition func(name string) (string, error)
	ending  string // of a file's name
}

// handouts are the packs and lists of places that the fleet hands out to the box. They come while a release may, within the same
// budget. What the fleet hands out no longer is removed from the box, unless somebody there has changed it.
type handouts struct {
	folder  string // of what comes
	file    records.File[[]handout]
	shelves map[content.Kind]handoutShelf
	may     func() string // why nothing may be fetched now, "" if something may
	log     *slog.Logger

	mu    sync.Mutex
	files []state.FleetFile
	waits bool // one of them does, as far as is known
}

func newHandouts(state string, shelves admin.Content, may func() string, log *slog.Logger) *handouts {
	folder := filepath.Join(state, fleetFolder)
	packs, places := Content(state, "tutorials"), Content(state, "places")
	return &handouts{
		folder: filepath.Join(folder, "coming"), may: may, log: log,
		file: records.File[[]handout]{Path: filepath.Join(folder, "handouts.json"), Version: 1},
		shelves: map[content.Kind]handoutShelf{
			content.Packs:  {shelves.Packs, func(name string) (string, error) { return lessons.Edition(packs, name) }, ".zip"},
			content.Places: {shelves.Places, func(name string) (string, error) { return directory.Edition(places, name) }, ".csv"},
		},
	}
}

// newShelves returns what newHandouts imports into.
func (d *Daemon) newShelves(box memberBox) admin.Content {
	refresh := func(share string) error { return d.portal.Refresh(share) }
	return ContentOf(d.state, refresh, func() time.Time { return time.Now().In(box.Config().Box.Timezone) })
}

// mayFetch returns why no release may be fetched now, nor any other file.
func (r *releases) mayFetch() string { return r.fetcher.Obstacle(r.situation()) }

// ready tells, once, that something may be fetched that waits.
func (h *handouts) ready() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.waits || h.may() != "" {
		return false
	}
	h.waits = false
	return true
}

// status returns what has become of the files.
func (h *handouts) status() []state.FleetFile {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.files)
}

// waiting is why fetching stops for now.
type waiting string

func (w waiting) Error() string { return string(w) }

// isWaiting tells whether fetching only stops for now.
func isWaiting(err error) bool {
	_, ok := errors.AsType[waiting](err)
	return ok
}

// take fetches and imports what the levels hand out, and removes what they do not any more. t must be fresh. Nothing is changed if what
// they hand out cannot be read; the error is also about what could not be removed. What goes wrong with one file is in the status.
func (h *handouts) take(ctx context.Context, t *trust.Trust, from trust.Source, names map[layer.Level]string) error {
	wanted := map[string]content.File{} // by path below the folder
	for _, level := range layer.Levels {
		if level != layer.All && names[level] == "" {
			continue
		}
		files, err := content.List(ctx, t, from, layer.Folder(level, names[level]), layer.Whose(level, names[level]))
		if err != nil {
			return err
		}
		for _, f := range files { // the later level counts more
			wanted[h.path(f)] = f
		}
	}
	for _, kind := range content.Kinds {
		if err := private.Folder(filepath.Join(h.folder, string(kind)), 0o700); err != nil {
			return err
		}
	}
	err := h.removeOthers(wanted)
	h.mu.Lock()
	h.files, h.waits = nil, false
	paths := slices.Sorted(maps.Keys(wanted))
	for _, path := range paths {
		f := wanted[path]
		h.files = append(h.files, state.FleetFile{
			Kind: string(f.Kind), Name: f.Name, By: f.By, State: fileWaits, Size: uint64(max(f.Size, 0)),
		})
	}
	h.mu.Unlock()
	for i, path := range paths {
		word, why := h.one(ctx, from, wanted[path], func(done int64) {
			h.tell(i, func(s *state.FleetFile) { s.State, s.Done = fileComing, uint64(done) })
		})
		if ctx.Err() != nil { // the connection ended: a later one goes on
			h.tell(i, func(s *state.FleetFile) { s.State = fileWaits })
			return err
		}
		if why != "" {
			h.log.Info("a file of the fleet", "file", wanted[path], "state", word, "why", why)
		}
		h.tell(i, func(s *state.FleetFile) {
			if s.State, s.Why = word, why; word == fileHere {
				s.Done = s.Size
			}
		})
		if word != fileWaits && word != fileFailed {
			err = errors.Join(err, removeComing(path))
		}
	}
	return err
}

// tell changes what the status says of a file.
func (h *handouts) tell(i int, change func(*state.FleetFile)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.files[i])
	h.waits = slices.ContainsFunc(h.files, func(s state.FleetFile) bool { return s.State == fileWaits && s.Why != "" })
}

// path returns where a file comes to.
func (h *handouts) path(f content.File) string {
	return filepath.Join(h.folder, string(f.Kind), f.Name+h.shelves[f.Kind].ending)
}

// removeComing removes a file that came, or was to come.
func removeComing(path string) error {
	var all error
	for _, name := range []string{path, path + content.IndexEnding} {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}

// one returns what becomes of a file.
func (h *handouts) one(ctx context.Context, from trust.Source, f content.File, progress func(done int64)) (word, why string) {
	word, err := h.bring(ctx, from, f, progress)
	if wait, ok := errors.AsType[waiting](err); ok {
		return fileWaits, string(wait)
	}
	if err != nil {
		return fileFailed, err.Error()
	}
	return word, ""
}

// bring fetches and imports a file, if it is not here.
func (h *handouts) bring(ctx context.Context, from trust.Source, f content.File, progress func(done int64)) (word string, err error) {
	if f.Err != nil {
		return "", f.Err
	}
	shelf := h.shelves[f.Kind]
	if f.Size > shelf.MaxFile() {
		return "", fmt.Errorf("it has %d MB, and at most %d are taken", f.Size/1e6, shelf.MaxFile()/1e6)
	}
	known, now, err := h.known(f.Kind, f.Name)
	switch {
	case err != nil:
		return "", err
	case now != noEdition && now != known.Edition:
		return fileOwn, nil
	case known.SHA256 == f.SHA256 && now == noEdition:
		return fileRemoved, nil
	case known.SHA256 == f.SHA256:
		return fileHere, nil
	}
	path := h.path(f)
	if err := f.Fetch(ctx, from, path, func(done int64) error {
		if why := h.may(); why != "" {
			return waiting(why)
		}
		progress(done)
		return nil
	}); err != nil {
		return "", err
	}
	p, err := shelf.Check(ctx, path, f.Name)
	switch {
	case err != nil:
		return "", err
	case p.Fewer:
		return "", fmt.Errorf("%w; if that is right, it must be withdrawn first", directory.ErrFewer)
	case p.Edition != now: // somebody has just imported something
		return fileOwn, nil
	}
	known.Begun, known.Replaces = f.SHA256, now
	if err := h.keep(known); err != nil {
		return "", err
	}
	err = shelf.Import(ctx, path, p)
	if known, now, ended := h.known(f.Kind, f.Name); err == nil && (ended != nil || now == p.Edition || known.SHA256 != f.SHA256) {
		err = cmp.Or(ended, errors.New("it was imported, and is not there"))
	}
	if err != nil {
		return "", err
	}
	h.log.Info("a file of the fleet is imported", "file", f, "bytes", f.Size)
	return fileHere, nil
}

// known returns what is known of a name, and the edition that is there. An import that was under way has ended.
func (h *handouts) known(kind content.Kind, name string) (k handout, now string, err error) {
	if now, err = h.shelves[kind].edition(name); err != nil {
		return k, now, err
	}
	all, err := h.file.Read()
	if err != nil {
		return k, now, err
	}
	k = handout{Kind: kind, Name: name}
	if i := slices.IndexFunc(all, k.same); i >= 0 {
		k = all[i]
	}
	if k.Begun == "" {
		return k, now, nil
	}
	k = k.ended(now)
	return k, now, h.keep(k)
}

func (k handout) same(other handout) bool { return k.Kind == other.Kind && k.Name == other.Name }

// keep notes what is known of a name.
func (h *handouts) keep(k handout) error {
	_, err := h.file.Update(func(all *[]handout) error {
		*all = slices.DeleteFunc(*all, k.same)
		if k.SHA256 != "" || k.Begun != "" {
			*all = append(*all, k)
		}
		return nil
	})
	return err
}

// removeOthers removes from the box what the fleet handed out, and does not any more; what somebody changed stays. It removes what
// came of them, too.
func (h *handouts) removeOthers(wanted map[string]content.File) error {
	all, err := h.file.Read()
	if err != nil {
		return err
	}
	for _, k := range all {
		shelf := h.shelves[k.Kind]
		if _, still := wanted[h.path(content.File{Kind: k.Kind, Name: k.Name})]; still || shelf.Shelf == nil {
			continue
		}
		known, now, failed := h.known(k.Kind, k.Name)
		if failed == nil && now != noEdition && now == known.Edition {
			failed = shelf.Remove(k.Name, now)
			if failed == nil {
				h.log.Info("what the fleet does not hand out any more is removed", "kind", k.Kind, "name", k.Name)
			}
			if errors.Is(failed, private.ErrReplaced) || errors.Is(failed, fs.ErrNotExist) {
				failed = nil
			}
		}
		if failed == nil {
			failed = h.keep(handout{Kind: k.Kind, Name: k.Name})
		}
		err = errors.Join(err, failed)
	}
	for _, kind := range content.Kinds {
		folder := filepath.Join(h.folder, string(kind))
		entries, failed := os.ReadDir(folder)
		err = errors.Join(err, failed)
		for _, e := range entries {
			path := filepath.Join(folder, e.Name())
			if _, still := wanted[path]; still {
				continue
			}
			if _, still := wanted[path[:max(len(path)-len(content.IndexEnding), 0)]]; still && filepath.Ext(path) == content.IndexEnding {
				continue
			}
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}
