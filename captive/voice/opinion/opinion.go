// Package opinion counts what residents say about online public services, and their answers to the centre's question. It owns what is
// counted, which counts are shown, and the form in which those who evaluate services get them. It does not depend on pages, devices or
// files. It stores nothing about a person or an hour.
//
// Nobody can be recognised by a number: a count is shown only if it is of at least [Least] presses.
//   - While a week runs, none of its counts are shown, so that nobody can watch a count change with a press.
//   - When it ends, each answer's count is shown if it reaches Least. A smaller count waits, and is shown together with that of a
//     later week, so that small centres have results, too. So two numbers shown for an answer, in two weeks or on two days, differ
//     by 0 or by at least Least.
//   - Each press is in at most one shown number, and no total includes those that wait. Only shown numbers are added up.
//   - A hurdle is named after a face was chosen. Hurdles are shown only as long as they are not more than the faces shown: otherwise
//     their number would reveal how many faces are not shown (20 hurdles, with all five faces below five, would mean four of each).
package opinion

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"passerelle/captive/voice/week"
)

const (
	// Least is the smallest count that may be shown.
	Least = 5

	// months is how long counts are kept.
	months = 13
)

// Bounds of a question.
const (
	MaxQuestion = 200 // characters of its text
	MaxChoice   = 60  // characters of a choice
	MinChoices  = 2
	MaxChoices  = 6
)

// Faces are the marks of a service, the worst first.
var Faces = []string{"very-bad", "bad", "middling", "good", "very-good"}

// Hurdles are what may have been in the resident's way.
var Hurdles = []string{"account", "words", "documents", "bug", "no-answer", "language", "handicap", "none"}

// Other stands for all services that are not listed.
const Other = "other"

// Part is what a press answers.
type Part string

// The parts.
const (
	Face   Part = "face"
	Hurdle Part = "hurdle"
	Choice Part = "choice"
)

// Press is an answer.
type Press struct {
	Week     week.Week
	Part     Part
	Service  string // the service that a face or a hurdle is for
	Question int    // the number of the question that a choice is for
	Which    int    // the index in Faces, in Hurdles or of the choice
}

// Opinions holds all counts. The zero value has none.
type Opinions struct {
	Open      week.Week           `json:"open"` // the current week: its presses wait
	Services  map[string]*Service `json:"services,omitempty"`
	Questions []*Question         `json:"questions,omitempty"` // in order of their numbers
	Current   int                 `json:"current,omitempty"`   // the question that residents see, 0 for none
	Last      int                 `json:"last,omitempty"`      // the number of the newest question ever
}

// Service holds the counts of a service.
type Service struct {
	Faces   []Count `json:"faces"`
	Hurdles []Count `json:"hurdles"`
	Ahead   int     `json:"ahead,omitempty"` // how many more faces were shown than hurdles
}

// Question is a question with its counts.
type Question struct {
	Number  int          `json:"number"`
	Text    string       `json:"text"`
	Choices []ChoiceText `json:"choices"`
	Answers []Count      `json:"answers"` // one for each choice
}

// ChoiceText is a choice as residents see it.
type ChoiceText struct {
	Text    string `json:"text"`
	Picture string `json:"picture,omitempty"` // a pictogram, "" for none
}

// Count is the count of an answer.
type Count struct {
	Waiting int               `json:"waiting,omitempty"` // presses that are not shown yet
	Since   week.Week         `json:"since,omitempty"`   // the week of the oldest of them
	Weeks   map[week.Week]int `json:"weeks,omitempty"`   // what was shown when each week ended, at least Least each
}

// Shown returns the sum of what was shown since a week, including it.
func (c Count) Shown(from week.Week) (n int) {
	for w, shown := range c.Weeks {
		if w >= from {
			n += shown
		}
	}
	return n
}

// Add counts a press that many times. It ignores a press for a question or an answer that does not exist. If the clock was set back, a
// press of a week before the current one counts in the current one.
func (o *Opinions) Add(p Press, times int) {
	o.Close(p.Week)
	var counts []Count
	switch p.Part {
	case Face:
		counts = o.service(p.Service).Faces
	case Hurdle:
		counts = o.service(p.Service).Hurdles
	case Choice:
		if q := o.Question(p.Question); q != nil {
			counts = q.Answers
		}
	}
	if p.Which < 0 || p.Which >= len(counts) {
		return
	}
	c := &counts[p.Which]
	if c.Waiting == 0 {
		c.Since = o.Open
	}
	c.Waiting += times
}

// service returns a service's counts, which it creates or extends if necessary: this release may have more faces or hurdles than the one
// that wrote them.
func (o *Opinions) service(name string) *Service {
	s := o.Services[name]
	if s == nil {
		if o.Services == nil {
			o.Services = make(map[string]*Service)
		}
		s = &Service{}
		o.Services[name] = s
	}
	s.Faces = atLeast(s.Faces, len(Faces))
	s.Hurdles = atLeast(s.Hurdles, len(Hurdles))
	return s
}

func atLeast(counts []Count, n int) []Count {
	return append(counts, make([]Count, max(n-len(counts), 0))...)
}

// Question returns the question with a number, nil for none.
func (o *Opinions) Question(number int) *Question {
	for _, q := range o.Questions {
		if q.Number == number {
			return q
		}
	}
	return nil
}

// Close ends the current week if now is a later one: it shows the counts that may be shown, and drops those that are too old.
func (o *Opinions) Close(now week.Week) {
	if now <= o.Open {
		return
	}
	ended := o.Open
	o.Open = now
	if ended == "" {
		return
	}
	oldest := week.Of(now.Monday().AddDate(0, -months, 0))
	for name, s := range o.Services {
		s.Ahead += show(s.Faces, ended, noBound)
		s.Ahead -= show(s.Hurdles, ended, s.Ahead)
		noFaces, noHurdles := drop(s.Faces, oldest), drop(s.Hurdles, oldest)
		if noFaces && noHurdles {
			delete(o.Services, name)
		}
	}
	for _, q := range o.Questions {
		show(q.Answers, ended, noBound)
	}
	o.Questions = slices.DeleteFunc(o.Questions, func(q *Question) bool {
		return drop(q.Answers, oldest) && q.Number != o.Current
	})
}

const noBound = -1

// show adds the waiting counts that have reached Least to those shown in a week, at most that many presses in total. It returns their
// number.
func show(counts []Count, in week.Week, most int) (all int) {
	for i := range counts {
		c := &counts[i]
		n := c.Waiting
		if n < Least || most != noBound && all+n > most {
			continue
		}
		if c.Weeks == nil {
			c.Weeks = make(map[week.Week]int)
		}
		c.Weeks[in] += n
		c.Waiting, c.Since = 0, ""
		all += n
	}
	return all
}

// drop removes counts from before the oldest week, and says whether nothing is left.
func drop(counts []Count, oldest week.Week) (empty bool) {
	empty = true
	for i := range counts {
		c := &counts[i]
		if c.Since < oldest {
			c.Waiting, c.Since = 0, ""
		}
		maps.DeleteFunc(c.Weeks, func(w week.Week, _ int) bool { return w < oldest })
		empty = empty && c.Waiting == 0 && len(c.Weeks) == 0
	}
	return empty
}

// ErrAnother says that the current question is not the one that was seen.
var ErrAnother = errors.New("somebody else has changed the question meanwhile")

// RefusedError says why a question cannot be asked.
type RefusedError struct{ Why string }

func (e RefusedError) Error() string { return e.Why }

func refuse(format string, args ...any) error { return RefusedError{fmt.Sprintf(format, args...)} }

// Ask makes a question the current one. The counts of the previous one are kept. Asking the current question again changes nothing. The
// error is a RefusedError.
func (o *Opinions) Ask(text string, choices []ChoiceText) error {
	if err := checkText("question", text, MaxQuestion); err != nil {
		return err
	}
	if n := len(choices); n < MinChoices || n > MaxChoices {
		return refuse("a question has %d to %d choices, and this one has %d", MinChoices, MaxChoices, n)
	}
	for i, c := range choices {
		if err := checkText("choice", c.Text, MaxChoice); err != nil {
			return err
		}
		if slices.ContainsFunc(choices[:i], func(other ChoiceText) bool { return other.Text == c.Text }) {
			return refuse("the choice %q is there twice", c.Text)
		}
	}
	if q := o.Question(o.Current); q != nil && q.Text == text && slices.Equal(q.Choices, choices) {
		return nil
	}
	o.Last++
	o.Current = o.Last
	o.Questions = append(o.Questions, &Question{Number: o.Last, Text: text, Choices: choices, Answers: make([]Count, len(choices))})
	return nil
}

// checkText checks a text that staff wrote.
func checkText(what, text string, most int) error {
	switch n := utf8.RuneCountInString(text); {
	case text == "" || strings.TrimSpace(text) != text:
		return refuse("the %s %q is empty, or has a space at an end", what, text)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Bidi_Control) }):
		return refuse("the %s %q has characters that cannot be shown", what, text)
	case n > most:
		return refuse("the %s has %d characters; at most %d fit", what, n, most)
	}
	return nil
}

// Pictures are the pictograms that a choice can have.
var Pictures = []string{
	"accompany", "book", "briefcase", "card", "clock", "cross", "days", "drive", "euro", "face-very-bad", "face-bad",
	"face-middling", "face-good", "face-very-good", "globe", "house", "key", "lend", "letters", "lifebuoy", "no", "papers",
	"people", "pin", "question", "repair", "search", "share", "speech", "speed", "star", "teach", "wait", "wheelchair",
	"wifi", "yes",
}

// ParseChoice parses a choice from the command line: a text, or a pictogram's name, a colon and a text.
func ParseChoice(s string) (c ChoiceText, err error) {
	name, text, ok := strings.Cut(s, ":")
	if !ok || strings.ContainsFunc(name, func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') }) {
		return ChoiceText{Text: strings.TrimSpace(s)}, nil
	}
	if !slices.Contains(Pictures, name) {
		return c, fmt.Errorf("there is no pictogram %q; there are %s", name, strings.Join(Pictures, ", "))
	}
	return ChoiceText{Text: strings.TrimSpace(text), Picture: name}, nil
}

// DropWaiting removes the counts that are not shown yet, for copies that leave the box.
func (o *Opinions) DropWaiting() {
	drop := func(counts []Count) {
		for i := range counts {
			counts[i].Waiting, counts[i].Since = 0, ""
		}
	}
	for _, s := range o.Services {
		drop(s.Faces)
		drop(s.Hurdles)
	}
	for _, q := range o.Questions {
		drop(q.Answers)
	}
}
