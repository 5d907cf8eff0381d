// Package handouts brings a box what its fleet hands out: packs of lessons and pages, and lists of places. It owns which file of
// which level counts, what becomes of each on this box, and what is known of them over a restart. It must not know who delivers
// them, how a line's budget is kept, nor what is in a pack: shelves import it.
//
//	levels ──▶ List ──▶ Take ──▶ for each: becomes ──▶ fetch, check, import ──▶ Record
//	                     └─ what is handed out no longer is removed, unless somebody here has changed it
//
// What becomes of a file is a pure function of its [Record] and of the edition that is there (record.go).
package handouts

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
)

// Shelf is where the files of a kind are imported, by the code of a technician's upload.
type Shelf interface {
	// MaxFile is the largest file that is taken, in bytes.
	MaxFile() int64
	// Ending ends the name of a file that is imported, as in ".zip".
	Ending() string
	// Edition returns the edition of what is there of a name, NoEdition without any.
	Edition(name string) (string, error)
	// Check returns the edition that a file would replace. The error says why it cannot be imported.
	Check(ctx context.Context, path, name string) (replaces string, err error)
	// Import imports a file that was checked, in place of that edition.
	Import(ctx context.Context, path, name, replaces string) error
	// Remove removes an edition. The error is private.ErrReplaced if another one is there.
	Remove(name, edition string) error
}

// Records keeps what is known over a restart: a records.File.
type Records interface {
	Read() ([]Record, error)
	Update(change func(*[]Record) error) ([]Record, error)
}

// Options say where things are.
type Options struct {
	Dir     string // for what comes; made if it does not exist. The lock is beside it
	Records Records
	Shelves map[content.Kind]Shelf
	May     func() string // why nothing may be fetched now, "" if something may
	Log     *slog.Logger
	// Patience is how long Take waits for another process that takes files; 0 for as long as its context holds.
	Patience time.Duration
}

// Handouts are the files that the fleet hands out to the box. Several processes may use the same folder: one takes files at a time.
type Handouts struct {
	o Options

	mu    sync.Mutex
	files []state.FleetFile
	waits bool // one of them does, as far as is known
}

// New returns the handouts of a folder.
func New(o Options) *Handouts { return &Handouts{o: o} }

// Ready tells, once, that something may be fetched that waits.
func (h *Handouts) Ready() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.waits || h.o.May() != "" {
		return false
	}
	h.waits = false
	return true
}

// Status returns what has become of the files.
func (h *Handouts) Status() []state.FleetFile {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.files)
}

// Wanted are the files that a box's levels hand out, one of each kind and name.
type Wanted []content.File

// List returns what the levels with those names hand out; of two files with one name, the nearer level's. t must be fresh.
func List(ctx context.Context, t *trust.Trust, from trust.Source, names map[layer.Level]string) (Wanted, error) {
	type key struct {
		kind content.Kind
		name string
	}
	wanted := map[key]content.File{}
	for _, level := range layer.Levels {
		if level != layer.All && names[level] == "" {
			continue
		}
		files, err := content.List(ctx, t, from, layer.Folder(level, names[level]), layer.Whose(level, names[level]))
		if err != nil {
			return nil, err
		}
		for _, f := range files { // the later level counts more
			wanted[key{f.Kind, f.Name}] = f
		}
	}
	return slices.SortedFunc(maps.Values(wanted), func(a, b content.File) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	}), nil
}

// lockPoll is between looks whether another process still takes files.
const lockPoll = 200 * time.Millisecond

// ErrBusy says that another process takes the fleet's files.
var ErrBusy = errors.New("another process takes the fleet's files now")

// lock waits until no other process takes files.
func (h *Handouts) lock(ctx context.Context) (*os.File, error) {
	if err := private.Folder(h.o.Dir, 0o700); err != nil {
		return nil, err
	}
	if h.o.Patience > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, h.o.Patience)
		defer stop()
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		held, err := private.Lock(h.o.Dir + ".lock")
		if !errors.Is(err, private.ErrLocked) {
			return held, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
		case <-tick.C:
		}
	}
}

// Take fetches and imports the files, and removes from the box what the fleet handed out before and is not among them. The error is
// about what could not be removed, or the disk; what goes wrong with one file is in the status.
func (h *Handouts) Take(ctx context.Context, from trust.Source, wanted Wanted) error {
	held, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer held.Close()
	for _, kind := range content.Kinds {
		if err := private.Folder(filepath.Join(h.o.Dir, string(kind)), 0o700); err != nil {
			return err
		}
	}
	err = h.removeOthers(wanted)
	h.mu.Lock()
	h.files, h.waits = nil, false
	for _, f := range wanted {
		h.files = append(h.files, state.FleetFile{
			Kind: string(f.Kind), Name: f.Name, By: f.By, State: Waits, Size: uint64(max(f.Size, 0)),
		})
	}
	h.mu.Unlock()
	for i, f := range wanted {
		word, why := h.one(ctx, from, f, func(done int64) {
			h.tell(i, func(s *state.FleetFile) { s.State, s.Done = Coming, uint64(done) })
		})
		if ctx.Err() != nil { // the connection ended: a later one goes on
			h.tell(i, func(s *state.FleetFile) { s.State = Waits })
			return err
		}
		if why != "" {
			h.o.Log.Info("a file of the fleet", "file", f, "state", word, "why", why)
		}
		h.tell(i, func(s *state.FleetFile) {
			if s.State, s.Why = word, why; word == Here {
				s.Done = s.Size
			}
		})
		if word != Waits && word != Failed {
			err = errors.Join(err, removeComing(h.path(f.Kind, f.Name)))
		}
	}
	return err
}

// tell changes what the status says of a file.
func (h *Handouts) tell(i int, change func(*state.FleetFile)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.files[i])
	h.waits = slices.ContainsFunc(h.files, func(s state.FleetFile) bool { return s.State == Waits && s.Why != "" })
}

// path returns where a file comes to.
func (h *Handouts) path(kind content.Kind, name string) string {
	return filepath.Join(h.o.Dir, string(kind), name+h.o.Shelves[kind].Ending())
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
func (h *Handouts) one(ctx context.Context, from trust.Source, f content.File, progress func(done int64)) (word, why string) {
	word, err := h.bring(ctx, from, f, progress)
	if wait, ok := errors.AsType[trust.Waiting](err); ok {
		return Waits, string(wait)
	}
	if err != nil {
		return Failed, err.Error()
	}
	return word, ""
}

// bring fetches and imports a file, if it is not here.
func (h *Handouts) bring(ctx context.Context, from trust.Source, f content.File, progress func(done int64)) (word string, err error) {
	shelf := h.o.Shelves[f.Kind]
	if err := cmp.Or(f.Err, tooLarge(f.Size, shelf.MaxFile())); err != nil {
		return "", err
	}
	known, now, err := h.known(f.Kind, f.Name)
	if err != nil {
		return "", err
	}
	if word := known.becomes(f.SHA256, now); word != "" {
		return word, nil
	}
	path := h.path(f.Kind, f.Name)
	if err := f.Fetch(ctx, from, path, func(done int64) error {
		if why := h.o.May(); why != "" {
			return trust.Waiting(why)
		}
		progress(done)
		return nil
	}); err != nil {
		return "", err
	}
	replaces, err := shelf.Check(ctx, path, f.Name)
	if err != nil {
		return "", err
	}
	if replaces != now { // somebody has just imported something
		return Own, nil
	}
	if err := h.keep(known.begins(f.SHA256, now)); err != nil {
		return "", err
	}
	err = shelf.Import(ctx, path, f.Name, replaces)
	if known, now, ended := h.known(f.Kind, f.Name); err == nil && (ended != nil || now == replaces || known.SHA256 != f.SHA256) {
		err = cmp.Or(ended, errors.New("it was imported, and is not there"))
	}
	if err != nil {
		return "", err
	}
	h.o.Log.Info("a file of the fleet is imported", "file", f, "bytes", f.Size)
	return Here, nil
}

// known returns what is known of a name, and the edition that is there. An import that was under way has ended.
func (h *Handouts) known(kind content.Kind, name string) (k Record, now string, err error) {
	if now, err = h.o.Shelves[kind].Edition(name); err != nil {
		return k, now, err
	}
	all, err := h.o.Records.Read()
	if err != nil {
		return k, now, err
	}
	if k = find(all, kind, name); k.Begun == "" {
		return k, now, nil
	}
	k = k.ended(now)
	return k, now, h.keep(k)
}

// keep notes what is known of a name.
func (h *Handouts) keep(k Record) error {
	_, err := h.o.Records.Update(func(all *[]Record) error {
		*all = k.with(*all)
		return nil
	})
	return err
}

// removeOthers removes from the box what the fleet handed out, and does not any more; what somebody changed stays. It removes what
// came of them, too.
func (h *Handouts) removeOthers(wanted Wanted) error {
	paths := map[string]bool{} // of what may lie in the folder
	for _, f := range wanted {
		path := h.path(f.Kind, f.Name)
		paths[path], paths[path+content.IndexEnding] = true, true
	}
	all, err := h.o.Records.Read()
	if err != nil {
		return err
	}
	for _, k := range all {
		shelf := h.o.Shelves[k.Kind]
		if shelf == nil || paths[h.path(k.Kind, k.Name)] {
			continue
		}
		known, now, failed := h.known(k.Kind, k.Name)
		if failed == nil && known.removable(now) {
			failed = shelf.Remove(k.Name, now)
			if failed == nil {
				h.o.Log.Info("what the fleet does not hand out any more is removed", "kind", k.Kind, "name", k.Name)
			}
			if errors.Is(failed, private.ErrReplaced) || errors.Is(failed, fs.ErrNotExist) {
				failed = nil
			}
		}
		if failed == nil {
			failed = h.keep(Record{Kind: k.Kind, Name: k.Name})
		}
		err = errors.Join(err, failed)
	}
	for _, kind := range content.Kinds {
		folder := filepath.Join(h.o.Dir, string(kind))
		entries, failed := os.ReadDir(folder)
		err = errors.Join(err, failed)
		for _, e := range entries {
			if path := filepath.Join(folder, e.Name()); !paths[path] {
				err = errors.Join(err, os.RemoveAll(path))
			}
		}
	}
	return err
}
