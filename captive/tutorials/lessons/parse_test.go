package lessons

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files")

// TestLessons loads the pack in each testdata/lesson/*.txtar, and compares the result with its file "want": the lessons as
// text, or the errors.
func TestLessons(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/lesson/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases:", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := fstest.MapFS{}
			want, rest := "", a.Files[:0:0]
			for _, f := range a.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				rest = append(rest, f)
				name, inPack := strings.CutPrefix(f.Name, "jardin/")
				if !inPack {
					t.Fatalf("%s is not in the pack jardin", f.Name)
				}
				in[name] = &fstest.MapFile{Data: f.Data}
			}
			l := &Library{lessons: make(map[string]map[string]*Lesson)}
			got := ""
			if err := l.add(folder{files: in, name: "jardin", pack: "jardin", title: "Le jardin"}); err != nil {
				got = err.Error() + "\n"
			} else {
				got = describe(l)
			}
			if *update {
				a.Files = append(rest, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// describe returns a library as text.
func describe(l *Library) string {
	var b bytes.Buffer
	for _, p := range l.Paths() {
		title, need := p.In("fr")
		fmt.Fprintf(&b, "path %s: %q %q %q\n", p.Slug, p.Pictogram, title, need)
		for _, slug := range p.Lessons {
			for _, language := range []string{"fr", "en"} {
				lesson := l.lessons[slug][language]
				if lesson == nil {
					continue
				}
				fmt.Fprintf(&b, "\nlesson %s (%s): %q\n  %q\n  level %d, %d minutes, %d bytes, path %s, pack %s, next %q, %q\n  %q\n",
					slug, language, lesson.Title, lesson.Summary, lesson.Level, lesson.Minutes, lesson.Weight,
					lesson.Path, lesson.Pack, lesson.Next, lesson.Services, lesson.Help)
				for _, q := range lesson.Questions {
					fmt.Fprintf(&b, "  ? %s ! %s\n", q.Ask, q.Answer)
				}
				for _, p := range lesson.Intro {
					fmt.Fprintln(&b, p)
				}
				for _, s := range lesson.Steps {
					fmt.Fprintf(&b, "step %s\n", s.Heading)
					if m := s.Drawing.Media; m != nil {
						fmt.Fprintf(&b, "%s %q: %s %s %d %v\n", m.Kind, s.Drawing.Alt, m.Path, m.Type, m.Size, m.Captions)
					} else if s.Drawing.SVG != "" {
						fmt.Fprintln(&b, s.Drawing.SVG)
					}
					fmt.Fprintf(&b, "%s\nplain: %q\n", s.Text, s.plain)
				}
			}
		}
	}
	return b.String()
}

var (
	tags     = regexp.MustCompile(`<[^>]*>?`)
	harmless = regexp.MustCompile(`^</?(p|br|ul|ol|ol start="\d+"|li|em|strong|h[3-6]|hr|blockquote|pre|code|code class="[^"<>]*"|svg|` +
		`svg class="drawing" viewBox="0 0 1 1" role="img" aria-label="[^"<>]*"|a|a href="(https?://|/tutorials/)[^"<>]*")>$`)
)

func FuzzLesson(f *testing.F) {
	own, err := ownFiles.ReadFile("own/wifi/fr.md")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte("+++\ntitle = \"a\"\nlevel = 1\n+++\n## a\n![b](1.svg)\n[c](javascript:d)<script>\n"))
	f.Add([]byte("\ufeff+++\r\ntitle = 1\r\n+++\r\n"))
	f.Add([]byte("+++\n[title]\n+++\n\xe9"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l := &Library{lessons: make(map[string]map[string]*Lesson)}
		in := fstest.MapFS{"a/fr.md": {Data: text}, "a/1.svg": {Data: []byte(`<svg viewBox="0 0 1 1"/>`)}}
		err := l.add(folder{files: in, name: "p", pack: "p", title: "P"})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "p/a/fr.md:") {
				t.Fatalf("an error without a file: %v", err)
			}
			return
		}
		for _, lesson := range l.lessons["p-a"] {
			html := string(join(lesson.Intro))
			for _, step := range lesson.Steps {
				html += string(step.Text + step.Drawing.SVG)
			}
			for _, tag := range tags.FindAllString(html, -1) {
				if !harmless.MatchString(tag) {
					t.Fatalf("%s in %s", tag, html)
				}
			}
		}
		l.prepareIndexes()
		l.Search("fr", string(text), 5)
	})
}

func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	const head = "+++\ntitle = \"Semer\"\nlevel = 1\n+++\n"
	for name, c := range map[string]struct{ text, want string }{
		"crlf, bom":       {"\ufeff+++\r\ntitle = \"Semer\"\r\nlevel = 1\r\n+++\r\n## Semez.\r\n", ""},
		"empty":           {"", "p/a/fr.md:1: the first line must be +++"},
		"no front matter": {"# Semer\n", "p/a/fr.md:1: the first line must be +++"},
		"no end":          {"+++\ntitle = \"Semer\"\n", "p/a/fr.md:1: the front matter has no end"},
		"latin-1":         {head + "## Semez.\nL'\xe9t\xe9.\n", "p/a/fr.md:6: a character that is not UTF-8"},
		"latin-1 front":   {"+++\ntitle = \"\xc9t\xe9\"\n+++\n", "p/a/fr.md:2: a character that is not UTF-8"},
		"1 MB":            {strings.Repeat(head, 1<<20/len(head)), "p/a/fr.md:1: 1048 kB are more than the 20 kB that a text may have"},
		"braces":          {"+++\n" + strings.Repeat("a={", 1000) + "\n+++\n", "p/a/fr.md:2: more than 200 braces"},
		"large":           {head + strings.Repeat("## Semez.\n", 40), "p/a/fr.md:5: 40 steps: a lesson has 1 to 30"},
		"unknown key":     {"+++\ntitle = \"Semer\"\n\nlevl = 1\n+++\n", "p/a/fr.md:4: there is no key \"levl\""},
		"unknown table":   {"+++\ntitle = \"Semer\"\n[[questions]]\nask = \"?\"\n+++\n", "p/a/fr.md:3: there is no key \"questions\""},
		"wrong type":      {"+++\ntitle = \"Semer\"\nlevel = \"1\"\n+++\n", "p/a/fr.md:3: level: incompatible types"},
		"no toml":         {"+++\ntitle: Semer\n+++\n", "p/a/fr.md:2: expected '.' or '='"},
		"no title":        {"+++\nlevel = 1\n+++\n## a\n", "p/a/fr.md:2: title: a lesson needs one"},
		"level":           {"+++\ntitle = \"Semer\"\nlevel = 4\n+++\n## a\n", "p/a/fr.md:2: level: 4 is not 1"},
		"minutes":         {"+++\ntitle = \"Semer\"\nlevel = 1\nminutes = -1\n+++\n## a\n", "p/a/fr.md:2: minutes: -1 is out of range"},
		"question":        {"+++\ntitle = \"Semer\"\nlevel = 1\n[[question]]\nask = \"?\"\n+++\n## a\n", "p/a/fr.md:2: question: each needs"},
		"next":            {"+++\ntitle = \"Semer\"\nlevel = 1\nnext = \"b\"\n+++\n## a\n", "p/a/fr.md:2: next: there is no lesson \"b\""},
		"no step":         {head + "Semez.\n", "p/a/fr.md:5: 0 steps"},
		"title in text":   {head + "\n# Semez.\n", "p/a/fr.md:6: a heading of one #"},
		"empty heading":   {head + "## a\n\n##\n", "p/a/fr.md:5: a step's heading has 1 to"},
		"picture first":   {head + "![a](1.png)\n## a\n", "p/a/fr.md:5: a picture before the first step"},
		"two pictures":    {head + "\n\n## a\n![a](1.png)\n![b](1.png)\n", "p/a/fr.md:7: a second picture in one step: 1.png"},
		"no picture":      {head + "## a\n![a](2.png)\n", "p/a/fr.md:5: picture 2.png: open a/2.png: file does not exist"},
		"picture outside": {head + "## a\n![a](../../../etc/passwd)\n", "p/a/fr.md:5: picture ../../../etc/passwd: it is outside"},
		"picture far":     {head + "## a\n![a](https://example.org/1.png)\n", "p/a/fr.md:5: picture https://example.org/1.png: open"},
		"picture of text": {head + "## a\n![a](fr.md)\n", "p/a/fr.md:5: picture fr.md: it is neither a drawing nor"},
		"picture's name":  {head + "## a\n![a](%zz)\n", "p/a/fr.md:5: picture %zz: invalid URL escape"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := fstest.MapFS{"a/fr.md": {Data: []byte(c.text)}, "a/1.png": {}}
			l := &Library{lessons: make(map[string]map[string]*Lesson)}
			err := l.add(folder{files: in, name: "p", pack: "p", title: "P"})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestTables: a table is rendered as a table, without styles, and a search finds its words.
func TestTables(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{"semer/fr.md": {Data: []byte(lessonText + "| Graine | Jours |\n|:---|---:|\n| Radis | **4** |\n| <b>Pois</b> | 9 |\n")}}
	s := source{name: "semer/fr.md", link: ownLink}
	lesson, err := s.lesson(files, "semer/fr.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(lesson.Steps[0].Text)
	for _, part := range []string{"<table>", "<th align=\"left\">Graine</th>", "<td align=\"right\"><strong>4</strong></td>", "&lt;b&gt;Pois"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %s in %s", part, text)
		}
	}
	if strings.Contains(text, "style=") || lesson.Steps[0].plain == "" || !strings.Contains(lesson.Steps[0].plain, "Radis") {
		t.Errorf("text %s, plain %q", text, lesson.Steps[0].plain)
	}
}
