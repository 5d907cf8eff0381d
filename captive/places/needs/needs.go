// Package needs owns the rules of "Where do I go?": a few questions with a few choices each, and the destinations that every
// combination of answers leads to. The rules are data: rules.toml in this package, or a centre's own file, which is checked in the
// same way. The checks guarantee that nobody is left without an answer: see check.
//
// It does not depend on pages, readers or the box, nor on what a lesson, a place or a number is: its caller says which ones exist.
package needs

import (
	_ "embed"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

// mainLanguage is the language that every text has.
const mainLanguage = "fr"

// Guide is a set of questions and rules. It is immutable, and every combination of answers to it has a rule.
type Guide struct {
	Questions []*Question // the first one is asked first
	Rules     []*Rule     // the first one whose conditions hold applies

	without map[string]Text
	file    []byte
}

// File is the text that the guide was read from.
func (g *Guide) File() []byte { return slices.Clone(g.file) }

// Question is asked with its choices as buttons.
type Question struct {
	Key     string
	Ask     Text
	Now     []Destination // shown above the choices, without an answer
	Choices []*Choice

	next  string // key of the question that follows, for choices that name none; "" for the end
	line  int
	lines []int // of Now
}

// Choice is an answer to a question.
type Choice struct {
	Key       string // its part of the page's address
	Pictogram string
	Title     Text
	Hint      Text // examples; nil for none
	Say       Text // the choice as a sentence to say at the desk; nil for none
	Danger    bool // somebody is in danger: the pages after it are discreet
	Official  bool // an administrative procedure: never leads to volunteers

	next string // as in Question, "" for the question's
	line int
}

// Rule leads to destinations, the best first. The last one is [Without].
type Rule struct {
	When map[string][]string // choices by question: each answer must be one of them
	To   []Destination

	line  int
	lines []int // of To
}

// Destination is where a rule leads: the lesson "wifi", or places with the service "Aide aux démarches administratives".
type Destination struct {
	Kind Kind
	Key  string
}

// Kind is a kind of destination.
type Kind string

// The kinds of destinations, with what their keys are.
const (
	Lesson    Kind = "lesson"    // a lesson's slug
	Path      Kind = "path"      // the slug of a path of lessons
	Page      Kind = "page"      // a page of the box: "helpers"
	Person    Kind = "person"    // one of Persons
	Number    Kind = "number"    // a telephone number's key: it needs no internet
	Service   Kind = "service"   // places, by a service of the national schema
	Programme Kind = "programme" // places, by a national programme
	Typology  Kind = "typology"  // places, by the code of a typology
	Without   Kind = "without"   // how to do it without the internet: the key of a text in the same file
)

// kinds are all kinds, as a file may name them.
var kinds = []Kind{Lesson, Path, Page, Person, Number, Service, Programme, Typology, Without}

// IsPlace reports whether the destination is a list of places. There are no places until a list is imported.
func (d Destination) IsPlace() bool {
	return d.Kind == Service || d.Kind == Programme || d.Kind == Typology
}

func (d Destination) String() string { return string(d.Kind) + " " + d.Key }

// The people at a centre, or near it.
const (
	Desk         = "desk"
	SocialWorker = "social-worker"
	PublicWriter = "public-writer"
	Adviser      = "adviser"    // a paid digital adviser
	Volunteers   = "volunteers" // and their workshops
)

// Persons are the keys of [Person].
var Persons = []string{Desk, SocialWorker, PublicWriter, Adviser, Volunteers}

// Text is a text by language code.
type Text map[string]string

// In returns the text in a language, else in French, and the code of the language it is in. A nil text is "".
func (t Text) In(code string) (text, language string) {
	for _, code := range []string{code, mainLanguage} {
		if text, ok := t[code]; ok {
			return text, code
		}
	}
	return "", code
}

//go:embed rules.toml
var ownRules []byte

// OwnName is the name of the rules in this package, for errors.
const OwnName = "rules.toml"

// Own returns the rules in this package.
func Own() *Guide { return own() }

var own = sync.OnceValue(func() *Guide {
	g, err := Parse(OwnName, ownRules, Known{})
	if err != nil {
		panic(err) // they are embedded: the program was built wrong
	}
	return g
})

// Answer is a question with the choice made.
type Answer struct {
	*Question
	*Choice
}

// Answers are the answers given so far, in order.
type Answers []Answer

// Path returns the part of a page's address that stands for the answers: "papers/alone/phone".
func (a Answers) Path() string {
	keys := make([]string, len(a))
	for i, answer := range a {
		keys[i] = answer.Choice.Key
	}
	return strings.Join(keys, "/")
}

// Danger reports whether one of the answers names a danger.
func (a Answers) Danger() bool {
	return slices.ContainsFunc(a, func(a Answer) bool { return a.Danger })
}

// Official reports whether one of the answers is an administrative procedure.
func (a Answers) Official() bool {
	return slices.ContainsFunc(a, func(a Answer) bool { return a.Official })
}

// with returns a copy of the answers with one more.
func (a Answers) with(q *Question, c *Choice) Answers {
	return append(slices.Clip(a), Answer{q, c})
}

// Read returns the answers that a path stands for, and the next question, nil if all are answered. It stops at the first part of the
// path that is not a choice; whole is false if there is one.
func (g *Guide) Read(path string) (a Answers, next *Question, whole bool) {
	next = g.Questions[0]
	for path != "" {
		var key string
		key, path, _ = strings.Cut(path, "/")
		if next == nil {
			return a, nil, false
		}
		c := next.choice(key)
		if c == nil {
			return a, next, false
		}
		a, next = a.with(next, c), g.after(next, c)
	}
	return a, next, true
}

// choice returns the choice with a key, nil if there is none.
func (q *Question) choice(key string) *Choice {
	for _, c := range q.Choices {
		if c.Key == key {
			return c
		}
	}
	return nil
}

// after returns the question that follows a choice, nil for none.
func (g *Guide) after(q *Question, c *Choice) *Question {
	next := q.next
	if c.next != "" {
		next = c.next
	}
	return g.question(next)
}

// question returns the question with a key, nil if there is none.
func (g *Guide) question(key string) *Question {
	for _, q := range g.Questions {
		if q.Key == key {
			return q
		}
	}
	return nil
}

// Length returns the greatest number of questions that may be asked from q on, including q; 0 for nil.
func (g *Guide) Length(q *Question) int {
	if q == nil {
		return 0
	}
	most := 0
	followers := map[*Question]bool{} // a set, since many choices lead to the same question
	for _, c := range q.Choices {
		followers[g.after(q, c)] = true
	}
	for next := range followers {
		most = max(most, g.Length(next))
	}
	return 1 + most
}

// Rule returns the rule that applies to a whole combination of answers, or nil if there is none.
func (g *Guide) Rule(a Answers) *Rule {
	i := g.match(a)
	if i < 0 {
		return nil
	}
	return g.Rules[i]
}

// match returns the index of the first rule whose conditions hold, or -1.
func (g *Guide) match(a Answers) int {
	return slices.IndexFunc(g.Rules, func(r *Rule) bool { return r.holds(a) })
}

// holds says whether the rule's conditions hold. A condition on a question that was not asked does not hold.
func (r *Rule) holds(a Answers) bool {
	for question, choices := range r.When {
		if !slices.ContainsFunc(a, func(a Answer) bool {
			return a.Question.Key == question && slices.Contains(choices, a.Choice.Key)
		}) {
			return false
		}
	}
	return true
}

// HowWithout returns the text of a destination of the kind [Without].
func (g *Guide) HowWithout(d Destination) Text { return g.without[d.Key] }

// All returns every combination of answers, in the order of the file.
func (g *Guide) All() iter.Seq[Answers] {
	return func(yield func(Answers) bool) { g.extend(nil, g.Questions[0], yield) }
}

// extend yields all combinations that begin with these answers.
func (g *Guide) extend(a Answers, next *Question, yield func(Answers) bool) bool {
	if next == nil {
		return yield(a)
	}
	for _, c := range next.Choices {
		if !g.extend(a.with(next, c), g.after(next, c), yield) {
			return false
		}
	}
	return true
}

// Languages returns the codes of all languages that occur in the texts.
func (g *Guide) Languages() []string {
	codes := map[string]bool{}
	for _, t := range g.texts() {
		for code := range t {
			codes[code] = true
		}
	}
	return slices.Sorted(maps.Keys(codes))
}

// texts returns all texts.
func (g *Guide) texts() (all []Text) {
	for _, q := range g.Questions {
		all = append(all, q.Ask)
		for _, c := range q.Choices {
			all = append(all, c.Title, c.Hint, c.Say)
		}
	}
	return slices.AppendSeq(all, maps.Values(g.without))
}
