package plan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/restic/chunker"
)

// Sizes of chunks, in bytes. They are part of the format: a box that cut differently would find none of its chunks.
const (
	minChunk      = 16 << 10
	MaxChunk      = 256 << 10
	averageBits   = 16
	MaxRun        = 1 << 20                       // bytes of a run, uncompressed
	MaxDict       = 4 << 20                       // bytes of a dictionary
	polynomial    = chunker.Pol(0x35302a59bbd60b) // random, irreducible
	indexHead     = "PSRLIDX1"
	deltaHead     = "PSRLDLT1"
	chunkRecord   = 4 + 4 + 32
	runRecord     = 4 + 4 + 8 + 4 + 4 + 32
	maxCompressed = MaxRun + 64<<10 // the most that zstd makes of a run that it cannot compress
)

// Chunk is a piece of a part.
type Chunk struct {
	Size   uint32
	Stored uint32 // size of its file, compressed
	SHA256 Hash   // of the chunk itself, which is also its file's name
}

// Index lists the chunks of a release, part after part.
type Index []Chunk

// Place is where a chunk belongs in the slot.
type Place struct {
	Chunk
	At int64
}

// Cut splits what a reader returns into chunks, and passes each of them to each. Stored is not filled in.
func Cut(r io.Reader, each func(c Chunk, at int64, data []byte) error) error {
	cutter := chunker.NewWithBoundaries(r, polynomial, minChunk, MaxChunk)
	cutter.SetAverageBits(averageBits)
	buffer := make([]byte, MaxChunk)
	for {
		c, err := cutter.Next(buffer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cut into chunks: %w", err)
		}
		if err := each(Chunk{Size: uint32(c.Length), SHA256: sum(c.Data)}, int64(c.Start), c.Data); err != nil {
			return err
		}
	}
}

// ParseIndex parses the index of a manifest's release.
func ParseIndex(text []byte, m Manifest) (Index, error) {
	body, err := records(text, indexHead, chunkRecord)
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	x := make(Index, 0, len(body)/chunkRecord)
	part, left := 0, m.Parts[0].Size
	for ; len(body) > 0; body = body[chunkRecord:] {
		c := Chunk{Size: binary.LittleEndian.Uint32(body), Stored: binary.LittleEndian.Uint32(body[4:])}
		copy(c.SHA256[:], body[8:])
		if left == 0 {
			if part++; part == len(m.Parts) {
				return nil, errors.New("read the index: it goes on after the last part")
			}
			left = m.Parts[part].Size
		}
		if c.Size == 0 || c.Size > MaxChunk || int64(c.Size) > left || c.Stored == 0 || c.Stored > maxCompressed {
			return nil, fmt.Errorf("read the index: chunk %d has %d bytes, stored in %d", len(x), c.Size, c.Stored)
		}
		left -= int64(c.Size)
		x = append(x, c)
	}
	if part != len(m.Parts)-1 || left != 0 {
		return nil, errors.New("read the index: it ends before the last part does")
	}
	return x, nil
}

func records(text []byte, head string, size int) ([]byte, error) {
	if len(text) < len(head) || string(text[:len(head)]) != head {
		return nil, errors.New("it does not begin as one")
	}
	body := text[len(head):]
	if len(body)%size != 0 {
		return nil, errors.New("its end is missing")
	}
	return body, nil
}

// Format returns the index's text.
func (x Index) Format() []byte {
	out := make([]byte, 0, len(indexHead)+len(x)*chunkRecord)
	out = append(out, indexHead...)
	for _, c := range x {
		out = binary.LittleEndian.AppendUint32(out, c.Size)
		out = binary.LittleEndian.AppendUint32(out, c.Stored)
		out = append(out, c.SHA256[:]...)
	}
	return out
}

// Places returns where each chunk belongs in the slot.
func (x Index) Places(m Manifest) []Place {
	places := make([]Place, 0, len(x))
	part, at, end := 0, m.Parts[0].At, m.Parts[0].At+m.Parts[0].Size
	for _, c := range x {
		if at == end {
			part++
			at, end = m.Parts[part].At, m.Parts[part].At+m.Parts[part].Size
		}
		places = append(places, Place{c, at})
		at += int64(c.Size)
	}
	return places
}

// Run is a file with consecutive chunks of the index, compressed with a piece of an earlier root as the dictionary.
type Run struct {
	First, Count uint32 // chunks
	DictAt       int64  // offset in the running slot
	DictSize     uint32
	File
}

// Runs is a delta: the runs of a release against one earlier root.
type Runs []Run

// ParseRuns parses a delta for an index.
func ParseRuns(text []byte, x Index) (Runs, error) {
	body, err := records(text, deltaHead, runRecord)
	if err != nil {
		return nil, fmt.Errorf("read the delta: %w", err)
	}
	runs := make(Runs, 0, len(body)/runRecord)
	next := uint64(0)
	for ; len(body) > 0; body = body[runRecord:] {
		r := Run{
			First: binary.LittleEndian.Uint32(body), Count: binary.LittleEndian.Uint32(body[4:]),
			DictAt: int64(binary.LittleEndian.Uint64(body[8:])), DictSize: binary.LittleEndian.Uint32(body[16:]),
			File: File{Size: int64(binary.LittleEndian.Uint32(body[20:]))},
		}
		copy(r.SHA256[:], body[24:])
		end := uint64(r.First) + uint64(r.Count)
		if uint64(r.First) < next || r.Count == 0 || end > uint64(len(x)) || r.Size == 0 || r.Size > maxCompressed ||
			r.DictAt < 0 || r.DictAt > partLimit || r.DictSize > MaxDict || x.bytes(r) > MaxRun {
			return nil, fmt.Errorf("read the delta: run %d", len(runs))
		}
		next = end
		runs = append(runs, r)
	}
	return runs, nil
}

// bytes returns the uncompressed size of a run.
func (x Index) bytes(r Run) (n int64) {
	for _, c := range x[r.First : r.First+r.Count] {
		n += int64(c.Size)
	}
	return n
}

// Format returns the delta's text.
func (rs Runs) Format() []byte {
	out := make([]byte, 0, len(deltaHead)+len(rs)*runRecord)
	out = append(out, deltaHead...)
	for _, r := range rs {
		out = binary.LittleEndian.AppendUint32(out, r.First)
		out = binary.LittleEndian.AppendUint32(out, r.Count)
		out = binary.LittleEndian.AppendUint64(out, uint64(r.DictAt))
		out = binary.LittleEndian.AppendUint32(out, r.DictSize)
		out = binary.LittleEndian.AppendUint32(out, uint32(r.Size))
		out = append(out, r.SHA256[:]...)
	}
	return out
}
