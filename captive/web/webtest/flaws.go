package webtest

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

//go:embed flaws.js
var findFlaws string

// axe is where `make test-tools` puts axe-core, below the module's folder.
const axe = "bin/axe.min.js"

// Judge opens pages in a browser's tab and reports their flaws.
type Judge struct {
	ctx   context.Context
	rules string // axe-core
	all   bool   // axe-core judges every language, in every look
}

// judgeAll is an environment variable. If it is set to anything, axe-core judges pages in every language, in every look: see
// [Judge.Page].
const judgeAll = "JUDGE_ALL"

// NewJudge returns a judge for a tab: see [Browser].
func NewJudge(t testing.TB, ctx context.Context) *Judge {
	t.Helper()
	rules, err := os.ReadFile(filepath.Join(moduleFolder(t), axe))
	if err != nil {
		t.Fatalf("axe-core is missing, `make test-tools` brings it: %v", err)
	}
	// A background tab has the focus, too.
	if err := chromedp.Run(ctx, emulation.SetFocusEmulationEnabled(true)); err != nil {
		t.Fatal(err)
	}
	return &Judge{ctx, string(rules), os.Getenv(judgeAll) != ""}
}

// moduleFolder returns the folder of go.mod. It is above the folder of the package, in which tests run.
func moduleFolder(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder
		}
		above := filepath.Dir(folder)
		if above == folder {
			t.Fatal("there is no go.mod above this test")
		}
		folder = above
	}
}

// look is a viewport and a colour scheme for a check.
type look struct {
	width int64
	dark  bool
	whole bool // check every rule; else only those that depend on the look
}

// looks are light and dark, on a narrow phone and on a wide screen. The first two cover each width and each scheme once.
var looks = []look{{320, false, true}, {1280, true, false}, {320, true, false}, {1280, false, false}}

// Page opens a page, which should be in the language and direction, and returns its flaws. It checks the page in light colours on a
// narrow screen and, if thorough is true, also in dark colours on a wide screen. Width and colours are independent, so the other
// two looks find next to nothing else; `make pages` checks them as well.
//
// axe-core takes half of the time, and its findings differ between a page's languages only by their direction. So it judges structure
// in French and Arabic, and contrast in French. `make pages` has it judge the structure in every language.
func (j *Judge) Page(url, lang, dir string, thorough bool) (flaws []string, err error) {
	if err := chromedp.Run(j.ctx, chromedp.EmulateViewport(320, 800), chromedp.Navigate(url)); err != nil {
		return nil, fmt.Errorf("open %s: %w", url, err)
	}
	structure, colours := lang == "fr" || lang == "ar" || j.all, lang == "fr"
	if structure || colours {
		if err := chromedp.Run(j.ctx, chromedp.Evaluate(j.rules, nil)); err != nil {
			return nil, fmt.Errorf("bring axe-core to %s: %w", url, err)
		}
	}
	n := 1
	switch {
	case thorough && j.all:
		n = len(looks)
	case thorough:
		n = 2
	}
	for _, look := range looks[:n] {
		scheme := "light"
		if look.dark {
			scheme = "dark"
		}
		want, err := json.Marshal(map[string]any{
			"whole": look.whole, "structure": look.whole && structure, "colours": colours, "lang": lang, "dir": dir})
		if err != nil {
			return nil, err
		}
		var found []string
		err = chromedp.Run(j.ctx,
			chromedp.EmulateViewport(look.width, 800),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
			chromedp.Evaluate(fmt.Sprintf("(%s)(%s)", findFlaws, want), &found,
				func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }),
		)
		if err != nil {
			return nil, fmt.Errorf("judge %s, %d px, %s: %w", url, look.width, scheme, err)
		}
		for _, flaw := range found {
			flaws = append(flaws, fmt.Sprintf("%s, %d px, %s: %s", url, look.width, scheme, flaw))
		}
	}
	return flaws, nil
}
