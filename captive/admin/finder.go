package admin

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"

	"passerelle/captive/web"
)

// Finder searches the loaded lists of places. Its methods are safe for concurrent use.
type Finder interface {
	// Loaded reports whether a list is loaded.
	Loaded() bool
	// Find returns at most the given number of places whose name or town matches, best match first.
	Find(words string, most int) ([]FoundPlace, error)
	// Place returns a place by its ID. The error is fs.ErrNotExist if there is none.
	Place(id string) (FoundPlace, error)
}

// FoundPlace is a place of a list, with the fields that a centre's card has.
type FoundPlace struct {
	ID                                   string
	Name, Address, Postcode, Town, Phone string
	Hours                                string // opening hours that the box can parse; "" for none
}

// Names of the finder's part of a form.
const (
	findName   = "find"   // the search words
	foundName  = "found"  // the search words of the places that the page shows
	searchName = "search" // the search button
	takeName   = "take"   // the button of a place; its value is the place's ID
)

const (
	maxFound = 6
	maxFind  = 80 // characters
)

// finder is the part of a form that searches the lists for the centre.
type finder struct {
	Words  string
	Asked  bool
	Places []FoundPlace
}

// finderOf returns the finder of a centre's form, or nil if no list is loaded.
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

// find handles the finder's buttons: it sets the words to search for, or copies a place into the form. It returns false if no such
// button was pressed. It removes the finder's other fields from the form.
func (s *Server) find(r *request, form url.Values) bool {
	words, before, id := oneLine(form.Get(findName)), form.Get(foundName), form.Get(takeName)
	search := form.Get(searchName) != "" || words != "" && words != before // the latter: Enter was pressed in the field
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
		return true // the list was replaced in the meantime
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

// foundCentre shows the centre's form again if one of its finder's buttons was pressed, and reports whether it did. Nothing is
// saved.
func (s *Server) foundCentre(w http.ResponseWriter, r *request, g *group, form url.Values, was map[string]any) bool {
	if g.name != centreStep.name || !s.find(r, form) {
		return false
	}
	s.serve(w, r, s.formOf(r, g, form, was, nil), http.StatusOK)
	return true
}
