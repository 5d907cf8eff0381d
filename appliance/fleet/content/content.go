// Package content defines the files that a fleet hands out to its boxes: packs of lessons and pages, and lists of places. It owns their
// place and their form in a signed repository, and how one reaches the box. It must not know who delivers them, when an uplink may be
// used, nor what is done with a complete file.
//
// # In a repository
//
// A file belongs to a level of the fleet, and is in that level's folder (layer.Folder), so the delegation of the level's fragment
// covers it.
//
//	layers/association/lilas/packs/velo           the index: the SHA-256 of each chunk, 32 bytes each. It is the signed target
//	layers/association/lilas/packs/ab/ab12...     the chunks, by their SHA-256
//
// The size and SHA-256 of the whole file are signed beside the index ([Summary]).
package content

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"golang.org/x/sys/unix"

	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/private"
)

// Kind is what a file is.
type Kind string

// The kinds, which are also the names of their folders.
const (
	Packs  Kind = "packs"
	Places Kind = "places"
)

// Kinds has all kinds.
var Kinds = []Kind{Packs, Places}

const (
	// ChunkSize is the size of all chunks but the last, in bytes. A hub's message carries one chunk.
	ChunkSize = 64 << 10
	// MaxSize is the largest size of a file, in bytes.
	MaxSize = 1_000_000_000

	maxIndex  = (MaxSize + ChunkSize - 1) / ChunkSize * sha256.Size
	maxFiles  = 100         // of one level and kind
	spareRoom = 100_000_000 // bytes that must stay free on the disk, as for an import
)

// Folder returns the folder of a level's files of a kind, in a repository where the level has that folder.
func Folder(level string, kind Kind) string { return path.Join(level, string(kind)) }

var nameForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// CheckName returns why a file cannot have a name, nil if it can. The pack or list on the box has the same name.
func CheckName(name string) error {
	if !nameForm.MatchString(name) || len(name) > 40 {
		return fmt.Errorf("%q: a name has lower-case letters, digits and single -, 40 at most", name)
	}
	return nil
}

// Summary is signed beside an index.
type Summary struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // in hexadecimal, of the whole file
}

// ParseSummary reads a summary. The error says why the box does not take such a file.
func ParseSummary(text []byte) (s Summary, err error) {
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("it has no size: %w", err)
	}
	if sum, err := hex.DecodeString(s.SHA256); err != nil || len(sum) != sha256.Size {
		return s, errors.New("it has no SHA-256")
	}
	if s.Size < 1 || s.Size > MaxSize {
		return s, fmt.Errorf("it has %d bytes, and at most %d are taken", s.Size, int64(MaxSize))
	}
	return s, nil
}

// index returns the size of the index in bytes.
func (s Summary) index() int64 { return (s.Size + ChunkSize - 1) / ChunkSize * sha256.Size }

// File is a file that a level of the fleet has signed.
type File struct {
	By   string // the level, as people read it
	Kind Kind
	Name string
	Summary
	Err error // why the box does not take it; nil if it does

	target trust.Target
}

// String names the file in messages.
func (f File) String() string { return f.Name + " of " + f.By }

// List returns the files that a level has signed. level is the level's folder, by its name as people read it. t must have been
// refreshed.
func List(ctx context.Context, t *trust.Trust, from trust.Source, level, by string) (all []File, err error) {
	for _, kind := range Kinds {
		targets, err := t.Below(ctx, from, Folder(level, kind))
		if err != nil {
			return nil, err
		}
		if len(targets) > maxFiles {
			return nil, fmt.Errorf("%s has signed %d %s, and at most %d are taken", by, len(targets), kind, maxFiles)
		}
		for _, target := range targets {
			f := File{By: by, Kind: kind, Name: path.Base(target.Path), target: target}
			if f.Err = CheckName(f.Name); f.Err == nil {
				f.Summary, f.Err = ParseSummary(target.Custom)
			}
			if f.Err == nil && target.Size != f.index() {
				f.Err = errors.New("its index is not one of its size")
			}
			all = append(all, f)
		}
	}
	return all, nil
}

// Repository is where a file is staged. repository.Repository implements it.
type Repository interface {
	Add(name string, text []byte) (*metadata.TargetFiles, error)
	WriteHashed(folder string, sum [sha256.Size]byte, text []byte) error
}

// Stage cuts a file into chunks in a repository's folder. It returns the target to be signed, and the target's path.
func Stage(r Repository, folder, name string, file io.Reader) (at string, target *metadata.TargetFiles, s Summary, err error) {
	index, s, err := cut(file, func(sum [sha256.Size]byte, chunk []byte) error { return r.WriteHashed(folder, sum, chunk) })
	if err != nil {
		return "", nil, s, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return "", nil, s, err
	}
	at = path.Join(folder, name)
	if target, err = r.Add(at, index); err != nil {
		return "", nil, s, err
	}
	target.Custom = (*json.RawMessage)(&text)
	return at, target, s, nil
}

// cut cuts a file into chunks, passes each to store, and returns the file's index.
func cut(file io.Reader, store func(sum [sha256.Size]byte, chunk []byte) error) (index []byte, s Summary, err error) {
	whole, chunk := sha256.New(), make([]byte, ChunkSize)
	for {
		n, err := io.ReadFull(file, chunk)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, s, err
		}
		if s.Size += int64(n); s.Size > MaxSize {
			return nil, s, fmt.Errorf("it has more than %d bytes", int64(MaxSize))
		}
		whole.Write(chunk[:n])
		sum := sha256.Sum256(chunk[:n])
		if err := store(sum, chunk[:n]); err != nil {
			return nil, s, err
		}
		index = append(index, sum[:]...)
	}
	if s.Size == 0 {
		return nil, s, errors.New("it is empty")
	}
	s.SHA256 = hex.EncodeToString(whole.Sum(nil))
	return index, s, nil
}

// IndexEnding is appended to the path of a file for that of its index, until the file is complete.
const IndexEnding = ".index"

// Fetch fetches a file to a path whose folder exists. It checks the chunks that are already there by their hashes. So it resumes after
// an interruption, even a power cut, and fetches at most one chunk twice. It calls may before each chunk, with the number of bytes
// done; an error of may stops it. The error is a [*trust.Refusal] if something is not what was signed. Without an error the file on
// the disk is complete and was read back.
func (f File) Fetch(ctx context.Context, from trust.Source, to string, may func(done int64) error) error {
	index, err := f.fetchIndex(ctx, from, to+IndexEnding, may)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = f.fill(ctx, from, file, index, may)
	if err == nil {
		err = f.check(file)
	}
	return errors.Join(err, file.Close())
}

// fetchIndex returns the file's index: the kept one if it is right, otherwise the source's.
func (f File) fetchIndex(ctx context.Context, from trust.Source, kept string, may func(done int64) error) ([]byte, error) {
	if index, err := os.ReadFile(kept); err == nil && sha256.Sum256(index) == f.target.SHA256 {
		return index, nil
	}
	if err := may(0); err != nil {
		return nil, err
	}
	index, err := trust.Fetch(ctx, from, f.target, maxIndex)
	if err != nil {
		return nil, err
	}
	return index, private.WriteFile(kept, index, 0o600)
}

// fill fetches the chunks that are missing or wrong.
func (f File) fill(ctx context.Context, from trust.Source, file *os.File, index []byte, may func(done int64) error) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := room(file, f.Size-min(info.Size(), f.Size)); err != nil {
		return err
	}
	if info.Size() > f.Size {
		if err := file.Truncate(f.Size); err != nil {
			return err
		}
	}
	there := make([]byte, ChunkSize)
	for at := int64(0); at < f.Size; at += ChunkSize {
		size := min(ChunkSize, f.Size-at)
		sum := [32]byte(index[at/ChunkSize*sha256.Size:])
		if n, err := file.ReadAt(there[:size], at); int64(n) == size && sha256.Sum256(there[:size]) == sum {
			continue
		} else if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := cmp.Or(ctx.Err(), may(at)); err != nil {
			return err
		}
		name := trust.Hashed(path.Dir(f.target.Path), sum)
		chunk, err := from.Read(ctx, name, size)
		if err != nil {
			return fmt.Errorf("fetch a chunk of %s: %w", f, err)
		}
		if sha256.Sum256(chunk) != sum {
			return f.damaged("the chunk at %d is not the signed one", at)
		}
		if _, err := file.WriteAt(chunk, at); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return fmt.Errorf("write %s to the disk: %w", f, err)
		}
	}
	return nil
}

// check reads the whole file back and verifies it.
func (f File) check(file *os.File) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	whole := sha256.New()
	n, err := io.Copy(whole, file)
	if err != nil {
		return err
	}
	if want, _ := hex.DecodeString(f.SHA256); n != f.Size || !bytes.Equal(whole.Sum(nil), want) {
		return f.damaged("its chunks are not the signed file")
	}
	return nil
}

func (f File) damaged(format string, a ...any) error {
	return &trust.Refusal{Reason: trust.Damaged, File: f.String(), Err: fmt.Errorf(format, a...)}
}

// room checks that the file's disk has room for that number of bytes, and spareRoom more.
func room(file *os.File, bytes int64) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil {
		return fmt.Errorf("read the free space: %w", err)
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < bytes+spareRoom {
		return fmt.Errorf("the disk has %d MB free, %d MB are needed", free/1e6, (bytes+spareRoom)/1e6)
	}
	return nil
}
