// Package handouts brings a box the files that its fleet hands out: packs of lessons and pages, and lists of places. It owns which
// level's file counts, the state of each file on this box, and what is remembered about them over a restart. It must not know who
// delivers them, how a donation's budget is kept, nor what is in a pack: shelves import it.
//
//	levels ──▶ List ──▶ Take ──▶ for each: becomes ──▶ fetch, check, import ──▶ Record
//	                     └─ what is no longer handed out is removed, unless somebody has changed it on the box
//
// The state of a file is a pure function of its [Record] and of the edition on the box (record.go).
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

// Shelf imports the files of a kind, with the same code as a technician's upload.
type Shelf interface {
	// MaxFile returns the largest size of a file, in bytes.
	MaxFile() int64
	// Ending returns the ending of a file's name, such as ".zip".
	Ending() string
	// Edition returns the edition on the box of that name, NoEdition if there is none.
	Edition(name string) (string, error)
	// Check returns the edition that a file would replace. The error says why the file cannot be imported.
	Check(ctx context.Context, path, name string) (replaces string, err error)
	// Import imports a checked file in place of that edition.
	Import(ctx context.Context, path, name, replaces string) error
	// Remove removes an edition. The error is private.ErrReplaced if the box has another one by now.
	Remove(name, edition string) error
}

// Records keeps the records over a restart. records.File implements it.
type Records interface {
	Read() ([]Record, error)
	Update(change func(*[]Record) error) ([]Record, error)
}

// Options of the handouts.
type Options struct {
	Dir     string // for files that are being fetched; created if it does not exist. The lock file is beside it
	Records Records
	Shelves map[content.Kind]Shelf
	May     func() string // returns why nothing may be fetched now, "" if it may
	Log     *slog.Logger
	// Patience is how long Take waits for another process that takes files; 0 means until its context ends.
	Patience time.Duration
}

// Handouts are the files that the fleet hands out to the box. Several processes may use the same folder; only one takes files at a
// time.
type Handouts struct {
	o Options

	mu    sync.Mutex
	files []state.FleetFile
	waits bool // a file waits, as far as is known
}

// New returns the handouts of a folder.
func New(o Options) *Handouts { return &Handouts{o: o} }

// Ready tells, once, that a waiting file may be fetched now.
func (h *Handouts) Ready() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.waits || h.o.May() != "" {
		return false
	}
	h.waits = false
	return true
}

// Status returns the states of the files.
func (h *Handouts) Status() []state.FleetFile {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.files)
}

// Wanted are the files that a box's levels hand out, one for each kind and name.
type Wanted []content.File

// List returns what the levels with those names hand out. If two levels have a file of the same name, the nearer level's counts. t
// must have been refreshed.
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

// lockPoll is the interval at which the lock of another process is tried again.
const lockPoll = 200 * time.Millisecond

// ErrBusy says that another process is taking the fleet's files.
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

// Take fetches and imports the files. It removes from the box what the fleet handed out before and no longer does. The error is about
// the disk, or about what could not be removed; what goes wrong with a single file is in the status.
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
		if ctx.Err() != nil { // the connection ended: Take resumes on a later one
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

// tell changes the status of a file.
func (h *Handouts) tell(i int, change func(*state.FleetFile)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.files[i])
	h.waits = slices.ContainsFunc(h.files, func(s state.FleetFile) bool { return s.State == Waits && s.Why != "" })
}

// path returns the path that a file is fetched to.
func (h *Handouts) path(kind content.Kind, name string) string {
	return filepath.Join(h.o.Dir, string(kind), name+h.o.Shelves[kind].Ending())
}

// removeComing removes a fetched file, complete or not, and its index.
func removeComing(path string) error {
	var all error
	for _, name := range []string{path, path + content.IndexEnding} {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}

// one fetches and imports a file, and returns its new state and the reason.
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

// bring fetches and imports a file, unless its state says that there is nothing to do.
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
	if replaces != now { // somebody has imported something in the meantime
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

// known returns what is known about a name, and the edition on the box. It settles an import that was interrupted.
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

// keep saves what is known about a name.
func (h *Handouts) keep(k Record) error {
	_, err := h.o.Records.Update(func(all *[]Record) error {
		*all = k.with(*all)
		return nil
	})
	return err
}

// removeOthers removes from the box what the fleet no longer hands out, but not what somebody has changed. It also removes incomplete
// fetches of such files.
func (h *Handouts) removeOthers(wanted Wanted) error {
	paths := map[string]bool{} // that may be in the folder
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
