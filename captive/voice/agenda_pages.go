package voice

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"passerelle/captive/voice/agenda"
	"passerelle/captive/web"
)

// agendaPage lists the next days.
type agendaPage struct {
	web.Frame
	Days       []agendaDay
	Back, More string // paths of other pages, "" for none
}

// agendaDay is a day on which something happens.
type agendaDay struct {
	ID     string
	Soon   string // "Today,", "Tomorrow,", or ""
	Name   string
	Events []agendaItem
}

// agendaItem is an occurrence in a list.
type agendaItem struct {
	Href       string
	When       string // its time of day
	Title      string
	Place      string
	Off        bool // it is cancelled, or was moved to another time
	Running    bool
	Mark, Sign string // what is unusual about it, and a pictogram for that; "" for nothing
}

// eventPage is an event's own page.
type eventPage struct {
	web.Frame
	Name, Place, Text string
	Cancelled         bool // the whole event
	Dates             []agendaItem
	File              string // path of its calendar file
	Here              string // the address of this page
}

func (agendaPage) Template() string { return "voice/agenda" }
func (eventPage) Template() string  { return "voice/event" }

// newAgenda returns one page of the list of occurrences, by day.
func newAgenda(r *web.Request, now time.Time, list []agenda.Occurrence, number, pages int) agendaPage {
	w := r.Words
	p := agendaPage{Frame: r.Frame("/agenda", w.T("agenda.title"))}
	link := func(n int) string {
		query := "?page=" + strconv.Itoa(n)
		if r.Chosen {
			query += "&lang=" + w.Code
		}
		return "/agenda" + query
	}
	if number > 1 {
		p.Query = "page=" + strconv.Itoa(number)
		p.Back = link(number - 1)
	}
	if number < pages {
		p.More = link(number + 1)
	}
	list = list[(number-1)*maxOnPage : min(len(list), number*maxOnPage)]
	for _, o := range list {
		day := o.Start
		if day.Before(now) { // it began on an earlier day
			day = now
		}
		id := day.Format("d20060102")
		if last := len(p.Days) - 1; last < 0 || p.Days[last].ID != id {
			soon, name := dayTitle(w, day, now)
			p.Days = append(p.Days, agendaDay{ID: id, Soon: soon, Name: name})
		}
		d := &p.Days[len(p.Days)-1]
		item := newItem(w, o, now)
		item.Title, item.Place = short(item.Title, maxLineTitle), short(item.Place, maxLinePlace)
		d.Events = append(d.Events, item)
	}
	return p
}

// newEvent returns an event's page, with its next dates.
func newEvent(r *web.Request, now time.Time, e *agenda.Event, dates []agenda.Occurrence) eventPage {
	w := r.Words
	p := eventPage{Cancelled: e.Cancelled, File: hrefOf(e) + ".ics", Here: r.Head.Hostname + hrefOf(e)}
	first := agenda.Occurrence{Event: e, Title: e.Title, Place: e.Place, Text: e.Text}
	for _, o := range dates {
		if takesPlace(o) {
			first = o
			break
		}
	}
	p.Name, p.Place, p.Text = titleOf(w, first), first.Place, first.Text
	p.Frame = r.Frame(hrefOf(e), w.Isolate(p.Name))
	for _, o := range dates {
		item := newItem(w, o, now)
		soon, name := dayTitle(w, o.Start, now)
		item.Title = strings.TrimSpace(soon + " " + name)
		if o.Place == p.Place {
			item.Place = ""
		}
		if e.Cancelled {
			item.Mark, item.Sign = "", ""
		}
		p.Dates = append(p.Dates, item)
	}
	return p
}

func newItem(w *web.Words, o agenda.Occurrence, now time.Time) agendaItem {
	item := agendaItem{
		Href: hrefOf(o.Event), When: upper(clock(w, o)), Title: titleOf(w, o), Place: o.Place, Off: !takesPlace(o),
	}
	switch {
	case o.Cancelled:
		item.Mark, item.Sign = w.T("agenda.cancelled"), "off"
	case !o.MovedTo.IsZero():
		item.Mark, item.Sign = w.T("agenda.moved-to", "day", dayOf(w, o.MovedTo)), "moved"
	case !o.Was.IsZero() && sameDay(o.Was, o.Start):
		item.Mark, item.Sign = w.T("agenda.other-time"), "moved"
	case !o.Was.IsZero():
		item.Mark, item.Sign = w.T("agenda.moved-from", "day", dayOf(w, o.Was)), "moved"
	case !o.Start.After(now) && !o.AllDay:
		item.Mark, item.Sign, item.Running = upper(w.T("agenda.running")), "clock", true
	}
	return item
}

func hrefOf(e *agenda.Event) string { return "/agenda/" + e.ID }

func titleOf(w *web.Words, o agenda.Occurrence) string {
	if o.Title == "" {
		return w.T("agenda.untitled")
	}
	return o.Title
}

// dayTitle names a day in two parts: "Tomorrow,", "Wednesday 2 December". Only the second part is printed.
func dayTitle(w *web.Words, day, now time.Time) (soon, name string) {
	name = dayOf(w, day)
	switch {
	case sameDay(day, now):
		return w.T("agenda.today"), name
	case sameDay(day, now.AddDate(0, 0, 1)):
		return w.T("agenda.tomorrow"), name
	default:
		return "", upper(name)
	}
}

// dayOf formats a day: "Tuesday 2 December".
func dayOf(w *web.Words, t time.Time) string {
	return w.T("agenda.day", "weekday", w.T("agenda.weekday."+strconv.Itoa(int(t.Weekday()))), "date", w.Day(t))
}

func sameDay(a, b time.Time) bool { return a.Format(time.DateOnly) == b.Format(time.DateOnly) }

// clock says at what time of its day an occurrence takes place.
func clock(w *web.Words, o agenda.Occurrence) string {
	last := o.End
	if o.AllDay {
		last = o.End.AddDate(0, 0, -1) // its last day
	}
	switch long := o.End.Sub(o.Start) > 24*time.Hour && !sameDay(o.Start, last); {
	case o.AllDay && long:
		return w.T("agenda.days", "first", dayOf(w, o.Start), "last", dayOf(w, last))
	case o.AllDay:
		return w.T("agenda.all-day")
	case long:
		return w.T("agenda.long", "first", dayOf(w, o.Start), "from", w.Clock(o.Start), "last", dayOf(w, last), "to", w.Clock(o.End))
	case o.End.Equal(o.Start):
		return w.At(o.Start)
	default:
		return w.T("agenda.span", "from", w.Clock(o.Start), "to", w.Clock(o.End))
	}
}

// soon says when an occurrence takes place, on one line.
func soon(w *web.Words, o agenda.Occurrence, now time.Time) string {
	switch {
	case !o.Start.After(now) && !o.AllDay:
		return w.T("agenda.running")
	case !o.Start.After(now):
		return w.T("agenda.today-short")
	default:
		return w.When(o.Start, now)
	}
}

// upper returns a text with a capital first letter.
func upper(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}

// short cuts a text at the end of a word, after at most that many characters.
func short(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	cut := string(r[:most])
	if at := strings.LastIndexByte(cut, ' '); at > 0 {
		cut = cut[:at]
	}
	return cut + " …"
}
