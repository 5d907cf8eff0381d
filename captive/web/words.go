package web

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/BurntSushi/toml"
	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

//go:embed words/*.toml
var wordFiles embed.FS

// Words is one language: its messages, and how it writes times and amounts.
type Words struct {
	Tag       language.Tag
	Code      string // as the file is named and as pages say it in their lang attribute, e.g. "fr"
	Name      string // the language's name in itself
	Direction string // "ltr" or "rtl"
	Reviewed  bool   // by somebody who speaks it

	locale   language.Tag      // whose numbers and plural forms it has
	numbers  *message.Printer  // writes them
	messages map[string]string // by "section.key"; an array's items by "section.key.0" and on
}

// languages has every language there is, by code. Each is read when it is first asked for: a small board feels what it
// reads, and most boxes offer two, most commands none.
var languages = func() map[string]func() *Words {
	names, err := fs.Glob(wordFiles, "words/*.toml")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	all := make(map[string]func() *Words, len(names))
	for _, name := range names {
		all[code(name)] = sync.OnceValue(func() *Words {
			w, err := load(wordFiles, name)
			if err != nil {
				panic(err) // the files are part of the program: it was built wrong
			}
			return w
		})
	}
	return all
}()

// Language returns a language's words, or nil if there are none.
func Language(code string) *Words {
	if read, ok := languages[code]; ok {
		return read()
	}
	return nil
}

// code returns the code of the language of a words file.
func code(name string) string { return strings.TrimSuffix(path.Base(name), ".toml") }

// load reads words/CODE.toml. Its error names the file, and the key if there is one. That a file which can be read says
// what pages ask for is not looked at here, on the box: tests do that.
func load(files fs.FS, name string) (*Words, error) {
	w, err := parse(files, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	w.typeset()
	return w, nil
}

// parse reads a language's file, its messages as they were typed.
func parse(files fs.FS, name string) (*Words, error) {
	var sections map[string]toml.Primitive
	file, err := toml.DecodeFS(files, name, &sections)
	if err != nil {
		return nil, err
	}
	var head struct {
		Name, Direction, Locale string
		Reviewed                bool
	}
	if err := file.PrimitiveDecode(sections["language"], &head); err != nil {
		return nil, err
	}
	delete(sections, "language")
	w := &Words{
		Code: code(name), Name: head.Name, Direction: head.Direction, Reviewed: head.Reviewed,
		messages: make(map[string]string),
	}
	if w.Tag, err = language.Parse(w.Code); err != nil {
		return nil, err
	}
	if w.locale, err = language.Parse(head.Locale); err != nil {
		return nil, fmt.Errorf("language.locale: %q: %w", head.Locale, err)
	}
	w.numbers = message.NewPrinter(w.locale)
	for name, section := range sections {
		var tree map[string]any
		if err := file.PrimitiveDecode(section, &tree); err != nil {
			return nil, err
		}
		if err := w.add(name, tree); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// add flattens a TOML value into messages.
func (w *Words) add(key string, value any) error {
	switch v := value.(type) {
	case string:
		w.messages[key] = v
	case []any:
		for i, item := range v {
			if err := w.add(key+"."+strconv.Itoa(i), item); err != nil {
				return err
			}
		}
	case map[string]any:
		for k, item := range v {
			if err := w.add(key+"."+k, item); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%s: a message must be text, not %T", key, value)
	}
	return nil
}

// errNoMessage is returned for a key that a language lacks.
var errNoMessage = errors.New("no such message")

// Message returns the message of a key with its {placeholders} filled in: pairs holds name, value, name, value …
func (w *Words) Message(key string, pairs ...string) (string, error) {
	m, ok := w.messages[key]
	if !ok {
		return "", fmt.Errorf("%q in %q: %w", key, w.Code, errNoMessage)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		m = strings.ReplaceAll(m, "{"+pairs[i]+"}", w.Isolate(pairs[i+1]))
	}
	return m, nil
}

// T is Message for keys that are known to exist; of one that does not, it shows the key.
func (w *Words) T(key string, pairs ...string) string {
	m, err := w.Message(key, pairs...)
	if err != nil {
		return key
	}
	return m
}

// Lines is T cut into lines: one sentence each, by the rule of the words files.
func (w *Words) Lines(key string, pairs ...string) []string {
	return strings.Split(w.T(key, pairs...), "\n")
}

// Isolate keeps a text that is written from left to right, such as a name or an address, from mixing with what stands
// around it in a language that is written from right to left (UAX #9, section 2.4.1). It does so by characters and not by
// elements because they hold in titles, attributes and messages, too, and pages from left to right stay as they are. Not
// by FIRST STRONG ISOLATE: a text that is made of others would be taken for what it is around them.
func (w *Words) Isolate(s string) string {
	first := strings.IndexFunc(s, unicode.IsLetter)
	if w.Direction != "rtl" || s == "" || first >= 0 && rightToLeft.MatchString(s[first:]) {
		return s
	}
	return leftToRightIsolate + s + popIsolate
}

// rightToLeft is a text that begins with a letter of such a script.
var rightToLeft = regexp.MustCompile(`^[\p{Arabic}\p{Hebrew}]`)

// forms are the names that CLDR gives to plural forms, as the words files use them.
var forms = map[plural.Form]string{
	plural.Other: "other", plural.Zero: "zero", plural.One: "one",
	plural.Two: "two", plural.Few: "few", plural.Many: "many",
}

// form returns the name of the plural form that goes with a number of tenths: 15 is 1.5.
func (w *Words) form(tenths int) string {
	visible, fraction := 0, tenths%10
	if fraction != 0 {
		visible = 1
	}
	return forms[plural.Cardinal.MatchPlural(w.locale, tenths/10, visible, visible, fraction, fraction)]
}

const (
	noBreak            = "\u00a0"
	narrowNoBreak      = "\u202f"
	leftToRightIsolate = "\u2066"
	popIsolate         = "\u2069"
)

// typeset puts into messages what translators need not type.
func (w *Words) typeset() {
	for key, m := range w.messages {
		m = strings.ReplaceAll(m, "Wi-Fi", "Wi\u2011Fi") // no line ends within it
		if strings.HasPrefix(key, "unit.") {
			m = numbered.ReplaceAllString(m, "$1"+noBreak)
		}
		if w.Code == "fr" {
			m = frenchSpaces(m)
		}
		if w.Direction == "rtl" {
			m = latinRun.ReplaceAllStringFunc(m, w.isolateLatin)
		}
		w.messages[key] = m
	}
}

// numbered is a number before its unit.
var numbered = regexp.MustCompile(`(\d) `)

var frenchMarks = regexp.MustCompile(` ([;!?»])|(«) `)

// frenchSpaces puts the spaces that French typography wants around its marks.
func frenchSpaces(s string) string {
	s = frenchMarks.ReplaceAllString(s, "$2"+narrowNoBreak+"$1")
	return strings.ReplaceAll(s, " :", noBreak+":")
}

// latinRun is a name in Latin letters with what stands within it, as in "1 jeune 1 solution" and "France Titres (ANTS)";
// or a placeholder, which is none.
var latinRun = regexp.MustCompile(`\{[a-z]+\}|` +
	`(?:\d+ )?\p{Latin}(?:[\p{Latin}\d ’.@:/\x{2011}-]*[\p{Latin}\d])?(?: \([\p{Latin}\d ]+\))?`)

// isolateLatin isolates what latinRun found.
func (w *Words) isolateLatin(run string) string {
	if run[0] == '{' {
		return run
	}
	return w.Isolate(run)
}
