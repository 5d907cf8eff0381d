package captive

import (
	"html"
	"strings"
	"testing"
)

// TestTitlesInTheReadersLanguage: the titles of a French lesson in lists, answers and picture stories are in the reader's language.
// Only the drawing's description and the lesson itself are French, and both say so.
func TestTitlesInTheReadersLanguage(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.site.Languages = "fr en ar"
	withPlaces(t, b)
	s := newServer(b)
	lost, _ := b.tutorials.Library().Lesson("telephone-perdu", "fr")
	french, _ := b.tutorials.Library().Lesson("arnaques", "fr")
	arabic := french.Titles["ar"]
	for path, want := range map[string][]string{
		"/tutorials/securite": {"<strong>" + arabic.Title + "</strong>", arabic.Summary, "Français"},
		"/tutorials/arnaques/5": {
			"<h1>" + arabic.Steps[4] + "</h1>", arabic.Title, `lang="fr" dir="ltr"`, `aria-label="` + french.Steps[4].Drawing.Alt,
		},
		"/needs/lost/alone/here": {lost.Titles["ar"].Title, lost.Titles["ar"].Summary, `href="/tutorials/telephone-perdu?lang=ar"`},
		"/lend":                  {`href="/tutorials/preter?lang=ar"`},
		"/tutorials/arnaques":    {french.Title, `lang="fr" dir="ltr"`},
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
