// Package config parses the box's TOML file into a typed, validated Config, and formats a Config as canonical, commented text. It owns
// the file's keys, their defaults, and the checks of their values. It does not know what the values are used for.
//
// Keys are explained only in example.toml: Example returns it, and Format fills other values into it. Optional keys have the defaults
// that are given at the fields below. The others are required, because only the person who sets up the box knows their values.
//
// Edit changes a text, and keeps what people wrote. File is the text on disk; its revisions detect concurrent changes. No problem
// contains a password.
//
// BurntSushi/toml decodes the text and reports errors, since its messages are easy to understand. pelletier/go-toml's parser reports
// positions, for the lines of problems and for edits. It has the ranges of keys, of "key = value" and of scalar values. It has no ranges
// of arrays, of array elements that are arrays or tables, or of headers, and only the first byte of an inline table; tree derives these.
// A text that one of the two parsers rejects is rejected. The fuzz tests compare the parsers.
package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"passerelle/appliance/hours"
)

// Config is the whole configuration. Parse guarantees what the comments of the fields say.
type Config struct {
	Box       Box
	Centre    Centre
	Hotspot   Hotspot
	Limits    Limits
	Essential Essential
	Places    Places
	Agenda    Agenda
	Board     Board
	Admin     Admin
	Metrics   Metrics
	Fleet     Fleet
	Lend      Lend
	Health    Health
	Hardware  Hardware
	Donations []Donation // at least one, in the file's order; names and interfaces are unique
}

// Box is the centre as residents see it.
type Box struct {
	Name      string         // the centre's name: 1 to 80 characters, one line
	Language  string         // language of pages if the phone accepts none of Languages; one of Languages; default: the first
	Languages []string       // languages offered, in order: "fr", "en", "ar", "es", "pt", "uk"; default: "fr" and "en"
	Hostname  string         // the box's DNS name on the hotspot, lower case; default: "partage.internal"
	Timezone  *time.Location // never nil, never time.Local; default: Europe/Paris
	PortalURL string         // https URL, trusted by phones, of an RFC 8908 API, for DHCP option 114; "" (default): none

	Coordinates *Point           // where the box is; nil (default): unknown
	SchoolZone  hours.SchoolZone // zone whose school holidays SH means in opening hours; "" (default): none, and SH is refused
}

// Point is a position on earth, in degrees (WGS 84): latitude -90 to 90, longitude -180 to 180.
type Point struct{ Latitude, Longitude float64 }

// String returns the point as the file has it: "48.8566, 2.3522".
func (p *Point) String() string {
	if p == nil {
		return ""
	}
	degrees := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	return degrees(p.Latitude) + ", " + degrees(p.Longitude)
}

// Centre has the social centre's contact details. All of them are optional.
type Centre struct {
	Address  string          // street and number, one line, at most 120 characters
	Postcode string          // five digits
	Town     string          // at most 80 characters
	Phone    string          // as people dial it: digits, spaces and dots, perhaps after '+'
	Hours    *hours.Schedule // the desk's opening hours; nil: unknown
	Desk     []string        // what the desk helps with; unique, from DeskServices
}

// DeskServices has what a centre's desk can help with.
var DeskServices = []string{"papers", "writer", "learn", "computer", "print", "equipment", "repair", "listen"}

// Places configures the directory of places that help.
type Places struct {
	URL string // http or https URL of a list to download; "" (default): none
}

// Agenda configures the agenda.
type Agenda struct {
	URL string // http or https URL of a calendar to download; "" (default): none
}

// Board configures the board of mutual aid.
type Board struct {
	Enabled bool // default: false
}

// Lend configures how people can offer to lend their connection.
type Lend struct {
	Name SSID // name of the Wi-Fi networks with which phones offer to lend, 1 to 32 bytes; default: "Partage de Co"; "": none
}

// Admin configures the technicians' pages.
type Admin struct {
	Access Access // default: Anywhere
}

// Metrics configures the box's metrics for Prometheus. They are served on the uplinks' networks, never on the hotspot.
type Metrics struct {
	Enabled bool           // default: false
	Allow   []netip.Prefix // sources that may read them: IPv4, /8 to /32, none that overlaps the hotspot; at least one if Enabled
}

// Fleet configures updates and the box's fleet. Without a mirror and hubs the box contacts nobody for either.
type Fleet struct {
	Mirror  string          // https URL of a folder of signed releases; "" (default): Hubs have them
	Updates bool            // releases are fetched and started automatically; default: true
	Budget  Size            // for each donation and period, counted in its cap; 1 MB to 10 GB; default: 100 MB
	Hours   *hours.Schedule // when releases may be fetched and started; nil (default): while nobody has a session
	Hubs    []string        // the fleet's hubs, unique: host names or IPv4 addresses, with ":PORT" unless it is 443; empty (default): no fleet
	Keep    []string        // keys of FragmentKeys, unique, that no fragment changes
}

// Member reports whether the box is configured for a fleet. Otherwise it receives nothing from a fleet, and sends nothing to one.
func (f Fleet) Member() bool { return len(f.Hubs) > 0 }

// portHub is the default port of hubs. It is that of https, which most networks let through.
const portHub = "443"

// Addresses returns the addresses of the hubs, as HOST:PORT.
func (f Fleet) Addresses() []string {
	all := make([]string, len(f.Hubs))
	for i, hub := range f.Hubs {
		if all[i] = hub; !strings.Contains(hub, ":") {
			all[i] = net.JoinHostPort(hub, portHub)
		}
	}
	return all
}

// budgetPart: the fleet's budget is at most 1/budgetPart of a cap.
const budgetPart = 20

// FleetBudget returns how many bytes of a donation the fleet may use in a period.
func (c *Config) FleetBudget(d *Donation) Size {
	switch {
	case !d.Fleet:
		return 0
	case d.Cap == 0:
		return c.Fleet.Budget
	}
	return min(c.Fleet.Budget, d.Cap/budgetPart)
}

// Access says from where, and when, technicians may use their pages.
type Access string

// The kinds of access.
const (
	Anywhere   Access = "anywhere"
	Wired      Access = "wired"  // not from the hotspot
	AfterPress Access = "button" // from anywhere, but only in the setup window after a press of the box's button
)

// Accesses has all kinds of access.
var Accesses = []string{string(Anywhere), string(Wired), string(AfterPress)}

// Hotspot is the network that residents join.
type Hotspot struct {
	Interface string        // Linux interface name: 1 to 15 letters, digits, '.', '_' or '-'
	Radio     string        // "hostapd" or "none"
	SSID      string        // 1 to 32 bytes; required only with radio "hostapd"
	Password  string        // the Wi-Fi network's passphrase: 8 to 63 characters of printable ASCII; "" (default): open
	Country   string        // ISO 3166-1 alpha-2; required if the box uses a radio
	Band      string        // "2.4GHz" (default) or "5GHz"
	Channel   int           // a channel of Band; 0 (default): automatic
	Address   netip.Prefix  // the box's address with the prefix length: RFC 1918, /16 to /29; default: 10.80.0.1/22
	Lease     time.Duration // 2 min to 24 h, whole seconds; default: 30 min
}

// Limits are the limits of each resident.
type Limits struct {
	Session  time.Duration // a session's length: 1 min to 24 h, whole seconds; default: 2 h
	Download Rate          // 0 (default): none
	Upload   Rate          // 0 (default): none
	Data     Size          // per day; 0 (default): none

	// After is the slow lane: the rate in each direction once a resident's data for the day is used up. 16 kbit/s to 1 Mbit/s; 0: no
	// slow lane, the session ends. The default is 64 kbit/s: messages, timetables and forms work, and an hour is at most 29 MB in each
	// direction. It is 0 if the hotspot's network is wider than a /18 (SlowNetworkBits).
	After Rate
}

// SlowNetworkBits is the shortest prefix of a hotspot's network that can have a slow lane: each of its addresses needs two class numbers
// of 16 bits.
const SlowNetworkBits = 18

// Essential is the walled garden: services that everybody can reach without a session, and after a resident's data or a donation's cap
// is spent.
type Essential struct {
	Names []string // host names, lower case, unique, each of which includes all names below it, or France; default: France
	Rate  Rate     // of all residents together, each way; never 0; default: 2 Mbit/s
}

// Health configures how the box checks whether an uplink works.
type Health struct {
	Zones []Zone // three to nine, no two in the same domain; default: sslip.io, github.io, wordpress.com
}

// Zone is a DNS zone that has an address for every name below it, and is not signed (DNSSEC).
type Zone struct {
	Name    string       // e.g. "9-9-9-9.sslip.io"
	Network netip.Prefix // IPv4 network that contains its addresses
}

// String returns the zone as the file has it.
func (z Zone) String() string { return "*." + z.Name + " " + z.Network.String() }

// Hardware is the box's own light, button and watchdog.
type Hardware struct {
	LED      Pin
	Button   Pin    // its LED is ""
	Watchdog string // the device of the hardware watchdog, e.g. "/dev/watchdog0"; "" (default): none
}

// Pin says where something is wired. The zero value (default) is the board's usual place.
type Pin struct {
	None bool   // nowhere
	LED  string // an LED of the kernel, by its name in /sys/class/leds
	Chip string // a GPIO chip, by its label
	Line int    // GPIO line of the chip, from 0
	Low  bool   // active low
}

// Donation is a connection that somebody lends.
type Donation struct {
	Name      string          // unique, 1 to 80 characters, one line
	Interface string          // the uplink's interface, as for Hotspot.Interface, or USB; unique, not the hotspot's
	WiFi      *WiFi           // the network that Interface joins; nil (default): none, the system manages the link
	APN       string          // access point name for a modem at Interface; "" (default): no modem, or one that connects without the box
	PIN       string          // PIN of the SIM in that modem; "" (default): it has none
	Download  Rate            // the part of the uplink's rate that is lent; 0 (default): all of it
	Upload    Rate            // the same for the other direction
	Cap       Size            // per period, both directions together; 0: none
	Reserve   Size            // part of Cap that is kept for essential services, at most half of it; 0 (default): none
	Fleet     bool            // the fleet may use its budget on this uplink; default: true
	Broadcast bool            // broadcasts on the uplink's own network count, too; default: false
	Autorate  bool            // its rates follow what the uplink carries now; default: true for USB and WiFi, else false
	Metered   string          // whether the network is announced as metered: "yes", "no", or Auto (default)
	Period    string          // "day", "week", "month" (default) or "once"
	Resets    int             // first day of the period: 1 to 31 for a month, 1 (Monday) to 7 for a week, default 1; 0 for other periods
	Hours     *hours.Schedule // when it is lent; nil (default): always
	Until     Day             // the last day on which it is lent; "" (default): no last day
	Priority  int             // 1 (default) to 99; 1 is used first
	DNS       []netip.Addr    // IPv4 DNS servers to use on this uplink; empty (default): the uplink's own
}

// Auto is a value of Metered. The network is then announced as metered if the uplink has a cap, or is a phone (USB or WiFi), since most
// phone contracts have a cap even if the lender sets none.
const Auto = "auto"

// USB is the Interface of a phone on USB, whose interface name changes on many systems each time it is plugged in.
const USB = "usb"

// WiFi is a lender's Wi-Fi network.
type WiFi struct {
	SSID       SSID
	Passphrase string // 8 to 63 characters of printable ASCII, or a key of 64 hexadecimal digits; "": an open network
}

// SSID is the name of a Wi-Fi network: 1 to 32 arbitrary bytes (IEEE 802.11-2020, 9.4.2.2).
type SSID string

// Day is a calendar day as YYYY-MM-DD, in the box's zone; "" is none.
type Day string

// DayOf returns the day of a time, in that time's zone.
func DayOf(t time.Time) Day { return Day(t.Format(time.DateOnly)) }

// Over reports whether the day is over at a time, which must be in the box's zone. It returns false for "".
func (d Day) Over(now time.Time) bool { return d != "" && DayOf(now) > d }

// Time returns midnight UTC of the day, or the zero time for "".
func (d Day) Time() time.Time {
	t, err := time.Parse(time.DateOnly, string(d))
	if err != nil {
		return time.Time{}
	}
	return t
}

// Rate is a rate in bits per second. Its units are decimal and written as in tc ("4mbit").
type Rate uint64

// Size is a number of bytes. Its units are decimal ("500MB" is 500,000,000).
type Size uint64
