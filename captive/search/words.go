package search

import (
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// outline summarises a word for a fast comparison: its number of letters, and which of 64 classes of letters it has.
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

// apart returns a lower bound of two words' Distance. An added or missing letter changes at most one class, a replaced letter at
// most two, a swap none.
func (o outline) apart(other outline) int {
	length := o.length - other.length
	return max(length, -length, (bits.OnesCount64(o.letters^other.letters)+1)/2)
}

// Distance returns how many letters must be replaced, added, removed or swapped with the next to turn a into b, or most+1 if more
// than most are needed (optimal string alignment). It also returns most+1 if b has more than maxLetters letters.
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

// mistyped says whether a word is another one with some mistakes, rather than a word of its own. The first letter is rarely wrong. In a
// short word a replaced consonant makes a different word: "voter" and "voler".
func mistyped(word, other []rune, mistakes int) bool {
	if word[0] != other[0] && (mistakes > 1 || len(word) < 6) {
		return false
	}
	if len(word) > 6 || len(word) != len(other) {
		return true
	}
	differ, consonants := 0, false
	for i, r := range word {
		if r != other[i] {
			differ++
			consonants = isConsonant(r) && isConsonant(other[i])
		}
	}
	return differ > 1 || !consonants // two letters that differ were swapped
}

func isConsonant(r rune) bool {
	return r >= 'a' && r <= 'z' && strings.IndexByte(vowels, byte(r)) < 0
}

// vowels are the Latin vowels.
const vowels = "aeiouy"

// word is a word of a text with its parts: of "e-mail", "e" and "mail".
type word []string

// forms returns the folded forms of a word: the whole first, then its parts if there are several.
func (w word) forms() []string {
	whole := stem(strings.Join(w, ""))
	if len(w) == 1 {
		if isStop(w[0]) {
			return nil
		}
		return []string{whole}
	}
	forms := []string{whole}
	for _, part := range w {
		if !isStop(part) {
			forms = append(forms, stem(part))
		}
	}
	return forms
}

// at is the word that replaces the sign @, which people search for by its French name and by the sign itself.
const at = " arobase "

// split returns the folded words of a text. What is before an apostrophe is an article or the like ("l’", "d’", "qu’"), and the letter
// after an English one is not a word either ("it’s"), so single letters and "qu" next to an apostrophe are dropped.
func split(text string) []word {
	var words []word
	for _, chunk := range strings.FieldsFunc(strings.ReplaceAll(Fold(text), "@", at), func(r rune) bool {
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

// phrase is a phrase as it is stored in an index.
type phrase struct {
	together []string // joined into one word: with all of its words, and without the small ones
	apart    []string // its words without the small ones; empty if it has only one word
}

func phraseForms(text string) (p phrase) {
	all := tokens(text)
	var whole, short string
	for _, t := range all {
		whole += t.form()
		if !t.stop {
			short += t.stem
			p.apart = append(p.apart, t.stem)
		}
	}
	switch {
	case whole == "":
		return phrase{}
	case len(p.apart) < 2 || short == whole: // without its small words it would be a single word, as in "au travail"
		p.together = []string{whole}
	default:
		p.together = []string{whole, short}
	}
	if len(all) == 1 {
		p.apart = nil
	}
	return p
}

// token is a word of a query or of a phrase.
type token struct {
	text, stem  string // folded
	stop, light bool   // see stopWords and lightWords
}

// form returns the token as a part of a phrase that is joined into one word.
func (t token) form() string {
	if t.stop {
		return t.text
	}
	return t.stem
}

// tokens returns the words of a query or of a phrase. Words with hyphens are split. Single letters in a row, as in "C.V.", are joined.
func tokens(text string) (all []token) {
	var parts []string
	for _, w := range split(text) {
		parts = append(parts, w...)
	}
	for len(parts) > 0 {
		n := 1
		for n < len(parts) && single(parts[0]) && single(parts[n]) {
			n++
		}
		t := token{text: strings.Join(parts[:n], "")}
		t.stem, t.stop = stem(t.text), isStop(t.text)
		t.light = light[t.stem] || isNumber(t.text)
		all, parts = append(all, t), parts[n:]
	}
	return all
}

// isStop says whether a folded word is not searched for: it is a stop word or a single letter. Indexes leave it out, since other words
// would match it: "les" sounds like "laissé".
func isStop(word string) bool { return stops[word] || single(word) }

// isNumber says whether a word consists of digits. In a sentence that is a day or an amount more often than a number to call.
func isNumber(word string) bool {
	return !strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsDigit(r) })
}

func single(word string) bool { return utf8.RuneCountInString(word) == 1 }

// letters maps letters that Unicode does not decompose to similar ones, and unifies apostrophes and hyphens.
var letters = strings.NewReplacer("œ", "oe", "æ", "ae", "ß", "ss", "ø", "o", "ł", "l", "ı", "i", "ґ", "г",
	"ى", "ي", "ة", "ه", "ـ", "", "’", "'", "ʼ", "'", "‘", "'", "\u2010", "-", "\u2011", "-")

// Fold converts letters to lower case, and removes accents and the vowel signs of Arabic.
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

// stem removes a word's plural ending (French and English -s, French -x, but not that of "pass"), the Arabic article and endings, and Ukrainian
// endings.
func stem(w string) string {
	switch {
	case w == "":
		return w
	case w[0] < utf8.RuneSelf:
		if len(w) >= 4 && (w[len(w)-1] == 's' || w[len(w)-1] == 'x') && w[len(w)-2] != 's' {
			return w[:len(w)-1]
		}
		return w
	case w >= "\u0600" && w < "\u0700":
		return cut(cut(w, strings.CutPrefix, "وال", "بال", "كال", "فال", "ال", "لل"), strings.CutSuffix, arabicEndings...)
	case w >= "\u0400" && w < "\u0500":
		return cut(w, strings.CutSuffix, ukrainianEndings...)
	}
	return w
}

// The endings that stem removes, folded, the longer ones first: those of light stemmers (Larkey, Ballesteros and Connell, "Light
// stemming for Arabic information retrieval", 2007) and those of the Ukrainian cases and genders.
var (
	arabicEndings    = []string{"ها", "ان", "ات", "ون", "ين", "يه", "ه", "ي"}
	ukrainianEndings = []string{
		"ами", "ями", "ого", "ому", "ими", "ові", "еві", "ах", "ях", "ам", "ям", "ом", "ем", "ов", "ев", "ів", "ою", "ею",
		"ии", "оі", "еі", "а", "е", "є", "и", "і", "о", "у", "ю", "я", "ь",
	}
)

// cut removes the first of these affixes whose removal leaves three letters or more.
func cut(w string, affix func(s, affix string) (string, bool), affixes ...string) string {
	for _, a := range affixes {
		if rest, ok := affix(w, a); ok && utf8.RuneCountInString(rest) >= 3 {
			return rest
		}
	}
	return w
}
