package search

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// documents returns made-up documents. Their words have few different letters, so that they match each other, and are in the whole
// document and in some parts.
func documents(rnd *rand.Rand, n int) (all [][]string) {
	for range n {
		var doc []string
		for range 1 + rnd.IntN(4) {
			var words []string
			for range rnd.IntN(6) {
				words = append(words, made(rnd))
			}
			doc = append(doc, strings.Join(words, " "))
		}
		all = append(all, doc)
	}
	return all
}

func made(rnd *rand.Rand) string {
	letters := make([]rune, 1+rnd.IntN(9))
	for i := range letters {
		letters[i] = []rune("abcéà-’")[rnd.IntN(7)]
	}
	return string(letters)
}

func build(docs [][]string) *Index {
	var b Builder
	for i, doc := range docs {
		if b.Document() != i {
			panic("documents are not counted")
		}
		b.Add(doc[0], Whole, 8)
		for part, text := range doc[1:] {
			b.Add(text, part, 1)
		}
	}
	return b.Index()
}

// TestSearchInSeveral: a search in several indexes finds the same as a search in one index of all their documents, and so does an
// index that was written and read.
func TestSearchInSeveral(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 100 {
		docs := documents(rnd, 1+rnd.IntN(30))
		cut := rnd.IntN(len(docs) + 1)
		one, first, second := build(docs), build(docs[:cut]), build(docs[cut:])
		var file bytes.Buffer
		n, err := second.WriteTo(&file)
		if err != nil || n != int64(file.Len()) {
			t.Fatal(n, err)
		}
		second, err = Read(bytes.NewReader(file.Bytes()), n)
		if err != nil || second.Docs() != len(docs)-cut {
			t.Fatal(err)
		}
		for range 20 {
			query := made(rnd) + " " + made(rnd)
			results := func(indexes ...*Index) (best []Hit, fullest []int) {
				r, err := Search(query, nil, indexes...)
				if err != nil {
					t.Fatal(err)
				}
				best = r.Best(100)
				if few := r.Best(3); !slices.Equal(few, best[:min(3, len(best))]) {
					t.Fatalf("%q: the best three are %v of %v", query, few, best)
				}
				for i := range best {
					best[i] = Hit{Doc: best[i].Doc + best[i].Index*cut, Part: best[i].Part, Score: best[i].Score}
				}
				for index, doc := range r.Fullest() {
					fullest = append(fullest, doc+index*cut)
				}
				slices.Sort(fullest)
				return best, fullest
			}
			want, wantFullest := results(one)
			got, fullest := results(first, second)
			if !slices.Equal(got, want) || !slices.Equal(fullest, wantFullest) {
				t.Fatalf("%q in %q:\n%v %v in two indexes\n%v %v in one", query, docs, got, fullest, want, wantFullest)
			}
			if !slices.IsSortedFunc(got, func(a, b Hit) int { return cmp.Compare(b.Score, a.Score) }) {
				t.Fatalf("%q: not the best first: %v", query, got)
			}
		}
	}
}

// TestSearchKeeps: documents that are not kept affect only how rare a word is.
func TestSearchKeeps(t *testing.T) {
	t.Parallel()
	x := build([][]string{{"bus jaune"}, {"bus jaune"}, {"car jaune", "bus"}, {"bus"}})
	r, err := Search("bus jaune", func(_, doc int) bool { return doc != 0 }, x)
	if err != nil {
		t.Fatal(err)
	}
	var docs []int
	for _, h := range r.Best(10) {
		docs = append(docs, h.Doc)
	}
	for _, doc := range r.Fullest() {
		docs = append(docs, doc)
	}
	if !slices.Equal(docs, []int{1, 2, 1, 2}) {
		t.Errorf("documents %v", docs)
	}
}

// TestStopWordsAreNothing: no word is found because it is like a stop word or its plural. "pass" is not a plural.
func TestStopWordsAreNothing(t *testing.T) {
	t.Parallel()
	x := build([][]string{{"Toutes les urgences", "Il est avec vous"}, {"Le Pass Navigo"}, {"Violences faites aux femmes"}, {"Le 15 ou le 18"}})
	for query, want := range map[string][]int{
		"le 15": {3}, "fini le 15 du mois": nil,
		"laissé": nil, "faite": nil, "avecc": nil, "pas": nil, "pass": {1}, "urgence": {0}, "laissé violence": {2},
	} {
		r, err := Search(query, nil, x)
		if err != nil {
			t.Fatal(err)
		}
		var docs []int
		for _, h := range r.Best(10) {
			docs = append(docs, h.Doc)
		}
		if !slices.Equal(docs, want) {
			t.Errorf("%q finds %v, want %v", query, docs, want)
		}
	}
}

// TestTyposAreAll: typos tries every word that a misspelt word may stand for, and none twice.
func TestTyposAreAll(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 6))
	some := func() string {
		letters := make([]rune, 2+rnd.IntN(9))
		for i := range letters {
			letters[i] = []rune("klmô")[rnd.IntN(4)]
		}
		return Fold(string(letters))
	}
	found := 0
	for range 40 {
		var b Builder
		b.Document()
		for range 200 {
			b.Add(some(), Whole, 1)
			b.AddPhrase(some()+" "+some(), 1, 1)
		}
		x := b.Index()
		for range 20 {
			word, tried := some(), map[int]bool{}
			for _, only := range []bool{false, true} {
				clear(tried)
				x.typos(word, only, func(i int) {
					if tried[i] || only && i >= x.phrases {
						t.Fatalf("%q: %q is tried twice, or is no phrase", word, x.word(i))
					}
					tried[i] = true
				})
				for i := range x.ends {
					letters, other := []rune(word), []rune(x.plain(i))
					if d := Distance(letters, other, 2); d > 2 || !mistyped(letters, other, d) || only && i >= x.phrases {
						continue
					}
					if found++; !tried[i] {
						t.Fatalf("%q: %q is not tried", word, x.word(i))
					}
				}
			}
		}
	}
	if found < 1000 {
		t.Errorf("only %d words were alike", found)
	}
}

func TestSearchReadsDamagedIndexes(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	if _, err := build(documents(rand.New(rand.NewPCG(9, 10)), 20)).WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	for i := range file.Bytes() {
		if i < 4 {
			continue // the number of documents: the caller of Read checks it
		}
		for _, flip := range []byte{1, 0x80} {
			b := bytes.Clone(file.Bytes())
			b[i] ^= flip
			x, err := Read(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				continue
			}
			for _, q := range []string{"a", "abc", "bacab"} {
				Search(q, nil, x) // it may find anything, and must not panic
			}
		}
	}
	if _, err := Read(bytes.NewReader(file.Bytes()), int64(file.Len())-1); err == nil {
		t.Error("half an index is read")
	}
}

func BenchmarkSearch(b *testing.B) {
	rnd := rand.New(rand.NewPCG(11, 12))
	var build Builder
	for i := range 20_000 {
		build.Document()
		build.Add(fmt.Sprintf("Lieu %s numéro %d", made(rnd), i), Whole, 8)
	}
	x := build.Index()
	for _, query := range []string{"lieu", "lieu 12345", "ab ca bc 12 34", "numerro", "zqvkawoxbu zqvkbwoxcu"} {
		b.Run(strings.ReplaceAll(query, " ", "+"), func(b *testing.B) {
			for b.Loop() {
				if r, err := Search(query, nil, x); err != nil || r.Best(10) == nil && query[0] != 'z' {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestPhrases: words that belong together are found side by side, apart, joined and with mistakes; one of them alone counts less.
func TestPhrases(t *testing.T) {
	t.Parallel()
	var b Builder
	for _, phrases := range [][]string{{"mot de passe", "mdp"}, {"passe navigo"}, {"e-mail", "wi-fi"}, {"C.V."}, {"pas de réseau"}} {
		b.Document()
		for _, p := range phrases {
			b.AddPhrase(p, 12, 2)
		}
	}
	x := b.Index()
	for query, want := range map[string]int{
		"mot de passe": 0, "motdepasse": 0, "mots de passes": 0, "mo de passe": 0, "mot-de-passe": 0, "mot passe": 0, "j’ai oublié mon mot de passe svp": 0,
		"passe navigo": 1, "navigo": 1, "email": 2, "e mail": 2, "e-mail": 2, "wifi": 2, "wi fi": 2, "ouifi": 2, "cv": 3, "c v": 3, "c.v.": 3,
		"pas de reseau": 4, "passeport": -1, "mode": -1, "réseaux sociaux": -1, "de": -1, "le la les": -1,
	} {
		r, err := Search(query, nil, x)
		if err != nil {
			t.Fatal(err)
		}
		got := append(r.Best(1), Hit{Doc: -1})[0].Doc
		if got != want {
			t.Errorf("%q finds %d, want %d", query, got, want)
		}
	}
}

// TestFloor: a document is not found by words that it is hardly about, nor by the smaller part of the query.
func TestFloor(t *testing.T) {
	t.Parallel()
	var b Builder
	for _, d := range []struct{ title, text string }{
		{"Acheter en ligne", "C’est permis d’imprimer la facture."}, {"Faire un CV", "Voir la page."}, {"Passer un appel vidéo", "Le téléphone sonne."},
		{"Le chat", "Un chat dort."}, {"Écrire une lettre", "Le courrier part."},
	} {
		b.Document()
		b.Add(d.title, Whole, full)
		b.Add(d.text, 0, 1)
	}
	x := b.Index()
	for query, want := range map[string]int{
		"acheter": 0, "acheter une voiture": -1, "imprimer": -1, "permis de conduire": -1, "cv": 1, "cv de boulanger": 1, "vidéo": 2,
		"chaton perdu en forêt": -1, "lettre": 4, "letre": 4, "lutte": -1, "facture": -1, "météo": -1, "chaud": -1,
	} {
		r, err := Search(query, nil, x)
		if err != nil {
			t.Fatal(err)
		}
		best := append(r.Best(1), Hit{Doc: -1})[0]
		if best.Doc != want || want >= 0 && best.Sure < floor {
			t.Errorf("%q finds %d, %.2f sure, want %d", query, best.Doc, best.Sure, want)
		}
	}
}

// TestStopWords: each stop word is a single folded word, and no light word is a stop word.
func TestStopWords(t *testing.T) {
	t.Parallel()
	for language, words := range stopWords {
		for _, w := range strings.Fields(words) {
			if f := Fold(w); strings.ContainsAny(f, "'-,.?!") {
				t.Errorf("%s: %q is not one word", language, w)
			}
		}
	}
	for w := range light {
		if stops[w] {
			t.Errorf("%q is a stop word and a light one", w)
		}
	}
	for _, w := range []string{"son", "car", "caf", "apl", "rsa", "wifi", "banque", "paro", "work"} {
		if stops[w] {
			t.Errorf("%q is a stop word", w)
		}
	}
}
