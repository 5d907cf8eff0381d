package directory

import (
	"time"

	"passerelle/appliance/hours"
)

// Place is a place where people help with digital matters, as its list describes it. Texts are one line each, except
// Summary and Detail, whose lines are separated by "\n".
type Place struct {
	ID     string `json:",omitzero"` // 16 hexadecimal digits: safe in addresses, and stable across imports
	Name   string `json:",omitzero"`
	Parent string `json:",omitzero"` // the organisation that it belongs to
	List   string `json:"-"`         // the name of its list

	Address, Complement, Postcode, Town string `json:",omitzero"`

	At      Point `json:",omitzero"`
	Located bool  `json:",omitzero"` // At is known

	Types  []string `json:",omitzero"` // French labels, such as "Bibliothèque / Médiathèque"
	Phones []Phone  `json:",omitzero"`
	Emails []string `json:",omitzero"`
	Sites  []string `json:",omitzero"` // http and https addresses only

	Hours    string          `json:",omitzero"` // as the list has them
	Schedule *hours.Schedule `json:"-"`         // the part of Hours that can be relied on; nil: none, see Opening
	Note     string          `json:"-"`         // the words that go with the Schedule, such as "sur rendez-vous"

	// WeekendUnknown says that the hours say nothing about Saturday and Sunday: lists write "every day" as "Mo-Fr".
	WeekendUnknown bool `json:"-"`

	Summary, Detail string    `json:",omitzero"`
	Source          string    `json:",omitzero"` // who collected the data
	Booking         string    `json:",omitzero"` // an http or https address for appointments
	AccessSheet     string    `json:",omitzero"` // an http or https address of a page about access for people with disabilities
	Updated         time.Time `json:",omitzero"` // a date
	Itinerant       bool      `json:",omitzero"` // it comes by bus

	Services   Set `json:",omitzero"`
	Audiences  Set `json:",omitzero"` // if empty, everybody is welcome
	Care       Set `json:",omitzero"` // disabilities and needs that it takes into account, including languages
	Fees       Set `json:",omitzero"`
	Programmes Set `json:",omitzero"`
	Labels     Set `json:",omitzero"`
	Access     Set `json:",omitzero"` // how to get in touch or come
	Modes      Set `json:",omitzero"` // alone, with somebody, in a workshop, remotely

	Receives bool `json:",omitzero"` // people may come; places that receive nobody are never listed
}

// Point is a position in degrees (WGS84).
type Point struct{ Lat, Lon float64 }

// Phone is a telephone number.
type Phone struct {
	Shown string // for people: "01 80 05 98 80"
	Dial  string // for a tel: link: "+33180059880" or "3960"; "" if Shown is not a number
}

// Set holds a place's terms of one of the schema's enumerations.
type Set struct {
	Terms Terms    `json:",omitzero"` // those of the enumeration
	Other []string `json:",omitzero"` // others, as the list has them
}

// Terms is a set of terms of one enumeration: bit i stands for the enumeration's term i.
type Terms uint16

// Has reports whether all of the terms are in t.
func (t Terms) Has(terms Terms) bool { return t&terms == terms }

// Term is a term of the schema "lieux de médiation numérique".
type Term struct {
	Key   string // for addresses and words: "procedures"
	Label string // the schema's: "Aide aux démarches administratives"
}

// State is what may be claimed about a place's hours.
type State int

const (
	UnknownHours State = iota // nothing: show the hours as they are, and say that they must be checked
	OpenNow
	ClosedNow
)

// Opening is what a page may claim about a place at a time.
type Opening struct {
	State State
	// Until is when it closes or opens. It is zero if that is not known, and for a place that is always open.
	Until time.Time
}

// IsZero reports whether the set is empty.
func (s Set) IsZero() bool { return s.Terms == 0 && len(s.Other) == 0 }
