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

	"github.com/BurntSushi/toml"
	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

//go:embed words/*.toml
var wordFiles embed.FS

// Words is one language: its messages, and how it writes times and amounts.
type Words struct {
	Tag       language.Tag
	Code      string // as the file is named and as pages say it in their lang attribute, e.g. "fr"
	Name      string // the language's name in itself
	Direction string // "ltr" or "rtl"

	messages map[string]string // by "section.key"; an array's items by "section.key.0" and on
}

// languages holds every language there is, by code.
var languages = func() map[string]*Words {
	all, err := load(wordFiles)
	if err != nil {
		panic(err) // the files are part of the program: it was built wrong
	}
	return all
}()

// Language returns a language's words, or nil if there are none.
func Language(code string) *Words { return languages[code] }

// load reads every words/CODE.toml.
func load(files fs.FS) (map[string]*Words, error) {
	names, err := fs.Glob(files, "words/*.toml")
	if err != nil {
		return nil, fmt.Errorf("list the languages: %w", err)
	}
	all := make(map[string]*Words, len(names))
	for _, name := range names {
		code := strings.TrimSuffix(path.Base(name), ".toml")
		w, err := parse(code, files, name)
		if err != nil {
			return nil, fmt.Errorf("read the words of %q: %w", code, err)
		}
		all[code] = w
	}
	return all, nil
}

func parse(code string, files fs.FS, name string) (*Words, error) {
	tag, err := language.Parse(code)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if _, err := toml.DecodeFS(files, name, &tree); err != nil {
		return nil, err
	}
	w := &Words{Tag: tag, Code: code, messages: make(map[string]string)}
	if err := w.add("", tree); err != nil {
		return nil, err
	}
	w.Name, w.Direction = w.messages["language.name"], w.messages["language.direction"]
	return w, nil
}

// add flattens a TOML value into messages.
func (w *Words) add(key string, value any) error {
	switch v := value.(type) {
	case string:
		if w.Code == "fr" {
			v = frenchSpaces(v)
		}
		w.messages[key] = strings.ReplaceAll(v, "Wi-Fi", "Wi\u2011Fi") // no line ends within it
	case []any:
		for i, item := range v {
			if err := w.add(key+"."+strconv.Itoa(i), item); err != nil {
				return err
			}
		}
	case map[string]any:
		for k, item := range v {
			if err := w.add(strings.TrimPrefix(key+"."+k, "."), item); err != nil {
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
		m = strings.ReplaceAll(m, "{"+pairs[i]+"}", pairs[i+1])
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

// pluralForms are the names that CLDR gives to plural forms, as the words files use them.
var pluralForms = map[plural.Form]string{
	plural.Other: "other", plural.Zero: "zero", plural.One: "one",
	plural.Two: "two", plural.Few: "few", plural.Many: "many",
}

// unit returns the name of a unit in the plural form that goes with a number of tenths: 15 is 1.5.
func (w *Words) unit(name string, tenths int) string {
	visible, fraction := 0, tenths%10
	if fraction != 0 {
		visible = 1
	}
	form := plural.Cardinal.MatchPlural(w.Tag, tenths/10, visible, visible, fraction, fraction)
	return w.T("unit." + name + "." + pluralForms[form])
}

const (
	noBreak       = "\u00a0"
	narrowNoBreak = "\u202f"
)

var frenchMarks = regexp.MustCompile(` ([;!?»])|(«) `)

// frenchSpaces puts the spaces that French typography wants around its marks, so that translators need not type them.
func frenchSpaces(s string) string {
	s = frenchMarks.ReplaceAllString(s, "$2"+narrowNoBreak+"$1")
	return strings.ReplaceAll(s, " :", noBreak+":")
}
