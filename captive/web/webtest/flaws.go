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
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

//go:embed flaws.js
var findFlaws string

// axe is where `make test-tools` puts axe-core, below the module's folder.
const axe = "bin/axe.min.js"

// Judge opens pages in a browser's tab and reports their flaws.
type Judge struct{ ctx context.Context }

// NewJudge returns a judge for a tab: see [Browser].
func NewJudge(t testing.TB, ctx context.Context) *Judge {
	t.Helper()
	rules, err := os.ReadFile(filepath.Join(moduleFolder(t), axe))
	if err != nil {
		t.Fatalf("axe-core is missing, `make test-tools` brings it: %v", err)
	}
	// A background tab has the focus as well.
	err = chromedp.Run(ctx, emulation.SetFocusEmulationEnabled(true), chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(string(rules)).Do(ctx)
		return err
	}))
	if err != nil {
		t.Fatal(err)
	}
	return &Judge{ctx}
}

// moduleFolder returns the folder of go.mod: tests run in that of their package.
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
	whole bool // by every rule; else by those that depend on the look
}

// looks are light and dark, on a narrow phone and on a screen.
var looks = []look{{320, false, true}, {1280, true, false}, {320, true, false}, {1280, false, false}}

// Page opens a page, which should be in the language and direction, and returns its flaws. It checks it in light colours on
// a narrow screen; if thorough is true, also in the other looks.
func (j *Judge) Page(url, lang, dir string, thorough bool) (flaws []string, err error) {
	if err := chromedp.Run(j.ctx, chromedp.EmulateViewport(320, 800), chromedp.Navigate(url)); err != nil {
		return nil, fmt.Errorf("open %s: %w", url, err)
	}
	looks := looks
	if !thorough {
		looks = looks[:1]
	}
	for _, look := range looks {
		scheme := "light"
		if look.dark {
			scheme = "dark"
		}
		want, err := json.Marshal(map[string]any{"whole": look.whole, "lang": lang, "dir": dir})
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
