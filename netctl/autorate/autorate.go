// Package autorate sets the rates of a donation whose capacity changes, as a phone's does. The box can share fairly only the packets
// that queue in the box. So its rate must be a little below the line's current capacity, in both directions.
//
// The law owns a line's [State] and nothing else. It has no clock, no socket and no timer. Every 200 ms it gets what the counters,
// queues and round trips show ([Input]), and it returns two rates and whether it wants a probe ([Output]). It does not know who lends,
// who uses the line, which device the line is, or what data costs. Its caller sends the probes, keeps their budget, and says when none
// may be sent ([Input].NoProbes).
//
// It first uses evidence that is free: bytes on the line, the box's own backlog, and the first round trips of residents' connections.
// It concludes from these:
//
//   - An answer that is late, or missing for long, shows a queue beyond the box. While there is one, what comes out of the
//     line is its capacity. The rate is set below that, so that the queue drains.
//   - Without a queue, while residents' packets wait in the box, the rate rises: fast if it is far below what the line carried
//     recently, slowly near that, and more slowly on a line of steady capacity. There it stays below the capacity for seconds at a
//     time: each attempt to rise above it is a queue for everybody.
//   - Where the capacity of one tick says little about the next (flicker), a queue lowers the rate less, and the rate returns to a
//     higher value: a controller that follows every change is always late, and a resident's single connection cannot follow.
//   - If a line stood still and then carried more than the rate, the rate was not wrong.
//   - If the line carries clearly less than the rate just after the backlog in the box is gone, that is a guess. The next sample
//     decides it.
//   - A short round trip of a new connection proves that there is no queue. A long one may be a distant server; only many in a
//     row are evidence. With these and the byte counts alone, the law works without probes.
//   - If the delay stays although the residents' traffic fell, a constant delay is a longer path (a handover), and a varying one
//     is the lender's own use, to which the law yields, down to the floor.
//   - If probes show no delay while all connections wait, their target is on the near side of the line.
//
// It is based on cake-autorate (https://github.com/lynxthecat/cake-autorate), whose 20 probes a second would use up a prepaid phone
// plan in a week. The constants are in constants.go, with their reasons. The package sim has the simulator, and table_test.go the
// comparison.
package autorate

import "time"

// Limits are the donated rates in bit/s. A direction with 0 is not controlled.
type Limits struct{ Down, Up float64 }

// Input is what happened since the last update.
type Input struct {
	// Now is the time of a monotonic clock. The law expects an update every 200 ms ([Tick]). An update at the time of the last one, or
	// an earlier time, changes only the clock.
	Now      time.Duration
	Down, Up Traffic
	// Samples are the round trips that ended since the last update. The law does not keep the slice.
	Samples []Sample
	// Unanswered is the age of the oldest unanswered probe among those sent after the last answered one; 0 if there is none.
	Unanswered time.Duration
	// NoProbes says that no probe can be sent, for example because the budget is used up.
	NoProbes bool
}

// Traffic is what happened in one direction.
type Traffic struct {
	Bytes   uint64 // on the line's interface since the last update; see [Counter]
	Backlog uint64 // bytes in the box's own queue now
	// Lost is how many bytes of a download reached no resident, for example because the box's queue was full. They use up the line's
	// capacity all the same.
	Lost uint64
}

// Source is where a sample comes from.
type Source uint8

const (
	// Probe is a packet of the box to the line's target and back.
	Probe Source = iota
	// Flow is the first packet of a resident's new connection and its first answer, from a server at an unknown distance. It is
	// one-sided: a short round trip proves that there is no queue, a long one proves nothing.
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
	// Probe asks for one probe now. Over time it asks for at most 3.6 a second, and for none on an idle line.
	Probe bool
	// HeldDown and HeldUp say what limits the rates.
	HeldDown, HeldUp Held
	// Delay is the queueing delay beyond the box. It is valid only if Known.
	Delay time.Duration
	Known bool
	// Passive says that probes cannot be relied on: none may be sent, none is answered, or the target answers without crossing the
	// line (Deaf).
	Passive, Deaf bool
}

// Held is what limits a direction's rate.
type Held uint8

const (
	// HeldNothing: the residents use less than the rate.
	HeldNothing Held = iota
	// HeldLimit: the donated rate itself.
	HeldLimit
	// HeldLine: the line carries less, for example because of bad reception.
	HeldLine
	// HeldLender: there is a queue although the residents' share is small, so somebody else uses the line.
	HeldLender
)

func (h Held) String() string {
	return [...]string{"nothing", "limit", "line", "lender"}[h]
}

// Tick is the interval between updates for which the law is designed. cake-autorate measures at the same interval
// (monitor_achieved_rates_interval_ms).
const Tick = 200 * time.Millisecond

// State is all that the law knows about a line. It is a value: a copy is a second line with the same history. It contains no address
// and nothing about a resident.
type State struct {
	down, up direction
	sensor   sensor
	now      time.Duration
	began    bool
	tokens   float64 // token bucket of probes
	probed   time.Duration
	elevated episode
	blamed   time.Duration // since when a queue is blamed on a direction; 0 if there is none
}

// New returns the state of a line about which nothing is known.
func New(l Limits) State {
	return State{
		down:   newDirection(l.Down, false),
		up:     newDirection(l.Up, true),
		sensor: newSensor(),
		tokens: probeBurst,
	}
}

// SetLimits returns the state with other donated rates.
func (s State) SetLimits(l Limits) State {
	s.down.limit(l.Down)
	s.up.limit(l.Up)
	return s
}

// Update advances a line's state. It is a pure function of its arguments, and does not allocate.
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
		// The box slept, or the line was not in use: earlier measurements do not apply any more.
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
	case s.down.alert(in.Now) || s.up.alert(in.Now) || e.doubt || s.down.searching() && s.down.climbing(in.Now):
		gap = 0
	case s.down.searching() && !s.down.holding(in.Now) || s.up.searching():
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

// rewind resets all times, since the clock went backwards.
func (s *State) rewind() {
	s.probed, s.blamed, s.elevated = s.now, 0, episode{}
	s.sensor.forget()
	s.sensor.answered, s.sensor.answeredSent, s.sensor.deafSince, s.sensor.proved = s.now, s.now, s.now, s.now
	s.sensor.shown = 0
	for _, d := range [2]*direction{&s.down, &s.up} {
		d.pause(0)
		d.loaded, d.backlogged, d.risen, d.holds = 0, 0, 0, 0
		d.last, d.since, d.drainBy = s.now, s.now, s.now
	}
}

const (
	// longGap is the time without an update after which earlier measurements are discarded.
	longGap = 2 * time.Second
	// idle is the time without load after which the line's capacity may have changed completely.
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

// blame decides which direction a queue is in. A round trip does not show that, but the bytes of the download do. If the line carries
// less than the rate, the download has the queue. If it carries all of the rate while the box still has a backlog, the download has
// none, provided that the queue is long. A short queue is in the direction whose rate rose. If that is not clear, both are blamed, and
// after a while in any case: a queue in the upload delays the download's acknowledgements, so that the download carries less as well.
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

// blameFor is the time after which a queue is blamed on both directions: four ticks.
const blameFor = 4 * Tick

// episode is a time in which no sample was near the base.
type episode struct {
	since    time.Duration // start; 0 if there is no episode
	down, up float64       // bit/s at its start
	least    [16]float64   // the lowest round trip in each [part]
	parts    int
	until    time.Duration // end of the current part
}

// part is also the shortest time for which the delay must persist.
const part = 2 * time.Second

// moved detects that the path to the target became longer, for example by a handover to another cell: the delay persists although the
// residents' traffic fell. The queue of a lender's own downloads looks similar, but it varies.
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
		// A much longer path needs a longer proof.
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
		if most > least+stillMs || least == inf { // or there was no answer
			return
		}
	}
	s.sensor.move(least - s.sensor.base)
	e.delay = max(0, e.delay-(least-s.sensor.base))
	s.down.restore()
	s.up.restore()
	p.since = 0
}
