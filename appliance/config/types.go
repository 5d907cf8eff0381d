// Package config turns the box's TOML file into a typed, validated Config and back into canonical, commented text. It
// owns the file's keys, their defaults and every complaint about them; it knows nothing of what the values are used for.
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
	Donations []Donation // at least one, names and interfaces unique, in the file's order
}

// Box is the centre as residents see it.
type Box struct {
	Name      string   // the centre's name: 1 to 80 characters, one line
	Language  string   // the language of pages when the phone asks for none of Languages: one of Languages
	Languages []string // offered, in order: now only "fr" and "en"
	Hostname  string   // the box's DNS name on the hotspot, lower case, e.g. "partage.internal"
	Timezone  *time.Location
	PortalURL string // https URL of the RFC 8908 API that phones trust, "" for none (RFC 8910 option 114 is sent only with it)
}

// Hotspot is the network residents join.
type Hotspot struct {
	Interface string       // Linux interface name: 1 to 15 bytes, no '/', no white space
	Radio     string       // "hostapd" or "none"
	SSID      string       // 1 to 32 bytes; needed with radio "hostapd" only
	Country   string       // ISO 3166-1 alpha-2; needed with radio "hostapd" only
	Address   netip.Prefix // the box's address with the network's length: private (RFC 1918), /16 to /29
	Lease     time.Duration
}

// Limits bound each resident.
type Limits struct {
	Session  time.Duration // a session's length, 1 min to 24 h
	Download Rate          // 0: none
	Upload   Rate          // 0: none
	Data     Size          // per day; 0: none
}

// Donation is a connection that somebody lends.
type Donation struct {
	Name      string // unique, 1 to 80 characters
	Interface string // the uplink; unique, not the hotspot's
	Download  Rate   // the share of the line that is lent; 0: all of it
	Upload    Rate
	Cap       Size   // per period, both directions; 0: none
	Period    string // "day", "week", "month" or "once"
	Resets    int    // day of the month (1 to 31), or of the week (1 Monday to 7), when the period begins
	Hours     *hours.Schedule
	Priority  int          // 1 is asked first
	DNS       []netip.Addr // resolvers to ask through this uplink; empty: the uplink's own
}

// Rate is in bits per second, decimal, as tc writes it ("4mbit").
type Rate uint64

// Size is in bytes, decimal ("500MB" is 500,000,000).
type Size uint64
