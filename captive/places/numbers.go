package places

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"passerelle/appliance/hours"
	"passerelle/captive/search"
	"passerelle/captive/web"
)

// numbersFile is the name of a file of national numbers: the built-in one, and a technician's in the share's folder.
const numbersFile = "numbers.toml"

//go:embed numbers.toml
var ownNumbers []byte

// maxNumbersFile bounds a technician's file, in bytes.
const maxNumbersFile = 1 << 20

// Number is a telephone number that everybody can call, even without internet.
type Number struct {
	Number  string    // as people write it: "116 006"
	Group   string    // a key of groups
	SMS     bool      // for text messages, not calls
	Free    bool      // calls cost nothing
	Hours   *schedule // nil: not known
	Source  string    // where it was looked up
	Checked month
	Title   texts
	Text    texts

	Keywords map[string][]string // what people search for to find it, by language
}

// groups are the parts of the page of numbers, in the page's order, each with its pictogram.
var groups = []struct{ key, pictogram string }{{"emergency", "fault"}, {"talk", "listen"}}

// schedule is opening hours.
type schedule struct{ *hours.Schedule }

func (s *schedule) UnmarshalText(text []byte) (err error) {
	if strings.TrimSpace(string(text)) == "" {
		return errors.New("leave hours out if they are not known: empty hours are always open")
	}
	s.Schedule, err = hours.Parse(string(text))
	return err
}

// month is the month in which a number was compared with its source.
type month struct{ time.Time }

func (m *month) UnmarshalText(text []byte) (err error) {
	if m.Time, err = time.Parse("2006-01", string(text)); err != nil {
		return fmt.Errorf("%q is no month such as 2026-11", text)
	}
	return nil
}

// texts is a text in several languages, by code.
type texts map[string]string

// in returns the text in the page's language with a nil lang, or else in French with its lang.
func (t texts) in(w *web.Words) (text string, lang *web.Lang) {
	if text := t[w.Code]; text != "" {
		return text, nil
	}
	return t["fr"], w.Lang("fr")
}

// readNumbers returns a technician's numbers from the share's folder, or the built-in ones if there are none. If the file is broken,
// it returns the built-in ones and the error.
func readNumbers(dir string) ([]Number, error) {
	path := filepath.Join(dir, numbersFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return builtInNumbers(), nil
	}
	var text []byte
	switch {
	case err != nil:
	case info.Size() > maxNumbersFile:
		err = fmt.Errorf("%s: %d bytes are too many", path, info.Size())
	default:
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return builtInNumbers(), err
	}
	numbers, err := parseNumbers(path, text)
	if err != nil {
		return builtInNumbers(), err
	}
	return numbers, nil
}

// CheckNumbers returns what is wrong with the numbers in a folder; nil if there are none.
func CheckNumbers(dir string) error {
	_, err := readNumbers(dir)
	return err
}

// builtInNumbers returns the built-in numbers.
func builtInNumbers() []Number {
	numbers, err := parseNumbers(numbersFile, ownNumbers)
	if err != nil {
		panic(err) // the file is part of the program
	}
	return numbers
}

// parseNumbers reads a file of numbers. Its errors name the file and the line.
func parseNumbers(name string, text []byte) ([]Number, error) {
	var file struct{ Number []Number }
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		if unknown, ok := errors.AsType[*toml.StrictMissingError](err); ok {
			line, _ := unknown.Errors[0].Position()
			return nil, fmt.Errorf("%s:%d: %s: unknown key", name, line, strings.Join(unknown.Errors[0].Key(), "."))
		}
		if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, _ := wrong.Position()
			return nil, fmt.Errorf("%s:%d: %s", name, line, strings.TrimPrefix(wrong.Error(), "toml: "))
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(file.Number) == 0 {
		return nil, fmt.Errorf("%s:1: no [[number]]", name)
	}
	heads := numberHead.FindAllIndex(text, -1)
	for i, n := range file.Number {
		if err := n.check(file.Number[:i]); err != nil {
			line := 1
			if i < len(heads) {
				line += bytes.Count(text[:heads[i][0]], []byte("\n"))
			}
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
	}
	return file.Number, nil
}

// numberHead matches the header of a number in a file.
var numberHead = regexp.MustCompile(`(?m)^[ \t]*\[\[[ \t]*number[ \t]*\]\]`)

// check checks a number on its own and against those before it.
func (n Number) check(before []Number) error {
	switch {
	case n.Number == "":
		return errors.New("number: missing")
	case web.NewPhone(n.Number).Href == "":
		return fmt.Errorf("number: %q is not what a phone dials", n.Number)
	case n.Group != "emergency" && n.Group != "talk":
		return fmt.Errorf(`group: %q is neither "emergency" nor "talk"`, n.Group)
	case n.Title["fr"] == "":
		return errors.New("title.fr: missing")
	case n.Source == "":
		return errors.New("source: missing: where was the number looked up?")
	case n.Checked.IsZero():
		return errors.New("checked: missing: in which month was it looked up?")
	case slices.ContainsFunc(before, func(b Number) bool { return b.Number == n.Number }):
		return fmt.Errorf("number: %s is there twice", n.Number)
	}
	for _, t := range []texts{n.Title, n.Text} {
		for code := range t {
			if !web.Known(code) {
				return fmt.Errorf("%q is no language of the pages", code)
			}
		}
	}
	for code, words := range n.Keywords {
		if !web.Known(code) {
			return fmt.Errorf("keywords: %q is no language of the pages", code)
		}
		if i := slices.IndexFunc(words, func(w string) bool { return !search.Says(w) }); i >= 0 {
			return fmt.Errorf("keywords: %q has no word that is searched for", words[i])
		}
	}
	return nil
}

// numberCard is a number on a page.
type numberCard struct {
	ID          string // on the page
	Phone       web.Phone
	SMS, Free   bool
	Title, Text string
	Lang        *web.Lang // of the title, nil if it is the page's
	TextLang    *web.Lang
	Open        string // whether somebody answers now; "" if its hours are not known, or always
	Always      bool   // somebody answers at any time
	Week        []web.OpenDays
	Checked     string
}

// numberGroup is a part of the page of numbers.
type numberGroup struct {
	Key, Title, Pictogram string
	Numbers               []numberCard
}

// newNumberCard returns a number as it is shown in these words.
func newNumberCard(w *web.Words, n Number, now time.Time) numberCard {
	c := numberCard{
		ID: n.anchor(), Phone: web.NewPhone(n.Number), SMS: n.SMS, Free: n.Free,
		Checked: w.T("number.checked", "month", w.Month(n.Checked.Time)),
	}
	if n.SMS {
		c.Phone = web.NewSMS(n.Number)
	}
	c.Title, c.Lang = n.Title.in(w)
	c.Text, c.TextLang = n.Text.in(w)
	if n.Hours != nil {
		if c.Always = n.Hours.Always(); !c.Always {
			_, c.Open = w.Open(n.Hours.Schedule, now)
			c.Week, _ = w.OpenWeek(n.Hours.Schedule, true, now)
		}
	}
	return c
}

// newNumberGroups returns all numbers as they are shown in these words, by group.
func newNumberGroups(w *web.Words, numbers []Number, now time.Time) (all []numberGroup) {
	for _, g := range groups {
		shown := numberGroup{Key: g.key, Title: w.T("number.group." + g.key), Pictogram: g.pictogram}
		for _, n := range numbers {
			if n.Group == g.key {
				shown.Numbers = append(shown.Numbers, newNumberCard(w, n, now))
			}
		}
		if len(shown.Numbers) > 0 {
			all = append(all, shown)
		}
	}
	return all
}
