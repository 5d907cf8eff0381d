package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"passerelle/captive/web"
)

// Donation is a donation as its lender sees it. Sizes are bytes. Left, Reserve, Granted and Used are parts of the cap
// that do not overlap; what they leave of it is the box's own use and the margin that keeps the promise.
type Donation struct {
	Name  string
	State State
	Until time.Time // State Closed: when it opens; Spent: when its cap refills; zero if never or unknown
	Why   string    // State Broken: an English sentence for whoever repairs the line

	Cap     uint64 // per period; 0: none
	Left    uint64 // for residents
	Reserve uint64 // left for essential services only
	Granted uint64 // set aside: the kernel may spend it by itself
	Used    uint64 // crossed the line in this period, counted without a cap, too
	PerDay  uint64 // what a day may use so that the cap lasts the period; 0: nothing to say

	Broadcasts      uint64 // that came from the lender's own network in this period
	BroadcastsCount bool   // they are in Used

	Period        string    // "day", "week", "month" or "once"
	Began, Resets time.Time // the period; Resets is zero if it never ends
	Days          []Day     // those of the last 31 that are known, or more, in any order

	Lost        bool // the account was lost: the cap counts as used until the period is over
	ClockUnsure bool // nobody knows what time it is: until somebody does, no cap refills
}

// Day is what crossed the line in a day.
type Day struct {
	Date  time.Time // any moment of it, in the box's zone
	Bytes uint64
}

// State is what a donation is doing.
type State string

// The States. The first that applies is the donation's.
const (
	Paused State = "paused" // its lender paused it
	Closed State = "closed" // outside its opening hours
	Spent  State = "spent"  // its cap is spent
	Broken State = "broken" // its uplink does not work
	Held   State = "held"   // the box shares nothing now, for a reason of its own
	Ready  State = "ready"  // another donation is in use
	Shared State = "shared" // residents use it
)

var pictograms = map[State]string{
	Paused: "paused", Closed: "closed", Spent: "empty", Broken: "offline", Held: "wait", Ready: "done", Shared: "share",
}

// itsLender is who pauses a donation by its page.
const itsLender = "its lender"

const lenderPath = "/lender/"

// IssueLink makes a new link for a donation and returns its path. The link before it stops working.
func IssueLink(tokens Tokens, donation string) (path string, err error) {
	token := strings.ToLower(rand.Text())
	if err := tokens.Set(donation, hash(token)); err != nil {
		return "", fmt.Errorf("keep the link of %q: %w", donation, err)
	}
	return lenderPath + token, nil
}

// hash is what is kept of a token. Who types one in need not mind capitals.
func hash(token string) [sha256.Size]byte { return sha256.Sum256([]byte(strings.ToLower(token))) }

// donation returns the donation of the request's link, and the path of its page.
func (s *Server) donation(r *request) (d Donation, path string, ok bool) {
	token := r.PathValue("token")
	name, ok := s.Tokens.Donation(hash(token))
	if ok {
		d, ok = s.Lenders.Donation(name)
	}
	return d, lenderPath + token, ok
}

// lender is a lender's page.
func (s *Server) lender(w http.ResponseWriter, r *request) {
	d, path, ok := s.donation(r)
	if !ok {
		s.lost(w, r)
		return
	}
	s.serve(w, r, r.lenderPage(path, d, s.Now()), http.StatusOK)
}

func (s *Server) pause(w http.ResponseWriter, r *request)  { s.setPaused(w, r, true) }
func (s *Server) resume(w http.ResponseWriter, r *request) { s.setPaused(w, r, false) }

func (s *Server) setPaused(w http.ResponseWriter, r *request, paused bool) {
	d, path, ok := s.donation(r)
	if !ok {
		s.lost(w, r)
		return
	}
	notice := web.Notice{Pictogram: "fault", Retry: true}
	if status := web.CheckChange(w, r.Request); status != http.StatusOK {
		notice.Frame = r.frame(path, r.words.T("refused.title"))
		notice.Lines = r.words.Lines("lender.refused")
		s.serve(w, r, notice, status)
		return
	}
	web.Yield(r.Request)
	if err := s.Lenders.SetDonationPaused(r.Context(), d.Name, itsLender, paused); r.Context().Err() != nil {
		return // who pressed went away
	} else if err != nil {
		s.Log.Error("pause or resume a donation", "donation", d.Name, "paused", paused, "err", err)
		notice.Frame = r.frame(path, r.words.T("error.title"))
		notice.Lines = r.words.Lines("error.text")
		s.serve(w, r, notice, http.StatusInternalServerError)
		return
	}
	if r.chosen {
		path += "?lang=" + r.words.Code
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r.Request, path, http.StatusSeeOther)
}

// lost says that a link leads to no donation.
func (s *Server) lost(w http.ResponseWriter, r *request) {
	s.serve(w, r, web.Notice{
		Frame:     r.frame(r.URL.Path, r.words.T("lost.title")),
		Pictogram: "search", Lines: r.words.Lines("lost.text"),
	}, http.StatusNotFound)
}

// lenderPage says what a donation's page contains.
func (r *request) lenderPage(path string, d Donation, now time.Time) web.Lender {
	w, key := r.words, "lender."+string(d.State)
	p := web.Lender{
		Frame:     r.frame(path, w.T(key+".title")),
		Donation:  d.Name,
		Pictogram: pictograms[d.State],
		Good:      d.State == Shared || d.State == Ready,
		Why:       d.Why,
		Paused:    d.State == Paused,
		Minor:     d.State != Paused && d.Cap != 0 && d.Left+d.Granted == 0, // nothing is left to pause
	}
	switch when := w.When(d.Until.In(r.site.Location), now); {
	case d.State != Closed && d.State != Spent:
		p.Lines = w.Lines(key + ".text")
	case d.State == Spent && d.Period != "once" && (d.ClockUnsure || d.Until.IsZero()):
		p.Lines = w.Lines("lender.untimed")
	case d.Until.After(now):
		p.Lines = w.Lines(key+".when", "when", when)
	default:
		p.Lines = w.Lines(key + ".unknown")
	}
	switch {
	case d.State == Spent && d.Lost:
		p.Title = w.T("lender.uncounted.title")
		p.Lines = append(w.Lines("lender.uncounted.text"), p.Lines...)
	case d.State == Spent:
		p.Lines = append(w.Lines(key+".text"), p.Lines...)
	}
	r.account(&p, d, now)
	if d.Broadcasts != 0 && d.BroadcastsCount {
		p.Terms = append(p.Terms, w.Lines("lender.broadcast-counts", "size", w.Size(d.Broadcasts))...)
	} else if d.Broadcasts != 0 {
		p.Terms = append(p.Terms, w.Lines("lender.broadcast-apart", "size", w.Size(d.Broadcasts))...)
	}
	r.days(&p, d, now)
	return p
}

// account fills in what is left of the cap, or what is used without one.
func (r *request) account(p *web.Lender, d Donation, now time.Time) {
	w := r.words
	if d.Cap == 0 {
		p.Account, p.Big = w.T("lender.used."+d.Period), []web.Amount{w.SizeParts(d.Used)}
		p.Terms = w.Lines("lender.no-cap")
		return
	}
	p.Account, p.Big = w.T("lender.left."+d.Period), []web.Amount{w.SizeParts(d.Left)}
	p.Terms = w.Lines("lender.cap."+d.Period, "size", w.Size(d.Cap))
	switch {
	case d.ClockUnsure && d.Period != "once" && d.State != Spent: // there it is said above
		p.Terms = append(p.Terms, w.Lines("lender.untimed")...)
	case d.Resets.After(now) && !d.ClockUnsure:
		p.Terms = append(p.Terms, w.T("lender.resets", "when", w.When(d.Resets.In(r.site.Location), now)))
	}
	if !d.Lost { // what was used is not known
		r.parts(p, d)
	}
}

// parts cuts the cap up. What the other parts leave of it is kept, for the box's own use and so that nothing goes over;
// it is written as what they leave as they are written, so that all add up to the cap.
func (r *request) parts(p *web.Lender, d Donation) {
	w := r.words
	rest, shown := d.Cap, d.Cap
	add := func(kind string, bytes uint64, size string) {
		p.Parts = append(p.Parts, web.Part{Kind: kind, Label: w.T("lender.part-" + kind), Bytes: bytes, Size: size})
	}
	for _, part := range []struct {
		kind  string
		bytes uint64
	}{{"left", d.Left}, {"reserve", d.Reserve}, {"granted", d.Granted}, {"used", d.Used}} {
		rest -= min(rest, part.bytes)
		shown -= min(shown, web.Shown(part.bytes))
		if part.bytes > 0 || part.kind == "left" || part.kind == "used" {
			add(part.kind, part.bytes, w.Size(part.bytes))
		}
	}
	if web.Shown(shown) > 0 {
		used := p.Parts[len(p.Parts)-1]
		p.Parts = p.Parts[:len(p.Parts)-1]
		add("kept", rest, w.Size(shown))
		p.Parts = append(p.Parts, used)
	}
	web.Place(d.Cap, p.Parts)
}

// chartDays is how many days are drawn if the period has not a good number of them.
const chartDays = 31

// days fills in what each day used: the period's, or the last 31 if the period is a day or never ends. If nobody knows
// what day it is, the last one that is known stands for today.
func (r *request) days(p *web.Lender, d Donation, now time.Time) {
	w := r.words
	date := func(t time.Time) time.Time {
		y, m, day := t.In(r.site.Location).Date()
		return time.Date(y, m, day, 0, 0, 0, 0, time.UTC) // where every day has 24 hours
	}
	const day = 24 * time.Hour
	today, last, all := date(now), time.Time{}, d.Used
	used := map[time.Time]uint64{}
	for _, x := range d.Days {
		used[date(x.Date)] = x.Bytes
		all = max(all, x.Bytes)
		if x.Date.After(last) {
			last = x.Date
		}
	}
	if d.ClockUnsure {
		today = date(last)
	}
	begin, end := today.AddDate(0, 0, 1-chartDays), today.Add(day)
	if length := date(d.Resets).Sub(date(d.Began)); length > day && length <= chartDays*day {
		begin, end = date(d.Began), date(d.Resets)
	}
	most, best := uint64(0), today
	var values []uint64
	for t := begin; !t.After(today) && t.Before(end); t = t.Add(day) {
		bytes := used[t]
		if bytes > most {
			most, best = bytes, t
		}
		values = append(values, bytes)
		p.Days = append(p.Days, web.LentDay{Day: w.Day(t), Bytes: bytes})
	}
	if most == 0 {
		p.Days = nil
		switch {
		case d.Lost:
			p.Unused = w.Lines("lender.undated")
		case all == 0:
			p.Unused = w.Lines("lender.unused")
		case d.ClockUnsure || d.Used > 0:
			p.Unused = w.Lines("lender.undated")
		default:
			p.Unused = w.Lines("lender.unused-since", "day", w.Day(begin))
		}
		return
	}
	p.Most = w.T("lender.most", "day", w.Day(best), "size", w.Size(most))
	p.Begins, p.Ends = w.Day(begin), w.Day(end.Add(-day))
	line := d.PerDay
	if d.Left+d.Granted == 0 {
		line = 0 // no day may use anything
	}
	if line > 0 {
		p.Pace = w.T("lender.pace", "size", w.Size(line))
	}
	p.Chart = web.NewChart(values, int(end.Sub(begin)/day), line)
}
