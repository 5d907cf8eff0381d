package appliance

import (
	"errors"
	"net/netip"
	"time"

	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/autorate"
	"passerelle/netctl/uplink"
)

// LineMeter is what the loop needs of uplink.Meter.
type LineMeter interface {
	Measure() (uplink.Measured, error)
	Probe() error
	Close()
}

// pacer keeps the rates of the line in use a little below its current capacity (package autorate), so that packets queue in the
// box, whose scheduling is fair, and not beyond it. It works while somebody is online. It belongs to the loop's goroutine.
type pacer struct {
	gate rateGate
	open func(line uplink.Status, target netip.Addr) (LineMeter, error) // nil if rates never change
	now  func() time.Time

	line   pacedLine
	meter  LineMeter    // nil while the pacer does not work
	ticker *time.Ticker // nil while the pacer does not work
	err    error        // of the last tick, or why there is no meter
	start  time.Time    // when the control law's time begins
	state  autorate.State
	others map[pacedLine]autorate.State // of lines that were in use before
	out    autorate.Output
	rx, tx autorate.Counter
	passed passed
	set    time.Time // when the rates were last set
	rates  [2]uint64 // the rates set then: down, up
	budget probeBudget
}

// rateGate is what the pacer needs of netctl.Gate.
type rateGate interface {
	SetRate(device string, rate uint64) error
	ShaperLoad(device string) (netctl.ShaperLoad, error)
}

// pacedLine is a line, and where it is shaped. Each has rates of its own.
type pacedLine struct {
	hotspot string // the device that downloads leave by
	device  string
	index   int
	address netip.Prefix
	target  netip.Addr // of probes; invalid if there is none
}

const (
	// setAgain is the time after which unchanged rates are set again: a reload of the plan may have reset them.
	setAgain = 2 * time.Second
	// setStep is the smallest relative change of a rate that is worth a call.
	setStep = .005
	// fastestLine, in bit/s, bounds what a 32-bit counter can have counted in a tick.
	fastestLine = 10e9
)

// follow starts, changes or stops the pacer after a pass of the loop. d is the donation in use, nil to stop.
func (p *pacer) follow(d *donation, hotspot string) {
	if d == nil || p.open == nil {
		p.stop()
		return
	}
	line := pacedLine{hotspot: hotspot, device: d.uplink.Interface, index: d.uplink.Index, address: d.uplink.Address}
	if all := d.servers(); len(all) > 0 {
		line.target = all[0]
	}
	down, up := plan.AutorateLimits(d.Donation)
	limits := autorate.Limits{Down: float64(down), Up: float64(up)}
	switch {
	case p.line != line:
		p.stop()
		p.turnTo(line, limits)
		p.rx, p.tx, p.passed, p.rates = autorate.Counter{}, autorate.Counter{}, passed{}, [2]uint64{}
		p.out = autorate.Output{}
	default:
		p.state = p.state.SetLimits(limits)
	}
	p.budget.configure(d, p.now())
	if p.meter != nil {
		return
	}
	if p.meter, p.err = p.open(d.uplink, line.target); p.err != nil {
		p.meter = nil
		return
	}
	p.ticker = time.NewTicker(autorate.Tick)
	p.tick() // at once, since a new line starts at a low rate
}

// maxLines bounds how many lines are remembered. It is more than a box has.
const maxLines = 16

// turnTo switches to another line, with the state remembered for it, so that lines used alternately are not measured from the start
// each time.
func (p *pacer) turnTo(line pacedLine, limits autorate.Limits) {
	if p.start.IsZero() {
		p.start = p.now()
	} else {
		if p.others == nil || len(p.others) >= maxLines {
			p.others = map[pacedLine]autorate.State{}
		}
		p.others[p.line] = p.state
	}
	known, ok := p.others[line]
	delete(p.others, line)
	if p.line, p.state = line, autorate.New(limits); ok {
		p.state = known.SetLimits(limits)
	}
}

// stop ends the measurements. The line's state and rates stay.
func (p *pacer) stop() {
	if p.meter == nil {
		return
	}
	p.meter.Close()
	p.ticker.Stop()
	p.meter, p.ticker, p.err = nil, nil, nil
	p.rx, p.tx, p.passed = autorate.Counter{}, autorate.Counter{}, passed{}
}

// ticks is when the next tick is due, nil while the pacer does not work.
func (p *pacer) ticks() <-chan time.Time {
	if p.ticker == nil {
		return nil
	}
	return p.ticker.C
}

// tick measures the line and sets its rates. After an error the rates stay as they are.
func (p *pacer) tick() {
	now := p.now()
	seen, err := p.meter.Measure()
	down, downErr := p.gate.ShaperLoad(p.line.hotspot)
	up, upErr := p.gate.ShaperLoad(p.line.device)
	if p.err = errors.Join(err, downErr, upErr); p.err != nil {
		return
	}
	in := autorate.Input{
		Now:        now.Sub(p.start),
		Down:       autorate.Traffic{Backlog: down.Backlog},
		Up:         autorate.Traffic{Backlog: up.Backlog},
		Unanswered: seen.Unanswered,
		NoProbes:   !p.line.target.IsValid() || !p.budget.affords(now),
	}
	in.Down.Bytes, _ = p.rx.Since(in.Now, seen.RxBytes, fastestLine)
	in.Down.Lost = p.passed.lost(in.Down.Bytes, down)
	in.Up.Bytes, _ = p.tx.Since(in.Now, seen.TxBytes, fastestLine)
	for _, x := range seen.Trips {
		source := autorate.Flow
		if x.Probe {
			source = autorate.Probe
		}
		in.Samples = append(in.Samples, autorate.Sample{Source: source, Sent: x.Sent.Sub(p.start), Trip: x.Trip})
	}
	p.state, p.out = autorate.Update(p.state, in)
	if p.out.Probe && !in.NoProbes {
		p.budget.spend(now)
		_ = p.meter.Probe() // an error is ignored: it counts as an unanswered probe
	}
	p.err = p.setRates(now)
}

// passed is the number of bytes that the residents' queues had sent and held at the last tick.
type passed struct {
	last  netctl.ShaperLoad
	known bool
}

// lost returns how many of the bytes that arrived over the line since the last tick will not reach residents: their queues dropped
// them, or they were for the box. The box's own pages, which pass the queues but came over no line, hide some of them.
func (p *passed) lost(arrived uint64, now netctl.ShaperLoad) uint64 {
	last, known := p.last, p.known
	p.last, p.known = now, true
	if !known || now.Sent < last.Sent { // the class was replaced
		return 0
	}
	if reached := now.Sent - last.Sent + now.Backlog; reached < arrived+last.Backlog {
		return min(arrived, arrived+last.Backlog-reached)
	}
	return 0
}

// setRates sets the rates of both directions, if they changed.
func (p *pacer) setRates(now time.Time) error {
	want := [2]uint64{uint64(p.out.Down), uint64(p.out.Up)}
	changed := false
	for i, rate := range want {
		changed = changed || max(rate, p.rates[i])-min(rate, p.rates[i]) > uint64(setStep*float64(p.rates[i]))
	}
	if !changed && now.Sub(p.set) < setAgain {
		return nil
	}
	p.set, p.rates = now, want
	return errors.Join(p.gate.SetRate(p.line.hotspot, want[0]), p.gate.SetRate(p.line.device, want[1]))
}

// status returns the rates of the donation's line, nil if the pacer does not pace it.
func (p *pacer) status(d *donation) *state.Rate {
	if p.meter == nil || p.err != nil || d.uplink.Index != p.line.index || p.out.Down == 0 {
		return nil
	}
	r := &state.Rate{
		Down: uint64(p.out.Down), Up: uint64(p.out.Up),
		DownHeld: p.out.HeldDown.String(), UpHeld: p.out.HeldUp.String(), Unprobed: p.out.Passive,
	}
	if p.out.Known {
		delay := float64(p.out.Delay.Round(time.Millisecond)) / float64(time.Millisecond)
		r.Delay = &delay
	}
	return r
}

// probeBudget bounds what probes cost: in an hour, and as a part of what the cap has for a day.
type probeBudget struct {
	hour, day bucket
	capped    bool
	empty     bool // nothing is left of the cap
}

const (
	probesAnHour = 1e6   // bytes
	probesPart   = 0.001 // fraction of the donation's daily budget
)

// configure adjusts the budget to the donation.
func (b *probeBudget) configure(d *donation, now time.Time) {
	b.capped, b.empty = d.Cap != 0, d.Cap != 0 && d.balance.AllSpent
	b.hour.resize(probesAnHour, time.Hour, now)
	b.day.resize(probesPart*float64(d.balance.DailyBudget), 24*time.Hour, now)
}

// affords tells whether a probe is within the budget.
func (b *probeBudget) affords(now time.Time) bool {
	return !b.empty && b.hour.left(now) >= uplink.ProbeBytes && (!b.capped || b.day.left(now) >= uplink.ProbeBytes)
}

// spend charges a probe.
func (b *probeBudget) spend(now time.Time) {
	b.hour.take(uplink.ProbeBytes, now)
	b.day.take(uplink.ProbeBytes, now)
}

// bucket is a token bucket of bytes, which starts full.
type bucket struct {
	size  float64
	each  time.Duration // in which it fills up
	spent float64
	at    time.Time
}

func (b *bucket) resize(size float64, each time.Duration, now time.Time) {
	b.left(now)
	b.size, b.each = size, each
}

func (b *bucket) left(now time.Time) float64 {
	if !b.at.IsZero() && b.each > 0 {
		b.spent = max(0, b.spent-b.size*now.Sub(b.at).Seconds()/b.each.Seconds())
	}
	b.at = now
	return b.size - b.spent
}

func (b *bucket) take(n float64, now time.Time) {
	b.left(now)
	b.spent += n
}
