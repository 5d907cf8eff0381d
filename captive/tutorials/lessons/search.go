package lessons

import "passerelle/captive/search"

// Weights of a word, by its place in a lesson.
const (
	inTitle, inSummary, inHeading, inPlain = 8, 4, 3, 1
)

// Hit is a lesson found by a search.
type Hit struct {
	Lesson *Lesson
	Step   int // the most relevant step, from 0; -1: the whole lesson
}

// index is the words of one language's lessons. The documents are the lessons, their parts the steps.
type index struct {
	lessons []*Lesson
	words   *search.Index
}

func (l *Library) buildIndexes() {
	languages := map[string]bool{mainLanguage: true}
	for _, all := range l.lessons {
		for language := range all {
			languages[language] = true
		}
	}
	l.indexes = make(map[string]*index, len(languages))
	for language := range languages {
		l.indexes[language] = newIndex(l, language)
	}
}

func newIndex(l *Library, language string) *index {
	x := &index{}
	var b search.Builder
	for _, p := range l.paths {
		for _, slug := range p.Lessons {
			lesson, _ := l.Lesson(slug, language)
			b.Document()
			b.Add(lesson.Title, search.Whole, inTitle)
			b.Add(lesson.Summary, search.Whole, inSummary)
			b.Add(lesson.plain, search.Whole, inPlain)
			for i, step := range lesson.Steps {
				b.Add(step.Heading, i, inHeading)
				b.Add(step.plain, i, inPlain)
			}
			x.lessons = append(x.lessons, lesson)
		}
	}
	x.words = b.Index()
	return x
}

// Search returns the lessons that match a query in a language, the best first.
func (l *Library) Search(language, query string, most int) []Hit {
	x := l.indexes[language]
	if x == nil {
		x = l.indexes[mainLanguage]
	}
	found, _ := search.Search(query, nil, x.words) // in memory: no error
	var hits []Hit
	for _, h := range found.Best(most) {
		hits = append(hits, Hit{x.lessons[h.Doc], h.Part})
	}
	return hits
}
