package lessons

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Titles are the texts of a lesson that lists and picture stories show in a language that the lesson is not written in.
type Titles struct {
	Title   string   `toml:"title"`
	Summary string   `toml:"summary"`
	Steps   []string `toml:"steps"` // the headings, one for each step
}

// Named returns the lesson's title and summary in a language, or else in its own, and the code of the language that they are in.
func (l *Lesson) Named(language string) (title, summary, in string) {
	if t, ok := l.Titles[language]; ok && l.Language != language {
		return t.Title, t.Summary, language
	}
	return l.Title, l.Summary, l.Language
}

// addTitles reads the titles in a folder. Each file is named by its language (es.toml), and has a table for each lesson.
func (l *Library) addTitles(files fs.FS, folder string) error {
	names, err := fs.Glob(files, folder+"/*.toml")
	if err != nil {
		return err
	}
	for _, name := range names {
		s := source{name: name, language: strings.TrimSuffix(path.Base(name), ".toml")}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		var all map[string]Titles
		if err := s.decode(string(b), 1, &all); err != nil {
			return err
		}
		for slug, t := range all {
			lesson := l.lessons[slug][mainLanguage]
			switch {
			case lesson == nil:
				return fmt.Errorf("%s: there is no lesson %q", name, slug)
			case t.Title == "" || t.Summary == "" || len(t.Steps) != len(lesson.Steps):
				return fmt.Errorf("%s: %s: a title, a summary and %d steps are needed; it has %d", name, slug, len(lesson.Steps), len(t.Steps))
			}
			for i, step := range t.Steps {
				t.Steps[i] = spaces(step)
			}
			t.Title, t.Summary = spaces(t.Title), spaces(t.Summary)
			for _, lesson := range l.lessons[slug] {
				if lesson.Titles == nil {
					lesson.Titles = make(map[string]Titles)
				}
				lesson.Titles[s.language] = t
			}
		}
	}
	return nil
}
