package tutorials

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The search looks for every word of a query among the words of the lessons as a reader of one language gets them.
// Words are compared folded: without accents, capitals, plural endings and articles that stick to them. A word that
// nobody wrote counts as its beginning, or as the word that it was probably meant to be. There are a few thousand words
// in our own lessons and some ten thousand in a large pack, so that a sorted list is index enough. A word that was meant
// to be another is compared only with those that have about as many letters, and about the same ones: see outline.

// Bounds on a query.
const (
	maxQuery = 256 // bytes that are looked at
	maxWords = 12
)

// How much a word says about a lesson, by where it stands, and about what was meant, by how it was found.
const (
	inTitle, inSummary, inHeading, inPlain = 8, 4, 3, 1

	exact, beginning = 1.0, 0.7
)

var typos = [...]float64{1: 0.5, 2: 0.3}

// Hit is a lesson found by a search.
type Hit struct {
	Lesson *Lesson
	Step   int // the step that says most about it, from 0; -1: the lesson as a whole
}

// index is the words of one language's lessons.
type index struct {
	lessons []*Lesson
	words   []string  // sorted
	shapes  []outline // of words
	from    []int32   // places of words[i] are places[from[i]:from[i+1]]
	places  []place
}

// place is where a word stands.
type place struct {
	lesson uint16
	step   int8
	weight uint8
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
	found := make(map[string][]place)
	note := func(text string, step int, weight uint8) {
		for _, w := range split(text) {
			for _, form := range w.forms() {
				p := place{uint16(len(x.lessons)), int8(step), weight}
				before := found[form]
				if n := len(before); n > 0 && before[n-1].lesson == p.lesson && before[n-1].step == p.step {
					continue // what weighs more comes first
				}
				found[form] = append(before, p)
			}
		}
	}
	for _, p := range l.paths {
		for _, slug := range p.Lessons {
			lesson, _ := l.Lesson(slug, language)
			note(lesson.Title, -1, inTitle)
			note(lesson.Summary, -1, inSummary)
			note(lesson.plain, -1, inPlain)
			for i, step := range lesson.Steps {
				note(step.Heading, i, inHeading)
				note(step.plain, i, inPlain)
			}
			x.lessons = append(x.lessons, lesson)
		}
	}
	x.words = slices.Sorted(maps.Keys(found))
	x.from = make([]int32, 1, len(x.words)+1)
	for i, w := range x.words {
		x.words[i] = strings.Clone(w) // not the whole text that it stands in
		x.shapes = append(x.shapes, outlineOf([]rune(w)))
		x.places = append(x.places, found[w]...)
		x.from = append(x.from, int32(len(x.places)))
	}
	x.places = slices.Clip(x.places)
	return x
}

// Search returns the lessons that a query is about, in a language, the best first.
func (l *Library) Search(language, query string, most int) []Hit {
	x := l.indexes[language]
	if x == nil {
		x = l.indexes[mainLanguage]
	}
	return x.search(query, most)
}

func (x *index) search(query string, most int) []Hit {
	type score struct {
		lesson  int
		covered float64   // how much of the query it is about
		total   float64   // how much it says about that
		steps   []float64 // likewise, by step + 1
	}
	scores := make([]score, len(x.lessons))
	for i, lesson := range x.lessons {
		scores[i] = score{lesson: i, steps: make([]float64, len(lesson.Steps)+1)}
	}
	best := 0.0
	for _, w := range x.query(query) {
		found := x.lookUp(w)
		about := make([]float64, len(x.lessons))
		few := 0.0
		for _, m := range found {
			for _, p := range m.places {
				if about[p.lesson] == 0 {
					few++
				}
				about[p.lesson] = max(about[p.lesson], m.sure*float64(p.weight))
			}
		}
		// A word of a few lessons says more than one of them all.
		rare := math.Log(float64(len(x.lessons))/max(few, 1)) + 0.05
		for i, a := range about {
			if a > 0 {
				scores[i].covered += rare
				scores[i].total += rare * a
			}
		}
		for _, m := range found {
			for _, p := range m.places {
				scores[p.lesson].steps[p.step+1] += rare * m.sure * float64(p.weight)
			}
		}
	}
	for _, s := range scores {
		best = max(best, s.covered)
	}
	// Those that say little of what was asked, beside one that says all, are not what was looked for.
	scores = slices.DeleteFunc(scores, func(s score) bool { return s.covered == 0 || s.covered < best*0.6 })
	slices.SortStableFunc(scores, func(a, b score) int { return cmp.Compare(b.covered*b.total, a.covered*a.total) })
	hits := make([]Hit, 0, max(0, min(most, len(scores))))
	for _, s := range scores[:cap(hits)] {
		step := 0
		for i, v := range s.steps {
			if v > s.steps[step] {
				step = i
			}
		}
		hits = append(hits, Hit{x.lessons[s.lesson], step - 1})
	}
	return hits
}

// query returns the words to look for.
func (x *index) query(query string) []string {
	if len(query) > maxQuery {
		query = query[:maxQuery]
	}
	var words []string
	for _, w := range split(strings.ToValidUTF8(query, " ")) {
		forms := w.forms()
		if _, ok := slices.BinarySearch(x.words, forms[0]); ok {
			forms = forms[:1] // "e-mail" is one word
		} else if len(forms) > 1 {
			forms = forms[1:] // "portez-vous" is two
		}
		for _, f := range forms {
			if !slices.Contains(words, f) && len(words) < maxWords {
				words = append(words, f)
			}
		}
	}
	return words
}

// match is a word of the index that a word of a query stands for.
type match struct {
	places []place
	sure   float64
}

// lookUp returns the index's words that a word of a query stands for.
func (x *index) lookUp(word string) (found []match) {
	note := func(i int, sure float64) { found = append(found, match{x.places[x.from[i]:x.from[i+1]], sure}) }
	at, _ := slices.BinarySearch(x.words, word)
	for i := at; i < len(x.words) && strings.HasPrefix(x.words[i], word); i++ {
		if x.words[i] == word {
			note(i, exact)
		} else {
			note(i, beginning)
		}
	}
	if len(found) > 0 {
		return found
	}
	letters, fewest := []rune(word), 0
	switch {
	case len(letters) >= 8:
		fewest = 2
	case len(letters) >= 4:
		fewest = 1
	default:
		return nil
	}
	shape := outlineOf(letters)
	for i, other := range x.shapes {
		if shape.apart(other) > fewest {
			continue
		}
		d := distance(letters, []rune(x.words[i]), fewest)
		if d > fewest {
			continue
		}
		if d < fewest { // what is nearer is what was meant
			fewest, found = d, nil
		}
		note(i, typos[d])
	}
	return found
}

// outline is what a word can be compared by at a glance: how many letters it has, and which, in 64 classes.
type outline struct {
	letters uint64
	length  int32
}

func outlineOf(word []rune) (o outline) {
	o.length = int32(len(word))
	for _, letter := range word {
		o.letters |= 1 << (letter % 64)
	}
	return o
}

// apart returns a number that the distance of two words is not below. A letter that is added or left out changes one
// class at most, one that becomes another two, and two that are swapped none.
func (o outline) apart(other outline) int {
	length := int(o.length - other.length)
	return max(length, -length, (bits.OnesCount64(o.letters^other.letters)+1)/2)
}

// distance returns how many letters must be changed, added, left out or swapped with the next to make b of a, or most+1
// if there are more (optimal string alignment).
func distance(a, b []rune, most int) int {
	if d := len(a) - len(b); d > most || -d > most {
		return most + 1
	}
	var rows [3][64]int
	if len(b) >= len(rows[0]) {
		return most + 1
	}
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, above, twice := &rows[i%3], &rows[(i+2)%3], &rows[(i+1)%3]
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], twice[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > most {
			return most + 1
		}
	}
	return min(rows[len(a)%3][len(b)], most+1)
}

// word is a word of a text with its parts: of "e-mail", "e" and "mail".
type word []string

// forms returns the folded forms of a word: as a whole first, then its parts if there are several.
func (w word) forms() []string {
	whole := stem(strings.Join(w, ""))
	if len(w) == 1 {
		return []string{whole}
	}
	forms := []string{whole}
	for _, part := range w {
		forms = append(forms, stem(part))
	}
	return forms
}

// split returns the words of a text, folded. What stands before an apostrophe is an article or the like ("l’", "d’",
// "qu’"), what stands behind an English one is no word either ("it’s"): short ones are left out.
func split(text string) []word {
	var words []word
	for _, chunk := range strings.FieldsFunc(fold(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\'' && r != '-'
	}) {
		for _, piece := range strings.Split(chunk, "'") {
			if strings.Contains(chunk, "'") && (utf8.RuneCountInString(piece) < 2 || piece == "qu") {
				continue
			}
			if w := word(strings.FieldsFunc(piece, func(r rune) bool { return r == '-' })); len(w) > 0 {
				words = append(words, w)
			}
		}
	}
	return words
}

// letters that the Unicode decomposition leaves together, and marks that mean the same.
var letters = strings.NewReplacer("œ", "oe", "æ", "ae", "ß", "ss", "ø", "o", "ł", "l", "ı", "i", "ґ", "г",
	"ى", "ي", "ة", "ه", "ـ", "", "’", "'", "ʼ", "'", "‘", "'", "\u2010", "-", "\u2011", "-")

// fold makes letters small and takes their accents, and the vowel signs of Arabic, away.
func fold(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKD.String(s))
	return letters.Replace(s)
}

// stem takes a word's plural ending away (French and English -s, French -x), and the Arabic article.
func stem(w string) string {
	for _, article := range []string{"وال", "بال", "كال", "ال", "لل"} {
		if rest, ok := strings.CutPrefix(w, article); ok && utf8.RuneCountInString(rest) >= 3 {
			return rest
		}
	}
	if len(w) >= 4 && (w[len(w)-1] == 's' || w[len(w)-1] == 'x') {
		return w[:len(w)-1]
	}
	return w
}
