// Package search finds documents by words. It owns how words are folded, compared and ranked, and the index, which is compact enough
// for tens of thousands of documents on a small board. It does not depend on what the documents are.
//
// Every word of a query except stop words is looked up among the words of the documents, and so are neighbouring words joined into
// one, since people write "motdepasse" and "wi fi". Words are compared folded: without accents, capitals, plural endings and joined
// articles. A word also matches longer words that begin with it and words that sound like it. A word with no such match is compared
// as a misspelling, by its letters. The words are a sorted list, and a misspelling is compared only with words that begin alike and
// have about the same letters: see typos and outline.
//
// A document is found if it is about at least half of what was asked: see floor.
package search

import (
	"cmp"
	"container/heap"
	"iter"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds on a query.
const (
	maxQuery  = 256 // bytes that are read
	maxWords  = 12
	maxPhrase = 4        // words that may be written as one
	minBegin  = 4        // letters of a prefix: a shorter one says nothing
	maxBegin  = 16 << 10 // bytes of a prefix's postings: a prefix of thousands of words says nothing
)

// The certainties of a match, from 0 to 1, by its kind: the word itself (exact), a word with the same sound (alike), such a word if the
// word itself is known, too (alikeOnly), and a longer word that begins with it (beginning).
const exact, alike, alikeOnly, beginning = 1.0, 0.85, 0.5, 0.65

// typo returns the certainty of a match with mistakes, by the number of letters. A word of up to four letters is not taken for a
// misspelling, since with one mistake it mostly is another word. The same holds for up to eight letters with two mistakes: see
// misspelt. Words that are misspelt by ear are found by their sound.
func typo(letters, mistakes int) float64 {
	if letters < 8 || mistakes > 1 {
		return 0.55
	}
	return 0.7
}

// full is the weight of a text that says what its document is about, such as a title. Heavier texts are keywords: what people search
// for, according to the author, to find the document.
const full = 8

// about says, by a text's weight, how much a word in it says about the document's subject: 1 in a title, about a third at weight 1.
var about = func() (all [MaxWeight + 1]float64) {
	for weight := range all {
		all[weight] = math.Sqrt(float64(weight) / full)
	}
	return all
}()

// floor is the part of a query that a document must be about. Rare words count more. A document that is about less than half of the
// query lacks more of it than it has: a page about shopping on the internet would be an absurd answer to "acheter une voiture". All
// words that no document has count together as one, since people tell their story.
const floor = 0.5

// lightly is the weight of a light word in a query; that of other words is 1.
const lightly = 0.4

// Hit is a document that matches a query.
type Hit struct {
	Index int // the number of its index among those searched
	Doc   int
	Part  int     // the most relevant part, or Whole
	Score float64 // hits are ordered by it; comparable within one search
	Sure  float64 // how much of the query it is about, from floor; 1 is all of it. Comparable between searches for one query

	number int // in Results
}

// Results are the documents that match a query.
type Results struct {
	hits    []scored
	asked   float64 // the weight of the query's words
	best    float64 // of covered
	fullest float64 // of matched
}

// Search finds the documents of all indexes that match a query, without those for which keep returns false; a nil keep keeps all. The
// error is from reading an index.
func Search(query string, keep func(index, doc int) bool, indexes ...*Index) (*Results, error) {
	s := searcher{indexes: indexes, keep: keep, slots: make([][]int32, len(indexes))}
	for i, x := range indexes {
		s.slots[i] = make([]int32, x.docs)
		s.docs += x.docs
	}
	// A word that no document has counts halfway between a word that one document is about and a word that all are about.
	missing, missed := math.Log(float64(max(s.docs, 1)))/2+common, 0.0
	for i, w := range s.words(query) {
		if len(w.found) == 0 {
			missed = max(missed, missing*w.weight)
			continue
		}
		if err := s.add(int32(i+1), w); err != nil {
			return nil, err
		}
	}
	s.asked += missed
	for i := range s.hits {
		s.best, s.fullest = max(s.best, s.hits[i].covered), max(s.fullest, s.hits[i].matched)
	}
	return &s.Results, nil
}

// Best returns at most that many documents that are about the query, the best first, and equals in the order of the indexes. Documents
// that are about much less of the query than the best are dropped.
func (r *Results) Best(most int) []Hit {
	var best worst
	for i := range r.hits {
		h := &r.hits[i]
		if h.covered < max(r.best*0.6, r.asked*floor) || most <= 0 {
			continue
		}
		hit := Hit{
			Index: int(h.index), Doc: int(h.doc), Part: Whole, Score: h.covered * h.covered * h.total, Sure: h.covered / r.asked, number: i,
		}
		if len(best) < most {
			heap.Push(&best, hit)
		} else if order(hit, best[0]) < 0 {
			best[0] = hit
			heap.Fix(&best, 0)
		}
	}
	slices.SortFunc(best, order)
	for i := range best {
		h := &r.hits[best[i].number]
		most := h.whole
		for part, v := range h.parts {
			if v > most {
				best[i].Part, most = part, v
			}
		}
	}
	return best
}

// Fullest returns the index and the number of each document that matches the most of the query, whatever the document is about.
func (r *Results) Fullest() iter.Seq2[int, int] {
	return func(yield func(index, doc int) bool) {
		for i := range r.hits {
			// Sums of the same numbers in a different order may differ in their last digits.
			if h := &r.hits[i]; h.matched >= r.fullest*(1-1e-9) && !yield(int(h.index), int(h.doc)) {
				return
			}
		}
	}
}

func order(a, b Hit) int {
	return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Doc, b.Doc))
}

// worst is a heap of hits with the worst on top.
type worst []Hit

func (w worst) Len() int           { return len(w) }
func (w worst) Less(i, j int) bool { return order(w[i], w[j]) > 0 }
func (w worst) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *worst) Push(h any)        { *w = append(*w, h.(Hit)) }
func (w *worst) Pop() any          { panic("only Push and Fix are used") }

// searcher is the state of one search.
type searcher struct {
	Results
	indexes []*Index
	docs    int // of all indexes
	keep    func(index, doc int) bool
	slots   [][]int32 // by index and document, the number of its hit, from 1; 0: none yet
	buffer  []byte    // postings as they are read
}

// scored is a document that matches, with its sums so far.
type scored struct {
	index, doc int32
	word       int32     // the number of the query's word that weight and about belong to
	weight     float64   // of the word's best match
	about      float64   // how much the document is about the word, by the best match
	matched    float64   // how much of the query it contains; rare words count more
	covered    float64   // how much of the query it is about
	total      float64   // the weight of the matches
	whole      float64   // the weight of the matches outside all parts
	parts      []float64 // the weight of the matches in each part
}

// wanted is a word of a query, and what matches it.
type wanted struct {
	weight float64
	found  []match
}

// match is a range of words of an index (from inclusive, to exclusive) that match a word of a query.
type match struct {
	index    int
	from, to int
	sure     float64
}

// words returns the words of a query to search for, and what matches each of them, alone or with its neighbours.
func (s *searcher) words(query string) (all []wanted) {
	if len(query) > maxQuery {
		query = query[:maxQuery]
	}
	list := tokens(strings.ToValidUTF8(query, " "))
	numbers := make([]int, len(list)) // each token's index in all; -1: none
	seen := make(map[string]bool)
	for i, t := range list {
		numbers[i] = -1
		if t.stop || seen[t.stem] || len(all) == maxWords {
			continue
		}
		w := wanted{1, s.lookUp(t.stem)}
		if len(w.found) == 0 && likeStop(t.text) {
			continue
		}
		seen[t.stem], numbers[i] = true, len(all)
		if t.light {
			w.weight = lightly
		}
		all = append(all, w)
	}
	known := make([]bool, len(all))
	for i := range all {
		known[i] = len(all[i].found) > 0
	}
	for from := range list {
		var whole, short string
		var covered []int
		some := false // one of the covered words has matches of its own
		for to := from; to < len(list) && to < from+maxPhrase; to++ {
			t := list[to]
			whole += t.form()
			if numbers[to] >= 0 {
				short += t.stem
				covered = append(covered, numbers[to])
				some = some || known[numbers[to]]
			}
			if to == from || len(covered) == 0 {
				continue
			}
			found := s.lookUpPhrase(whole, some)
			if short != whole && numbers[from] >= 0 && numbers[to] >= 0 && len(covered) > 1 {
				found = append(found, s.lookUpPhrase(short, some)...)
			}
			if len(found) == 0 {
				continue
			}
			for _, n := range covered {
				all[n].found, all[n].weight = append(all[n].found, found...), 1
			}
		}
	}
	return all
}

// common is the weight of a word that all documents are about.
const common = 0.05

// fine is the fixed-point unit for counting documents that are partly about a word.
const fine = 64

// add counts the matches of a query's word. The word's number is counted from 1.
func (s *searcher) add(number int32, w wanted) (err error) {
	few, postings := 0, 0
	for _, m := range w.found {
		postings += s.indexes[m.index].size(m.from, m.to)
	}
	s.hits = slices.Grow(s.hits, min(postings, s.docs-len(s.hits))) // doubling a slice of thousands leaves much garbage
	for _, m := range w.found {
		s.buffer, err = s.indexes[m.index].read(s.buffer, m.from, m.to, func(p posting) {
			slot := &s.slots[m.index][p.doc]
			if *slot == 0 {
				if s.keep != nil && !s.keep(m.index, int(p.doc)) {
					return
				}
				s.hits = append(s.hits, scored{index: int32(m.index), doc: p.doc})
				*slot = int32(len(s.hits))
			}
			h := &s.hits[*slot-1]
			if h.word != number {
				h.word, h.weight, h.about = number, 0, 0
			}
			h.weight = max(h.weight, m.sure*float64(p.weight))
			if more := m.sure * about[p.weight]; more > h.about {
				few += int(fine*min(more, 1)) - int(fine*min(h.about, 1))
				h.about = more
			}
		})
		if err != nil {
			return err
		}
	}
	// A word that few documents are about is more specific than one that many are about.
	rare := w.weight * (max(math.Log(fine*float64(s.docs)/float64(max(few, fine))), 0) + common)
	s.asked += rare
	for _, m := range w.found {
		s.buffer, err = s.indexes[m.index].read(s.buffer, m.from, m.to, func(p posting) {
			slot := s.slots[m.index][p.doc]
			if slot == 0 {
				return
			}
			h := &s.hits[slot-1]
			if h.word == number {
				h.matched += rare
				h.covered += rare * h.about
				h.total += rare * h.weight
				h.word = -number // counted
			}
			part := &h.whole
			if p.part != Whole {
				if more := int(p.part) + 1 - len(h.parts); more > 0 {
					h.parts = append(h.parts, make([]float64, more+4)...)
				}
				part = &h.parts[p.part]
			}
			*part += rare * m.sure * float64(p.weight)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lookUp returns the indexes' words that match a word of a query.
func (s *searcher) lookUp(word string) (found []match) {
	found = s.wellSpelt(word, func(*Index) bool { return true })
	if utf8.RuneCountInString(word) >= minBegin {
		for i, x := range s.indexes {
			from, to := x.beginning(word)
			if from < to && x.word(from) == word {
				from++
			}
			if from < to && x.size(from, to) <= maxBegin {
				found = append(found, match{i, from, to, beginning})
			}
		}
	}
	if len(found) > 0 {
		return found
	}
	return s.misspelt(word, false)
}

// lookUpPhrase returns the indexes' words that match a few words of a query joined into one. Misspellings count only if some is true:
// one of the words has matches of its own.
func (s *searcher) lookUpPhrase(phrase string, some bool) []match {
	if found := s.wellSpelt(phrase, (*Index).hasPhrases); len(found) > 0 || !some {
		return found
	}
	return s.misspelt(phrase, true)
}

// wellSpelt returns the indexes' words that equal a word, and the words that sound like it in the indexes that bySound accepts. If the
// word itself is known, a word that sounds like it is less certain: "scan" and "scam".
func (s *searcher) wellSpelt(word string, bySound func(*Index) bool) (found []match) {
	for i, x := range s.indexes {
		found = append(found, x.exactly(i, word)...)
	}
	sure, sound := alike, soundOf(word)
	if len(found) > 0 {
		sure = alikeOnly
	}
	for i, x := range s.indexes {
		if bySound(x) {
			found = append(found, x.alike(i, word, sound, sure)...)
		}
	}
	return found
}

// misspelt returns the indexes' words that are the nearest to a word by their letters (see mistyped). For a few words joined into
// one it returns the nearest phrases, and a phrase must be longer for the same number of mistakes to be allowed.
func (s *searcher) misspelt(word string, phrase bool) (found []match) {
	letters, fewest := []rune(word), 0
	switch n := len(letters); {
	case n >= 12, n >= 9 && !phrase:
		fewest = 2
	case n >= 8, n >= 5 && !phrase:
		fewest = 1
	default:
		return nil
	}
	shape := outlineOf(letters)
	for i, x := range s.indexes {
		x.typos(word, phrase, func(j int) {
			if shape.apart(outline{x.letters[j], int(x.lengths[j])}) > fewest {
				return
			}
			other := []rune(x.plain(j))
			d := Distance(letters, other, fewest)
			if d > fewest || !mistyped(letters, other, d) {
				return
			}
			if d < fewest { // only the nearest words count
				fewest, found = d, nil
			}
			found = append(found, match{i, j, j + 1, typo(len(letters), d)})
		})
	}
	return found
}
