package lessons

import (
	"archive/zip"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Bounds on a pack's contents.
const (
	maxFiles    = 20_000
	maxContents = 8 << 20 // bytes that are read to list a zip: its central directory
	maxDepth    = 8
	maxPath     = 240 // bytes
	maxElement  = 100 // bytes of one name in a path
)

// fileType is the type that a file with an extension must have.
type fileType struct {
	media string
	pages bool                     // only in a pack of pages
	is    func(begins []byte) bool // by its first bytes
}

// fileTypes are the types of the files that a pack may have, by extension. The signatures are those of the WHATWG MIME Sniffing
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
	".mjs":   {"text/javascript; charset=utf-8", true, isText},
	".xml":   {"application/xml; charset=utf-8", true, isText},
	".csv":   {"text/csv; charset=utf-8", true, isText},
	".mp3":   {"audio/mpeg", true, either(begins("ID3"), begins("\xff\xfb"), begins("\xff\xf3"), begins("\xff\xf2"))},
	".ogg":   {"audio/ogg", true, begins("OggS")},
	".wav":   {"audio/wave", true, at(8, "WAVE")},
	".m4a":   {"audio/mp4", true, at(4, "ftyp")},
	".avif":  {"image/avif", true, at(4, "ftypavi")},
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

func either(any ...func([]byte) bool) func([]byte) bool {
	return func(b []byte) bool { return slices.ContainsFunc(any, func(is func([]byte) bool) bool { return is(b) }) }
}

func isCaptions(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimPrefix(b, []byte("\ufeff")), []byte("WEBVTT"))
}

func isText(b []byte) bool { return !bytes.ContainsRune(b, 0) }

// packSource is a pack before it is unpacked. Its names are checked; its sizes are those that the zip or folder announces.
type packSource struct {
	kind    string
	files   []packFile
	leftOut []string // names of files that no pack of this kind has a use for
	size    int64
	close   func() error
	faults  faults
}

type packFile struct {
	name string // in the pack
	size int64
	open func() (io.ReadCloser, error)
}

// maxFaults is how many faults of a pack are reported at once; more are only counted.
const maxFaults = 20

// faults collects everything that is wrong with a pack, so that all of it can be corrected before the next attempt.
type faults struct {
	list []error
	more int
}

func (f *faults) add(err error) {
	switch {
	case err == nil:
	case len(f.list) == maxFaults:
		f.more++
	default:
		f.list = append(f.list, err)
	}
}

func (f *faults) err() error {
	if f.more > 0 {
		return errors.Join(append(f.list, fmt.Errorf("and %d more like these", f.more))...)
	}
	return errors.Join(f.list...)
}

// openSource lists a zip or a folder, and checks everything that needs no unpacking.
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
	if err == nil {
		err = s.faults.err()
	}
	if err != nil {
		if s.close != nil {
			err = errors.Join(err, s.close())
		}
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return s, nil
}

// litter says whether a file is hidden, or was left by an operating system.
func litter(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.") || strings.HasPrefix(name, "__MACOSX/") ||
		base == "Thumbs.db" || base == "desktop.ini"
}

// add adds a file by its name in the source. In a pack names are composed (NFC), since macOS stores accents apart from their letters.
func (s *packSource) add(f packFile) error {
	if fs.ValidPath(f.name) && litter(f.name) {
		return nil
	}
	if len(s.files) == maxFiles {
		return fmt.Errorf("it has more than %d files", maxFiles)
	}
	if err := checkName(f.name); err != nil {
		s.faults.add(err)
		return nil
	}
	if f.size < 0 || f.size > 1<<48 { // so that the sum of all sizes does not overflow
		return fmt.Errorf("%q says that it has %d bytes", f.name, f.size)
	}
	f.name = norm.NFC.String(f.name)
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
			s.faults.add(fmt.Errorf("%q is a link or a device, not a file", name))
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return s.add(packFile{name, info.Size(), func() (io.ReadCloser, error) { return root.Open(name) }})
	})
}

// contents reads a zip's central directory, at most left bytes: without a bound it may be as long as the zip.
type contents struct {
	io.ReaderAt
	left int64
}

var errContents = fmt.Errorf("its central directory is larger than %d MB: too many files", maxContents>>20)

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
	case errors.Is(err, zip.ErrInsecurePath): // names are checked below, with a better error
	case err != nil:
		if kind := archiveKind(f); kind != "" {
			return fmt.Errorf("it is a %s, which the box does not read: unpack it, and import the folder, or make a zip of the folder", kind)
		}
		return fmt.Errorf("it is not a complete zip; was it copied completely? %w", err)
	}
	c.left = 1 << 62
	z.RegisterDecompressor(methodBzip2, func(r io.Reader) io.ReadCloser { return io.NopCloser(bzip2.NewReader(r)) })
	names := zipNames(z.File)
	for i, e := range z.File {
		mode, name := e.Mode(), names[i]
		switch {
		case e.Flags&1 != 0: // APPNOTE.TXT, section 4.4.4
			s.faults.add(fmt.Errorf("%q is encrypted: a pack has no password", name))
			continue
		case mode.IsDir() || strings.HasSuffix(name, "/"):
			continue // folders are created for files
		case !mode.IsRegular():
			s.faults.add(fmt.Errorf("%q is a link or a device, not a file", name))
			continue
		case e.Method != zip.Store && e.Method != zip.Deflate && e.Method != methodBzip2:
			s.faults.add(fmt.Errorf("%q is compressed by %s, which the box does not read: make the zip again, with the method Deflate",
				name, methodName(e.Method)))
			continue
		}
		if err := s.add(packFile{name, int64(e.UncompressedSize64), e.Open}); err != nil {
			return err
		}
	}
	return nil
}

// devices matches names that Windows reserves for devices, with any extension. A pack must be readable on any system.
var devices = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)`)

// checkName checks a file's name and its folders' names.
func checkName(name string) error {
	depth := strings.Count(name, "/")
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("the name %q is not UTF-8", name)
	case strings.ContainsAny(name, `\:*?"<>|`), strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("the name %q has a character that some systems do not allow", name)
	case !fs.ValidPath(name) || name == ".":
		return fmt.Errorf("the name %q is outside the pack, or empty", name)
	case len(name) > maxPath || depth > maxDepth:
		return fmt.Errorf("the name %.80q… is too long or too deep", name)
	}
	for element := range strings.SplitSeq(name, "/") {
		switch {
		case len(element) > maxElement:
			return fmt.Errorf("the name %.80q… is too long", element)
		case strings.HasSuffix(element, ".") || strings.TrimSpace(element) != element ||
			devices.MatchString(element):
			return fmt.Errorf("the name %q is reserved, or begins or ends with a space or dot", name)
		}
	}
	return nil
}

// settle strips the folders that contain all files, determines the kind of the pack, leaves out the files that it has no use for, and
// checks the remaining names together.
func (s *packSource) settle() error {
	if len(s.files) == 0 {
		if err := s.faults.err(); err != nil {
			return err
		}
		return errors.New("it is empty")
	}
	for range maxDepth {
		top, _, ok := strings.Cut(s.files[0].name, "/")
		if !ok || slices.ContainsFunc(s.files, func(f packFile) bool {
			rest, inside := strings.CutPrefix(f.name, top+"/")
			isLesson := path.Ext(rest) == ".md" && languageForm.MatchString(strings.TrimSuffix(rest, ".md"))
			return !inside || isLesson
		}) {
			break
		}
		s.enter(top)
	}
	if slices.ContainsFunc(s.files, func(f packFile) bool { return f.name == "[Content_Types].xml" || f.name == "mimetype" }) {
		return errors.New("it is a document (Word, LibreOffice or EPUB), not a zip of pages or lessons: save it as a web page first")
	}
	s.kind = kindLessons
	if folder, err := s.pagesIn(); err != nil {
		return err
	} else if folder != "" {
		s.kind = kindPages
		if folder != "." {
			s.enter(folder)
		}
		s.nameIndexes()
	}
	kept := s.files[:0]
	for _, f := range s.files {
		if s.needless(f.name) {
			s.leftOut = append(s.leftOut, f.name)
			continue
		}
		s.faults.add(s.allowed(f.name))
		s.size += f.size
		kept = append(kept, f)
	}
	if s.files = kept; len(s.files) == 0 {
		return errors.New("it has neither lessons nor pages: see PACKS.md")
	}
	if len(s.faults.list) > 0 {
		return nil
	}
	return s.distinct()
}

// enter makes a folder the top of the pack. Files outside it are left out.
func (s *packSource) enter(folder string) {
	kept := s.files[:0]
	for _, f := range s.files {
		rest, inside := strings.CutPrefix(f.name, folder+"/")
		if !inside {
			s.leftOut = append(s.leftOut, f.name)
			continue
		}
		f.name = rest
		kept = append(kept, f)
	}
	s.files = kept
}

// isIndex reports whether a file's name is one that people and programs give to a folder's index page.
func isIndex(name string) bool {
	base := strings.ToLower(path.Base(name))
	return base == "index.html" || base == "index.htm"
}

// pagesIn returns the folder whose index page is the first page of a pack of pages: "." for the top, "" if it is a pack of lessons.
// Without an index page at the top it is the highest folder with one. It is an error if there are several such folders.
func (s *packSource) pagesIn() (folder string, err error) {
	var folders []string
	highest := maxDepth + 1
	for _, f := range s.files {
		lesson := strings.Count(f.name, "/") == 1 && path.Ext(f.name) == ".md" &&
			languageForm.MatchString(strings.TrimSuffix(path.Base(f.name), ".md")) && slugForm.MatchString(path.Dir(f.name))
		depth := strings.Count(f.name, "/")
		switch {
		case lesson && highest > 0:
			return s.topPage(), nil
		case !isIndex(f.name) || depth > highest:
		case depth < highest:
			highest, folders = depth, []string{path.Dir(f.name)}
		case !slices.Contains(folders, path.Dir(f.name)):
			folders = append(folders, path.Dir(f.name))
		}
	}
	switch {
	case len(folders) == 1:
		return folders[0], nil
	case len(folders) > 1 && highest > 0:
		slices.Sort(folders)
		return "", fmt.Errorf("no page at its top begins the pack, and there are index.html in %s: import one of these folders, "+
			"or add an index.html that links to them", strings.Join(folders[:min(len(folders), 5)], ", "))
	}
	return "", nil
}

// topPage returns "." if there is an index page at the top, else "".
func (s *packSource) topPage() string {
	if slices.ContainsFunc(s.files, func(f packFile) bool { return isIndex(f.name) && !strings.Contains(f.name, "/") }) {
		return "."
	}
	return ""
}

// nameIndexes renames each folder's index page to index.html, unless there is such a file.
func (s *packSource) nameIndexes() {
	have := map[string]bool{}
	for _, f := range s.files {
		have[f.name] = true
	}
	for i, f := range s.files {
		if usual := path.Join(path.Dir(f.name), "index.html"); isIndex(f.name) && !have[usual] {
			have[usual] = true
			s.files[i].name = usual
		}
	}
}

// needless says whether no pack of this kind has a use for a file: those that programs and repositories put beside the pages. In a pack
// of lessons Markdown at the top is needless, too.
func (s *packSource) needless(name string) bool {
	t, known := fileTypes[strings.ToLower(path.Ext(name))]
	switch {
	case !known, t.pages && s.kind != kindPages:
		return true
	case s.kind == kindLessons && !strings.Contains(name, "/"):
		return path.Ext(name) == ".md"
	}
	return false
}

// allowed returns an error if a pack of this kind must not have a file of that name.
func (s *packSource) allowed(name string) error {
	lesson, _, _ := strings.Cut(name, "/")
	if s.kind == kindLessons && path.Ext(name) == ".md" && (!slugForm.MatchString(lesson) || strings.Count(name, "/") != 1) {
		return fmt.Errorf("%q: a lesson is a folder, named in lower-case letters, digits and -, with a file fr.md", name)
	}
	return nil
}

// distinct checks that no two names of files or folders are the same on a case-insensitive file system.
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
				return fmt.Errorf("the names %q and %q conflict on some systems", other.name, name)
			}
			seen[key] = e
		}
	}
	return nil
}

// Inspect returns the kind of pack that a zip or a folder is, the number of its files and their total size in bytes, without unpacking
// it.
func Inspect(from string) (kind string, files int, size int64, err error) {
	src, err := openSource(from)
	if err != nil {
		return "", 0, 0, err
	}
	defer src.close()
	return src.kind, len(src.files), src.size, nil
}
