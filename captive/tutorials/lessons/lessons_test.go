package lessons

import (
	"io/fs"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// services are the values of the schema "lieux de médiation numérique", v1.0.1, field services
// (https://schema.data.gouv.fr/LaMednum/standard-mediation-num).
var services = []string{
	"Aide aux démarches administratives",
	"Maîtrise des outils numériques du quotidien",
	"Insertion professionnelle via le numérique",
	"Utilisation sécurisée du numérique",
	"Parentalité et éducation avec le numérique",
	"Loisirs et créations numériques",
	"Compréhension du monde numérique",
	"Accès internet et matériel informatique",
	"Acquisition de matériel informatique à prix solidaire",
}

// TestOwnLessons checks the rules for the built-in lessons.
func TestOwnLessons(t *testing.T) {
	t.Parallel()
	l := Own()
	if n := len(l.lessons); n < 40 {
		t.Errorf("%d lessons, want 40 or more", n)
	}
	if n := len(l.Paths()); n != 6 {
		t.Errorf("%d paths, want 6", n)
	}
	for _, p := range l.Paths() {
		for _, words := range []map[string]string{p.Title, p.Need} {
			if words["fr"] == "" || words["en"] == "" {
				t.Errorf("path %s: %q", p.Slug, words)
			}
		}
		if Pictogram(p.Pictogram).SVG == "" {
			t.Errorf("path %s: no pictogram %q", p.Slug, p.Pictogram)
		}
	}
	for slug, languages := range l.lessons {
		fr, en := languages["fr"], languages["en"]
		if fr == nil || en == nil || len(languages) != 2 {
			t.Errorf("%s is not in French and English, and them alone", slug)
			continue
		}
		if len(fr.Steps) != len(en.Steps) || fr.Level != en.Level || fr.Minutes != en.Minutes || fr.Next != en.Next || !slices.Equal(fr.Services, en.Services) {
			t.Errorf("%s is not the same lesson in both languages", slug)
		}
		for language, lesson := range languages {
			checkOwn(t, lesson)
			if p, ok := l.Path(lesson.Path); !ok || !slices.Contains(p.Lessons, slug) {
				t.Errorf("%s (%s) says that it is in path %q", slug, language, lesson.Path)
			}
		}
	}
}

// plainHTML matches the markup that the built-in lessons use.
var plainHTML = regexp.MustCompile(`</?(p|ul|ol|li|strong|em)>|<br>|</?a( href="[^"]*")?>`)

func checkOwn(t *testing.T, l *Lesson) {
	t.Helper()
	wrong := func(format string, args ...any) {
		t.Errorf(l.Slug+"/"+l.Language+".md: "+format, args...)
	}
	if l.Summary == "" || l.Help == "" || l.Minutes < 1 || l.Minutes > 20 || len(l.Intro) == 0 || len(l.Services) == 0 || l.Weight != 0 || l.Pack != "" {
		wrong("summary, help, minutes (1 to 20), introduction or services are missing")
	}
	for _, s := range l.Services {
		if !slices.Contains(services, s) {
			wrong("%q is no service of the schema", s)
		}
	}
	if n := len(l.Steps); n < 4 || n > 8 {
		wrong("%d steps, want 4 to 8", n)
	}
	if n := len(l.Questions); n != 3 {
		wrong("%d questions, want 3", n)
	}
	for i, s := range l.Steps {
		if words := len(strings.FieldsFunc(s.Heading, unicode.IsSpace)); words > 10 || !strings.HasSuffix(s.Heading, ".") {
			wrong("the heading %q is not one short sentence", s.Heading)
		}
		if s.Drawing.SVG == "" || s.Drawing.Alt == "" || s.Text == "" {
			wrong("step %d has no drawing, no words for it, or no text", i+1)
		}
		if left := plainHTML.ReplaceAllString(string(s.Text), ""); strings.ContainsAny(left, "<>") {
			wrong("step %d has marks that our lessons do without: %s", i+1, left)
		}
	}
}

func TestOwnFiles(t *testing.T) {
	t.Parallel()
	for _, languages := range Own().lessons {
		fr, en := languages["fr"], languages["en"]
		folder := "own/" + fr.Slug
		drawings, err := fs.Glob(ownFiles, folder+"/*.svg")
		if err != nil || len(drawings) != len(fr.Steps) {
			t.Errorf("%s: %d drawings for %d steps", fr.Slug, len(drawings), len(fr.Steps))
		}
		for i := range fr.Steps {
			a, b := string(fr.Steps[i].Drawing.SVG), string(en.Steps[i].Drawing.SVG)
			if _, a, _ = strings.Cut(a, ">"); !strings.HasSuffix(b, ">"+a) {
				t.Errorf("%s: step %d has two drawings", fr.Slug, i+1)
			}
		}
		for _, name := range drawings {
			b, err := fs.ReadFile(ownFiles, name)
			if err != nil || len(b) > 2500 {
				t.Errorf("%s has %d bytes, want 2500 at most (%v)", name, len(b), err)
			}
			s, err := ownKit().draw(b)
			if err != nil || s.viewBox != "0 0 320 200" {
				t.Errorf("%s: viewBox %q (%v)", name, s.viewBox, err)
			}
		}
	}
	kit, err := fs.ReadFile(ownFiles, "kit.svg")
	if err != nil || len(kit) > 22_000 {
		t.Errorf("the kit has %d bytes, want 22000 at most (%v)", len(kit), err)
	}
	fr := Helpers("fr")
	for _, name := range []string{"fr", "en", "es", "pt", "ar", "uk"} {
		text := Helpers(name)
		if text.Language != name || text.Title == "" || text.Summary == "" || len(text.Intro) == 0 || len(text.Sections) != len(fr.Sections) {
			t.Errorf("helpers in %s: %+v", name, text)
			continue
		}
		for i, s := range text.Sections {
			for _, part := range []string{"<li>", "<a ", "<strong>", "3919", "114"} {
				if got, want := strings.Count(string(s.Text), part), strings.Count(string(fr.Sections[i].Text), part); got != want {
					t.Errorf("helpers in %s: %d of %s in %q, and %d in French", name, got, part, s.Heading, want)
				}
			}
		}
	}
	if got := Helpers("it").Language; got != "fr" {
		t.Errorf("helpers fall back to %s", got)
	}
}

func TestLanguagesFallBack(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]string{"fr": "fr", "en": "en", "ar": "fr", "": "fr"} {
		if l, ok := Own().Lesson("wifi", asked); !ok || l.Language != want {
			t.Errorf("in %q there is %v, want %s", asked, l, want)
		}
	}
	if l, ok := Own().Lesson("nothing", "fr"); ok || l != nil {
		t.Errorf("there is %v", l)
	}
	if title, need := (Path{Title: map[string]string{"uk": "Сад"}}).In("en"); title != "Сад" || need != "" {
		t.Errorf("a path is called %q %q", title, need)
	}
}

// BenchmarkLoad measures what the lessons cost: time, and memory that stays in use.
func BenchmarkLoad(b *testing.B) {
	files, err := fs.Sub(ownFiles, "own")
	if err != nil {
		b.Fatal(err)
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var l *Library
	before := heap()
	for b.Loop() {
		l = &Library{lessons: make(map[string]map[string]*Lesson)}
		if err := l.add(folder{files: files, name: "own"}); err != nil {
			b.Fatal(err)
		}
		texts := heap()
		b.ReportMetric(float64(texts-before)/1e3, "kB-lessons")
		l.prepareIndexes()
		for _, index := range l.indexes {
			index()
		}
		b.ReportMetric(float64(heap()-texts)/1e3, "kB-indexes")
	}
	runtime.KeepAlive(l)
}
