package state

import "time"

// Status is what `passerelle status --json` prints. Names and meanings are stable: fields are added, never changed. Times are RFC
// 3339 in the box's zone, sizes are in bytes, rates in bits per second. It has no data of a single resident.
type Status struct {
	State  State     `json:"state"`
	Why    string    `json:"why"`            // one English sentence
	Since  time.Time `json:"since"`          // start of the State
	Opens  time.Time `json:"opens,omitzero"` // state closed: the next opening
	Resets time.Time `json:"resets,omitzero"`
	Setup  time.Time `json:"setup,omitzero"` // end of the setup window that the button opened

	PausedBy    string    `json:"paused_by,omitempty"`   // who paused sharing, whatever the State; lenders pause only their own donations
	PauseEnds   bool      `json:"pause_ends,omitempty"`  // automatically, on the next day
	PausedUntil time.Time `json:"paused_until,omitzero"` // when; zero while the clock is not trusted
	Tomorrow    time.Time `json:"tomorrow,omitzero"`     // when a pause until the next day would end; zero while the clock is not trusted

	Clock     Clock          `json:"clock"`
	Centre    string         `json:"centre"`
	Hotspot   Hotspot        `json:"hotspot"`
	Residents Residents      `json:"residents"`
	Donations []Donation     `json:"donations"` // in the configuration's order
	Admin     Admin          `json:"admin"`
	Board     Board          `json:"board"`
	System    System         `json:"system"`             // versions of kernel and firmware
	Slots     *Slots         `json:"slots,omitempty"`    // of the card; absent on a machine without slots
	Updates   *Updates       `json:"updates,omitempty"`  // absent on a machine without slots
	Stick     *StickBackup   `json:"stick,omitempty"`    // backups to a USB stick; absent if none is marked
	Fleet     *Fleet         `json:"fleet,omitempty"`    // the box in its fleet; absent if it is in none
	Layers    *Layers        `json:"layers,omitempty"`   // what the box's fleet changes in its configuration; absent without a fleet
	Commands  []FleetCommand `json:"commands,omitempty"` // the last ones from the box's fleet, newest first
	Children  []Child        `json:"children"`
	Downloads []Download     `json:"downloads"` // the box's own downloads; empty if none is configured
	Problems  []Problem      `json:"problems"`  // of the last round, and lasting ones; empty if all is well
	Started   time.Time      `json:"started"`   // of the daemon
}

// Clock is the time of day. Until it is trusted, no cap resets and no opening hours end.
type Clock struct {
	Now     time.Time `json:"now"`
	Trusted bool      `json:"trusted"`
	By      string    `json:"by,omitempty"` // what or who confirmed it
}

// Admin is the technicians' access to their pages.
type Admin struct {
	Access      string   `json:"access"`                // as configured
	Pages       []string `json:"pages"`                 // their URLs: the hotspot's, then those on the lines' own networks
	Fingerprint string   `json:"fingerprint,omitempty"` // SHA-256 of the box's certificate, as browsers show it, in four groups
}

// Slots are the two systems on the box's card, "a" and "b", one of which is running. A new one is booted a few times on trial, and
// must prove itself. Otherwise the box goes back to the good one.
type Slots struct {
	Running string `json:"running"`
	Good    string `json:"good"`             // the one that last proved itself; "" if unknown
	Next    string `json:"next"`             // the next to boot; "" if unknown
	Tries   int    `json:"tries"`            // remaining boots of Next, if it is not Good
	Failed  string `json:"failed,omitempty"` // the one that last used up its tries
}

// Proven tells whether the running slot has proved itself.
func (s Slots) Proven() bool { return s.Running == s.Good }

// Updates describes the box's own system, and the one that will replace it. A version is that of the release whose root is in a
// slot, found by the root's hash; "" if the box knows no release with that hash.
type Updates struct {
	Read    bool   `json:"read"`    // the slots were read since the daemon started: all versions that can be known are known
	Version string `json:"version"` // of the running slot
	Other   string `json:"other"`   // of the other slot

	FellBack    string `json:"fell_back,omitempty"`     // the version that was tried last and did not work; "?" if it has none
	FellBackWhy string `json:"fell_back_why,omitempty"` // as it said itself; "" if it could not say, because it did not start
	// FellBackCode is the kind of FellBackWhy; "" until the slots were read.
	FellBackCode TrialReason `json:"fell_back_code,omitempty"`

	From    string    `json:"from,omitempty"`    // the server's name; "" if none is configured
	Auto    bool      `json:"auto"`              // the box fetches and starts releases without being asked
	Checked time.Time `json:"checked,omitzero"`  // when a source was last asked
	Newest  string    `json:"newest,omitempty"`  // the version that this source had
	Current bool      `json:"current"`           // Newest is the version that is running
	Busy    bool      `json:"busy"`              // an operation is running
	Done    uint64    `json:"done,omitempty"`    // bytes of Newest that are in the other slot, found by their hashes
	Size    uint64    `json:"size,omitempty"`    // bytes of Newest in that slot in all
	Fetches string    `json:"fetches,omitempty"` // why nothing is fetched now: a word of package updates or rollout, or a text
	Ready   bool      `json:"ready"`             // Other is complete and never ran: it will be started
	Starts  string    `json:"starts,omitempty"`  // why it is not started now: a word of package updates or rollout
	Code    string    `json:"code,omitempty"`    // why the last request failed: a word of package agent
	Error   string    `json:"error,omitempty"`   // likewise, as text
}

// TrialReason is why a system on trial does not prove itself.
type TrialReason string

// The reasons.
const (
	TrialSilent TrialReason = "silent" // it did not start, or does not answer
	TrialStarts TrialReason = "starts" // its first plan is not applied
	TrialFault  TrialReason = "fault"  // its plan cannot be applied
	TrialDisk   TrialReason = "disk"   // its ledger is not open, or a part of its plan is refused
	TrialNames  TrialReason = "names"  // no name resolves on a line that is up
	TrialPages  TrialReason = "pages"  // its pages do not answer
	TrialLate   TrialReason = "late"   // it worked, but too late
)

// TrialReasons are all reasons.
var TrialReasons = []TrialReason{TrialSilent, TrialStarts, TrialFault, TrialDisk, TrialNames, TrialPages, TrialLate}

// Fleet describes the box in its fleet, and its connection to the hubs.
type Fleet struct {
	Stage       string    `json:"stage"`                 // "alone", "asking", "waiting" for a person to compare the words, or "member"
	Box         string    `json:"box,omitempty"`         // the box's name in the fleet
	Association string    `json:"association,omitempty"` // of a member
	Region      string    `json:"region,omitempty"`      // likewise, as the hub says
	Words       []string  `json:"words,omitempty"`       // for a person to compare
	Refusal     string    `json:"refusal,omitempty"`     // why the last code was not accepted: "unknown", "used" or "refused"
	Revoked     bool      `json:"revoked,omitempty"`     // the hubs no longer let this box in
	Mode        string    `json:"mode"`                  // "away", "visits" or "connected"
	Connected   bool      `json:"connected"`             // now
	Contact     time.Time `json:"contact,omitzero"`      // when a hub last answered all requests, since the daemon started
	Waits       string    `json:"waits,omitempty"`       // why no line may be used now, as text
	Error       string    `json:"error,omitempty"`       // why the last attempt failed, as text
	Files       string    `json:"files,omitempty"`       // why nothing that people signed is accepted through the hubs, as text
	Unshown     int       `json:"unshown"`               // number of days that the box keeps because no hub has shown them yet

	Handouts []FleetFile `json:"handouts,omitempty"` // what the fleet hands out to this box, since the daemon started
}

// FleetFile is a pack or a list of places that the fleet hands out.
type FleetFile struct {
	Kind  string `json:"kind"` // "packs" or "places"
	Name  string `json:"name"`
	By    string `json:"by"`             // the level that signed it, as in LayerKey
	State string `json:"state"`          // "here", "coming", "waits", "failed", "own" (the box has its own) or "removed" (at the box)
	Why   string `json:"why,omitempty"`  // for "waits": a word of package updates, or a text; for "failed": a text
	Done  uint64 `json:"done,omitempty"` // bytes that are here, if it is coming or waits
	Size  uint64 `json:"size"`           // bytes
}

// Layers is what the box's fleet says about its configuration.
type Layers struct {
	Set      []LayerKey `json:"set"`      // in effect
	Refused  []LayerKey `json:"refused"`  // without effect, and why
	Proposed []Proposal `json:"proposed"` // essential services that a technician may accept
	Unread   []Unread   `json:"unread,omitempty"`
}

// Unread is a layer that the box refuses as a whole. It keeps using the layer before, if there was one.
type Unread struct {
	By    string `json:"by"`
	Error string `json:"error"` // as text, with the line
}

// FleetPrefix begins PausedBy if the box's fleet paused sharing.
const FleetPrefix = "the fleet: "

// FleetCommand is a command from somebody in the box's fleet, and its outcome.
type FleetCommand struct {
	At      time.Time `json:"at"`
	Action  string    `json:"action"` // "pause", "resume" or "diagnose"
	By      string    `json:"by"`
	Verdict string    `json:"verdict"`       // the words of package command: "done", "failed", "expired", "undated", "yields" or "nothing"
	Why     string    `json:"why,omitempty"` // if it failed
}

// LayerKey is a key of the configuration, and what a layer sets it to.
type LayerKey struct {
	Key   string `json:"key"`           // dotted
	Value string `json:"value"`         // as TOML
	By    string `json:"by"`            // "the fleet", "region idf", "association lilas"
	Why   string `json:"why,omitempty"` // why it has no effect
}

// Proposal is an essential service that a layer proposes.
type Proposal struct {
	Service  string `json:"service"` // its host name
	By       string `json:"by"`
	Accepted bool   `json:"accepted"` // by a technician: it is open
}

// Hotspot is the network residents join.
type Hotspot struct {
	Interface string `json:"interface"`
	Address   string `json:"address"`
	Queue     string `json:"queue,omitempty"` // qdisc of each resident: "fq_codel" or "bfifo"; "" before the first

	Tracked       uint64 `json:"tracked,omitempty"`        // size of the conntrack table; residents' limits depend on it
	TrackedWanted uint64 `json:"tracked_wanted,omitempty"` // recommended size, if larger; 0: the size is sufficient

	Metered    bool   `json:"metered"`               // the line is announced as metered
	MeteredWhy string `json:"metered_why,omitempty"` // as text, with the line's name

	WiFi *WiFi `json:"wifi,omitempty"` // if the box is the access point
}

// WiFi is the box's own Wi-Fi network.
type WiFi struct {
	SSID            string `json:"ssid"`
	Security        string `json:"security,omitempty"` // as text
	On              bool   `json:"on"`
	Why             string `json:"why,omitempty"` // why it is off
	Band            string `json:"band,omitempty"`
	Channel         int    `json:"channel,omitempty"`
	MHz             int    `json:"mhz,omitempty"`
	Stations        int    `json:"stations"`         // associated devices
	MaxStations     int    `json:"max_stations"`     // limit of the radio; 0: unknown
	AtCapacity      bool   `json:"at_capacity"`      // an association was rejected
	ClientIsolation bool   `json:"client_isolation"` // the driver supports client isolation
	SharedChannel   bool   `json:"shared_channel"`   // it shares its radio and channel with a lender's network
}

// Board has the board's sensor readings.
type Board struct {
	Model       string   `json:"model,omitempty"`
	Temperature *float64 `json:"temperature,omitempty"` // of the processor, in °C
	PowerWeak   *bool    `json:"power_weak,omitempty"`  // under-voltage now

	Problems []Problem `json:"-"` // included in Status.Problems
}

// Residents counts residents at this moment. Counts that are kept or published are rounded to fives, see InFives.
type Residents struct {
	Sessions int    `json:"sessions"` // running ones
	Started  uint64 `json:"started"`  // sessions begun since the daemon started
	Download uint64 `json:"download"` // limit of each resident, 0: none
	Upload   uint64 `json:"upload"`
	Data     uint64 `json:"data"`  // data a day of each resident, 0: no limit
	After    uint64 `json:"after"` // rate in each direction after that data is used up; 0: the session ends
	Slow     int    `json:"slow"`  // running sessions whose data is used up and that go on slowly

	Refused Refused `json:"refused"`
}

// Fewest is the smallest count of residents that is stored, published or sent away.
const Fewest = 5

// InFives returns a count of residents as it is published: rounded down to a multiple of Fewest. Published sums add up such counts,
// never exact ones, so that no difference of two published numbers is a count of 1 to 4.
func InFives(n uint64) uint64 { return n / Fewest * Fewest }

// Refused counts devices that asked for the internet and did not get it, since the daemon started. A device counts once an hour for
// each reason. The counts grow in fives, see InFives, because the page that shows them by hour and reason shows nothing smaller.
type Refused struct {
	Data       uint64 `json:"data"`        // their daily data was used up
	NotSharing uint64 `json:"not_sharing"` // the box was not sharing
	Busy       uint64 `json:"busy"`        // this device, or all devices together, pressed the button too often
}

// Sum returns the sum of all reasons.
func (r Refused) Sum() uint64 { return r.Data + r.NotSharing + r.Busy }

// Plus adds other counts.
func (r Refused) Plus(o Refused) Refused {
	return Refused{r.Data + o.Data, r.NotSharing + o.NotSharing, r.Busy + o.Busy}
}

// InFives returns the counts in fives.
func (r Refused) InFives() Refused {
	return Refused{InFives(r.Data), InFives(r.NotSharing), InFives(r.Busy)}
}

// Since returns what was counted after earlier counts. If any count went back, the daemon has restarted at zero.
func (r Refused) Since(o Refused) Refused {
	if r.Data < o.Data || r.NotSharing < o.NotSharing || r.Busy < o.Busy {
		return r
	}
	return Refused{r.Data - o.Data, r.NotSharing - o.NotSharing, r.Busy - o.Busy}
}

// Donation is a donation and its line. Sizes are bytes on the line, both directions together.
type Donation struct {
	Name        string    `json:"name"`
	Interface   string    `json:"interface"`
	Ifname      string    `json:"ifname,omitempty"` // its name in the kernel, if present
	Kind        string    `json:"kind,omitempty"`   // of the interface, as text
	Signal      int       `json:"signal,omitempty"` // of a lender's Wi-Fi network, in dBm
	Chosen      bool      `json:"chosen"`           // in use by residents
	Essential   bool      `json:"essential"`        // in use for the walled garden only, from its reserve
	Open        bool      `json:"open"`
	Opens       time.Time `json:"opens,omitzero"`
	Until       Date      `json:"until,omitzero"`    // its last day; zero for none
	Ended       bool      `json:"ended,omitempty"`   // that day is over
	Undated     bool      `json:"undated,omitempty"` // it has a last day, but the box does not know the date
	PausedBy    string    `json:"paused_by,omitempty"`
	PausedUntil time.Time `json:"paused_until,omitzero"` // when that pause ends on its own
	PausedDay   bool      `json:"paused_day,omitempty"`  // it ends on the next day, once the clock is trusted
	Tomorrow    time.Time `json:"tomorrow,omitzero"`     // when a pause until the next day would end; zero while the clock is not trusted
	Up          bool      `json:"up"`                    // the line has a link, an address and a default route
	Works       bool      `json:"works"`
	Why         string    `json:"why,omitempty"` // why it does not work
	Slow        bool      `json:"slow"`          // it works, but DNS is slow
	Servers     []string  `json:"servers"`       // DNS servers for residents' queries
	Spent       bool      `json:"spent"`         // nothing is left for residents
	Cap         uint64    `json:"cap"`           // 0: none
	Used        uint64    `json:"used"`          // in this period
	Overage     uint64    `json:"overage"`       // the part of used beyond the cap
	Granted     uint64    `json:"granted"`       // unspent tranches in the kernel
	Left        uint64    `json:"left"`          // of the cap, for residents; 0 without a cap
	Reserve     uint64    `json:"reserve"`       // of the cap, left for essential services
	Margin      uint64    `json:"margin"`        // of the cap, kept for data in flight and the box's own traffic
	Daily       uint64    `json:"daily"`         // daily budget that makes the cap last its period; 0: unknown
	OwnUse      uint64    `json:"own_use"`       // of the cap, what the box's own downloads may use in all; 0 without a cap
	Stated      uint64    `json:"stated"`        // counts as used beyond Used, because the lender's provider counted it in this period
	Lowered     uint64    `json:"lowered"`       // by how much the lender lowered the cap for this period
	Lost        bool      `json:"lost"`          // the account was lost: the cap counts as used until the period ends
	Period      string    `json:"period"`
	PeriodStart time.Time `json:"period_start,omitzero"` // once the clock is trusted
	Resets      time.Time `json:"resets,omitzero"`       // when the next period begins
	Days        []Day     `json:"days"`                  // sums of past days, oldest first, and of today
	Autorate    bool      `json:"autorate"`              // its rates are adapted to what the line carries
	Rate        *Rate     `json:"rate,omitempty"`        // while autorate adapts it

	ProvedNames   Proof `json:"proved_names,omitzero"`   // the last DNS answer on it
	ProvedPage    Proof `json:"proved_page,omitzero"`    // the last page fetched through it
	ProvedTraffic Proof `json:"proved_traffic,omitzero"` // the last completed exchanges of residents

	Broadcasts      uint64 `json:"broadcast"`        // bytes broadcast by the line's own network in this period
	BroadcastsCount bool   `json:"broadcast_counts"` // included in Used, by configuration
}

// Split returns Left and Granted without their overlap: while the donation is in use, granted bytes also count as left. The results
// overlap neither each other nor Used nor Reserve.
func (d Donation) Split() (left, granted uint64) {
	if d.Chosen {
		granted = min(d.Granted, d.Left)
	}
	return d.Left - granted, granted
}

// Rate is what a line can carry now, as measured by autorate.
type Rate struct {
	Down     uint64   `json:"down"` // bit/s
	Up       uint64   `json:"up"`
	Delay    *float64 `json:"delay_ms,omitempty"` // queueing delay beyond the box in milliseconds, if known
	DownHeld string   `json:"down_held"`          // what limits it: "nothing", "limit" (lent), "line", or "lender" (who uses it)
	UpHeld   string   `json:"up_held"`
	Unprobed bool     `json:"unprobed"` // no probe is sent or answered: only residents' connections are measured
}

// Proof is the last evidence that a line worked. A later failure does not clear it.
type Proof struct {
	At   time.Time `json:"at"`
	What string    `json:"what"` // e.g. "a name of github.io, from 192.168.1.1, in 12ms"
}

// Day is the sum of a day.
type Day struct {
	Date  Date   `json:"date"`
	Bytes uint64 `json:"bytes"`
}

// Child is a child process.
type Child struct {
	Name     string `json:"name"`
	Running  bool   `json:"running"`
	Restarts int    `json:"restarts"` // after unexpected exits, in a row
	LastExit string `json:"last_exit,omitempty"`
}

// Download is a file that the box keeps up to date over the line in use. Sizes are bytes on the line.
type Download struct {
	Name      string    `json:"name"` // the section of the configuration that has its address
	From      string    `json:"from"` // the server's name
	Running   bool      `json:"running"`
	Bytes     uint64    `json:"bytes"`            // of the running download so far, otherwise of the last attempt
	Size      uint64    `json:"size,omitempty"`   // of the running download; 0: not known
	Tried     time.Time `json:"tried,omitzero"`   // the last attempt
	Done      time.Time `json:"done,omitzero"`    // the last success: the file was imported, or had not changed
	Unchanged bool      `json:"unchanged"`        // the last success found nothing new
	Result    string    `json:"result,omitempty"` // of the last import, as text
	Error     string    `json:"error,omitempty"`  // why the last attempt failed
	Waits     string    `json:"waits,omitempty"`  // why none may start now
	Next      time.Time `json:"next,omitzero"`    // when the next one may start
}

// Date is a calendar day, as its midnight in UTC, so that days of different zones can be compared and have 24 hours.
type Date struct{ time.Time }

// DateOf returns the day of a time, in that time's zone.
func DateOf(t time.Time) Date {
	y, m, d := t.Date()
	return Date{time.Date(y, m, d, 0, 0, 0, 0, time.UTC)}
}

// MarshalJSON returns the day as YYYY-MM-DD.
func (d Date) MarshalJSON() ([]byte, error) { return []byte(d.Format(jsonDate)), nil }

// UnmarshalJSON parses the result of MarshalJSON.
func (d *Date) UnmarshalJSON(text []byte) (err error) {
	d.Time, err = time.Parse(jsonDate, string(text))
	return err
}

const jsonDate = `"` + time.DateOnly + `"`
