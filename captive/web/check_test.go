package web

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"
)

// reference is the language that all others are compared with: pages are written in it first.
const reference = "fr"

// check returns every error in the languages' words: within a language, and compared with the reference.
func check(all map[string]*Words) (problems []error) {
	first := all[reference]
	if first == nil {
		problems = append(problems, fmt.Errorf("words/%s.toml: not there, or broken", reference))
	}
	for _, code := range slices.Sorted(maps.Keys(all)) {
		w := all[code]
		say := func(key, format string, args ...any) {
			problems = append(problems, fmt.Errorf("words/%s.toml: %s: %w", code, key, fmt.Errorf(format, args...)))
		}
		w.checkHead(say)
		w.checkForms(say)
		for _, key := range slices.Sorted(maps.Keys(w.messages)) {
			if err := w.checkText(w.messages[key]); err != nil {
				say(key, "%w", err)
			}
		}
		if first != nil && w != first {
			w.compare(first, say)
		}
	}
	return problems
}

// checkHead checks a language's description of itself.
func (w *Words) checkHead(say func(key, format string, args ...any)) {
	if w.Name == "" {
		say("language.name", "empty")
	}
	direction := "ltr"
	if script, _ := w.Tag.Script(); slices.Contains([]string{"Arab", "Hebr"}, script.String()) {
		direction = "rtl"
	}
	if w.Direction != direction {
		say("language.direction", "%q, and its script is %q", w.Direction, direction)
	}
	base, _ := w.Tag.Base()
	if of, _ := w.locale.Base(); of != base || w.locale == language.Und {
		say("language.locale", "%q is no place's %s", w.locale, base)
	}
}

// variants are the messages whose number depends on the language: plural forms, and prepositions of hours.
var variants = regexp.MustCompile(`^(.*)\.(zero|one|two|few|many|other)$|^(when\.(?:at|until))\.\d+$`)

// common is the key by which languages are compared: without variants.
func common(key string) string {
	if m := variants.FindStringSubmatch(key); m != nil {
		return m[1] + m[3] + ".any"
	}
	return key
}

// checkForms checks that a language has the plural forms of its rules, and no others. It evaluates the rules for the numbers
// up to 200 and their halves.
func (w *Words) checkForms(say func(key, format string, args ...any)) {
	want := map[string]int{} // how many numbers have each form
	for n := range 200 {
		want[w.form(10*n)]++
		want[w.form(10*n+5)]++
	}
	number := strings.TrimSpace(countedBy)
	have := map[string]map[string]bool{}
	for key, m := range w.messages {
		v := variants.FindStringSubmatch(key)
		switch {
		case v == nil:
		case v[3] != "":
			if hour, err := strconv.Atoi(key[len(v[3])+1:]); err != nil || hour > 23 {
				say(key, "no hour of the day")
			}
		default:
			if have[v[1]] == nil {
				have[v[1]] = map[string]bool{}
			}
			have[v[1]][v[2]] = true
			switch {
			case want[v[2]] == 0:
				say(key, "the language has no such plural form")
			case !strings.HasPrefix(key, "unit."):
			case strings.Contains(m, number) && !strings.HasPrefix(m, countedBy):
				say(key, "%s does not stand first, with a space behind it", number)
			case !strings.Contains(m, number) && want[v[2]] > 1:
				say(key, "lacks %s, and the form is that of several numbers", number)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(have)) {
		for _, form := range slices.Sorted(maps.Keys(want)) {
			if !have[key][form] {
				say(key+"."+form, "this plural form is not there")
			}
		}
	}
}

// Placeholders, and runs of letters.
var (
	placeholder = regexp.MustCompile(`\{[a-z]+\}`)
	letters     = regexp.MustCompile(`[\p{L}\p{M}]+`)
)

// The characters allowed in messages besides letters, digits, spaces and line ends: in every language, and in some.
const marks = ".:!()/-–—…’“”«»@+%&"

var ownMarks = map[string]string{"ar": "،؛؟", "es": ",;?¿¡", "fr": ",;?°", "uk": ",;?№"}

// alphabets are the letters of languages with other scripts. Names are in Latin letters everywhere.
var alphabets = map[string]*regexp.Regexp{
	"ar": regexp.MustCompile(`^[\x{621}-\x{63a}\x{641}-\x{652}\x{670}]+$`),
	"uk": regexp.MustCompile(`^[АБВГҐДЕЄЖЗИІЇЙКЛМНОПРСТУФХЦЧШЩЬЮЯабвгґдеєжзиіїйклмнопрстуфхцчшщьюя]+$`),
}

var latin = regexp.MustCompile(`^\p{Latin}+$`)

// checkText checks for what no message may contain: typing errors, and markup that readers would see as text.
func (w *Words) checkText(m string) error {
	if !norm.NFC.IsNormalString(m) {
		return errors.New("not in Unicode's form NFC")
	}
	for line := range strings.SplitSeq(m, "\n") {
		if strings.TrimSpace(line) != line || line == "" || strings.Contains(line, "  ") {
			return fmt.Errorf("a space too many, or an empty line, in %q", line)
		}
	}
	allowed, ok := ownMarks[w.Code]
	if !ok {
		allowed = ",;?"
	}
	m = placeholder.ReplaceAllString(m, "")
	for _, r := range m {
		if !unicode.In(r, unicode.L, unicode.M) && !strings.ContainsRune("0123456789 \n"+marks+allowed, r) {
			return fmt.Errorf("%q does not belong into a text", r)
		}
	}
	for _, word := range letters.FindAllString(m, -1) {
		if own := alphabets[w.Code]; !latin.MatchString(word) && (own == nil || !own.MatchString(word)) {
			return fmt.Errorf("%q has a letter that is not the language's, or mixes two alphabets", word)
		}
	}
	return nil
}

// compare checks for messages and placeholders that are missing or superfluous compared with the reference.
func (w *Words) compare(first *Words, say func(key, format string, args ...any)) {
	want, have := first.placeholders(), w.placeholders()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if have[key] == nil {
			say(key, "not there")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(w.messages)) {
		all, ok := want[common(key)]
		if !ok {
			say(key, "%s has no such message", first.Code)
			continue
		}
		for _, p := range placeholder.FindAllString(w.messages[key], -1) {
			if !all[p] {
				say(key, "%s has no %s", first.Code, p)
			}
		}
		for _, p := range slices.Sorted(maps.Keys(all)) {
			inWord := strings.HasPrefix(key, "unit.") && p+" " == countedBy // checkForms checks that
			if !inWord && !strings.Contains(w.messages[key], p) {
				say(key, "lacks %s", p)
			}
		}
	}
}

// placeholders returns the placeholders of every message, by its common key.
func (w *Words) placeholders() map[string]map[string]bool {
	all := map[string]map[string]bool{}
	for key, m := range w.messages {
		if key = common(key); all[key] == nil {
			all[key] = map[string]bool{}
		}
		for _, p := range placeholder.FindAllString(m, -1) {
			all[key][p] = true
		}
	}
	return all
}
