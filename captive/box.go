// Package captive serves residents: the first page, their session, the answers that make a phone's sign-in window open
// and close, and the captive-portal API (RFC 8908). It asks for sessions through the Box interface and knows nothing of
// kernels, files or databases.
package captive

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"passerelle/appliance/decide"
	"passerelle/captive/tutorials"
)

// Box is what the pages need of the appliance. All methods are safe for concurrent use and answer in milliseconds.
type Box interface {
	// View returns the box as it is now: a copy, cheap enough for every request.
	View() View
	// Lessons returns the lessons as they are now: another library after a pack was imported or removed.
	Lessons() *tutorials.Library
	// Session returns the resident's session, if one is running.
	Session(addr netip.Addr) (Session, bool)
	// Admit starts a session for the resident, or returns the running one, longer if it Extends. Packets pass when it returns.
	Admit(ctx context.Context, addr netip.Addr) (Session, error)
	// End ends the resident's session and resets its connections. Ending none is no error.
	End(ctx context.Context, addr netip.Addr) error
}

// Errors of Admit; ErrBusy is one of End, too.
var (
	ErrNotSharing = errors.New("the box is not sharing a connection now")       // the State says why
	ErrDataSpent  = errors.New("the resident's data of today is spent")         // comes back at View.DataResets
	ErrUnknown    = errors.New("no device with this address is on the hotspot") // not in the neighbour table
	ErrBusy       = errors.New("the box is busy")                               // ask again in a moment
)

// View is the box as residents' pages show it.
type View struct {
	State     decide.State
	Centre    string     // the centre's name
	Address   netip.Addr // the box's address on the hotspot
	Network   netip.Prefix
	Hostname  string   // the box's name on the hotspot
	Language  string   // default language
	Languages []string // offered
	PortalURL string   // https URL for RFC 8908 clients, or ""
	Location  *time.Location

	SessionLength time.Duration
	Download      uint64 // bit/s for each resident, 0: no limit
	Upload        uint64
	Data          uint64 // bytes per day for each resident, 0: no limit

	Opens      time.Time // State closed: the next opening; zero if never or unknown
	Refills    time.Time // State exhausted: when a cap begins anew; zero if never or unknown
	DataResets time.Time // when residents' daily data begins anew

	Essential bool     // essential services can be reached now, with no session and whatever is spent
	Services  []string // which these are, as in [config.Essential]; none: there are none
}

// Session is a resident's session as the pages show it.
type Session struct {
	Left      time.Duration // until it ends by itself
	Length    time.Duration // as it was granted
	Extends   bool          // it is about to end: Admit makes it as long again as a new one
	DataLeft  uint64        // bytes; meaningless if !Limited
	DataGiven uint64        // bytes the resident may use today
	Limited   bool          // there is a daily limit of data
}
