package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/lend"
	"passerelle/captive/web"
)

// State is what a donation is doing.
type State string

// The States. A donation has the first one that applies.
const (
	Paused State = "paused" // its lender or a technician paused it
	Closed State = "closed" // outside its opening hours
	Spent  State = "spent"  // its cap is spent
	Broken State = "broken" // its uplink does not work
	Held   State = "held"   // the box itself shares nothing now
	Ready  State = "ready"  // another donation is in use
	Shared State = "shared" // residents use it
)

// loan is a donation, with what its lender's page needs besides.
type loan struct {
	state.Donation
	doing   State
	until   time.Time // when Paused, Closed or Spent ends; zero if never or unknown
	untimed bool      // the clock is not trusted, so no cap resets
}

func newLoan(d state.Donation, box state.Status) loan {
	l := loan{Donation: d, doing: stateOf(d, box.State), untimed: !box.Clock.Trusted}
	switch l.doing {
	case Paused:
		l.until = d.PausedUntil
	case Closed:
		l.until = d.Opens
	case Spent:
		l.until = d.Resets
	}
	return l
}

func stateOf(d state.Donation, box state.State) State {
	switch {
	case d.PausedBy != "":
		return Paused
	case !d.Open:
		return Closed
	case d.Spent:
		return Spent
	case !d.Works:
		return Broken
	case d.Chosen:
		return Shared
	case box == state.Sharing:
		return Ready
	}
	return Held
}

var pictograms = map[State]string{
	Paused: "paused", Closed: "closed", Spent: "empty", Broken: "offline", Held: "wait", Ready: "done", Shared: "share",
}

// itsLender names the lender as who paused a donation.
const itsLender = "its lender"

const lenderPath = "/lender/"

// IssueLink creates a new link for a donation, and returns its path. The previous link is revoked.
func IssueLink(tokens Tokens, donation string) (path string, err error) {
	token := strings.ToLower(rand.Text())
	if err := tokens.Set(donation, hash(token)); err != nil {
		return "", fmt.Errorf("store the link of %q: %w", donation, err)
	}
	return lenderPath + token, nil
}

// hash returns the stored form of a token. Tokens are not case-sensitive, since people may type them.
func hash(token string) [sha256.Size]byte { return sha256.Sum256([]byte(strings.ToLower(token))) }

// loan returns the donation that the request's link belongs to, and the path of its page. ok is false if the link is unknown or
// the donation is no longer configured.
func (s *Server) loan(r *request) (l loan, path string, ok bool) {
	token := r.PathValue("token")
	name, ok := s.Tokens.Donation(hash(token))
	box := s.Box.Status()
	i := slices.IndexFunc(box.Donations, func(d state.Donation) bool { return ok && d.Name == name })
	if i < 0 {
		return loan{}, "", false
	}
	return newLoan(box.Donations[i], box), lenderPath + token, true
}

// lender serves a lender's page.
func (s *Server) lender(w http.ResponseWriter, r *request) {
	d, path, ok := s.loan(r)
	if !ok {
		s.notFound(w, r)
		return
	}
	if d.Ended {
		s.serve(w, r, r.overPage(path, d), http.StatusOK)
		return
	}
	p := r.lenderPage(path, d, s.Now())
	if done := doing(r.URL.Query().Get("done")); slices.Contains(dones, done) {
		p.Note = r.Words.Lines("lender.done." + string(done))
	}
	s.serve(w, r, p, http.StatusOK)
}

// notFound serves the page for a link without a donation: a thank-you page if the donation has ended.
func (s *Server) notFound(w http.ResponseWriter, r *request) {
	if name, ok := s.Tokens.Donation(hash(r.PathValue("token"))); ok && s.knowsItsDonations() {
		if p, ok := s.ended(r, name); ok {
			s.serve(w, r, p, http.StatusOK)
			return
		}
	}
	s.serve(w, r, web.Notice{
		Frame:     r.Frame(r.URL.Path, r.Words.T("lost.title")),
		Pictogram: "search", Lines: r.Words.Lines("lost.text"),
	}, http.StatusNotFound)
}

// lenderPage composes the lender's page of a donation.
func (r *request) lenderPage(path string, d loan, now time.Time) web.Lender {
	w, key := r.Words, "lender."+string(d.doing)
	undated := d.Undated && d.doing == Closed
	p := web.Lender{
		Frame:     r.Frame(path, w.T("lender.thanks")),
		Donation:  d.Name,
		Doing:     w.T(key + ".title"),
		Pictogram: pictograms[d.doing],
		Good:      d.doing == Shared || d.doing == Ready,
		Why:       d.Why,
		Paused:    d.doing == Paused,
		Minor:     d.doing != Paused && d.Cap != 0 && d.Left == 0, // nothing is left to pause
	}
	switch tomorrow := d.Tomorrow.In(r.site.Location); {
	case d.doing == Paused:
	case d.untimed || d.Tomorrow.IsZero():
		p.Tomorrow = w.Lines("lender.paused.tomorrow")
	default:
		p.Tomorrow = w.Lines("lender.paused.until", "when", w.When(tomorrow, now))
	}
	r.thanks(&p, d)
	switch when := w.When(d.until.In(r.site.Location), now); {
	case d.doing == Paused:
		p.Lines = r.pauseLines(d, when)
	case undated:
		p.Lines = w.Lines("lend.undated")
	case d.doing != Closed && d.doing != Spent:
		p.Lines = w.Lines(key + ".text")
	case d.doing == Spent && d.Period != "once" && (d.untimed || d.until.IsZero()):
		p.Lines = w.Lines("lender.untimed")
	case d.until.After(now):
		p.Lines = w.Lines(key+".when", "when", when)
	default:
		p.Lines = w.Lines(key + ".unknown")
	}
	switch {
	case d.doing == Spent && d.Lost:
		p.Doing = w.T("lender.uncounted.title")
		p.Lines = append(w.Lines("lender.uncounted.text"), p.Lines...)
	case d.doing == Spent:
		p.Lines = append(w.Lines(key+".text"), p.Lines...)
	}
	r.account(&p, d, now)
	if d.Autorate && !d.Ended {
		p.Terms = append(p.Terms, w.Lines("lender.first")...)
		if r := d.Rate; r != nil && (r.DownHeld == heldLender || r.UpHeld == heldLender) {
			p.Terms = append(p.Terms, w.T("lender.first-now"))
		}
	}
	if !d.Until.IsZero() {
		p.Terms = append(p.Terms, w.T("lend.until", "day", w.Day(d.Until.Time)))
	}
	if d.Broadcasts != 0 && d.BroadcastsCount {
		p.Terms = append(p.Terms, w.Lines("lender.broadcast-counts", "size", w.Size(d.Broadcasts))...)
	} else if d.Broadcasts != 0 {
		p.Terms = append(p.Terms, w.Lines("lender.broadcast-apart", "size", w.Size(d.Broadcasts))...)
	}
	r.days(&p, d, now)
	r.changes(&p, d)
	return p
}

// account fills in what is left of the cap, or the usage of a donation without a cap.
func (r *request) account(p *web.Lender, d loan, now time.Time) {
	w := r.Words
	if d.Cap == 0 {
		p.Account, p.Big = w.T("lender.used."+d.Period), []web.Amount{w.SizeParts(d.Used)}
		p.Terms = w.Lines("lender.no-cap")
		return
	}
	left, granted := d.Split()
	p.Account, p.Big = w.T("lender.left."+d.Period), []web.Amount{w.SizeParts(left)}
	p.Terms = w.Lines("lender.cap."+d.Period, "size", w.Size(d.Cap))
	if d.Lowered > 0 {
		p.Terms = append(p.Terms, w.T("lender.cap-lowered", "size", w.Size(d.limit())))
	}
	switch {
	case d.untimed && d.Period != "once" && d.doing != Spent: // for Spent, lenderPage says it
		p.Terms = append(p.Terms, w.Lines("lender.untimed")...)
	case d.Resets.After(now) && !d.untimed:
		p.Terms = append(p.Terms, w.T("lender.resets", "when", w.When(d.Resets.In(r.site.Location), now)))
	}
	if !d.Lost { // else the usage is unknown
		r.parts(p, d, left, granted)
	}
}

// parts splits the cap. "kept" is for the box's own traffic and the safety margin. "withheld" is what the lender took off. "kept"
// is computed from the other parts as the page rounds them, so that the parts on the page add up to the cap.
func (r *request) parts(p *web.Lender, d loan, left, granted uint64) {
	w := r.Words
	rest, shown := d.Cap, d.Cap
	add := func(kind string, bytes uint64, size string) {
		p.Parts = append(p.Parts, web.Part{Kind: kind, Label: w.T("lender.part-" + kind), Bytes: bytes, Size: size})
	}
	for _, part := range []struct {
		kind  string
		bytes uint64
	}{{"left", left}, {"reserve", d.Reserve}, {"granted", granted}, {"withheld", d.Stated + d.Lowered}, {"used", d.Used}} {
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

// chartDays is how many days the chart shows unless it shows exactly the period.
const chartDays = 31

// days fills in the usage of each day of the period, or of the last 31 days if the period is a day, never ends, or is longer than
// that. Without a trusted clock, the last known day stands for today.
func (r *request) days(p *web.Lender, d loan, now time.Time) {
	w := r.Words
	date := func(t time.Time) time.Time { return state.DateOf(t.In(r.site.Location)).Time }
	const day = 24 * time.Hour
	today, last, all := date(now), time.Time{}, d.Used
	used := map[time.Time]uint64{}
	for _, x := range d.Days {
		used[x.Date.Time] = x.Bytes
		all = max(all, x.Bytes)
		if x.Date.After(last) {
			last = x.Date.Time
		}
	}
	if d.untimed {
		today = last
	}
	begin, end := today.AddDate(0, 0, 1-chartDays), today.Add(day)
	if length := date(d.Resets).Sub(date(d.PeriodStart)); length > day && length <= chartDays*day {
		begin, end = date(d.PeriodStart), date(d.Resets)
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
		case d.untimed || d.Used > 0:
			p.Unused = w.Lines("lender.undated")
		default:
			p.Unused = w.Lines("lender.unused-since", "day", w.Day(begin))
		}
		return
	}
	p.Most = w.T("lender.most", "day", w.Day(best), "size", w.Size(most))
	p.Begins, p.Ends = w.Day(begin), w.Day(end.Add(-day))
	line := d.Daily
	if d.Left == 0 {
		line = 0 // no daily budget
	}
	if line > 0 {
		p.Pace = w.T("lender.pace", "size", w.Size(line))
	}
	p.Chart = web.NewChart(values, int(end.Sub(begin)/day), line)
}

// overPage thanks a lender whose loan is over.
func (r *request) overPage(path string, d loan) lend.OverPage {
	gave := d.Used
	if d.Period != "once" { // d.Used is of this period only
		gave = 0
		for _, day := range d.Days {
			gave += day.Bytes
		}
	}
	p := lend.OverPage{
		Frame: r.Frame(path, r.Words.T("lend.over-title")), Donation: d.Name, Day: r.Words.Day(d.Until.Time),
	}
	if gave > 0 && !d.Lost {
		p.Gave = lend.Means(r.Words, gave)
	}
	return p
}
