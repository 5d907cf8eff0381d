package search

import (
	"hash/fnv"
	"slices"
	"strings"
)

// minSound is the length of the shortest sound that is compared: shorter ones are shared by too many different words.
const minSound = 3

// sound returns roughly how a French reader pronounces a folded word: "arnak", "arnaques" and "arnaquer" sound the same. Letters that
// people confuse when they spell by ear have the same code. Endings that are silent, or that only inflect a word, have none. The result
// is "" for a word with letters other than a to z.
//
// The codes: A E I O U are the vowels, Y is the French u; 1 2 3 are the nasal vowels of "vin", "vent" and "bon"; J is the end of
// "travail", Z the beginning of "jeu", C that of "chat". The s sounds of "poisson" and "poison" have the same code. No maintained
// library has a phonetic key for French: Soundex, Metaphone and the like are for English names.
func sound(word string) string {
	for i := range len(word) {
		if word[i] < 'a' || word[i] > 'z' {
			return ""
		}
	}
	word = unheard(word)
	var codes []byte
	for rest := word; rest != ""; {
		code, n := hear(word[:len(word)-len(rest)], rest)
		rest = rest[n:]
		for i := range len(code) {
			if len(codes) == 0 || codes[len(codes)-1] != code[i] {
				codes = append(codes, code[i])
			}
		}
	}
	if n := len(codes); n > minSound && codes[n-1] == 'E' {
		codes = codes[:n-1]
	}
	return string(codes)
}

// unheard removes the silent letters at a word's end.
func unheard(word string) string {
	for len(word) > 3 && strings.IndexByte("tdszxp", word[len(word)-1]) >= 0 {
		word = word[:len(word)-1]
	}
	if rest, ok := strings.CutSuffix(word, "er"); ok && len(rest) > 2 {
		return rest + "e"
	}
	return word
}

// hear returns the codes of the first spelling in the rest of a word, and the number of its letters.
func hear(before, rest string) (code string, n int) {
	for _, s := range sounds[rest[0]-'a'] {
		if after, ok := strings.CutPrefix(rest, s.letters); ok && s.where(before, after) {
			return s.code, len(s.letters)
		}
	}
	return "", 1 // h is silent
}

// spelling is a spelling of a sound, and the condition on the letters around it for this pronunciation.
type spelling struct {
	letters, code string
	where         func(before, after string) bool
}

// sounds are the spellings by their first letter, in the order in which they are tried.
var sounds = func() (all [26][]spelling) {
	always := func(string, string) bool { return true }
	follows := func(letters string) func(_, after string) bool {
		return func(_, after string) bool { return after != "" && strings.IndexByte(letters, after[0]) >= 0 }
	}
	nasal := func(_, after string) bool { return !follows(vowels+"mn")("", after) }
	afterVowel := func(before, after string) bool {
		return before != "" && strings.IndexByte(vowels, before[len(before)-1]) >= 0
	}
	soft := follows("eiy")
	for _, s := range []spelling{
		{"aim", "1", nasal}, {"ain", "1", nasal}, {"am", "2", nasal}, {"an", "2", nasal}, {"au", "O", always},
		{"ail", "AJ", func(_, after string) bool { return after == "" }},
		{"aill", "AJ", always}, {"ai", "E", always}, {"ay", "E", always}, {"a", "A", always},
		{"eau", "O", always}, {"ein", "1", nasal}, {"em", "2", nasal}, {"en", "2", nasal},
		{"eill", "EJ", always}, {"eil", "EJ", func(_, after string) bool { return after == "" }},
		{"ei", "E", always}, {"eu", "E", always}, {"e", "E", always},
		{"ien", "I1", nasal}, {"im", "1", nasal}, {"in", "1", nasal},
		{"ill", "J", afterVowel}, {"i", "I", always},
		{"oeu", "E", always}, {"oe", "E", always}, {"oin", "U1", nasal}, {"oi", "UA", always}, {"oy", "UA", always},
		{"ou", "U", always}, {"oo", "U", always}, {"om", "3", nasal}, {"on", "3", nasal}, {"o", "O", always},
		{"um", "1", nasal}, {"un", "1", nasal}, {"u", "Y", always},
		{"ym", "1", nasal}, {"yn", "1", nasal}, {"y", "I", always},
		{"b", "B", always}, {"d", "D", always}, {"f", "F", always}, {"l", "L", always}, {"m", "M", always},
		{"n", "N", always}, {"r", "R", always}, {"v", "V", always}, {"s", "S", always}, {"z", "S", always},
		{"j", "Z", always}, {"k", "K", always}, {"w", "U", always}, {"x", "KS", always},
		{"ch", "K", follows("lrnt")}, {"ch", "C", always}, {"ck", "K", always}, {"cqu", "K", always},
		{"cc", "KS", soft}, {"c", "S", soft}, {"c", "K", always},
		{"gn", "N", always}, {"gu", "G", soft}, {"ge", "Z", follows("aou")}, {"g", "Z", soft}, {"g", "G", always},
		{"ph", "F", always}, {"p", "P", always},
		{"qu", "K", always}, {"q", "K", always},
		{"sch", "C", always}, {"sh", "C", always}, {"sc", "S", soft},
		{"t", "S", func(before, after string) bool {
			return strings.HasPrefix(after, "ion") && !strings.HasSuffix(before, "s")
		}},
		{"th", "T", always}, {"t", "T", always},
	} {
		first := &all[s.letters[0]-'a']
		*first = append(*first, s)
	}
	for _, spellings := range all { // longer ones first
		slices.SortStableFunc(spellings, func(a, b spelling) int { return len(b.letters) - len(a.letters) })
	}
	return all
}()

// soundOf returns a hash of a word's sound, or 0 if there is none or it is shorter than minSound.
func soundOf(word string) uint32 {
	s := sound(word)
	if len(s) < minSound {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(s))
	return max(h.Sum32(), 1)
}
