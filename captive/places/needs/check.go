package needs

import (
	"maps"
	"slices"
	"strings"
)

// check verifies what was read, by trying all combinations of answers:
//
//   - Every question and choice can be reached, every rule applies to at least one combination, and every text is shown.
//   - Every combination has a rule. Each rule ends with how to do it without the internet, and leads to something that exists
//     without any list of places.
//   - Danger is the first choice, and at every step after it there is a telephone number, which needs no internet.
//   - Administrative procedures never lead to volunteers.
//
// Whether destinations exist is checked when they are read.
func (r *reader) check() {
	r.checkQuestions()
	r.checkRules()
	if r.count == 0 && r.combinations() <= maxAnswers {
		r.checkAnswers()
	}
}

// checkQuestions checks each question and choice on its own.
func (r *reader) checkQuestions() {
	g := &r.guide
	if len(g.Questions) == 0 {
		r.problem(1, "there is no [[question]]")
		return
	}
	reached := map[string]bool{g.Questions[0].Key: true}
	keys := map[string]bool{}
	for i, q := range g.Questions {
		if q.Key == "" || keys[q.Key] {
			r.problem(q.line, "a question has a key, which no other has")
		}
		keys[q.Key] = true
		r.checkText(q.line, "ask", q.Ask, true)
		if len(q.Choices) < 2 {
			r.problem(q.line, "a question has at least two choices")
		}
		if !reached[q.Key] {
			r.problem(q.line, "question %q: no choice before it leads to it", q.Key)
		}
		later := func(line int, next string) {
			if next != "" && !slices.ContainsFunc(g.Questions[i+1:], func(q *Question) bool { return q.Key == next }) {
				r.problem(line, "next: there is no question %q below this one", next)
			}
		}
		later(q.line, q.next)
		choices := map[string]bool{}
		for _, c := range q.Choices {
			if c.Key == "" || choices[c.Key] {
				r.problem(c.line, "a choice has a key, which no other of its question has")
			}
			choices[c.Key] = true
			r.checkText(c.line, "title", c.Title, true)
			r.checkText(c.line, "hint", c.Hint, false)
			r.checkText(c.line, "say", c.Say, false)
			if c.Pictogram == "" || !r.known.pictogram(c.Pictogram) {
				r.problem(c.line, "pictogram: there is none named %q", c.Pictogram)
			}
			later(c.line, c.next)
			if c.next != "" {
				reached[c.next] = true
			} else {
				reached[q.next] = true
			}
		}
	}
	for i, c := range g.Questions[0].Choices {
		if c.Danger != (i == 0) && (i == 0 || !g.Questions[0].Choices[i-1].Danger) {
			r.problem(c.line, "danger is the first choice of the first question")
		}
	}
}

// checkText checks that a text is there in French, which stands in for missing languages.
func (r *reader) checkText(line int, name string, t Text, needed bool) {
	if _, ok := t[mainLanguage]; !ok && (needed || t != nil) {
		r.problem(line, "there is no %s.%s", name, mainLanguage)
	}
}

// checkRules checks each rule on its own, and the texts that rules name.
func (r *reader) checkRules() {
	g := &r.guide
	g.without = make(map[string]Text, len(r.withouts))
	texts := make(map[string]*without, len(r.withouts))
	for _, w := range r.withouts {
		if w.key == "" || texts[w.key] != nil {
			r.problem(w.line, "a [[without]] has a key, which no other has")
		}
		r.checkText(w.line, "text", w.text, true)
		texts[w.key], g.without[w.key] = w, w.text
	}
	for _, q := range g.Questions {
		for i, d := range q.Now {
			if d.Kind != Number {
				r.problem(q.lines[i], "now: only numbers")
			}
		}
	}
	for _, rule := range g.Rules {
		for _, question := range slices.Sorted(maps.Keys(rule.When)) {
			q := g.question(question)
			if q == nil {
				r.problem(rule.line, "when.%.40s: there is no such question", question)
				continue
			}
			for _, choice := range rule.When[question] {
				if q.choice(choice) == nil {
					r.problem(rule.line, "when.%s: the question has no choice %.40q", question, choice)
				}
			}
		}
		here := false
		for i, d := range rule.To {
			if end := i == len(rule.To)-1; (d.Kind == Without) != end {
				r.problem(rule.lines[i], "a rule ends with how to do it without the internet, once")
			}
			if d.Kind == Without {
				if texts[d.Key] == nil {
					r.problem(rule.lines[i], "%s: there is no [[without]] with this key", d)
				} else {
					texts[d.Key].used = true
				}
			}
			here = here || !d.IsPlace() && d.Kind != Without
		}
		if !here {
			r.problem(rule.line, "the rule leads nowhere as long as no list of places is imported")
		}
	}
	for _, w := range r.withouts {
		if !w.used {
			r.problem(w.line, "no rule leads to without %q", w.key)
		}
	}
}

// combinations counts the combinations of answers without trying them. It stops at one more than allowed.
func (r *reader) combinations() int {
	g := &r.guide
	count := map[*Question]int{nil: 1}
	for _, q := range slices.Backward(g.Questions) { // a question leads only to those below it
		for _, c := range q.Choices {
			count[q] = min(count[q]+count[g.after(q, c)], maxAnswers+1)
		}
	}
	all := count[g.Questions[0]]
	if all > maxAnswers {
		r.problem(g.Questions[0].line, "there are more than %d combinations of answers", maxAnswers)
	}
	return all
}

// checkAnswers tries all combinations.
func (r *reader) checkAnswers() {
	g := &r.guide
	applied := make([]bool, len(g.Rules))
	told := map[int]bool{} // lines whose problem was reported
	once := func(line int, format string, args ...any) {
		if !told[line] {
			told[line] = true
			r.problem(line, format, args...)
		}
	}
	for a := range g.All() {
		for i, answer := range a {
			if i > 0 && a[:i].Danger() && !slices.ContainsFunc(answer.Now, isNumber) {
				once(answer.Question.line, "question %q comes after danger: now names a number", answer.Question.Key)
			}
		}
		i := g.match(a)
		if i < 0 {
			r.problem(g.Questions[0].line, "no rule applies to %s", a.Path())
			continue
		}
		applied[i] = true
		rule := g.Rules[i]
		if a.Danger() && !isNumber(rule.To[0]) {
			once(rule.line, "it applies to danger (%s): its first destination is a number", a.Path())
		}
		if at := slices.Index(rule.To, Destination{Person, Volunteers}); at >= 0 && a.Official() {
			once(rule.lines[at], "it applies to an administrative procedure (%s): never to volunteers", strings.Split(a.Path(), "/")[0])
		}
	}
	for i, rule := range g.Rules {
		if !applied[i] {
			r.problem(rule.line, "the rule never applies: earlier ones take all its answers, or they cannot be given")
		}
	}
}

func isNumber(d Destination) bool { return d.Kind == Number }
