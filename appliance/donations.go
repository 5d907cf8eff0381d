package appliance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/ledger"
	"passerelle/netctl"
	"passerelle/netctl/plan"
	"passerelle/netctl/uplink"
)

const (
	// A line that was lost is taken again once it has worked for so long: one that comes and goes would break everybody's
	// connections each time.
	steadyAfter = 30 * time.Second

	rewrite  = 5 * time.Second // between attempts to write to a disk that failed, or for a kernel that took nothing
	minShare = 1 << 20         // bytes: a share that is off by less is left alone
)

// Accounts is where what was used of donations is written down.
type Accounts interface {
	// Put writes records by donation, and returns once they would survive a power cut.
	Put(records map[string]ledger.Record) error
	// SetPaused writes down who paused a donation, "" for nobody.
	SetPaused(donation, by string) error
}

// donation is a donation as the loop knows it. It goes by its name: one that is renamed is another.
type donation struct {
	config.Donation
	terms     ledger.Terms
	book      *ledger.Book
	observed  bool // the book has seen the kernel since the daemon started
	standing  ledger.Standing
	uplink    uplink.Status
	worksAt   time.Time // since when its uplink has worked and was not slow, zero if it does not
	pausedBy  string    // who paused it, "" if nobody
	unwritten error     // why its account cannot be written
	refused   error     // why the kernel did not take its last tranche
	tried     time.Time // when it was last written
	dayLeft   struct {  // see Box.dayLeft
		until time.Time
		part  float64
	}
}

// configure takes up the configuration's donations. The one in use stays in use, wherever it stands now.
func (b *Box) configure() {
	chosen := b.chosen()
	old := map[string]*donation{}
	for _, d := range b.donations {
		old[d.Name] = d
	}
	b.donations = nil
	for _, c := range b.Config.Donations {
		d := old[c.Name]
		if d == nil {
			d = &donation{book: b.Books[c.Name], pausedBy: b.Paused[c.Name]}
		}
		if d.book == nil {
			d.book = ledger.Open(nil, nil)
			b.Books[c.Name] = d.book
		}
		if d.Interface != c.Interface { // another line
			d.uplink, d.worksAt = uplink.Status{}, time.Time{}
		}
		d.dayLeft.until = time.Time{} // the hours may be others
		d.Donation, d.terms = c, terms(c)
		d.standing = d.book.Standing(d.terms)
		b.donations = append(b.donations, d)
	}
	b.decision.Donation = slices.Index(b.donations, chosen)
}

// terms are what the lender agreed to, in the ledger's words.
func terms(c config.Donation) ledger.Terms {
	t := ledger.Terms{
		Cap: uint64(c.Cap), Reserve: uint64(c.Reserve), Period: c.Period, Resets: c.Resets, Chain: plan.Chain(c),
		Broadcast: c.Broadcast,
	}
	if c.Reserve != 0 {
		t.ReserveChain = plan.ReserveChain(c)
	}
	if c.Download != 0 && c.Upload != 0 {
		t.Rate = uint64(c.Download + c.Upload)
	}
	return t
}

// chosen returns the donation that residents' packets go by now, in a pause their questions for names; nil if there is none.
func (b *Box) chosen() *donation {
	if i := b.decision.Donation; i >= 0 {
		return b.donations[i]
	}
	return nil
}

// observeLines looks at all uplinks. It returns whether it could.
func (b *Box) observeLines() bool {
	names := make([]string, 0, len(b.donations)+1)
	for _, d := range b.donations {
		names = append(names, d.Interface)
	}
	up, err := b.Uplinks.Read(append(names, plan.Hotspot(b.Config)))
	if err != nil {
		b.problem(err)
		return false
	}
	for i, d := range b.donations {
		d.uplink = up[i]
	}
	b.hotspot = up[len(b.donations)]
	return true
}

// book shows the books what the kernel and the lines have counted. Both must have been read, the kernel first: between
// the two a byte may be counted twice, but none is missed.
func (b *Box) book() {
	for _, d := range b.donations {
		d.observe(b.reading(d, b.sample.Tranches))
	}
}

func (d *donation) observe(r ledger.Reading) {
	d.book.Observe(d.terms, r)
	d.standing, d.observed = d.book.Standing(d.terms), true
}

func (b *Box) reading(d *donation, tranches []netctl.Spent) ledger.Reading {
	r := ledger.Reading{
		Now: b.now, Trusted: b.trust.By != "", Boot: b.Boot, Line: ledger.Line{Name: d.Interface}, Tranches: tranches,
	}
	if u := d.uplink; u.Present {
		r.Line.Index, r.Line.Bytes = u.Index, u.RxBytes+u.TxBytes
		r.Line.BroadcastsBefore, r.Line.BroadcastsAfter = b.broadcastsBefore[u.Interface], b.broadcastsAfter[u.Interface]
	}
	return r
}

// readBroadcasts reads what was counted of the lines' broadcasts, and returns whether it could.
func (b *Box) readBroadcasts(to *map[string]uint64) bool {
	all, err := b.Gate.Broadcasts()
	if err != nil {
		b.problem(err)
		return false
	}
	*to = all
	return true
}

// lans are the lines that are there, with their lenders' own networks.
func (b *Box) lans() (all []plan.LAN) {
	for _, d := range b.donations {
		if d.uplink.Present {
			all = append(all, plan.LAN{Interface: d.uplink.Interface, Networks: d.uplink.Networks})
		}
	}
	return all
}

// open tells whether the donation is within its hours. A clock that cannot be trusted closes nothing.
func (b *Box) open(d *donation) bool { return b.trust.By == "" || d.Hours.Open(b.now) }

// probe has those lines asked that something may leave by.
func (b *Box) probe() {
	var probed []uplink.Candidate
	for _, d := range b.donations {
		s := d.standing
		if b.open(d) && d.pausedBy == "" && (d.Cap == 0 || !s.AllSpent && s.Own > 0) {
			line := uplink.Candidate{Status: d.uplink, Busy: b.busy(d)}
			line.DNS = d.servers()
			probed = append(probed, line)
		}
	}
	var zones []uplink.Zone
	for _, z := range b.Config.Health.Zones {
		zones = append(zones, uplink.Zone{Name: z.Name, In: z.Network})
	}
	b.Prober.Set(probed, zones)
}

// busy tells whether residents who are online use the donation's line now.
func (b *Box) busy(d *donation) bool {
	return b.applied && b.state == decide.Sharing && d == b.chosen() && len(b.sessions) > 0
}

// servers returns the name servers that residents' names go to by the donation's line: the donation's own, else those that
// came with the line. One in the line's network comes first: not all of a machine's are reached by every line, and few
// are asked.
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
	return all[:min(len(all), plan.MostServers)]
}

// judgeLine tells whether a donation leads to the internet, and why not.
func (b *Box) judgeLine(d *donation) (works bool, why string) {
	switch {
	case d.unwritten != nil:
		return false, fmt.Sprintf("what %q gives cannot be written down, so nothing is taken: %v", d.Name, d.unwritten)
	case overlap(d.uplink.Networks, b.Config.Hotspot.Address):
		return false, fmt.Sprintf("%s's network overlaps the hotspot's: give hotspot.address another network", d.uplink.Interface)
	}
	if d.WiFi != nil && d.uplink.Present {
		if j := b.Joiner.State(d.Interface); !j.Joined && j.Why != "" {
			return false, j.Why
		}
	}
	if !d.uplink.Works {
		return false, d.uplink.Why
	}
	if h := b.Prober.Health(d.uplink.Interface); h.Known && !h.Works {
		return false, h.Why
	}
	return true, ""
}

func overlap(networks []netip.Prefix, hotspot netip.Prefix) bool {
	for _, n := range networks {
		if n.Overlaps(hotspot) {
			return true
		}
	}
	return false
}

// watchLines notes since when each line has worked, and was not slow.
func (b *Box) watchLines() {
	now := b.Now()
	for _, d := range b.donations {
		if works, _ := b.judgeLine(d); !works || b.Prober.Health(d.uplink.Interface).Slow {
			d.worksAt = time.Time{}
		} else if d.worksAt.IsZero() {
			d.worksAt = now
		}
	}
}

// observed is the donation as Decide looks at it.
func (b *Box) observed(d *donation) decide.Donation {
	s := d.standing
	x := decide.Donation{
		Name: d.Name, Priority: d.Priority, Open: b.open(d), Paused: d.pausedBy != "",
		Spent: s.Spent, Lost: s.Lost, Reserve: d.Reserve != 0 && !s.AllSpent, Refills: s.Resets,
		Daily: decide.Unlimited, Metered: metered(d.Donation),
	}
	if d.Cap != 0 {
		x.Daily = s.Ration
	}
	if !x.Open {
		if at, opens, ok := d.Hours.Next(b.now); ok && opens {
			x.Opens = at
		}
	}
	x.Works, x.Why = b.judgeLine(d)
	x.Slow = x.Works && b.Prober.Health(d.uplink.Interface).Slow
	x.Steady = x.Works && !d.worksAt.IsZero() && b.Now().Sub(d.worksAt) >= steadyAfter
	return x
}

// metered says why a donation's line is metered, "" if it is not.
func metered(d config.Donation) string {
	switch {
	case d.Metered == "yes":
		return fmt.Sprintf("the configuration says so of %q", d.Name)
	case d.Metered == "no":
		return ""
	case d.Cap != 0:
		return fmt.Sprintf("%q has a cap of %v", d.Name, d.Cap)
	case d.Interface == config.USB:
		return fmt.Sprintf("%q is a phone's line", d.Name)
	case d.WiFi != nil:
		return fmt.Sprintf("%q comes by Wi-Fi, as a phone's line does", d.Name)
	}
	return ""
}

// settle writes down what must be, and then grants what was written down. Where that fails, nothing is granted: sharing
// ends before the promise breaks. A donation without a cap promises nothing and is given all the same.
func (b *Box) settle(ctx context.Context) {
	if !b.applied {
		return
	}
	now := b.Now()
	chosen := b.chosen()
	records := map[string]ledger.Record{}
	writes := map[*donation]ledger.Write{}
	for _, d := range b.donations {
		if !d.observed || (d.unwritten != nil || d.refused != nil) && now.Sub(d.tried) < rewrite {
			b.problem(d.refused)
			continue
		}
		b.forget(ctx, d)
		if d.standing.Excess {
			b.revoke(ctx, d)
			continue
		}
		w, due := d.book.Due(d.terms, d == chosen)
		if d.unwritten != nil { // does the disk take it now?
			w = ledger.Write{}
			w.Record, due = d.book.Final(d.terms)
		}
		if due {
			records[d.Name], writes[d] = w.Record, w
		}
	}
	if len(writes) == 0 {
		return
	}
	err := b.Accounts.Put(records)
	b.problem(err)
	for d, w := range writes {
		d.tried = now
		if err != nil && d.Cap != 0 {
			d.unwritten = err
			b.Wake()
			continue
		}
		d.unwritten, d.refused = nil, nil
		d.book.Wrote(w)
		for _, t := range w.Grants {
			if err := b.Gate.Grant(ctx, t); err != nil {
				d.refused = err
				b.problem(err)
				continue
			}
			d.book.Granted(d.terms, t)
		}
		d.standing = d.book.Standing(d.terms)
	}
}

// revoke takes out of the kernel what is more than the lender gives.
func (b *Box) revoke(ctx context.Context, d *donation) {
	for _, chain := range []string{d.terms.Chain, d.terms.ReserveChain} {
		if chain != "" {
			b.problem(b.Gate.Revoke(ctx, chain))
		}
	}
	b.Wake() // what is left is granted anew
}

// forget takes out of the kernel the tranches that a donation had under other terms: a cap that came or went has another
// chain, and a reserve that went has none. Should those terms come back, they would be paid from and booked again.
func (b *Box) forget(ctx context.Context, d *donation) {
	capped, uncapped := d.Donation, d.Donation
	capped.Cap, uncapped.Cap = 1, 0
	for _, chain := range []string{plan.Chain(capped), plan.Chain(uncapped), plan.ReserveChain(d.Donation)} {
		held := func(s netctl.Spent) bool { return s.Chain == chain }
		if chain != d.terms.Chain && chain != d.terms.ReserveChain && slices.ContainsFunc(b.sample.Tranches, held) {
			b.problem(b.Gate.Revoke(ctx, chain))
		}
	}
}

// close writes the accounts once nothing is left in the kernel, so that of what it held nothing is lost.
func (b *Box) close() error {
	b.broadcastsBefore = b.broadcastsAfter // their counts are gone: what came since then counts
	if !b.observeLines() {
		return errors.New("close the accounts: the lines cannot be read")
	}
	records := map[string]ledger.Record{}
	for _, d := range b.donations {
		if !d.observed {
			continue
		}
		d.observe(b.reading(d, nil))
		if r, due := d.book.Final(d.terms); due {
			records[d.Name] = r
		}
	}
	if len(records) == 0 {
		return nil
	}
	return b.Accounts.Put(records)
}

// lasts returns how long the kernel has enough of the chosen donation's tranches, however much residents want: half of
// what is left of them, at the fastest that it may be spent. Nobody's connections break because the box looked too late.
// Names alone take little.
func (b *Box) lasts() time.Duration {
	d := b.chosen()
	if d == nil || d.Cap == 0 || b.decision.Internet == decide.NoInternet || len(b.sessions) == 0 && !b.essential() {
		return period
	}
	least := soonest
	if d.standing.Left <= d.standing.Granted {
		least = period / 4 // there is no more to grant, only another donation to be taken
	}
	bound := func(line, each config.Rate) float64 {
		rate := math.Inf(1)
		if line != 0 {
			rate = float64(line)
		}
		if each != 0 {
			rate = min(rate, float64(each)*float64(len(b.sessions))+float64(b.Config.Essential.Rate))
		}
		return rate
	}
	l := b.Config.Limits
	rate := bound(d.Download, l.Download) + bound(d.Upload, l.Upload)
	return max(least, time.Duration(float64(d.standing.Granted)/2*8/rate*float64(time.Second)))
}

// essential tells whether essential services are reached now.
func (b *Box) essential() bool {
	return b.decision.Internet != decide.NoInternet && len(b.Config.Essential.Names) > 0
}

// sharing is how the day is shared among those who came and those who are here. Without a cap, or before it is known what
// a day may use, only the limit of each counts.
func (b *Box) sharing(here map[netctl.MAC]bool) ledger.Sharing {
	s := ledger.Sharing{Left: math.MaxUint64, Limit: uint64(b.Config.Limits.Data)}
	if d := b.chosen(); d != nil && d.Cap != 0 && d.standing.Ration != 0 {
		s.Ration = d.standing.Ration
		s.Left = min(ledger.DayRest(s.Ration, d.standing.Today.Bytes), d.standing.Left)
		s.Expected, s.Coming = ledger.Expected(d.book.Days()), b.dayLeft(d)
	}
	for mac, used := range b.usage {
		s.Count(used, here[mac])
	}
	return s
}

// rest returns how many bytes a resident who used so many today may still use.
func rest(s ledger.Sharing, used uint64) uint64 {
	if s.Limit == 0 {
		return netctl.Unlimited // nothing in the kernel counts a resident's data
	}
	return s.Rest(used)
}

// dayLeft returns which part of the time that a donation is lent today is still to come.
func (b *Box) dayLeft(d *donation) float64 {
	const step = 15 * time.Minute
	if left := d.dayLeft.until.Sub(b.now); left > 0 && left <= step/3 { // else the clock was set back
		return d.dayLeft.part
	}
	var all, left int
	for t := ledger.PeriodStart(b.now, "day", 0); t.Before(ledger.PeriodEnd(b.now, "day", 0)); t = t.Add(step) {
		if d.Hours.Open(t) {
			all++
			if t.After(b.now) {
				left++
			}
		}
	}
	d.dayLeft.until, d.dayLeft.part = b.now.Add(step/3), float64(left)/float64(max(all, 1))
	return d.dayLeft.part
}
