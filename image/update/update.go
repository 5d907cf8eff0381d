// Package update brings a signed release into the slot that is not running. It owns the order of that: what is read
// first, what is written when, and that all of it is read back before anybody may boot it. It must not know who signed the
// release (package trust), which bytes to fetch (package plan), nor which slot is booted (package slot).
//
// Progress is observed, not recorded: an installation begins by hashing what lies in the slot, and goes on from there. So it
// may be cut at any moment, for days, at the price of the chunk that was under way. The slot cannot be booted until the end:
// the first bytes of its boot part are erased before anything else is written, and come back after the rest was read back.
package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/private"
	"passerelle/image/update/plan"
)

// Slot is a slot of the card.
type Slot interface {
	io.ReaderAt
	io.WriterAt
	// Sync waits until the card has what was written, and forgets what is in memory of it: what is read then is the card's.
	Sync() error
}

// Installation is a release on its way into a slot.
type Installation struct {
	Manifest plan.Manifest
	From     trust.Source
	Running  io.ReaderAt // the running slot
	Into     Slot
	// Progress is told the bytes that are in their place, of how many. It may be nil.
	Progress func(done, total int64)
	// Fetched is asked before a file of that many bytes is fetched. Its error ends the installation. It may be nil.
	Fetched func(bytes int64) error
	// Keep is a folder for the files that describe the release, so that an installation that goes on does not fetch them once
	// more; "" for none.
	Keep string

	index plan.Index
	runs  plan.Runs
}

// syncEvery is after how many bytes the card must have what was written.
const syncEvery = 8 << 20

// Load fetches the release's index, and the delta for the running root if there is one.
func (i *Installation) Load(ctx context.Context) error {
	text, err := i.kept(ctx, i.Manifest.Index)
	if err != nil {
		return err
	}
	if i.index, err = plan.ParseIndex(text, i.Manifest); err != nil {
		return err
	}
	for _, d := range i.Manifest.Deltas {
		running, err := HashPart(ctx, i.Running, d.From)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || running != d.From.SHA256 {
			continue // another release is running, or a damaged one
		}
		text, err := i.kept(ctx, d.File)
		if err != nil {
			return err
		}
		if i.runs, err = plan.ParseRuns(text, i.index); err != nil {
			return err
		}
	}
	return nil
}

// file fetches a file by its SHA-256.
func (i *Installation) file(ctx context.Context, f plan.File) ([]byte, error) {
	text, err := i.read(ctx, trust.Hashed(plan.FileFolder, f.SHA256), f.Size)
	if err != nil {
		return nil, err
	}
	if plan.Sum(text) != f.SHA256 {
		return nil, &trust.Refusal{Reason: trust.Damaged, File: f.SHA256.String(), Err: errors.New("it has another SHA-256")}
	}
	return text, nil
}

// kept returns a file that is kept, or else fetches and keeps it. Only files of this release are kept.
func (i *Installation) kept(ctx context.Context, f plan.File) ([]byte, error) {
	if i.Keep == "" {
		return i.file(ctx, f)
	}
	name := filepath.Join(i.Keep, f.SHA256.String())
	if text, err := os.ReadFile(name); err == nil && plan.Sum(text) == f.SHA256 {
		return text, nil
	}
	i.forgetOthers()
	text, err := i.file(ctx, f)
	if err != nil {
		return nil, err
	}
	// A full disk costs that it is fetched once more.
	if err := os.MkdirAll(i.Keep, 0o700); err == nil {
		_ = private.WriteFile(name, text, 0o600)
	}
	return text, nil
}

// forgetOthers removes what is kept of other releases. What cannot be removed is as good as nothing: it is never read.
func (i *Installation) forgetOthers() {
	ours := map[string]bool{i.Manifest.Index.SHA256.String(): true}
	for _, d := range i.Manifest.Deltas {
		ours[d.SHA256.String()] = true
	}
	entries, _ := os.ReadDir(i.Keep) // without the folder nothing is kept
	for _, e := range entries {
		if !ours[e.Name()] {
			_ = os.Remove(filepath.Join(i.Keep, e.Name()))
		}
	}
}

// Forget removes what is kept of the release: it is in its place.
func (i *Installation) Forget() error {
	if i.Keep == "" {
		return nil
	}
	return os.RemoveAll(i.Keep)
}

func (i *Installation) read(ctx context.Context, name string, size int64) ([]byte, error) {
	if i.Fetched != nil {
		if err := i.Fetched(size); err != nil {
			return nil, err
		}
	}
	text, err := i.From.Read(ctx, name, size)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", path.Base(name), err)
	}
	if int64(len(text)) != size {
		return nil, &trust.Refusal{Reason: trust.Damaged, File: path.Base(name), Err: fmt.Errorf("it has %d bytes instead of %d", len(text), size)}
	}
	return text, nil
}

// Plan looks at both slots and returns what is left to do. Load comes first.
func (i *Installation) Plan(ctx context.Context) (plan.Plan, error) {
	there, err := i.observe(ctx)
	if err != nil {
		return plan.Plan{}, err
	}
	have := plan.Have{There: there, Delta: i.runs, Running: map[plan.Hash]int64{}}
	for _, p := range i.Manifest.Parts {
		// The running part may be longer than the new one.
		part := io.NewSectionReader(i.Running, p.At, p.Size+p.Size/4)
		err := plan.Cut(contextReader{ctx, part}, func(c plan.Chunk, at int64, _ []byte) error {
			have.Running[c.SHA256] = p.At + at
			return nil
		})
		if err != nil {
			if ctx.Err() != nil {
				return plan.Plan{}, ctx.Err()
			}
			// A damaged running slot serves as far as it can be read.
			continue
		}
	}
	return plan.Make(i.index, have), nil
}

type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

// observe tells which chunks are in their place.
func (i *Installation) observe(ctx context.Context) ([]bool, error) {
	there := make([]bool, len(i.index))
	buffer := make([]byte, plan.MaxChunk)
	for n, p := range i.index.Places(i.Manifest) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		raw := buffer[:p.Size]
		if _, err := i.Into.ReadAt(raw, p.At); err != nil {
			continue // a place that cannot be read is written
		}
		there[n] = plan.Sum(raw) == p.SHA256
	}
	return there, nil
}

// Install carries the plan out and reads everything back. After an error the slot cannot be booted, unless nothing was to be
// done; another Plan goes on from there.
func (i *Installation) Install(ctx context.Context, p plan.Plan) error {
	places := i.index.Places(i.Manifest)
	head := i.head(places)
	w := writer{i: i, places: places, head: head}
	if len(p.Steps) > 0 {
		start := make([]byte, places[head].Size)
		if _, err := i.Into.ReadAt(start, places[head].At); err == nil && plan.Sum(start) == places[head].SHA256 {
			w.start = start
		}
		if err := i.erase(places[head]); err != nil {
			return err
		}
	}
	for _, c := range i.index {
		w.total += int64(c.Size)
	}
	w.done = w.total
	for _, s := range p.Steps {
		for n := s.First; n < s.First+s.Count; n++ {
			w.done -= int64(i.index[n].Size)
		}
	}
	steps := p.Steps
	for len(steps) > 0 {
		s := steps[0]
		steps = steps[1:]
		err := w.step(ctx, s)
		var bad *badDictionary
		if errors.As(err, &bad) {
			steps = append(s.Without(), steps...)
			continue
		}
		if err != nil {
			return err
		}
	}
	if err := i.Into.Sync(); err != nil {
		return fmt.Errorf("write the slot: %w", err)
	}
	return i.finish(ctx, &w)
}

// head returns the chunk that begins the boot part.
func (i *Installation) head(places []plan.Place) int {
	boot := i.Manifest.Parts[len(i.Manifest.Parts)-1]
	for n, p := range places {
		if p.At == boot.At {
			return n
		}
	}
	return len(places) - 1
}

// eraseSize is what is erased of the boot part: the head of U-Boot's image (64 bytes) and the table after it.
const eraseSize = 4096

func (i *Installation) erase(head plan.Place) error {
	zeros := make([]byte, min(eraseSize, int(head.Size)))
	_, err := i.Into.WriteAt(zeros, head.At)
	if err == nil {
		err = i.Into.Sync()
	}
	if err != nil {
		return fmt.Errorf("erase the old start of the slot: %w", err)
	}
	return nil
}

// finish reads all back but the start of the boot part, writes that, and reads it back.
func (i *Installation) finish(ctx context.Context, w *writer) error {
	there, err := i.observe(ctx)
	if err != nil {
		return err
	}
	for n, ok := range there {
		if !ok && n != w.head {
			return fmt.Errorf("read back what was written: the card does not keep it at %d", w.places[n].At)
		}
	}
	if !there[w.head] {
		if w.start == nil {
			if w.start, err = i.chunk(ctx, i.index[w.head]); err != nil {
				return err
			}
		}
		if _, err := i.Into.WriteAt(w.start, w.places[w.head].At); err != nil {
			return fmt.Errorf("write the slot: %w", err)
		}
		if err := i.Into.Sync(); err != nil {
			return fmt.Errorf("write the slot: %w", err)
		}
	}
	return i.Check(ctx)
}

// Check reads the slot and compares each part with the manifest.
func (i *Installation) Check(ctx context.Context) error {
	for _, p := range i.Manifest.Parts {
		sum, err := HashPart(ctx, i.Into, p)
		if err != nil {
			return err
		}
		if sum != p.SHA256 {
			return fmt.Errorf("read back what was written: part %s has another SHA-256", p.Name)
		}
	}
	return nil
}

// chunk fetches a chunk's own file.
func (i *Installation) chunk(ctx context.Context, c plan.Chunk) ([]byte, error) {
	text, err := i.read(ctx, trust.Hashed(plan.ChunkFolder, c.SHA256), int64(c.Stored))
	if err != nil {
		return nil, err
	}
	raw, err := plan.Expand(text, nil, int(c.Size))
	if err == nil && plan.Sum(raw) != c.SHA256 {
		err = errors.New("it has another SHA-256")
	}
	if err != nil {
		return nil, &trust.Refusal{Reason: trust.Damaged, File: c.SHA256.String(), Err: err}
	}
	return raw, nil
}

// badDictionary says that the running slot is not what the release's delta was made for.
type badDictionary struct{ error }

// writer writes chunks to their places.
type writer struct {
	i           *Installation
	places      []plan.Place
	head        int    // the chunk that is written last
	start       []byte // its bytes, once they are there
	dict        []byte // a run's dictionary; its memory serves the next one
	unsynced    int64
	done, total int64
}

func (w *writer) step(ctx context.Context, s plan.Step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := w.i.index[s.First]
	switch s.Kind {
	case plan.Copy:
		raw := make([]byte, c.Size)
		if _, err := w.i.Running.ReadAt(raw, s.From); err != nil || plan.Sum(raw) != c.SHA256 {
			if raw, err = w.i.chunk(ctx, c); err != nil { // it was there a moment ago
				return err
			}
		}
		return w.write(s.First, raw)
	case plan.Fetch:
		raw, err := w.i.chunk(ctx, c)
		if err != nil {
			return err
		}
		return w.write(s.First, raw)
	}
	return w.apply(ctx, s)
}

func (w *writer) apply(ctx context.Context, s plan.Step) error {
	text, err := w.i.file(ctx, s.Run.File)
	if err != nil {
		return err
	}
	n := int(s.Run.DictSize)
	w.dict = slices.Grow(w.dict[:0], n)[:n]
	if _, err := w.i.Running.ReadAt(w.dict, s.Run.DictAt); err != nil && n > 0 {
		return &badDictionary{err}
	}
	size := 0
	for _, c := range w.i.index[s.First : s.First+s.Count] {
		size += int(c.Size)
	}
	raw, err := plan.Expand(text, w.dict, size)
	if err != nil {
		return &badDictionary{err}
	}
	for n := s.First; n < s.First+s.Count; n++ {
		c := w.i.index[n]
		if plan.Sum(raw[:c.Size]) != c.SHA256 {
			return &badDictionary{errors.New("another SHA-256")}
		}
		if err := w.write(n, raw[:c.Size]); err != nil {
			return err
		}
		raw = raw[c.Size:]
	}
	return nil
}

// write writes a chunk to its place.
func (w *writer) write(n int, raw []byte) error {
	if n == w.head {
		w.start = append([]byte(nil), raw...)
	} else {
		if _, err := w.i.Into.WriteAt(raw, w.places[n].At); err != nil {
			return fmt.Errorf("write the slot: %w", err)
		}
		if w.unsynced += int64(len(raw)); w.unsynced >= syncEvery {
			if err := w.i.Into.Sync(); err != nil {
				return fmt.Errorf("write the slot: %w", err)
			}
			w.unsynced = 0
		}
	}
	w.done += int64(len(raw))
	if w.i.Progress != nil {
		w.i.Progress(w.done, w.total)
	}
	return nil
}
