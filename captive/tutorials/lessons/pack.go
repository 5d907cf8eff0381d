package lessons

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// A pack is a folder in "tutorials" in the state folder, created by an Importer. A hidden file in it records what was
// imported.

// Kinds of packs.
const (
	kindLessons = "lessons" // folders of Markdown, as for the built-in lessons
	kindPages   = "pages"   // static HTML that begins with index.html
)

// recordFile is the record's name in the pack. Hidden files are not imported, so no file of a pack can replace it.
const recordFile = ".pack.json"

// record is what is stored about a pack.
type record struct {
	Title    string    `json:"title"`
	Kind     string    `json:"kind"`
	Size     int64     `json:"size"`
	Lessons  int       `json:"lessons"`
	Imported time.Time `json:"imported"`
}

func (r record) pack(name string) Pack {
	return Pack{Name: name, Title: r.Title, Kind: r.Kind, Size: r.Size, Lessons: r.Lessons, Imported: r.Imported}
}

// Load returns the built-in lessons and the packs of a folder, which may be missing. A broken pack is left out, and its error is
// returned.
func Load(dir string) (*Library, []error) {
	l, problems := load(dir, "")
	if len(l.lessons) == len(Own().lessons) {
		l.indexes = Own().indexes
	} else {
		l.prepareIndexes()
	}
	return l, problems
}

// Packs returns the packs of a folder and the errors that Load returns, at less cost: no index is built.
func Packs(dir string) ([]Pack, []error) {
	l, problems := load(dir, "")
	return l.packs, problems
}

// load is Load without the pack named but, and without search indexes.
func load(dir, but string) (*Library, []error) {
	o := Own()
	l := &Library{lessons: maps.Clone(o.lessons), paths: slices.Clone(o.paths), dir: dir}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l, []error{err}
	}
	var problems []error
	for _, e := range entries {
		if e.Name() == but || !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := l.addPack(e.Name()); err != nil {
			problems = append(problems, fmt.Errorf("pack %s is left out: %w", e.Name(), err))
		}
	}
	return l, problems
}

// addPack loads an imported pack.
func (l *Library) addPack(name string) error {
	root, err := os.OpenRoot(filepath.Join(l.dir, name))
	if err != nil {
		return err
	}
	defer root.Close()
	b, err := root.ReadFile(recordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("it was not imported: use passerelle tutorials import")
	}
	var r record
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", recordFile, err)
	}
	switch r.Kind {
	case kindLessons:
		if err := l.add(folder{files: root.FS(), name: name, pack: name, title: r.Title}); err != nil {
			return err
		}
	case kindPages:
	default:
		return fmt.Errorf("unknown kind %q: a newer version imported it", r.Kind)
	}
	l.packs = append(l.packs, r.pack(name))
	return nil
}

// IsFolder reports whether a path in a pack is a folder with an index.html.
func (l *Library) IsFolder(pack, name string) bool {
	if name == "" || strings.HasSuffix(name, "/") || path.Ext(name) == ".html" || !fs.ValidPath(name) {
		return false
	}
	f, _, err := l.Open(pack, name+"/index.html")
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// Open opens a file of a pack by its path inside it, and returns its media type. The error is fs.ErrNotExist if there is no
// such file.
func (l *Library) Open(pack, name string) (file *os.File, mediaType string, err error) {
	t, ok := fileTypes[strings.ToLower(path.Ext(name))]
	known := slices.ContainsFunc(l.packs, func(p Pack) bool { return p.Name == pack })
	if !ok || !known || !fs.ValidPath(name) || name == recordFile {
		return nil, "", fmt.Errorf("%s of pack %s: %w", name, pack, fs.ErrNotExist)
	}
	name = norm.NFC.String(name) // as names are in a pack
	f, err := os.OpenInRoot(filepath.Join(l.dir, pack), name)
	if errors.Is(err, fs.ErrNotExist) && isIndex(name) {
		f, err = os.OpenInRoot(filepath.Join(l.dir, pack), path.Join(path.Dir(name), "index.html"))
	}
	if err != nil {
		return nil, "", err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s of pack %s is not a file: %w", name, pack, fs.ErrNotExist)
	}
	if err != nil {
		return nil, "", errors.Join(err, f.Close())
	}
	return f, t.media, nil
}
