package lessons

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// folder is a folder of lessons: the built-in one, or a pack's. Each lesson is a folder with its pictures and one file per language
// (fr.md); the folder's name is the lesson's slug. An optional paths.toml orders the lessons.
type folder struct {
	files fs.FS
	name  string // for errors
	pack  string // the pack's name, "" for the built-in lessons
	title string // of the pack
}

var (
	slugForm     = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	languageForm = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$`)
)

// ownLink returns the target of a link to a built-in lesson, or "" if there is no such lesson.
func ownLink(slug string) string {
	if _, err := fs.Stat(ownFiles, "own/"+slug+"/"+mainLanguage+".md"); err != nil {
		return ""
	}
	return "/tutorials/" + slug
}

// slug returns a lesson's slug in the library. A pack's lesson gets the pack's name as a prefix, so that it cannot hide a built-in one.
func (f folder) slug(name string) string {
	if f.pack == "" {
		return name
	}
	return f.pack + "-" + name
}

// add loads a folder into the library. It returns every error, and adds nothing if there is one.
func (l *Library) add(f folder) error {
	entries, err := fs.ReadDir(f.files, ".")
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	names := make(map[string]bool) // of lessons
	for _, e := range entries {
		if e.IsDir() && slugForm.MatchString(e.Name()) {
			names[e.Name()] = true
		}
	}
	link := func(slug string) string {
		if names[slug] {
			return "/tutorials/" + f.slug(slug)
		}
		return ownLink(slug)
	}
	var problems []error
	lessons := make(map[string]map[string]*Lesson)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		files, err := fs.Glob(f.files, name+"/*.md")
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		for _, file := range files {
			if !languageForm.MatchString(strings.TrimSuffix(path.Base(file), ".md")) {
				err := fmt.Errorf("%s/%s: a lesson's file is named by its language: fr.md", f.name, file)
				problems = append(problems, err)
				continue
			}
			s := source{name: f.name + "/" + file, link: link}
			s.picture = func(picture, alt string) (Drawing, error) { return f.picture(name, s.language, picture, alt) }
			lesson, err := s.lesson(f.files, file)
			if err != nil {
				problems = append(problems, err)
				continue
			}
			lesson.Slug, lesson.Pack = f.slug(name), f.pack
			if lesson.Next != "" {
				if names[lesson.Next] {
					lesson.Next = f.slug(lesson.Next)
				} else if ownLink(lesson.Next) == "" {
					problems = append(problems, s.errorf(2, "next: there is no lesson %q", lesson.Next))
				}
			}
			for _, step := range lesson.Steps {
				if step.Drawing.Media != nil {
					lesson.Weight += step.Drawing.Media.Size
				}
			}
			if lessons[lesson.Slug] == nil {
				lessons[lesson.Slug] = make(map[string]*Lesson)
			}
			lessons[lesson.Slug][lesson.Language] = lesson
		}
	}
	switch {
	case len(problems) > 0:
		return errors.Join(problems...)
	case len(lessons) == 0:
		return fmt.Errorf("%s: there is no lesson in it: a folder with a file fr.md", f.name)
	}
	paths, err := f.paths(lessons)
	if err != nil {
		return err
	}
	for slug := range lessons {
		if l.taken(slug) {
			return fmt.Errorf("%s: there is a lesson or path %q already; choose another name", f.name, slug)
		}
	}
	for _, p := range paths {
		if l.taken(p.Slug) || lessons[p.Slug] != nil {
			return fmt.Errorf("%s: there is a lesson or path %q already; choose another name", f.name, p.Slug)
		}
	}
	maps.Copy(l.lessons, lessons)
	l.paths = append(l.paths, paths...)
	return nil
}

// taken says whether a lesson or a path already has a slug.
func (l *Library) taken(slug string) bool {
	_, path := l.Path(slug)
	return path || l.lessons[slug] != nil
}

// paths reads paths.toml and sets each lesson's path. Lessons of a pack that are in no path form one of their own.
func (f folder) paths(lessons map[string]map[string]*Lesson) ([]Path, error) {
	var file struct {
		Path []struct {
			Slug      string            `toml:"slug"`
			Pictogram string            `toml:"pictogram"`
			Lessons   []string          `toml:"lessons"`
			Title     map[string]string `toml:"title"`
			Need      map[string]string `toml:"need"`
		} `toml:"path"`
	}
	s := source{name: f.name + "/paths.toml"}
	b, err := readSmall(f.files, "paths.toml")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	if err := s.decode(string(b), 1, &file); err != nil {
		return nil, err
	}
	var paths []Path
	var problems []error
	placed := make(map[string]bool)
	known := make(map[string]bool)
	for _, p := range file.Path {
		path := Path{Slug: f.slug(p.Slug), Pictogram: p.Pictogram, Title: spaced(p.Title), Need: spaced(p.Need)}
		_, drawn := ownKit().symbols[p.Pictogram]
		switch {
		case !slugForm.MatchString(p.Slug) || known[p.Slug]:
			problems = append(problems, s.errorf(1, "path %q: a slug has lower-case letters, digits, -; each once", p.Slug))
		case len(p.Title) == 0:
			problems = append(problems, s.errorf(1, "path %q: it needs a title", p.Slug))
		case p.Pictogram != "" && !drawn:
			problems = append(problems, s.errorf(1, "path %q: there is no pictogram %q", p.Slug, p.Pictogram))
		}
		known[p.Slug] = true
		for _, name := range p.Lessons {
			slug := f.slug(name)
			if lessons[slug] == nil || placed[slug] {
				problems = append(problems, s.errorf(1, "path %q: lesson %q is not there, or placed already", p.Slug, name))
			}
			placed[slug] = true
			path.Lessons = append(path.Lessons, slug)
		}
		paths = append(paths, path)
	}
	rest := Path{Slug: f.pack, Title: map[string]string{mainLanguage: f.title}}
	for _, slug := range slices.Sorted(maps.Keys(lessons)) {
		if !placed[slug] {
			rest.Lessons = append(rest.Lessons, slug)
		}
	}
	switch {
	case len(rest.Lessons) > 0 && f.pack == "":
		problems = append(problems, s.errorf(1, "lessons in no path: %q", rest.Lessons))
	case len(rest.Lessons) > 0:
		paths = append(paths, rest)
	}
	for _, p := range paths {
		for _, slug := range p.Lessons {
			for _, lesson := range lessons[slug] {
				lesson.Path = p.Slug
			}
		}
	}
	return paths, errors.Join(problems...)
}

// spaced sets the typographic spaces in a path's texts.
func spaced(words map[string]string) map[string]string {
	for language, text := range words {
		words[language] = spaces(text)
	}
	return words
}

// picture loads a step's picture or video by its name in the lesson's folder. A pack's drawing that has more than the allowed shapes is
// shown as an image, which cannot run scripts.
func (f folder) picture(lesson, language, name, alt string) (Drawing, error) {
	file := path.Join(lesson, name)
	if !fs.ValidPath(file) {
		return Drawing{}, errors.New("it is outside")
	}
	info, err := fs.Stat(f.files, file)
	if err != nil {
		return Drawing{}, err
	}
	ending := strings.ToLower(path.Ext(name))
	if ending == ".svg" && (info.Size() <= maxDrawing || f.pack == "") {
		b, err := fs.ReadFile(f.files, file)
		if err != nil {
			return Drawing{}, err
		}
		s, err := ownKit().draw(b)
		if err == nil {
			return s.drawing(alt), nil
		}
		if f.pack == "" {
			return Drawing{}, err
		}
	}
	m := &Media{Path: f.mediaPath(file), Type: fileTypes[ending].media, Size: info.Size()}
	m.Kind, _, _ = strings.Cut(m.Type, "/")
	if f.pack == "" || m.Kind != "image" && m.Kind != "video" {
		return Drawing{}, errors.New("it is neither a drawing nor a pack's picture or video (PNG, JPEG, WebP, MP4, WebM)")
	}
	if m.Kind == "video" {
		if m.Captions, err = f.captions(strings.TrimSuffix(file, path.Ext(file)), language); err != nil {
			return Drawing{}, err
		}
	}
	return Drawing{Alt: alt, Media: m}, nil
}

// captions finds a video's captions: film.vtt in the lesson's language, film.ar.vtt in another.
func (f folder) captions(film, language string) (all []Captions, err error) {
	files, err := fs.ReadDir(f.files, path.Dir(film))
	if err != nil {
		return nil, err
	}
	for _, e := range files {
		middle, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".vtt"), path.Base(film))
		if !ok || path.Ext(e.Name()) != ".vtt" {
			continue
		}
		in, named := strings.CutPrefix(middle, ".")
		if !named {
			in = language
		}
		if middle == "" || languageForm.MatchString(in) {
			all = append(all, Captions{Language: in, Path: f.mediaPath(path.Join(path.Dir(film), e.Name()))})
		}
	}
	return all, nil
}

// mediaPath returns the URL path of a pack's file.
func (f folder) mediaPath(file string) string {
	u := url.URL{Path: "/tutorials/media/" + f.pack + "/" + file}
	return u.EscapedPath()
}
