package admin

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"passerelle/captive/admin/journal"
	"passerelle/captive/voice/opinion"
	"passerelle/captive/web"
)

const opinionPath = "/admin/opinion"

// resultWeeks is how many weeks of results are shown: 13 months, which is as long as they are kept.
const resultWeeks = 57

// opinionPage shows the current question and what residents answered, and has a form for another question.
type opinionPage struct {
	techFrame
	Up      web.Link
	Note    bool // the form is shown again
	Problem *problem
	Number  int // the question's number; 0 for no question
	Text    string
	Choices []opinion.ChoiceText
	Results []resultTable
	Asks    input
	Offers  []offer
}

func (opinionPage) Template() string { return "admin/opinion" }

// offer holds the form's fields for one choice.
type offer struct {
	Text, Picture input
}

// resultTable is what residents answered about one subject.
type resultTable struct {
	Title, Part string
	Rows        []resultRow
}

type resultRow struct {
	Answer, Count string
	Bar           int // width of the bar, in thousandths of the longest one
}

// Names of the fields in a question's form.
const (
	questionName = "question"
	choiceName   = "choice"  // followed by a number
	pictureName  = "picture" // followed by a number
	seenName     = "seen"    // the number of the question that the page showed
)

func (s *Server) opinion(w http.ResponseWriter, r *request) {
	s.showOpinion(w, r, url.Values{}, nil, http.StatusOK)
}

func (s *Server) showOpinion(w http.ResponseWriter, r *request, form url.Values, wrong *problem, status int) {
	web.Yield(r.Request.Request)
	q, err := s.Content.Desk.Question()
	var rows []opinion.Row
	if err == nil {
		rows, err = s.Content.Desk.Results(resultWeeks)
	}
	if err != nil {
		s.contentTrouble(w, r, s.contentUp(r).Href, err)
		return
	}
	p := opinionPage{
		techFrame: s.tech(r, "content", opinionPath, r.Words.T("asking.title")), Up: s.contentUp(r), Note: wrong != nil, Problem: wrong,
		Results: resultsOf(r.Words, opinion.Sums(rows)),
		Asks: input{
			Kind: aLine, Name: questionName, Most: opinion.MaxQuestion, Label: r.Words.T("asking.ask"), Help: r.Words.Lines("asking.ask-help"),
			Value: form.Get(questionName), Required: true,
		},
	}
	if q != nil {
		p.Number, p.Text, p.Choices = q.Number, q.Text, q.Choices
	}
	for i := range opinion.MaxChoices {
		n := strconv.Itoa(i + 1)
		o := offer{
			input{
				Kind: aLine, Name: choiceName + n, Most: opinion.MaxChoice, Label: r.Words.T("asking.choice", "number", n),
				Value: form.Get(choiceName + n), Required: i < opinion.MinChoices,
			},
			input{Name: pictureName + n, Label: r.Words.T("asking.picture", "number", n)},
		}
		for _, name := range opinion.Pictures {
			o.Picture.Options = append(o.Picture.Options, option{name, r.Words.T("picture." + name), form.Get(pictureName+n) == name})
		}
		p.Offers = append(p.Offers, o)
	}
	s.serve(w, r, p, status)
}

// resultsOf returns sums as tables, in the order of the sums.
func resultsOf(w *web.Words, sums []opinion.Row) (all []resultTable) {
	most := 1
	for _, row := range sums {
		most = max(most, row.Count)
	}
	for _, row := range sums {
		title := row.Subject
		if title == opinion.Other {
			title = w.T("asking.another-service")
		}
		part := w.T("asking.part." + string(row.Part))
		if i := len(all) - 1; i < 0 || all[i].Title != title || all[i].Part != part {
			all = append(all, resultTable{Title: title, Part: part})
		}
		answer := row.Answer
		switch row.Part {
		case opinion.Face:
			answer = w.T("picture.face-" + row.Answer)
		case opinion.Hurdle:
			answer = w.T("asking.hurdle." + row.Answer)
		}
		count := strconv.Itoa(row.Count)
		if row.Count == 0 {
			count = w.T("asking.under", "number", strconv.Itoa(opinion.Least))
		}
		t := &all[len(all)-1]
		t.Rows = append(t.Rows, resultRow{answer, count, row.Count * 1000 / most})
	}
	return all
}

// ask asks residents a question.
func (s *Server) ask(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	var seen int
	if err == nil {
		seen, err = strconv.Atoi(form.Get(seenName))
	}
	if err != nil || !readable(form) {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	var choices []opinion.ChoiceText
	for i := range opinion.MaxChoices {
		n := strconv.Itoa(i + 1)
		c := opinion.ChoiceText{Text: oneLine(form.Get(choiceName + n)), Picture: form.Get(pictureName + n)}
		switch {
		case c.Text == "":
			continue
		case c.Picture != "" && !slices.Contains(opinion.Pictures, c.Picture):
			s.refuse(w, r, http.StatusBadRequest)
			return
		}
		choices = append(choices, c)
	}
	text := oneLine(form.Get(questionName))
	switch {
	case text == "":
		s.showOpinion(w, r, form, &problem{Text: r.Words.T("asking.wrong.question")}, http.StatusUnprocessableEntity)
		return
	case len(choices) < opinion.MinChoices:
		s.showOpinion(w, r, form, &problem{Text: r.Words.T("asking.wrong.choices")}, http.StatusUnprocessableEntity)
		return
	}
	web.Yield(r.Request.Request)
	err = s.Content.Desk.Ask(text, choices, seen)
	var refused opinion.RefusedError
	switch {
	case errors.As(err, &refused):
		s.showOpinion(w, r, form, &problem{Text: r.Words.T("asking.wrong.refused"), Detail: refused.Error()}, http.StatusUnprocessableEntity)
	case errors.Is(err, opinion.ErrAnother):
		s.showOpinion(w, r, form, &problem{Text: r.Words.T("asking.wrong.another")}, http.StatusConflict)
	case err != nil:
		s.contentTrouble(w, r, opinionPath, err)
	default:
		s.note(r, journal.QuestionAsked)
		r.Lead(w, http.StatusSeeOther, opinionPath)
	}
}

// oneLine replaces each run of white space by one space.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// closeQuestion ends the question.
func (s *Server) closeQuestion(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	var seen int
	if err == nil {
		seen, err = strconv.Atoi(form.Get(seenName))
	}
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	web.Yield(r.Request.Request)
	err = s.Content.Desk.Close(seen)
	switch {
	case errors.Is(err, opinion.ErrAnother):
		s.showOpinion(w, r, url.Values{}, &problem{Text: r.Words.T("asking.wrong.another")}, http.StatusConflict)
	case err != nil:
		s.contentTrouble(w, r, opinionPath, err)
	default:
		s.note(r, journal.QuestionClosed)
		r.Lead(w, http.StatusSeeOther, opinionPath)
	}
}

// results sends what residents answered, week by week, as CSV, or the schema of that file.
func (s *Server) results(w http.ResponseWriter, r *request) {
	var b bytes.Buffer
	name, media := r.PathValue("file"), ""
	var err error
	switch name {
	case "results.csv":
		media = "text/csv; charset=utf-8"
		var rows []opinion.Row
		if rows, err = s.Content.Desk.Results(resultWeeks); err == nil {
			err = opinion.WriteCSV(&b, rows)
		}
	case "results.schema.json":
		media = "application/json"
		err = opinion.WriteSchema(&b)
	default:
		s.missing(w, r)
		return
	}
	if err != nil {
		s.failed(w, r, "write the results", err)
		return
	}
	sendFile(w, name, media, b.Bytes())
}
