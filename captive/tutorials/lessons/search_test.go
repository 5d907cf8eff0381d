package lessons

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"passerelle/captive/search"
)

func TestSearch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ language, query, first string }{
		{"fr", "wifi", "wifi"},
		{"fr", "Wi-Fi", "wifi"},
		{"fr", "wi fi", "wifi"},
		{"fr", "WIFFI", "wifi"},
		{"fr", "mot de passe", "mots-de-passe"},
		{"fr", "mots de pase", "mots-de-passe"},
		{"fr", "motdepasse", "mots-de-passe"},
		{"fr", "l'adresse mail", "adresse-mail"},
		{"fr", "l’adresse e-mail", "adresse-mail"},
		{"fr", "adrese email", "adresse-mail"},
		{"fr", "arnaques", "arnaques"},
		{"fr", "arnaqeu", "arnaques"},
		{"fr", "arna", "arnaques"},
		{"fr", "curriculum", "cv"},
		{"fr", "faire un CV", "cv"},
		{"fr", "caf", "compte-caf"},
		{"fr", "ameli", "compte-ameli"},
		{"fr", "economiser les donnees", "economiser-donnees"},
		{"fr", "ÉCONOMISER", "economiser-donnees"},
		{"fr", "appel video", "appel-video"},
		{"fr", "frnaceconnect", "franceconnect"},
		{"fr", "comment je fais pour me connecter au wifi", "wifi"},
		{"fr", "qu'est-ce que franceconnect ?", "franceconnect"},
		{"en", "password", "mots-de-passe"},
		{"en", "scams", "arnaques"},
		{"en", "recognize a scam", "arnaques"},
		{"ar", "wifi", "wifi"}, // the lesson is in French only
		{"fr", "", ""},
		{"fr", "?! …", ""},
		{"fr", "xyzzyxyzzy", ""},
	} {
		hits := Own().Search(c.language, c.query, 5)
		got := ""
		if len(hits) > 0 {
			got = hits[0].Lesson.Slug
		}
		if got != c.first {
			t.Errorf("%s %q: %s is first, want %s", c.language, c.query, got, c.first)
		}
		want := c.language
		if want == "ar" {
			want = "fr"
		}
		if got != "" && hits[0].Lesson.Language != want {
			t.Errorf("%s %q: found in %s", c.language, c.query, hits[0].Lesson.Language)
		}
	}
	hits := Own().Search("fr", "roue dentée", 5)
	if len(hits) == 0 || hits[0].Step < 0 || !strings.Contains(hits[0].Lesson.Steps[hits[0].Step].Heading, "roue") {
		t.Errorf("not the step about the wheel: %v", hits)
	}
}

func TestSearchInOtherScripts(t *testing.T) {
	t.Parallel()
	l := &Library{lessons: make(map[string]map[string]*Lesson)}
	add := func(slug, language, title string) {
		l.lessons[slug] = map[string]*Lesson{language: {Slug: slug, Language: language, Title: title}}
		l.paths = append(l.paths, Path{Slug: "p-" + slug, Lessons: []string{slug}})
	}
	add("water", "ar", "سَقْيُ الحديقة")
	add("sow", "uk", "Посіяти насіння в саду")
	l.prepareIndexes()
	for query, want := range map[string]string{
		"حديقة": "water", "الحديقه": "water", "سقي": "water", "НАСІННЯ": "sow", "насиння": "sow", "сад": "sow",
	} {
		for _, language := range []string{"ar", "fr"} {
			if hits := l.Search(language, query, 1); len(hits) != 1 || hits[0].Lesson.Slug != want {
				t.Errorf("%s %q: %v, want %s", language, query, hits, want)
			}
		}
	}
}

// TestSearchFindsTitles searches for every lesson by its title: unchanged, without accents, and with a wrong letter.
func TestSearchFindsTitles(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for slug, languages := range Own().lessons {
		for language, lesson := range languages {
			first := func(query string) string {
				hits := Own().Search(language, query, 3)
				if len(hits) == 0 {
					return ""
				}
				return hits[0].Lesson.Slug
			}
			for _, query := range []string{lesson.Title, strings.ToUpper(lesson.Title), search.Fold(lesson.Title)} {
				if got := first(query); got != slug {
					t.Errorf("%s %q finds %q first", language, query, got)
				}
			}
			// One letter of the longest word is replaced.
			words := strings.Fields(lesson.Title)
			slices.SortFunc(words, func(a, b string) int { return utf8.RuneCountInString(b) - utf8.RuneCountInString(a) })
			letters := []rune(words[0])
			letters[1+rnd.IntN(len(letters)-2)] = 'q'
			query := strings.Replace(lesson.Title, words[0], string(letters), 1)
			hits := Own().Search(language, query, 3)
			if !slices.ContainsFunc(hits, func(h Hit) bool { return h.Lesson.Slug == slug }) {
				t.Errorf("%s %q does not find %s", language, query, slug)
			}
		}
	}
}

func FuzzSearch(f *testing.F) {
	for _, q := range []string{"wifi", "l’adresse", "سقي", "\xff\xfe", "-'-'", strings.Repeat("été ", 3000), "e-mail e-mail"} {
		f.Add(q, 3)
	}
	f.Add("d", 114) // a letter that many words begin with
	l := Own()
	f.Fuzz(func(t *testing.T, query string, most int) {
		hits := l.Search("fr", query, most)
		if len(hits) > max(most, 0) {
			t.Fatalf("%d hits, want %d at most", len(hits), most)
		}
		seen := make(map[*Lesson]bool)
		for _, h := range hits {
			if seen[h.Lesson] || h.Step < -1 || h.Lesson != nil && h.Step >= len(h.Lesson.Steps) || h.Sure <= 0 {
				t.Fatalf("%v", h)
			}
			seen[h.Lesson] = true
		}
		if again := l.Search("fr", query, most); !slices.Equal(hits, again) {
			t.Fatalf("%v, then %v", hits, again)
		}
	})
}

// unknownWords has as many words as a query may have, all unknown.
const unknownWords = "zqvkawoxbu zqvkbwoxcu zqvkcwoxdu zqvkdwoxeu zqvkewoxfu zqvkfwoxgu " +
	"zqvkgwoxhu zqvkhwoxiu zqvkiwoxju zqvkjwoxku zqvkkwoxlu zqvklwoxmu"

func BenchmarkSearch(b *testing.B) {
	l := Own()
	for _, query := range []string{"wifi", "mot de pase oublie", strings.Repeat("téléphonne ", 1000), unknownWords} {
		b.Run(query[:4], func(b *testing.B) {
			for b.Loop() {
				l.Search("fr", query, 10)
			}
		})
	}
}

// TestKeywords: a lesson is found by its keywords in every language, even if it has none in the page's language; a part of a keyword
// counts less than the whole.
func TestKeywords(t *testing.T) {
	t.Parallel()
	l := &Library{lessons: make(map[string]map[string]*Lesson)}
	for slug, words := range map[string][]string{"sow": {"faire pousser", "semis"}, "water": {"arroser sans faire de flaque"}} {
		l.lessons[slug] = map[string]*Lesson{"ar": {Slug: slug, Language: "ar", Title: "حديقة", keywords: strings.Join(words, "\n")}}
		l.paths = append(l.paths, Path{Slug: "p-" + slug, Lessons: []string{slug}})
	}
	l.prepareIndexes()
	for query, want := range map[string]string{
		"semis": "sow", "comment faire pousser ?": "sow", "fairepousser": "sow", "fère pouser": "sow", "arroser sans flaque": "water",
		"tracteur": "", "sans": "",
	} {
		hits := l.Search("ar", query, 3)
		if got := append(hits, Hit{Lesson: &Lesson{}})[0].Lesson.Slug; got != want {
			t.Errorf("%q finds %q, want %q", query, got, want)
		}
	}
}

// TestKeywordBounds: keywords that find nothing, occur twice or are too long or too many are refused, each with its file and line.
func TestKeywordBounds(t *testing.T) {
	t.Parallel()
	many := make([]string, maxKeywords+1)
	for i := range many {
		many[i] = "mot" + string(rune('a'+i/26)) + string(rune('a'+i%26))
	}
	for _, c := range []struct {
		name string
		all  map[string][]string
		want []string
	}{
		{"none", nil, nil},
		{"fine", map[string][]string{"fr": {"mot de passe", "mdp"}, "ar": {"كلمة السر"}}, nil},
		{"stop words", map[string][]string{"fr": {"avec le", "?!"}}, []string{`keywords.fr: "avec le" says nothing`, `keywords.fr: "?!" says nothing`}},
		{"twice", map[string][]string{"fr": {"Hôtel", "hotel"}}, []string{`keywords.fr: "hotel" is there twice`}},
		{"long", map[string][]string{"en": {strings.Repeat("a", maxKeyword+1)}}, []string{"more than 40 letters"}},
		{"wordy", map[string][]string{"en": {"a b c d e f g"}}, []string{"more than 6 words"}},
		{"many", map[string][]string{"en": many}, []string{"keywords.en: 61 are more than 60"}},
		{"language", map[string][]string{"french": {"mot"}}, []string{"keywords.french: not a language"}},
	} {
		problems := checkKeywords(c.all)
		if len(problems) != len(c.want) {
			t.Errorf("%s: %v", c.name, problems)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(problems[i].Error(), want) {
				t.Errorf("%s: %v, want %q", c.name, problems[i], want)
			}
		}
	}
}

// TestOwnKeywords: every built-in lesson has keywords in all six languages.
func TestOwnKeywords(t *testing.T) {
	t.Parallel()
	for slug := range Own().lessons {
		s, f := source{name: slug}, front{}
		if err := s.open(ownFiles, "own/"+slug+"/fr.md", &f); err != nil {
			t.Fatal(err)
		}
		for _, language := range []string{"fr", "en", "es", "pt", "ar", "uk"} {
			if len(f.Keywords[language]) == 0 {
				t.Errorf("%s has no keywords in %s", slug, language)
			}
		}
	}
}
