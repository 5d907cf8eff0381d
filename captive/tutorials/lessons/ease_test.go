package lessons

import (
	"html"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// Bounds on how hard the built-in French lessons are to read. Kandel and Moles adapted Flesch's formula to French (L. Kandel, A. Moles,
// "Application de l'indice de Flesch à la langue française", Cahiers d'études de radio-télévision 19, 1958, p. 253-274). It is quoted
// in two forms, so both must be reached:
//
//	209 − 1.15 · words a sentence − 0.68 · syllables in 100 words
//	207 − 1.015 · words a sentence − 0.736 · syllables in 100 words
//
// From 70 a text counts as easy, from 80 as very easy. The formula has limits: it measures the length of words and sentences and
// nothing else. It does not measure whether a word is known (the longest here are those that people must learn: « mot de passe »,
// « identifiant »), whether one sentence follows from the other, or whether the picture helps; a list of short nonsense counts as
// very easy. Syllables are counted by rules, which give some words one too many. The test keeps a lesson from becoming hard to read in
// a later change; only readers can say whether they understand it.
const (
	minEase     = 80
	maxAverage  = 15 // words per sentence, on average over a lesson
	maxSentence = 25 // words
)

func TestOwnLessonsReadEasily(t *testing.T) {
	t.Parallel()
	for slug, languages := range Own().lessons {
		l := languages["fr"]
		texts := []string{l.Title, l.Summary, l.Help, string(join(l.Intro))}
		for _, s := range l.Steps {
			texts = append(texts, s.Heading, string(s.Text))
		}
		for _, q := range l.Questions {
			texts = append(texts, q.Ask, q.Answer)
		}
		words, sentences, syllables := 0, 0, 0
		for _, text := range texts {
			for _, sentence := range frenchSentences(text) {
				n := 0
				for _, w := range frenchWords(sentence) {
					n++
					syllables += frenchSyllables(w)
				}
				if n > maxSentence {
					t.Errorf("%s: %d words, want %d at most: %s", slug, n, maxSentence, sentence)
				}
				if n > 0 {
					sentences++
				}
				words += n
			}
		}
		average := float64(words) / float64(sentences)
		per100 := 100 * float64(syllables) / float64(words)
		ease := min(209-1.15*average-0.68*per100, 207-1.015*average-0.736*per100)
		t.Logf("%-25s %.1f words a sentence, ease %.0f", slug, average, ease)
		if average > maxAverage || ease < minEase {
			t.Errorf("%s: %.1f words a sentence, ease %.0f; want %d at most and %d at least", slug, average, ease, maxAverage, minEase)
		}
	}
}

var (
	lineEnds    = regexp.MustCompile(`<br>|</(p|li|h3)>`)
	anyTag      = regexp.MustCompile(`<[^>]*>`)
	sentenceEnd = regexp.MustCompile(`[.!?…]+[\s\x{202f}\x{a0}»”]+|\n`)
)

// frenchSentences returns the sentences of a piece of HTML. A line of its own counts as a sentence, too.
func frenchSentences(text string) []string {
	text = strings.ReplaceAll(text, "\n", " ")
	text = html.UnescapeString(anyTag.ReplaceAllString(lineEnds.ReplaceAllString(text, "\n"), ""))
	return sentenceEnd.Split(text, -1)
}

// frenchWords returns the words of a sentence; an article before an apostrophe counts as a word.
func frenchWords(sentence string) []string {
	var words []string
	for _, w := range strings.FieldsFunc(sentence, func(r rune) bool { return unicode.IsSpace(r) || r == '’' }) {
		if strings.ContainsFunc(w, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			words = append(words, w)
		}
	}
	return words
}

var (
	vowels   = regexp.MustCompile(`[aeiouyàâäéèêëîïôöùûüœæ]+`)
	silent   = regexp.MustCompile(`([^aeiouyàâäéèêëîïôöùûüœæ]|[gq]u)(e|es|ent)$`)
	noLetter = regexp.MustCompile(`[^a-zàâäçéèêëîïôöùûüœæ]`)
)

// frenchSyllables counts a word's groups of vowels, except a silent ending. Digits and signs count as one.
func frenchSyllables(word string) int {
	word = noLetter.ReplaceAllString(strings.ToLower(word), "")
	n := len(vowels.FindAllString(word, -1))
	if silent.MatchString(word) && n > 1 {
		n--
	}
	return max(n, 1)
}

func TestCountingSyllables(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]int{
		"le": 1, "mot": 1, "passe": 1, "téléphone": 3, "écran": 2, "données": 2, "touchent": 1, "identifiant": 4, "l": 1,
		"eau": 1, "réseau": 2, "17": 1, "banque": 1, "Wi-Fi": 2,
	} {
		if got := frenchSyllables(word); got != want {
			t.Errorf("%s has %d syllables, want %d", word, got, want)
		}
	}
	if got := frenchSentences("<p>Un mot. Deux&nbsp;!<br>\nTrois caf.fr.</p>"); len(got) < 3 || !strings.HasPrefix(got[2], "Trois caf.fr") {
		t.Errorf("%q", got)
	}
}
