package web

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// Each way to break a file is an error that names file and key; the actual files have no errors.
func TestBrokenWords(t *testing.T) {
	t.Parallel()
	files := theFiles(t, wordFiles)
	for _, test := range []struct {
		file, old, new, problem string
	}{
		{"uk", `title = "`, "title", "words/uk.toml: toml: line "},
		{"uk", `home = "`, "home = 1 # \"", "words/uk.toml: page.home: a message must be text, not int64"},
		{"uk", "home = ", "house = ", "words/uk.toml: page.home: not there"},
		{"uk", "home = ", "house = ", "words/uk.toml: page.house: fr has no such message"},
		{"uk", "{size}", "{Size}", "words/uk.toml: first.data: '{' does not belong into a text"},
		{"uk", "{size}", "{time}", "words/uk.toml: first.data: fr has no {time}"},
		{"uk", "{size}", "", "words/uk.toml: first.data: "},
		{"uk", "hour.few", "hour.two", "words/uk.toml: unit.hour.two: the language has no such plural form"},
		{"uk", "hour.few", "hour.two", "words/uk.toml: unit.hour.few: this plural form is not there"},
		{"ar", `minute.many = "`, `minute.many = "مدة `, "words/ar.toml: unit.minute.many: {number} does not stand first"},
		{"es", "hour.other = \"{number} ", "hour.other = \"{number}", "words/es.toml: unit.hour.other: {number} does not stand first"},
		{"uk", "hour.one = \"{number} ", "hour.one = \"", "words/uk.toml: unit.hour.one: lacks {number}, and the form is that of"},
		{"fr", "hour.one = \"{number} ", "hour.one = \"", "words/fr.toml: unit.hour.one: lacks {number}, and the form is that of"},
		{"es", "at.1 =", "at.24 =", "words/es.toml: when.at.24: no hour of the day"},
		{"pt", `name = "Português"`, `name = ""`, "words/pt.toml: language.name: empty"},
		{"ar", `direction = "rtl"`, `direction = "ltr"`, `words/ar.toml: language.direction: "ltr", and its script is "rtl"`},
		{"pt", `locale = "pt-PT"`, `locale = "fr-FR"`, `words/pt.toml: language.locale: "fr-FR" is no place's pt`},
		{"pt", `locale = "pt-PT"`, `locale = ""`, `words/pt.toml: language.locale: `},
		{"fr", "Bienvenue", "Bienvenue ", "words/fr.toml: first.title: a space too many"},
		{"fr", "Bienvenue", "Bienvenue\\n", "words/fr.toml: first.title: a space too many, or an empty line"},
		{"fr", "Bienvenue", "", "words/fr.toml: first.title: a space too many, or an empty line"},
		{"fr", "Bienvenue", "l'accueil", `words/fr.toml: first.title: '\'' does not belong into a text`},
		{"fr", "Bienvenue", "<b>Bienvenue</b>", `words/fr.toml: first.title: '<' does not belong into a text`},
		{"fr", "Bienvenue", "Bien\u200bvenue", `words/fr.toml: first.title: '\u200b' does not belong into a text`},
		{"fr", "Bienvenue", "Bienvenue\u00a0!", `words/fr.toml: first.title: '\u00a0' does not belong into a text`},
		{"fr", "Bienvenue", "Cafe\u0301", "words/fr.toml: first.title: not in Unicode's form NFC"},
		{"fr", "Bienvenue", "Вienvenue", `words/fr.toml: first.title: "Вienvenue" has a letter that is not the language's`},
		{"uk", "Ласкаво", "Лаcкаво", `words/uk.toml: first.title: "Лаcкаво" has a letter that is not the language's`},
		{"uk", "Ласкаво", "Ласкавы", `words/uk.toml: first.title: "Ласкавы" has a letter that is not the language's`},
		{"ar", "مرحبا", "مرحبا?", `words/ar.toml: first.title: '?' does not belong into a text`},
		{"ar", "مرحبا", "مرحبا ١", `words/ar.toml: first.title: '١' does not belong into a text`},
	} {
		name := "words/" + test.file + ".toml"
		text := string(files[name].Data)
		if !strings.Contains(text, test.old) {
			t.Errorf("%s has no %q to break", name, test.old)
			continue
		}
		broken := fstest.MapFS{
			"words/fr.toml": files["words/fr.toml"], name: {Data: []byte(strings.Replace(text, test.old, test.new, 1))},
		}
		if err := loadAndCheck(broken, nil); err == nil || !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%s with %q for %q: %v, want %s", name, test.new, test.old, err, test.problem)
		}
	}
	if err := loadAndCheck(fstest.MapFS{"words/no-place.toml": {}}, nil); err == nil || !strings.Contains(err.Error(), "no-place") {
		t.Errorf("words of no language: %v", err)
	}
	if err := loadAndCheck(fstest.MapFS{}, nil); err == nil {
		t.Error("no words are no error")
	}
	if err := loadAndCheck(files, nil); err != nil {
		t.Errorf("the files as they are:\n%v", err)
	}
}

// Every share has the same messages in every language, and each way to break one of its files is an error that names file and key.
// No two rooms have the same message.
func TestBrokenWordsOfShares(t *testing.T) {
	t.Parallel()
	taken := map[string]string{}
	for room, dir := range allRooms(t) {
		files := theFiles(t, dir)
		if room == "" {
			files = theFiles(t, wordFiles)
		}
		w, err := parse(files, "words/fr.toml", french)
		if err != nil && room != "" {
			t.Fatal(err)
		}
		if room == "" {
			w = french
		}
		for key := range w.messages {
			if other, ok := taken[key]; ok {
				t.Errorf("%swords/fr.toml: %s: it is also in %swords/fr.toml", room, key, other)
			}
			taken[key] = room
		}
		if room == "" {
			continue
		}
		last := "uk"
		for code := range languages {
			if (room == "admin/" || room == "hub/") && code != "fr" && code != "en" {
				last = "en" // pages for technicians and for those who run a fleet are in two languages
			} else if files["words/"+code+".toml"] == nil {
				t.Errorf("%swords/%s.toml: not there", room, code)
			}
		}
		if err := loadAndCheck(files, Language); err != nil {
			t.Errorf("%s: the files as they are:\n%v", room, err)
		}
		name := "words/" + last + ".toml"
		text := string(files[name].Data)
		m := regexp.MustCompile(`(?m)^\[([a-z]+)\]\n([a-z-]+) = `).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("%s: no message to break", room)
		}
		section, key := m[1], m[2]
		for _, test := range []struct{ old, new, problem string }{
			{key + " = ", "bygone = ", name + ": " + section + "." + key + ": not there"},
			{key + " = ", "bygone = ", name + ": " + section + ".bygone: fr has no such message"},
			{key + " = ", key + " = 1 # ", name + ": " + section + "." + key + ": a message must be text"},
			{key + " = \"", key + " = \"{none}", name + ": " + section + "." + key + ": fr has no {none}"},
			{key + " = \"", key + " = \" ", name + ": " + section + "." + key + ": a space too many"},
			{"[" + section + "]", "[language]\nname = \"\"\n[" + section + "]", name + ": language.name: "},
		} {
			broken := fstest.MapFS{"words/fr.toml": files["words/fr.toml"]}
			broken[name] = &fstest.MapFile{Data: []byte(strings.Replace(text, test.old, test.new, 1))}
			if err := loadAndCheck(broken, Language); err == nil || !strings.Contains(err.Error(), test.problem) {
				t.Errorf("%s: with %q for %q: %v, want %s", room, test.new, test.old, err, test.problem)
			}
		}
	}
}

// loadAndCheck returns every error in words files: this package's, or a share's in the existing languages.
func loadAndCheck(files fstest.MapFS, language func(code string) *Words) error {
	var problems []error
	all := map[string]*Words{}
	for name := range files {
		var of *Words
		if language != nil {
			of = language(code(name))
		}
		if _, err := load(files, name, of); err != nil {
			problems = append(problems, err)
		} else if w, err := parse(files, name, of); err == nil { // as typed
			all[w.Code] = w
		}
	}
	return errors.Join(append(problems, check(all)...)...)
}

// theFiles returns a copy of a room's words files.
func theFiles(t *testing.T, from fs.FS) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	names, err := fs.Glob(from, "words/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(from, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	return files
}

func TestMessage(t *testing.T) {
	t.Parallel()
	if got, want := french.T("first.data", "size", "2 Go"), "2 Go par jour"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := french.Message("no.such"); err == nil {
		t.Error("a message that is not there gives no error")
	}
	if got := french.T("no.such"); got != "no.such" {
		t.Errorf("a message that is not there is %q", got)
	}
}

// Other scripts are isolated in Arabic, and typesetting leaves placeholders alone.
func TestIsolate(t *testing.T) {
	t.Parallel()
	w := &Words{Direction: "rtl", messages: map[string]string{}}
	for typed, want := range map[string]string{
		"France Titres (ANTS)\nاسم": "\u2066France Titres (ANTS)\u2069\nاسم",
		"1 jeune 1 solution":        "\u20661 jeune 1 solution\u2069",
		"شبكة Wi-Fi هنا":            "شبكة \u2066Wi\u2011Fi\u2069 هنا",
		"{size} في اليوم":           "\u20662 Go\u2069 في اليوم",
		"Anil et Adil، RSA.":        "\u2066Anil et Adil\u2069، \u2066RSA\u2069.",
		"http://a.fr/b-c":           "\u2066http://a.fr/b-c\u2069",
	} {
		w.messages["key"] = typed
		w.typeset()
		if got := w.T("key", "size", "2 Go"); got != want {
			t.Errorf("%s: %q, want %q", typed, got, want)
		}
	}
	// A text that is in the page's language but contains isolated parts stays as it is: if it were isolated, its order would be
	// reversed.
	arabic := Language("ar")
	day := arabic.Day(time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC))
	if want := "\u206623\u2069" + noBreak + "نوفمبر"; day != want {
		t.Errorf("a day is %q, want %q", day, want)
	}
	if got, want := arabic.T("closed.when", "when", day), "تفتح "+day+"."; got != want {
		t.Errorf("in a sentence it is %q, want %q", got, want)
	}
	if got := french.Isolate("a"); got != "a" {
		t.Errorf("in French %q", got)
	}
	if got := w.Isolate(""); got != "" {
		t.Errorf("nothing becomes %q", got)
	}
}

func TestFrenchSpaces(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Quoi ? Non ; si !": "Quoi\u202f? Non\u202f; si\u202f!",
		"« ici » : là":      "«\u202fici\u202f»\u00a0: là",
		"http://a ":         "http://a ",
	} {
		if got := frenchSpaces(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
