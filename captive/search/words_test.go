package search

import (
	"math/rand/v2"
	"testing"
)

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"wifi", "wifi", 0}, {"wifi", "wiffi", 1}, {"wifi", "wif", 1}, {"wifi", "wiif", 1}, {"wifi", "lifi", 1},
		{"wifi", "fiwi", 2}, {"été", "ete", 2}, {"", "", 0}, {"", "ab", 2}, {"abcd", "wxyz", 3},
	} {
		if got := Distance([]rune(c.a), []rune(c.b), 2); got != c.want {
			t.Errorf("%q and %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	some := func() []rune {
		r := make([]rune, rnd.IntN(8))
		for i := range r {
			r[i] = rune('a' + rnd.IntN(3))
		}
		return r
	}
	for range 20_000 {
		a, b := some(), some()
		most := rnd.IntN(4)
		d := Distance(a, b, most)
		switch exact := Distance(a, b, 20); {
		case d != Distance(b, a, most):
			t.Fatalf("%q and %q: not the same both ways", string(a), string(b))
		case d != min(exact, most+1):
			t.Fatalf("%q and %q: %d, and %d at most %d", string(a), string(b), exact, d, most)
		case outlineOf(a).apart(outlineOf(b)) > exact:
			t.Fatalf("%q and %q: %d, and their outlines are %d apart", string(a), string(b), exact, outlineOf(a).apart(outlineOf(b)))
		case (exact == 0) != (string(a) == string(b)):
			t.Fatalf("%q and %q: %d", string(a), string(b), exact)
		}
	}
}
