package web

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// held maps each criterion of RGAA 4.1 that the pages meet to the test that fails when they do not.
var held = map[string]string{
	"1.1": "TestNoFlaw", "1.2": "TestNoFlaw", "2.1": "TestNoFlaw", "3.2": "TestNoFlaw", "3.3": "TestContrast", "6.2": "TestNoFlaw",
	"8.1": "TestRender", "8.3": "TestNoFlaw", "8.4": "TestNoFlaw", "8.5": "TestNoFlaw", "9.2": "TestNoFlaw", "10.6": "TestNoFlaw",
	"10.7": "TestNoFlaw", "10.11": "TestNoFlaw", "11.1": "TestNoFlaw", "12.6": "TestNoFlaw", "12.7": "TestNoFlaw",
	"12.8": "TestKeyboard", "12.9": "TestKeyboard", "13.1": "TestPages", "13.2": "TestPagesLoadNothing", "13.7": "TestNoFlaw",
	"13.8": "TestNoFlaw",
}

// TestAccessibilityNumbers: the page's numbers count all criteria of RGAA, and each criterion that is said to be met has a test.
func TestAccessibilityNumbers(t *testing.T) {
	t.Parallel()
	criteria := [13]int{9, 2, 3, 13, 8, 2, 5, 10, 4, 14, 13, 11, 12} // of each topic
	var tests strings.Builder
	for _, pattern := range []string{"*_test.go", "../*_test.go", "../*/*_test.go", "../*/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(b)
		}
	}
	met := 0
	for i, signs := range rgaa {
		if len(signs) != criteria[i] || strings.Trim(signs, "mx-?") != "" {
			t.Errorf("topic %d has %d criteria, want %d: %q", i+1, len(signs), criteria[i], signs)
		}
		for j, sign := range signs {
			name := strconv.Itoa(i+1) + "." + strconv.Itoa(j+1)
			test, ok := held[name]
			if ok != (sign == 'm') {
				t.Errorf("criterion %s is %q, held by %q", name, sign, test)
			}
			if ok {
				met++
				if !strings.Contains(tests.String(), "\nfunc "+test+"(") {
					t.Errorf("criterion %s: there is no %s", name, test)
				}
			}
		}
	}
	if n := (Accessibility{}).Numbers(); n.All != "106" || n.Met != strconv.Itoa(met) {
		t.Errorf("the page says %+v", n)
	}
}
