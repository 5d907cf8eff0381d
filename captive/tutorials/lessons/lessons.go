// Package lessons owns the lessons: those embedded in the program, and packs that a technician imports. It parses Markdown and
// drawings, checks them, keeps them in memory, and searches them. Packs are checked completely when they are imported. When they are
// loaded, the bounds on memory and the safety of their pages are checked again.
//
// It does not depend on how a page looks, who reads it or what the box does: handlers query a Library. A Library is immutable; a new
// one is loaded after an import.
package lessons

import (
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"
)

//go:embed own titles kit.svg helpers
var ownFiles embed.FS

// mainLanguage is the fallback language.
const mainLanguage = "fr"

// Library holds lessons, paths and packs. It is immutable and safe for concurrent use.
type Library struct {
	lessons map[string]map[string]*Lesson // by slug and language
	paths   []Path
	packs   []Pack
	dir     string                   // the folder of the packs
	indexes map[string]func() *index // by language
}

// Path orders the lessons for one need.
type Path struct {
	Slug        string
	Pictogram   string            // a symbol of the kit: see Pictogram
	Title, Need map[string]string // by language
	Lessons     []string          // slugs, in order
}

// In returns the path's title and need in a language, else in French, else in any.
func (p Path) In(language string) (title, need string) {
	return inLanguage(p.Title, language), inLanguage(p.Need, language)
}

// Lesson is one lesson in one language.
type Lesson struct {
	Slug, Language, Title, Summary string
	Help                           string   // where to find help with it
	Next                           string   // slug of the next lesson, or ""
	Path                           string   // slug of the path that it belongs to
	Pack                           string   // name of its pack, "" for a built-in lesson
	Level                          int      // 1: first time, 2: knows the basics, 3: at ease
	Minutes                        int      // that it takes; 0 if unknown
	Services                       []string // terms of the schema "lieux de médiation numérique"
	Intro                          []template.HTML
	Steps                          []Step
	Questions                      []Question
	Weight                         int64     // bytes of its media; 0 for a built-in lesson
	Checked                        time.Time // the day on which its facts were looked up, zero if unknown
	Sources                        []string  // URLs of the pages that the facts are from

	Titles map[string]Titles // by language, for others than its own; built-in lessons only

	plain    string // the introduction as plain text, for the search
	keywords string // what people search for to find it, in all languages, one per line
}

// Step is one step of a lesson. Its heading alone says what to do: the picture story has no other text.
type Step struct {
	Heading string
	Drawing Drawing
	Text    template.HTML // paragraphs and lists

	plain string // as plain text, for the search
}

// Question lets readers check what they learnt. No score is kept.
type Question struct{ Ask, Answer string }

// Drawing is a step's picture or video: SVG embedded in the page, or Media to load. Both are empty if a step of a pack's lesson has
// neither.
type Drawing struct {
	SVG   template.HTML // a complete element, named by Alt; its symbols come from Sprite
	Alt   string        // what it shows
	Media *Media

	uses []string // the symbols that it uses
}

// Media is a pack's picture or video.
type Media struct {
	Kind     string // "image" or "video"
	Path     string // of its URL, e.g. "/tutorials/media/PACK/LESSON/film.mp4"
	Type     string // media type
	Size     int64  // bytes
	Captions []Captions
}

// Captions are a video's captions in one language (WebVTT).
type Captions struct{ Language, Path string }

// Pack is an imported pack.
type Pack struct {
	Name, Title string
	Kind        string // "lessons" or "pages"
	Size        int64  // bytes on the disk
	Lessons     int
	Imported    time.Time
}

// Text is a built-in page that is not a lesson.
type Text struct {
	Language, Title, Summary string
	Intro                    []template.HTML
	Sections                 []Section

	keywords string // as in Lesson
}

// Section is a part of a Text.
type Section struct {
	Heading string
	Text    template.HTML
}

// Own returns the lessons that are embedded in the program.
func Own() *Library { return own() }

var own = sync.OnceValue(func() *Library {
	l := &Library{lessons: make(map[string]map[string]*Lesson)}
	files, err := fs.Sub(ownFiles, "own")
	if err == nil {
		err = l.add(folder{files: files, name: "own"})
	}
	if err == nil {
		err = l.addTitles(ownFiles, "titles")
	}
	if err != nil {
		panic(fmt.Errorf("read our own lessons: %w", err)) // they are embedded: the program was built wrong
	}
	l.prepareIndexes()
	return l
})

// Paths returns all paths in order: the built-in ones first, then each pack's. The lessons of a pack that are in none of its paths form
// a path named after the pack.
func (l *Library) Paths() []Path { return l.paths }

// Path returns a path by its slug.
func (l *Library) Path(slug string) (Path, bool) {
	i := slices.IndexFunc(l.paths, func(p Path) bool { return p.Slug == slug })
	if i < 0 {
		return Path{}, false
	}
	return l.paths[i], true
}

// Lesson returns a lesson in a language, else in French, else in any. Its field Language says which.
func (l *Library) Lesson(slug, language string) (*Lesson, bool) {
	all := l.lessons[slug]
	if len(all) == 0 {
		return nil, false
	}
	return inLanguage(all, language), true
}

// Packs returns the imported packs, by name.
func (l *Library) Packs() []Pack { return l.packs }

// Pages returns a pack of pages by its name.
func (l *Library) Pages(name string) (Pack, bool) {
	i := slices.IndexFunc(l.packs, func(p Pack) bool { return p.Name == name && p.Kind == kindPages })
	if i < 0 {
		return Pack{}, false
	}
	return l.packs[i], true
}

// inLanguage returns the entry of a language, else of French, else of the first other language.
func inLanguage[T any](all map[string]T, language string) T {
	for _, code := range [...]string{language, mainLanguage} {
		if v, ok := all[code]; ok {
			return v
		}
	}
	for _, code := range slices.Sorted(maps.Keys(all)) {
		return all[code]
	}
	var none T
	return none
}

// Helpers returns the page for helpers, in a language or else in French.
func Helpers(language string) Text { return inLanguage(helpers(), language) }

var helpers = sync.OnceValue(func() map[string]Text {
	all := make(map[string]Text)
	names, err := fs.Glob(ownFiles, "helpers/*.md")
	if err != nil || len(names) == 0 {
		panic(cmp.Or(err, fs.ErrNotExist)) // they are embedded: the program was built wrong
	}
	for _, name := range names {
		t, err := readText(ownFiles, name)
		if err != nil {
			panic(err) // they are embedded, too
		}
		all[t.Language] = t
	}
	return all
})
