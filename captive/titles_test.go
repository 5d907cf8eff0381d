package captive

import (
	"html"
	"strings"
	"testing"
)

// TestTitlesInTheReadersLanguage: a list and a picture story of a French lesson speak the reader's language; only the
// drawing's description and the lesson itself are French, and both say so.
func TestTitlesInTheReadersLanguage(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.site.Languages = "fr en ar"
	s := newServer(b)
	french, _ := b.tutorials.Library().Lesson("arnaques", "fr")
	arabic := french.Titles["ar"]
	for path, want := range map[string][]string{
		"/tutorials/securite": {"<strong>" + arabic.Title + "</strong>", arabic.Summary, "Français"},
		"/tutorials/arnaques/5": {
			"<h1>" + arabic.Steps[4] + "</h1>", arabic.Title, `lang="fr" dir="ltr"`, `aria-label="` + french.Steps[4].Drawing.Alt,
		},
		"/tutorials/arnaques": {french.Title, `lang="fr" dir="ltr"`},
	} {
		page := html.UnescapeString(body(t, ask(t, s, "GET "+path+"?lang=ar")))
		for _, w := range want {
			if !strings.Contains(page, w) {
				t.Errorf("%s does not say %s", path, w)
			}
		}
		if path != "/tutorials/arnaques" && (strings.Contains(page, french.Title) || strings.Contains(page, french.Steps[4].Heading)) {
			t.Errorf("%s has French titles", path)
		}
	}
}
