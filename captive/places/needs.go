package places

import (
	"net/http"
	"slices"
	"strings"

	"passerelle/captive/places/directory"
	"passerelle/captive/places/needs"
	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/web"
)

// needsRoutes returns the routes of "Where do I go?". The answers are in the address and nowhere else: pages are rendered for each
// request and not cached.
func (p *Places) needsRoutes() map[string]web.Route {
	return map[string]web.Route{"/needs": {Get: p.needs}, "/needs/": {Get: p.needs}}
}

// away is the page that "leave quickly" leads to: an ordinary page with much on it.
const away = "/tutorials"

// needs serves the next question, or the page of destinations after the last one.
func (p *Places) needs(w http.ResponseWriter, r *web.Request) {
	g := p.guide.Load()
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/needs"), "/")
	answers, next, whole := g.Read(path)
	if !whole || path != answers.Path() {
		r.Lead(w, http.StatusFound, needsPath(answers)) // ask the question again
		return
	}
	var page web.Page
	if next != nil {
		page = p.newQuestion(r, g, answers, next)
	} else {
		page = p.newAnswer(r, g, answers)
	}
	r.Serve(w, page, http.StatusOK)
}

// needsPath returns the path of the page after some answers.
func needsPath(a needs.Answers) string { return strings.TrimSuffix("/needs/"+a.Path(), "/") }

// needsFrame is what all pages of the questions have in common.
type needsFrame struct {
	web.Frame
	Heading  string
	Lang     *web.Lang // of the heading, nil if it is the page's
	Discreet bool      // it is about danger; its address reveals nothing either, since the rules' keys are neutral
	Away     string    // path that "leave quickly" leads to
	Back     string    // path of the question before; "" for none
}

// questionPage asks a question.
type questionPage struct {
	needsFrame
	First         bool
	Number, Count int           // of questions
	Now           []destination // shown above the choices
	Choices       []needChoice
}

// needChoice is a choice as a tile.
type needChoice struct {
	Href, Pictogram string
	Title, Hint     phrase
	Danger          bool
}

// answerPage says where to go, with the best destination first.
type answerPage struct {
	needsFrame
	Best    destination
	Also    []destination
	Say     []string  // what to say at the desk, in French
	SayLang *web.Lang // nil if French is the page's language
	Meaning []string  // the same in the page's language; nil if that is French
	Without phrase    // how to do it without the internet
}

// phrase is a text with its language, nil if it is the page's.
type phrase struct {
	Lines []string
	Lang  *web.Lang
}

// destination is where to go.
type destination struct {
	Pictogram string
	Title     phrase
	Text      phrase
	Href      string // path on the box, with the language; "" for none
	Phone     web.Phone
	Open      string // whether somebody answers the phone now; "" if that is not known
	Action    string // the text of the link or the call button
}

// Person reports whether the destination has neither a link nor a number: the reader goes there and asks.
func (d destination) Person() bool { return d.Href == "" && d.Phone.Text == "" }

// HidesAddress implements [web.Discreet].
func (f needsFrame) HidesAddress() bool { return f.Discreet }

func (questionPage) Template() string { return "places/needs" }
func (answerPage) Template() string   { return "places/needs" }

// Asks tells the template, which both pages share, whether the page asks a question.
func (questionPage) Asks() bool { return true }
func (answerPage) Asks() bool   { return false }

// Seen reports for each question whether it was reached.
func (p questionPage) Seen() []bool {
	seen := make([]bool, p.Count)
	for i := range seen {
		seen[i] = i < p.Number
	}
	return seen
}

// newNeedsFrame returns what all pages of the questions have in common. The title of a page about danger reveals nothing.
func newNeedsFrame(r *web.Request, a needs.Answers, heading phrase) needsFrame {
	f := needsFrame{
		Frame: r.Frame(needsPath(a), heading.Lines[0]), Heading: heading.Lines[0], Lang: heading.Lang,
		Discreet: a.Danger(), Away: away,
	}
	if len(a) > 0 {
		f.Back = needsPath(a[:len(a)-1])
	}
	if f.Discreet {
		f.Title = r.Words.T("needs.neutral")
	}
	return f
}

// newQuestion returns the page that asks the next question.
func (p *Places) newQuestion(r *web.Request, g *needs.Guide, a needs.Answers, q *needs.Question) web.Page {
	page := questionPage{
		needsFrame: newNeedsFrame(r, a, newPhrase(r.Words, q.Ask)),
		First:      len(a) == 0, Number: len(a) + 1, Count: len(a) + g.Length(q),
	}
	page.Now = p.destinations(r, q.Now)
	for _, c := range q.Choices {
		page.Choices = append(page.Choices, needChoice{
			Href: needsPath(append(a[:len(a):len(a)], needs.Answer{Question: q, Choice: c})), Pictogram: c.Pictogram,
			Title: newPhrase(r.Words, c.Title), Hint: newPhrase(r.Words, c.Hint), Danger: c.Danger,
		})
	}
	return page
}

// newAnswer returns the page that says where to go.
func (p *Places) newAnswer(r *web.Request, g *needs.Guide, a needs.Answers) web.Page {
	w := r.Words
	heading := "needs.answer"
	if a.Danger() {
		heading = "needs.answer-now"
	}
	page := answerPage{needsFrame: newNeedsFrame(r, a, phrase{Lines: []string{w.T(heading)}})}
	to := g.Rule(a).To
	found := p.destinations(r, to)
	page.Best, page.Also = found[0], found[1:]
	page.Without = newPhrase(w, g.HowWithout(to[len(to)-1]))
	page.Say = sayToDesk(w.In("fr"), a)
	if page.SayLang = w.Lang("fr"); page.SayLang != nil {
		page.Meaning = sayToDesk(w, a)
	}
	return page
}

// sayToDesk returns the answers as sentences to say at the desk, followed by the question who can help. Somebody in danger only says
// that they want to talk, so the question is left out. A sentence that is missing in the language is left out, too.
func sayToDesk(w *web.Words, a needs.Answers) (lines []string) {
	for _, answer := range a {
		if say := newPhrase(w, answer.Say); say.Lang == nil {
			lines = append(lines, say.Lines...)
		}
	}
	if len(lines) > 0 && !a.Danger() {
		lines = append(lines, w.T("needs.who"))
	}
	return lines
}

// newPhrase returns a text in the page's language, or else in French; the zero phrase for a nil text.
func newPhrase(w *web.Words, t needs.Text) phrase {
	text, code := t.In(w.Code)
	if text == "" {
		return phrase{}
	}
	in := w.In(code)
	return phrase{strings.Split(in.Typeset(text), "\n"), w.Lang(code)}
}

// destinations returns the destinations that exist now: those that lead to places are left out if there are no such places. The checks
// of the rules guarantee that some destination is left.
func (p *Places) destinations(r *web.Request, to []needs.Destination) (all []destination) {
	for _, d := range to {
		if d, ok := p.destination(r, d); ok {
			all = append(all, d)
		}
	}
	return all
}

// destination returns a destination, and whether it exists now. One of the kind [needs.Without] does not count.
func (p *Places) destination(r *web.Request, to needs.Destination) (d destination, ok bool) {
	w, language, query := r.Words, "", ""
	if r.Chosen {
		language, query = w.Code, "?lang="+w.Code
	}
	switch to.Kind {
	case needs.Lesson:
		lesson, ok := lessons.Own().Lesson(to.Key, w.Code)
		if !ok {
			return d, false
		}
		title, summary, in := lesson.Named(w.Code)
		title, summary, lang := w.Typeset(title), w.Typeset(summary), w.Lang(in)
		return destination{
			Pictogram: "book", Title: phrase{[]string{title}, lang}, Text: phrase{[]string{summary}, lang},
			Href: "/tutorials/" + to.Key + query, Action: w.T("needs.go-lesson"),
		}, true
	case needs.Path:
		path, ok := lessons.Own().Path(to.Key)
		if !ok {
			return d, false
		}
		return destination{
			Pictogram: "book", Title: newPhrase(w, path.Title), Text: newPhrase(w, path.Need), Href: "/tutorials/" + to.Key + query, Action: w.T("needs.go-lessons"),
		}, true
	case needs.Page:
		return destination{
			Pictogram: "people", Title: phrase{Lines: []string{w.T("need.page." + to.Key + ".title")}},
			Text: phrase{Lines: w.Lines("need.page." + to.Key + ".text")}, Href: "/" + to.Key + query, Action: w.T("needs.go-page"),
		}, true
	case needs.Person:
		return destination{
			Pictogram: personPictograms[to.Key], Title: phrase{Lines: []string{w.T("need.person." + to.Key + ".title")}},
			Text: phrase{Lines: w.Lines("need.person." + to.Key + ".text")},
		}, true
	case needs.Number:
		return p.numberDestination(r, to.Key)
	case needs.Service, needs.Programme, needs.Typology:
		wanted := wish{Words: labels[to]}
		if to.Kind == needs.Service {
			wanted.Service = to.Key
		}
		if !p.has(wanted) {
			return d, false
		}
		return destination{
			Pictogram: "pin", Title: phrase{Lines: []string{w.T("need.place." + to.Key + ".title")}},
			Text: phrase{Lines: w.Lines("need.place." + to.Key + ".text")},
			Href: wanted.link("/places", language), Action: w.T("needs.go-places"),
		}, true
	}
	return d, false
}

// numberDestination returns a number to call: the technician's, or the built-in one if the technician's file lacks it.
func (p *Places) numberDestination(r *web.Request, key string) (d destination, ok bool) {
	named := func(n Number) bool { return numberKey(n) == key }
	numbers := p.nationalNumbers()
	i := slices.IndexFunc(numbers, named)
	if i < 0 {
		numbers = builtInNumbers()
		if i = slices.IndexFunc(numbers, named); i < 0 {
			return d, false
		}
	}
	card, action := newNumberCard(r.Words, numbers[i], r.Now), "needs.call"
	if card.SMS {
		action = "needs.write"
	}
	return destination{
		Pictogram: "phone", Title: phrase{[]string{card.Title}, card.Lang}, Text: phrase{[]string{card.Text}, card.TextLang},
		Phone: card.Phone, Open: card.Open, Action: r.Words.T(action, "number", card.Phone.Text),
	}, true
}

// numberKey returns the key by which rules name a number: the number without spaces.
func numberKey(n Number) string { return strings.ReplaceAll(string(n.Number), " ", "") }

// has reports whether there are places that match a wish. A search by words also finds places that have only some of the words. But
// if some places have the wanted label, they match all words, and only such places are found. So the first one found decides.
func (p *Places) has(wanted wish) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	hits, _, err := p.lists.Find(wanted.query(), 0, 1)
	if err != nil || len(hits) == 0 {
		return false
	}
	if wanted.Words == "" || slices.Contains(hits[0].Types, wanted.Words) {
		return true
	}
	i := slices.IndexFunc(directory.Programmes, func(t directory.Term) bool { return t.Label == wanted.Words })
	return i >= 0 && hits[0].Programmes.Terms.Has(1<<i)
}

// labels are the programmes and types of places that rules may name, with the standard's labels, which are the words to find them by.
var labels = map[needs.Destination]string{
	{Kind: needs.Programme, Key: "france-services"}: "France Services",
	{Kind: needs.Programme, Key: "aidants-connect"}: "Aidants Connect",
	{Kind: needs.Typology, Key: "PIMMS"}:            "Point Information Médiation Multi Services",
	{Kind: needs.Typology, Key: "RESSOURCERIE"}:     "Ressourcerie",
	{Kind: needs.Typology, Key: "FABLAB"}:           "Fablab",
	{Kind: needs.Typology, Key: "CCAS"}:             "Centres communaux d’action sociale",
	{Kind: needs.Typology, Key: "FT"}:               "France travail",
	{Kind: needs.Typology, Key: "ML"}:               "Mission Locale",
}

var personPictograms = map[string]string{
	needs.Desk: "house", needs.SocialWorker: "people", needs.PublicWriter: "pen", needs.Adviser: "computer", needs.Volunteers: "tool",
}

// NeedsKnown returns the destinations that rules may name: those that are built into the program, which every box has.
func NeedsKnown() needs.Known {
	numbers := make(map[string]bool)
	for _, n := range builtInNumbers() {
		numbers[numberKey(n)] = true
	}
	return needs.Known{
		Pictogram: web.HasPictogram,
		Destination: func(d needs.Destination) bool {
			switch d.Kind {
			case needs.Lesson:
				_, ok := lessons.Own().Lesson(d.Key, "fr")
				return ok
			case needs.Path:
				_, ok := lessons.Own().Path(d.Key)
				return ok
			case needs.Page:
				return d.Key == "helpers"
			case needs.Number:
				return numbers[d.Key]
			case needs.Service:
				return known(directory.Services, d.Key) != ""
			}
			_, ok := labels[d]
			return ok
		},
	}
}

// refreshNeeds reads a centre's own rules again.
func (p *Places) refreshNeeds() {
	g, err := needs.Load(p.dir, NeedsKnown())
	if err != nil {
		p.log.Warn("the built-in rules of /needs are used", "err", err)
	}
	p.guide.Store(g)
}
