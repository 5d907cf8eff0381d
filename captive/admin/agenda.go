package admin

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"passerelle/captive/admin/journal"
	"passerelle/captive/records"
	"passerelle/captive/voice/agenda"
	"passerelle/captive/web"
)

const agendaPath = "/admin/agenda"

// Bounds of the pages. agendaDays is how many days ahead the agenda shows, and maxDates how many dates. eventDays and eventDates
// are the same for the page of one event.
const (
	agendaDays = 60
	maxDates   = 60
	eventDays  = 100
	eventDates = 8
)

// agendaPage lists what takes place, and asks for another event.
type agendaPage struct {
	techFrame
	Up      web.Link
	Days    []agendaDay
	More    bool // later dates are left out
	Broken  []string
	Note    bool // the form is shown again
	Problem *problem
	Fields  []input
	Rare    []input
	Open    bool // the rare fields are shown

	Calendars web.Link // to the imported calendars; zero for a role that may not import any
}

func (agendaPage) Template() string { return "admin/agenda" }

// agendaDay is a day with what takes place.
type agendaDay struct {
	Day    string
	Events []agendaEvent
}

// agendaEvent is something that takes place on a day.
type agendaEvent struct {
	At, Title, Place, Note string

	// These are set for staff's own events only, not for events from a calendar.
	Href    string
	Version int    // the event's edition, as the page shows it
	On      string // the date that the button is for; "" for an event that takes place once
	Press   string // what the button does: "cancel" or "restore"; "" for no button
	Name    string // what the button is for
}

func (s *Server) agenda(w http.ResponseWriter, r *request) {
	s.showAgenda(w, r, url.Values{}, nil, nil, http.StatusOK)
}

// eventFields are the fields of an event's form, with their kinds and lengths.
var eventFields = []struct {
	name string
	kind kind
	most int
	rare bool
}{
	{"title", aLine, 200, false}, {"on", aDate, 0, false}, {"from", aTime, 0, false}, {"to", aTime, 0, false},
	{"every", aChoice, 0, false}, {"until", aDate, 0, true}, {"where", aLine, 200, true}, {"text", someText, 2000, true},
}

// repeats lists how often one of staff's events can take place.
var repeats = []string{"once", "week", "2weeks", "month"}

func (s *Server) showAgenda(w http.ResponseWriter, r *request, form url.Values, beside map[string]string, wrong *problem, status int) {
	p := agendaPage{
		techFrame: s.tech(r, "content", agendaPath, r.Words.T("dates.title")), Up: s.contentUp(r), Note: wrong != nil || len(beside) > 0, Problem: wrong,
	}
	if may(r.role, provides) {
		p.Calendars = web.Link{Href: adminPath + "calendars", Text: r.Words.T("shelf.title.calendars")}
	}
	events, problems := s.Content.Desk.Agenda().Events()
	for _, err := range problems {
		p.Broken = append(p.Broken, err.Error())
	}
	own, _ := s.Content.Desk.Agenda().Own() // Events has reported the error
	today := startOfDay(r.Now)
	all := agenda.Occurrences(events, today, today.AddDate(0, 0, agendaDays))
	if p.More = len(all) > maxDates; p.More {
		all = all[:maxDates]
	}
	for _, o := range all {
		day := dateOf(r.Words, o.Start)
		if n := len(p.Days); n == 0 || p.Days[n-1].Day != day {
			p.Days = append(p.Days, agendaDay{Day: day})
		}
		d := &p.Days[len(p.Days)-1]
		e := agendaEvent{At: clockOf(r.Words, o), Title: o.Title, Place: o.Place, Note: noteOf(r.Words, o)}
		for _, entry := range own.Events {
			if strconv.Itoa(entry.Number) == o.Event.ID {
				e.ofStaff(entry, o, day)
			}
		}
		d.Events = append(d.Events, e)
	}
	for _, f := range eventFields {
		in := eventInput(r.Words, f.name, f.kind, f.most, form, beside)
		if f.rare {
			p.Rare = append(p.Rare, in)
			p.Open = p.Open || in.Value != "" || in.Problem != nil
		} else {
			p.Fields = append(p.Fields, in)
		}
	}
	s.serve(w, r, p, status)
}

// ofStaff fills in what can be done with one of staff's events on a day.
func (e *agendaEvent) ofStaff(entry agenda.Entry, o agenda.Occurrence, day string) {
	e.Href, e.Version, e.Name = agendaPath+"/"+o.Event.ID, entry.Edition, o.Title+", "+day
	if !o.MovedTo.IsZero() || !o.Was.IsZero() || entry.Off && entry.Every != "" {
		return // this is done on the event's own page
	}
	if e.Press = "cancel"; o.Cancelled {
		e.Press = "restore"
	}
	if entry.Every != "" {
		e.On = o.Start.Format(time.DateOnly)
	}
}

// eventInput returns a field of an event's form.
func eventInput(w *web.Words, name string, kind kind, most int, form url.Values, beside map[string]string) input {
	in := input{
		Kind: kind, Name: name, Most: most, Label: w.T("event." + name), Help: w.Lines("event-help." + name), Value: form.Get(name),
		Required: name == "title" || name == "on",
	}
	if kind == aChoice {
		for _, x := range repeats {
			in.Options = append(in.Options, option{x, w.T("event.every-" + x), x == form.Get(name) || x == repeats[0] && form.Get(name) == ""})
		}
	}
	if word := beside[name]; word != "" {
		in.Problem = &problem{Text: w.T("event.wrong." + word)}
	}
	return in
}

func startOfDay(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
}

// dateOf formats a date with its day of the week.
func dateOf(w *web.Words, t time.Time) string {
	return w.T("dates.day", "weekday", weekday(w, (int(t.Weekday())+6)%7), "date", w.Day(t))
}

// clockOf says at what time of its day something takes place.
func clockOf(w *web.Words, o agenda.Occurrence) string {
	switch {
	case o.AllDay:
		return w.T("dates.all-day")
	case o.End.Equal(o.Start) || o.End.Sub(o.Start) >= dayLength:
		return w.Clock(o.Start)
	}
	return w.T("dates.from-to", "from", w.Clock(o.Start), "to", w.Clock(o.End))
}

// noteOf says that an occurrence is cancelled or moved. It returns "" for one that is neither.
func noteOf(w *web.Words, o agenda.Occurrence) string {
	switch {
	case o.Cancelled:
		return w.T("dates.cancelled")
	case !o.MovedTo.IsZero():
		return w.T("dates.moved-to", "day", dateOf(w, o.MovedTo))
	case !o.Was.IsZero():
		return w.T("dates.moved-from", "day", dateOf(w, o.Was))
	}
	return ""
}

// entryOf reads the form of an event. beside has a word for what is wrong with a field, by the field's name.
func entryOf(form url.Values, now time.Time) (e agenda.Entry, beside map[string]string) {
	beside = make(map[string]string)
	e = agenda.Entry{
		Title: oneLine(form.Get("title")), On: form.Get("on"), From: form.Get("from"), To: form.Get("to"),
		Where: form.Get("where"), Text: form.Get("text"), Every: form.Get("every"), Until: form.Get("until"),
	}
	if e.Every == repeats[0] {
		e.Every = ""
	}
	if e.Title == "" {
		beside["title"] = "title"
	}
	on, err := time.ParseInLocation(time.DateOnly, e.On, now.Location())
	switch {
	case err != nil:
		beside["on"] = "day"
	case e.Every == "" && on.Before(startOfDay(now)):
		beside["on"] = "over"
	}
	if e.To != "" && e.From == "" {
		beside["from"] = "from"
	}
	switch {
	case e.Until != "" && e.Every == "":
		beside["until"] = "once"
	case e.Until != "" && err == nil && e.Until < e.On:
		beside["until"] = "before"
	}
	return e, beside
}

// addEvent adds an event.
func (s *Server) addEvent(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil || !readable(form) || form.Get("every") != "" && !slices.Contains(repeats, form.Get("every")) {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	e, beside := entryOf(form, r.Now)
	if len(beside) > 0 {
		s.showAgenda(w, r, form, beside, nil, http.StatusUnprocessableEntity)
		return
	}
	web.Yield(r.Request.Request)
	var refused error
	err = s.Content.Desk.ChangeEvents(func(o *agenda.Own) error {
		_, refused = o.Add(e, rand.Text()+"@passerelle.internal", r.Now)
		return refused
	})
	if refused != nil {
		s.showAgenda(w, r, form, nil, &problem{Text: r.Words.T("event.wrong.refused"), Detail: refused.Error()}, http.StatusUnprocessableEntity)
		return
	}
	s.eventsChanged(w, r, journal.EventAdded, err)
}

// eventsChanged answers after a change of the events.
func (s *Server) eventsChanged(w http.ResponseWriter, r *request, what journal.What, err error) {
	if _, aside := errors.AsType[*records.UnreadableError](err); aside {
		s.note(r, what)
		p := s.contentNotice(r, agendaPath, r.Words.Lines("dates.aside"))
		p.Pictogram, p.Good, p.Why = "fault", false, err.Error()
		s.serve(w, r, p, http.StatusOK)
		return
	}
	if err != nil {
		s.contentTrouble(w, r, agendaPath, err)
		return
	}
	s.note(r, what)
	r.Lead(w, http.StatusSeeOther, agendaPath)
}

// eventPage shows one of staff's events, and what can be done with it.
type eventPage struct {
	techFrame
	Up      web.Link
	Number  int
	Version int // the event's edition, as the page shows it
	Facts   []string
	Off     bool
	Dates   []eventDate
	Repeats bool
	Problem *problem
	Fields  []input // the form to move one date
}

func (eventPage) Template() string { return "admin/event" }

// eventDate is a day on which an event takes place.
type eventDate struct{ Day, At, Note string }

func (s *Server) event(w http.ResponseWriter, r *request) {
	number, err := strconv.Atoi(r.PathValue("number"))
	if err != nil {
		s.missing(w, r)
		return
	}
	s.showEvent(w, r, number, url.Values{}, nil, http.StatusOK)
}

func (s *Server) showEvent(w http.ResponseWriter, r *request, number int, form url.Values, wrong *problem, status int) {
	own, err := s.Content.Desk.Agenda().Own()
	if err != nil {
		s.contentTrouble(w, r, agendaPath, err)
		return
	}
	i := slices.IndexFunc(own.Events, func(e agenda.Entry) bool { return e.Number == number })
	if i < 0 {
		s.missing(w, r)
		return
	}
	e := own.Events[i]
	v, err := e.Event()
	if err != nil {
		s.contentTrouble(w, r, agendaPath, err)
		return
	}
	p := eventPage{
		techFrame: s.tech(r, "content", agendaPath+"/"+strconv.Itoa(number), e.Title), Up: web.Link{Href: agendaPath, Text: r.Words.T("dates.title")},
		Number: number, Version: e.Edition, Off: e.Off, Repeats: e.Every != "", Problem: wrong,
	}
	if e.Where != "" {
		p.Facts = append(p.Facts, e.Where)
	}
	if slices.Contains(repeats, e.Every) {
		p.Facts = append(p.Facts, r.Words.T("event.every-"+e.Every))
	}
	from := startOfDay(r.Now)
	if first, err := time.ParseInLocation(time.DateOnly, e.On, r.Now.Location()); err == nil && first.After(from) {
		from = first
	}
	var days []option
	for _, o := range agenda.Occurrences([]*agenda.Event{v}, from, from.AddDate(0, 0, eventDays)) {
		if len(p.Dates) == eventDates {
			break
		}
		d := eventDate{Day: dateOf(r.Words, o.Start), At: clockOf(r.Words, o), Note: noteOf(r.Words, o)}
		if !o.Cancelled && o.MovedTo.IsZero() && o.Was.IsZero() { // it can be cancelled and moved
			on := o.Start.Format(time.DateOnly)
			days = append(days, option{on, d.Day, on == form.Get("day") || len(days) == 0 && form.Get("day") == ""})
		}
		p.Dates = append(p.Dates, d)
	}
	if len(days) > 0 {
		day := eventInput(r.Words, "day", aChoice, 0, form, nil)
		day.Options = days
		p.Fields = []input{day}
		for _, name := range []string{"date", "from", "to"} {
			kind := aTime
			if name == "date" {
				kind = aDate
			}
			in := eventInput(r.Words, name, kind, 0, form, nil)
			in.Help = r.Words.Lines("event-help.move-" + name)
			p.Fields = append(p.Fields, in)
		}
	}
	s.serve(w, r, p, status)
}

// errAnother says that an event has been changed since a page showed it.
var errAnother = errors.New("somebody else has changed the event")

// changeEvent cancels, restores, moves or removes an event, or one of its dates.
func (s *Server) changeEvent(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	number, numberErr := strconv.Atoi(r.PathValue("number"))
	version, versionErr := strconv.Atoi(form.Get("version"))
	if errors.Join(err, numberErr, versionErr) != nil || !readable(form) {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	what := map[string]journal.What{
		"cancel": journal.EventCancelled, "restore": journal.EventRestored, "move": journal.EventMoved, "remove": journal.EventRemoved,
	}[form.Get("do")]
	to := agenda.Day{On: form.Get("day"), ToDate: form.Get("date"), From: form.Get("from"), To: form.Get("to")}
	switch {
	case what == "":
		s.refuse(w, r, http.StatusBadRequest)
		return
	case what == journal.EventMoved && to.ToDate == "" && to.From == "":
		s.showEvent(w, r, number, form, &problem{Text: r.Words.T("event.wrong.where-to")}, http.StatusUnprocessableEntity)
		return
	}
	web.Yield(r.Request.Request)
	var refused error
	err = s.Content.Desk.ChangeEvents(func(o *agenda.Own) error {
		i := slices.IndexFunc(o.Events, func(e agenda.Entry) bool { return e.Number == number })
		if i < 0 || o.Events[i].Edition != version {
			refused = errAnother
			return refused
		}
		switch what {
		case journal.EventCancelled:
			_, refused = o.Cancel(number, form.Get("day"), r.Now)
		case journal.EventRestored:
			_, refused = o.Restore(number, form.Get("day"), r.Now)
		case journal.EventMoved:
			_, refused = o.Move(number, to, r.Now)
		default:
			refused = o.Remove(number)
		}
		return refused
	})
	switch {
	case errors.Is(refused, errAnother):
		p := s.contentNotice(r, agendaPath, r.Words.Lines("content.cannot.outdated"))
		p.Pictogram, p.Good = "fault", false
		s.serve(w, r, p, http.StatusConflict)
	case refused != nil:
		s.showEvent(w, r, number, form, &problem{Text: r.Words.T("event.wrong.refused"), Detail: refused.Error()}, http.StatusUnprocessableEntity)
	default:
		s.eventsChanged(w, r, what, err)
	}
}
