package admin

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"passerelle/appliance/config"
	"passerelle/captive/admin/journal"
	"passerelle/captive/voice/agenda"
	"passerelle/captive/voice/board"
	"passerelle/captive/voice/opinion"
	"passerelle/captive/web"
)

// Desk is what staff work with: the agenda, the residents' notices, and the question to residents. Its methods are safe for
// concurrent use.
type Desk interface {
	Agenda() agenda.Store
	// ChangeEvents changes staff's own events. If their file could not be read, it is set aside, the change is still made, and the
	// error is a *records.UnreadableError.
	ChangeEvents(change func(*agenda.Own) error) error

	Board() (board.Board, error)
	// Accept and Refuse change all of the notices or none. The errors are board.ErrUnknown, board.ErrNoNotice and board.ErrFull.
	Accept(numbers ...int) error
	Refuse(numbers ...int) error

	Question() (*opinion.Question, error)
	// Ask replaces the question with the number seen, and Close ends it; 0 stands for no question. The error is
	// opinion.ErrAnother if the current question has another number.
	Ask(text string, choices []opinion.ChoiceText, seen int) error
	Close(seen int) error
	Results(weeks int) ([]opinion.Row, error)
}

const boardPath = "/admin/board"

// boardPage lists the notices.
type boardPage struct {
	techFrame
	Up             web.Link
	Closed         bool // residents do not see the board
	Settings       string
	Waiting, Shown []noticeCard
}

func (boardPage) Template() string { return "admin/board" }

// noticeCard is a notice.
type noticeCard struct {
	Number      int
	Title, Kind string
	Picture     string
	Text        string
	Until       string // the week it was written in if it waits, else how long it is shown
}

func (s *Server) board(w http.ResponseWriter, r *request) {
	web.Yield(r.Request.Request)
	b, err := s.Content.Desk.Board()
	if err != nil {
		s.contentTrouble(w, r, s.contentUp(r).Href, err)
		return
	}
	p := boardPage{techFrame: s.tech(r, "content", boardPath, r.Words.T("notices.title")), Up: s.contentUp(r), Closed: !s.boardOpen()}
	if may(r.role, configures) {
		p.Settings = settingsPath + "/places"
	}
	for _, post := range b.Waiting() {
		p.Waiting = append(p.Waiting, newNotice(r, post))
	}
	for _, post := range b.Shown() {
		p.Shown = append(p.Shown, newNotice(r, post))
	}
	s.serve(w, r, p, http.StatusOK)
}

// boardOpen reports whether residents see the board.
func (s *Server) boardOpen() bool {
	text, _, err := s.Configuration.Read()
	if err != nil {
		return false
	}
	c, err := config.Parse(fileName, text)
	return err == nil && c.Board.Enabled
}

func newNotice(r *request, post board.Post) noticeCard {
	w := r.Words
	c := noticeCard{
		Number: post.Number, Text: post.Text, Picture: post.Kind, Title: w.T("notices.number", "number", strconv.Itoa(post.Number)),
		Kind: w.T("notices.what", "side", w.T("notices."+post.Side), "kind", w.T("notices.kind."+post.Kind)),
	}
	if day, err := time.Parse(time.DateOnly, post.Shown); err == nil {
		c.Until = w.T("notices.until", "day", w.Day(day.AddDate(0, 0, board.Days)))
	} else {
		c.Until = w.T("notices.week", "day", w.Day(post.Week.Monday()))
	}
	return c
}

// changeBoard shows or removes notices.
func (s *Server) changeBoard(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	var numbers []int
	if err == nil {
		numbers, err = numbersOf(form)
	}
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	web.Yield(r.Request.Request)
	change, what := s.Content.Desk.Refuse, journal.NoticesRemoved
	if form.Get("do") == "show" {
		change, what = s.Content.Desk.Accept, journal.NoticesShown
	}
	if err := change(numbers...); err != nil {
		s.contentTrouble(w, r, boardPath, err)
		return
	}
	s.note(r, what)
	r.Lead(w, http.StatusSeeOther, boardPath)
}

// numbersOf returns the numbers of the notices that a form chooses.
func numbersOf(form url.Values) (all []int, err error) {
	for _, text := range form["number"] {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	if do := form.Get("do"); len(all) == 0 || len(all) > board.MaxWaiting || do != "show" && do != "remove" {
		return nil, errors.New("no notice is named")
	}
	return all, nil
}
