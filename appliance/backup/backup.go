// Package backup writes and reads a box's backup: one file with everything that a new card lacks, for the day on which the card is
// dead. It owns the file's form, checks all of a file before any part of it is used, and puts a set of files in place completely or
// not at all. It must not know what the files contain: package daemon says which files there are, and what restoring them means.
//
// # The form
//
// A backup is a tar file (POSIX.1-2001), compressed by gzip (RFC 1952), and with a passphrase all of that inside age
// (age-encryption.org/v1, with an scrypt recipient). Other programs can open it:
//
//	age -d lilas-2026-11-30.backup | tar -tzv
//
// A backup that is made while nobody is there to type the passphrase, at night on a USB stick, is inside age with an X25519
// recipient. Its identity precedes it, as an armored age file with an scrypt recipient. So the passphrase alone opens it, too:
//
//	sed '/^-----END/q' 000007-2026-12-01.backup | age -d >key
//	sed '1,/^-----END/d' 000007-2026-12-01.backup | age -d -i key | tar -tzv
//
// The first entry is manifest.json: the version of the form, and for each file that follows, in order, its name, size and SHA-256. A
// file that is cut off or damaged, or that has other content than its manifest says, is refused, and the error names the place.
//
// Without a passphrase a backup has no secrets: its writer leaves them out, and names them in the manifest. With a passphrase it has
// everything. scrypt takes 32 MiB here: age's own 256 MiB would be half of a small board.
package backup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// Version is the version of the form. A newer one is refused.
const Version = 1

// Limits of a backup. Sizes are in bytes.
const (
	MaxSize       = 300_000_000 // of the file, and of all its content
	MaxPassphrase = 256
	MinPassphrase = 12 // characters: unlike a password for signing in, it can be tried without limit

	maxFiles    = 300
	maxManifest = 1 << 20

	workFactor    = 15 // of scrypt: 2^15 blocks of 1 kB
	maxWorkFactor = 16
)

const manifestName = "manifest.json"

// Manifest describes a backup's content.
type Manifest struct {
	Version int       `json:"version"`
	Release string    `json:"release"` // of the program that made it
	Made    time.Time `json:"made"`    // by the box's clock
	Trusted bool      `json:"trusted"` // that clock was trusted
	Centre  string    `json:"centre"`
	Secrets bool      `json:"secrets"` // they are in it
	LeftOut []string  `json:"left_out,omitempty"`
	Packs   []Pack    `json:"packs,omitempty"` // packs that the box had; they are not in the backup
	Files   []Entry   `json:"files"`
}

// Pack is a pack of tutorials, by its name: packs are too large for a backup.
type Pack struct {
	Name  string `json:"name"`
	Title string `json:"title,omitempty"`
	Size  int64  `json:"size"`
}

// Entry is a file in a backup.
type Entry struct {
	Name   string `json:"name"` // with slashes as separators
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// File is a file to back up.
type File struct {
	Name    string
	Size    int64
	Content io.ReaderAt // must not change
}

// Text returns a file with this text.
func Text(name string, text []byte) File { return File{name, int64(len(text)), bytes.NewReader(text)} }

// Errors of Unpack.
var (
	ErrNotBackup  = errors.New("this is not a backup of Passerelle")
	ErrNewer      = errors.New("a newer version of Passerelle made this backup: update this box first")
	ErrPassphrase = errors.New("this backup needs its passphrase")
	ErrWrong      = errors.New("the passphrase is another one")
	ErrDamaged    = errors.New("the backup is damaged")
	ErrCut        = errors.New("the backup is cut off")
	ErrTooLarge   = errors.New("it is larger than any backup")
)

// WeakError says that a passphrase is too short, or too long.
type WeakError struct{ Min, Max int }

func (e WeakError) Error() string {
	return fmt.Sprintf("the passphrase must have %d characters at least, and %d bytes at most", e.Min, e.Max)
}

// CheckPassphrase returns a WeakError if a passphrase may not be used.
func CheckPassphrase(p string) error {
	if len([]rune(p)) < MinPassphrase || len(p) > MaxPassphrase {
		return WeakError{MinPassphrase, MaxPassphrase}
	}
	return nil
}

// Write writes a backup of the files, sealed unless seal is nil. It completes the manifest.
func Write(w io.Writer, m Manifest, files []File, seal Seal) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the backup: %w", err)
		}
	}()
	m.Version, m.Files = Version, nil
	total := int64(0)
	for _, f := range files {
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(f.Content, 0, f.Size)); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		m.Files = append(m.Files, Entry{f.Name, f.Size, hex.EncodeToString(sum.Sum(nil))})
		total += f.Size
	}
	if err := m.check(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	inner, end := io.Writer(out), func() error { return nil }
	if seal != nil {
		sealed, err := seal.seal(out)
		if err != nil {
			return err
		}
		inner, end = sealed, sealed.Close
	}
	zip := gzip.NewWriter(inner)
	t := tar.NewWriter(zip)
	for _, f := range slices.Insert(slices.Clone(files), 0, Text(manifestName, text)) {
		err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Size: f.Size, Mode: 0o600, ModTime: m.Made.Truncate(time.Second), Format: tar.FormatPAX})
		if err == nil {
			_, err = io.Copy(t, io.NewSectionReader(f.Content, 0, f.Size))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	for _, close := range []func() error{t.Close, zip.Close, end, out.Flush} {
		if err := close(); err != nil {
			return err
		}
	}
	return nil
}

// fileName matches the names of files: no path leaves its folder, and no file is hidden.
var fileName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*){0,2}$`)

// check returns what is wrong with a manifest.
func (m Manifest) check() error {
	switch {
	case m.Version > Version:
		return ErrNewer
	case m.Version < 1:
		return fmt.Errorf("%w: its manifest has the version %d", ErrDamaged, m.Version)
	case len(m.Files) > maxFiles:
		return fmt.Errorf("%w: %d files, and %d are allowed", ErrTooLarge, len(m.Files), maxFiles)
	}
	total, names := int64(0), map[string]bool{manifestName: true}
	for _, f := range m.Files {
		switch {
		case len(f.Name) > 100 || !fileName.MatchString(f.Name):
			return fmt.Errorf("%w: %.120q is not a name of a file in a backup", ErrDamaged, f.Name)
		case names[f.Name]:
			return fmt.Errorf("%w: %q is in it twice", ErrDamaged, f.Name)
		case f.Size < 0 || f.Size > MaxSize || total+f.Size > MaxSize:
			return fmt.Errorf("%w: with %q more than %d bytes", ErrTooLarge, f.Name, int64(MaxSize))
		case len(f.SHA256) != 2*sha256.Size:
			return fmt.Errorf("%w: %q has no checksum", ErrDamaged, f.Name)
		}
		for parent := filepath.Dir(f.Name); parent != "."; parent = filepath.Dir(parent) {
			if slices.ContainsFunc(m.Files, func(other Entry) bool { return other.Name == parent }) {
				return fmt.Errorf("%w: %q is a file and a folder", ErrDamaged, parent)
			}
		}
		names[f.Name] = true
		total += f.Size
	}
	return nil
}

// Has tells whether a file is in the backup.
func (m Manifest) Has(name string) bool {
	return slices.ContainsFunc(m.Files, func(f Entry) bool { return f.Name == name })
}

// Unpack checks a backup, and writes its files below an empty folder, at the paths of their names. After an error the folder has what
// was unpacked so far, which must not be used. The error is one of those above with the place, or an error of the disk. If dir is "",
// the backup is only checked.
func Unpack(r io.Reader, passphrase, dir string) (m Manifest, err error) {
	limited := &io.LimitedReader{R: r, N: MaxSize + 1}
	in := bufio.NewReader(limited)
	defer func() {
		if err != nil && limited.N <= 0 {
			err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, int64(MaxSize))
		}
	}()
	head, _ := in.Peek(len(armorHeader))
	inner := in
	switch sealed := Sealed(head); {
	case sealed && passphrase == "":
		return m, ErrPassphrase
	case sealed:
		opened, err := open(in, passphrase)
		if err != nil {
			return m, err
		}
		inner = bufio.NewReader(opened)
	}
	if magic, err := inner.Peek(2); err != nil && err != io.EOF {
		return m, at("its beginning", err)
	} else if !bytes.Equal(magic, []byte{0x1f, 0x8b}) { // RFC 1952, 2.3.1
		return m, ErrNotBackup
	}
	zip, err := gzip.NewReader(inner)
	if err != nil {
		return m, at("its beginning", err)
	}
	zip.Multistream(false)
	t := tar.NewReader(&io.LimitedReader{R: zip, N: MaxSize + maxManifest + maxFiles*4096})
	if m, err = readManifest(t); err != nil {
		return m, err
	}
	for _, f := range m.Files {
		h, err := t.Next()
		if err != nil {
			return m, at(f.Name, err)
		}
		if h.Typeflag != tar.TypeReg || h.Name != f.Name || h.Size != f.Size {
			return m, fmt.Errorf("%w: it has %q where its manifest has %q", ErrDamaged, h.Name, f.Name)
		}
		to := ""
		if dir != "" {
			to = filepath.Join(dir, filepath.FromSlash(f.Name))
		}
		if err := unpack(t, f, to); err != nil {
			return m, err
		}
	}
	if h, err := t.Next(); err == nil {
		return m, fmt.Errorf("%w: %q is not in its manifest", ErrDamaged, h.Name)
	} else if err != io.EOF {
		return m, at("its end", err)
	}
	for _, rest := range []io.Reader{zip, inner, in} { // read what follows, too: the checksums are at the end
		n, err := io.Copy(io.Discard, io.LimitReader(rest, 1<<20))
		if err != nil {
			return m, at("its end", err)
		}
		if n > 0 && rest != io.Reader(zip) { // a tar file may be padded
			return m, fmt.Errorf("%w: there is something after its end", ErrDamaged)
		}
	}
	return m, nil
}

// at returns an error of reading a backup, with its place. An unexpected end means that the file was cut off.
func at(where string, err error) error {
	why := ErrDamaged
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w at %q", ErrCut, where)
	}
	return fmt.Errorf("%w at %q: %w", why, where, err)
}

func readManifest(t *tar.Reader) (m Manifest, err error) {
	h, err := t.Next()
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return m, at(manifestName, err)
	case err != nil:
		return m, fmt.Errorf("%w: %w", ErrNotBackup, err)
	case h.Name != manifestName || h.Typeflag != tar.TypeReg:
		return m, ErrNotBackup
	case h.Size > maxManifest:
		return m, fmt.Errorf("%w: its manifest has %d bytes", ErrTooLarge, h.Size)
	}
	text, err := io.ReadAll(t)
	if err != nil {
		return m, at(manifestName, err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w at %q: %w", ErrDamaged, manifestName, err)
	}
	return m, m.check()
}

// unpack checks a file, and writes it unless its path is "".
func unpack(from io.Reader, f Entry, to string) (err error) {
	sum, written := sha256.New(), &failure{Writer: io.Discard}
	if to != "" {
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer out.Close() // Batch.Commit syncs the file, and reports its errors
		written.Writer = out
	}
	_, err = io.Copy(io.MultiWriter(written, sum), from)
	switch {
	case written.err != nil:
		return written.err
	case err != nil:
		return at(f.Name, err)
	case hex.EncodeToString(sum.Sum(nil)) != f.SHA256:
		return fmt.Errorf("%w at %q: its checksum is another one", ErrDamaged, f.Name)
	}
	return nil
}

// failure keeps a writer's error, so that it is not mistaken for an error in the backup.
type failure struct {
	io.Writer
	err error
}

func (f *failure) Write(b []byte) (n int, err error) {
	n, f.err = f.Writer.Write(b)
	return n, f.err
}
