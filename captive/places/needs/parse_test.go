package needs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"passerelle/appliance/private"

	"github.com/rogpeppe/go-internal/txtar"
)

// small is a small file for tests to break.
const small = `[[question]]
key = "need"
next = "with"
ask.fr = "Quoi ?"

[[question.choice]]
key = "info"
pictogram = "lifebuoy"
danger = true
next = "kind"
title.fr = "Danger"

[[question.choice]]
key = "papers"
pictogram = "papers"
official = true
title.fr = "Papiers"

[[question.choice]]
key = "learn"
pictogram = "book"
title.fr = "Apprendre"

[[question]]
key = "kind"
now = ["number 112"]
ask.fr = "Où ?"

[[question.choice]]
key = "a"
pictogram = "hand"
title.fr = "Ici"

[[question.choice]]
key = "b"
pictogram = "house"
title.fr = "Là"

[[question]]
key = "with"
ask.fr = "Qui ?"

[[question.choice]]
key = "alone"
pictogram = "person"
title.fr = "Personne"

[[question.choice]]
key = "someone"
pictogram = "people"
title.fr = "Quelqu’un"

[[rule]]
when.need = ["info"]
to = ["number 17", "without internet"]

[[rule]]
when.need = ["papers"]
to = ["person social-worker", "service procedures", "without internet"]

[[rule]]
when.need = ["learn"]
when.with = ["alone"]
to = ["person volunteers", "lesson wifi", "without internet"]

[[rule]]
to = ["lesson wifi", "without internet"]

[[without]]
key = "internet"
text.fr = "Demandez."
`

// things knows the things that the tests' files name.
var things = Known{
	Destination: func(d Destination) bool {
		switch d {
		case Destination{Number, "17"}, Destination{Number, "112"}, Destination{Service, "procedures"}, Destination{Lesson, "wifi"}:
			return true
		}
		return false
	},
	Pictogram: func(name string) bool { return name != "dragon" },
}

// Each mistake is reported with its line, and the unchanged file has none.
func TestBroken(t *testing.T) {
	t.Parallel()
	if _, err := Parse("needs.toml", []byte(small), things); err != nil {
		t.Fatalf("the file as it is: %v", err)
	}
	for _, test := range []struct{ old, new, problem string }{
		// Destinations.
		{`"lesson wifi", "without internet"]

[[rule]]`, `"lesson wi-fi", "without internet"]

[[rule]]`, `:64: lesson wi-fi: it leads nowhere, there is none`},
		{`"number 17"`, `"number 18"`, `:55: number 18: it leads nowhere, there is none`},
		{`"number 17"`, "\n  \"number 17\",\n  \"number 18\"", `:57: number 18: it leads nowhere, there is none`},
		{`service procedures`, `service magic`, `:59: service magic: it leads nowhere`},
		{`person social-worker`, `person mayor`, `:59: person mayor: the persons are [desk social-worker`},
		{`"without internet"]

[[rule]]
when.need = ["learn"]`, `"without paper"]

[[rule]]
when.need = ["learn"]`, `:59: without paper: there is no [[without]] with this key`},
		{`"person social-worker", "service`, `"service`, `:57: the rule leads nowhere as long as no list of places is imported`},
		{`"without internet"]

[[without]]`, `"lesson wifi"]

[[without]]`, `:67: lesson wifi: it is there twice`},
		{`["lesson wifi", "without internet"]

[[without]]`, `["lesson wifi"]

[[without]]`, `:67: a rule ends with how to do it without the internet, once`},
		{`["lesson wifi", "without internet"]

[[without]]`, `["without internet", "lesson wifi"]

[[without]]`, `:67: a rule ends with how to do it without the internet, once`},
		{`["lesson wifi", "without internet"]

[[without]]`, `[]

[[without]]`, `:66: the rule leads nowhere as long as`},
		{"to = [\"lesson wifi\", \"without internet\"]\n\n[[without]]", "[[without]]", `:66: the rule leads nowhere as long as`},
		{`"lesson wifi"`, `"wifi"`, `:64: "wifi": a destination is one of [lesson path`},

		// Combinations.
		{"[[rule]]\nto = [\"lesson wifi\", \"without internet\"]\n", "", `:1: no rule applies to learn/someone`},
		{`when.with = ["alone"]`, "when.with = [\"alone\", \"someone\"]", `:66: the rule never applies: earlier ones take all its answers`},
		{`when.need = ["learn"]`, `when.need = ["info"]`, `:61: the rule never applies`},
		{`when.need = ["learn"]`, `when.kind = ["a"]`, `:61: the rule never applies`},
		{`when.need = ["learn"]`, `when.need = ["teach"]`, `:61: when.need: the question has no choice "teach"`},
		{`when.need = ["learn"]`, `when.want = ["learn"]`, `:61: when.want: there is no such question`},
		{`when.need = ["learn"]`, `when.need = []`, `:62: when: name at least one choice`},
		{`when.need = ["learn"]`, `when.need = "learn"`, `:62: it is a list of texts`},
		{`when.need = ["learn"]`, `when.need = [1]`, `:62: it is a list of texts`},
		{`when.need = ["learn"]`, `when = ["learn"]`, `:62: when: write it with a second part`},

		// The centres' practice.
		{`"number 17", `, `"person desk", "number 17", `, `:53: it applies to danger (info/a): its first destination is a number`},
		{`now = ["number 112"]`, ``, `:24: question "kind" comes after danger: now names a number`},
		{`now = ["number 112"]`, `now = ["lesson wifi"]`, `:26: now: only numbers`},
		{`"person social-worker", `, `"person social-worker", "person volunteers", `, `:59: it applies to an administrative procedure (papers): never to volunteers`},
		{"danger = true\n", "", `:6: danger is the first choice of the first question`},
		{`title.fr = "Papiers"`, "danger = true\nnext=\"kind\"\ntitle.fr = \"Papiers\"", `:59: it applies to danger (papers/a)`},
		{`title.fr = "Apprendre"`, "danger = true\ntitle.fr = \"Apprendre\"", `:19: danger is the first choice of the first question`},

		// Questions and texts.
		{`next = "with"`, `next = "who"`, `:1: next: there is no question "who" below this one`},
		{`next = "kind"`, `next = "need"`, `:6: next: there is no question "need" below this one`},
		{`next = "kind"`, ``, `:24: question "kind": no choice before it leads to it`},
		{`key = "learn"`, `key = "papers"`, `:19: a choice has a key, which no other of its question has`},
		{`key = "learn"`, `key = "../x"`, `:20: key: it is a text of lower-case letters`},
		{`key = "learn"`, `key = 5`, `:20: key: it is a text of lower-case letters`},
		{`key = "learn"`, ``, `:19: a choice has a key`},
		{`key = "kind"`, `key = "need"`, `:24: a question has a key, which no other has`},
		{`title.fr = "Apprendre"`, `title.en = "Learn"`, `:19: there is no title.fr`},
		{`title.fr = "Apprendre"`, `title = "Learn"`, `:22: title: write it with a second part`},
		{`title.fr = "Apprendre"`, `title.fr = ""`, `:22: the text is empty`},
		{`title.fr = "Apprendre"`, `title.fr = "Apprendre "`, `:22: the text is empty, or has a space too many`},
		{`title.fr = "Apprendre"`, `title.fr = 1`, `:22: a text stands between quotation marks`},
		{`title.fr = "Apprendre"`, `title.fr = "a\u202eb"`, `:22: the text has a control character`},
		{`title.fr = "Apprendre"`, `title.French = "a"`, `:22: "French" is no language's code`},
		{`title.fr = "Apprendre"`, `title.fr = "` + strings.Repeat("é", 601) + `"`, `:22: the text has more than 600 letters`},
		{`title.fr = "Apprendre"`, "title.fr = \"a\"\ntitle.fr = \"b\"", `:23: title.fr: it is there twice`},
		{`pictogram = "book"`, `pictogram = "dragon"`, `:19: pictogram: there is none named "dragon"`},
		{`danger = true`, `danger = "true"`, `:9: danger: it is true or false`},
		{"[[question.choice]]\nkey = \"b\"\npictogram = \"house\"\ntitle.fr = \"Là\"\n", "", `:24: a question has at least two choices`},
		{`text.fr = "Demandez."`, ``, `:69: there is no text.fr`},
		{`key = "internet"`, ``, `:69: a [[without]] has a key`},
		{`text.fr = "Demandez."`, "text.fr = \"Demandez.\"\n[[without]]\nkey = \"more\"\ntext.fr = \"a\"", `:72: no rule leads to without "more"`},

		// The form of the file.
		{`official = true`, `offical = true`, `:16: offical: there is no such key in [[question.choice]]`},
		{`official = true`, `official.fr = true`, `:16: official.fr: there is no such key`},
		{`[[without]]`, `[without]`, `:69: [without]: the tables are`},
		{`[[without]]`, `[[with]]`, `:69: [with]: the tables are`},
		{`[[question]]`, "x = 1\n[[question]]", `:1: x: it is in no table`},
		{`[[question]]`, "[[question.choice]]\n[[question]]", `:1: [question.choice]: the tables are`},
		{`ask.fr = "Qui ?"`, `ask.fr = "Qui ?`, `:41: `},
		{`ask.fr = "Qui ?"`, "ask.fr = \"\xff\"", `:1: the file is not UTF-8 text`},
	} {
		if !strings.Contains(small, test.old) {
			t.Errorf("there is no %q to break", test.old)
			continue
		}
		_, err := Parse("needs.toml", []byte(strings.Replace(small, test.old, test.new, 1)), things)
		if err == nil || !strings.Contains(err.Error(), "needs.toml"+test.problem) {
			t.Errorf("%q for %q:\n%v\nwant %s", test.new, test.old, err, test.problem)
		}
	}
}

// Files that are too large in any way are refused quickly, with a short error.
func TestLarge(t *testing.T) {
	t.Parallel()
	rules := strings.Repeat("\n[[rule]]\nto = [\"lesson wifi\", \"without internet\"]\n", 1000)
	var questions, choices strings.Builder
	for i := range 40 {
		fmt.Fprintf(&choices, "\n[[question.choice]]\nkey = \"c%d\"\npictogram = \"book\"\ntitle.fr = \"a\"\n", i)
	}
	for i := range 10 { // 3^10 combinations
		fmt.Fprintf(&questions, "[[question]]\nkey = \"q%d\"\nask.fr = \"a\"\nnow = [\"number 112\"]\n", i)
		if i < 9 {
			fmt.Fprintf(&questions, "next = \"q%d\"\n", i+1)
		}
		for j := range 3 {
			fmt.Fprintf(&questions, "[[question.choice]]\nkey = \"c%d\"\npictogram = \"book\"\ntitle.fr = \"a\"\ndanger = %v\n", j, i+j == 0)
		}
	}
	for name, test := range map[string]struct{ text, problem string }{
		"nothing":          {"", "needs.toml:1: there is no [[question]]"},
		"a thousand rules": {small + rules, "more than 200 rules"},
		"many choices":     {strings.Replace(small, "[[question]]\nkey = \"kind\"", choices.String()+"[[question]]\nkey = \"kind\"", 1), "more than 14 choices"},
		"many questions":   {questions.String() + "[[rule]]\nto = [\"number 17\", \"without a\"]\n[[without]]\nkey=\"a\"\ntext.fr=\"a\"", "more than 500 combinations"},
		"1 MB":             {small + strings.Repeat("# more\n", 150_000), "needs.toml:1: the file has more than 256 kB"},
		"nested":           {"x = " + strings.Repeat("[", 200_000), "needs.toml:1: "},
		"a deep key":       {strings.Repeat("a.", 100_000) + "a = 1", "needs.toml:1: "},
		"a deep table":     {"[" + strings.Repeat("a.", 100_000) + "a]", "needs.toml:1: "},
		"a binary":         {"\x7fELF\x00\x01", "needs.toml:1: "},
		"UTF-16":           {"\xff\xfe[\x00[\x00", "not UTF-8"},
		"many mistakes":    {small + strings.Repeat("[[x]]\n", 5000), "the tables are"},
	} {
		_, err := Parse("needs.toml", []byte(test.text), things)
		if err == nil || !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%s: %.300v, want %s", name, err, test.problem)
		} else if len(err.Error()) > 4000 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
	if _, err := Parse("needs.toml", []byte("\ufeff"+strings.ReplaceAll(small, "\n", "\r\n")), things); err != nil {
		t.Errorf("a file from Windows: %v", err)
	}
}

// A path is read up to the first part that is not a choice.
func TestRead(t *testing.T) {
	t.Parallel()
	g := Own()
	for path, want := range map[string]string{
		"":                              " need true",
		"papers":                        "papers with true",
		"papers/alone":                  "papers/alone reach true",
		"papers/alone/phone":            "papers/alone/phone - true",
		"papers/alone/phone/x":          "papers/alone/phone - false",
		"papers/alone/":                 "papers/alone reach true",
		"papers//alone":                 "papers with false",
		"papers/phone":                  "papers with false",
		"info":                          "info kind true",
		"info/a":                        "info/a - true",
		"info/alone":                    "info kind false",
		"nope":                          " need false",
		strings.Repeat("papers/", 1000): "papers with false",
	} {
		a, next, whole := g.Read(path)
		key := "-"
		if next != nil {
			key = next.Key
		}
		if got := fmt.Sprint(a.Path(), " ", key, " ", whole); got != want {
			t.Errorf("%.40q: %q, want %q", path, got, want)
		}
	}
}

// A centre's broken file is not used, and a file that is refused changes nothing.
func TestInstall(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "places")
	if g, err := Load(dir, things); err != nil || g != Own() {
		t.Errorf("nothing is installed: %v", err)
	}
	good, bad := filepath.Join(t.TempDir(), "good.toml"), filepath.Join(t.TempDir(), "bad.toml")
	if err := errors.Join(os.WriteFile(good, []byte(small), 0o644), os.WriteFile(bad, []byte("[[rule]]"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(dir, bad, things, ""); err == nil {
		t.Error("a broken file is installed")
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it left something behind: %v", err)
	}
	if _, err := Install(dir, good, things, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(dir, bad, things, ""); err == nil {
		t.Error("a broken file is installed")
	}
	if g, err := Load(dir, things); err != nil || g == Own() || len(g.Rules) != 4 {
		t.Errorf("what was installed is not used: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, File), []byte("[[rule]]"), 0o644); err != nil {
		t.Fatal(err)
	}
	if g, err := Load(dir, things); g != Own() || err == nil || !strings.Contains(err.Error(), "needs.toml:1: there is no [[question]]") {
		t.Errorf("a broken file: %v", err)
	}
	if _, err := Install(dir, good, things, "another"); !errors.Is(err, private.ErrReplaced) {
		t.Errorf("another edition is replaced: %v", err)
	}
	seen, err := Edition(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir, seen); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is removed twice: %v", err)
	}
	if _, err := Install(dir, t.TempDir(), things, ""); err == nil {
		t.Error("a folder is installed")
	}
}

// Whatever the file, the result is an error or a guide that leaves nobody without an answer.
func FuzzParse(f *testing.F) {
	f.Add(small)
	f.Add(string(Own().File()))
	f.Add("[[question]]\nkey = \"a\"\n[[question.choice]]\n[[rule]]\nwhen.a = [\"b\"]\nto = [\"lesson wifi\"]")
	f.Add("[[without]]\nkey = 'a'\ntext.fr = '''b'''")
	if archive, err := txtar.ParseFile("testdata/own.txtar"); err == nil {
		f.Add(string(archive.Comment))
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := Parse("needs.toml", []byte(text), Known{})
		if err != nil {
			return
		}
		for a := range g.All() {
			to := g.Rule(a).To
			if len(to) < 2 || to[len(to)-1].Kind != Without {
				t.Fatalf("%s leads to %v", a.Path(), to)
			}
			if back, next, whole := g.Read(a.Path()); next != nil || !whole || back.Path() != a.Path() {
				t.Fatalf("%s is read as %s", a.Path(), back.Path())
			}
			if a.Danger() && to[0].Kind != Number {
				t.Fatalf("danger %s leads to %s", a.Path(), to[0])
			}
			for _, d := range to {
				if a.Official() && d == (Destination{Person, Volunteers}) {
					t.Fatalf("%s leads to volunteers", a.Path())
				}
			}
		}
	})
}
