package lessons

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"passerelle/captive/search"
)

// The weights of a word, by its place in a lesson. A keyword is what people search for to find the lesson, so nothing says more about
// its subject; a single word of a keyword of several words says little.
const (
	inKeyword, inTitle, inSummary, inHeading, inKeywordApart, inPlain = 12, 8, 4, 3, 2, 1
)

// Bounds on keywords, which all stay in memory.
const (
	maxKeywords     = 60 // per language
	maxKeyword      = 40 // letters
	maxKeywordWords = 6
)

// checkKeywords checks a lesson's keywords, by language. It returns every problem, without the file's name and line.
func checkKeywords(all map[string][]string) (problems []error) {
	for _, language := range slices.Sorted(maps.Keys(all)) {
		words := all[language]
		if !languageForm.MatchString(language) {
			problems = append(problems, fmt.Errorf("keywords.%s: not a language; write its code, as in keywords.fr", language))
		}
		if len(words) > maxKeywords {
			problems = append(problems, fmt.Errorf("keywords.%s: %d are more than %d", language, len(words), maxKeywords))
		}
		seen := make(map[string]bool)
		for _, w := range words {
			folded := search.Fold(w)
			switch {
			case utf8.RuneCountInString(w) > maxKeyword || len(strings.Fields(w)) > maxKeywordWords:
				problems = append(problems, fmt.Errorf("keywords.%s: %q has more than %d letters, or more than %d words",
					language, w, maxKeyword, maxKeywordWords))
			case !search.Says(w):
				problems = append(problems, fmt.Errorf("keywords.%s: %q says nothing: no word in it is searched for", language, w))
			case seen[folded]:
				problems = append(problems, fmt.Errorf("keywords.%s: %q is there twice", language, w))
			}
			seen[folded] = true
		}
	}
	return problems
}

// Hit is a lesson found by a search.
type Hit struct {
	Lesson *Lesson // nil for the page for helpers
	Step   int     // the most relevant step, from 0; -1 for the whole lesson
	Sure   float64 // how much of the query it is about: see search.Hit
}

// index is a search index of the lessons in one language. The documents are the lessons, their parts the steps; the last document is
// the page for helpers.
type index struct {
	lessons []*Lesson
	words   *search.Index
}

// prepareIndexes sets the index of each language. An index is built by the first search in its language: building all of them took a
// third of the processor time of the daemon's start.
func (l *Library) prepareIndexes() {
	languages := map[string]bool{mainLanguage: true}
	for _, all := range l.lessons {
		for language := range all {
			languages[language] = true
		}
	}
	l.indexes = make(map[string]func() *index, len(languages))
	for language := range languages {
		l.indexes[language] = sync.OnceValue(func() *index { return newIndex(l, language) })
	}
}

func newIndex(l *Library, language string) *index {
	x := &index{}
	var b search.Builder
	for _, p := range l.paths {
		for _, slug := range p.Lessons {
			lesson, _ := l.Lesson(slug, language)
			b.Document()
			for _, keyword := range l.keywords(slug) {
				b.AddPhrase(keyword, inKeyword, inKeywordApart)
			}
			b.AddPhrase(lesson.Title, inKeyword, inTitle)
			b.Add(lesson.Title, search.Whole, inTitle)
			for _, t := range lesson.Titles {
				b.Add(t.Title, search.Whole, inTitle)
			}
			b.Add(lesson.Summary, search.Whole, inSummary)
			b.Add(lesson.plain, search.Whole, inPlain)
			for i, step := range lesson.Steps {
				b.Add(step.Heading, i, inHeading)
				b.Add(step.plain, i, inPlain)
			}
			x.lessons = append(x.lessons, lesson)
		}
	}
	b.Document()
	for _, keyword := range helperKeywords() {
		b.AddPhrase(keyword, inKeyword, inKeywordApart)
	}
	page := Helpers(language)
	b.Add(page.Title, search.Whole, inTitle)
	b.Add(page.Summary, search.Whole, inSummary)
	x.lessons = append(x.lessons, nil)
	x.words = b.Index()
	return x
}

// keywords returns a lesson's keywords in all languages, since people do not only write in the language of the page.
func (l *Library) keywords(slug string) (all []string) {
	for _, lesson := range l.lessons[slug] {
		all = append(all, strings.Split(lesson.keywords, "\n")...)
	}
	return all
}

// helperKeywords returns the keywords of the page for helpers in all languages.
func helperKeywords() (all []string) {
	for _, page := range helpers() {
		all = append(all, strings.Split(page.keywords, "\n")...)
	}
	return all
}

// Search returns at most that many lessons that match a query in a language, the best first. The page for helpers may be among them.
func (l *Library) Search(language, query string, most int) []Hit {
	built := l.indexes[language]
	if built == nil {
		built = l.indexes[mainLanguage]
	}
	x := built()
	found, _ := search.Search(query, nil, x.words) // in memory: no error
	var hits []Hit
	for _, h := range found.Best(most) {
		hits = append(hits, Hit{x.lessons[h.Doc], h.Part, h.Sure})
	}
	return hits
}
