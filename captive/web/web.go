// Package web turns what a page says into what goes over the wire. It owns the templates, the words of every language,
// the pictograms, the Content-Security-Policy, the compression and what all its pages' servers have in common: bounds,
// languages, the box's own names. It serves the pages of residents and of all others. Pages are made on the server, run
// no script, load nothing but what packs bring to a lesson, and weigh little. The package knows nothing of the box:
// callers hand in the structs declared here.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed pages/*.html pages/*.css pages/scene.svg pictograms/*.svg
var files embed.FS

// Frame is what every page has around its content.
type Frame struct {
	Words    *Words
	Others   []*Words // the other languages offered
	Language string   // the language's code if the reader chose it by a link: it is carried on, without a cookie
	Title    string
	Path     string // this page's path: the links to other languages lead to it
	Query    string // what these links carry besides the language, e.g. "q=caf"
	Centre   string
	Hostname string // where to come back to
	Refresh  int    // seconds until the page loads itself again; 0: never
	Stays    bool   // the reader pressed "stay here"
}

// Chosen is the query to put behind the path of a link so that a chosen language stays chosen.
func (f Frame) Chosen() string {
	if f.Language == "" {
		return ""
	}
	return "?lang=" + f.Language
}

// In is this page in another language.
func (f Frame) In(code string) string {
	link := f.Path + "?lang=" + code
	if f.Query != "" {
		link += "&" + f.Query
	}
	return link
}

// First is the first page: the way to the internet in one press.
type First struct {
	Frame
	Lead   []string
	Online bool   // the reader is on the internet already
	More   string // how long the session is again if the button is pressed; "" as long as that changes nothing
	Time   string
	Speed  string
	Data   string
	Video  string // how long a video may play within the data; "" to say nothing

	Essential bool // lead to the essential services, too
}

// Session is a resident's own page.
type Session struct {
	Frame
	TimeLeft  []Amount
	TimeGiven string
	TimeShare int    // per cent left
	More      string // as First has it
	DataLeft  []Amount
	DataGiven string // "" if there is no limit
	DataShare int    // per cent left
}

// Notice says why something is not to be had, and what to do. Of Home, Lessons, Press, Repeat and Retry one at most is set.
type Notice struct {
	Frame
	Pictogram  string
	Lines      []string
	Home       bool // offer the way to the first page
	Lessons    bool // offer the way to the lessons
	Press      bool // offer to ask for a session again
	Repeat     bool // offer to send the form again that led here
	Retry      bool // offer to look at Frame.Path again
	OffersStay bool // there is no internet: offer to stay all the same, and what there is without
	Essential  bool // essential services are to be had all the same
}

// Signpost is for a program that asked for something else, and for the person who sees it all the same: it is short, says
// why that is not to be had, and leads a browser on.
type Signpost struct {
	Words *Words
	Title string
	To    string // URL of the first page
}

// Essential is the list of the services that are open to everybody.
type Essential struct {
	Frame
	Topics     []Topic
	OffersStay bool
}

// Topic is what several services are about.
type Topic struct {
	Key       string // unique on its page
	Title     string
	Pictogram string
	Services  []Service
}

// Service is one that is open to everybody.
type Service struct {
	Title   string
	Purpose string // "" for nothing to say
	Host    string // where it is
}

// Page is a struct that has a template.
type Page interface {
	template() (name string, words *Words)
}

func (p First) template() (string, *Words)     { return "first", p.Words }
func (p Session) template() (string, *Words)   { return "session", p.Words }
func (p Notice) template() (string, *Words)    { return "notice", p.Words }
func (p Essential) template() (string, *Words) { return "essential", p.Words }
func (p Signpost) template() (string, *Words)  { return "signpost", p.Words }
func (p Lender) template() (string, *Words)    { return "lender", p.Words }

// Render makes a page's HTML.
func Render(p Page) ([]byte, error) {
	name, words := p.template()
	var b bytes.Buffer
	if err := templates[words.Code]()[name].ExecuteTemplate(&b, "layout", p); err != nil {
		return nil, fmt.Errorf("render page %q in %q: %w", name, words.Code, err)
	}
	return b.Bytes(), nil
}

var (
	// styles are what all pages have, and what some have besides, so that the first page stays light. Colours go by what
	// they mean: ground, card and tint lie behind; ink and soft are text; go is what one presses; warn is a sign; look
	// shows where the keyboard is. At night, and in print, the same names have other values. A drawing has its own: see
	// tutorials/KIT.md.
	styles = map[string]string{
		"style": mustRead("pages/style.css"), "lender": mustRead("pages/lender.css"),
		"essential": mustRead("pages/essential.css"), "drawing": mustRead("pages/drawing.css"),
		"first": mustRead("pages/first.css"), "lessons": mustRead("pages/lessons.css"),
	}

	// Policy is the Content-Security-Policy of every page: nothing is loaded but the styles within the page, known by their
	// hashes, the icon, and the box's own pictures and films; forms lead here only; no other site may frame a page.
	Policy = "default-src 'none'; style-src" + hashes(styles) + "; " +
		"img-src 'self' data:; media-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

	// packPolicy is that of the page with a pack's frame, which shows pages of the box and no others, wherever a script or a
	// link in it leads. That sends the frame only: its sandbox lets nothing in it reach the window.
	packPolicy = Policy + "; frame-src 'self'"

	// kinds are the templates, each with those files of parts that it needs besides the layout.
	kinds = map[string][]string{
		"first": nil, "session": nil, "notice": nil, "essential": nil, "lender": nil, "signpost": nil, "accessibility": {"lessons"},
		"tutorials": {"lessons"}, "path": {"lessons"}, "lesson": {"lessons"}, "story": {"lessons"}, "text": {"lessons"},
		"pack": {"lessons"},
	}

	// scene is the drawing on the first page: people who meet on a footbridge.
	scene = template.HTML(mustRead("pages/scene.svg"))

	pictograms = loadPictograms()

	// templates are each language's, by kind.
	templates = func() map[string]func() map[string]*template.Template {
		all := make(map[string]func() map[string]*template.Template, len(languages))
		for code := range languages {
			all[code] = sync.OnceValue(func() map[string]*template.Template { return loadTemplates(Language(code)) })
		}
		return all
	}()
)

// hashes lists styles as the policy does.
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

// mustRead returns an embedded file: one that is missing is a program built wrong.
func mustRead(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// loadPictograms wraps each drawing, made on a grid of 24 by 24, in its svg element. A pictogram always stands beside a
// word, so screen readers pass it over. Arrows turn where one reads from the right.
func loadPictograms() map[string]template.HTML {
	entries, err := files.ReadDir("pictograms")
	if err != nil {
		panic(err)
	}
	all := make(map[string]template.HTML, len(entries))
	for _, e := range entries {
		name, class := strings.TrimSuffix(e.Name(), ".svg"), ""
		if name == "go" || name == "back" {
			class = ` class="turns"`
		}
		all[name] = template.HTML(`<svg viewBox="0 0 24 24" width="24" height="24"` + class +
			` aria-hidden="true">` + mustRead("pictograms/"+e.Name()) + `</svg>`)
	}
	return all
}

// icon is the page's icon as a data URL, so that no browser asks for one.
func icon() template.URL {
	svg := `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#2a9d8f" stroke-width="2">` +
		mustRead("pictograms/bridge.svg") + `</svg>`
	return template.URL("data:image/svg+xml," + url.PathEscape(svg))
}

// loadTemplates parses every kind of page, with a language's words bound to the functions that pages use.
func loadTemplates(words *Words) map[string]*template.Template {
	all := make(map[string]*template.Template, len(kinds))
	layout := template.Must(template.New("").Funcs(template.FuncMap{
		"t": words.Message,
		"lines": func(key string, pairs ...string) ([]string, error) {
			m, err := words.Message(key, pairs...)
			return strings.Split(strings.TrimSpace(m), "\n"), err
		},
		"isolate":   words.Isolate,
		"style":     func(name string) template.CSS { return template.CSS(styles[name]) },
		"icon":      icon,
		"scene":     func() template.HTML { return scene },
		"pictogram": pictogram,
		"text":      strconv.Itoa,
		"number":    func(i int) int { return i + 1 },
	}).ParseFS(files, "pages/layout.html"))
	for name, shared := range kinds {
		page := template.Must(layout.Clone())
		for _, file := range append(shared, name) {
			template.Must(page.ParseFS(files, path.Join("pages", file+".html")))
		}
		all[name] = page
	}
	return all
}

func pictogram(name string) (template.HTML, error) {
	p, ok := pictograms[name]
	if !ok {
		return "", fmt.Errorf("no pictogram %q", name)
	}
	return p, nil
}
