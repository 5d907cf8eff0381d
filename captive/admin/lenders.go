package admin

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/poster"
	"passerelle/captive/web"
)

const lendersPath = "/admin/lenders"

// lendersPage lists the donations for staff, who know the lenders. They can make a new link for a lender who lost theirs.
type lendersPage struct {
	techFrame
	Up      web.Link
	Lenders []lenderCard
	Made    *madeLink  // the link that was just made; nil for none
	Years   []web.Link // the centre's sheets
}

func (lendersPage) Template() string { return "admin/lenders" }

// lenderCard shows a donation and what it does.
type lenderCard struct {
	Name      string
	Pictogram string
	Doing     []string
	Sheets    []web.Link // the sheets of the last months
}

// sheetsShown is how many sheets a card links to. Each sheet links to all others.
const sheetsShown = 2

// madeLink is a new link. Only one page shows it, since only its hash is stored.
type madeLink struct {
	Name string
	URL  string
	Code poster.Code
}

func (s *Server) lenders(w http.ResponseWriter, r *request) {
	s.serve(w, r, s.lendersPage(r), http.StatusOK)
}

func (s *Server) lendersPage(r *request) lendersPage {
	p := lendersPage{techFrame: s.tech(r, "content", lendersPath, r.Words.T("lenders.title")), Up: s.contentUp(r)}
	box := s.Box.Status()
	for _, d := range box.Donations {
		l := newLoan(d, box)
		card := lenderCard{Name: d.Name, Pictogram: pictograms[l.doing], Doing: l.says(r.Words, r.Now)}
		all := monthsOf(d.Days, d.Name, s.monthSums())
		for _, month := range all[:min(len(all), sheetsShown)] {
			card.Sheets = append(card.Sheets, r.sheetLink(sheetPath, url.Values{"name": {d.Name}, "month": {month.Format(monthLayout)}},
				r.Words.T("sheets.month", "month", r.Words.Month(month))))
		}
		p.Lenders = append(p.Lenders, card)
	}
	for _, year := range yearsOf(s.lentDays(r), s.monthSums()) {
		p.Years = append(p.Years, r.sheetLink(yearPath, url.Values{"year": {strconv.Itoa(year)}}, r.Words.T("sheets.year", "year", strconv.Itoa(year))))
	}
	return p
}

// says returns what a donation does, in words for people other than its lender.
func (l loan) says(w *web.Words, now time.Time) []string {
	switch {
	case heldByLender(l.Donation):
		return w.Lines("loan.paused-by-lender")
	case l.doing == Closed && l.until.After(now):
		return w.Lines("loan.closed-until", "when", w.When(l.until.In(now.Location()), now))
	}
	return w.Lines("loan." + string(l.doing))
}

// lendersTile is the desk's link to the lenders' links and sheets.
func (s *Server) lendersTile(r *request) (t deskTile, shown bool) {
	t.Door = web.Door{Href: lendersPath, Pictogram: "key", Title: r.Words.T("lenders.title"), Text: r.Words.T("staff.lenders")}
	return t, true
}

// sheetLink returns a link to a sheet, in the language that the reader chose.
func (r *request) sheetLink(path string, query url.Values, text string) web.Link {
	if r.Chosen {
		query.Set("lang", r.Words.Code)
	}
	return web.Link{Href: path + "?" + query.Encode(), Text: text}
}

// makeLink makes a new link for a donation's lender, and shows it once. The previous link no longer works.
func (s *Server) makeLink(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	name := form.Get("name")
	if !slices.ContainsFunc(s.Box.Status().Donations, func(d state.Donation) bool { return d.Name == name }) {
		s.done(w, r, lendersPath) // the page shows the donations that there are
		return
	}
	path, err := IssueLink(s.Tokens, name)
	if err != nil {
		s.failed(w, r, "make a lender's link", err)
		return
	}
	url := "https://" + r.site.Hostname + path
	code, codeErr := poster.NewCode(url)
	if codeErr != nil {
		s.failed(w, r, "draw a lender's link", errors.New("the link does not fit a QR code")) // no error may contain the link
		return
	}
	s.note(r, journal.LinkMade)
	p := s.lendersPage(r)
	p.Made = &madeLink{Name: name, URL: url, Code: code}
	s.serve(w, r, p, http.StatusOK)
}
