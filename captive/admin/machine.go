package admin

import "context"

// Machine tells the first start what the machine has. Its methods are safe for concurrent use.
type Machine interface {
	// FindLines returns the interfaces that can be an uplink or the hotspot, except radios, and what works on each now. It takes a
	// few seconds at most. An interface that it could not test in that time is Testing; the next call tests it.
	FindLines(ctx context.Context) ([]Line, error)
	// FindRadios returns the radios that can be access points.
	FindRadios() ([]Radio, error)
}

// Line is an interface that can be an uplink, or lead to residents.
type Line struct {
	Interface string // as in the configuration, so config.USB for a phone
	Kind      LineKind
	State     LineState
	Address   string // with the prefix length; "" for none
}

// LineKind is what an interface is.
type LineKind string

// The kinds.
const (
	Cable  LineKind = "cable"
	Phone  LineKind = "phone" // on USB
	Bridge LineKind = "bridge"
)

// LineState says what works on a line.
type LineState string

// The states of a line, from nothing to everything.
const (
	Unplugged  LineState = "unplugged"   // no link
	NoAddress  LineState = "no-address"  // a link, but no address
	NoRoute    LineState = "no-route"    // an address, but no default route: it may be a network of residents
	NoInternet LineState = "no-internet" // a default route, but the internet does not answer
	Testing    LineState = "testing"     // a default route; it is not known yet whether the internet answers
	Works      LineState = "works"
)

// Radio is a radio that can be an access point.
type Radio struct {
	Interface string
	Stations  int  // how many stations it can serve; 0 if unknown
	Fast      bool // it supports 5 GHz, too
	Encrypts  bool // it can encrypt an open network for phones that support that
	Client    bool // it can join a lender's network at the same time
}
