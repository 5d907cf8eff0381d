package lessons

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// TestOwnFactsAreChecked: each built-in lesson says when and where its facts were looked up. Its two languages agree.
func TestOwnFactsAreChecked(t *testing.T) {
	t.Parallel()
	first := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC) // no lesson had a date before
	for _, l := range Own().Lessons() {
		if l.Checked.Before(first) || len(l.Sources) == 0 {
			t.Errorf("%s/%s.md: checked %s, %d sources", l.Slug, l.Language, l.Checked.Format(time.DateOnly), len(l.Sources))
		}
		for _, s := range l.Sources {
			if !strings.HasPrefix(s, "https://") {
				t.Errorf("%s/%s.md: the source %s is not https", l.Slug, l.Language, s)
			}
		}
		fr, _ := Own().Lesson(l.Slug, "fr")
		if !l.Checked.Equal(fr.Checked) || !slices.Equal(l.Sources, fr.Sources) {
			t.Errorf("%s: %s has other sources than fr", l.Slug, l.Language)
		}
	}
}

func TestFactsInFrontMatter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ matter, want string }{
		{``, ""}, // packs need not have them
		{`checked = 2026-11-30`, ""},
		{"checked = 2026-11-30\nsources = [\"https://www.caf.fr/\", \"http://example.org/a?b=c\"]", ""},
		{`checked = "hier"`, "a.md:2: checked: write a day, without quotation marks, as in 2026-11-30"},
		{`checked = 26-11-30`, `a.md:4: `},
		{`checked = 1926-11-30`, "a.md:2: checked: write a day"},
		{`sources = "https://www.caf.fr/"`, `a.md:4: sources: `},
		{`sources = ["caf.fr"]`, `a.md:2: sources: "caf.fr" is not the address of a page`},
		{`sources = ["ftp://caf.fr/"]`, `is not the address of a page`},
		{`sources = ["https://a:b@caf.fr/"]`, `is not the address of a page`},
		{`sources = ["javascript:alert(1)"]`, `is not the address of a page`},
		{`sources = ["https://caf.fr/", "https://caf.fr/"]`, `is there twice`},
		{`sources = [` + strings.Repeat(`"https://caf.fr/",`, maxSources+1) + `]`, `31 are more than 30`},
	} {
		s := source{name: "a.md"}
		files := fstest.MapFS{"fr.md": {Data: []byte("+++\ntitle = \"A\"\nlevel = 1\n" + c.matter + "\n+++\n## Do.\n")}}
		l, err := s.lesson(files, "fr.md")
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.matter, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %s", c.matter, err, c.want)
		case err == nil && strings.Contains(c.matter, "checked") && l.Checked.Format(time.DateOnly) != "2026-11-30":
			t.Errorf("%s: %s", c.matter, l.Checked)
		}
	}
}

func TestStale(t *testing.T) {
	t.Parallel()
	l := &Lesson{Checked: time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)}
	if l.Stale(l.Checked) || l.Stale(l.Checked.AddDate(1, 11, 0)) || !l.Stale(l.Checked.AddDate(2, 0, 1)) {
		t.Error("a check is not good for two years")
	}
	if !(&Lesson{}).Stale(l.Checked) {
		t.Error("a lesson that was never checked is not stale")
	}
}
