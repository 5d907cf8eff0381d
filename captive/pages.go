package captive

import (
	"time"

	"passerelle/appliance/decide"
	"passerelle/captive/web"
)

// page names a page that is the same for all residents. Those for the States have the State's name.
type page string

const (
	first   page = "first"   // the way to the internet
	online  page = "online"  // the first page of somebody who is on the internet
	none    page = "none"    // "my session" of somebody who has none
	spent   page = "spent"   // the resident's data is used up
	unknown page = "unknown" // no such device on the hotspot
	busy    page = "busy"
	failed  page = "error"
	refused page = "refused"
	missing page = "missing"
)

// notices are the pages that say why something is not to be had.
var notices = map[page]web.Notice{
	page(decide.Starting):  {Pictogram: "wait", Retry: true},
	page(decide.Fault):     {Pictogram: "fault", OffersStay: true},
	page(decide.Setup):     {Pictogram: "wait", OffersStay: true},
	page(decide.Paused):    {Pictogram: "paused", Retry: true, OffersStay: true},
	page(decide.Closed):    {Pictogram: "closed", OffersStay: true},
	page(decide.Exhausted): {Pictogram: "empty", OffersStay: true},
	page(decide.Offline):   {Pictogram: "offline", Retry: true, OffersStay: true},
	spent:                  {Pictogram: "empty", OffersStay: true},
	unknown:                {Pictogram: "wifi", Press: true},
	busy:                   {Pictogram: "wait", Press: true},
	failed:                 {Pictogram: "fault", Press: true},
	refused:                {Pictogram: "fault", Home: true},
	missing:                {Pictogram: "search", Home: true},
}

// frame is what a page has around it.
func (e *edition) frame(w *web.Words, chosen bool, path, title string) web.Frame {
	f := web.Frame{
		Words: w, Others: e.languages.Others(w), Title: title, Path: path,
		Centre: e.view.Centre, Hostname: e.view.Hostname,
	}
	if chosen {
		f.Language = w.Code
	}
	return f
}

// compose says what a page that is the same for all residents contains.
func (e *edition) compose(k pageKey) web.Page {
	w, title := k.words, k.words.T(string(k.page)+".title")
	if n, ok := notices[k.page]; ok {
		n.Frame = e.frame(w, k.chosen, "/", title)
		n.Stays = k.stays
		n.Lines = e.reason(k.page, w)
		return n
	}
	path := "/"
	if k.page == none {
		path = "/session"
	}
	p := web.First{
		Frame:  e.frame(w, k.chosen, path, title),
		Lead:   w.Lines(string(k.page) + ".lead"),
		Online: k.page == online,
		Time:   w.Duration(e.view.SessionLength),
		Speed:  w.Speed(e.view.Download),
		Data:   w.T("first.no-data"),
	}
	p.Stays = k.stays
	if data := e.view.Data; data > 0 {
		p.Data, p.Video = w.T("first.data", "size", w.Size(data)), w.Video(data)
	}
	return p
}

// reason says in a notice's words why something is not to be had, and when it will be if that is known.
func (e *edition) reason(p page, w *web.Words) []string {
	switch p {
	case page(decide.Closed):
		return e.back(p, w, e.view.Opens)
	case page(decide.Exhausted):
		return append(w.Lines("exhausted.text"), e.back(p, w, e.view.Refills)...)
	case spent:
		lines := w.Lines("spent.text-no-size")
		if e.view.Data > 0 {
			lines = w.Lines("spent.text", "size", w.Size(e.view.Data))
		}
		return append(lines, e.back(p, w, e.view.DataResets)...)
	default:
		return w.Lines(string(p) + ".text")
	}
}

// back says when something is to be had again, or whom to ask.
func (e *edition) back(p page, w *web.Words, t time.Time) []string {
	if !t.After(e.from) {
		return w.Lines(string(p) + ".unknown")
	}
	return w.Lines(string(p)+".when", "when", w.When(t.In(location(e.view)), e.from))
}

// mySession is the page of a resident's running session.
func (e *edition) mySession(w *web.Words, chosen bool, s Session, hold bool) web.Page {
	p := web.Session{
		Frame:     e.frame(w, chosen, "/session", w.T("session.title")),
		TimeLeft:  w.DurationParts(s.Left),
		TimeGiven: w.Duration(s.Length),
		TimeShare: share(uint64(max(s.Left, 0)), uint64(max(s.Length, 0))),
	}
	if !hold {
		p.Refresh = 60
	}
	if s.Limited {
		p.DataLeft = []web.Amount{w.SizeParts(s.DataLeft)}
		p.DataGiven = w.Size(s.DataGiven)
		p.DataShare = share(s.DataLeft, s.DataGiven)
	}
	return p
}

// share returns how much of the whole is left, in per cent.
func share(left, whole uint64) int {
	if whole == 0 {
		return 0
	}
	return int(min(100*(float64(left)/float64(whole)), 100))
}
