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

// Weights of a word, by its place in a lesson. A keyword is what people say who look for the lesson, so nothing says more of
// what it is about; one word of several of a keyword says little.
const (
	inKeyword, inTitle, inSummary, inHeading, inKeywordApart, inPlain = 12, 8, 4, 3, 2, 1
)

// Bounds on keywords, all of which stay in memory.
const (
	maxKeywords     = 60 // of a language
	maxKeyword      = 40 // letters
	maxKeywordWords = 6
)

// checkKeywords checks how people say what a lesson is about, by language. It returns every problem, each without its place.
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
	Lesson *Lesson // nil: the page for helpers
	Step   int     // the most relevant step, from 0; -1: the whole lesson
	Sure   float64 // how much of the query it is about: see search.Hit
}

// index is the words of one language's lessons. The documents are the lessons, their parts the steps; the last document is the
// page for helpers.
type index struct {
	lessons []*Lesson
	words   *search.Index
}

// prepareIndexes sets the index of each language, which is built by the first search in it: all of them took a third of what
// the daemon computes at its start.
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

// keywords returns a lesson's keywords in all languages: people do not only write in the language of the page.
func (l *Library) keywords(slug string) (all []string) {
	for _, lesson := range l.lessons[slug] {
		all = append(all, strings.Split(lesson.keywords, "\n")...)
	}
	return all
}

// helperKeywords returns those of the page for helpers.
func helperKeywords() (all []string) {
	for _, page := range helpers() {
		all = append(all, strings.Split(page.keywords, "\n")...)
	}
	return all
}

// Search returns the lessons that match a query in a language, the best first.
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
