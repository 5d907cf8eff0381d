package lessons

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/private"
	"passerelle/captive/search"
)

// Bounds on a pack.
const (
	DefaultMaxSize = 4_000_000_000 // unpacked, unless the technician sets another limit

	maxLessons   = 300
	maxTexts     = 2_000_000 // bytes of all Markdown, which stays in memory
	maxPackName  = 40
	maxHead      = 64 << 10    // bytes of index.html that are searched for its title
	spareRoom    = 100_000_000 // bytes that an import leaves free on the disk
	sniffed      = 512         // bytes of a file that its type is checked by
	stagePattern = ".import-*" // folders that imports unpack into
	lockFile     = ".lock"     // held during an import; a pack's name begins with a letter or digit
)

// Importer imports packs into a folder.
type Importer struct {
	Dir      string // "tutorials" in the state folder; created if missing
	MaxSize  int64  // bytes that a pack may have
	Now      func() time.Time
	Progress func(done, all int64) // bytes; called often; must not be nil
	Edition  string                // of the pack that may be replaced: see [Edition]; "" for any

	// LeftOut, if not nil, is called with the names of the files that were left out, since no pack of that kind has a use for them.
	LeftOut func(names []string)
}

// Changes counts the differences of a pack from the one that it replaces, in files.
type Changes struct {
	New, Gone, Changed int
	Replaces           bool   // there is a pack of this name
	Edition            string // of that pack
}

// Import imports a pack, a zip or a folder, into the importer's folder, and replaces the pack of that name. Everything is checked first:
// until then, and if the import is killed, the old pack stays in use. An empty name stands for one derived from the file's name.
func (i Importer) Import(ctx context.Context, from, name string) (Pack, error) {
	return i.stage(ctx, from, name, func(stage, place string, r record) error {
		if err := private.CheckEdition(filepath.Join(place, recordFile), i.Edition); err != nil {
			return err
		}
		return put(stage, place, r)
	})
}

// Check reports what Import would do, and changes nothing.
func (i Importer) Check(ctx context.Context, from, name string) (p Pack, c Changes, err error) {
	p, err = i.stage(ctx, from, name, func(stage, place string, _ record) (err error) {
		if c.Edition, err = private.Edition(filepath.Join(place, recordFile)); err != nil {
			return err
		}
		return c.compare(place, stage)
	})
	return p, c, err
}

// compare counts how the files of the pack in the folder after differ from those in the folder before, which may be missing.
func (c *Changes) compare(before, after string) error {
	known, err := files(before)
	if err != nil {
		return err
	}
	c.Replaces = known != nil
	now, err := files(after)
	if err != nil {
		return err
	}
	for name, size := range now {
		was, found := known[name]
		if !found {
			c.New++
			continue
		}
		delete(known, name)
		same := was == size
		if same {
			if same, err = sameContent(filepath.Join(before, name), filepath.Join(after, name)); err != nil {
				return err
			}
		}
		if !same {
			c.Changed++
		}
	}
	c.Gone = len(known)
	return nil
}

// files returns the sizes of a pack's files by name, nil if there is no such folder.
func files(dir string) (sizes map[string]int64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if path == dir && errors.Is(err, fs.ErrNotExist) {
			return fs.SkipAll
		}
		if sizes == nil {
			sizes = make(map[string]int64)
		}
		if err != nil || e.IsDir() || e.Name() == recordFile {
			return err
		}
		info, err := e.Info()
		if err == nil {
			sizes[strings.TrimPrefix(path, dir+string(filepath.Separator))] = info.Size()
		}
		return err
	})
	return sizes, err
}

// sameContent reports whether two files of the same size have the same content.
func sameContent(a, b string) (bool, error) {
	f, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer f.Close()
	g, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer g.Close()
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(f, x)
		m, otherErr := io.ReadFull(g, y)
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return true, nil
		}
		if err := errors.Join(err, otherErr); err != nil {
			return false, err
		}
	}
}

// stage unpacks a pack into a temporary folder, checks it, and calls use with it. No other import runs meanwhile.
func (i Importer) stage(ctx context.Context, from, name string, use func(stage, place string, r record) error) (Pack, error) {
	name = cmp.Or(name, packName(from))
	if err := checkPackName(name); err != nil {
		return Pack{}, err
	}
	src, err := openSource(from)
	if err != nil {
		return Pack{}, err
	}
	defer src.close()
	if src.size > i.MaxSize {
		return Pack{}, fmt.Errorf("%s: %.1f MB are more than the %.1f MB that a pack may have",
			from, float64(src.size)/1e6, float64(i.MaxSize)/1e6)
	}
	unlock, err := private.ClaimForImport(i.Dir, lockFile, stagePattern)
	if err != nil {
		return Pack{}, err
	}
	defer unlock()
	if err := room(i.Dir, src); err != nil {
		return Pack{}, err
	}
	stage, err := os.MkdirTemp(i.Dir, stagePattern)
	if err != nil {
		return Pack{}, fmt.Errorf("create a folder to unpack into: %w", err)
	}
	defer os.RemoveAll(stage) // the next import removes leftovers
	if err := os.Chmod(stage, 0o755); err != nil {
		return Pack{}, err
	}
	if err := i.unpack(ctx, src, stage); err != nil {
		return Pack{}, err
	}
	r, err := i.inspect(src, stage, name)
	if err != nil {
		return Pack{}, err
	}
	if err := use(stage, filepath.Join(i.Dir, name), r); err != nil {
		return Pack{}, err
	}
	if i.LeftOut != nil && len(src.leftOut) > 0 {
		i.LeftOut(src.leftOut)
	}
	return r.pack(name), nil
}

// Edition returns an identifier of the current content of the pack of a name.
func Edition(dir, name string) (string, error) {
	if err := checkPackName(name); err != nil {
		return "", err
	}
	return private.Edition(filepath.Join(dir, name, recordFile))
}

// Remove removes a pack. The error is fs.ErrNotExist if there is no such pack, and private.ErrReplaced if its edition is not the one that
// was seen; "" stands for any.
func Remove(dir, name, seen string) error {
	if err := checkPackName(name); err != nil {
		return err
	}
	unlock, err := private.ClaimForImport(dir, lockFile, stagePattern)
	if err != nil {
		return err
	}
	defer unlock()
	if err := private.CheckEdition(filepath.Join(dir, name, recordFile), seen); err != nil {
		return err
	}
	stage, err := os.MkdirTemp(dir, stagePattern)
	if err != nil {
		return fmt.Errorf("create a folder to remove from: %w", err)
	}
	defer os.RemoveAll(stage)
	if err := os.Rename(filepath.Join(dir, name), filepath.Join(stage, name)); err != nil {
		return fmt.Errorf("remove pack %s: %w", name, err)
	}
	return private.SyncFolder(dir)
}

// reservedNames are paths below /tutorials/, and names that could be mistaken for them.
var reservedNames = []string{"media", "pages", "search", "path", "paths", "story", "print", "lessons", "helpers"}

func checkPackName(name string) error {
	if !slugForm.MatchString(name) || len(name) > maxPackName || slices.Contains(reservedNames, name) {
		return fmt.Errorf("%q cannot be a pack's name (--name chooses one): lower-case letters, digits and single -, "+
			"%d at most, and not %s", name, maxPackName, strings.Join(reservedNames, ", "))
	}
	return nil
}

// packName derives a pack's name from a file's name.
func packName(from string) string {
	if abs, err := filepath.Abs(from); err == nil {
		from = abs
	}
	base := strings.TrimSuffix(search.Fold(filepath.Base(from)), ".zip")
	parts := strings.FieldsFunc(base, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	return strings.Join(parts, "-")
}

// room checks that the disk has enough free space.
func room(dir string, s *packSource) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("read the free space of %s: %w", dir, err)
	}
	block := int64(st.Bsize)
	free := int64(st.Bavail) * block
	if need := s.size + int64(len(s.files))*block + spareRoom; free < need {
		return fmt.Errorf("the disk of %s has %d MB free, %d MB are needed: passerelle tutorials list, and remove one",
			dir, free/1e6, need/1e6)
	}
	return nil
}

// unpack writes the files, checks that each has the announced size, and checks their types.
func (i Importer) unpack(ctx context.Context, s *packSource, stage string) error {
	root, err := os.OpenRoot(stage)
	if err != nil {
		return err
	}
	defer root.Close()
	progress := &meter{ctx: ctx, all: s.size, tell: i.Progress}
	var all faults
	for _, f := range s.files {
		err := unpackFile(root, f, progress)
		if err != nil {
			err = fmt.Errorf("%q: %w", f.name, err)
		}
		if all.add(err); err != nil && !errors.Is(err, errType) {
			break // another error, such as a full disk, may occur for every file
		}
	}
	return all.err()
}

// errType is the error for a file whose content is not what its extension says.
var errType = errors.New("its content does not match its extension")

func unpackFile(root *os.Root, f packFile, progress *meter) (err error) {
	r, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	ending := strings.ToLower(path.Ext(f.name))
	var head []byte
	whole := io.Reader(io.LimitReader(io.TeeReader(r, progress), f.size+1)) // the announced size is the limit: only it was counted
	if isTextFile(ending) && f.size <= maxDecoded {
		b, err := io.ReadAll(whole)
		if err != nil {
			return err
		}
		if int64(len(b)) != f.size {
			return fmt.Errorf("it does not have the announced %d bytes", f.size)
		}
		head = toUTF8(b, ending)
		whole = bytes.NewReader(nil)
	} else {
		head = make([]byte, sniffed)
		n, err := io.ReadFull(whole, head)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		head = head[:n]
	}
	if !fileTypes[ending].is(head[:min(len(head), sniffed)]) {
		return fmt.Errorf("%w %s", errType, ending)
	}
	if err := root.MkdirAll(path.Dir(f.name), 0o755); err != nil {
		return err
	}
	w, err := root.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	got, err := io.Copy(w, io.MultiReader(bytes.NewReader(head), whole))
	if err == nil && got != f.size && !(isTextFile(ending) && f.size <= maxDecoded) {
		err = fmt.Errorf("it does not have the announced %d bytes", f.size)
	}
	return err
}

// meter counts what is written, reports progress, and stops the copy when ctx ends.
type meter struct {
	ctx       context.Context
	done, all int64
	tell      func(done, all int64)
}

func (m *meter) Write(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	m.done += int64(len(p))
	m.tell(m.done, m.all)
	return len(p), nil
}

var pageTitle = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)

// inspect loads an unpacked pack as the daemon will, together with the other packs.
func (i Importer) inspect(s *packSource, stage, name string) (record, error) {
	root, err := os.OpenRoot(stage)
	if err != nil {
		return record{}, err
	}
	defer root.Close()
	r := record{Kind: s.kind, Size: s.size, Imported: i.Now().UTC().Truncate(time.Second)}
	var about struct {
		Title string `toml:"title"`
	}
	b, err := readSmall(root.FS(), "pack.toml")
	if err == nil {
		err = (&source{name: "pack.toml"}).decode(string(b), 1, &about)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return record{}, err
	}
	if s.kind == kindPages && about.Title == "" {
		b, err := readBeginning(root, "index.html", maxHead)
		if err != nil {
			return record{}, err
		}
		if found := pageTitle.FindSubmatch(b); found != nil {
			about.Title = strings.Join(strings.Fields(html.UnescapeString(string(found[1]))), " ")
		}
	}
	r.Title = cmp.Or(strings.ToValidUTF8(about.Title, ""), name)
	if len(r.Title) > maxTitle {
		return record{}, fmt.Errorf("the pack's title has more than %d bytes", maxTitle)
	}
	if s.kind == kindPages {
		return r, nil
	}
	texts := int64(0)
	for _, f := range s.files {
		if path.Ext(f.name) == ".md" {
			texts += f.size
		}
	}
	if texts > maxTexts {
		return record{}, fmt.Errorf("%.1f MB of Markdown are more than the %.1f MB that lessons may have",
			float64(texts)/1e6, maxTexts/1e6)
	}
	others, _ := load(i.Dir, name) // errors in the other packs do not matter here
	before := len(others.lessons)
	if err := others.add(folder{files: root.FS(), name: name, pack: name, title: r.Title}); err != nil {
		return record{}, err
	}
	if r.Lessons = len(others.lessons) - before; r.Lessons > maxLessons {
		return record{}, fmt.Errorf("%d lessons are more than the %d that a pack may have", r.Lessons, maxLessons)
	}
	return r, nil
}

func readBeginning(root *os.Root, name string, most int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// put completes an unpacked pack and moves it into place. The old pack, if any, is then in the folder stage.
func put(stage, place string, r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(stage, recordFile), b, 0o644); err != nil {
		return err
	}
	if err := private.SyncFileSystem(stage); err != nil {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, stage, unix.AT_FDCWD, place, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		err = os.Rename(stage, place)
	}
	if err != nil {
		return fmt.Errorf("move the pack to %s: %w", place, err)
	}
	return private.SyncFolder(filepath.Dir(place))
}
