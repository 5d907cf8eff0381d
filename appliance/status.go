package appliance

import (
	"slices"
	"time"

	"passerelle/appliance/decide"
	"passerelle/appliance/ledger"
	"passerelle/appliance/supervise"
	"passerelle/netctl"
	"passerelle/netctl/plan"
)

// Status is what `passerelle status --json` prints. Names and meanings are stable: fields are added, never changed.
// Times are RFC 3339, sizes bytes, rates bits per second. It says nothing of a single resident.
type Status struct {
	State   decide.State `json:"state"`          // see decide.State
	Why     string       `json:"why"`            // one English sentence
	Since   time.Time    `json:"since"`          // of the state
	Opens   *time.Time   `json:"opens,omitzero"` // state closed: the next opening
	Refills *time.Time   `json:"refills,omitzero"`

	Centre    string           `json:"centre"`
	Hotspot   HotspotStatus    `json:"hotspot"`
	Residents ResidentsStatus  `json:"residents"`
	Donations []DonationStatus `json:"donations"` // in the configuration's order
	Children  []ChildStatus    `json:"children"`
	Problems  []string         `json:"problems"` // of the last round, empty if all went well
	Started   time.Time        `json:"started"`  // the daemon
}

// HotspotStatus is the network residents join.
type HotspotStatus struct {
	Interface string `json:"interface"`
	Address   string `json:"address"`
	Queue     string `json:"queue,omitempty"` // kind of each resident's queue: "fq_codel" or "bfifo"; "" before the first
}

// ResidentsStatus counts residents.
type ResidentsStatus struct {
	Sessions int    `json:"sessions"` // running
	Download uint64 `json:"download"` // each one's limit, 0: none
	Upload   uint64 `json:"upload"`
	Data     uint64 `json:"data"` // each one's data a day, 0: no limit
}

// DonationStatus is a donation and its line.
type DonationStatus struct {
	Name      string     `json:"name"`
	Interface string     `json:"interface"`
	Chosen    bool       `json:"chosen"` // residents' packets go this way
	Open      bool       `json:"open"`
	Opens     *time.Time `json:"opens,omitzero"`
	Works     bool       `json:"works"`
	Why       string     `json:"why,omitempty"` // it does not work
	Cap       uint64     `json:"cap"`           // 0: none
	Used      uint64     `json:"used"`          // in this period, since the machine started
	Granted   uint64     `json:"granted"`       // the kernel may spend so much more by itself
	Left      uint64     `json:"left"`          // of the cap, for residents; 0 without one
	Period    string     `json:"period"`
	Refills   *time.Time `json:"refills,omitzero"` // when the next period begins
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
	state := b.state
	s := Status{
		State: state, Why: d.Why, Since: b.since, Started: b.started,
		Opens: whenever(d.Opens), Refills: whenever(d.Refills),
		Centre:    c.Box.Name,
		Hotspot:   HotspotStatus{Interface: c.Hotspot.Interface, Address: c.Hotspot.Address.String()},
		Residents: ResidentsStatus{Download: uint64(c.Limits.Download), Upload: uint64(c.Limits.Upload), Data: uint64(c.Limits.Data)},
		Problems:  append([]string{}, b.problems...),
		Donations: []DonationStatus{},
	}
	if g, ok := b.Gate.(interface{ Leaf() string }); ok {
		s.Hotspot.Queue = g.Leaf()
	}
	for i, x := range b.observation().Donations {
		conf := c.Donations[i]
		used := b.account(conf.Name).Used
		ds := DonationStatus{
			Name: x.Name, Interface: conf.Interface, Chosen: i == d.Donation && state == decide.Sharing, Open: x.Open,
			Opens: whenever(x.Opens), Works: x.Works, Why: x.Why,
			Cap: uint64(conf.Cap), Used: used, Period: conf.Period, Refills: whenever(x.Refills),
		}
		if conf.Cap != 0 {
			ds.Granted = min(b.held(plan.Chain(conf)), netctl.Unlimited)
			if !x.Spent {
				ds.Left = usable(conf) - min(usable(conf), used)
			}
		}
		s.Donations = append(s.Donations, ds)
	}
	slices.Sort(s.Problems)
	now := b.Now().In(c.Box.Timezone)
	v := View{
		State: state, Opens: d.Opens, Refills: d.Refills, Config: c,
		DataResets: ledger.PeriodEnd(now, "day", 0),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.view, b.status = v, s
}

func whenever(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
