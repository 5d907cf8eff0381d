// Package autorate is the law that sets the rates of a lent line whose capacity changes, as a phone's does. The box shares
// fairly only what waits in the box; so its rate must be a little below what the line carries now, in both directions.
//
// The law owns a line's [State] and nothing else. It has no clock, no socket and no timer: each 200 ms it is told what
// the counters, queues and round trips say ([Input]), and it answers with two rates and whether it wants a probe
// ([Output]). It does not know who lends, who uses, which device the line is, or what data costs: its caller sends
// the probes, keeps their budget, and says when there is none ([Input].NoProbes).
//
// It uses what costs nothing first: bytes at the line, the box's own backlog, the first round trips of residents'
// connections. What it believes of them:
//
//   - An answer that is late, or missing for long, shows a queue beyond the box. While there is one, what comes out of the
//     line is its capacity: the rate falls below that, so that the queue drains.
//   - Without one, while residents wait in the box, the rate rises: fast far below what the line carried lately, slowly
//     near it, more slowly on a line that always carries the same.
//   - Where the capacity of one tick says little about the next, as it flickers, a queue lowers the rate less, and it comes back
//     to more: who follows each change is always late, and a resident's single connection cannot follow.
//   - A line that stood still and then carried more than the rate had no wrong rate.
//   - Bytes clearly below the rate, just after the backlog in the box was gone, are a guess that the next sample decides.
//   - A new connection's round trip that is short proves that there is no queue. A long one may be a far server; only many
//     in a row are evidence. With these and the bytes alone, the law goes on without probes.
//   - A delay that stays, though the residents' part of the traffic fell, is a longer way (a handover) if it is constant,
//     and the lender's own use if it swings. To the latter the law gives way, down to the floor.
//   - Probes without delay while all connections wait come from a target on the near side of the line.
//
// It starts from cake-autorate (https://github.com/lynxthecat/cake-autorate), whose 20 probes a second would use up a
// prepaid phone in a week. The constants are in constants.go, with their reasons; the package sim has the simulator, and
// table_test.go the comparison.
package autorate

import "time"

// Limits are what the lender lends, in bit/s. A direction with 0 is not controlled.
type Limits struct{ Down, Up float64 }

// Input is what happened since the last update.
type Input struct {
	// Now is the time of a monotonic clock. The law wants an update each 200 ms ([Tick]). An update at the same time as
	// the last one, or at an earlier one, changes nothing but the clock.
	Now      time.Duration
	Down, Up Traffic
	// Samples are the round trips that ended since the last update. They are not kept.
	Samples []Sample
	// Unanswered is the age of the oldest probe that was sent after the last answered one, and has no answer yet; 0
	// without one.
	Unanswered time.Duration
	// NoProbes says that no probe can be sent, for example because the budget is spent.
	NoProbes bool
}

// Traffic is what happened in one direction.
type Traffic struct {
	Bytes   uint64 // that crossed the line's interface since the last update; see [Counter]
	Backlog uint64 // bytes that wait in the box's own queue now
	// Lost is how many of the bytes of a download reached no resident, for example because the box's queue had no room. They
	// take the line's capacity all the same.
	Lost uint64
}

// Source is where a sample comes from.
type Source uint8

const (
	// Probe is a packet of the box to the line's target and back.
	Probe Source = iota
	// Flow is the first packet of a resident's new connection and the first answer, from a server at an unknown
	// distance. It is one-sided: a short trip proves that there is no queue, a long one proves nothing.
	Flow
)

// A Sample is one round trip.
type Sample struct {
	Source Source
	Sent   time.Duration // by the clock of [Input.Now]
	Trip   time.Duration
}

// Output is what the box does until the next update.
type Output struct {
	// Down and Up are the rates of the box's classes, in bit/s.
	Down, Up float64
	// Probe asks for one probe now. Over time it asks for no more than 3.6 a second, and for none on an idle line.
	Probe bool
	// HeldDown and HeldUp say what holds the rates back.
	HeldDown, HeldUp Held
	// Delay is the wait in the queues beyond the box, if it is known: see Known.
	Delay time.Duration
	Known bool
	// Passive says that there are no probes to rely on: none may be sent, none is answered, or the target answers
	// without crossing the line (Deaf).
	Passive, Deaf bool
}

// Held is what holds a direction's rate back.
type Held uint8

const (
	// HeldNothing: the residents ask for less than the rate.
	HeldNothing Held = iota
	// HeldLimit: the lent rate itself.
	HeldLimit
	// HeldLine: the line carries less, for example by bad reception.
	HeldLine
	// HeldLender: there is a queue, though the residents' part is small: somebody else uses the line.
	HeldLender
)

func (h Held) String() string {
	return [...]string{"nothing", "limit", "line", "lender"}[h]
}

// Tick is the time between two updates that the law is made for. cake-autorate measures in the same interval
// (monitor_achieved_rates_interval_ms).
const Tick = 200 * time.Millisecond

// State is all that the law knows of a line. It is a value: a copy is a second line with the same past. It keeps no
// address and nothing of a resident.
type State struct {
	down, up direction
	sensor   sensor
	now      time.Duration
	began    bool
	tokens   float64 // probes that may be asked for
	probed   time.Duration
	elevated episode
	blamed   time.Duration // since when a direction is blamed; 0: none is
}

// New is the state of a line of which nothing is known.
func New(l Limits) State {
	return State{
		down:   newDirection(l.Down, false),
		up:     newDirection(l.Up, true),
		sensor: newSensor(),
		tokens: probeBurst,
	}
}

// SetLimits is the state with other lent rates.
func (s State) SetLimits(l Limits) State {
	s.down.limit(l.Down)
	s.up.limit(l.Up)
	return s
}

// Update advances a line's state. It depends on nothing but its arguments, and allocates nothing.
func Update(s State, in Input) (State, Output) {
	passed := in.Now - s.now
	s.now = in.Now
	if !s.began || passed <= 0 {
		s.began = true
		if passed < 0 {
			s.rewind()
		}
		return s, s.output(evidence{}, false)
	}
	if passed > longGap {
		// The box slept, or the line was not in use: what was measured is of another time.
		s.sensor.forget()
		s.down.pause(passed)
		s.up.pause(passed)
		return s, s.output(evidence{}, false)
	}
	s.down.measure(in.Now, passed, in.Down)
	s.up.measure(in.Now, passed, in.Up)
	busy := s.down.busy || s.up.busy || s.down.unsettled(in.Now, s.sensor.answeredSent) || s.up.unsettled(in.Now, s.sensor.answeredSent)
	e := s.sensor.read(in, busy, s.down.flowing || s.up.flowing)
	s.moved(&e)
	s.blame(in.Now, e)
	for _, d := range [2]*direction{&s.down, &s.up} {
		if d.most > 0 {
			d.update(in.Now, passed, e)
		}
	}
	// Probes.
	s.tokens = min(probeBurst, s.tokens+probesPerSecond*passed.Seconds())
	gap := float64(calmProbeMs)
	switch {
	case s.down.alert(in.Now) || s.up.alert(in.Now) || e.doubt:
		gap = 0
	case s.down.searching() || s.up.searching():
		gap = searchProbeMs
	}
	if s.sensor.silent || s.sensor.deaf {
		gap = retryProbeMs
	}
	ask := busy && !in.NoProbes && s.tokens >= 1 && ms(in.Now-s.probed) >= gap && !s.sensor.fresh(in.Now)
	if ask {
		s.tokens--
		s.probed = in.Now
		s.sensor.asked(in.Now)
	}
	return s, s.output(e, ask)
}

// rewind forgets all times, since the clock went backwards.
func (s *State) rewind() {
	s.probed, s.blamed, s.elevated = s.now, 0, episode{}
	s.sensor.forget()
	s.sensor.answered, s.sensor.answeredSent, s.sensor.deafSince, s.sensor.proved = s.now, s.now, s.now, s.now
	for _, d := range [2]*direction{&s.down, &s.up} {
		d.pause(0)
		d.loaded, d.backlogged, d.risen = 0, 0, 0
		d.last, d.since, d.drainBy = s.now, s.now, s.now
	}
}

const (
	// longGap is the time without an update after which measurements are worthless.
	longGap = 2 * time.Second
	// idle is the time without load after which a line may have become another one.
	idle = time.Minute
)

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (s *State) output(e evidence, ask bool) Output {
	return Output{
		Down: s.down.rate, Up: s.up.rate, Probe: ask,
		HeldDown: s.down.held(s.now, e), HeldUp: s.up.held(s.now, e),
		Delay: time.Duration(e.delay * float64(time.Millisecond)), Known: e.known,
		Passive: e.passive, Deaf: s.sensor.deaf,
	}
}

// blame decides which direction a queue is in. A round trip does not say it, but the download's bytes do: a line that
// carries less than the rate has the queue; one that carries all of the rate while the box still has a backlog has none,
// if the queue is long. A short one is of the direction whose rate rose. Both are blamed if that is not clear, and after
// a while in any case: a queue of the upload delays the download's acknowledgements, so that it carries less as well.
func (s *State) blame(now time.Duration, e evidence) {
	d, u := &s.down, &s.up
	queue := e.known && e.delay > badMs
	if queue && s.blamed == 0 {
		u.shared = false
	}
	if !queue || e.passive || !d.active || !u.active {
		d.innocent, u.innocent = false, false
		s.blamed = 0
		return
	}
	if s.blamed == 0 {
		s.blamed = now
		if e.delay > 3*badMs {
			d.innocent = d.backlog && d.mean() >= .97*d.previous
			u.innocent = !d.backlog && d.carried[1] < saturatedPart*d.previous
		} else {
			d.innocent = u.grew(now) && !d.grew(now)
			u.innocent = d.grew(now) && !u.grew(now) || !d.backlog && d.carried[1] < saturatedPart*d.previous
		}
	}
	if now-s.blamed >= blameFor {
		d.innocent, u.innocent = false, false
	}
	u.shared = u.shared || !d.innocent && !u.innocent
}

// blameFor is the time after which both directions are blamed for a queue: four ticks.
const blameFor = 4 * Tick

// episode is a time in which no sample was near the base.
type episode struct {
	since    time.Duration // 0: there is none
	down, up float64       // bit/s at its start
	least    [16]float64   // the least trip of each part of [part]
	parts    int
	until    time.Duration // end of the current part
}

// part is also the least time for which the delay stays.
const part = 2 * time.Second

// moved notices that the distance of the target has grown, as by a handover to another cell: the delay stays the same
// though the residents' traffic fell. The queue of a lender's own downloads looks alike, but it swings.
func (s *State) moved(e *evidence) {
	p := &s.elevated
	active := s.down.active || s.up.active
	if !active || e.passive || e.known && e.delay <= goodMs {
		p.since = 0
	}
	if !active || e.passive || !e.known || e.delay <= goodMs {
		return
	}
	if p.since == 0 {
		*p = episode{since: s.now, down: s.down.mean(), up: s.up.mean(), until: s.now + part}
		p.least[0] = inf
	}
	i := p.parts % len(p.least)
	p.least[i] = min(p.least[i], s.sensor.newest())
	if s.now >= p.until {
		p.parts++
		p.until += part
		p.least[p.parts%len(p.least)] = inf
	}
	if s.now-p.since < part {
		return
	}
	fell := s.down.active && s.down.mean() <= fellPart*p.down || s.up.active && s.up.mean() <= fellPart*p.up
	carried := (!s.down.active || s.down.mean() >= .85*s.down.previous) && (!s.up.active || s.up.mean() >= .85*s.up.previous)
	if !fell || !carried {
		return
	}
	least, ok := s.sensor.still(p.since + part/2)
	if !ok || least-s.sensor.base > nearMoveMs {
		// A longer way needs a longer proof.
		if p.parts < len(p.least) {
			return
		}
		most := 0.0
		least = inf
		for i, l := range p.least {
			if i != p.parts%len(p.least) {
				least, most = min(least, l), max(most, l)
			}
		}
		if most > least+stillMs || least == inf { // or without any answer
			return
		}
	}
	s.sensor.move(least - s.sensor.base)
	e.delay = max(0, e.delay-(least-s.sensor.base))
	s.down.restore()
	s.up.restore()
	p.since = 0
}
