package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/ledger"
	"passerelle/appliance/plan"
	"passerelle/appliance/radios"
	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/uplink"
	"passerelle/netctl/wpa"
)

// stableAfter is how long a line must have worked before the box switches back to it: a flapping line would break
// everybody's connections each time.
const stableAfter = 30 * time.Second

// lines are the donations with their links and accounts. They tell which donations work, select what the prober checks, and
// grant tranches to the kernel only after these were stored. They don't choose a donation, and know nothing of residents. They
// belong to the loop's goroutine.
type lines struct {
	gate     lineGate
	uplinks  Uplinks
	prober   Prober
	joiner   Joiner
	store    Store
	accounts map[string]*ledger.Account
	paused   map[string]ledger.Pause // also of those not in the configuration now
	boot     string
	now      func() time.Time // measures delays
	problem  report           // records errors that stop nothing
	wake     func()           // triggers the next pass of the loop

	config     *config.Config
	clock      time.Time // the time of day, in the box's zone
	trusted    bool
	all        []*donation // in the configuration's order
	chosen     *donation   // used for residents' packets, or in a pause for their DNS queries; nil if there is none
	lastChosen *donation   // the last one chosen, nil if none was
	hotspot    uplink.Status
	networks   []netip.Prefix // that the machine is connected to, without the hotspot

	// Broadcast counters by the line's interface, read before and after the lines' counters.
	broadcastsBefore, broadcastsAfter map[string]uint64
}

// lineGate is what lines need of netctl.Gate.
type lineGate interface {
	Broadcasts() (map[string]uint64, error)
	Grant(ctx context.Context, t netctl.Tranche) error
	Revoke(ctx context.Context, chain string) error
}

// newLines returns lines without a configuration.
func newLines(p Parts, problem report, wake func()) *lines {
	l := &lines{
		gate: p.Gate, uplinks: p.Uplinks, prober: p.Prober, joiner: p.Joiner, store: p.Store,
		accounts: p.Accounts, paused: p.Paused, boot: p.Boot, now: p.Now, problem: problem, wake: wake,
	}
	if l.paused == nil {
		l.paused = map[string]ledger.Pause{}
	}
	return l
}

// donation is a donation as the loop knows it. Donations are identified by name: a renamed one is another donation.
type donation struct {
	config.Donation
	policy     ledger.Policy
	account    *ledger.Account
	observed   bool // the account has had a reading since the daemon started
	balance    ledger.Balance
	uplink     uplink.Status
	worksSince time.Time // since when its line has worked and was not slow; zero if it does not
	pause      ledger.Pause
	pauseBegan time.Time // when the pause began, by lines.now; zero if an earlier daemon began it
	writeErr   error     // of the last write of its account
	grantErr   error     // of the last grant
	lastWrite  time.Time // of its account, or the last attempt
	pauseErr   error     // of the last write of a pause's end
	pauseTried time.Time // when that write was
	tomorrow   nextOpening
	dayLeft    struct { // see lines.dayLeft
		until time.Time
		part  float64
	}
}

// configure applies the configuration's donations. The one in use stays in use, at any index.
func (l *lines) configure(c *config.Config) {
	old := map[string]*donation{}
	for _, d := range l.all {
		old[d.Name] = d
	}
	l.config, l.all = c, nil
	for _, c := range c.Donations {
		d := old[c.Name]
		if d == nil {
			d = &donation{account: l.accounts[c.Name], pause: l.paused[c.Name]}
		}
		if d.account == nil {
			d.account = ledger.Open(nil, nil)
			l.accounts[c.Name] = d.account
		}
		if d.Interface != c.Interface { // another link
			d.uplink, d.worksSince = uplink.Status{}, time.Time{}
		}
		d.dayLeft.until = time.Time{} // the hours may have changed
		d.Donation, d.policy = c, policyOf(c)
		d.balance = d.account.Balance(d.policy)
		l.all = append(l.all, d)
	}
	if l.index(l.chosen) < 0 {
		l.chosen = nil
	}
}

// setTime sets the time of day, in the box's zone.
func (l *lines) setTime(now time.Time, trusted bool) { l.clock, l.trusted = now, trusted }

// index returns a donation's index, -1 if it is not among them.
func (l *lines) index(d *donation) int { return slices.Index(l.all, d) }

// choose selects the donation with that index for residents' packets, -1 for none.
func (l *lines) choose(i int) {
	l.chosen = nil
	if i >= 0 {
		l.chosen = l.all[i]
	}
}

// find returns the index of the donation with that name, -1 if there is none.
func (l *lines) find(name string) int {
	return slices.IndexFunc(l.all, func(d *donation) bool { return d.Name == name })
}

// pause stores the donation's pause; the zero one removes it. A donation is skipped while it is paused.
func (l *lines) pause(d *donation, p ledger.Pause) error {
	err := l.store.SetPaused(d.Name, p)
	if err != nil && p.By == "" {
		return err // a failed write must not share more than before
	}
	d.pause, l.paused[d.Name], d.pauseBegan = p, p, l.now()
	return err
}

// pauseUntilTomorrow is pause until the next day's opening.
func (l *lines) pauseUntilTomorrow(d *donation, by string) error {
	p, _ := ledger.Pause{By: by, Tomorrow: true}.At(l.clock, l.trusted, func() time.Time { return l.nextDay(d, l.clock) })
	return l.pause(d, p)
}

// nextDay returns when a pause until the next day ends, for a pause of the donation that begins at t.
func (l *lines) nextDay(d *donation, t time.Time) time.Time {
	return nextDay(t, l.config.Centre.Hours, d.Hours)
}

// tomorrow returns when such a pause would end if it began now, zero while the clock is not trusted.
func (l *lines) tomorrow(d *donation) time.Time {
	if !l.trusted {
		return time.Time{}
	}
	return d.tomorrow.of(l.clock, l.config, func(t time.Time) time.Time { return l.nextDay(d, t) })
}

// endPauses ends the pauses whose time is over. Once the clock is trusted, it computes a missing end: from the day on which the
// pause began if this daemon knows it, otherwise from the current day. A pause whose end cannot be written goes on, and the write is
// retried.
func (l *lines) endPauses() {
	now := l.now()
	for _, d := range l.all {
		p, changed := d.pause.At(l.clock, l.trusted, func() time.Time {
			began := l.clock
			if !d.pauseBegan.IsZero() {
				began = began.Add(-now.Sub(d.pauseBegan))
			}
			return l.nextDay(d, began)
		})
		if !changed || d.pauseErr != nil && now.Sub(d.pauseTried) < writeRetry {
			l.problem(state.DiskFails, d.pauseErr)
			continue
		}
		d.pauseTried = now
		if d.pauseErr = l.store.SetPaused(d.Name, p); d.pauseErr == nil {
			d.pause, l.paused[d.Name] = p, p
		}
		l.problem(state.DiskFails, d.pauseErr)
	}
}

// read reads the state and counters of all uplinks and the hotspot. It returns whether it succeeded.
func (l *lines) read() bool {
	names := make([]string, 0, len(l.all)+1)
	for _, d := range l.all {
		names = append(names, d.Interface)
	}
	up, err := l.uplinks.Read(append(names, plan.Hotspot(l.config)))
	if err != nil {
		l.problem(state.LinesUnread, err)
		return false
	}
	for i, d := range l.all {
		d.uplink = up[i]
	}
	l.hotspot = up[len(l.all)]
	return true
}

// readNetworks reads which networks the machine is connected to. Residents may not reach these.
func (l *lines) readNetworks() {
	n, err := l.uplinks.Networks(plan.Hotspot(l.config))
	if err != nil {
		l.problem(state.LinesUnread, err)
		return
	}
	l.networks = n
}

// lans returns the lines that are present, with their lenders' own networks.
func (l *lines) lans() (all []plan.LAN) {
	for _, d := range l.all {
		if d.uplink.Present {
			all = append(all, plan.LAN{Interface: d.uplink.Interface, Networks: d.uplink.Networks})
		}
	}
	return all
}

// radios returns the present interfaces that join lenders' Wi-Fi networks.
func (l *lines) radios() (names []string) {
	for _, d := range l.all {
		if d.WiFi != nil && !l.ended(d) && d.uplink.Present {
			names = append(names, d.Interface)
		}
	}
	return names
}

// joins returns the lenders' Wi-Fi networks, as the radios need them.
func (l *lines) joins() (all []radios.Uplink) {
	for _, d := range l.all {
		if d.WiFi != nil && !l.ended(d) {
			all = append(all, radios.Uplink{Interface: d.Interface, MHz: l.joiner.State(d.Interface).MHz})
		}
	}
	return all
}

// lentNetworks returns the lenders' Wi-Fi networks whose interface is present, with wpa_supplicant's sockets.
func (l *lines) lentNetworks(runDir string) (all []wpa.Network) {
	for _, d := range l.all {
		if d.WiFi != nil && !l.ended(d) && d.uplink.Present {
			all = append(all, wpa.Network{
				Interface: d.Interface, Socket: plan.SupplicantSocket(d.Interface, runDir), SSID: string(d.WiFi.SSID),
			})
		}
	}
	return all
}

// open tells whether the donation is within its hours and its days. While the clock is not trusted, hours are ignored, since they
// are the centre's; but a donation with a last day waits until the date is known, since that day was promised to its lender. The
// line is joined meanwhile: a time server may be reachable through it.
func (l *lines) open(d *donation) bool {
	if !l.trusted {
		return d.Until == ""
	}
	return d.Hours.Open(l.clock) && !l.ended(d)
}

// ended tells whether the donation's last day is over. While the clock is not trusted, it returns false.
func (l *lines) ended(d *donation) bool { return l.trusted && d.Until.Over(l.clock) }

// probe sets the lines to probe: those that may send anything. Busy tells whether residents use the chosen one now.
func (l *lines) probe(busy bool) {
	var probed []uplink.Candidate
	for _, d := range l.all {
		s := d.balance
		if l.open(d) && d.pause.By == "" && (d.Cap == 0 || !s.AllSpent && s.SelfAllowance > 0) {
			candidate := uplink.Candidate{Status: d.uplink, InUse: busy && d == l.chosen}
			candidate.DNS = d.servers()
			probed = append(probed, candidate)
		}
	}
	var zones []uplink.Zone
	for _, z := range l.config.Health.Zones {
		zones = append(zones, uplink.Zone{Name: z.Name, In: z.Network})
	}
	l.prober.Set(probed, zones)
}

// servers returns the DNS servers for residents' queries on the donation's line: the donation's own, otherwise those of the line.
// Servers in the line's network come first: not all of a machine's servers are reachable on every line, and only
// plan.MaxServers are used.
func (d *donation) servers() []netip.Addr {
	dns := d.DNS
	if len(dns) == 0 {
		dns = d.uplink.DNS
	}
	var near, far []netip.Addr
	for _, a := range dns {
		if slices.ContainsFunc(d.uplink.Networks, func(n netip.Prefix) bool { return n.Contains(a) }) {
			near = append(near, a)
		} else {
			far = append(far, a)
		}
	}
	all := append(near, far...)
	return all[:min(len(all), plan.MaxServers)]
}

// works tells whether a donation leads to the internet, and why not.
func (l *lines) works(d *donation) (works bool, why string) {
	if d.writeErr != nil {
		return false, fmt.Sprintf("the account of %q cannot be written, so it is not used: %v", d.Name, d.writeErr)
	}
	if err := l.overlap(d); err != nil {
		return false, err.Error()
	}
	if d.WiFi != nil && d.uplink.Present {
		if j := l.joiner.State(d.Interface); !j.Associated && j.Why != "" {
			return false, j.Why
		}
	}
	if !d.uplink.Works {
		return false, d.uplink.Why
	}
	if h := l.prober.Health(d.uplink.Interface); h.Known && !h.Works {
		return false, h.Why
	}
	return true, ""
}

// overlap returns an error if a donation's network and the hotspot's have addresses in common.
func (l *lines) overlap(d *donation) error {
	if slices.ContainsFunc(d.uplink.Networks, l.config.Hotspot.Address.Overlaps) {
		return fmt.Errorf("the network of %s overlaps the hotspot's: set hotspot.address to another network", d.uplink.Interface)
	}
	return nil
}

// trackHealth updates worksSince of each line.
func (l *lines) trackHealth() {
	now := l.now()
	for _, d := range l.all {
		l.problem(state.NetworkOverlap, l.overlap(d), "donation", d.Name)
		if works, _ := l.works(d); !works || l.prober.Health(d.uplink.Interface).Slow {
			d.worksSince = time.Time{}
		} else if d.worksSince.IsZero() {
			d.worksSince = now
		}
	}
}

// observed returns the donation as Decide needs it.
func (l *lines) observed(d *donation) decide.Donation {
	s := d.balance
	x := decide.Donation{
		Name: d.Name, Priority: d.Priority, Open: l.open(d), Paused: d.pause.By != "",
		Spent: s.Spent, Lost: s.Lost, Reserve: d.Reserve != 0 && !s.AllSpent, Resets: s.Resets,
		DailyBudget: decide.Unlimited, Metered: metered(d.Donation),
	}
	if d.Cap != 0 {
		x.DailyBudget = s.DailyBudget
	}
	x.Ended, x.Undated = l.ended(d), d.Until != "" && !l.trusted
	if !x.Open && !x.Ended {
		if at, opens, ok := d.Hours.Next(l.clock); ok && opens {
			x.Opens = at
		}
	}
	x.Works, x.Why = l.works(d)
	x.Slow = x.Works && l.prober.Health(d.uplink.Interface).Slow
	x.Stable = x.Works && !d.worksSince.IsZero() && l.now().Sub(d.worksSince) >= stableAfter
	return x
}

// observations returns the donations as Decide needs them, in the configuration's order.
func (l *lines) observations() (all []decide.Donation) {
	for _, d := range l.all {
		all = append(all, l.observed(d))
	}
	return all
}

// metered returns why a donation's line is metered, "" if it is not.
func metered(d config.Donation) string {
	switch {
	case d.Metered == "yes":
		return fmt.Sprintf("%q is metered by configuration", d.Name)
	case d.Metered == "no":
		return ""
	case d.Cap != 0:
		return fmt.Sprintf("%q has a cap of %v", d.Name, d.Cap)
	case d.Interface == config.USB:
		return fmt.Sprintf("%q is a phone on USB", d.Name)
	case d.WiFi != nil:
		return fmt.Sprintf("%q is on Wi-Fi, as a phone's hotspot is", d.Name)
	}
	return ""
}
