// Package search finds documents by words. It owns how words are folded, compared and ranked, and the index, which is
// compact enough for ten thousands of documents on a small board; it must not know what the documents are.
//
// Every word of a query is looked up among the words of the documents. Words are compared folded: without accents,
// capitals, plural endings and joined articles. A word that no document has counts as a prefix, or as a misspelling. The
// words are a sorted list, and a misspelling is compared only with words of about the same letters: see outline.
package search

import (
	"cmp"
	"container/heap"
	"iter"
	"math"
	"slices"
	"sort"
	"strings"
)

// Bounds on a query.
const (
	maxQuery = 256 // bytes that are read
	maxWords = 12
	maxBegin = 16 << 10 // bytes of postings: letters that thousands of words begin with say nothing
)

// How sure a match is, by its kind.
const exact, beginning = 1.0, 0.7

var typos = [...]float64{1: 0.5, 2: 0.3}

// Hit is a document that matches a query.
type Hit struct {
	Index int // which index it is in
	Doc   int
	Part  int     // the most relevant part; Whole: all of it
	Score float64 // the order; comparable within one search

	number int // in Results
}

// Results are the documents that match a query.
type Results struct {
	hits []scored
	best float64
}

// Search finds the documents of all indexes that match a query, without those that keep refuses; nil keeps all. The error
// is from reading an index.
func Search(query string, keep func(index, doc int) bool, indexes ...*Index) (*Results, error) {
	s := searcher{indexes: indexes, keep: keep, slots: make([][]int32, len(indexes))}
	docs := 0
	for i, x := range indexes {
		s.slots[i] = make([]int32, x.docs)
		docs += x.docs
	}
	for i, w := range s.words(query) {
		if err := s.add(int32(i+1), w, docs); err != nil {
			return nil, err
		}
	}
	for i := range s.hits {
		s.best = max(s.best, s.hits[i].covered)
	}
	return &s.Results, nil
}

// Best returns the best documents, the best first, and of equals in the order of the indexes. Next to a full match,
// documents that match little of the query are dropped.
func (r *Results) Best(most int) []Hit {
	var best worst
	for i := range r.hits {
		h := &r.hits[i]
		if h.covered < r.best*0.6 || most <= 0 {
			continue
		}
		hit := Hit{Index: int(h.index), Doc: int(h.doc), Part: Whole, Score: h.covered * h.total, number: i}
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

// Fullest returns the index and the document of all that match the most of the query.
func (r *Results) Fullest() iter.Seq2[int, int] {
	return func(yield func(index, doc int) bool) {
		for i := range r.hits {
			// Sums in another order may differ in their last digits.
			if h := &r.hits[i]; h.covered >= r.best*(1-1e-9) && !yield(int(h.index), int(h.doc)) {
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

// searcher is one search.
type searcher struct {
	Results
	indexes []*Index
	keep    func(index, doc int) bool
	slots   [][]int32 // by index and document, the number of its hit, from 1; 0: none yet
	buffer  []byte    // postings as they are read
}

// scored is a document that matches, while it is counted.
type scored struct {
	index, doc int32
	word       int32     // the number of the query's word that about is of
	covered    float64   // how much of the query it matches, more for rare words
	total      float64   // the weight of the matches
	about      float64   // the weight of the word's best match
	whole      float64   // the weight of the matches in no part
	parts      []float64 // likewise, by part
}

// words returns the words of a query to search for.
func (s *searcher) words(query string) []string {
	if len(query) > maxQuery {
		query = query[:maxQuery]
	}
	var words []string
	for _, w := range split(strings.ToValidUTF8(query, " ")) {
		forms := w.forms()
		if slices.ContainsFunc(s.indexes, func(x *Index) bool { return x.has(forms[0]) }) {
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

// match is words of an index, from inclusive, to exclusive, that match a word of a query.
type match struct {
	index    int
	from, to int
	sure     float64
}

// add counts the matches of a query's word with its number, from 1. docs is how many documents there are in all.
func (s *searcher) add(number int32, word string, docs int) (err error) {
	found := s.lookUp(word)
	few := 0.0
	postings := 0
	for _, m := range found {
		postings += s.indexes[m.index].size(m.from, m.to)
	}
	s.hits = slices.Grow(s.hits, min(postings, docs-len(s.hits))) // of thousands, doubling leaves much behind
	for _, m := range found {
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
				h.word, h.about = number, 0
				few++
			}
			h.about = max(h.about, m.sure*float64(p.weight))
		})
		if err != nil {
			return err
		}
	}
	// A word in few documents is more specific than one in all.
	rare := math.Log(float64(docs)/max(few, 1)) + 0.05
	for _, m := range found {
		s.buffer, err = s.indexes[m.index].read(s.buffer, m.from, m.to, func(p posting) {
			slot := s.slots[m.index][p.doc]
			if slot == 0 {
				return
			}
			h := &s.hits[slot-1]
			if h.word == number {
				h.covered += rare
				h.total += rare * h.about
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
	for i, x := range s.indexes {
		from, ok := x.find(word)
		if ok {
			found = append(found, match{i, from, from + 1, exact})
			from++
		}
		to := from + sort.Search(len(x.ends)-from, func(j int) bool { return !strings.HasPrefix(x.word(from+j), word) })
		if from < to && x.size(from, to) <= maxBegin {
			found = append(found, match{i, from, to, beginning})
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
	for i, x := range s.indexes {
		for j, mask := range x.letters {
			if shape.apart(outline{mask, int(x.lengths[j])}) > fewest {
				continue
			}
			d := Distance(letters, []rune(x.word(j)), fewest)
			if d > fewest {
				continue
			}
			if d < fewest { // only the nearest words count
				fewest, found = d, nil
			}
			found = append(found, match{i, j, j + 1, typos[d]})
		}
	}
	return found
}
