package hw

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/state"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// draw draws the first seconds of a pattern, one letter per 50 ms.
func draw(p Pattern, length time.Duration) string {
	var b strings.Builder
	for t := 25 * ms; t < length; t += 50 * ms {
		c, _ := p.At(t)
		b.WriteByte(map[Colour]byte{Dark: '.', Red: 'R', Green: 'G', Blue: 'B', Amber: 'A', White: 'W'}[c])
	}
	return b.String()
}

// TestPatterns compares the patterns with the design's table, in letters: R, G, B, A for amber, W for white.
func TestPatterns(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	list := func(what string, p Pattern) {
		fmt.Fprintf(&b, "%s:", what)
		for _, s := range p {
			if s.For == 0 {
				fmt.Fprintf(&b, " %s", s.Colour)
				continue
			}
			fmt.Fprintf(&b, " %s %d,", s.Colour, s.For.Milliseconds())
		}
		fmt.Fprintf(&b, "\n\t%s\n", draw(p, 5*time.Second))
	}
	for _, s := range state.States {
		list(string(s), States[s])
	}
	for _, g := range append([]Gesture{Nothing}, Gestures...) {
		list("held, "+string(g), Holds[g])
	}
	list("done", confirmation)
	golden := filepath.Join("testdata", "patterns.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("patterns changed (-want +got):\n%s", d)
	}
}

// TestRhythmsDiffer checks that the states can be told apart without colours, as by a colour-blind person or with one LED.
func TestRhythmsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]state.State{}
	for _, s := range state.States {
		var plain Pattern
		for _, step := range States[s] {
			if step.Colour != Dark {
				step.Colour = White
			}
			plain = append(plain, step)
		}
		rhythm := draw(plain, 20*time.Second)
		if other, ok := seen[rhythm]; ok {
			t.Errorf("%s and %s have one rhythm", s, other)
		}
		seen[rhythm] = s
	}
}

// TestAtHoldsWhatItSays checks that the colour that At returns lasts exactly as long as it says.
func TestAtHoldsWhatItSays(t *testing.T) {
	t.Parallel()
	for s, p := range States {
		for elapsed := time.Duration(0); elapsed < 20*time.Second; elapsed += 7 * ms {
			c, left := p.At(elapsed)
			if left == forever {
				continue
			}
			if left <= 0 {
				t.Fatalf("%s after %v: %s for %v", s, elapsed, c, left)
			}
			if last, _ := p.At(elapsed + left - 1); last != c {
				t.Fatalf("%s after %v: %s for %v, yet then it is %s", s, elapsed, c, left, last)
			}
			if next, _ := p.At(elapsed + left); next == c {
				t.Fatalf("%s after %v: %s for %v, yet it stays", s, elapsed, c, left)
			}
		}
	}
}
