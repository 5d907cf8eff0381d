package appliance

import (
	"fmt"
	"slices"
	"time"

	"passerelle/appliance/decide"
	"passerelle/appliance/supervise"
	"passerelle/netctl/plan"
	"passerelle/netctl/uplink"
)

// Status is what `passerelle status --json` prints. Names and meanings are stable: fields are added, never changed.
// Times are RFC 3339 in the box's zone, sizes bytes, rates bits per second. It says nothing of a single resident.
type Status struct {
	State   decide.State `json:"state"`          // see decide.State
	Why     string       `json:"why"`            // one English sentence
	Since   time.Time    `json:"since"`          // of the state
	Opens   *time.Time   `json:"opens,omitzero"` // state closed: the next opening
	Refills *time.Time   `json:"refills,omitzero"`
	Setup   *time.Time   `json:"setup,omitzero"` // until then technicians may come in: the button asked for it

	Clock     ClockStatus      `json:"clock"`
	Centre    string           `json:"centre"`
	Hotspot   HotspotStatus    `json:"hotspot"`
	Residents ResidentsStatus  `json:"residents"`
	Donations []DonationStatus `json:"donations"` // in the configuration's order
	Board     BoardStatus      `json:"board"`
	Children  []ChildStatus    `json:"children"`
	Problems  []string         `json:"problems"` // of the last round, and what needs somebody; empty if all is well
	Started   time.Time        `json:"started"`  // the daemon
}

// ClockStatus is the time of day. Until it is trusted no cap begins anew and no opening hour closes.
type ClockStatus struct {
	Now     time.Time `json:"now"`
	Trusted bool      `json:"trusted"`
	By      string    `json:"by,omitempty"` // how trust was won
}

// HotspotStatus is the network residents join.
type HotspotStatus struct {
	Interface string `json:"interface"`
	Address   string `json:"address"`
	Queue     string `json:"queue,omitempty"` // kind of each resident's queue: "fq_codel" or "bfifo"; "" before the first

	Tracked       uint64 `json:"tracked,omitempty"`        // connections that the kernel has room for; residents' bounds follow it
	TrackedWanted uint64 `json:"tracked_wanted,omitempty"` // for how many there should be room; 0: there is

	Metered    bool   `json:"metered"`               // devices are told that the line is metered
	MeteredWhy string `json:"metered_why,omitempty"` // in words, of which line

	WiFi *WiFiStatus `json:"wifi,omitempty"` // where the box makes the Wi-Fi network itself
}

// WiFiStatus is the Wi-Fi network that the box makes.
type WiFiStatus struct {
	SSID     string `json:"ssid"`
	Security string `json:"security,omitempty"` // in words
	On       bool   `json:"on"`
	Why      string `json:"why,omitempty"` // it is not
	Band     string `json:"band,omitempty"`
	Channel  int    `json:"channel,omitempty"`
	MHz      int    `json:"mhz,omitempty"`
	Stations int    `json:"stations"` // devices that have joined it
	Most     int    `json:"most"`     // that the radio serves; 0: not known
	Full     bool   `json:"full"`     // it turned one away
	Isolates bool   `json:"isolates"` // the radio takes the order to keep devices apart
	Follows  bool   `json:"follows"`  // it shares its radio with a lender's network, and its channel
}

// BoardStatus is what the board feels itself.
type BoardStatus struct {
	Model       string   `json:"model,omitempty"`
	Temperature *float64 `json:"temperature,omitempty"` // of the processor, in °C
	PowerWeak   *bool    `json:"power_weak,omitempty"`  // the supply gives too little now
	Complaints  []string `json:"complaints,omitempty"`  // what is wrong and what to do, one English sentence each
}

// ResidentsStatus counts residents.
type ResidentsStatus struct {
	Sessions int    `json:"sessions"` // running
	Download uint64 `json:"download"` // each one's limit, 0: none
	Upload   uint64 `json:"upload"`
	Data     uint64 `json:"data"` // each one's data a day, 0: no limit
}

// DonationStatus is a donation and its line. Sizes are bytes on the line, both directions together.
type DonationStatus struct {
	Name      string      `json:"name"`
	Interface string      `json:"interface"`
	Line      string      `json:"line,omitempty"`   // its name in the kernel, where it is there
	Kind      string      `json:"kind,omitempty"`   // what it is, in words
	Signal    int         `json:"signal,omitempty"` // of a lender's Wi-Fi network, in dBm
	Chosen    bool        `json:"chosen"`           // residents' packets go this way
	Essential bool        `json:"essential"`        // its reserve leads to essential services, and nothing else goes anywhere
	Open      bool        `json:"open"`
	Opens     *time.Time  `json:"opens,omitzero"`
	PausedBy  string      `json:"paused_by,omitempty"`
	Works     bool        `json:"works"`
	Why       string      `json:"why,omitempty"` // it does not work
	Slow      bool        `json:"slow"`          // it works, but names take long
	Servers   []string    `json:"servers"`       // the name servers that residents' names go to by it
	Spent     bool        `json:"spent"`         // nothing is left for residents
	Cap       uint64      `json:"cap"`           // 0: none
	Used      uint64      `json:"used"`          // in this period
	Over      uint64      `json:"over"`          // of it, beyond the cap
	Granted   uint64      `json:"granted"`       // the kernel may spend so much more by itself
	Left      uint64      `json:"left"`          // of the cap, for residents; 0 without one
	Reserve   uint64      `json:"reserve"`       // of the cap, left for essential services
	Margin    uint64      `json:"margin"`        // of the cap, kept for what is under way and for the box's own questions
	Daily     uint64      `json:"daily"`         // what today may use in all, so that the gift lasts its period; 0: not known
	Lost      bool        `json:"lost"`          // the account was lost: the cap counts as used until the period is over
	Period    string      `json:"period"`
	Began     *time.Time  `json:"began,omitzero"`   // the period, once the clock is trusted
	Refills   *time.Time  `json:"refills,omitzero"` // when the next period begins
	Days      []DayStatus `json:"days"`             // sums of the days that are over, oldest first, and of today

	ProvedNames   *ProofStatus `json:"proved_names,omitzero"`   // when a name last came by it, and how
	ProvedPage    *ProofStatus `json:"proved_page,omitzero"`    // likewise a page
	ProvedTraffic *ProofStatus `json:"proved_traffic,omitzero"` // likewise residents' exchanges

	Broadcasts      uint64 `json:"broadcast"`        // that came from the line's own network in this period
	BroadcastsCount bool   `json:"broadcast_counts"` // they are in Used, as the configuration says; else beside it
}

// ProofStatus is something that showed that a line works. That it failed since takes nothing away.
type ProofStatus struct {
	At   time.Time `json:"at"`
	What string    `json:"what"` // e.g. "a name of github.io, from 192.168.1.1, in 12ms"
}

// DayStatus is the sum of a day.
type DayStatus struct {
	Date  string `json:"date"` // YYYY-MM-DD
	Bytes uint64 `json:"bytes"`
}

// ChildStatus is a child process.
type ChildStatus struct {
	Name     string `json:"name"`
	Running  bool   `json:"running"`
	Restarts int    `json:"restarts"` // after ends that nobody asked for, in a row
	LastExit string `json:"last_exit,omitempty"`
}

// Status returns what the box does and why.
func (b *Box) Status() Status {
	b.mu.RLock()
	defer b.mu.RUnlock()
	s := b.status
	s.Residents.Sessions = len(b.sessions)
	s.Children = childStatus(b.Children.Status())
	return s
}

func childStatus(all []supervise.ChildStatus) []ChildStatus {
	out := []ChildStatus{}
	for _, c := range all {
		out = append(out, ChildStatus{Name: c.Name, Running: c.PID != 0, Restarts: c.Failures, LastExit: c.LastExit})
	}
	return out
}

// publish makes what others read.
func (b *Box) publish() {
	c := b.Config
	d := b.decision
	state, zone := b.state, c.Box.Timezone
	s := Status{
		State: state, Why: d.Why, Since: b.since, Started: b.started,
		Opens: whenever(d.Opens, zone), Refills: whenever(d.Refills, zone),
		Clock:     ClockStatus{Now: b.now, Trusted: b.trust.By != "", By: b.trust.By},
		Centre:    c.Box.Name,
		Hotspot:   HotspotStatus{Interface: c.Hotspot.Interface, Address: c.Hotspot.Address.String(), WiFi: b.wifi()},
		Board:     b.Board(),
		Residents: ResidentsStatus{Download: uint64(c.Limits.Download), Upload: uint64(c.Limits.Upload), Data: uint64(c.Limits.Data)},
		Problems:  append(b.standing(), b.problems...),
		Donations: []DonationStatus{},
	}
	s.Hotspot.Metered, s.Hotspot.MeteredWhy = d.Metered != "", d.Metered
	if s.Hotspot.Tracked = b.sample.Tracked; s.Hotspot.Tracked != 0 {
		if want := plan.Tracked(b.Memory); want > s.Hotspot.Tracked {
			s.Hotspot.TrackedWanted = want
		}
	}
	if g, ok := b.Gate.(interface{ Leaf() string }); ok {
		s.Hotspot.Queue = g.Leaf()
	}
	if b.setupAsked() {
		until := b.now.Add(b.setupEnd.Sub(b.Now()))
		s.Setup = &until
	}
	for i, x := range b.observation().Donations {
		chosen := i == d.Donation && state != decide.Starting
		status := b.donations[i].status(x, d.Internet, chosen, zone)
		b.prove(&status, b.Prober.Health(b.donations[i].uplink.Interface))
		if b.donations[i].WiFi != nil {
			status.Signal = b.Joiner.State(status.Interface).Signal
		}
		s.Donations = append(s.Donations, status)
	}
	slices.Sort(s.Problems)
	v := View{
		State: state, Opens: d.Opens, Refills: d.Refills, Config: c, Essential: b.applied && b.essential(),
		DataResets: b.dayEnds(),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.view, b.status, b.looked = v, s, b.Now()
}

// standing returns the problems that last until somebody, or a period's end, mends them.
func (b *Box) standing() []string {
	all := []string{}
	if b.Refused != nil {
		all = append(all, b.Refused.Error())
	}
	if b.Lost != nil && slices.ContainsFunc(b.donations, func(d *donation) bool { return d.Cap != 0 && d.standing.Lost }) {
		all = append(all, b.Lost.Error())
	}
	return all
}

// Looked returns when the loop last finished a round, by the clock of Parts.Now. One does at least every few seconds.
func (b *Box) Looked() time.Time {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.looked
}

func (d *donation) status(
	x decide.Donation, internet decide.Internet, chosen bool, zone *time.Location,
) DonationStatus {
	l := d.standing
	s := DonationStatus{
		Name: d.Name, Interface: d.Interface,
		Chosen: chosen && internet == decide.AllInternet, Essential: chosen && internet == decide.EssentialOnly,
		Kind: d.uplink.Kind, Open: x.Open, Opens: whenever(x.Opens, zone),
		PausedBy: d.pausedBy, Works: x.Works, Why: x.Why, Slow: x.Slow, Servers: []string{}, Spent: x.Spent,
		Cap: uint64(d.Cap), Used: l.Used, Over: l.Over, Granted: l.Granted, Left: l.Left, Reserve: l.Reserve, Margin: l.Margin,
		Daily: l.Ration, Lost: d.Cap != 0 && l.Lost, Broadcasts: l.Broadcasts, BroadcastsCount: d.Broadcast,
		Period: d.Period, Began: whenever(l.Start, zone), Refills: whenever(l.Resets, zone),
		Days: []DayStatus{},
	}
	if d.uplink.Present {
		s.Line = d.uplink.Interface
	}
	for _, a := range d.servers() {
		s.Servers = append(s.Servers, a.String())
	}
	for _, day := range append(d.book.Days(), l.Today) {
		if day.Date != 0 {
			date := fmt.Sprintf("%04d-%02d-%02d", day.Date/10000, day.Date/100%100, day.Date%100)
			s.Days = append(s.Days, DayStatus{Date: date, Bytes: day.Bytes})
		}
	}
	return s
}

// prove says what a line was last proved by.
func (b *Box) prove(s *DonationStatus, h uplink.Health) {
	for to, p := range map[**ProofStatus]uplink.Proof{
		&s.ProvedNames: h.Names, &s.ProvedPage: h.Page, &s.ProvedTraffic: h.Traffic,
	} {
		if !p.At.IsZero() {
			// As long ago by the time of day, which may have been set since.
			*to = &ProofStatus{At: b.now.Add(p.At.Sub(b.Now())).Round(time.Millisecond), What: p.What}
		}
	}
}

// whenever returns a time in the box's zone, nil for none.
func whenever(t time.Time, zone *time.Location) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.In(zone)
	return &t
}
