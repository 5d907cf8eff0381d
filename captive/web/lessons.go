package web

import (
	"html/template"
	"strconv"
)

// Tutorials is the page that leads to all lessons, and what was found among them.
type Tutorials struct {
	Frame
	Asked string // what the reader looked for; "" for nothing
	Hits  []Tile
	Paths []Tile
	Packs []Tile        // pages that the centre added
	Kit   template.HTML // the symbols of the page's drawings
}

// Tile leads to a path or a lesson.
type Tile struct {
	Href    string // path
	At      string // the place on that page, "" for its top
	Title   string
	Text    string
	Meta    []Fact
	Picture template.HTML
	Symbol  bool    // the picture is but a symbol: small
	Tongue  *Tongue // of the title and the text, nil if it is the page's
}

// Fact is a short thing to know, with its pictogram.
type Fact struct{ Pictogram, Text string }

// Path is the page of the lessons for one need.
type Path struct {
	Frame
	Need    string
	Lessons []Tile
	Tongue  *Tongue // of the title and the need, nil if it is the page's
	Kit     template.HTML
}

// Lesson is a lesson as a text with drawings.
type Lesson struct {
	Frame
	Content
	Intro     []template.HTML
	Steps     []Step
	Questions []Question
	Help      string
	Kit       template.HTML
}

// Content is what a lesson's page and the pages of its pictures have in common.
type Content struct {
	Slug       string
	Name       string // the lesson's title
	Summary    string
	Meta       []Fact
	PathTitle  string // of the path that it belongs to, "" for none
	PathHref   string
	PathTongue *Tongue
	Next       *Tile
	Tongue     *Tongue // the content's language, nil if it is the page's
}

// Step is a step of a lesson.
type Step struct {
	Heading string
	Picture Picture
	Text    template.HTML
}

// Picture is what a step shows: a drawing within the page, or a file; neither if all is zero.
type Picture struct {
	Drawing  template.HTML
	Src      string // URL path of a picture or a film
	Type     string // media type of a film, "" for a picture
	Alt      string
	Size     string // of a film
	Captions []Captions
}

// Tongue is the language of a part of a page.
type Tongue struct{ Code, Direction, Name string }

// Tongue returns the language of a part of a page in these words, nil if they are in the same one.
func (w *Words) Tongue(code string) *Tongue {
	if code == w.Code {
		return nil
	}
	t := &Tongue{Code: code, Direction: "ltr", Name: TongueName(code)}
	if other := Language(code); other != nil {
		t.Direction = other.Direction
	}
	return t
}

// TongueName returns a language's name in itself, or its code if there are no words of it.
func TongueName(code string) string {
	if w := Language(code); w != nil {
		return w.Name
	}
	return code
}

// Captions are a film's words.
type Captions struct{ Src, Language, Name string }

// Question is one for readers to check themselves.
type Question struct{ Ask, Answer string }

// Story is one picture of a lesson with one sentence, or its end.
type Story struct {
	Frame
	Content
	Step      Step
	Number    int  // from 1; the end is one more than there are steps
	Count     int  // steps
	Questions bool // the lesson has some
	Kit       template.HTML
}

// End says whether all pictures have been seen.
func (s Story) End() bool { return s.Number > s.Count }

// Back and Forward are the paths of the pages before and after this one.
func (s Story) Back() string {
	if s.Number == 1 {
		return s.Lesson()
	}
	return s.picture(s.Number - 1)
}

func (s Story) Forward() string { return s.picture(s.Number + 1) }

// First is the path of the first picture.
func (s Story) First() string { return s.picture(1) }

func (s Story) picture(n int) string { return s.Lesson() + "/" + strconv.Itoa(n) }

// Seen says for each picture whether it was shown by now.
func (s Story) Seen() []bool {
	seen := make([]bool, s.Count)
	for i := range seen {
		seen[i] = i < s.Number
	}
	return seen
}

// Lesson is the path of the lesson's page.
func (c Content) Lesson() string { return "/tutorials/" + c.Slug }

// Pack shows pages that a pack brought. They are not ours: what they do stays within their frame.
type Pack struct {
	Frame
	Src string // path of the first of them
}

// Text is a page of headings and paragraphs.
type Text struct {
	Frame
	Lead     string
	Picture  template.HTML
	Kit      template.HTML
	Intro    []template.HTML
	Sections []Section
	Tongue   *Tongue // likewise
}

// Section is a part of a Text.
type Section struct {
	Heading string
	Text    template.HTML
}

// Accessibility says how far everybody can use the pages, and whom to tell when something is in the way. It must stay
// true: what its words promise is held by tests, by the criterion's number of RGAA 4.1 (those that apply: there are no
// scripts, time limits, data tables for layout or moving things). What packs bring into a frame is their makers'.
//
//	1.1, 1.2   drawings have role="img" and a name, pictograms stand beside a word and are hidden
//	2.1, 2.2   the frame of a pack's pages is named by the pack's title
//	3.1        nothing is said by colour alone: a press has a shape, a drawing's right and wrong a sign
//	3.2, 3.3   text 7:1, drawings and frames of fields 3:1 (TestContrast)
//	4.1, 4.10  films of packs: captions where the pack has them; nothing plays by itself
//	6.1, 6.2   links and buttons have words of their own
//	8.1 to 8.9 doctype, language of the page and of each part in another one, a title that says what and where
//	8.10       direction of the text
//	9.1 to 9.3 one h1, headings in order, lists as lists, landmarks
//	10.1 to 10.4 style apart from content, readable without it, at 200 % and with text alone enlarged
//	10.7       visible focus (:focus-visible, 3 px)
//	10.11      no scrolling sideways at 320 px (browser test)
//	11.1, 11.2 the one field, the search, has a label; 11.9 buttons have words
//	12.1, 12.2, 12.6, 12.7 search and links at the same place; landmarks; a link to the content
//	12.8, 12.9 the order of the page is the order of the keyboard; no trap
//	13.1, 13.2 the session's page, which loads itself each minute, has a link that stops that; no new windows
//	13.8, 13.9 nothing moves; both orientations of the screen
type Accessibility struct{ Frame }

func (p Tutorials) template() (string, *Words)     { return "tutorials", p.Words }
func (p Pack) template() (string, *Words)          { return "pack", p.Words }
func (p Path) template() (string, *Words)          { return "path", p.Words }
func (p Lesson) template() (string, *Words)        { return "lesson", p.Words }
func (p Story) template() (string, *Words)         { return "story", p.Words }
func (p Text) template() (string, *Words)          { return "text", p.Words }
func (p Accessibility) template() (string, *Words) { return "accessibility", p.Words }

// Lessons and Steps write how many there are.
func (w *Words) Lessons(n int) string { return w.amount("lesson", n*10).String() }

func (w *Words) Steps(n int) string { return w.amount("step", n*10).String() }
