package lessons

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
	"golang.org/x/text/unicode/norm"
)

// Bounds on a lesson, which stays in memory.
const (
	maxText   = 20_000 // bytes of a Markdown or TOML file; parsing hostile ones takes quadratic time
	maxBraces = 200    // in TOML: parsing nested braces takes cubic time
	maxTitle  = 200    // bytes of a title or heading
	maxSteps  = 30
)

// markdown is CommonMark without HTML: tags in a text are shown as text. A line break in the source is a line break on the
// page.
var markdown = goldmark.New(
	goldmark.WithParser(parser.NewParser(
		parser.WithBlockParsers(
			util.Prioritized(parser.NewThematicBreakParser(), 200),
			util.Prioritized(parser.NewListParser(), 300),
			util.Prioritized(parser.NewListItemParser(), 400),
			util.Prioritized(parser.NewATXHeadingParser(), 600),
			util.Prioritized(parser.NewFencedCodeBlockParser(), 700),
			util.Prioritized(parser.NewBlockquoteParser(), 800),
			util.Prioritized(parser.NewParagraphParser(), 1000),
		),
		parser.WithInlineParsers(
			util.Prioritized(parser.NewCodeSpanParser(), 100),
			util.Prioritized(parser.NewLinkParser(), 200),
			util.Prioritized(parser.NewAutoLinkParser(), 300),
			util.Prioritized(parser.NewEmphasisParser(), 500),
		),
		parser.WithParagraphTransformers(parser.DefaultParagraphTransformers()...),
	)),
	goldmark.WithRendererOptions(html.WithHardWraps()),
	goldmark.WithExtensions(extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute))),
)

// front is the front matter of a lesson.
type front struct {
	Title    string     `toml:"title"`
	Summary  string     `toml:"summary"`
	Level    int        `toml:"level"`
	Minutes  int        `toml:"minutes"`
	Services []string   `toml:"services"`
	Next     string     `toml:"next"`
	Help     string     `toml:"help"`
	Question []question `toml:"question"`

	// The day on which the facts were looked up, and the URLs that they are from.
	Checked any      `toml:"checked"`
	Sources []string `toml:"sources"`

	Keywords map[string][]string `toml:"keywords"`
}

type question struct {
	Ask    string `toml:"ask"`
	Answer string `toml:"answer"`
}

// source is a Markdown file that is being parsed.
type source struct {
	name     string // of the file, for errors
	language string
	body     []byte
	line     int // the file's line on which body begins

	// picture loads a step's picture or video by its name in the Markdown.
	picture func(name, alt string) (Drawing, error)
	// link returns a lesson's path by its slug, or "".
	link func(slug string) string
}

func (s *source) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", s.name, line, fmt.Errorf(format, args...))
}

// open reads a file's front matter into head, and the rest into body, with typographic spaces.
func (s *source) open(files fs.FS, name string, head any) error {
	s.language = strings.TrimSuffix(path.Base(name), ".md")
	b, err := readSmall(files, name)
	if err != nil {
		return s.errorf(1, "%w", err)
	}
	if !utf8.Valid(b) {
		line := 1
		for l := range bytes.Lines(b) {
			if !utf8.Valid(l) {
				return s.errorf(line, "a character that is not UTF-8: save the file as UTF-8, not as Latin-1")
			}
			line++
		}
	}
	b = bytes.ReplaceAll(bytes.TrimPrefix(b, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))
	rest, ok := bytes.CutPrefix(b, []byte("+++\n"))
	if !ok {
		return s.errorf(1, "the first line must be +++, the front matter follows")
	}
	matter, body, ok := bytes.Cut(rest, []byte("\n+++\n"))
	if !ok {
		return s.errorf(1, "the front matter has no end: a second line of +++")
	}
	if err := s.decode(string(matter), 2, head); err != nil {
		return err
	}
	s.body, s.line = []byte(spaces(string(body))), 4+bytes.Count(matter, []byte("\n"))
	return nil
}

// mistyped matches the TOML package's error about a value of the wrong type.
var mistyped = regexp.MustCompile(`^toml: line (\d+) \(last key "(.*)"\): (.*)$`)

// decode parses TOML that begins on the file's line first. Its error names the file and the line.
func (s *source) decode(matter string, first int, into any) error {
	if strings.Count(matter, "{") > maxBraces {
		return s.errorf(first, "more than %d braces", maxBraces)
	}
	matter = strings.Repeat("\n", first-1) + matter // so that line numbers are the file's
	meta, err := toml.Decode(matter, into)
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return s.errorf(max(parse.Position.Line, first), "%s", parse.Message)
	}
	if err != nil {
		if m := mistyped.FindStringSubmatch(err.Error()); m != nil {
			return fmt.Errorf("%s:%s: %s: %s", s.name, m[1], m[2], m[3])
		}
		return s.errorf(first, "%w", err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		key, line := unknown[0], first
		last := regexp.QuoteMeta(key[len(key)-1])
		if at := regexp.MustCompile(`(?m)^[ \t\[{"]*([\w."]+\.)?` + last + `["\s]*[=\]]`).FindStringIndex(matter); at != nil {
			line = 1 + strings.Count(matter[:at[1]], "\n")
		}
		return s.errorf(line, "there is no key %q", key)
	}
	return nil
}

// readSmall reads a text file of at most maxText bytes.
func readSmall(files fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxText {
		return nil, fmt.Errorf("%d kB are more than the %d kB that a text may have", info.Size()/1000, maxText/1000)
	}
	return fs.ReadFile(files, name)
}

// lesson parses a whole lesson. The caller sets Slug, Path and Pack.
func (s *source) lesson(files fs.FS, name string) (*Lesson, error) {
	var f front
	if err := s.open(files, name, &f); err != nil {
		return nil, err
	}
	l := &Lesson{
		Language: s.language, Title: spaces(f.Title), Summary: spaces(f.Summary), Help: spaces(f.Help), Next: f.Next,
		Level: f.Level, Minutes: f.Minutes, Services: f.Services,
	}
	switch {
	case f.Title == "" || len(f.Title) > maxTitle:
		return nil, s.errorf(2, "title: a lesson needs one, of %d bytes at most", maxTitle)
	case f.Level < 1 || f.Level > 3:
		return nil, s.errorf(2, "level: %d is not 1 (first time), 2 (knows the basics) or 3 (at ease)", f.Level)
	case f.Minutes < 0 || f.Minutes > 24*60:
		return nil, s.errorf(2, "minutes: %d is out of range", f.Minutes)
	}
	if err := l.setFacts(f.Checked, f.Sources); err != nil {
		return nil, s.errorf(2, "%w", err)
	}
	var err error
	if l.keywords, err = s.keywords(f.Keywords); err != nil {
		return nil, err
	}
	for _, q := range f.Question {
		if q.Ask == "" || q.Answer == "" {
			return nil, s.errorf(2, "question: each needs ask and answer")
		}
		l.Questions = append(l.Questions, Question{spaces(q.Ask), spaces(q.Answer)})
	}
	parts, err := s.parts()
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if p.heading == "" {
			if !p.drawing.empty() {
				return nil, s.errorf(p.line, "a picture before the first step")
			}
			l.Intro, l.plain = p.blocks, p.plain
			continue
		}
		l.Steps = append(l.Steps, Step{Heading: p.heading, Drawing: p.drawing, Text: join(p.blocks), plain: p.plain})
	}
	if len(l.Steps) == 0 || len(l.Steps) > maxSteps {
		return nil, s.errorf(s.line, "%d steps: a lesson has 1 to %d, each begins with a heading: ## Do this.",
			len(l.Steps), maxSteps)
	}
	return l, nil
}

// keywords checks the keywords of a front matter, and returns all of them as one text, one per line: thousands of small strings would
// take several times the memory. Its error has each problem on a line with the file's name.
func (s *source) keywords(all map[string][]string) (lines string, err error) {
	problems := checkKeywords(all)
	for i, p := range problems {
		problems[i] = s.errorf(2, "%w", p)
	}
	var words []string
	for _, language := range slices.Sorted(maps.Keys(all)) {
		words = append(words, all[language]...)
	}
	return strings.Join(words, "\n"), errors.Join(problems...)
}

// readText parses a built-in page that is not a lesson.
func readText(files fs.FS, name string) (Text, error) {
	s := source{name: name, link: ownLink}
	var f struct {
		Title    string              `toml:"title"`
		Summary  string              `toml:"summary"`
		Keywords map[string][]string `toml:"keywords"`
	}
	if err := s.open(files, name, &f); err != nil {
		return Text{}, err
	}
	keywords, err := s.keywords(f.Keywords)
	if err != nil {
		return Text{}, err
	}
	parts, err := s.parts()
	if err != nil {
		return Text{}, err
	}
	t := Text{Language: s.language, Title: spaces(f.Title), Summary: spaces(f.Summary), keywords: keywords}
	for _, p := range parts {
		if p.heading == "" {
			t.Intro = p.blocks
			continue
		}
		t.Sections = append(t.Sections, Section{p.heading, join(p.blocks)})
	}
	return t, nil
}

// part is the content under one heading, or before the first heading.
type part struct {
	line    int
	heading string
	drawing Drawing
	blocks  []template.HTML
	plain   string
}

// parts parses the Markdown into the parts under its headings.
func (s *source) parts() ([]part, error) {
	doc := markdown.Parser().Parse(text.NewReader(s.body))
	parts := []part{{line: s.line}}
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		p := &parts[len(parts)-1]
		if h, ok := n.(*ast.Heading); ok && h.Level <= 2 {
			heading, line := strings.TrimSpace(s.plain(h)), p.line
			if h.Lines().Len() > 0 {
				line = s.line + bytes.Count(s.body[:h.Lines().At(0).Start], []byte("\n"))
			}
			switch {
			case h.Level == 1:
				return nil, s.errorf(line, "a heading of one #: the title belongs in the front matter, a step has ##")
			case heading == "" || len(heading) > maxTitle:
				return nil, s.errorf(line, "a step's heading has 1 to %d bytes", maxTitle)
			}
			parts = append(parts, part{line: line, heading: heading})
			continue
		}
		if err := s.block(n, p); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// block adds a block to a part: it extracts the picture, rewrites links, and renders the rest.
func (s *source) block(n ast.Node, p *part) error {
	var pictures []*ast.Image
	var links []ast.Node
	if err := ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Image:
			if entering {
				pictures = append(pictures, n)
			}
		case *ast.Link, *ast.AutoLink:
			if entering {
				links = append(links, n)
			}
		}
		return ast.WalkContinue, nil
	}); err != nil {
		return err
	}
	for _, i := range pictures {
		if !p.drawing.empty() {
			return s.errorf(p.line, "a second picture in one step: %s", i.Destination)
		}
		if s.picture == nil {
			return s.errorf(p.line, "no picture here: %s", i.Destination)
		}
		name, err := url.PathUnescape(string(i.Destination))
		if err != nil {
			return s.errorf(p.line, "picture %s: %w", i.Destination, err)
		}
		d, err := s.picture(norm.NFC.String(name), s.plain(i)) // as names are in a pack
		if err != nil {
			return s.errorf(p.line, "picture %s: %w", i.Destination, err)
		}
		p.drawing = d
		if next, ok := i.NextSibling().(*ast.Text); ok && next.Segment.IsEmpty() && next.SoftLineBreak() {
			i.Parent().RemoveChild(i.Parent(), next)
		}
		i.Parent().RemoveChild(i.Parent(), i)
	}
	for _, l := range links {
		s.relink(l)
	}
	if n.Kind() == ast.KindParagraph && n.ChildCount() == 0 {
		return nil
	}
	p.plain += s.plain(n) + "\n"
	var b bytes.Buffer
	if err := markdown.Renderer().Render(&b, s.body, n); err != nil {
		return fmt.Errorf("%s: render: %w", s.name, err)
	}
	p.blocks = append(p.blocks, template.HTML(strings.TrimSpace(b.String())))
	return nil
}

// relink keeps links to web sites and to lessons, and replaces any other link by its text.
func (s *source) relink(n ast.Node) {
	switch n := n.(type) {
	case *ast.Link:
		if to := s.target(string(n.Destination)); to != "" {
			n.Destination, n.Title = []byte(to), nil
			return
		}
		for c := n.FirstChild(); c != nil; c = n.FirstChild() {
			n.Parent().InsertBefore(n.Parent(), n, c) // moves it out of the link
		}
		n.Parent().RemoveChild(n.Parent(), n)
	case *ast.AutoLink:
		if s.target(string(n.URL(s.body))) == "" {
			n.Parent().ReplaceChild(n.Parent(), n, ast.NewString(n.Label(s.body)))
		}
	}
}

// target returns a link's target, or "" if it is not allowed.
func (s *source) target(to string) string {
	u, err := url.Parse(to)
	switch {
	case err != nil:
		return ""
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil:
		return u.String()
	case u.Scheme == "lesson":
		return s.link(u.Opaque)
	case u.Scheme == "" && u.Host == "" && u.RawQuery == "":
		if slug, ok := strings.CutSuffix(u.Path, ".md"); ok {
			return s.link(strings.TrimSuffix(strings.TrimPrefix(slug, "../"), "/"+s.language))
		}
	}
	return ""
}

// plain returns a node's text without markup.
func (s *source) plain(n ast.Node) string {
	var b strings.Builder
	ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // the function never returns an error
		switch n := n.(type) {
		case *ast.Text:
			if entering {
				b.Write(util.UnescapePunctuations(util.ResolveEntityNames(util.ResolveNumericReferences(n.Value(s.body)))))
				if n.SoftLineBreak() || n.HardLineBreak() {
					b.WriteByte(' ')
				}
			}
		case *ast.String:
			if entering {
				b.Write(n.Value)
			}
		case *ast.AutoLink:
			if entering {
				b.Write(n.Label(s.body))
			}
		default:
			if !entering && n.Type() == ast.TypeBlock {
				b.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return strings.TrimSpace(b.String())
}

var marks = regexp.MustCompile(` ([;!?»])|(«) `)

// spaces sets the spaces that French typography requires around its marks, so that authors need not type them. No other language has a
// space there. It also keeps "Wi-Fi" from being broken across lines.
func spaces(s string) string {
	s = marks.ReplaceAllString(s, "$2\u202f$1")
	s = strings.ReplaceAll(s, "Wi-Fi", "Wi\u2011Fi")
	return strings.ReplaceAll(s, " :", "\u00a0:")
}

func (d Drawing) empty() bool { return d.SVG == "" && d.Media == nil }

func join(blocks []template.HTML) template.HTML {
	var b strings.Builder
	for i, block := range blocks {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(string(block))
	}
	return template.HTML(b.String())
}
