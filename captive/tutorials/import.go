package tutorials

import (
	"archive/zip"
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
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/text/unicode/norm"

	"passerelle/appliance/private"
)

// Bounds on a pack.
const (
	MostBytes = 4_000_000_000 // unpacked, unless the technician says another

	maxFiles     = 20_000
	maxContents  = 8 << 20 // bytes that may be read to list a zip: its table of contents
	maxLessons   = 300
	maxTexts     = 2_000_000 // bytes of all Markdown: it stays in memory
	maxDepth     = 8
	maxPath      = 240 // bytes
	maxElement   = 100 // bytes of one name in a path
	maxPackName  = 40
	maxHead      = 64 << 10    // bytes of index.html in which its title is looked for
	spareRoom    = 100_000_000 // bytes that an import leaves free on the disk
	sniffed      = 512         // bytes of a file that show its type
	stagePattern = ".import-*" // what an import unpacks into
	lockFile     = ".lock"     // what an import holds; a pack's name begins with a letter or digit
)

// fileType is what a file with some ending must be.
type fileType struct {
	media string
	pages bool                     // only in a pack of pages
	is    func(begins []byte) bool // by its first bytes
}

// fileTypes are the files that a pack may have, by ending. The signatures are those of the WHATWG MIME Sniffing
// standard, sections 6 and 7.
var fileTypes = map[string]fileType{
	".md":    {"text/markdown; charset=utf-8", false, isText},
	".toml":  {"application/toml", false, isText},
	".svg":   {"image/svg+xml", false, isText},
	".png":   {"image/png", false, begins("\x89PNG\r\n\x1a\n")},
	".jpg":   {"image/jpeg", false, begins("\xff\xd8\xff")},
	".jpeg":  {"image/jpeg", false, begins("\xff\xd8\xff")},
	".webp":  {"image/webp", false, at(8, "WEBPVP")},
	".mp4":   {"video/mp4", false, at(4, "ftyp")},
	".webm":  {"video/webm", false, begins("\x1a\x45\xdf\xa3")},
	".vtt":   {"text/vtt; charset=utf-8", false, isCaptions},
	".pdf":   {"application/pdf", false, begins("%PDF-")},
	".html":  {"text/html; charset=utf-8", true, isText},
	".htm":   {"text/html; charset=utf-8", true, isText},
	".css":   {"text/css; charset=utf-8", true, isText},
	".js":    {"text/javascript; charset=utf-8", true, isText},
	".json":  {"application/json", true, isText},
	".txt":   {"text/plain; charset=utf-8", true, isText},
	".gif":   {"image/gif", true, begins("GIF8")},
	".ico":   {"image/x-icon", true, begins("\x00\x00\x01\x00")},
	".woff":  {"font/woff", true, begins("wOFF")},
	".woff2": {"font/woff2", true, begins("wOF2")},
	".ttf":   {"font/ttf", true, begins("\x00\x01\x00\x00")},
	".otf":   {"font/otf", true, begins("OTTO")},
}

func begins(with string) func([]byte) bool { return at(0, with) }

func at(offset int, with string) func([]byte) bool {
	return func(b []byte) bool { return len(b) >= offset && bytes.HasPrefix(b[offset:], []byte(with)) }
}

func isCaptions(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimPrefix(b, []byte("\ufeff")), []byte("WEBVTT"))
}

func isText(b []byte) bool { return !bytes.ContainsRune(b, 0) }

// Importer brings packs into a folder.
type Importer struct {
	Dir      string // the state folder's "tutorials"; made if it is not there
	Most     int64  // bytes that a pack may have
	Now      func() time.Time
	Progress func(done, all int64) // bytes; called often
}

// Import brings a pack, a zip or a folder, into the importer's folder, in the place of what had its name. Everything is
// checked before that: until then, and also if it is killed, what was there goes on. An empty name stands for the
// file's.
func (i Importer) Import(ctx context.Context, from, name string) (Pack, error) {
	name = cmp.Or(name, packName(from))
	if err := checkPackName(name); err != nil {
		return Pack{}, err
	}
	src, err := openSource(from)
	if err != nil {
		return Pack{}, err
	}
	defer src.close()
	if src.size > i.Most {
		return Pack{}, fmt.Errorf("%s: %.1f MB are more than the %.1f MB that a pack may have",
			from, float64(src.size)/1e6, float64(i.Most)/1e6)
	}
	unlock, err := lockPacks(i.Dir)
	if err != nil {
		return Pack{}, err
	}
	defer unlock()
	if err := room(i.Dir, src); err != nil {
		return Pack{}, err
	}
	stage, err := os.MkdirTemp(i.Dir, stagePattern)
	if err != nil {
		return Pack{}, fmt.Errorf("make a folder to unpack into: %w", err)
	}
	defer os.RemoveAll(stage) // what stays is removed by the next import
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
	if err := put(stage, filepath.Join(i.Dir, name), r); err != nil {
		return Pack{}, err
	}
	return r.pack(name), nil
}

// Remove removes a pack. The error is fs.ErrNotExist if there is none of that name.
func Remove(dir, name string) error {
	if err := checkPackName(name); err != nil {
		return err
	}
	unlock, err := lockPacks(dir)
	if err != nil {
		return err
	}
	defer unlock()
	stage, err := os.MkdirTemp(dir, stagePattern)
	if err != nil {
		return fmt.Errorf("make a folder to remove from: %w", err)
	}
	defer os.RemoveAll(stage)
	if err := os.Rename(filepath.Join(dir, name), filepath.Join(stage, name)); err != nil {
		return fmt.Errorf("remove pack %s: %w", name, err)
	}
	return syncFolder(dir)
}

// Look says what kind of pack a file or folder would be, and how much is in it, without unpacking it.
func Look(from string) (kind string, files int, size int64, err error) {
	src, err := openSource(from)
	if err != nil {
		return "", 0, 0, err
	}
	defer src.close()
	return src.kind, len(src.files), src.size, nil
}

// Words that the pages' addresses have behind /tutorials/ or that could be taken for them.
var reservedNames = []string{"media", "pages", "search", "path", "paths", "story", "print", "lessons", "helpers"}

func checkPackName(name string) error {
	if !slugForm.MatchString(name) || len(name) > maxPackName || slices.Contains(reservedNames, name) {
		return fmt.Errorf("%q cannot be a pack's name (--name chooses one): lower-case letters, digits and single -, "+
			"%d at most, and not %s", name, maxPackName, strings.Join(reservedNames, ", "))
	}
	return nil
}

// packName makes a pack's name of a file's.
func packName(from string) string {
	if abs, err := filepath.Abs(from); err == nil {
		from = abs
	}
	base := strings.TrimSuffix(fold(filepath.Base(from)), ".zip")
	parts := strings.FieldsFunc(base, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	return strings.Join(parts, "-")
}

// packSource is a pack before it is unpacked. Its names are checked, its sizes are what it says.
type packSource struct {
	kind  string
	files []packFile
	size  int64
	close func() error
}

type packFile struct {
	name string // in the pack
	size int64
	open func() (io.ReadCloser, error)
}

// openSource lists a zip or a folder and checks all that can be seen without unpacking.
func openSource(from string) (*packSource, error) {
	info, err := os.Stat(from)
	if err != nil {
		return nil, err
	}
	s := &packSource{}
	if info.IsDir() {
		err = s.listFolder(from)
	} else {
		err = s.listZip(from)
	}
	if err == nil {
		err = s.settle()
	}
	if err != nil {
		if s.close != nil {
			err = errors.Join(err, s.close())
		}
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return s, nil
}

// litter says whether a file is one that systems leave behind, or hidden.
func litter(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.") || strings.HasPrefix(name, "__MACOSX/") ||
		base == "Thumbs.db" || base == "desktop.ini"
}

func (s *packSource) add(f packFile) error {
	if fs.ValidPath(f.name) && litter(f.name) {
		return nil
	}
	if len(s.files) == maxFiles {
		return fmt.Errorf("it has more than %d files", maxFiles)
	}
	if err := checkName(f.name); err != nil {
		return err
	}
	if f.size < 0 || f.size > 1<<48 { // so that the sum of all fits
		return fmt.Errorf("%q says that it has %d bytes", f.name, f.size)
	}
	s.size += f.size
	s.files = append(s.files, f)
	return nil
}

func (s *packSource) listFolder(from string) error {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	s.close = root.Close
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if !e.Type().IsRegular() {
			return fmt.Errorf("%q is a link or a device, not a file", name)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return s.add(packFile{name, info.Size(), func() (io.ReadCloser, error) { return root.Open(name) }})
	})
}

// contents reads a zip's table of contents, which may be as long as the zip, within bounds.
type contents struct {
	io.ReaderAt
	left int64
}

var errContents = fmt.Errorf("its table of contents is larger than %d MB: too many files", maxContents>>20)

func (c *contents) ReadAt(p []byte, offset int64) (int, error) {
	if c.left -= int64(len(p)); c.left < 0 {
		return 0, errContents
	}
	return c.ReaderAt.ReadAt(p, offset)
}

func (s *packSource) listZip(from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	s.close = f.Close
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is neither a zip nor a folder")
	}
	c := &contents{f, maxContents}
	z, err := zip.NewReader(c, info.Size())
	switch {
	case errors.Is(err, errContents):
		return errContents
	case errors.Is(err, zip.ErrInsecurePath): // names are checked below, with a better answer
	case err != nil:
		return fmt.Errorf("it is no whole zip; was it copied completely? %w", err)
	}
	c.left = 1 << 62
	for _, e := range z.File {
		mode := e.Mode()
		switch {
		case e.Flags&1 != 0: // APPNOTE.TXT, section 4.4.4
			return fmt.Errorf("%q is encrypted: a pack has no password", e.Name)
		case mode.IsDir():
			continue // folders are made for files
		case !mode.IsRegular():
			return fmt.Errorf("%q is a link or a device, not a file", e.Name)
		}
		if err := s.add(packFile{e.Name, int64(e.UncompressedSize64), e.Open}); err != nil {
			return err
		}
	}
	return nil
}

// Names that Windows keeps for devices, whatever their ending: a pack must be the same on any stick.
var devices = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)`)

// checkName says whether a file may have a name, with its folders.
func checkName(name string) error {
	depth := strings.Count(name, "/")
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("the name %q is not UTF-8", name)
	case strings.ContainsAny(name, `\:*?"<>|`), strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("the name %q has a character that not every system takes", name)
	case !fs.ValidPath(name) || name == ".":
		return fmt.Errorf("the name %q leads out of the pack, or nowhere", name)
	case len(name) > maxPath || depth > maxDepth:
		return fmt.Errorf("the name %.80q… is too long or too deep", name)
	}
	for element := range strings.SplitSeq(name, "/") {
		switch {
		case len(element) > maxElement:
			return fmt.Errorf("the name %.80q… is too long", element)
		case strings.HasSuffix(element, ".") || strings.TrimSpace(element) != element ||
			devices.MatchString(element):
			return fmt.Errorf("the name %q is reserved, or has a space or point at an end", name)
		}
	}
	return nil
}

// settle takes away a folder that all is in, decides what kind of pack it is, and checks its names as a whole.
func (s *packSource) settle() error {
	if len(s.files) == 0 {
		return errors.New("there is nothing in it")
	}
	if top, _, ok := strings.Cut(s.files[0].name, "/"); ok && !slices.ContainsFunc(s.files, func(f packFile) bool {
		rest, inside := strings.CutPrefix(f.name, top+"/")
		isLesson := path.Ext(rest) == ".md" && languageForm.MatchString(strings.TrimSuffix(rest, ".md"))
		return !inside || isLesson
	}) {
		for n := range s.files {
			s.files[n].name = s.files[n].name[len(top)+1:]
		}
	}
	s.kind = kindLessons
	if slices.ContainsFunc(s.files, func(f packFile) bool { return f.name == "index.html" }) {
		s.kind = kindPages
	}
	for _, f := range s.files {
		if err := s.allowed(f.name); err != nil {
			return err
		}
	}
	return s.distinct()
}

// allowed says whether a pack of this kind may have a file of that name.
func (s *packSource) allowed(name string) error {
	ending := path.Ext(name)
	t, ok := fileTypes[strings.ToLower(ending)]
	if !ok || t.pages && s.kind != kindPages {
		return fmt.Errorf("%q: a pack of %s has no %q files", name, s.kind, ending)
	}
	lesson, _, _ := strings.Cut(name, "/")
	if s.kind == kindLessons && ending == ".md" && (!slugForm.MatchString(lesson) || strings.Count(name, "/") != 1) {
		return fmt.Errorf("%q: a lesson is a folder, named in lower-case letters, digits and -, with a file fr.md", name)
	}
	return nil
}

// distinct checks that no two names, of files or their folders, are the same on a system that does not tell capitals
// from small letters.
func (s *packSource) distinct() error {
	type entry struct {
		name string
		file bool
	}
	seen := make(map[string]entry, len(s.files))
	for _, f := range s.files {
		for name := f.name; name != "."; name = path.Dir(name) {
			key, e := strings.ToLower(norm.NFC.String(name)), entry{name, name == f.name}
			if other, ok := seen[key]; ok && (e.file || other != e) {
				return fmt.Errorf("the names %q and %q are too much alike", other.name, name)
			}
			seen[key] = e
		}
	}
	return nil
}

// room checks that the disk has enough of it.
func room(dir string, s *packSource) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("ask for the room on the disk of %s: %w", dir, err)
	}
	block := int64(st.Bsize)
	free := int64(st.Bavail) * block
	if need := s.size + int64(len(s.files))*block + spareRoom; free < need {
		return fmt.Errorf("the disk of %s has %d MB free, %d MB are needed: passerelle tutorials list, and remove one",
			dir, free/1e6, need/1e6)
	}
	return nil
}

// unpack writes the files, each no longer than it said, and looks at their first bytes.
func (i Importer) unpack(ctx context.Context, s *packSource, stage string) error {
	root, err := os.OpenRoot(stage)
	if err != nil {
		return err
	}
	defer root.Close()
	progress := &meter{ctx: ctx, all: s.size, tell: i.Progress}
	for _, f := range s.files {
		if err := unpackFile(root, f, progress); err != nil {
			return fmt.Errorf("%q: %w", f.name, err)
		}
	}
	return nil
}

func unpackFile(root *os.Root, f packFile, progress *meter) (err error) {
	r, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	head := make([]byte, sniffed)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	ending := strings.ToLower(path.Ext(f.name))
	if head = head[:n]; !fileTypes[ending].is(head) {
		return fmt.Errorf("what is in it is not what its ending %s says", ending)
	}
	if err := root.MkdirAll(path.Dir(f.name), 0o755); err != nil {
		return err
	}
	w, err := root.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	// The size in the header was counted in, and is all that it gets.
	whole := io.LimitReader(io.MultiReader(bytes.NewReader(head), r), f.size+1)
	got, err := io.Copy(io.MultiWriter(w, progress), whole)
	if err == nil && got != f.size {
		err = fmt.Errorf("it has not the %d bytes that it says", f.size)
	}
	return err
}

// meter counts what is written, tells of it, and stops it when ctx ends.
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

// inspect reads what was unpacked as the daemon will, beside the other packs.
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
	others, _ := load(i.Dir, name) // what is wrong with the others does not matter here
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

// put completes an unpacked pack and puts it in its place. What was there is in the stage afterwards.
func put(stage, place string, r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(stage, recordFile), b, 0o644); err != nil {
		return err
	}
	if err := syncAll(stage); err != nil {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, stage, unix.AT_FDCWD, place, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		err = os.Rename(stage, place)
	}
	if err != nil {
		return fmt.Errorf("put the pack into its place %s: %w", place, err)
	}
	return syncFolder(filepath.Dir(place))
}

// syncAll writes all of a file system to its disk: for thousands of files that is one wait instead of thousands.
func syncAll(dir string) error {
	return withFolder(dir, func(f *os.File) error { return unix.Syncfs(int(f.Fd())) })
}

// syncFolder writes a folder's names to the disk.
func syncFolder(dir string) error { return withFolder(dir, (*os.File).Sync) }

func withFolder(dir string, do func(*os.File) error) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := do(f); err != nil {
		return fmt.Errorf("write %s to the disk: %w", dir, err)
	}
	return nil
}

// lockPacks makes the packs' folder, keeps other imports out of it, and removes what a killed one left.
func lockPacks(dir string) (unlock func(), err error) {
	if err := private.Folder(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of packs: %w", err)
	}
	f, err := private.Lock(filepath.Join(dir, lockFile))
	if errors.Is(err, private.ErrLocked) {
		return nil, errors.New("another import runs: wait until it is done")
	}
	if err != nil {
		return nil, fmt.Errorf("keep other imports out: %w", err)
	}
	unlock = func() { f.Close() }
	left, err := filepath.Glob(filepath.Join(dir, stagePattern))
	for _, name := range left {
		err = errors.Join(err, os.RemoveAll(name))
	}
	if err != nil {
		unlock()
		return nil, fmt.Errorf("remove what an import left: %w", err)
	}
	return unlock, nil
}
