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

// documents returns made-up documents: words of few letters, so that they match each other, in a whole and some parts.
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

// TestSearchInSeveral: to search several indexes is to search one of all their documents; and an index that was written
// and read answers the same.
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

// TestSearchKeeps: documents that are not kept change nothing but how rare a word is.
func TestSearchKeeps(t *testing.T) {
	t.Parallel()
	x := build([][]string{{"bus jaune"}, {"bus"}, {"bus bleu"}})
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

func TestSearchReadsDamagedIndexes(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	if _, err := build(documents(rand.New(rand.NewPCG(9, 10)), 20)).WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	for i := range file.Bytes() {
		if i < 4 {
			continue // the number of documents: its reader knows it
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
	for _, query := range []string{"lieu", "lieu 12345", "a b c 1 2 3", "numerro", "zqvkawoxbu zqvkbwoxcu"} {
		b.Run(strings.ReplaceAll(query, " ", "+"), func(b *testing.B) {
			for b.Loop() {
				if r, err := Search(query, nil, x); err != nil || r.Best(10) == nil && query[0] != 'z' {
					b.Fatal(err)
				}
			}
		})
	}
}
