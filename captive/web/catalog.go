package web

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Catalog holds the words of every language and the templates that use them, of the common pages and of shares. Create one with
// [NewCatalog].
type Catalog struct {
	languages map[string]func() *Words
	templates map[string]func() *pageTemplate // by name
}

// own is the catalog of the pages that belong to no share.
var own = NewCatalog()

// NewCatalog returns the catalog of this package's pages and of these shares. An error in a share's words is a programming error,
// and panics when the language is first requested.
func NewCatalog(shares ...Share) *Catalog {
	c := &Catalog{languages: make(map[string]func() *Words, len(languages)), templates: ownRoom.templates()}
	rooms := make([]*room, len(shares))
	for i, s := range shares {
		rooms[i] = newRoom(s.Name+"/", s.Files, ownRoom)
		maps.Copy(c.templates, rooms[i].templates())
	}
	for code, read := range languages {
		c.languages[code] = sync.OnceValue(func() *Words {
			w := *read()
			w.catalog = c
			w.messages = maps.Clone(w.messages)
			for _, r := range rooms {
				if err := w.extend(r); err != nil {
					panic(err)
				}
			}
			return &w
		})
	}
	return c
}

// extend adds a share's words.
func (w *Words) extend(r *room) error {
	its, err := load(r.files, "words/"+w.Code+".toml", w)
	if err != nil {
		return fmt.Errorf("%s%w", r.name, err)
	}
	for key, m := range its.messages {
		if _, taken := w.messages[key]; taken {
			return fmt.Errorf("%swords/%s.toml: %s: another room already has this message", r.name, w.Code, key)
		}
		w.messages[key] = m
	}
	return nil
}

// Language returns a language's words, or nil if there are none.
func (c *Catalog) Language(code string) *Words {
	if read, ok := c.languages[code]; ok {
		return read()
	}
	return nil
}

// In returns another language's words with the same messages, or nil if there are none.
func (w *Words) In(code string) *Words { return w.catalog.Language(code) }

// Language returns a language's words without those of shares, or nil if there are none.
func Language(code string) *Words { return own.Language(code) }

// room is a source of templates, styles and words: this package or a share.
type room struct {
	name   string // prefix of the templates' names
	files  fs.FS
	styles map[string]string // by name

	policy  []string // Content-Security-Policy of its pages
	framing []string // of pages that show a frame
}

// ownRoom has the frame, and the pages that belong to no share.
var ownRoom = newRoom("", files, nil)

// newRoom reads a room's styles. Its pages may also use the styles of base, which may be nil.
func newRoom(name string, files fs.FS, base *room) *room {
	r := &room{name: name, files: files, styles: make(map[string]string)}
	if base != nil {
		maps.Copy(r.styles, base.styles)
	}
	names, _ := fs.Glob(files, "pages/*.css") // the pattern is a constant
	for _, file := range names {
		r.styles[strings.TrimSuffix(path.Base(file), ".css")] = mustRead(files, file)
	}
	// A page loads only the styles within it, identified by their hashes, the icon, and the box's own pictures and videos. Forms
	// are sent only to the box. No site may frame a page.
	policy := "default-src 'none'; style-src" + hashes(r.styles) + "; " +
		"img-src 'self' data:; media-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	r.policy = []string{policy}
	// A frame shows only pages of the box, wherever a script or a link in it leads. Only the pages that show a frame send this
	// policy. The frame's sandbox keeps its content from navigating the window.
	r.framing = []string{policy + "; frame-src 'self'"}
	return r
}

// pageTemplate is a template with its room. Its functions use the words of one language at a time, since one template for each
// language would take several megabytes.
type pageTemplate struct {
	room *room

	mu       sync.Mutex
	template *template.Template
	words    *Words // that its functions use
}

// render renders a page in its language.
func (t *pageTemplate) render(to io.Writer, p Page) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := p.words(); t.words != w {
		t.template.Funcs(t.room.functions(w))
		t.words = w
	}
	return t.template.ExecuteTemplate(to, "layout", p)
}

// functions returns the functions that templates use.
func (r *room) functions(words *Words) template.FuncMap {
	return template.FuncMap{
		"t": words.Message,
		"lines": func(key string, pairs ...string) ([]string, error) {
			m, err := words.Message(key, pairs...)
			return strings.Split(strings.TrimSpace(m), "\n"), err
		},
		"isolate":   words.Isolate,
		"style":     r.style,
		"icon":      icon,
		"scene":     func() template.HTML { return scene },
		"pictogram": pictogram,
		"text":      strconv.Itoa,
		"number":    func(i int) int { return i + 1 },
	}
}

// templates returns a room's templates by name, each parsed when it is first requested. Every HTML file in pages is a template,
// except the shared ones: this package's layout.html, and the room's parts.html.
func (r *room) templates() map[string]func() *pageTemplate {
	layout := sync.OnceValue(func() *template.Template {
		t := template.Must(template.New("").Funcs(r.functions(nil)).ParseFS(files, layoutFile))
		if _, err := fs.Stat(r.files, partsFile); err == nil {
			t = template.Must(t.ParseFS(r.files, partsFile))
		}
		return t
	})
	all := make(map[string]func() *pageTemplate)
	names, _ := fs.Glob(r.files, "pages/*.html") // the pattern is a constant
	for _, file := range names {
		if file == layoutFile || file == partsFile {
			continue
		}
		all[r.name+strings.TrimSuffix(path.Base(file), ".html")] = sync.OnceValue(func() *pageTemplate {
			return &pageTemplate{room: r, template: template.Must(template.Must(layout().Clone()).ParseFS(r.files, file))}
		})
	}
	return all
}

// Files that are part of every template of a room.
const (
	layoutFile = "pages/layout.html"
	partsFile  = "pages/parts.html"
)

// style returns a style by its name.
func (r *room) style(name string) (template.CSS, error) {
	style, ok := r.styles[name]
	if !ok {
		return "", fmt.Errorf("no style %q", name)
	}
	return template.CSS(style), nil
}

// hashes lists the styles' hashes in the syntax of Content-Security-Policy.
func hashes(styles map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(styles)) {
		all = append(all, " 'sha256-"+hash(styles[name])+"'")
	}
	return strings.Join(all, "")
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// mustRead returns an embedded file. A missing one is a programming error.
func mustRead(files fs.FS, name string) string {
	b, err := fs.ReadFile(files, name)
	if err != nil {
		panic(err)
	}
	return string(b)
}
