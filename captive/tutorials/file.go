package tutorials

import (
	"cmp"
	"encoding/base64"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/web"
)

// fileSuffix, appended to a lesson's path, is the path of the lesson as a file to save.
const fileSuffix = "/file"

// maxPictures bounds the pictures of a pack's lesson within a file, in bytes of base64, so that the file has at most 300 kB. The
// built-in lessons' drawings are part of the text and do not count.
const maxPictures = 240_000

// filePage is a lesson as one file that loads nothing, to read without the box and without the internet. It is in the lesson's
// language, says what it leaves out, and contains nothing that changes, such as whether the desk is open.
type filePage struct {
	lessonPage
	Checked   string     // the month in which its facts were checked, "" for unknown
	Sites     bool       // it links to web sites
	Elsewhere []web.Link // the lessons that it mentions, by their address on the box
}

func (filePage) Template() string { return "tutorials/file" }

// file serves a lesson as a file. It returns false if there is no such lesson.
func (t *Tutorials) file(w http.ResponseWriter, r *web.Request, slug string) bool {
	l := t.Library()
	lesson, ok := l.Lesson(slug, r.Words.Code)
	if !ok {
		return false
	}
	w.Header().Set("Content-Disposition", attachment(lesson))
	if !r.Kept(w, r.URL.Path) {
		web.Yield(r.Request) // a pack's pictures wait for the disk
		r.Keep(w, r.URL.Path, newFile(r, l, lesson), http.StatusOK)
	}
	return true
}

// attachment returns the Content-Disposition of a lesson's file (RFC 6266), with a file name in ASCII and its title as the extended one.
func attachment(l *lessons.Lesson) string {
	title := strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case unicode.IsControl(c), strings.ContainsRune(`/\:*?"<>|`, c): // some systems do not allow these
			return -1
		}
		return c
	}, l.Title)
	title = strings.ReplaceAll(url.QueryEscape(strings.Trim(title, " .")), "+", "%20") // RFC 8187, section 3.2
	return `attachment; filename="` + l.Slug + "-" + l.Language + `.html"; filename*=UTF-8''` + title + ".html"
}

// newFile returns the file of a lesson.
func newFile(r *web.Request, l *lessons.Library, lesson *lessons.Lesson) web.Page {
	own := *r
	own.Chosen, own.Words = false, cmp.Or(r.Words.In(lesson.Language), r.Words)
	f := filePage{lessonPage: lessonOf(&own, l, lesson)}
	if !lesson.Checked.IsZero() {
		f.Checked = own.Words.Month(lesson.Checked)
	}
	var linked []string // slugs of lessons
	text := func(h template.HTML) template.HTML {
		f.Sites = f.Sites || strings.Contains(string(h), `<a href="http`)
		return template.HTML(linkToLesson.ReplaceAllStringFunc(string(h), func(link string) string {
			m := linkToLesson.FindStringSubmatch(link)
			if !slices.Contains(linked, m[1]) {
				linked = append(linked, m[1])
			}
			return m[2] + " " + template.HTMLEscapeString(own.Words.T("taken.at-centre"))
		}))
	}
	f.Intro = nil // a new slice: the current one belongs to the library
	for _, h := range lesson.Intro {
		f.Intro = append(f.Intro, text(h))
	}
	room := maxPictures
	for i, s := range lesson.Steps {
		f.Steps[i].Text = text(s.Text)
		f.Steps[i].Picture = embedded(own.Words, l, s.Drawing, f.Steps[i].Picture, &room)
	}
	if !slices.Contains(linked, lesson.Next) {
		linked = append(linked, lesson.Next)
	}
	for _, slug := range linked {
		if other, ok := l.Lesson(slug, own.Words.Code); ok {
			f.Elsewhere = append(f.Elsewhere, web.Link{Href: f.Hostname + "/tutorials/" + slug, Text: other.Title})
		}
	}
	return f
}

// linkToLesson matches a link in a lesson's text to another lesson.
var linkToLesson = regexp.MustCompile(`<a href="/tutorials/([a-z0-9-]+)">(.*?)</a>`)

// embedded returns a picture as a part of the file if it fits in room, which it reduces. Otherwise it returns the picture's description
// and the reason why it is left out.
func embedded(w *web.Words, l *lessons.Library, d lessons.Drawing, p picture, room *int) picture {
	m := d.Media
	if m == nil {
		return p
	}
	if m.Kind == "video" {
		return picture{Alt: p.Alt, Missing: w.T("taken.film")}
	}
	if size := base64.StdEncoding.EncodedLen(int(min(m.Size, maxPictures))); size <= *room {
		if b, err := readMedia(l, m); err == nil {
			*room -= size
			return picture{Alt: p.Alt, Src: template.URL("data:" + m.Type + ";base64," + base64.StdEncoding.EncodeToString(b))}
		}
	}
	return picture{Alt: p.Alt, Missing: w.T("taken.picture")}
}

// readMedia reads a pack's picture, at most maxPictures bytes of it.
func readMedia(l *lessons.Library, m *lessons.Media) ([]byte, error) {
	path, err := url.PathUnescape(strings.TrimPrefix(m.Path, "/tutorials/media/"))
	if err != nil {
		return nil, err
	}
	pack, name, _ := strings.Cut(path, "/")
	f, _, err := l.Open(pack, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxPictures))
}
