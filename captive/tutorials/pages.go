package tutorials

import (
	"cmp"
	"html/template"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/web"
)

// overviewPage lists all lessons, or the results of a search.
type overviewPage struct {
	web.Frame
	Asked   string // the reader's query; "" for none
	Found   []web.Found
	Paths   []web.Tile
	Start   *web.Tile     // the path for somebody who has never used a phone
	Foreign bool          // most lessons are in another language
	Doors   []web.Door    // to pages that the centre added, and to the one for helpers
	Sprite  template.HTML // the symbols of the page's drawings
}

// pathPage is the page of the lessons for one need.
type pathPage struct {
	web.Frame
	Need    string
	Lessons []web.Tile
	Lang    *web.Lang // of the title and the need, nil if it is the page's
	Sprite  template.HTML
}

// lessonPage is a lesson as a text with drawings.
type lessonPage struct {
	web.Frame
	content
	Intro     []template.HTML
	Steps     []step
	Questions []lessons.Question
	Help      string
	Sprite    template.HTML
	Stories   bool          // it links to the lesson in pictures, and to the desk
	Code      template.HTML // printed: the QR code of Address
	Address   string        // of the page, without its scheme
	Rules     []struct{}    // printed: lines for notes
	Whole     bool          // printed: the steps fill the first page
}

// content is what a lesson's page and its pictures' pages share.
type content struct {
	Slug      string
	Name      string // the lesson's title
	Summary   string
	Meta      []web.Fact
	PathTitle string // of its path, "" for none
	PathHref  string
	PathLang  *web.Lang
	Next      *web.Tile
	Lang      *web.Lang // the content's language, nil if it is the page's
	Speaks    bool      // its pictures have sentences in the page's language, unlike the content
}

// step is a step of a lesson.
type step struct {
	Heading string
	Picture picture
	Text    template.HTML
	Style   string // when printed
}

// picture is what a step shows: a drawing within the page, or a file; zero for none.
type picture struct {
	Drawing  template.HTML
	Src      template.URL // path of a picture or a video, or a data URL
	Type     string       // media type of a video, "" for a picture
	Alt      string
	Size     string // of a video
	Captions []captions
	Missing  string // why only Alt is shown
}

// captions are a video's captions.
type captions struct{ Src, Language, Name string }

// storyPage is one picture of a lesson with one sentence, or the page after the last picture.
type storyPage struct {
	web.Frame
	content
	Step      step
	Spoken    *web.Lang // of the picture's description, nil if it is the page's
	Number    int       // from 1; the end is one more than the number of steps
	Count     int       // steps
	Questions bool      // the lesson has questions
	Sprite    template.HTML
}

// End reports whether all pictures have been shown.
func (s storyPage) End() bool { return s.Number > s.Count }

// Back returns the path of the page before this one: the previous picture, or the lesson.
func (s storyPage) Back() string {
	if s.Number == 1 {
		return s.Lesson()
	}
	return s.picture(s.Number - 1)
}

// Forward returns the path of the page after this one.
func (s storyPage) Forward() string { return s.picture(s.Number + 1) }

// First returns the path of the first picture.
func (s storyPage) First() string { return s.picture(1) }

func (s storyPage) picture(n int) string { return s.Lesson() + "/" + strconv.Itoa(n) }

// Seen reports for each picture whether it was shown.
func (s storyPage) Seen() []bool {
	seen := make([]bool, s.Count)
	for i := range seen {
		seen[i] = i < s.Number
	}
	return seen
}

// packPage shows a pack's pages in a frame. They are not trusted: the frame confines their effects.
type packPage struct {
	web.Frame
	Src string // path of the first page
}

// helpersPage is the page for those who help others.
type helpersPage struct {
	web.Frame
	Lead     string
	Picture  template.HTML
	Sprite   template.HTML
	Intro    []template.HTML
	Sections []part
	Doors    []web.Door
	Lang     *web.Lang // nil if it is the page's
}

// part is a section of the page for helpers.
type part struct {
	lessons.Section
	Picture template.HTML
}

// partPictures are the symbols of the sections of the page for helpers, in order.
var partPictures = []string{"two-people", "lock", "person-desk", "paper", "briefcase"}

// Lesson returns the path of the lesson's page.
func (c content) Lesson() string { return "/tutorials/" + c.Slug }

func (overviewPage) Template() string { return "tutorials/tutorials" }
func (pathPage) Template() string     { return "tutorials/path" }
func (lessonPage) Template() string   { return "tutorials/lesson" }
func (storyPage) Template() string    { return "tutorials/story" }
func (packPage) Template() string     { return "tutorials/pack" }
func (helpersPage) Template() string  { return "tutorials/helpers" }

// ShowsFrame implements [web.Framer]: the page shows a pack's pages in a frame.
func (packPage) ShowsFrame() {}

// newOverview returns the page of all paths of lessons.
func newOverview(r *web.Request, l *lessons.Library) overviewPage {
	w := r.Words
	p := overviewPage{Frame: r.Frame("/tutorials", w.T("tutorials.title"))}
	var pictures []lessons.Drawing
	for _, path := range l.Paths() {
		picture := lessons.Pictogram(path.Pictogram)
		pictures = append(pictures, picture)
		title, need := path.In(w.Code)
		p.Paths = append(p.Paths, web.Tile{
			Href: "/tutorials/" + path.Slug, Title: title, Text: need, Picture: picture.SVG, Lang: pathLang(w, path),
			Meta: []web.Fact{{Text: w.Count("lesson", len(path.Lessons))}},
		})
	}
	for _, pack := range l.Packs() {
		if _, pages := l.Pages(pack.Name); pages {
			p.Doors = append(p.Doors, web.Door{Href: framePath(pack), Pictogram: "book", Title: pack.Title})
		}
	}
	p.Doors = append(p.Doors, helpersDoor(w))
	p.Foreign = mostlyForeign(w, l)
	if start, picture, ok := newStart(w, l); ok {
		p.Start, pictures = &start, append(pictures, picture)
	}
	p.Sprite = lessons.Sprite(pictures...)
	return p
}

// newStart returns a link to the first path with lessons, if it begins with a lesson for somebody who has never used a phone.
func newStart(w *web.Words, l *lessons.Library) (tile web.Tile, picture lessons.Drawing, ok bool) {
	for _, path := range l.Paths() {
		if len(path.Lessons) == 0 {
			continue
		}
		lesson, ok := l.Lesson(path.Lessons[0], w.Code)
		if !ok || lesson.Level != 1 {
			break
		}
		picture = lesson.Steps[0].Drawing
		return web.Tile{
			Href: "/tutorials/" + path.Slug, Title: w.T("tutorials.start"), Text: w.T("tutorials.start-text"), Picture: picture.SVG,
		}, picture, true
	}
	return tile, picture, false
}

// mostlyForeign says whether most lessons are in another language than the reader's.
func mostlyForeign(w *web.Words, l *lessons.Library) bool {
	own, all := 0, 0
	for _, path := range l.Paths() {
		for _, slug := range path.Lessons {
			if lesson, ok := l.Lesson(slug, w.Code); ok {
				all++
				if lesson.Language == w.Code {
					own++
				}
			}
		}
	}
	return own < all-own
}

// newSearch returns the overview with the results of a search in all shares in place of the paths, if there are any.
func newSearch(r *web.Request, l *lessons.Library, asked string) overviewPage {
	p := newOverview(r, l)
	p.Asked, p.Query = asked, "q="+url.QueryEscape(asked)
	if p.Found = r.Search(asked, maxHits); len(p.Found) > 0 {
		p.Paths, p.Sprite = nil, ""
	}
	return p
}

// newHit returns a link to a lesson that was found, or to one of its steps.
func newHit(w *web.Words, hit lessons.Hit) (web.Tile, lessons.Drawing) {
	tile, picture := newTile(w, hit.Lesson, max(hit.Step, 0))
	if hit.Step >= 0 {
		n := strconv.Itoa(hit.Step + 1)
		in := cmp.Or(w.In(hit.Lesson.Language), w) // the tile is in the lesson's language
		heading := hit.Lesson.Steps[hit.Step].Heading
		if t, ok := titles(w, hit.Lesson); ok {
			in, heading = w, w.Typeset(t.Steps[hit.Step])
		}
		tile.Text = in.T("tutorials.in-step", "number", n, "heading", heading)
		tile.At, tile.Meta = "s"+n, written(w, hit.Lesson)
	}
	return tile, picture
}

// newHelpersTile returns a link to the page for those who help others.
func newHelpersTile(w *web.Words) web.Tile {
	t := lessons.Helpers(w.Code)
	return web.Tile{
		Href: "/helpers", Title: t.Title, Text: t.Summary, Lang: w.Lang(t.Language),
		Picture: template.HTML(`<span class="pictogram">` + string(web.Pictogram("people")) + `</span>`),
	}
}

// pathLang returns the language of a path's title and need, nil if it is the page's or not known.
func pathLang(w *web.Words, p lessons.Path) *web.Lang {
	for _, code := range []string{w.Code, "fr"} {
		if p.Title[code] != "" {
			return w.Lang(code)
		}
	}
	return nil
}

// newPath returns the page of the lessons for one need.
func newPath(r *web.Request, l *lessons.Library, path lessons.Path) web.Page {
	title, need := path.In(r.Words.Code)
	p := pathPage{Frame: r.Frame("/tutorials/"+path.Slug, title), Need: need, Lang: pathLang(r.Words, path)}
	var pictures []lessons.Drawing
	for _, slug := range path.Lessons {
		lesson, ok := l.Lesson(slug, r.Words.Code)
		if !ok {
			continue
		}
		tile, picture := newTile(r.Words, lesson, 0)
		p.Lessons, pictures = append(p.Lessons, tile), append(pictures, picture)
	}
	p.Sprite = lessons.Sprite(pictures...)
	return p
}

// newTile returns a link to a lesson, with the drawing of one of its steps.
func newTile(w *web.Words, l *lessons.Lesson, step int) (web.Tile, lessons.Drawing) {
	var picture lessons.Drawing
	if step < len(l.Steps) {
		picture = l.Steps[step].Drawing
	}
	tile := web.Tile{
		Href: "/tutorials/" + l.Slug, Title: l.Title, Text: l.Summary, Meta: append(append(minutes(w, l), level(w, l)), written(w, l)...),
		Picture: picture.SVG, Lang: w.Lang(l.Language),
	}
	if t, ok := titles(w, l); ok {
		tile.Title, tile.Text, tile.Lang = t.Title, t.Summary, nil
	}
	return tile, picture
}

// written says in which language a lesson is if it is not the reader's, so that the reader knows before opening it.
func written(w *web.Words, l *lessons.Lesson) []web.Fact {
	if l.Language == w.Code {
		return nil
	}
	in, err := w.Message("lesson.in." + l.Language)
	if err != nil { // a language that only a pack has
		in = w.T("lesson.in-another", "language", web.LangName(l.Language))
	}
	return []web.Fact{{Pictogram: "globe", Text: in}}
}

// level says for which readers a lesson is.
func level(w *web.Words, l *lessons.Lesson) web.Fact {
	return web.Fact{Pictogram: "level", Text: w.T("lesson.level." + strconv.Itoa(l.Level))}
}

// titles returns the titles of a lesson in the reader's language. ok is false if the lesson itself is in that language, or has no such
// titles.
func titles(w *web.Words, l *lessons.Lesson) (t lessons.Titles, ok bool) {
	if l.Language == w.Code {
		return t, false
	}
	t, ok = l.Titles[w.Code]
	t.Title, t.Summary = w.Typeset(t.Title), w.Typeset(t.Summary)
	return t, ok
}

// minutes says how long a lesson takes, if known.
func minutes(w *web.Words, l *lessons.Lesson) []web.Fact {
	if l.Minutes == 0 {
		return nil
	}
	return []web.Fact{{Pictogram: "clock", Text: w.Duration(time.Duration(l.Minutes) * time.Minute)}}
}

// newContent returns what a lesson's page and its pictures' pages share. next is the drawing of the next lesson.
func newContent(w *web.Words, l *lessons.Library, lesson *lessons.Lesson) (c content, next lessons.Drawing) {
	c = content{
		Slug: lesson.Slug, Name: lesson.Title, Summary: lesson.Summary, Lang: w.Lang(lesson.Language),
		Meta: append(minutes(w, lesson),
			web.Fact{Pictogram: "steps", Text: w.Count("step", len(lesson.Steps))},
			level(w, lesson)),
	}
	_, c.Speaks = titles(w, lesson)
	if path, ok := l.Path(lesson.Path); ok {
		c.PathTitle, _ = path.In(w.Code)
		c.PathHref, c.PathLang = "/tutorials/"+path.Slug, pathLang(w, path)
	}
	if lesson, ok := l.Lesson(lesson.Next, w.Code); ok {
		var tile web.Tile
		tile, next = newTile(w, lesson, 0)
		c.Next = &tile
	}
	return c, next
}

// newLesson returns a lesson's page, or nil if there is no such lesson.
func newLesson(r *web.Request, l *lessons.Library, slug string) web.Page {
	lesson, ok := l.Lesson(slug, r.Words.Code)
	if !ok {
		return nil
	}
	p := lessonOf(r, l, lesson)
	p.Stories = true
	return p
}

// lessonOf returns a lesson's page without the links to its pictures and to the desk.
func lessonOf(r *web.Request, l *lessons.Library, lesson *lessons.Lesson) lessonPage {
	content, next := newContent(r.Words, l, lesson)
	p := lessonPage{
		Frame:   r.Frame("/tutorials/"+lesson.Slug, lesson.Title),
		content: content, Questions: lesson.Questions, Help: lesson.Help,
	}
	p.Address = p.Hostname + p.Path
	p.Code = code("http://" + p.Address)
	p.Intro = keepChoice(p.Frame, lesson.Intro)
	pictures := []lessons.Drawing{next}
	for _, s := range lesson.Steps {
		pictures = append(pictures, s.Drawing)
		step := newStep(r.Words, s)
		step.Text = keepChoice(p.Frame, []template.HTML{s.Text})[0]
		p.Steps = append(p.Steps, step)
	}
	p.Sprite = lessons.Sprite(pictures...)
	paper := newSheet(&p)
	for i, style := range paper.styles {
		p.Steps[i].Style = style
	}
	p.Rules, p.Whole = make([]struct{}, paper.rules), paper.whole
	return p
}

// toLesson matches the link of a text to a lesson.
var toLesson = regexp.MustCompile(`href="(/tutorials/[a-z0-9-]+)"`)

// keepChoice returns a text in which links to lessons keep the language that the reader chose.
func keepChoice(f web.Frame, text []template.HTML) []template.HTML {
	chosen := f.Chosen()
	if chosen == "" {
		return text
	}
	kept := make([]template.HTML, len(text))
	for i, h := range text {
		kept[i] = template.HTML(toLesson.ReplaceAllString(string(h), `href="${1}`+chosen+`"`))
	}
	return kept
}

// newStory returns the page of one picture of a lesson, or the page after the last one; nil if there is no such picture.
func newStory(r *web.Request, l *lessons.Library, slug string, number int) web.Page {
	lesson, ok := l.Lesson(slug, r.Words.Code)
	if !ok || number < 1 || number > len(lesson.Steps)+1 {
		return nil
	}
	n := strconv.Itoa(number)
	content, next := newContent(r.Words, l, lesson)
	spoken := content.Lang
	t, translated := titles(r.Words, lesson)
	if translated {
		content.Name, content.Lang = t.Title, nil
	}
	p := storyPage{
		Frame:   r.Frame("/tutorials/"+lesson.Slug+"/"+n, content.Name),
		content: content, Spoken: spoken, Number: number, Count: len(lesson.Steps), Questions: len(lesson.Questions) > 0,
	}
	if p.End() {
		p.Sprite = lessons.Sprite(next)
	} else {
		s := lesson.Steps[number-1]
		p.Step = newStep(r.Words, s)
		if translated {
			p.Step.Heading = r.Words.Typeset(t.Steps[number-1])
		}
		p.Title = r.Words.T("story.progress", "number", n, "count", strconv.Itoa(p.Count)) + " – " + content.Name
		p.Sprite = lessons.Sprite(s.Drawing)
	}
	return p
}

func newStep(w *web.Words, s lessons.Step) step {
	p := picture{Drawing: s.Drawing.SVG, Alt: s.Drawing.Alt}
	if m := s.Drawing.Media; m != nil {
		p.Src = template.URL(m.Path)
		if m.Kind == "video" {
			p.Type, p.Size = m.Type, w.Size(uint64(m.Size))
		}
		for _, c := range m.Captions {
			p.Captions = append(p.Captions, captions{Src: c.Path, Language: c.Language, Name: web.LangName(c.Language)})
		}
	}
	return step{Heading: s.Heading, Picture: p, Text: s.Text}
}

// newHelpers returns the page for those who help others.
func newHelpers(r *web.Request) web.Page {
	t, picture := lessons.Helpers(r.Words.Code), lessons.Pictogram("two-people")
	frame := r.Frame("/helpers", t.Title)
	var sections []part
	pictures := []lessons.Drawing{picture}
	for i, s := range t.Sections {
		s.Text = keepChoice(frame, []template.HTML{s.Text})[0]
		p := lessons.Pictogram(partPictures[i%len(partPictures)])
		sections, pictures = append(sections, part{s, p.SVG}), append(pictures, p)
	}
	return helpersPage{
		Frame: frame, Lead: t.Summary, Picture: picture.SVG, Sprite: lessons.Sprite(pictures...),
		Intro: keepChoice(frame, t.Intro), Sections: sections, Doors: []web.Door{lessonsDoor(r.Words)}, Lang: r.Words.Lang(t.Language),
	}
}
