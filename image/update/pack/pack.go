// Package pack makes a release from a slot's parts: the chunks, the index, a delta for each earlier release, and the manifest. It owns
// what a release tool does and a box does not: compressing, and finding the bytes that make a good dictionary. It must not know who
// signs.
package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"passerelle/image/update/plan"
)

// Store stores a file in one of the folders, under a hash as its name.
type Store func(folder string, name plan.Hash, text []byte) error

// Part is a part of a slot to release. Release fills in its size and SHA-256.
type Part struct {
	plan.Part
	From io.Reader
}

// Old is the root part of an earlier release, which boxes may be running.
type Old struct {
	At   int64 // of the root part in the slot
	Root []byte
}

// Release stores the files of a release and returns its manifest. m has the fields that are not computed, such as version, board,
// epoch and needs.
func Release(m plan.Manifest, parts []Part, olds []Old, store Store) (plan.Manifest, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return m, fmt.Errorf("make a release: %w", err)
	}
	m.Form, m.Parts, m.Deltas = plan.Form, nil, nil
	var index plan.Index
	var root []byte
	for _, p := range parts {
		part, chunks, data, err := cut(p, encoder, store)
		if err != nil {
			return m, fmt.Errorf("make a release: part %s: %w", p.Name, err)
		}
		if p.Name == plan.RootPart {
			root = data
		}
		m.Parts = append(m.Parts, part)
		index = append(index, chunks...)
	}
	if m.Index, err = file(index.Format(), store); err != nil {
		return m, fmt.Errorf("make a release: %w", err)
	}
	for _, old := range olds {
		runs, err := delta(index, root, old, store)
		if err != nil {
			return m, fmt.Errorf("make a delta: %w", err)
		}
		f, err := file(runs.Format(), store)
		if err != nil {
			return m, fmt.Errorf("make a delta: %w", err)
		}
		from := plan.Part{Name: plan.RootPart, At: old.At, Size: int64(len(old.Root)), SHA256: plan.Sum(old.Root)}
		m.Deltas = append(m.Deltas, plan.Delta{From: from, File: f})
	}
	return m, nil
}

// file stores a file under its own SHA-256.
func file(text []byte, store Store) (plan.File, error) {
	f := plan.File{Size: int64(len(text)), SHA256: plan.Sum(text)}
	return f, store(plan.FileFolder, f.SHA256, text)
}

// cut stores the chunks of a part.
func cut(p Part, encoder *zstd.Encoder, store Store) (plan.Part, plan.Index, []byte, error) {
	data, err := io.ReadAll(p.From)
	if err != nil {
		return p.Part, nil, nil, err
	}
	if len(data) == 0 {
		return p.Part, nil, nil, errors.New("it is empty")
	}
	var index plan.Index
	err = plan.Cut(bytes.NewReader(data), func(c plan.Chunk, _ int64, raw []byte) error {
		text := encoder.EncodeAll(raw, nil)
		c.Stored = uint32(len(text))
		index = append(index, c)
		return store(plan.ChunkFolder, c.SHA256, text)
	})
	p.Size, p.SHA256 = int64(len(data)), plan.Sum(data)
	return p.Part, index, data, err
}

// delta makes runs of the root's chunks that an earlier root lacks. The dictionary of a run is the bytes of the earlier root around
// the position that follows the last common chunk.
func delta(index plan.Index, root []byte, old Old, store Store) (plan.Runs, error) {
	has := map[plan.Hash]int64{}
	if err := plan.Cut(bytes.NewReader(old.Root), func(c plan.Chunk, at int64, _ []byte) error {
		has[c.SHA256] = at
		return nil
	}); err != nil {
		return nil, err
	}
	var runs plan.Runs
	cursor, at := int64(0), int64(0) // position in the earlier root, position in the new one
	for i := 0; i < len(index) && at < int64(len(root)); {
		if from, found := has[index[i].SHA256]; found {
			cursor = from + int64(index[i].Size)
			at += int64(index[i].Size)
			i++
			continue
		}
		r := plan.Run{First: uint32(i)}
		size := int64(0)
		for ; i < len(index) && at+size < int64(len(root)); i++ {
			if _, found := has[index[i].SHA256]; found || size+int64(index[i].Size) > plan.MaxRun {
				break
			}
			size += int64(index[i].Size)
			r.Count++
		}
		const around = (plan.MaxDict - plan.MaxRun) / 2
		near := min(cursor, int64(len(old.Root)))
		low, high := max(0, near-around), min(int64(len(old.Root)), near+size+around)
		dict := old.Root[low:high]
		text, err := compress(root[at:at+size], dict)
		if err != nil {
			return nil, err
		}
		r.DictAt, r.DictSize = old.At+low, uint32(len(dict))
		if r.File, err = file(text, store); err != nil {
			return nil, err
		}
		runs = append(runs, r)
		at += size
		cursor += size
	}
	return runs, nil
}

func compress(run, dict []byte) ([]byte, error) {
	options := []zstd.EOption{zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8 << 20)}
	if len(dict) > 0 {
		options = append(options, zstd.WithEncoderDictRaw(plan.DictID, dict))
	}
	e, err := zstd.NewWriter(nil, options...)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	text := e.EncodeAll(run, nil)
	if back, err := plan.Expand(text, dict, len(run)); err != nil || !bytes.Equal(back, run) {
		return nil, fmt.Errorf("a run does not come back: %w", errors.Join(err, errors.New("other bytes")))
	}
	return text, nil
}
