package lessons

import (
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
)

// scripts are the scripts of the languages that the built-in lessons have titles in.
var scripts = map[string]*unicode.RangeTable{"es": unicode.Latin, "pt": unicode.Latin, "ar": unicode.Arabic, "uk": unicode.Cyrillic}

// TestTitlesInSixLanguages: lists and picture stories can be shown in every language of the portal.
func TestTitlesInSixLanguages(t *testing.T) {
	t.Parallel()
	for language, script := range scripts {
		complete := 0
		for _, l := range Own().Lessons() {
			if l.Language != mainLanguage {
				continue
			}
			titles, ok := l.Titles[language]
			if !ok {
				t.Logf("%s has no titles in %s", l.Slug, language)
				continue
			}
			complete++
			for _, text := range append(titles.Steps, titles.Title, titles.Summary) {
				if !strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(script, r) }) {
					t.Errorf("%s %s: %q is in another script", language, l.Slug, text)
				}
			}
			for i, step := range titles.Steps {
				if !strings.HasSuffix(step, ".") || len([]rune(step)) > 80 {
					t.Errorf("%s %s: %q is not one short sentence", language, l.Slug, step)
				}
				if strings.ContainsAny(step, "@") != strings.ContainsAny(l.Steps[i].Heading, "@") {
					t.Errorf("%s %s: step %d is %q, in French %q", language, l.Slug, i+1, step, l.Steps[i].Heading)
				}
			}
		}
		if complete < 40 {
			t.Errorf("%d lessons have titles in %s, want 40 or more", complete, language)
		}
		for _, p := range Own().Paths() {
			if p.Title[language] == "" || p.Need[language] == "" {
				t.Errorf("path %s has no title or need in %s", p.Slug, language)
			}
		}
	}
}

func TestTitlesThatAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[wifi]\ntitle = \"A\"\nsummary = \"B\"\nsteps = [\"C.\"]": "",
		"[nope]\ntitle = \"A\"\nsummary = \"B\"\nsteps = [\"C.\"]": `there is no lesson "nope"`,
		"[wifi]\ntitle = \"A\"\nsummary = \"B\"":                   "1 steps are needed; it has 0",
		"[wifi]\nsummary = \"B\"\nsteps = [\"C.\"]":                "a title, a summary",
		"[wifi]\nname = \"A\"":                                     `es.toml:2: there is no key "wifi.name"`,
		"[wifi":                                                    "es.toml:1: ",
	} {
		l := &Library{lessons: map[string]map[string]*Lesson{"wifi": {mainLanguage: {Steps: make([]Step, 1)}}}}
		err := l.addTitles(fstest.MapFS{"titles/es.toml": {Data: []byte(text)}}, "titles")
		if want == "" && (err != nil || l.lessons["wifi"][mainLanguage].Titles["es"].Title != "A") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
