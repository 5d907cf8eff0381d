// Package config parses the box's TOML file into a typed, validated Config, and formats it as canonical, commented text. It
// owns the file's keys, their defaults and all problems about them; it does not know what the values are used for.
//
// example.toml is the only place where keys are explained: Example returns it, Format fills other values into it. Optional
// keys have the defaults given at the fields below; the others are required, because only the person who sets up the box
// knows them.
//
// Edit changes a text and keeps what people wrote. File is the text on disk, with a revision against concurrent changes.
// No problem contains a password.
//
// BurntSushi/toml decodes the text and reports errors: its messages are easy to follow. pelletier/go-toml's parser reports
// positions, for the lines of problems and for edits. It has the ranges of keys, of "key = value" and of scalar values. It has
// no ranges of arrays, of array elements that are arrays or tables, and of headers, and only the first byte of an inline
// table: tree derives these. The fuzz tests compare the two parsers; a text that one of them rejects is rejected.
package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"passerelle/appliance/hours"
)

// Config is the whole configuration, validated: Parse guarantees what the comments of the fields say.
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
	Donations []Donation // at least one, names and interfaces unique, in the file's order
}

// Box is the centre as residents see it.
type Box struct {
	Name      string         // the centre's name: 1 to 80 characters, one line
	Language  string         // of pages if the phone accepts none of Languages; one of these; default: the first
	Languages []string       // offered, in order, of "fr", "en", "ar", "es", "pt", "uk"; default: "fr" and "en"
	Hostname  string         // the box's DNS name on the hotspot, lower case; default: "partage.internal"
	Timezone  *time.Location // never nil, never time.Local; default: Europe/Paris
	PortalURL string         // https URL of the RFC 8908 API that phones trust, for option 114; "" (default): none

	Coordinates *Point           // where the box is; nil (default): unknown
	SchoolZone  hours.SchoolZone // whose school holidays SH means in opening hours; "" (default): none, and SH is refused
}

// Point is a place on earth, in degrees (WGS 84): latitude -90 to 90, longitude -180 to 180.
type Point struct{ Latitude, Longitude float64 }

// String returns the point as the file has it: "48.8566, 2.3522".
func (p *Point) String() string {
	if p == nil {
		return ""
	}
	degrees := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	return degrees(p.Latitude) + ", " + degrees(p.Longitude)
}

// Centre is the social centre as people find it. All of it is optional.
type Centre struct {
	Address  string          // street and number, one line, at most 120 characters
	Postcode string          // five digits
	Town     string          // at most 80 characters
	Phone    string          // as people dial it: digits and spaces, perhaps after '+'
	Hours    *hours.Schedule // of the desk; nil: unknown
	Desk     []string        // what the desk helps with, unique, of DeskServices
}

// DeskServices is what a centre's desk may help with.
var DeskServices = []string{"papers", "writer", "learn", "computer", "print", "equipment", "repair", "listen"}

// Places configures the directory of places that help.
type Places struct {
	URL string // of a list to download: http or https; "" (default): none
}

// Agenda configures the agenda.
type Agenda struct {
	URL string // of a calendar to download: http or https; "" (default): none
}

// Board configures the board of mutual aid.
type Board struct {
	Enabled bool // default: false
}

// Lend configures what people may lend by themselves.
type Lend struct {
	Name SSID // of the Wi-Fi networks by which phones offer to lend, 1 to 32 bytes; default: "Partage de Co"; "": none
}

// Admin configures the technicians' pages.
type Admin struct {
	Access Access // default: Anywhere
}

// Metrics configures the box's metrics for Prometheus, on the networks of the connections, never on the hotspot.
type Metrics struct {
	Enabled bool           // default: false
	Allow   []netip.Prefix // from where they may be read: IPv4, /8 to /32, none that overlaps the hotspot; at least one if Enabled
}

// Fleet configures what the box takes from afar. Without its addresses the box asks nobody.
type Fleet struct {
	Mirror  string          // https URL of a folder of signed releases; "" (default): Hubs have them
	Updates bool            // releases are fetched and started by themselves; default: true
	Budget  Size            // of each donation in its period, counted in its cap; 1 MB to 10 GB; default: 100 MB
	Hours   *hours.Schedule // when releases may be fetched and started; nil (default): while nobody has a session
	Hubs    []string        // of the box's fleet, unique: a host name of the internet or an IPv4 address, with ":PORT" if it is not 443; empty (default): it is in none
	Keep    []string        // of FragmentKeys, unique: no fragment changes them
}

// Member tells whether the box is in a fleet. Without, it takes nothing from one and tells it nothing.
func (f Fleet) Member() bool { return len(f.Hubs) > 0 }

// portHub is the usual port of hubs: that of the web, which networks let through.
const portHub = "443"

// Addresses returns where the hubs are, as HOST:PORT.
func (f Fleet) Addresses() []string {
	all := make([]string, len(f.Hubs))
	for i, hub := range f.Hubs {
		if all[i] = hub; !strings.Contains(hub, ":") {
			all[i] = net.JoinHostPort(hub, portHub)
		}
	}
	return all
}

// budgetPart is the part of a cap that the fleet's budget never exceeds.
const budgetPart = 20

// FleetBudget returns how much the fleet may use of a donation in its period, in bytes on the line.
func (c *Config) FleetBudget(d *Donation) Size {
	switch {
	case !d.Fleet:
		return 0
	case d.Cap == 0:
		return c.Fleet.Budget
	}
	return min(c.Fleet.Budget, d.Cap/budgetPart)
}

// Access is from where, and when, technicians may use their pages.
type Access string

// The kinds of access.
const (
	Anywhere   Access = "anywhere"
	Wired      Access = "wired"  // not from the hotspot
	AfterPress Access = "button" // from wherever, in the setup window after a press of the box's button
)

// Accesses are the kinds of access.
var Accesses = []string{string(Anywhere), string(Wired), string(AfterPress)}

// Hotspot is the network residents join.
type Hotspot struct {
	Interface string        // Linux interface name: 1 to 15 letters, digits, '.', '_' or '-'
	Radio     string        // "hostapd" or "none"
	SSID      string        // 1 to 32 bytes; required only with radio "hostapd"
	Password  string        // of the Wi-Fi network, as Passphrase of WiFi; "" (default): open
	Country   string        // ISO 3166-1 alpha-2; required if the box uses a radio
	Band      string        // "2.4GHz" (default) or "5GHz"
	Channel   int           // number, of Band; 0 (default): automatic
	Address   netip.Prefix  // the box's address with the prefix length: RFC 1918, /16 to /29; default: 10.80.0.1/22
	Lease     time.Duration // 2 min to 24 h, whole seconds; default: 30 min
}

// Limits are the limits of each resident.
type Limits struct {
	Session  time.Duration // a session's length: 1 min to 24 h, whole seconds; default: 2 h
	Download Rate          // 0 (default): none
	Upload   Rate          // 0 (default): none
	Data     Size          // per day; 0 (default): none

	// After is the rate, each way, once a resident's data of the day is used: the slow lane. 16 kbit/s to 1 Mbit/s; 0: none, the
	// session ends. The default is 64 kbit/s: messages, timetables and forms work, and an hour of it is at most 29 MB each way.
	// On a hotspot's network wider than a /18 (SlowNetworkBits) it is 0.
	After Rate
}

// SlowNetworkBits is the length of the widest hotspot's network that can have a slow lane: each of its addresses needs two
// class numbers of 16 bits.
const SlowNetworkBits = 18

// Essential is the walled garden: open to everybody, without a session and when a resident's data or a donation's cap is
// spent.
type Essential struct {
	Names []string // host names, lower case, unique, each with all names below it, or France; default: France
	Rate  Rate     // of all residents together, each way; never 0; default: 2 Mbit/s
}

// Health configures how the box checks whether a line works.
type Health struct {
	Zones []Zone // three to nine, none below a domain that another has; default: sslip.io, github.io, wordpress.com
}

// Zone is a zone that answers every name below it with an address, and is not signed (DNSSEC).
type Zone struct {
	Name    string       // e.g. "9-9-9-9.sslip.io"
	Network netip.Prefix // of its addresses, IPv4
}

// String returns the zone as the file has it.
func (z Zone) String() string { return "*." + z.Name + " " + z.Network.String() }

// Hardware is the box's own light, button and watchdog.
type Hardware struct {
	LED      Pin
	Button   Pin    // without LED
	Watchdog string // the device of the hardware watchdog, e.g. "/dev/watchdog0"; "" (default): none
}

// Pin is where something is wired; the zero value (default): the board's usual place.
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
	Interface string          // the uplink, named as Hotspot.Interface is, or USB; unique, not the hotspot's
	WiFi      *WiFi           // the network that Interface joins; nil (default): none, the system manages its link
	APN       string          // the mobile network that a modem at Interface joins; "" (default): it is no modem, or connects by itself
	PIN       string          // of the SIM in that modem; "" (default): it has none
	Download  Rate            // the share of the line that is lent; 0 (default): all of it
	Upload    Rate            // likewise
	Cap       Size            // per period, both directions; 0: none
	Reserve   Size            // of Cap, kept for essential services; at most half of it; 0 (default): none
	Fleet     bool            // the fleet may use its budget of this line; default: true
	Broadcast bool            // broadcasts of the line's own network count too; default: false
	Autorate  bool            // its rates follow what the line carries now; default: true for USB and WiFi, else false
	Metered   string          // whether the line is announced as metered: "yes", "no", or Auto (default)
	Period    string          // "day", "week", "month" (default) or "once"
	Resets    int             // the period's first day: of the month 1 to 31, the week 1 (Monday) to 7; default 1; else 0
	Hours     *hours.Schedule // when it is lent; nil (default): always
	Until     Day             // the last day on which it is lent; "" (default): no last day
	Priority  int             // 1 (default) to 99; 1 is used first
	DNS       []netip.Addr    // IPv4 DNS servers to use on this line; empty (default): the line's own
}

// Auto is the Metered of a line that is metered if it has a cap, or is a phone's (USB or WiFi): most phones' contracts have
// one, even if their lenders set none.
const Auto = "auto"

// USB is the Interface of a phone on USB: on many systems its interface name changes each time it is plugged in.
const USB = "usb"

// WiFi is a lender's Wi-Fi network.
type WiFi struct {
	SSID       SSID
	Passphrase string // 8 to 63 characters of printable ASCII; "": an open network
}

// SSID is the name of a Wi-Fi network: 1 to 32 arbitrary bytes (IEEE 802.11-2020, 9.4.2.2).
type SSID string

// Day is a calendar day as YYYY-MM-DD, in the box's zone; "" is none.
type Day string

// DayOf returns the day of a time, in that time's zone.
func DayOf(t time.Time) Day { return Day(t.Format(time.DateOnly)) }

// Over tells whether the day is over at a time, which is in the box's zone. No day is never over.
func (d Day) Over(now time.Time) bool { return d != "" && DayOf(now) > d }

// Time returns the day as its midnight in UTC; zero for no day.
func (d Day) Time() time.Time {
	t, err := time.Parse(time.DateOnly, string(d))
	if err != nil {
		return time.Time{}
	}
	return t
}

// Rate is in bits per second, decimal, as tc writes it ("4mbit").
type Rate uint64

// Size is in bytes, decimal ("500MB" is 500,000,000).
type Size uint64
