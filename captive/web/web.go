// Package web renders pages and sends them. It owns the templates, the words of every language, the pictograms, the
// Content-Security-Policy, the compression, and what all servers of its pages share: bounds, languages, the box's own names. It
// serves residents' pages and all others. Pages are rendered on the server, are small, run no scripts, and load nothing but a
// lesson's media from packs. The package does not depend on the box: callers pass the structs declared here. It declares what a
// [Share] is, a group of residents' pages, but depends on none: a share has its templates, styles and words in its own folder.
package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/url"
	"strings"
)

//go:embed pages/*.html pages/*.css pages/scene.svg pictograms/*.svg
var files embed.FS

// Frame is what every page has around its content.
type Frame struct {
	Words    *Words
	Others   []*Words // the other languages offered
	Language string   // the language's code if a link chose it: the page's links keep it, without a cookie
	Title    string
	Path     string // this page's path: the links to other languages lead to it
	Query    string // the query of these links besides the language, e.g. "q=caf"
	Centre   string
	Contact  Contact // of the centre's desk
	Hostname string  // the address to come back to
	Refresh  int     // seconds until the page reloads itself; 0: never
	Stays    bool    // the reader dismissed the portal with "stay here"
}

// Chosen is the query for a link that keeps a chosen language.
func (f Frame) Chosen() string {
	if f.Language == "" {
		return ""
	}
	return "?lang=" + f.Language
}

// In returns this page's URL in another language.
func (f Frame) In(code string) string {
	link := f.Path + "?lang=" + code
	if f.Query != "" {
		link += "&" + f.Query
	}
	return link
}

// First is the first page: online in one press.
type First struct {
	Frame
	Lead   []string
	Online bool   // the reader is already online
	More   string // the session's length after a press; "" if a press changes nothing
	Time   string
	Speed  string
	Data   string // a day
	Video  string // how long a video may play within it; "" if that is too short to say

	Notice    string // of the box's federation, "" for none
	Doors     []Door
	Essential bool // link to the essential services, too
}

// Session is a resident's own page.
type Session struct {
	Frame
	TimeLeft  []Amount
	TimeGiven string
	TimeShare int      // percent left
	More      string   // as in First
	DataLeft  []Amount // nil if there is no limit
	Video     bool     // DataLeft says how long a video may play
	DataOf    string   // the amount that DataLeft is left of
	DataShare int      // percent left
	Slow      bool     // the data is used, and the session continues slowly
	Doors     []Door
}

// Notice says why something is not available, and what to do. At most one of Home, To, Press, Repeat and Retry is set.
type Notice struct {
	Frame
	Pictogram  string
	Lines      []string
	Home       bool   // link to the first page
	To         *Link  // link to another page
	Press      bool   // a button to request a session again
	Repeat     bool   // a button to repeat the form that led here
	Retry      bool   // a link to Frame.Path again
	OffersStay bool   // there is no internet: a button to dismiss the portal
	Doors      []Door // links to what is available without internet
	Essential  bool   // essential services are available
}

// Link is a link to a page.
type Link struct{ Href, Text string }

// Signpost answers a program that requested another site. In case a person sees it, it is short, says why the site is not available,
// and redirects a browser.
type Signpost struct {
	Words *Words
	Title string
	To    string // URL of the first page
}

// Essential is the list of the walled garden's services.
type Essential struct {
	Frame
	Topics     []Topic
	OffersStay bool
}

// Topic is a category of services.
type Topic struct {
	Key       string // unique on its page
	Title     string
	Pictogram string
	Services  []Service
}

// TopicPictograms are the pictograms of the categories of services; "own" is for services that a technician added.
var TopicPictograms = map[string]string{
	"rights": "euro", "help": "lifebuoy", "health": "cross", "housing": "house", "work": "briefcase", "papers": "card",
	"accounts": "key", "own": "pin",
}

// Service is a service of the walled garden.
type Service struct {
	Name    string // by which it is known: see state.Service
	Title   string
	Purpose string // "" for none
	Host    string // its host name
	Phone   string // its telephone number as people write it, "" for none
	Checked string // the month in which the number was looked up: "novembre 2026"
}

// Dial is the telephone number without spaces.
func (s Service) Dial() string { return strings.ReplaceAll(s.Phone, " ", "") }

// Accessibility says how far everybody can use the pages, and whom to tell about a barrier. It must stay true: its numbers about
// RGAA 4.1 are counted from [rgaa], and each criterion that is met there has a test. It does not cover the pages of packs in a frame,
// for which their authors are responsible.
type Accessibility struct{ Frame }

// Page is a struct with a template. It embeds a [Frame].
type Page interface {
	// Template returns the template's name: FILE for pages/FILE.html of this package, SHARE/FILE for that of a share.
	Template() string
	words() *Words
}

// Framer is a page that shows pages of the box in a frame.
type Framer interface{ ShowsFrame() }

// Discreet is a page that may hide its address from every page that it links to, including the box's own. Such a page has no forms,
// and its title and address reveal nothing.
type Discreet interface{ HidesAddress() bool }

func (f Frame) words() *Words    { return f.Words }
func (p Signpost) words() *Words { return p.Words }

func (First) Template() string         { return "first" }
func (Session) Template() string       { return "session" }
func (Notice) Template() string        { return "notice" }
func (Essential) Template() string     { return "essential" }
func (Signpost) Template() string      { return "signpost" }
func (Lender) Template() string        { return "lender" }
func (Ending) Template() string        { return "ending" }
func (Accessibility) Template() string { return "accessibility" }

// render renders a page's HTML, and returns its template's room.
func render(p Page) (html []byte, from *room, err error) {
	name, words := p.Template(), p.words()
	parse, ok := words.catalog.templates[name]
	if !ok {
		return nil, nil, fmt.Errorf("render page %q in %q: no such template", name, words.Code)
	}
	t := parse()
	var b bytes.Buffer
	if err := t.render(&b, p); err != nil {
		return nil, nil, fmt.Errorf("render page %q in %q: %w", name, words.Code, err)
	}
	return b.Bytes(), t.room, nil
}

// The styles are split into common ones and those of single pages, so that the first page stays small. Colours are named by purpose:
// ground, card and tint are backgrounds; ink and soft are text; go is for buttons; warn is for warnings; look is the keyboard's
// focus. In dark mode and in print the same names have other values. Drawings have their own colours: see
// tutorials/lessons/KIT.md.
var (
	// scene is the drawing on the first page: people who meet on a footbridge.
	scene = template.HTML(mustRead(files, "pages/scene.svg"))

	pictograms = loadPictograms()
)

// loadPictograms wraps each drawing, on a grid of 24 by 24, in its svg element. A pictogram always stands next to a word, so
// screen readers ignore it. Arrows are mirrored in right-to-left languages.
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
			` aria-hidden="true">` + mustRead(files, "pictograms/"+e.Name()) + `</svg>`)
	}
	return all
}

// icon returns the page's icon as a data URL, so that browsers do not request one.
func icon() template.URL {
	svg := `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#2a9d8f" stroke-width="2">` +
		mustRead(files, "pictograms/bridge.svg") + `</svg>`
	return template.URL("data:image/svg+xml," + url.PathEscape(svg))
}

// HasPictogram reports whether there is a pictogram with that name.
func HasPictogram(name string) bool { return pictograms[name] != "" }

// pictogram returns a decorative symbol next to a word.
func pictogram(name string) (template.HTML, error) {
	p, ok := pictograms[name]
	if !ok {
		return "", fmt.Errorf("no pictogram %q", name)
	}
	return p, nil
}
