package web

import (
	"html/template"
	"slices"
	"strings"
	"time"
)

// deskServices are the kinds of help that a centre's desk may offer, in the order of the page: a pictogram and a key. The message of
// a kind is desk.KEY.
var deskServices = []Fact{
	{"papers", "papers"}, {"pen", "writer"}, {"book", "learn"}, {"computer", "computer"}, {"printer", "print"},
	{"device", "equipment"}, {"tool", "repair"}, {"listen", "listen"},
}

// Contact is what a page shows about the centre: how to find its desk, and what the desk helps with.
type Contact struct {
	Name         string
	Address      []string // lines
	Phone        Phone    // zero: not known
	Open         bool
	Now          string // whether it is open; "" if its hours are not known
	Week, Others []OpenDays
	Desk         []Fact
}

// Known says whether there is more to show than a name.
func (c Contact) Known() bool {
	return len(c.Address) > 0 || c.Phone.Text != "" || c.Now != "" || len(c.Desk) > 0
}

// Reachable says whether there is a way to ask the desk from elsewhere, or a time to go there.
func (c Contact) Reachable() bool { return c.Phone.Text != "" || c.Now != "" }

// contact returns what is known about the centre, in these words. It is cached for each language.
func (h *Head) contact(w *Words, now time.Time) Contact {
	known, ok := h.contacts.Load(w)
	if !ok {
		known, _ = h.contacts.LoadOrStore(w, newContact(h.Centre, h.Card, w, now))
	}
	return known.(Contact)
}

func newContact(name string, card Card, w *Words, now time.Time) Contact {
	c := Contact{Name: name}
	for _, line := range []string{card.Address, strings.TrimSpace(card.Postcode + " " + card.Town)} {
		if line != "" {
			c.Address = append(c.Address, line)
		}
	}
	if card.Phone != "" {
		c.Phone = NewPhone(card.Phone)
	}
	if card.Hours != nil {
		c.Open, c.Now = w.Open(card.Hours, now)
		c.Week, c.Others = w.OpenWeek(card.Hours, true, now)
	}
	for _, s := range deskServices {
		if slices.Contains(card.Desk, s.Text) {
			c.Desk = append(c.Desk, Fact{s.Pictogram, w.T("desk." + s.Text)})
		}
	}
	return c
}

// Pictogram returns a pictogram for a tile. It panics if there is none of that name.
func Pictogram(name string) template.HTML {
	p, err := pictogram(name)
	if err != nil {
		panic(err)
	}
	return p
}
