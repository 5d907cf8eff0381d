package lessons

import (
	"html/template"
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

var (
	linked   = regexp.MustCompile(`<a href="([^"]*)">.*?</a>`)
	aSite    = regexp.MustCompile(`\b(?:[a-z0-9-]+\.)+(?:fr|org|net|com|eu|info)\b`)
	aLesson  = regexp.MustCompile(`(?:[Ll]eçon|[Ll]esson) [«“]`)
	notSites = []string{".gouv.fr"} // the ending of the State's names
)

// TestOwnTextsLink: if a built-in text names a site or another lesson, the name is a link to it.
func TestOwnTextsLink(t *testing.T) {
	t.Parallel()
	to := make(map[string]int)
	check := func(where string, blocks ...template.HTML) {
		for _, b := range blocks {
			for _, a := range linked.FindAllStringSubmatch(string(b), -1) {
				switch {
				case strings.HasPrefix(a[1], "https://"):
					to["site"]++
				case strings.HasPrefix(a[1], "/tutorials/"):
					to["lesson"]++
				default:
					t.Errorf("%s: a link leads to %s", where, a[1])
				}
			}
			plain := linked.ReplaceAllString(string(b), "")
			for _, ending := range notSites {
				plain = strings.ReplaceAll(plain, ending, "")
			}
			for _, named := range append(aSite.FindAllString(plain, -1), aLesson.FindAllString(plain, -1)...) {
				t.Errorf("%s: %s is named without a link", where, named)
			}
		}
	}
	for _, l := range Own().Lessons() {
		check(l.Slug+"/"+l.Language, l.Intro...)
		for _, s := range l.Steps {
			check(l.Slug+"/"+l.Language+": "+s.Heading, s.Text)
		}
	}
	for _, language := range []string{"fr", "en", "es", "pt", "ar", "uk"} {
		h := Helpers(language)
		check("helpers/"+language, h.Intro...)
		for _, s := range h.Sections {
			check("helpers/"+language+": "+s.Heading, s.Text)
		}
	}
	if to["site"] < 40 || to["lesson"] < 30 {
		t.Errorf("only these links were found: %v", to)
	}
}

// TestNamesOfServices: the name of a public service is always spelt as the service spells it.
func TestNamesOfServices(t *testing.T) {
	t.Parallel()
	wrong := regexp.MustCompile(`France Services|[Mm]aison France|France services (house|centre)|\bCAF\b|France travail|Pole|Carte Vitale`)
	err := fs.WalkDir(ownFiles, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".md") {
			return err
		}
		b, err := fs.ReadFile(ownFiles, name)
		for _, w := range wrong.FindAllString(string(b), -1) {
			t.Errorf("%s: %s", name, w)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
