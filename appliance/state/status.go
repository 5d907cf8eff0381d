package state

import "time"

// Status is what `passerelle status --json` prints. Names and meanings are stable: fields are added, never changed.
// Times are RFC 3339 in the box's zone, sizes bytes, rates bits per second. It has no data of a single resident.
type Status struct {
	State  State     `json:"state"`
	Why    string    `json:"why"`            // one English sentence
	Since  time.Time `json:"since"`          // start of the State
	Opens  time.Time `json:"opens,omitzero"` // state closed: the next opening
	Resets time.Time `json:"resets,omitzero"`
	Setup  time.Time `json:"setup,omitzero"` // end of the setup window that the button opened

	PausedBy    string    `json:"paused_by,omitempty"`   // who paused sharing, whatever the State; lenders pause their donations only
	PauseEnds   bool      `json:"pause_ends,omitempty"`  // by itself, on the next day
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
	Slots     *Slots         `json:"slots,omitempty"`    // of the card; absent on a machine without
	Updates   *Updates       `json:"updates,omitempty"`  // absent on a machine without slots
	Stick     *StickBackup   `json:"stick,omitempty"`    // backups to a USB stick; absent if none is marked
	Fleet     *Fleet         `json:"fleet,omitempty"`    // the box in its fleet; absent if it is in none
	Layers    *Layers        `json:"layers,omitempty"`   // what the box's fleet changes of its configuration; absent without a fleet
	Commands  []FleetCommand `json:"commands,omitempty"` // the last ones of the box's fleet, the newest first
	Children  []Child        `json:"children"`
	Downloads []Download     `json:"downloads"` // of the box's own; empty if none is configured
	Problems  []Problem      `json:"problems"`  // of the last pass, and lasting ones; empty if all is well
	Started   time.Time      `json:"started"`   // of the daemon
}

// Clock is the time of day. Until it is trusted no cap resets and no opening hour closes.
type Clock struct {
	Now     time.Time `json:"now"`
	Trusted bool      `json:"trusted"`
	By      string    `json:"by,omitempty"` // what or who confirmed it
}

// Admin is the technicians' access to their pages.
type Admin struct {
	Access      string   `json:"access"`                // as configured
	Pages       []string `json:"pages"`                 // their URLs: the hotspot's, then those on lines' own networks
	Fingerprint string   `json:"fingerprint,omitempty"` // SHA-256 of the box's certificate, as browsers show it, in four groups
}

// Slots are the two systems on the box's card, "a" and "b", of which one is running. A new one is booted some times on trial,
// and must prove itself; otherwise the box goes back to the good one.
type Slots struct {
	Running string `json:"running"`
	Good    string `json:"good"`             // the one that last proved itself; "" if unknown
	Next    string `json:"next"`             // to boot next; "" if unknown
	Tries   int    `json:"tries"`            // boots of Next that are left, if it is not Good
	Failed  string `json:"failed,omitempty"` // the one that last used up its tries
}

// Proven tells whether the running slot has proved itself.
func (s Slots) Proven() bool { return s.Running == s.Good }

// Updates is what the box's own system is, and what comes in its place. A version is that of the release whose root lies in a
// slot, by its hash, and "" if the box knows none with it.
type Updates struct {
	Read    bool   `json:"read"`    // the slots were read since the daemon started: the versions are known as far as they can be
	Version string `json:"version"` // that is running
	Other   string `json:"other"`   // in the other slot

	FellBack    string `json:"fell_back,omitempty"`     // the version that was tried last and did not work; "?" if it has none
	FellBackWhy string `json:"fell_back_why,omitempty"` // in its own words; "" if it could say nothing: it did not start
	// FellBackCode is the kind of that; "" until the slots were read.
	FellBackCode TrialReason `json:"fell_back_code,omitempty"`

	From    string    `json:"from,omitempty"`    // the server's name; "" if none is configured
	Auto    bool      `json:"auto"`              // the box fetches and starts releases by itself
	Checked time.Time `json:"checked,omitzero"`  // when a source was last asked
	Newest  string    `json:"newest,omitempty"`  // that it then had
	Current bool      `json:"current"`           // that is the one that is running
	Busy    bool      `json:"busy"`              // something is being done now
	Done    uint64    `json:"done,omitempty"`    // bytes of Newest that lie in the other slot, found by their hashes
	Size    uint64    `json:"size,omitempty"`    // that it has there in all
	Fetches string    `json:"fetches,omitempty"` // why nothing is fetched now: a word of package updates or rollout, or a text
	Ready   bool      `json:"ready"`             // Other is whole, and never ran: it is started
	Starts  string    `json:"starts,omitempty"`  // why not now: a word of package updates or rollout
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
	TrialLate   TrialReason = "late"   // it worked, and too late
)

// TrialReasons are all of them.
var TrialReasons = []TrialReason{TrialSilent, TrialStarts, TrialFault, TrialDisk, TrialNames, TrialPages, TrialLate}

// Fleet is the box in its fleet, and how it talks to the hubs.
type Fleet struct {
	Stage       string    `json:"stage"`                 // "alone", "asking", "waiting" for a person who compares the words, or "member"
	Box         string    `json:"box,omitempty"`         // the box's name there
	Association string    `json:"association,omitempty"` // of a member
	Region      string    `json:"region,omitempty"`      // likewise, as the hub says
	Words       []string  `json:"words,omitempty"`       // to compare
	Refusal     string    `json:"refusal,omitempty"`     // why the last code was not taken: "unknown", "used" or "refused"
	Revoked     bool      `json:"revoked,omitempty"`     // the hubs do not let this box in any more
	Mode        string    `json:"mode"`                  // "away", "visits" or "connected"
	Connected   bool      `json:"connected"`             // now
	Contact     time.Time `json:"contact,omitzero"`      // when a hub last answered all that was asked, since the daemon started
	Waits       string    `json:"waits,omitempty"`       // why no line may be used now, as text
	Error       string    `json:"error,omitempty"`       // why the last try failed, as text
	Files       string    `json:"files,omitempty"`       // why nothing that people signed is taken through the hubs, as text
	Unshown     int       `json:"unshown"`               // days that the box keeps since no hub has shown them yet

	Handouts []FleetFile `json:"handouts,omitempty"` // since the daemon started: what the fleet hands out to this box
}

// FleetFile is a pack or a list of places that the fleet hands out.
type FleetFile struct {
	Kind  string `json:"kind"` // "packs" or "places"
	Name  string `json:"name"`
	By    string `json:"by"`             // the level that signed it, as in LayerKey
	State string `json:"state"`          // "here", "coming", "waits", "failed", "own" (the box has one of its own) or "removed" (at the box)
	Why   string `json:"why,omitempty"`  // for "waits": a word of package updates, or a text; for "failed": a text
	Done  uint64 `json:"done,omitempty"` // bytes that are there, of one that comes or waits
	Size  uint64 `json:"size"`           // bytes
}

// Layers is what the box's fleet says about its configuration.
type Layers struct {
	Set      []LayerKey `json:"set"`      // in effect
	Refused  []LayerKey `json:"refused"`  // without effect, and why
	Proposed []Proposal `json:"proposed"` // essential services that a technician may accept
	Unread   []Unread   `json:"unread,omitempty"`
}

// Unread is a layer that the box refuses as a whole: it uses the one before, if there was one.
type Unread struct {
	By    string `json:"by"`
	Error string `json:"error"` // as text, with the line
}

// FleetPrefix begins PausedBy if the box's fleet paused sharing.
const FleetPrefix = "the fleet: "

// FleetCommand is what somebody of the box's fleet asked for, and what became of it.
type FleetCommand struct {
	At      time.Time `json:"at"`
	Action  string    `json:"action"` // "pause", "resume" or "diagnose"
	By      string    `json:"by"`
	Verdict string    `json:"verdict"`       // as package command has them: "done", "failed", "expired", "undated", "yields" or "nothing"
	Why     string    `json:"why,omitempty"` // if it failed
}

// LayerKey is a key of the configuration, and what a layer says about it.
type LayerKey struct {
	Key   string `json:"key"`           // dotted
	Value string `json:"value"`         // as TOML
	By    string `json:"by"`            // "the fleet", "region idf", "association lilas"
	Why   string `json:"why,omitempty"` // it has no effect
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
	MeteredWhy string `json:"metered_why,omitempty"` // as text, with the line

	WiFi *WiFi `json:"wifi,omitempty"` // if the box is the access point
}

// WiFi is the box's own Wi-Fi network.
type WiFi struct {
	SSID            string `json:"ssid"`
	Security        string `json:"security,omitempty"` // as text
	On              bool   `json:"on"`
	Why             string `json:"why,omitempty"` // if it is not
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

// Residents counts residents, as they are at the moment. What is kept or published of them is in fives, see InFives.
type Residents struct {
	Sessions int    `json:"sessions"` // running ones
	Started  uint64 `json:"started"`  // that began since the daemon started
	Download uint64 `json:"download"` // limit of each resident, 0: none
	Upload   uint64 `json:"upload"`
	Data     uint64 `json:"data"`  // data a day of each resident, 0: no limit
	After    uint64 `json:"after"` // rate each way of who has used it; 0: the session ends
	Slow     int    `json:"slow"`  // running sessions that have used their data and go on slowly

	Refused Refused `json:"refused"`
}

// Fewest is the smallest count of residents that is kept for longer than a moment, published or sent away.
const Fewest = 5

// InFives returns what is published of a count of residents: it is rounded down to a multiple of Fewest. What is published adds up
// such counts, and never has a sum of exact ones, so that no difference of two numbers is a count of 1 to 4.
func InFives(n uint64) uint64 { return n / Fewest * Fewest }

// Refused counts devices that asked for the internet and did not get it, since the daemon started. A device counts once in an
// hour for a reason. The counts go up in fives, see InFives: the page that shows them by the hour and by the reason has nothing
// smaller.
type Refused struct {
	Data       uint64 `json:"data"`        // their data of the day was used
	NotSharing uint64 `json:"not_sharing"` // the box was not sharing
	Busy       uint64 `json:"busy"`        // they, or all, pressed too often
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

// Since returns what was counted after earlier counts. If any went back, the daemon has started again, with zero.
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
	Undated     bool      `json:"undated,omitempty"` // it has a last day, and the box does not know the date
	PausedBy    string    `json:"paused_by,omitempty"`
	PausedUntil time.Time `json:"paused_until,omitzero"` // when that pause ends by itself
	PausedDay   bool      `json:"paused_day,omitempty"`  // it ends on the next day, once the clock is trusted
	Tomorrow    time.Time `json:"tomorrow,omitzero"`     // when a pause until the next day would end; zero while the clock is not trusted
	Up          bool      `json:"up"`                    // the line has a link, an address and a default route
	Works       bool      `json:"works"`
	Why         string    `json:"why,omitempty"` // if it does not work
	Slow        bool      `json:"slow"`          // it works, but DNS is slow
	Servers     []string  `json:"servers"`       // DNS servers for residents' queries
	Spent       bool      `json:"spent"`         // nothing is left for residents
	Cap         uint64    `json:"cap"`           // 0: none
	Used        uint64    `json:"used"`          // in this period
	Overage     uint64    `json:"overage"`       // the part of used beyond the cap
	Granted     uint64    `json:"granted"`       // unspent tranches in the kernel
	Left        uint64    `json:"left"`          // of the cap, for residents; 0 without one
	Reserve     uint64    `json:"reserve"`       // of the cap, left for essential services
	Margin      uint64    `json:"margin"`        // of the cap, kept for data in flight and the box's own traffic
	Daily       uint64    `json:"daily"`         // daily budget, so that the cap lasts its period; 0: unknown
	OwnUse      uint64    `json:"own_use"`       // of the cap, what the box's own downloads may use in all; 0 without one
	Stated      uint64    `json:"stated"`        // counts as used beyond Used: the lender's provider counted it in this period
	Lowered     uint64    `json:"lowered"`       // taken off the cap by the lender, for this period
	Lost        bool      `json:"lost"`          // the account was lost: the cap counts as used until the period ends
	Period      string    `json:"period"`
	PeriodStart time.Time `json:"period_start,omitzero"` // once the clock is trusted
	Resets      time.Time `json:"resets,omitzero"`       // when the next period begins
	Days        []Day     `json:"days"`                  // sums of past days, oldest first, and of today
	Autorate    bool      `json:"autorate"`              // its rates follow what the line carries
	Rate        *Rate     `json:"rate,omitempty"`        // while autorate adapts it

	ProvedNames   Proof `json:"proved_names,omitzero"`   // the last DNS answer on it
	ProvedPage    Proof `json:"proved_page,omitzero"`    // the last page
	ProvedTraffic Proof `json:"proved_traffic,omitzero"` // the last completed exchanges of residents

	Broadcasts      uint64 `json:"broadcast"`        // bytes from the line's own network in this period
	BroadcastsCount bool   `json:"broadcast_counts"` // included in Used, by configuration
}

// Split returns Left and Granted without their overlap: while the donation is in use, granted bytes count as left too. The
// results overlap neither each other nor Used nor Reserve.
func (d Donation) Split() (left, granted uint64) {
	if d.Chosen {
		granted = min(d.Granted, d.Left)
	}
	return d.Left - granted, granted
}

// Rate is what a line carries now, as far as autorate knows.
type Rate struct {
	Down     uint64   `json:"down"` // bit/s
	Up       uint64   `json:"up"`
	Delay    *float64 `json:"delay_ms,omitempty"` // milliseconds of waiting beyond the box, if known
	DownHeld string   `json:"down_held"`          // what keeps it from more: "nothing", "limit" (lent), "line", or "lender" (uses it)
	UpHeld   string   `json:"up_held"`
	Unprobed bool     `json:"unprobed"` // no probe is sent or answered: residents' connections alone tell
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
	Bytes     uint64    `json:"bytes"`            // of the running one so far, else of the last attempt
	Size      uint64    `json:"size,omitempty"`   // of the running one; 0: not known
	Tried     time.Time `json:"tried,omitzero"`   // the last attempt
	Done      time.Time `json:"done,omitzero"`    // the last success: the file was imported, or had not changed
	Unchanged bool      `json:"unchanged"`        // the last success found nothing new
	Result    string    `json:"result,omitempty"` // of the last import, as text
	Error     string    `json:"error,omitempty"`  // why the last attempt failed
	Waits     string    `json:"waits,omitempty"`  // why none may begin now
	Next      time.Time `json:"next,omitzero"`    // when the next one may begin
}

// Date is a calendar day, as its midnight in UTC: days of different zones compare, and have 24 hours.
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
