package admin

import (
	"errors"
	"net/http"
	"slices"

	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/poster"
	"passerelle/captive/web"
)

const lendersPath = "/admin/lenders"

// lendersPage lists the donations for those who know their lenders: a new link for a lost one.
type lendersPage struct {
	techFrame
	Up      web.Link
	Lenders []lenderCard
	Made    *madeLink // a link that was just made, nil for none
}

func (lendersPage) Template() string { return "admin/lenders" }

// lenderCard is a donation and what it does.
type lenderCard struct {
	Name      string
	Pictogram string
	Doing     []string
}

// madeLink is a new link, for this one page: only its hash is stored.
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
		p.Lenders = append(p.Lenders, lenderCard{Name: d.Name, Pictogram: pictograms[l.doing], Doing: r.Words.Lines("loan." + string(l.doing))})
	}
	return p
}

// makeLink makes a new link for a donation's lender, and shows it once. The link before it no longer works.
func (s *Server) makeLink(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	name := form.Get("name")
	if !slices.ContainsFunc(s.Box.Status().Donations, func(d state.Donation) bool { return d.Name == name }) {
		s.done(w, r, lendersPath) // the page shows those of now
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
		s.failed(w, r, "draw a lender's link", errors.New("the link does not fit a QR code")) // no error may have the link
		return
	}
	s.note(r, journal.LinkMade)
	p := s.lendersPage(r)
	p.Made = &madeLink{Name: name, URL: url, Code: code}
	s.serve(w, r, p, http.StatusOK)
}
