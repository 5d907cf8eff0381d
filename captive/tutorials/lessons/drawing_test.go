package lessons

import (
	"strings"
	"testing"
)

func TestDrawingsThatAreRefused(t *testing.T) {
	t.Parallel()
	draw := func(inside string) string {
		return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 200">` + inside + `</svg>`
	}
	for _, c := range []struct{ svg, want string }{
		{draw(`<script>alert(1)</script>`), "<script> is not allowed"},
		{draw(`<style>*{}</style>`), "<style> is not allowed"},
		{draw(`<text>a</text>`), "<text> is not allowed"},
		{draw(`<a href="http://example.org"/>`), "<a> is not allowed"},
		{draw(`<image href="http://example.org/1.png"/>`), "<image> is not allowed"},
		{draw(`<foreignObject/>`), "<foreignObject> is not allowed"},
		{draw(`<animate/>`), "<animate> is not allowed"},
		{draw(`<symbol id="phone" viewBox="0 0 1 1"/>`), "<symbol> is not allowed"},
		{draw(`<g onclick="alert(1)"/>`), "<g> must not have onclick"},
		{draw(`<g style="fill:red"/>`), "<g> must not have style"},
		{draw(`<g id="phone"/>`), "<g> must not have id"},
		{draw(`<path fill="red" d="M0 0"/>`), "<path> must not have fill"},
		{draw(`<path class="red" d="M0 0"/>`), `class="red" is not allowed`},
		{draw(`<path d="M0 0&quot;/&gt;"/>`), `is not allowed`},
		{draw(`<g transform="matrix(1 0 0 1 0 0)"/>`), `is not allowed`},
		{draw(`<use href="http://example.org/#a"/>`), `is not allowed`},
		{draw(`<use href="#nothing"/>`), `there is no symbol "nothing" in the kit`},
		{draw(`<use xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="#hand"/>`), `<use> must not have`},
		{draw(`<x:g xmlns:x="http://www.w3.org/1999/xhtml"/>`), "<g> is not allowed"},
		{draw(`<rect><g/></rect>`), "in another element than <g>"},
		{draw(strings.Repeat("<g>", 9) + strings.Repeat("</g>", 9)), "nested too deep"},
		{draw(`words`), "a drawing must not have text"},
		{draw(`<![CDATA[<script>]]>`), "a drawing must not have text"},
		{draw(`<!-- a -->`), "comments"},
		{draw(`<?php ?>`), "comments"},
		{`<!DOCTYPE svg [<!ENTITY a "b">]>` + draw(``), "unexpected content before <svg>"},
		{draw(``) + `<script/>`, "unexpected content after"},
		{draw(``)[:30], "syntax error"},
		{`<svg xmlns="http://www.w3.org/2000/svg"/>`, "needs a viewBox"},
		{`<svg viewBox="0 0 320 200"/>`, "<svg> instead of <svg>"},
		{`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 200" onload="a()"/>`, "<svg> must not have onload"},
		{`<html/>`, "<html> instead of <svg>"},
		{``, "EOF"},
		{draw(strings.Repeat(`<g/>`, maxDrawing/4)), "are more than the 16384"},
	} {
		got := ""
		if _, err := ownKit().draw([]byte(c.svg)); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) || got == "" {
			t.Errorf("%.200s\ngot  %q\nwant %q", c.svg, got, c.want)
		}
	}
}

// TestPeopleDiffer: the built-in drawings show everybody that the kit has, and women help as well as men.
func TestPeopleDiffer(t *testing.T) {
	t.Parallel()
	shown := make(map[string]int)
	for _, l := range Own().Lessons() {
		for _, s := range l.Steps {
			for _, symbol := range s.Drawing.uses {
				shown[symbol]++
			}
		}
	}
	for _, symbol := range []string{
		"person", "woman", "person-old", "person-child", "man", "man-old", "woman-scarf", "wheelchair", "police", "doctor", "flag",
	} {
		if shown[symbol] == 0 {
			t.Errorf("no drawing shows %s", symbol)
		}
	}
	kit, err := ownFiles.ReadFile("kit.svg")
	if err != nil {
		t.Fatal(err)
	}
	for _, tone := range []string{"skin", "skin2", "skin3", "skin4"} {
		if !strings.Contains(string(kit), `"line `+tone+`"`) {
			t.Errorf("nobody in the kit has %s", tone)
		}
	}
}

func TestSprite(t *testing.T) {
	t.Parallel()
	if got := Sprite(Drawing{}, Pictogram("no such")); got != "" {
		t.Errorf("no drawing uses %q", got)
	}
	got := string(Sprite(Pictogram("hand-press"), Pictogram("wifi"), Pictogram("wifi")))
	for _, id := range []string{"hand", "hand-press", "wifi"} { // hand-press uses hand
		if strings.Count(got, `<symbol id="`+id+`" `) != 1 {
			t.Errorf("%s is not there once: %s", id, got)
		}
	}
	if n := strings.Count(got, "<symbol "); n != 3 {
		t.Errorf("%d symbols, want 3: %s", n, got)
	}
}

func FuzzDrawing(f *testing.F) {
	own, err := ownFiles.ReadFile("own/wifi/4.svg")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><g transform="rotate(1)"><path d="M0 0"/></g></svg>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ownKit().draw(b)
		if err != nil {
			return
		}
		// The result is a valid drawing, and parses to itself.
		whole := `<svg xmlns="http://www.w3.org/2000/svg" viewBox="` + s.viewBox + `">` + s.body + `</svg>`
		again, err := ownKit().draw([]byte(whole))
		if err != nil && len(whole) <= maxDrawing || err == nil && again.body != s.body {
			t.Errorf("%q became %q, then %q: %v", b, s.body, again.body, err)
		}
		for _, bad := range []string{" on", "http", "script", "&", "style"} {
			if strings.Contains(s.body, bad) {
				t.Errorf("%q has %q", s.body, bad)
			}
		}
	})
}
