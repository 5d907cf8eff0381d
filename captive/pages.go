package captive

import (
	"cmp"
	"strings"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/captive/web"
)

// page names a page that is the same for all residents. Those for the States have the State's name.
type page string

const (
	first   page = "first"   // the way to the internet
	online  page = "online"  // the first page of somebody who is on the internet
	ending  page = "ending"  // the same when the session is about to end
	none    page = "none"    // "my session" of somebody who has none
	spent   page = "spent"   // the resident's data is used up
	unknown page = "unknown" // no such device on the hotspot
	busy    page = "busy"    // there is no turn for what was to be done
	failed  page = "error"
	refused page = "refused"
	missing page = "missing"

	signpost page = "signpost" // the way to the first page, for what is no browser

	noLesson      page = "tutorials.missing"
	lessons       page = "tutorials"
	lessonPath    page = "path"
	lesson        page = "lesson"
	story         page = "story"
	packFrame     page = "pack"
	helpers       page = "help"
	accessibility page = "accessibility"

	essential       page = "essential"        // the services that are open to everybody
	essentialOnline page = "essential online" // the same for somebody who is on the internet
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
	busy:                   {Pictogram: "wait", Repeat: true},
	failed:                 {Pictogram: "fault", Press: true},
	refused:                {Pictogram: "fault", Home: true},
	missing:                {Pictogram: "search", Home: true},
	noLesson:               {Pictogram: "search", Lessons: true},
}

// topics are what residents look for services under, each with its pictogram; "own" is what a technician added.
var topics = map[string]string{
	"rights": "euro", "help": "lifebuoy", "health": "cross", "housing": "house", "work": "briefcase", "papers": "card",
	"accounts": "key", "own": "pin",
}

// composers make the pages that are neither a notice nor like the first page.
var composers = map[page]func(*edition, pageKey) web.Page{
	signpost:  (*edition).signpost,
	essential: (*edition).services, essentialOnline: (*edition).services,
	lessons: (*edition).tutorialsPage, lessonPath: (*edition).pathPage, lesson: (*edition).lessonPage,
	story: (*edition).storyPage, packFrame: (*edition).packPage, helpers: (*edition).helpersPage, accessibility: (*edition).accessibilityPage,
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

// compose says what a page that is the same for all residents contains, nil if there is no such page.
func (e *edition) compose(k pageKey) web.Page {
	if make := composers[k.page]; make != nil {
		return make(e, k)
	}
	w, soon := k.words, k.page == ending
	if soon {
		k.page = online
	}
	title := w.T(string(k.page) + ".title")
	if n, ok := notices[k.page]; ok {
		n.Frame = e.frame(w, k.chosen, "/", title)
		n.Stays = k.stays
		n.Lines = e.reason(k.page, w)
		n.Essential = e.view.Essential && (k.page == spent || k.page == page(decide.Exhausted))
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
	p.Essential = e.view.Essential && !p.Online
	if soon {
		p.More = p.Time
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

// signpost is RFC 6585's answer to a program (section 6).
func (e *edition) signpost(k pageKey) web.Page {
	return web.Signpost{Words: k.words, Title: k.words.T("none.title"), To: e.location[0]}
}

// services is the page of the services that are open to everybody. Those that only other services lead to are not on it.
func (e *edition) services(k pageKey) web.Page {
	w := k.words
	p := web.Essential{
		Frame: e.frame(w, k.chosen, "/essential", w.T("essential.title")), OffersStay: k.page == essential,
	}
	p.Stays = k.stays
	for _, s := range (config.Essential{Names: e.view.Services}).Services() {
		if s.Site == "" {
			continue
		}
		topic := cmp.Or(s.Topic, "own")
		if last := len(p.Topics) - 1; last < 0 || p.Topics[last].Key != topic {
			p.Topics = append(p.Topics, web.Topic{
				Key: topic, Title: w.T("essential.topic." + topic), Pictogram: topics[topic],
			})
		}
		t := &p.Topics[len(p.Topics)-1]
		t.Services = append(t.Services, service(w, s))
	}
	return p
}

// service is what a page says of a service: a technician's own has but its name.
func service(w *web.Words, s config.Service) web.Service {
	label := s.Name
	if s.Topic != "" {
		label = w.T("essential.service." + s.Name)
	}
	title, purpose, _ := strings.Cut(label, "\n")
	return web.Service{Title: title, Purpose: purpose, Host: s.Site}
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
	if s.Extends {
		p.More = w.Duration(e.view.SessionLength)
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
