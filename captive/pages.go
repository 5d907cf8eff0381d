package captive

import (
	"cmp"
	"strings"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/web"
)

// page names a page that is the same for all residents. A State's page has the State's name.
type page string

const (
	first   page = "first"   // how to get online
	online  page = "online"  // the first page of a resident who is online
	ending  page = "ending"  // the same when the session is about to expire
	none    page = "none"    // the session page of a resident without a session
	ended   page = "ended"   // the first page after the resident ended the session
	spent   page = "spent"   // the resident's data is used up
	unknown page = "unknown" // no such device on the hotspot
	busy    page = "busy"    // too many requests at once
	failed  page = "error"
	refused page = "refused"
	missing page = "missing"

	signpost page = "signpost" // the redirect page for programs that are not browsers

	accessibility page = "accessibility"

	essential       page = "essential"        // the services of the walled garden
	essentialOnline page = "essential online" // the same for a resident who is online
)

// notices are the pages that say why something is not available.
var notices = map[page]web.Notice{
	page(state.Starting):  {Pictogram: "wait", Retry: true},
	page(state.Fault):     {Pictogram: "fault", OffersStay: true},
	page(state.Setup):     {Pictogram: "wait", OffersStay: true},
	page(state.Paused):    {Pictogram: "paused", OffersStay: true},
	page(state.Closed):    {Pictogram: "closed", OffersStay: true},
	page(state.Exhausted): {Pictogram: "empty", OffersStay: true},
	page(state.Offline):   {Pictogram: "offline", Retry: true, OffersStay: true},
	spent:                 {Pictogram: "empty", OffersStay: true},
	unknown:               {Pictogram: "wifi", Press: true},
	busy:                  {Pictogram: "wait", Repeat: true},
	failed:                {Pictogram: "fault", Press: true},
	refused:               {Pictogram: "fault", Home: true},
	missing:               {Pictogram: "search", Home: true},
}

// offersStay says whether a page has the button "stay here", which dismisses the portal.
func (p page) offersStay() bool {
	return p == first || p == none || p == ended || p == essential || notices[p].OffersStay
}

// compose returns a page that is the same for all residents.
func (r *request) compose(p page, stays bool) web.Page {
	w := r.Words
	switch p {
	case signpost: // RFC 6585, section 6: an answer for programs
		return web.Signpost{Words: w, Title: w.T("none.title"), To: r.location[0]}
	case accessibility:
		return web.Accessibility{Frame: r.Frame("/accessibility", w.T("accessibility.title"))}
	case essential, essentialOnline:
		e := r.services()
		e.Stays, e.OffersStay = stays, p == essential
		return e
	}
	soon := p == ending
	if soon {
		p = online
	}
	title := w.T(string(p) + ".title")
	if n, ok := notices[p]; ok {
		n.Frame = r.Frame("/", title)
		n.Stays = stays
		n.Lines = r.reason(p)
		n.Doors = r.doors()
		n.Essential = r.site.Essential && (p == spent || p == page(state.Exhausted))
		return n
	}
	path := "/"
	switch p {
	case none:
		path = "/session"
	case ended:
		path = "/session/end"
	}
	f := web.First{
		Frame:  r.Frame(path, title),
		Lead:   w.Lines(string(p) + ".lead"),
		Online: p == online,
		Time:   w.Duration(r.site.SessionLength),
		Speed:  w.Speed(r.site.Download),
		Data:   w.T("first.no-data"),
		Doors:  r.doors(),
	}
	f.Essential = r.site.Essential && !f.Online
	if all := r.site.Notice; all != nil {
		f.Notice = (*all)[w.Code]
	}
	if soon {
		f.More = f.Time
	}
	f.Stays = stays
	if data := r.site.Data; data > 0 {
		if f.Data, f.Video = w.Size(data), w.Video(data); f.Video == "" {
			f.Data = w.T("first.data", "size", f.Data)
		}
	}
	return f
}

// doors are the links into the shares.
func (r *request) doors() (all []web.Door) {
	for _, share := range r.server.shares {
		all = append(all, share.Doors(r.Words)...)
	}
	return all
}

// reason says why something is not available, and until when if that is known.
func (r *request) reason(p page) []string {
	w := r.Words
	switch p {
	case page(state.Closed):
		return r.back(p, r.site.Opens)
	case page(state.Exhausted):
		return append(w.Lines("exhausted.text"), r.back(p, r.site.Resets)...)
	case page(state.Paused):
		lines := w.Lines("paused.text")
		if t := r.site.Resumes; t.After(r.from) {
			lines[1] = w.T("paused.until", "when", w.When(t.In(r.site.Location), r.from)) // replaces the line that says whom to ask
		}
		return lines
	case spent:
		lines := w.Lines("spent.text-no-size")
		if r.site.Data > 0 {
			lines = w.Lines("spent.text", "size", w.Size(r.site.Data))
			if video := w.Video(r.site.Data); video != "" {
				lines = w.Lines("spent.text-video", "time", video, "size", w.Size(r.site.Data))
			}
		}
		return append(lines, r.back(p, r.site.DataResets)...)
	default:
		return w.Lines(string(p) + ".text")
	}
}

// back says when something is available again, or whom to ask.
func (r *request) back(p page, t time.Time) []string {
	w := r.Words
	if !t.After(r.from) {
		return w.Lines(string(p) + ".unknown")
	}
	return w.Lines(string(p)+".when", "when", w.When(t.In(r.site.Location), r.from))
}

// services is the page of the walled garden. Services that other services merely depend on are not listed.
func (r *request) services() web.Essential {
	w := r.Words
	p := web.Essential{Frame: r.Frame("/essential", w.T("essential.title"))}
	if r.site.Services == nil {
		return p
	}
	for _, s := range *r.site.Services {
		if s.Site == "" {
			continue
		}
		topic := cmp.Or(s.Topic, "own")
		if last := len(p.Topics) - 1; last < 0 || p.Topics[last].Key != topic {
			p.Topics = append(p.Topics, web.Topic{
				Key: topic, Title: w.T("essential.topic." + topic), Pictogram: web.TopicPictograms[topic],
			})
		}
		t := &p.Topics[len(p.Topics)-1]
		t.Services = append(t.Services, service(w, s))
	}
	return p
}

// service describes a service. A service that a technician added has only its name.
func service(w *web.Words, s state.Service) web.Service {
	label := s.Name
	if s.Topic != "" {
		label = w.T("essential.service." + s.Name)
	}
	title, purpose, _ := strings.Cut(label, "\n")
	shown := web.Service{Name: s.Name, Title: title, Purpose: purpose, Host: s.Site}
	if p, ok := phones[s.Name]; ok {
		shown.Phone = p.number
		shown.Checked = w.Month(time.Date(2026, p.checked, 1, 12, 0, 0, 0, time.UTC))
	}
	return shown
}

// sessionPage is the page of a resident's running session.
func (r *request) sessionPage(hold bool) web.Page {
	w, s := r.Words, r.session
	p := web.Session{
		Frame:     r.Frame("/session", w.T("session.title")),
		TimeLeft:  w.DurationParts(s.Left),
		TimeGiven: w.Duration(s.Length),
		TimeShare: share(uint64(max(s.Left, 0)), uint64(max(s.Length, 0))),
	}
	for _, door := range r.doors() {
		if door.Session {
			p.Doors = append(p.Doors, door)
		}
	}
	if !hold {
		p.Refresh = 60
	}
	if s.Extends {
		p.More = w.Duration(r.site.SessionLength)
	}
	p.Slow = s.Slow
	if s.Limited {
		left, given := w.SizeParts(s.DataLeft), w.Size(s.DataGiven)
		p.DataLeft, p.DataOf = w.VideoParts(s.DataLeft), w.T("session.data-both", "left", left.String(), "size", given)
		if p.Video = p.DataLeft != nil; !p.Video {
			p.DataLeft, p.DataOf = []web.Amount{left}, w.T("session.data-of", "size", given)
		}
		p.DataShare = share(s.DataLeft, s.DataGiven)
	}
	return p
}

// share returns the remaining part of the whole, in percent.
func share(left, whole uint64) int {
	if whole == 0 {
		return 0
	}
	return int(min(100*(float64(left)/float64(whole)), 100))
}
