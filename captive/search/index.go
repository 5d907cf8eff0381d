package search

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// Whole stands for a document as a whole, beside its parts.
const Whole = -1

// MaxWeight is the greatest weight of a text.
const MaxWeight = 15

// maxLetters is the length of the longest word that is compared with misspellings.
const maxLetters = 63

// Index holds the words of documents, and where they occur. It is immutable and safe for concurrent use.
type Index struct {
	docs     int
	text     string   // all words, sorted, without anything between them
	ends     []uint32 // the end of each word in text
	letters  []uint64 // the words' outlines: the classes of their letters
	lengths  []uint8  // the words' outlines: their lengths
	sounds   []uint64 // for each word with a sound: the sound in the upper 32 bits, the word's number in the lower; sorted
	tails    []uint32 // the words' numbers, sorted by what follows their first letter
	phrases  int      // the number of phrases, which are the first words
	stops    []uint32 // the end of each word's postings
	postings io.ReaderAt
}

// posting is where a word occurs.
type posting struct{ doc, part, weight int32 }

// Builder builds an index.
type Builder struct {
	docs  int32
	words map[string]*occurrences
}

// occurrences are the postings of a word, in varints. The first varint of a posting has the distance from the previous document, the
// weight, and whether a part follows; the second, if any, is the part.
type occurrences struct {
	last    posting
	at      int // the offset of the last posting in encoded
	encoded []byte
}

// Document begins the next document, and returns its number, counted from 0.
func (b *Builder) Document() int {
	b.docs++
	return int(b.docs) - 1
}

// Add adds a text to the current document. Its part is a number or Whole, its weight is from 1 to MaxWeight. If a word is added to the
// same part several times in a row, only the greatest weight counts.
func (b *Builder) Add(text string, part, weight int) { b.AddForms(Forms(text), part, weight) }

// AddForms is Add for the forms of a text, which many documents may have.
func (b *Builder) AddForms(forms []string, part, weight int) {
	for _, form := range forms {
		b.add(form, posting{b.docs - 1, int32(part), int32(weight)})
	}
}

// AddPhrase adds words that mean something together, such as "mot de passe", to the whole document. They are found if they are
// written as several words or as one, with or without the small words between them. One of several words alone has only the weight
// apart.
func (b *Builder) AddPhrase(phrase string, weight, apart int) {
	p := posting{b.docs - 1, Whole, int32(weight)}
	forms := phraseForms(phrase)
	for _, form := range forms.together {
		if len(forms.apart) > 0 {
			form = joined + form
		}
		b.add(form, p)
	}
	p.weight = int32(apart)
	for _, form := range forms.apart {
		b.add(form, p)
	}
}

// joined is the prefix of a phrase of several words that is one word in an index. It keeps other words from being a beginning of the
// phrase, and sorts before all letters.
const joined = "+"

// Forms returns the folded words of a text without its stop words, as an index has them.
func Forms(text string) (all []string) {
	for _, w := range split(text) {
		all = append(all, w.forms()...)
	}
	return all
}

func (b *Builder) add(word string, p posting) {
	if b.words == nil {
		b.words = make(map[string]*occurrences)
	}
	o := b.words[word]
	if o == nil {
		o = new(occurrences)
		b.words[strings.Clone(word)] = o // a copy: a substring would keep the whole text in memory
	} else if o.last.doc == p.doc && o.last.part == p.part {
		if p.weight > o.last.weight { // the weight is in the first byte
			o.encoded[o.at] = o.encoded[o.at]&^(MaxWeight<<1) | byte(p.weight)<<1
			o.last = p
		}
		return
	}
	o.at = len(o.encoded)
	head := uint64(p.doc-o.last.doc)<<5 | uint64(p.weight)<<1
	if p.part == Whole {
		o.encoded = binary.AppendUvarint(o.encoded, head)
	} else {
		o.encoded = binary.AppendUvarint(binary.AppendUvarint(o.encoded, head|1), uint64(p.part))
	}
	o.last = p
}

// Index returns the index of all documents that were added.
func (b *Builder) Index() *Index {
	x := &Index{docs: int(b.docs)}
	words := slices.Sorted(maps.Keys(b.words))
	var text strings.Builder
	var postings bytes.Buffer
	for _, w := range words {
		text.WriteString(w)
		postings.Write(b.words[w].encoded)
		x.ends = append(x.ends, uint32(text.Len()))
		x.stops = append(x.stops, uint32(postings.Len()))
	}
	x.text = strings.Clone(text.String())
	x.ends, x.stops = slices.Clip(x.ends), slices.Clip(x.stops)
	x.postings = bytes.NewReader(bytes.Clone(postings.Bytes()))
	x.outline()
	return x
}

// outline computes the outlines, the sounds and the tails of the words, and counts the phrases.
func (x *Index) outline() {
	x.letters, x.lengths = make([]uint64, len(x.ends)), make([]uint8, len(x.ends))
	x.sounds = make([]uint64, 0, len(x.ends))
	for i := range x.ends {
		o := outlineOf([]rune(x.plain(i)))
		x.letters[i], x.lengths[i] = o.letters, uint8(min(o.length, maxLetters+1))
		if s := soundOf(x.plain(i)); s != 0 {
			x.sounds = append(x.sounds, uint64(s)<<32|uint64(i))
		}
	}
	slices.Sort(x.sounds)
	x.tails = make([]uint32, len(x.ends))
	for i := range x.tails {
		x.tails[i] = uint32(i)
	}
	slices.SortFunc(x.tails, func(a, b uint32) int { return strings.Compare(x.tail(int(a)), x.tail(int(b))) })
	x.phrases = sort.Search(len(x.ends), func(i int) bool { return !strings.HasPrefix(x.word(i), joined) })
}

// alike returns the matches of the words that have this sound, except the word itself.
func (x *Index) alike(index int, word string, sound uint32, sure float64) (found []match) {
	heard := uint64(sound)
	if heard == 0 {
		return nil
	}
	from, _ := slices.BinarySearch(x.sounds, heard<<32)
	to, _ := slices.BinarySearch(x.sounds, (heard+1)<<32)
	for _, s := range x.sounds[from:to] {
		if n := int(uint32(s)); x.plain(n) != word {
			found = append(found, match{index, n, n + 1, sure})
		}
	}
	return found
}

// Docs returns how many documents the index has.
func (x *Index) Docs() int { return x.docs }

// word returns a word by its number.
func (x *Index) word(i int) string { return x.text[before(x.ends, i):x.ends[i]] }

// plain is word without the prefix of a phrase.
func (x *Index) plain(i int) string { return strings.TrimPrefix(x.word(i), joined) }

// tail is what follows the first letter of plain.
func (x *Index) tail(i int) string {
	word := x.plain(i)
	_, size := utf8.DecodeRuneInString(word)
	return word[size:]
}

// beginning returns the range of words that begin with a text: from inclusive, to exclusive.
func (x *Index) beginning(text string) (from, to int) {
	from, _ = x.find(text)
	return from, from + sort.Search(len(x.ends)-from, func(i int) bool { return !strings.HasPrefix(x.word(from+i), text) })
}

// typos calls try with the number of each word that a misspelt word may stand for, or of each phrase if only is true. A candidate
// begins with the same letter, or the only mistake is at its beginning: see mistyped. So few words have to be compared, however large
// the index is.
func (x *Index) typos(word string, only bool, try func(i int)) {
	first, size := utf8.DecodeRuneInString(word)
	rest := word[size:]
	for _, sign := range []string{joined, ""} {
		if only && sign == "" {
			break
		}
		for from, to := x.beginning(sign + word[:size]); from < to; from++ {
			try(from)
		}
	}
	other := func(i int) {
		if r, _ := utf8.DecodeRuneInString(x.plain(i)); r != first && (!only || i < x.phrases) {
			try(i)
		}
	}
	// The first letter is wrong, or missing.
	for _, tail := range []string{rest, word} {
		from := sort.Search(len(x.tails), func(i int) bool { return x.tail(int(x.tails[i])) >= tail })
		for ; from < len(x.tails) && x.tail(int(x.tails[from])) == tail; from++ {
			other(int(x.tails[from]))
		}
	}
	// The first letter is superfluous, or swapped with the second.
	_, second := utf8.DecodeRuneInString(rest)
	for _, spelt := range []string{rest, rest[:second] + word[:size] + rest[second:]} {
		for _, sign := range []string{joined, ""} {
			if i, ok := x.find(sign + spelt); ok {
				other(i)
			}
		}
	}
}

// before returns where item i begins, given the ends of all items.
func before(ends []uint32, i int) uint32 {
	if i == 0 {
		return 0
	}
	return ends[i-1]
}

// find returns the number of a word, or if there is none, of the first word after it.
func (x *Index) find(word string) (i int, ok bool) {
	low, high := 0, len(x.ends)
	for low < high {
		if mid := (low + high) / 2; x.word(mid) < word {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, low < len(x.ends) && x.word(low) == word
}

func (x *Index) hasPhrases() bool { return x.phrases > 0 }

// exactly returns the matches of a word that is in the index, as a plain word or as a phrase.
func (x *Index) exactly(index int, word string) (found []match) {
	for _, w := range []string{word, joined + word} {
		if n, ok := x.find(w); ok {
			found = append(found, match{index, n, n + 1, exact})
		}
	}
	return found
}

// size returns the bytes that the postings of a range of words take, which is at least the number of postings.
func (x *Index) size(from, to int) int { return int(x.stops[to-1] - before(x.stops, from)) }

var errDamaged = errors.New("the index of words is damaged")

// read calls each with the postings of a range of words: from inclusive, to exclusive. It returns the buffer, grown if necessary.
func (x *Index) read(buffer []byte, from, to int, each func(posting)) ([]byte, error) {
	start, size := before(x.stops, from), x.size(from, to)
	buffer = slices.Grow(buffer[:0], size)[:size]
	if err := readAt(x.postings, buffer, int64(start)); err != nil {
		return buffer, err
	}
	for i := from; i < to; i++ {
		rest := buffer[before(x.stops, i)-start : x.stops[i]-start]
		p := posting{}
		for len(rest) > 0 {
			head, n := binary.Uvarint(rest)
			if n <= 0 {
				return buffer, errDamaged
			}
			rest = rest[n:]
			p.doc += int32(head >> 5)
			p.weight, p.part = int32(head>>1&MaxWeight), Whole
			if head&1 != 0 {
				part, n := binary.Uvarint(rest)
				if n <= 0 || part > maxPart {
					return buffer, errDamaged
				}
				rest, p.part = rest[n:], int32(part)
			}
			if p.doc < 0 || int(p.doc) >= x.docs {
				return buffer, errDamaged
			}
			each(p)
		}
	}
	return buffer, nil
}

// maxPart bounds the memory that a damaged index can make a search use.
const maxPart = 1 << 16

func readAt(r io.ReaderAt, b []byte, at int64) error {
	if _, err := io.ReadFull(io.NewSectionReader(r, at, int64(len(b))), b); err != nil {
		return fmt.Errorf("read the index of words: %w", err)
	}
	return nil
}

// WriteTo writes the index in the format that Read reads.
func (x *Index) WriteTo(w io.Writer) (int64, error) {
	size := int64(before(x.stops, len(x.stops)))
	head := make([]byte, 0, 16+8*len(x.ends)+len(x.text))
	for _, n := range []int{x.docs, len(x.ends), len(x.text), int(size)} {
		head = binary.LittleEndian.AppendUint32(head, uint32(n))
	}
	for _, list := range [][]uint32{x.ends, x.stops} {
		for _, n := range list {
			head = binary.LittleEndian.AppendUint32(head, n)
		}
	}
	head = append(head, x.text...)
	n, err := w.Write(head)
	if err != nil {
		return int64(n), err
	}
	copied, err := io.Copy(w, io.NewSectionReader(x.postings, 0, size))
	return int64(n) + copied, err
}

// Read reads an index that WriteTo wrote from r, which holds size bytes. The words are read into memory. Their postings are read from r
// in every search.
func Read(r io.ReaderAt, size int64) (*Index, error) {
	var counts [4]uint32
	head := make([]byte, 16)
	if err := readAt(r, head, 0); err != nil {
		return nil, err
	}
	for i := range counts {
		counts[i] = binary.LittleEndian.Uint32(head[4*i:])
	}
	words, text := int64(counts[1]), int64(counts[2])
	if 16+8*words+text+int64(counts[3]) != size {
		return nil, errDamaged
	}
	body := make([]byte, 8*words+text)
	if err := readAt(r, body, 16); err != nil {
		return nil, err
	}
	x := &Index{docs: int(counts[0]), ends: make([]uint32, words), stops: make([]uint32, words)}
	ordered := func(list []uint32, b []byte, end uint32) bool {
		last := uint32(0)
		for i := range list {
			list[i] = binary.LittleEndian.Uint32(b[4*i:])
			if list[i] < last {
				return false
			}
			last = list[i]
		}
		return last == end
	}
	if !ordered(x.ends, body, counts[2]) || !ordered(x.stops, body[4*words:], counts[3]) {
		return nil, errDamaged
	}
	x.text = string(body[8*words:])
	x.postings = io.NewSectionReader(r, 16+int64(len(body)), int64(counts[3]))
	x.outline()
	return x, nil
}
