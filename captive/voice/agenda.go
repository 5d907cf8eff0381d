package voice

import (
	"bytes"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"passerelle/captive/search"
	"passerelle/captive/voice/agenda"
	"passerelle/captive/web"
)

const (
	agendaDays   = 14  // days that the agenda shows, including today
	datesAhead   = 60  // days ahead for which an event's page lists dates
	maxDates     = 10  // on an event's page
	maxOnPage    = 50  // occurrences on a page of the agenda
	maxLineTitle = 100 // characters of a title on such a page
	maxLinePlace = 80
	maxDoor      = 60
	maxOwnAgenda = 500 // events in the file of all of them
)

// calendar is the agenda's part of the share.
type calendar struct {
	store agenda.Store
	log   *slog.Logger
	now   func() time.Time // in the box's zone
	shown atomic.Pointer[shownDays]

	mu     sync.Mutex
	events []*agenda.Event // those that are not over
}

// shownDays is what the agenda shows until midnight, or until it is read again.
type shownDays struct {
	from, until time.Time // the midnights that begin and end today
	events      []*agenda.Event
	list        []agenda.Occurrence
	index       *search.Index // its documents are events
	found       []int         // for each document, the index of its first occurrence in list
	turns       []time.Time   // when something begins or ends, sorted
	version     uint64        // the version at from
	file        func() []byte // a calendar file with all events, for phones
}

func newCalendar(o Options) *calendar {
	return &calendar{store: agenda.Store{Dir: o.Dir}, log: o.Log, now: o.Now}
}

func (c *calendar) routes() map[string]web.Route {
	return map[string]web.Route{
		"/agenda":     {Get: c.overview},
		"/agenda/":    {Get: c.event},
		"/agenda.ics": {Get: c.all},
	}
}

// refresh reads the events again. Those that cannot be read are left out.
func (c *calendar) refresh() {
	events, problems := c.store.Events()
	for _, err := range problems {
		c.log.Warn("a part of the agenda is missing", "err", err)
	}
	now := c.now()
	events = slices.DeleteFunc(events, func(e *agenda.Event) bool { return e.Ended(now) })
	c.mu.Lock()
	c.events = slices.Clip(events)
	c.mu.Unlock()
	c.show(now)
}

// save does nothing, since commands write the agenda's changes to disk themselves.
func (c *calendar) save() {}

// current returns the shownDays for a time, and computes them if necessary.
func (c *calendar) current(now time.Time) *shownDays {
	s := c.shown.Load()
	if s == nil || now.Before(s.from) || !now.Before(s.until) || s.from.Location().String() != now.Location().String() {
		s = c.show(now)
	}
	return s
}

// show computes the shownDays of a day.
func (c *calendar) show(now time.Time) *shownDays {
	c.mu.Lock()
	defer c.mu.Unlock()
	y, m, d := now.Date()
	midnight := func(days int) time.Time { return time.Date(y, m, d+days, 0, 0, 0, 0, now.Location()) }
	s := &shownDays{from: midnight(0), until: midnight(1), events: c.events}
	s.list = agenda.Occurrences(c.events, s.from, midnight(agendaDays))
	var builder search.Builder
	seen := make(map[*agenda.Event]bool)
	for i, o := range s.list {
		s.turns = append(s.turns, o.Start, overAt(o))
		if seen[o.Event] || !o.MovedTo.IsZero() {
			continue
		}
		seen[o.Event] = true
		builder.Document()
		builder.Add(o.Title, search.Whole, 10)
		builder.Add(o.Place, search.Whole, 4)
		builder.Add(o.Text, search.Whole, 3)
		s.found = append(s.found, i)
	}
	s.index = builder.Index()
	slices.SortFunc(s.turns, time.Time.Compare)
	if before := c.shown.Load(); before != nil {
		s.version = before.version + uint64(len(before.turns)) + 1
	}
	s.file = sync.OnceValue(func() []byte { return c.export(s.from, inOrder(s)...) })
	c.shown.Store(s)
	return s
}

// inOrder returns at most maxOwnAgenda events, those that are shown first.
func inOrder(s *shownDays) []*agenda.Event {
	var all []*agenda.Event
	seen := make(map[*agenda.Event]bool)
	add := func(e *agenda.Event) {
		if !seen[e] && len(all) < maxOwnAgenda {
			seen[e] = true
			all = append(all, e)
		}
	}
	for _, o := range s.list {
		add(o.Event)
	}
	for _, e := range s.events {
		add(e)
	}
	return all
}

// version changes whenever the pages do: when the agenda is read again, at midnight, and when something begins or ends.
func (c *calendar) version() uint64 {
	now := c.now()
	s := c.current(now)
	passed, _ := slices.BinarySearchFunc(s.turns, now, func(t, now time.Time) int {
		if t.After(now) {
			return 1
		}
		return -1
	})
	return s.version + uint64(passed)
}

// ahead returns the occurrences that are not over yet.
func (s *shownDays) ahead(now time.Time) []agenda.Occurrence {
	return slices.DeleteFunc(slices.Clone(s.list), func(o agenda.Occurrence) bool { return over(o, now) })
}

// overAt returns when an occurrence is over. If its end is not known, that is an hour after it began.
func overAt(o agenda.Occurrence) time.Time {
	if o.End.Equal(o.Start) {
		return o.Start.Add(time.Hour)
	}
	return o.End
}

func over(o agenda.Occurrence, now time.Time) bool { return !now.Before(overAt(o)) }

// takesPlace says whether an occurrence is neither cancelled nor moved away.
func takesPlace(o agenda.Occurrence) bool { return !o.Cancelled && o.MovedTo.IsZero() }

// doors returns a door to the agenda if something is coming up or going on. The door names the first occurrence that begins today or
// later and is not over, or else one that began on an earlier day.
func (c *calendar) doors(w *web.Words) []web.Door {
	now := c.now()
	s := c.current(now)
	coming := slices.DeleteFunc(s.ahead(now), func(o agenda.Occurrence) bool { return !takesPlace(o) })
	if len(coming) == 0 {
		return nil
	}
	next := max(0, slices.IndexFunc(coming, func(o agenda.Occurrence) bool { return !o.Start.Before(s.from) }))
	o := coming[next]
	return []web.Door{{
		Href: "/agenda", Pictogram: "calendar", Title: w.T("agenda.title"),
		Text: w.T("agenda.next", "when", upper(soon(w, o, now)), "title", short(titleOf(w, o), maxDoor)),
	}}
}

// search finds events.
func (c *calendar) search(w *web.Words, query string, most int) (found web.Found) {
	now := c.now()
	s := c.current(now)
	results, err := search.Search(query, func(_, doc int) bool { return !over(s.list[s.found[doc]], now) }, s.index)
	if err != nil {
		c.log.Error("search the agenda", "err", err)
		return found
	}
	found.Title, found.Pictogram = w.T("agenda.title"), "calendar"
	for i, hit := range results.Best(most) {
		if i == 0 {
			found.Sure = hit.Sure
		}
		o := s.list[s.found[hit.Doc]]
		text := upper(soon(w, o, now))
		if o.Cancelled {
			text = w.T("agenda.cancelled")
		}
		found.Tiles = append(found.Tiles, web.Tile{Href: hrefOf(o.Event), Title: titleOf(w, o), Text: text, Picture: calendarPicture})
	}
	return found
}

// calendarPicture is the picture of an event in search results.
const calendarPicture template.HTML = `<svg class="pictogram" viewBox="0 0 24 24"><path d="M4 5.5h16v15H4zM4 10h16M8.5 3v4M15.5 3v4M9 15.5l2 2 4-4"/></svg>`

// overview lists the next days, with maxOnPage occurrences on a page.
func (c *calendar) overview(w http.ResponseWriter, r *web.Request) {
	number := max(1, pageNumber(r.URL.Query().Get("page")))
	name := "/agenda " + strconv.Itoa(number)
	if r.Kept(w, name) {
		return
	}
	now := c.now()
	list := c.current(now).ahead(now)
	pages := max(1, (len(list)+maxOnPage-1)/maxOnPage)
	if number > pages {
		c.missing(w, r)
		return
	}
	r.Keep(w, name, newAgenda(r, now, list, number, pages), http.StatusOK)
}

// pageNumber parses a page's number; it returns 0 if it is invalid.
func pageNumber(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 1000 {
		return 0
	}
	return n
}

// event serves an event's page, or its calendar file for a phone.
func (c *calendar) event(w http.ResponseWriter, r *web.Request) {
	id := strings.TrimPrefix(r.URL.Path, "/agenda/")
	if id == "" {
		c.overview(w, r)
		return
	}
	if r.Kept(w, r.URL.Path) {
		return
	}
	id, file := strings.CutSuffix(id, ".ics")
	now := c.now()
	s := c.current(now)
	at := slices.IndexFunc(s.events, func(e *agenda.Event) bool { return e.ID == id })
	if at < 0 {
		c.missing(w, r)
		return
	}
	e := s.events[at]
	if file {
		send(w, "agenda-"+e.ID+".ics", c.export(now, e))
		return
	}
	dates := agenda.Occurrences([]*agenda.Event{e}, s.from, s.from.AddDate(0, 0, datesAhead))
	dates = slices.DeleteFunc(dates, func(o agenda.Occurrence) bool { return over(o, now) })
	r.Keep(w, r.URL.Path, newEvent(r, now, e, dates[:min(len(dates), maxDates)]), http.StatusOK)
}

// all serves a calendar file with all events, for phones.
func (c *calendar) all(w http.ResponseWriter, r *web.Request) {
	send(w, "agenda.ics", c.current(c.now()).file())
}

// export returns events as a calendar file for phones.
func (c *calendar) export(now time.Time, events ...*agenda.Event) []byte {
	var b bytes.Buffer
	err := agenda.ForPhones{Box: now.Location(), Now: now}.Write(&b, events...)
	if err != nil {
		c.log.Error("write a calendar", "err", err) // unexpected: writing to a buffer does not fail
	}
	return b.Bytes()
}

// send answers with a calendar file, which a phone opens with its calendar app.
func send(w http.ResponseWriter, name string, file []byte) {
	h := w.Header()
	h.Set("Content-Type", "text/calendar; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Content-Length", strconv.Itoa(len(file)))
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.Write(file) // an error means that the client is gone
}

// missing says that there is no such event.
func (c *calendar) missing(w http.ResponseWriter, r *web.Request) {
	const name = "agenda.missing"
	if !r.Kept(w, name) {
		r.Keep(w, name, web.Notice{
			Frame:     r.Frame("/agenda", r.Words.T("agenda.missing.title")),
			Pictogram: "calendar", Lines: r.Words.Lines("agenda.missing.text"),
			To: &web.Link{Href: "/agenda", Text: r.Words.T("agenda.back")},
		}, http.StatusNotFound)
	}
}
