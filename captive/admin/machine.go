package admin

import "context"

// Machine is what the first start needs to know of the machine. Its methods are safe for concurrent use.
type Machine interface {
	// FindLines returns the interfaces that may be a line or the hotspot, without radios, and what works on each now. It waits a
	// few seconds at most: a line that it could not test in that time is Testing, and is tested when FindLines is called again.
	FindLines(ctx context.Context) ([]Line, error)
	// FindRadios returns the radios that can be the hotspot.
	FindRadios() ([]Radio, error)
}

// Line is an interface that may lead to the internet, or to residents.
type Line struct {
	Interface string // as in the configuration: config.USB for a phone
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

// LineState is what works on a line.
type LineState string

// The states of a line, each of which needs the one before.
const (
	Unplugged  LineState = "unplugged"   // no link
	NoAddress  LineState = "no-address"  // a link, but no address
	NoRoute    LineState = "no-route"    // an address, but no way to the internet: it may be a network of residents
	NoInternet LineState = "no-internet" // a way, but the internet does not answer
	Testing    LineState = "testing"     // nobody knows yet whether it answers
	Works      LineState = "works"
)

// Radio is a radio that can be an access point.
type Radio struct {
	Interface string
	Stations  int  // that it can serve; 0: unknown
	Fast      bool // it has the band of 5 GHz, too
	Encrypts  bool // an open network is encrypted for phones that support it
	Client    bool // it can join a lender's network at the same time
}
