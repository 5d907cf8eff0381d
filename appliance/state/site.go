package state

import (
	"errors"
	"net/netip"
	"strings"
	"time"
)

// Site is what pages show of the box. Sites are compared with ==, so all fields are comparable, and times have no monotonic clock
// reading.
type Site struct {
	State     State
	Centre    string     // the centre's name
	Address   netip.Addr // the box's IPv4 address on the hotspot
	Network   netip.Prefix
	Hostname  string // the box's name on the hotspot
	Language  string // default language
	Languages string // the offered ones, separated by spaces
	PortalURL string // https URL for RFC 8908 clients, or ""
	Location  *time.Location

	SessionLength time.Duration
	Download      uint64 // bit/s for each resident, 0: no limit
	Upload        uint64
	Data          uint64 // bytes per day for each resident, 0: no limit

	Opens      time.Time // State closed: the next opening; zero if never or unknown
	Resumes    time.Time // State paused: when the pause ends on its own; zero if never or unknown
	Resets     time.Time // State exhausted: when a cap's next period begins; zero if never or unknown
	DataResets time.Time // when residents' daily data resets

	Card *Card // what is known of the centre, nil for nothing; the pointer changes with it

	// Notice is a line of text from the box's fleet, by language, nil for none; the pointer changes with it.
	Notice *map[string]string

	Essential bool       // the walled garden can be reached now, without a session, even if data or caps are spent
	Services  *[]Service // of the walled garden, nil for none; the pointer changes with them
}

// Offered returns the languages of pages, the default one first.
func (s Site) Offered() []string { return append([]string{s.Language}, strings.Fields(s.Languages)...) }

// Card is the centre's own card. Everything in it is optional.
type Card struct {
	Address, Postcode, Town string
	Phone                   string   // the number as people dial it
	Hours                   string   // the desk's opening hours, in OpenStreetMap's syntax, valid; "" for unknown
	SchoolZone              string   // the zone of the school holidays that these hours refer to; "" for none
	Desk                    []string // what the desk helps with, by the keys of the pages' texts
	Located                 bool     // Latitude and Longitude are known
	Latitude, Longitude     float64  // of the box, in degrees (WGS 84)
}

// Service is an essential service, a part of the walled garden.
type Service struct {
	Name  string // its host name; all names below it are open, too
	Site  string // the host that residents go to: Name or one below it; "" if only other services send them there
	Topic string // the topic under which residents look for it, by the key of the pages' texts; "" for a technician's own
}

// Session is a resident's session as that resident sees it.
type Session struct {
	Left      time.Duration // until it ends on its own
	Length    time.Duration // as it was granted
	Extends   bool          // it is about to end: another press of the button extends it to the length of a new one
	DataLeft  uint64        // bytes; meaningless if !Limited
	DataGiven uint64        // bytes the resident may use today
	Limited   bool          // there is a daily data limit
	Slow      bool          // its data is used up, and it goes on slowly until Site.DataResets
}

// Errors of the box's methods.
var (
	ErrNotSharing = errors.New("the box is not sharing a connection now")    // the State says why
	ErrDataSpent  = errors.New("the resident's data of today is spent")      // until Site.DataResets
	ErrUnknown    = errors.New("no device on the hotspot has this address")  // not in the neighbour table
	ErrNoDonation = errors.New("the configuration has no such donation now") // it may have been renamed
	ErrUseKnown   = errors.New("what this donation has used is known")
	ErrStopped    = errors.New("the box is stopping") // retry with the next daemon, which may start soon
)
