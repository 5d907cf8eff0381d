// Package config turns the box's TOML file into a typed, validated Config and back into canonical, commented text. It
// owns the file's keys, their defaults and every complaint about them; it knows nothing of what the values are used for.
//
// example.toml is the one place where each key is explained: Example returns it, Format fills other values into it. Keys
// that the file may leave out have the defaults given beside the fields below; the others are required, because only
// the person who sets up the box knows them.
package config

import (
	"net/netip"
	"time"

	"passerelle/appliance/hours"
)

// Config is the whole configuration, validated: what Parse returns holds every promise made beside the fields below.
type Config struct {
	Box       Box
	Hotspot   Hotspot
	Limits    Limits
	Essential Essential
	Health    Health
	Hardware  Hardware
	Donations []Donation // at least one, names and interfaces unique, in the file's order
}

// Box is the centre as residents see it.
type Box struct {
	Name      string         // the centre's name: 1 to 80 characters, one line
	Language  string         // of pages when the phone asks for none of Languages: one of these; default: the first
	Languages []string       // offered, in order, of "fr", "en", "ar", "es", "pt", "uk"; default: "fr" and "en"
	Hostname  string         // the box's DNS name on the hotspot, lower case; default: "partage.internal"
	Timezone  *time.Location // never nil, never time.Local; default: Europe/Paris
	PortalURL string         // https URL of the RFC 8908 API that phones trust, for option 114; "" (default): none
}

// Hotspot is the network residents join.
type Hotspot struct {
	Interface string        // Linux interface name: 1 to 15 letters, digits, '.', '_' or '-'
	Radio     string        // "hostapd" or "none"
	SSID      string        // 1 to 32 bytes; needed with radio "hostapd" only
	Password  string        // of the Wi-Fi network, as Passphrase of WiFi; "" (default): open
	Country   string        // ISO 3166-1 alpha-2; needed where the box uses a radio
	Band      string        // "2.4GHz" (default) or "5GHz"
	Channel   int           // of Band, by its number; 0 (default): the box chooses
	Address   netip.Prefix  // the box's address with the network's length: RFC 1918, /16 to /29; default: 10.80.0.1/22
	Lease     time.Duration // 2 min to 24 h, whole seconds; default: 30 min
}

// Limits bound each resident.
type Limits struct {
	Session  time.Duration // a session's length: 1 min to 24 h, whole seconds; default: 2 h
	Download Rate          // 0 (default): none
	Upload   Rate          // 0 (default): none
	Data     Size          // per day; 0 (default): none
}

// Essential is what stays open to everybody, without a session and when a resident's data or a donation's cap is spent.
type Essential struct {
	Names []string // host names, lower case, unique, each with all names below it, or France; default: France
	Rate  Rate     // of all residents together, each way; never 0; default: 2 Mbit/s
}

// Health is how the box finds out whether a line works.
type Health struct {
	Zones []Zone // three to nine, none below a domain that another has; default: sslip.io, github.io, wordpress.com
}

// Zone is a zone that answers every name below it with an address, and is not signed (DNSSEC).
type Zone struct {
	Name    string       // e.g. "9-9-9-9.sslip.io"
	Network netip.Prefix // where its addresses lie, IPv4
}

// String is what stands for it in the file.
func (z Zone) String() string { return "*." + z.Name + " " + z.Network.String() }

// Hardware is the box's own light and button, and what restarts it.
type Hardware struct {
	LED      Pin
	Button   Pin    // never an LED of the kernel
	Watchdog string // the device of the hardware watchdog, e.g. "/dev/watchdog0"; "" (default): none
}

// Pin is where something is wired; the zero value (default): where such boards have it.
type Pin struct {
	None bool   // nowhere
	LED  string // an LED of the kernel, by its name in /sys/class/leds
	Chip string // a GPIO chip, by its label
	Line int    // of the chip, from 0
	Low  bool   // lit or pressed while the line is low
}

// Donation is a connection that somebody lends.
type Donation struct {
	Name      string          // unique, 1 to 80 characters, one line
	Interface string          // the uplink, named as Hotspot.Interface is, or USB; unique, not the hotspot's
	WiFi      *WiFi           // the network that Interface joins; nil (default): none, somebody else sees to its link
	Download  Rate            // the share of the line that is lent; 0 (default): all of it
	Upload    Rate            // likewise
	Cap       Size            // per period, both directions; 0: none
	Reserve   Size            // of Cap, kept for essential services; at most half of it; 0 (default): none
	Broadcast bool            // broadcasts that come from the line's own network count, too; default: false
	Metered   string          // devices are told that the line is metered: "yes", "no", or Auto (default)
	Period    string          // "day", "week", "month" (default) or "once"
	Resets    int             // the period's first day: of the month 1 to 31, the week 1 (Monday) to 7; default 1; else 0
	Hours     *hours.Schedule // when it is lent; nil (default): always
	Priority  int             // 1 (default) to 99; 1 is asked first
	DNS       []netip.Addr    // IPv4 resolvers to ask through this uplink; empty (default): the uplink's own
}

// Auto is the Metered of a line that is metered if it has a cap, or is a phone's (USB or WiFi): most phones' contracts have a
// cap, also where their lenders set none.
const Auto = "auto"

// USB is the Interface of whatever phone is plugged in: its own name changes from plug to plug on many systems.
const USB = "usb"

// WiFi is a lender's Wi-Fi network.
type WiFi struct {
	SSID       SSID
	Passphrase string // 8 to 63 characters of printable ASCII; "": an open network
}

// SSID is the name of a Wi-Fi network: 1 to 32 bytes, of any kind (IEEE 802.11-2020, 9.4.2.2).
type SSID string

// Rate is in bits per second, decimal, as tc writes it ("4mbit").
type Rate uint64

// Size is in bytes, decimal ("500MB" is 500,000,000).
type Size uint64
