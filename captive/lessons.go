package captive

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"passerelle/captive/tutorials"
	"passerelle/captive/web"
)

// Bounds on a search.
const (
	maxQuery = 200 // characters that are looked for and shown: more is no question
	maxHits  = 12
)

// tutorials leads to all lessons, or to those in which something was found.
func (s *Server) tutorials(w http.ResponseWriter, r *request) {
	asked := strings.TrimSpace(r.URL.Query().Get("q"))
	if asked == "" {
		s.page(w, r, lessons, http.StatusOK)
		return
	}
	if cut := []rune(asked); len(cut) > maxQuery {
		asked = string(cut[:maxQuery])
	}
	k := pageKey{page: lessons}
	k.words, k.chosen = r.words(r.Request)
	d, err := web.NewDocument(r.searchPage(k, strings.ToValidUTF8(asked, "")))
	s.serve(w, r, d, err, http.StatusOK)
}

// lesson serves what is below /tutorials/: a path, a lesson, one of its pictures, or a pack's file.
func (s *Server) lesson(w http.ResponseWriter, r *request) {
	slug, rest, deeper := strings.Cut(strings.TrimPrefix(r.URL.Path, "/tutorials/"), "/")
	k := pageKey{page: lesson, about: slug}
	_, isPath := r.lessons.Path(slug)
	switch {
	case slug == "":
		s.tutorials(w, r)
		return
	case slug == "media":
		s.media(w, r, rest)
		return
	case deeper:
		k.page, k.number = story, pictureNumber(rest)
	case isPath:
		k.page = lessonPath
	}
	k.words, k.chosen = r.words(r.Request)
	d, err := r.document(k)
	if errors.Is(err, errNoPage) {
		s.page(w, r, noLesson, http.StatusNotFound)
		return
	}
	s.serve(w, r, d, err, http.StatusOK)
}

// pictureNumber reads the number of a picture, 0 if it is none.
func pictureNumber(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || strconv.Itoa(n) != text {
		return 0
	}
	return n
}

func (s *Server) helpers(w http.ResponseWriter, r *request) { s.page(w, r, helpers, http.StatusOK) }

func (s *Server) accessibility(w http.ResponseWriter, r *request) {
	s.page(w, r, accessibility, http.StatusOK)
}

// mediaPolicy is that of a pack's pictures and films. What packs bring is not ours, so each file is, for the browser,
// a site of its own that can neither read our pages nor send a form.
const mediaPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

// packPolicy is that of a pack's pages, whose files are below a URL. They may run scripts, without which an exercise is
// none: these have no origin, so they cannot read or send anything as their reader, and they reach nothing but their own
// pack's files. Only our pages may frame them. All is named by the address that the request came to, since not every
// browser knows what 'self' is where there is no origin.
func packPolicy(site, files string) string {
	code := " 'unsafe-inline' data: " + files
	return "sandbox allow-scripts; default-src 'none'; script-src" + code + "; style-src" + code +
		"; img-src data: " + files + "; media-src " + files + "; font-src data: " + files +
		"; connect-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors " + site
}

// media serves what is below /tutorials/media/: pictures, films and captions that packs bring to lessons. Nothing leads to
// them but pages of ours, which show them. A drawing that is opened by itself is kept and not shown: links in it would lead
// the window away.
func (s *Server) media(w http.ResponseWriter, r *request, path string) {
	pack, _, _ := strings.Cut(path, "/")
	if _, pages := r.lessons.Pages(pack); pages {
		s.page(w, r, noLesson, http.StatusNotFound)
		return
	}
	s.packFile(w, r, path, mediaPolicy)
}

// framePath is where the page of ours is that shows a pack's pages in a frame.
func framePath(p tutorials.Pack) string { return "/packs/" + p.Name }

// filesPath is where a pack's pages are. They belong into the frame: in a window of their own they could lead it to another
// site, which would look like one of the centre's. On plain HTTP no browser says what it asks for a page for
// (Sec-Fetch-Dest is for https alone), so that the time of the import is part of the path: no link from elsewhere, nor the
// pack itself, can have it.
func filesPath(p tutorials.Pack) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", p.Name, p.Imported.UnixNano()))
	return framePath(p) + "/" + hex.EncodeToString(sum[:8]) + "/"
}

// pack serves what is below /packs/: the page with a pack's frame, what belongs into it, and the way to it from all else.
func (s *Server) pack(w http.ResponseWriter, r *request) {
	name, _, below := strings.Cut(strings.TrimPrefix(r.URL.Path, "/packs/"), "/")
	p, ok := r.lessons.Pages(name)
	if !ok {
		s.page(w, r, noLesson, http.StatusNotFound)
		return
	}
	file, framed := strings.CutPrefix(r.URL.Path, filesPath(p))
	switch {
	case !below:
		k := pageKey{page: packFrame, about: name}
		k.words, k.chosen = r.words(r.Request)
		d, err := r.document(k)
		s.serve(w, r, d, err, http.StatusOK)
	case !framed, r.Header.Get("Sec-Fetch-Dest") == "document":
		s.lead(w, r, http.StatusFound, framePath(p))
	default:
		if file == "" || strings.HasSuffix(file, "/") {
			file += "index.html"
		}
		site := "http://" + r.Host
		s.packFile(w, r, name+"/"+file, packPolicy(site, site+filesPath(p)))
	}
}

// packFile serves a file by its path, which begins with its pack's name. Files are large, so that a part can be asked
// for, and stay the same until the pack changes.
func (s *Server) packFile(w http.ResponseWriter, r *request, path, policy string) {
	pack, name, _ := strings.Cut(path, "/")
	web.Yield(r.Request) // for the disk
	f, mediaType, err := r.lessons.Open(pack, name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Error("open a file of a pack", "err", err)
		}
		if policy != mediaPolicy { // it would be shown in a frame, where no page of ours may be
			words, _ := r.words(r.Request)
			w.Header().Set("Content-Security-Policy", policy)
			http.Error(w, words.T(string(noLesson)+".title"), http.StatusNotFound)
			return
		}
		s.page(w, r, noLesson, http.StatusNotFound)
		return
	}
	defer f.Close()
	var changed time.Time
	if info, err := f.Stat(); err == nil {
		changed = info.ModTime()
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	if policy == mediaPolicy && mediaType == "image/svg+xml" {
		h.Set("Content-Disposition", "attachment")
	}
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache") // kept, and asked for whether it changed
	http.ServeContent(web.Patient(w), r.Request, "", changed, f)
}

// tutorialsPage leads to all lessons.
func (e *edition) tutorialsPage(k pageKey) web.Page {
	p := web.Tutorials{Frame: e.frame(k.words, k.chosen, "/tutorials", k.words.T("tutorials.title"))}
	var pictures []tutorials.Drawing
	for _, path := range e.lessons.Paths() {
		picture := tutorials.Pictogram(path.Pictogram)
		pictures = append(pictures, picture)
		title, need := path.In(k.words.Code)
		p.Paths = append(p.Paths, web.Tile{
			Href: "/tutorials/" + path.Slug, Title: title, Text: need, Picture: picture.SVG, Tongue: pathTongue(k.words, path),
			Meta: []web.Fact{{Text: k.words.Lessons(len(path.Lessons))}},
		})
	}
	for _, pack := range e.lessons.Packs() {
		if _, pages := e.lessons.Pages(pack.Name); pages {
			p.Packs = append(p.Packs, web.Tile{Href: framePath(pack), Title: pack.Title})
		}
	}
	p.Kit = e.lessons.Symbols(pictures...)
	return p
}

// packPage shows the pages of a pack in a frame.
func (e *edition) packPage(k pageKey) web.Page {
	p, _ := e.lessons.Pages(k.about)
	return web.Pack{Frame: e.frame(k.words, k.chosen, framePath(p), p.Title), Src: filesPath(p)}
}

// searchPage is the same with what was found.
func (e *edition) searchPage(k pageKey, asked string) web.Page {
	p := e.tutorialsPage(k).(web.Tutorials)
	p.Asked, p.Query = asked, "q="+url.QueryEscape(asked)
	var pictures []tutorials.Drawing
	for _, hit := range e.lessons.Search(k.words.Code, asked, maxHits) {
		t, picture := e.tile(k.words, hit.Lesson, max(hit.Step, 0))
		if hit.Step >= 0 {
			n := strconv.Itoa(hit.Step + 1)
			words := cmp.Or(web.Language(hit.Lesson.Language), k.words) // the tile is in the lesson's language
			t.Text = words.T("tutorials.in-step", "number", n, "heading", hit.Lesson.Steps[hit.Step].Heading)
			t.At, t.Meta = "s"+n, nil
		}
		p.Hits, pictures = append(p.Hits, t), append(pictures, picture)
	}
	if len(p.Hits) > 0 {
		p.Paths, p.Kit = nil, e.lessons.Symbols(pictures...)
	}
	return p
}

// pathTongue is the language of a path's title and need.
func pathTongue(w *web.Words, p tutorials.Path) *web.Tongue {
	for _, code := range []string{w.Code, "fr"} {
		if p.Title[code] != "" {
			return w.Tongue(code)
		}
	}
	return nil
}

// pathPage shows the lessons for one need.
func (e *edition) pathPage(k pageKey) web.Page {
	path, _ := e.lessons.Path(k.about)
	title, need := path.In(k.words.Code)
	p := web.Path{
		Frame: e.frame(k.words, k.chosen, "/tutorials/"+path.Slug, title),
		Need:  need, Tongue: pathTongue(k.words, path),
	}
	var pictures []tutorials.Drawing
	for _, slug := range path.Lessons {
		l, ok := e.lessons.Lesson(slug, k.words.Code)
		if !ok {
			continue
		}
		t, picture := e.tile(k.words, l, 0)
		p.Lessons, pictures = append(p.Lessons, t), append(pictures, picture)
	}
	p.Kit = e.lessons.Symbols(pictures...)
	return p
}

// tile leads to a lesson, with the drawing of one of its steps.
func (e *edition) tile(w *web.Words, l *tutorials.Lesson, step int) (web.Tile, tutorials.Drawing) {
	var picture tutorials.Drawing
	if step < len(l.Steps) {
		picture = l.Steps[step].Drawing
	}
	return web.Tile{
		Href: "/tutorials/" + l.Slug, Title: l.Title, Text: l.Summary, Meta: minutes(w, l), Picture: picture.SVG,
		Tongue: w.Tongue(l.Language),
	}, picture
}

// minutes says how long a lesson takes, if somebody said so.
func minutes(w *web.Words, l *tutorials.Lesson) []web.Fact {
	if l.Minutes == 0 {
		return nil
	}
	return []web.Fact{{Pictogram: "clock", Text: w.Duration(time.Duration(l.Minutes) * time.Minute)}}
}

// content is what a lesson's page and its pictures' have in common; next is the drawing of the next lesson.
func (e *edition) content(w *web.Words, l *tutorials.Lesson) (c web.Content, next tutorials.Drawing) {
	c = web.Content{
		Slug: l.Slug, Name: l.Title, Summary: l.Summary, Tongue: w.Tongue(l.Language),
		Meta: append(minutes(w, l),
			web.Fact{Pictogram: "steps", Text: w.Steps(len(l.Steps))},
			web.Fact{Pictogram: "level", Text: w.T("lesson.level." + strconv.Itoa(l.Level))}),
	}
	if path, ok := e.lessons.Path(l.Path); ok {
		c.PathTitle, _ = path.In(w.Code)
		c.PathHref, c.PathTongue = "/tutorials/"+path.Slug, pathTongue(w, path)
	}
	if l, ok := e.lessons.Lesson(l.Next, w.Code); ok {
		var t web.Tile
		t, next = e.tile(w, l, 0)
		c.Next = &t
	}
	return c, next
}

// lessonPage shows a lesson as a text with drawings; nil if there is no such lesson.
func (e *edition) lessonPage(k pageKey) web.Page {
	l, ok := e.lessons.Lesson(k.about, k.words.Code)
	if !ok {
		return nil
	}
	content, next := e.content(k.words, l)
	p := web.Lesson{
		Frame:   e.frame(k.words, k.chosen, "/tutorials/"+l.Slug, l.Title),
		Content: content, Intro: l.Intro, Help: l.Help,
	}
	pictures := []tutorials.Drawing{next}
	for _, s := range l.Steps {
		pictures = append(pictures, s.Drawing)
		p.Steps = append(p.Steps, step(k.words, s))
	}
	for _, q := range l.Questions {
		p.Questions = append(p.Questions, web.Question(q))
	}
	p.Kit = e.lessons.Symbols(pictures...)
	return p
}

// storyPage shows one picture of a lesson, or the end; nil if there is no such picture.
func (e *edition) storyPage(k pageKey) web.Page {
	l, ok := e.lessons.Lesson(k.about, k.words.Code)
	if !ok || k.number < 1 || k.number > len(l.Steps)+1 {
		return nil
	}
	number := strconv.Itoa(k.number)
	content, next := e.content(k.words, l)
	p := web.Story{
		Frame:   e.frame(k.words, k.chosen, "/tutorials/"+l.Slug+"/"+number, l.Title),
		Content: content, Number: k.number, Count: len(l.Steps), Questions: len(l.Questions) > 0,
	}
	if p.End() {
		p.Kit = e.lessons.Symbols(next)
	} else {
		s := l.Steps[k.number-1]
		p.Step = step(k.words, s)
		p.Title = k.words.T("story.progress", "number", number, "count", strconv.Itoa(p.Count)) + " – " + l.Title
		p.Kit = e.lessons.Symbols(s.Drawing)
	}
	return p
}

func step(w *web.Words, s tutorials.Step) web.Step {
	picture := web.Picture{Drawing: s.Drawing.SVG, Alt: s.Drawing.Alt}
	if m := s.Drawing.Media; m != nil {
		picture.Src = m.Path
		if m.Kind == "video" {
			picture.Type, picture.Size = m.Type, w.Size(uint64(m.Size))
		}
		for _, c := range m.Captions {
			picture.Captions = append(picture.Captions, web.Captions{
				Src: c.Path, Language: c.Language, Name: web.TongueName(c.Language),
			})
		}
	}
	return web.Step{Heading: s.Heading, Picture: picture, Text: s.Text}
}

// helpersPage is for those who help others.
func (e *edition) helpersPage(k pageKey) web.Page {
	t, picture := tutorials.Helpers(k.words.Code), tutorials.Pictogram("two-people")
	p := web.Text{
		Picture: picture.SVG, Kit: e.lessons.Symbols(picture),
		Frame: e.frame(k.words, k.chosen, "/helpers", t.Title), Lead: t.Summary, Intro: t.Intro,
		Tongue: k.words.Tongue(t.Language),
	}
	for _, s := range t.Sections {
		p.Sections = append(p.Sections, web.Section(s))
	}
	return p
}

func (e *edition) accessibilityPage(k pageKey) web.Page {
	return web.Accessibility{Frame: e.frame(k.words, k.chosen, "/accessibility", k.words.T("accessibility.title"))}
}
