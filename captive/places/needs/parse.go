package needs

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Bounds on a file. The rules in this package use about a tenth of them.
const (
	MaxSize      = 256 << 10 // bytes
	maxQuestions = 12
	maxChoices   = 14 // of a question
	maxRules     = 200
	maxTo        = 12  // destinations of a rule
	maxText      = 600 // characters
	maxAnswers   = 500 // combinations
	maxProblems  = 20  // more are only counted
)

// Known says which things outside the rules exist. A nil function means that everything does.
type Known struct {
	Destination func(Destination) bool
	Pictogram   func(name string) bool
}

func (k Known) destination(d Destination) bool { return k.Destination == nil || k.Destination(d) }
func (k Known) pictogram(name string) bool     { return k.Pictogram == nil || k.Pictogram(name) }

// Problem is a mistake in a file.
type Problem struct {
	File string
	Line int // from 1
	Msg  string
}

func (p Problem) Error() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Msg) }

// Parse reads and checks a file. The error joins a [Problem] for each mistake, in the order of the file.
//
// The file is TOML: tables [[question]], each with its [[question.choice]], then [[rule]] and [[without]]. It is read from the syntax
// tree, so that every error can name its line.
func Parse(name string, text []byte, known Known) (*Guide, error) {
	r := &reader{file: name, text: bytes.TrimPrefix(text, []byte("\ufeff")), known: known, line: 1}
	switch {
	case len(text) > MaxSize:
		r.problem(1, "the file has more than %d kB", MaxSize>>10)
	case !utf8.Valid(text):
		r.problem(1, "the file is not UTF-8 text")
	default:
		r.read()
	}
	if r.count == 0 {
		r.check()
	}
	if r.count == 0 {
		r.guide.file = text
		return &r.guide, nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return a.Line - b.Line })
	var all []error
	for _, p := range r.problems {
		all = append(all, p)
	}
	if more := r.count - len(r.problems); more > 0 {
		all = append(all, fmt.Errorf("%s: and %d more", name, more))
	}
	return nil, errors.Join(all...)
}

// reader reads a file.
type reader struct {
	file     string
	text     []byte
	known    Known
	guide    Guide
	withouts []*without
	problems []Problem
	count    int // of problems, including those that are not kept

	table  string           // name of the table being read
	fields map[string]field // of that table, by the first part of their keys
	seen   map[string]bool  // keys of that table

	counted, line int // an offset and its line; the line of the next offset is counted from there
}

// without is a table [[without]].
type without struct {
	key  string
	text Text
	line int
	used bool
}

// field reads a value. part is the last part of its key.
type field func(line int, part string, value *unstable.Node)

func (r *reader) problem(line int, format string, args ...any) {
	if r.count++; len(r.problems) < maxProblems {
		r.problems = append(r.problems, Problem{r.file, line, fmt.Sprintf(format, args...)})
	}
}

// lineAt returns the line of an offset, which must not be before that of the last call.
func (r *reader) lineAt(offset uint32) int {
	if at := int(offset); at > r.counted {
		r.line += bytes.Count(r.text[r.counted:at], []byte("\n"))
		r.counted = at
	}
	return r.line
}

// read reads the tables and their keys.
func (r *reader) read() {
	var p unstable.Parser
	p.Reset(r.text)
	for p.NextExpression() && r.count < maxProblems {
		e := p.Expression()
		var parts []string
		line := 0
		for it := e.Key(); it.Next(); {
			if line == 0 {
				line = r.lineAt(it.Node().Raw.Offset)
			}
			parts = append(parts, string(it.Node().Data))
		}
		if e.Kind == unstable.KeyValue {
			r.keyValue(line, parts, e.Value())
		} else {
			r.header(line, strings.Join(parts, "."), e.Kind == unstable.ArrayTable)
		}
	}
	if syntax, ok := errors.AsType[*unstable.ParserError](p.Error()); ok {
		r.problem(r.lineAt(p.Range(syntax.Highlight).Offset), "%s", syntax.Message)
	}
}

// header begins a table.
func (r *reader) header(line int, name string, array bool) {
	g := &r.guide
	r.table, r.fields, r.seen = name, nil, map[string]bool{}
	switch {
	case !array:
	case name == "question":
		q := &Question{line: line}
		g.Questions = append(g.Questions, q)
		r.atMost(line, len(g.Questions), maxQuestions, "questions")
		r.fields = map[string]field{
			"key": r.slug(&q.Key), "ask": r.textIn(&q.Ask), "next": r.slug(&q.next), "now": r.destinations(&q.Now, &q.lines),
		}
	case name == "question.choice" && len(g.Questions) > 0:
		q, c := g.Questions[len(g.Questions)-1], &Choice{line: line}
		q.Choices = append(q.Choices, c)
		r.atMost(line, len(q.Choices), maxChoices, "choices")
		r.fields = map[string]field{
			"key": r.slug(&c.Key), "pictogram": r.slug(&c.Pictogram), "next": r.slug(&c.next),
			"title": r.textIn(&c.Title), "hint": r.textIn(&c.Hint), "say": r.textIn(&c.Say),
			"danger": r.flag(&c.Danger), "official": r.flag(&c.Official),
		}
	case name == "rule":
		rule := &Rule{line: line, When: map[string][]string{}}
		g.Rules = append(g.Rules, rule)
		r.atMost(line, len(g.Rules), maxRules, "rules")
		r.fields = map[string]field{"when": r.condition(rule.When), "to": r.destinations(&rule.To, &rule.lines)}
	case name == "without":
		w := &without{line: line}
		r.withouts = append(r.withouts, w)
		r.atMost(line, len(r.withouts), maxRules, "texts")
		r.fields = map[string]field{"key": r.slug(&w.key), "text": r.textIn(&w.text)}
	}
	if r.fields == nil {
		r.problem(line, "[%.40s]: the tables are [[question]], [[question.choice]], [[rule]] and [[without]]", name)
	}
}

func (r *reader) atMost(line, have, most int, what string) {
	if have == most+1 {
		r.problem(line, "more than %d %s", most, what)
	}
}

// keyValue reads a key of the current table.
func (r *reader) keyValue(line int, parts []string, value *unstable.Node) {
	name := strings.Join(parts, ".")
	if r.table == "" {
		r.problem(line, "%.40s: it is in no table", name)
		return
	}
	if r.fields == nil {
		return // the table's header is a problem already
	}
	read := r.fields[parts[0]]
	dotted := slices.Contains([]string{"ask", "title", "hint", "say", "text", "when"}, parts[0])
	switch {
	case r.seen[name]:
		r.problem(line, "%.40s: it is there twice", name)
	case read == nil:
		r.problem(line, "%.40s: there is no such key in [[%s]]", name, r.table)
	case dotted && len(parts) != 2:
		r.problem(line, "%.40s: write it with a second part, as in title.fr or when.need", name)
	case !dotted && len(parts) != 1:
		r.problem(line, "%.40s: there is no such key in [[%s]]", name, r.table)
	default:
		r.seen[name] = true
		read(line, parts[len(parts)-1], value)
	}
}

var (
	slugForm     = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	languageForm = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$`)
)

const maxSlug = 40 // bytes

func isSlug(s string) bool { return len(s) <= maxSlug && slugForm.MatchString(s) }

// slug reads a key that can be a part of an address.
func (r *reader) slug(to *string) field {
	return func(line int, part string, value *unstable.Node) {
		if *to = string(value.Data); value.Kind != unstable.String || !isSlug(*to) {
			r.problem(line, "%s: it is a text of lower-case letters, digits and -", part)
		}
	}
}

// flag reads true or false.
func (r *reader) flag(to *bool) field {
	return func(line int, part string, value *unstable.Node) {
		if *to = string(value.Data) == "true"; value.Kind != unstable.Bool {
			r.problem(line, "%s: it is true or false", part)
		}
	}
}

// textIn reads a text in one language.
func (r *reader) textIn(to *Text) field {
	return func(line int, code string, value *unstable.Node) {
		s := string(value.Data)
		switch {
		case !languageForm.MatchString(code):
			r.problem(line, "%.40q is no language's code", code)
		case value.Kind != unstable.String:
			r.problem(line, "a text stands between quotation marks")
		case strings.TrimSpace(s) != s || s == "":
			r.problem(line, "the text is empty, or has a space too many")
		case utf8.RuneCountInString(s) > maxText:
			r.problem(line, "the text has more than %d letters", maxText)
		case strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) }):
			r.problem(line, "the text has a control character")
		default:
			if *to == nil {
				*to = Text{}
			}
			(*to)[code] = s
		}
	}
}

// condition reads the choices of a question.
func (r *reader) condition(to map[string][]string) field {
	return func(line int, question string, value *unstable.Node) {
		for _, item := range r.items(line, value) {
			to[question] = append(to[question], item.text)
		}
		if len(to[question]) == 0 {
			r.problem(line, "when: name at least one choice")
		}
	}
}

// destinations reads a list of destinations, each with its line: "lesson wifi".
func (r *reader) destinations(to *[]Destination, lines *[]int) field {
	return func(line int, _ string, value *unstable.Node) {
		for _, item := range r.items(line, value) {
			kind, key, _ := strings.Cut(item.text, " ")
			d := Destination{Kind(kind), key}
			switch {
			case !slices.Contains(kinds, d.Kind) || key == "":
				r.problem(item.line, "%.60q: a destination is one of %s, and a key", item.text, kinds)
			case slices.Contains(*to, d):
				r.problem(item.line, "%s: it is there twice", d)
			case d.Kind == Person && !slices.Contains(Persons, key):
				r.problem(item.line, "%s: the persons are %s", d, Persons)
			case d.Kind != Person && d.Kind != Without && !r.known.destination(d):
				r.problem(item.line, "%s: it leads nowhere, there is none", d)
			default:
				*to, *lines = append(*to, d), append(*lines, item.line)
			}
		}
		r.atMost(line, min(len(*to), maxTo+1), maxTo, "destinations")
	}
}

// item is an element of a list.
type item struct {
	text string
	line int
}

// items reads a list of texts.
func (r *reader) items(line int, value *unstable.Node) (all []item) {
	if value.Kind != unstable.Array {
		r.problem(line, "it is a list of texts: [\"…\", \"…\"]")
		return nil
	}
	for it := value.Children(); it.Next(); {
		n := it.Node()
		if n.Kind != unstable.String {
			r.problem(line, "it is a list of texts: [\"…\", \"…\"]")
			return nil
		}
		all = append(all, item{string(n.Data), r.lineAt(n.Raw.Offset)})
	}
	return all
}
