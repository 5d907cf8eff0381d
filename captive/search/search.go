// Package search finds documents by words. It owns how words are folded, compared and ranked, and the index, which is
// compact enough for ten thousands of documents on a small board; it must not know what the documents are.
//
// Every word of a query but the stop words is looked up among the words of the documents, and so are neighbours as one word,
// since people write "motdepasse" and "wi fi". Words are compared folded: without accents, capitals, plural endings and joined
// articles. A word that no document has counts as a prefix, or as a misspelling, by its sound or by its letters. The words are
// a sorted list, and a misspelling is compared only with words that begin alike and have about the same letters: see typos and
// outline.
//
// A document is found if at least half of what was asked is what it is about: see floor.
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
	minBegin  = 4        // letters of a beginning: fewer say nothing
	maxBegin  = 16 << 10 // bytes of postings: letters that thousands of words begin with say nothing
)

// How sure a match is, by its kind.
const exact, alike, alikeOnly, beginning = 1.0, 0.85, 0.5, 0.65

// typo is how sure a match with mistakes is, in a word of so many letters. Four letters have no mistake, for with one they are
// mostly another word; and so are eight with two. What is misspelt by ear is found by its sound.
func typo(letters, mistakes int) float64 {
	if letters < 8 || mistakes > 1 {
		return 0.55
	}
	return 0.7
}

// full is the weight of a text that says what its document is about, such as a title. Heavier is what the author said people
// look for it by.
const full = 8

// about says how much a word in a text of a weight says of what its document is about: 1 in a title, a third in the text.
var about = func() (all [MaxWeight + 1]float64) {
	for weight := range all {
		all[weight] = math.Sqrt(float64(weight) / full)
	}
	return all
}()

// floor is the part of a query that a document must be about. Each word counts as much as it is rare. With less than half,
// more was asked for that the document does not have than what it has: it would be an absurd answer to "acheter une voiture"
// that one can buy on the internet. Words that no document has count together as one, for people tell their story.
const floor = 0.5

// lightly is how much a light word counts.
const lightly = 0.4

// Hit is a document that matches a query.
type Hit struct {
	Index int // which index it is in
	Doc   int
	Part  int     // the most relevant part; Whole: all of it
	Score float64 // the order; comparable within one search
	Sure  float64 // how much of the query it is about, from floor on; 1: all. Comparable between searches for one query

	number int // in Results
}

// Results are the documents that match a query.
type Results struct {
	hits    []scored
	asked   float64 // the weight of the query's words
	best    float64 // of covered
	fullest float64 // of matched
}

// Search finds the documents of all indexes that match a query, without those that keep refuses; nil keeps all. The error
// is from reading an index.
func Search(query string, keep func(index, doc int) bool, indexes ...*Index) (*Results, error) {
	s := searcher{indexes: indexes, keep: keep, slots: make([][]int32, len(indexes))}
	for i, x := range indexes {
		s.slots[i] = make([]int32, x.docs)
		s.docs += x.docs
	}
	// What no document has is as rare as a word of some documents is in the middle.
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

// Best returns the best documents that are about the query, the best first, and of equals in the order of the indexes. Next
// to a full match, documents that match little of the query are dropped.
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

// Fullest returns the index and the document of all that match the most of the query, whatever they are about.
func (r *Results) Fullest() iter.Seq2[int, int] {
	return func(yield func(index, doc int) bool) {
		for i := range r.hits {
			// Sums in another order may differ in their last digits.
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

// searcher is one search.
type searcher struct {
	Results
	indexes []*Index
	docs    int // of all indexes
	keep    func(index, doc int) bool
	slots   [][]int32 // by index and document, the number of its hit, from 1; 0: none yet
	buffer  []byte    // postings as they are read
}

// scored is a document that matches, while it is counted.
type scored struct {
	index, doc int32
	word       int32     // the number of the query's word that weight and about are of
	weight     float64   // of the word's best match
	about      float64   // likewise, how much the document is about the word
	matched    float64   // how much of the query it has, more for rare words
	covered    float64   // how much of the query it is about
	total      float64   // the weight of the matches
	whole      float64   // the weight of the matches in no part
	parts      []float64 // likewise, by part
}

// wanted is a word of a query, and what matches it.
type wanted struct {
	weight float64
	found  []match
}

// match is words of an index, from inclusive, to exclusive, that match a word of a query.
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
	numbers := make([]int, len(list)) // of the tokens' words in all; -1: none
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
		some := false // one of them is known by itself
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

// common is what a word that all documents have counts.
const common = 0.05

// fine is how finely documents are counted that are partly about a word.
const fine = 64

// add counts the matches of a query's word with its number, from 1.
func (s *searcher) add(number int32, w wanted) (err error) {
	few, postings := 0, 0
	for _, m := range w.found {
		postings += s.indexes[m.index].size(m.from, m.to)
	}
	s.hits = slices.Grow(s.hits, min(postings, s.docs-len(s.hits))) // of thousands, doubling leaves much behind
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
	// A word that few documents are about is more specific than one of all.
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

// lookUpPhrase returns the indexes' words that match a few words of a query as one; with mistakes only if some of them are known.
func (s *searcher) lookUpPhrase(phrase string, some bool) []match {
	if found := s.wellSpelt(phrase, (*Index).hasPhrases); len(found) > 0 || !some {
		return found
	}
	return s.misspelt(phrase, true)
}

// wellSpelt returns the indexes' words that are a word, and those of some indexes that sound like it. Where the word itself is
// one, to sound like it says less: "scan" and "scam".
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

// misspelt returns the words of the indexes that are the nearest to a word by their letters (see mistyped); to a few words as
// one, the nearest phrases. These are longer, so that more mistakes would be needed to be sure of one.
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
