package search

import (
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// outline is a word's summary for a fast comparison: its number of letters, and which it has, in 64 classes.
type outline struct {
	letters uint64
	length  int
}

func outlineOf(word []rune) (o outline) {
	o.length = len(word)
	for _, letter := range word {
		o.letters |= 1 << (letter % 64)
	}
	return o
}

// apart returns a lower bound of two words' distance. An added or missing letter changes one class at most, a replaced one
// two, a swap none.
func (o outline) apart(other outline) int {
	length := o.length - other.length
	return max(length, -length, (bits.OnesCount64(o.letters^other.letters)+1)/2)
}

// Distance returns how many letters must be changed, added, removed or swapped with the next to turn a into b, or most+1 if
// there are more (optimal string alignment).
func Distance(a, b []rune, most int) int {
	if d := len(a) - len(b); d > most || -d > most {
		return most + 1
	}
	var rows [3][maxLetters + 1]int
	if len(b) > maxLetters {
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

// forms returns the folded forms of a word: the whole first, then its parts if there are several.
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

// split returns the folded words of a text. Before an apostrophe is an article or the like ("l’", "d’", "qu’"), and what
// follows an English one is not a word either ("it’s"), so short ones are dropped.
func split(text string) []word {
	var words []word
	for _, chunk := range strings.FieldsFunc(Fold(text), func(r rune) bool {
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

// letters maps letters that Unicode does not decompose, and marks with the same meaning.
var letters = strings.NewReplacer("œ", "oe", "æ", "ae", "ß", "ss", "ø", "o", "ł", "l", "ı", "i", "ґ", "г",
	"ى", "ي", "ة", "ه", "ـ", "", "’", "'", "ʼ", "'", "‘", "'", "\u2010", "-", "\u2011", "-")

// Fold lowercases letters and removes accents, and the vowel signs of Arabic.
func Fold(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKD.String(s))
	return letters.Replace(s)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// stem removes a word's plural ending (French and English -s, French -x), and the Arabic article.
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
