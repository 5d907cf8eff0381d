package admin

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"

	"passerelle/captive/web"
)

// Finder finds places in the lists that are loaded. Its methods are safe for concurrent use.
type Finder interface {
	// Loaded tells whether there is a list.
	Loaded() bool
	// Find returns places whose name or town matches, the best first.
	Find(words string, most int) ([]FoundPlace, error)
	// Place returns a place by its ID. The error is fs.ErrNotExist if there is none.
	Place(id string) (FoundPlace, error)
}

// FoundPlace is a place of a list, as far as a centre's card has it.
type FoundPlace struct {
	ID                                   string
	Name, Address, Postcode, Town, Phone string
	Hours                                string // opening hours that the box can read; "" for none
}

// Names of the finder's part of a form.
const (
	findName   = "find"   // the words
	foundName  = "found"  // the words that the page shows places for
	searchName = "search" // the button
	takeName   = "take"   // the button of a place, with its ID
)

const (
	maxFound = 6
	maxFind  = 80 // characters
)

// finder is the part of a form that finds the centre in the lists.
type finder struct {
	Words  string
	Asked  bool
	Places []FoundPlace
}

// finderOf returns the finder of a centre's form, nil without a list.
func (s *Server) finderOf(form url.Values) *finder {
	if s.Content.Finder == nil || !s.Content.Finder.Loaded() {
		return nil
	}
	f := &finder{Words: form.Get(foundName)}
	if f.Words == "" {
		return f
	}
	f.Asked = true
	var err error
	if f.Places, err = s.Content.Finder.Find(f.Words, maxFound); err != nil {
		s.Log.Warn("search the lists of places", "err", err)
	}
	return f
}

// find does what a form's finder is asked for: it searches, or takes a place into the form, which is changed. It returns false
// if the finder is not asked.
func (s *Server) find(r *request, form url.Values) bool {
	words, before, id := oneLine(form.Get(findName)), form.Get(foundName), form.Get(takeName)
	search := form.Get(searchName) != "" || words != "" && words != before // Enter in the field
	for _, name := range []string{findName, foundName, searchName, takeName} {
		form.Del(name)
	}
	if s.Content.Finder == nil || !search && id == "" {
		return false
	}
	if id == "" {
		if len(words) > 0 && len([]rune(words)) <= maxFind {
			form.Set(foundName, words)
		}
		return true
	}
	web.Yield(r.Request.Request)
	p, err := s.Content.Finder.Place(id)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.Log.Warn("read a place", "err", err)
		}
		return true // the list was replaced meanwhile
	}
	for key, value := range map[string]string{
		"box.name": p.Name, "centre.address": p.Address, "centre.postcode": p.Postcode, "centre.town": p.Town,
		"centre.phone": p.Phone, "centre.hours": p.Hours,
	} {
		if value != "" {
			fieldOf(key).write(form, value)
		}
	}
	return true
}

// foundCentre shows the centre's form again after its finder was asked, unless it was not. Nothing is saved.
func (s *Server) foundCentre(w http.ResponseWriter, r *request, g *group, form url.Values, was map[string]any) bool {
	if g.name != centreStep.name || !s.find(r, form) {
		return false
	}
	s.serve(w, r, s.formOf(r, g, form, was, nil), http.StatusOK)
	return true
}
