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

// Words is one language: its messages, and its formats of times and amounts.
type Words struct {
	Tag       language.Tag
	Code      string // the file's name and the pages' lang attribute, e.g. "fr"
	Name      string // the language's own name for itself
	Direction string // "ltr" or "rtl"
	Reviewed  bool   // by a speaker

	locale   language.Tag      // for its numbers and plural forms
	numbers  *message.Printer  // writes them
	messages map[string]string // by "section.key"; an array's items by "section.key.0" and on
	catalog  *Catalog          // the catalog that it belongs to
}

// languages has every language by code, with this package's words. Each is read when it is first requested: reading takes noticeable
// time on a small board, most boxes offer two languages, and most commands need none.
var languages = func() map[string]func() *Words {
	names, err := fs.Glob(wordFiles, "words/*.toml")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	all := make(map[string]func() *Words, len(names))
	for _, name := range names {
		all[code(name)] = sync.OnceValue(func() *Words {
			w, err := load(wordFiles, name, nil)
			if err != nil {
				panic(err) // the files are part of the program: it was built wrong
			}
			return w
		})
	}
	return all
}()

// code returns the code of the language of a words file.
func code(name string) string { return strings.TrimSuffix(path.Base(name), ".toml") }

// load reads words/CODE.toml of this package or of a share: see parse. Its error names the file, and the key if there is one. Tests,
// not the box, check that a file has every message that pages use.
func load(files fs.FS, name string, of *Words) (*Words, error) {
	w, err := parse(files, name, of)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	w.typeset()
	return w, nil
}

// parse reads a language's file, with its messages as typed. This package's file describes the language; a share's has only
// messages, and of is the language that they are in.
func parse(files fs.FS, name string, of *Words) (*Words, error) {
	var sections map[string]toml.Primitive
	file, err := toml.DecodeFS(files, name, &sections)
	if err != nil {
		return nil, err
	}
	w := of.with(make(map[string]string))
	if of == nil {
		if w, err = parseHead(code(name), file, sections["language"]); err != nil {
			return nil, err
		}
		delete(sections, "language")
	}
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

// with returns the same language with other messages.
func (w *Words) with(messages map[string]string) *Words {
	if w == nil {
		return nil
	}
	other := *w
	other.messages = messages
	return &other
}

// parseHead reads a language's description.
func parseHead(code string, file toml.MetaData, section toml.Primitive) (*Words, error) {
	var head struct {
		Name, Direction, Locale string
		Reviewed                bool
	}
	if err := file.PrimitiveDecode(section, &head); err != nil {
		return nil, err
	}
	w := &Words{
		Code: code, Name: head.Name, Direction: head.Direction, Reviewed: head.Reviewed,
		messages: make(map[string]string),
	}
	var err error
	if w.Tag, err = language.Parse(w.Code); err != nil {
		return nil, err
	}
	if w.locale, err = language.Parse(head.Locale); err != nil {
		return nil, fmt.Errorf("language.locale: %q: %w", head.Locale, err)
	}
	w.numbers = message.NewPrinter(w.locale)
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

// Message returns a key's message with its {placeholders} filled in: pairs holds name, value, name, value …
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

// T is Message for keys that are known to exist. For a missing one it returns the key.
func (w *Words) T(key string, pairs ...string) string {
	m, err := w.Message(key, pairs...)
	if err != nil {
		return key
	}
	return m
}

// Lines is T split into lines. By the rule of the words files each line is one sentence.
func (w *Words) Lines(key string, pairs ...string) []string {
	return strings.Split(w.T(key, pairs...), "\n")
}

// Isolate keeps a left-to-right text, such as a name or an address, from mixing with the text around it in a right-to-left
// language (UAX #9, section 2.4.1). It uses characters, not elements, because characters also work in titles, attributes and
// messages, and left-to-right pages stay unchanged. FIRST STRONG ISOLATE is no alternative: it ignores isolated texts within the
// text, and takes the direction from the characters around them.
func (w *Words) Isolate(s string) string {
	first := strings.IndexFunc(s, unicode.IsLetter)
	if w.Direction != "rtl" || s == "" || first >= 0 && rightToLeft.MatchString(s[first:]) {
		return s
	}
	return leftToRightIsolate + s + popIsolate
}

// rightToLeft matches a text that begins with a letter of a right-to-left script.
var rightToLeft = regexp.MustCompile(`^[\p{Arabic}\p{Hebrew}]`)

// forms are CLDR's names of plural forms, as the words files use them.
var forms = map[plural.Form]string{
	plural.Other: "other", plural.Zero: "zero", plural.One: "one",
	plural.Two: "two", plural.Few: "few", plural.Many: "many",
}

// form returns the name of the plural form for a number of tenths: 15 is 1.5.
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

// typeset typesets all messages, and puts no-break spaces between numbers and units.
func (w *Words) typeset() {
	for key, m := range w.messages {
		if strings.HasPrefix(key, "unit.") {
			m = numbered.ReplaceAllString(m, "$1"+noBreak)
		}
		w.messages[key] = w.Typeset(m)
	}
}

// Typeset returns a text in this language with the special spaces, hyphens and isolates that its author need not type.
func (w *Words) Typeset(s string) string {
	s = strings.ReplaceAll(s, "Wi-Fi", "Wi\u2011Fi") // no line break within it
	if w.Code == "fr" {
		s = frenchSpaces(s)
	}
	if w.Direction == "rtl" {
		s = latinRun.ReplaceAllStringFunc(s, w.isolateLatin)
	}
	return s
}

// numbered matches a number before its unit.
var numbered = regexp.MustCompile(`(\d) `)

var frenchMarks = regexp.MustCompile(` ([;!?»])|(«) `)

// frenchSpaces sets the spaces that French typography requires around its marks.
func frenchSpaces(s string) string {
	s = frenchMarks.ReplaceAllString(s, "$2"+narrowNoBreak+"$1")
	return strings.ReplaceAll(s, " :", noBreak+":")
}

// latinRun matches a run of Latin letters with the numbers and signs in it, as in "1 jeune 1 solution" and "France Titres (ANTS)". It
// also matches a placeholder, so that its letters are not taken for a run.
var latinRun = regexp.MustCompile(`\{[a-z]+\}|` +
	`(?:\d+ )?\p{Latin}(?:[\p{Latin}\d ’.@:/\x{2011}-]*[\p{Latin}\d])?(?: \([\p{Latin}\d ]+\))?`)

// isolateLatin isolates a match of latinRun.
func (w *Words) isolateLatin(run string) string {
	if run[0] == '{' {
		return run
	}
	return w.Isolate(run)
}
