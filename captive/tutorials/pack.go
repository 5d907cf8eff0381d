package tutorials

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
)

// A pack is a folder in the state folder's "tutorials", made by an Importer. A hidden file in it says what was
// imported.

// Kinds of packs.
const (
	kindLessons = "lessons" // folders of Markdown, as ours
	kindPages   = "pages"   // static HTML that begins with index.html
)

// recordFile is the record's name in the pack. No imported file is hidden, so that none can be in its place.
const recordFile = ".pack.json"

// record is what is written down about a pack.
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

// Load returns our own lessons and the packs of a folder, which need not be there. A broken pack is left out, and what
// is wrong with it is returned.
func Load(dir string) (*Library, []error) {
	l, problems := load(dir, "")
	if len(l.lessons) == len(Own().lessons) {
		l.indexes = Own().indexes
	} else {
		l.buildIndexes()
	}
	return l, problems
}

// load is Load without one pack, and without a search.
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

// addPack reads an imported pack.
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
		return fmt.Errorf("its kind %q is not known: a newer version imported it", r.Kind)
	}
	l.packs = append(l.packs, r.pack(name))
	return nil
}

// Open opens a file of a pack, by its path inside it, and says its media type. The error is fs.ErrNotExist if there is
// no such file.
func (l *Library) Open(pack, name string) (file *os.File, mediaType string, err error) {
	t, ok := fileTypes[strings.ToLower(path.Ext(name))]
	known := slices.ContainsFunc(l.packs, func(p Pack) bool { return p.Name == pack })
	if !ok || !known || !fs.ValidPath(name) || name == recordFile {
		return nil, "", fmt.Errorf("%s of pack %s: %w", name, pack, fs.ErrNotExist)
	}
	f, err := os.OpenInRoot(filepath.Join(l.dir, pack), name)
	if err != nil {
		return nil, "", err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s of pack %s is no file: %w", name, pack, fs.ErrNotExist)
	}
	if err != nil {
		return nil, "", errors.Join(err, f.Close())
	}
	return f, t.media, nil
}
