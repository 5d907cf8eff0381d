package autorate

import (
	"math"
	"time"
)

// direction is the law of one direction. Rates are in bit/s.
type direction struct {
	up          bool
	least, most float64
	rate        float64
	previous    float64 // in the last update

	// What was measured.
	carried    [2]float64 // by the line, in the last two ticks
	lost       float64    // part of it that was lost; a moving average
	backlog    bool
	backlogged time.Duration // the last time with a backlog
	busy       bool          // there is something to learn
	active     bool          // the residents' traffic is large enough to cause a queue
	loaded     time.Duration // the last time with such traffic
	flowing    bool
	delay      float64 // ms; of the last tick with a known delay
	smooth     float64 // ms; moving average of delay
	seenDelay  bool

	// What is concluded from it.
	capacity float64 // what the line carried while there was a queue
	safe     float64 // what the line carries without a queue, as far as is known; 0 if unknown
	past     [5]float64
	pasts    int
	flicker  float64 // mean change of what the line carries from one tick to the next while there is a queue, in natural logarithm

	// A plateau: the capacities of the last queues agree.
	plateaus  int           // times in a row that the rate came back to it
	holds     time.Duration // until then the rate does not rise above it
	constancy float64       // how rarely a plateau was refuted: 1 is never
	refuted   bool          // the line carried more than the last plateau, and there was no queue since

	// A pending guess.
	guessed   float64 // the rate before the guess; 0 if there is none
	guessedAt time.Duration
	before    float64 // the rate before a guess that was just decided

	// The current queue.
	shared     bool // the upload's queue may be the download's instead
	innocent   bool // the queue is in the other direction
	queued     bool
	since      time.Duration // the start of the queue
	last       time.Duration // the last tick with a queue
	hadQueue   bool
	ticks      int
	risen      time.Duration // the last time that the rate rose
	rateBefore float64
	safeBefore float64
	peak       float64 // the most that was carried in one tick since then
	answered   bool    // an answer proved the queue: not only a missing one
	stubborn   bool    // the queue stays although the residents' share is small

	// Without probes.
	suspect float64       // the suspected capacity; 0 if unknown
	high    float64       // what the line carried before it fell, less with each queue since; 0 if unknown
	dry     int           // ticks in a row below the rate and without a backlog
	resume  float64       // the rate after the queue had time to drain; 0 if there is none
	drainBy time.Duration // the end of that time
}

func newDirection(most float64, up bool) direction {
	d := direction{up: up, constancy: 1}
	d.limit(most)
	return d
}

func (d *direction) limit(most float64) {
	if !(most > 0) || math.IsInf(most, 1) { // NaN too
		most = 0
	}
	d.most, d.least = most, FloorPart*most
	if d.rate == 0 {
		d.rate = startPart * most
	}
	d.clamp()
}

func (d *direction) clamp() { d.rate = max(d.least, min(d.most, d.rate)) }

// pause handles a time without updates.
func (d *direction) pause(passed time.Duration) {
	d.queued, d.backlog, d.busy, d.active, d.flowing, d.dry = false, false, false, false, false, 0
	d.carried, d.guessed = [2]float64{}, 0
	if passed > idle {
		d.begin()
	}
}

// begin starts on a line that was idle for a while.
func (d *direction) begin() {
	d.rate = startPart * d.most
	if d.safe > 0 {
		d.rate = max(d.rate, againPart*d.safe)
	}
	d.queued, d.hadQueue, d.suspect, d.high, d.resume = false, false, 0, 0, 0
	d.plateaus, d.refuted = 0, false
	d.clamp()
}

// measure reads the counters.
func (d *direction) measure(now, passed time.Duration, t Traffic) {
	if d.most == 0 {
		return
	}
	carried := float64(t.Bytes) * 8 / passed.Seconds()
	d.carried[0], d.carried[1] = d.carried[1], carried
	d.lost += lossSmoothing * (min(carried, float64(t.Lost)*8/passed.Seconds()) - d.lost)
	d.backlog = t.Backlog > backlogBytes
	if d.backlog {
		d.backlogged = now
	}
	d.busy = d.backlog || carried > busyPart*d.rate || d.queued
	if d.backlog || carried > .5*d.rate {
		if d.loaded != 0 && now-d.loaded > idle {
			d.begin()
		}
		d.loaded = now
	}
	d.active = d.loaded != 0 && now-d.loaded <= 2*time.Second
	d.flowing = carried > busyPart*d.rate
	d.previous = d.rate
}

func (d *direction) mean() float64 { return (d.carried[0] + d.carried[1]) / 2 }

// lossy reports that much of what the line carries is lost. Its senders then do not yield to losses, so that the rate does not bound
// what arrives.
func (d *direction) lossy() bool { return d.lost > lossyPart*d.mean() }

// drained reports that the backlog in the box was just emptied.
func (d *direction) drained(now time.Duration) bool {
	return d.active && !d.backlog && d.backlogged != 0 && now-d.backlogged <= 2*time.Second
}

// alert reports that there is or may be a queue.
func (d *direction) alert(now time.Duration) bool {
	return d.queued || d.drained(now) || d.busy && d.smooth > uneasyMs
}

// unsettled reports that no probe has been answered that was sent after the backlog was emptied. The line may carry very little now,
// so its load says nothing.
func (d *direction) unsettled(now, answered time.Duration) bool {
	return d.drained(now) && answered <= d.backlogged
}

// searching reports that the rate is rising.
func (d *direction) searching() bool { return d.backlog && d.rate < d.most }

// holding reports that the rate stays on a plateau for now.
func (d *direction) holding(now time.Duration) bool { return d.plateaus > 0 && now < d.holds }

// climbing reports that the rate leaves a plateau, to find out whether the line carries more.
func (d *direction) climbing(now time.Duration) bool { return d.plateaus > 0 && now >= d.holds }

func (d *direction) update(now, passed time.Duration, e evidence) {
	if e.passive {
		d.queued = false
		d.blind(now, e)
		d.clamp()
		return
	}
	d.dry, d.resume = 0, 0
	// Lost bytes use up the line's capacity, but the rate does not count them.
	carried, mean := max(0, d.carried[1]-d.lost), max(0, d.mean()-d.lost)
	packet := min(packetMostMs, mtuBits/d.rate*1000)
	more := packet + noiseWeight*max(0, e.noise-quietMs)
	good, bad := goodMs+more, badMs+more
	if e.known {
		if d.up && d.seenDelay {
			// What was sent is not what the line carried: the difference is in the queue, which grew.
			f := 1 / max(.3, min(3, 1+(e.delay-d.delay)/ms(passed)))
			carried, mean = carried*f, mean*f
		}
		d.delay, d.seenDelay = e.delay, true
		d.smooth += smoothing * (min(e.delay, 50) - d.smooth)
	}
	d.peak = max(d.peak, carried)
	d.guess(now, e, bad)
	switch {
	case !e.known || !d.active && !d.queued || d.innocent:
	case e.delay > bad:
		d.cut(now, e, mean)
	case e.delay < good:
		switch {
		case d.queued:
			d.end(now)
		case d.backlog:
			d.grow(now, good)
		}
		d.stubborn = false
	case d.queued:
		d.rate = max(d.rate, backCapacity*min(d.capacity, d.safe))
	case d.guessed == 0 && d.climbing(now) && d.rate > d.plateau():
		d.rate = d.plateau() // the line does not carry more: there is no need to wait for a queue
		d.hold(now)
	case d.guessed == 0:
		d.rate *= 1 - easing
	}
	d.before = 0
	d.clamp()
}

// guess lowers the rate before a sample can confirm a queue: the line carries clearly less than the rate, and the backlog in the box,
// which was there a tick ago, is gone. Either the capacity fell, or the residents use less. The next sample decides.
func (d *direction) guess(now time.Duration, e evidence, bad float64) {
	switch {
	case d.guessed > 0 && (e.delay > bad || e.lastSent >= d.guessedAt || now-d.guessedAt > time.Second):
		d.before = d.guessed
		if e.lastSent >= d.guessedAt && e.last < bad && e.delay <= bad || !e.known {
			d.rate = max(d.rate, d.guessed)
		}
		d.guessed = 0
	case d.up || d.queued || d.guessed > 0:
	case d.drained(now) && now-d.backlogged <= 3*Tick/2 && d.flowing && d.carried[1] < saturatedPart*d.rate:
		if e.known && e.delay > bad {
			d.before = d.rate // it is decided
		} else {
			d.guessed, d.guessedAt = d.rate, now
		}
		d.rate = max(d.carried[1]-d.lost, d.least)
	}
}

// cut reacts to a queue. What comes out of a line that has a queue is its capacity.
func (d *direction) cut(now time.Duration, e evidence, mean float64) {
	lately := d.safe
	if !d.queued {
		d.queued, d.since, d.ticks, d.answered, d.refuted = true, now, 0, false, false
		d.rateBefore, d.safeBefore, d.peak = max(d.rate, d.before), d.safe, 0
		d.capacity = mean
		x := math.Pow(d.rateBefore, 1-dipWeight) * math.Pow(max(mean, d.least), dipWeight)
		if d.safe == 0 {
			d.safe = x
		} else {
			d.safe *= math.Pow(x/d.safe, trust)
		}
	}
	d.ticks++
	d.answered = d.answered || e.late
	d.last, d.hadQueue = now, true
	d.capacity = (d.capacity + mean) / 2
	if c := max(d.capacity, d.least); c < d.safe {
		d.safe *= math.Pow(c/d.safe, sinking)
	}
	if a, b := d.carried[0], d.carried[1]; !d.up && d.ticks >= 2 && max(a, b) < sureFactor*min(a, b) {
		d.safe = min(d.safe, max(d.least, surePart*mean))
	}
	drain := float64(drainMs)
	if d.up {
		drain = drainUpMs
	}
	least := leastCut
	if d.lossy() {
		least = lossyCut
	}
	// On a line that flickers, this tick says little about the next one: the recent safe rate says as much. The queue drains when the
	// line carries more again, whatever the rate is.
	w := d.blur()
	k := max(least, firstCut-(1-w)*(e.delay-goodMs)/drain)
	c := d.capacity
	if c > 0 && c < lately {
		c *= math.Pow(lately/c, w)
	}
	d.rate = min((1-easing)*d.rate, k*c)
	if !d.up && d.ticks >= 2 { // in an upload, what is carried follows the rate
		d.flicker += flickerWeight * (math.Abs(math.Log(max(d.carried[1], d.least)/max(d.carried[0], d.least))) - d.flicker)
	}
	d.stubborn = now-d.since >= 1500*time.Millisecond && d.mean() >= .85*d.previous && d.mean() < .6*d.rateBefore
}

// end handles the end of a queue.
func (d *direction) end(now time.Duration) {
	d.queued = false
	if !d.answered {
		// Only a probe was lost.
		d.rate, d.safe = max(d.rate, d.rateBefore), d.safeBefore
		return
	}
	shared := d.shared && now-d.since < sharedFor
	d.shared = false
	if shared {
		// It was as likely the download's, whose bytes are better evidence: the upload yields only a little.
		d.rate, d.safe = max(d.rate, .97*d.rateBefore), max(d.safe, d.safeBefore)
		return
	}
	if d.peak > blipFactor*d.rateBefore {
		// The line stood still for a moment, and then carried more than the rate: the rate was not wrong.
		d.rate = max(d.rate, d.rateBefore)
		d.safe = max(d.safe, d.safeBefore)
	}
	d.past[d.pasts%len(d.past)] = d.capacity
	d.pasts++
	if d.pasts == 2*len(d.past) {
		d.pasts = len(d.past)
	}
	if d.steady() {
		d.safe = d.plateau()
		d.rate = max(d.rate, d.safe)
		if !d.up { // an upload's bytes follow the rate, so they could not refute a plateau
			d.hold(now)
		}
	} else {
		d.plateaus = 0
	}
	d.rate = max(d.rate, backCapacity*min(d.capacity, d.safe), (backSafe+backBlur*d.blur())*d.safe)
}

// plateau returns the safe part of the capacity that the last three queues showed.
func (d *direction) plateau() float64 {
	sum := 0.0
	for i := range 3 {
		sum += d.past[(d.pasts-1-i+len(d.past))%len(d.past)]
	}
	return plateauPart * sum / 3
}

// hold keeps the rate on the plateau for a while.
func (d *direction) hold(now time.Duration) {
	d.plateaus++
	d.constancy += constancyBack * (1 - d.constancy)
	d.holds = now + time.Duration(holdMost*min(1, holdEach*float64(d.plateaus-1))*d.constancy*float64(time.Second))
}

// refute ends the plateau, since the line carries more.
func (d *direction) refute() {
	d.plateaus, d.refuted = 0, true
	d.constancy *= constancyPart
}

// blur says how little one tick's bytes predict those of the next, from 0 to flickerMost.
func (d *direction) blur() float64 {
	return min(flickerMost, flickerGain*max(0, d.flicker-flickerCalm))
}

// steady reports that three queues in a row showed the same capacity.
func (d *direction) steady() bool {
	return d.within(3, steadyFactor)
}

// within reports whether the last capacities agree within a factor.
func (d *direction) within(number int, factor float64) bool {
	if d.pasts < number {
		return false
	}
	least, most := inf, 0.0
	for i := d.pasts - number; i < d.pasts; i++ {
		c := d.past[i%len(d.past)]
		least, most = min(least, c), max(most, c)
	}
	return most < factor*least
}

// grow raises the rate in a tick without a queue beyond the box, while residents' packets wait in the box.
func (d *direction) grow(now time.Duration, good float64) {
	g := fastRise
	if d.safe > 0 && d.rate > nearSafe*d.safe {
		calm := idle.Seconds()
		if d.hadQueue {
			calm = (now - d.last).Seconds()
		}
		switch {
		case d.steady():
			g = min(riseMost, steadyRise+steadyRiseMore*calm)
			switch {
			case d.refuted:
				g = max(g, refutedRise)
			case d.plateaus == 0:
			case d.mean()-d.lost > refutingPart*d.capacity:
				d.refute()
			case d.rate < d.plateau():
				g = climbRise
			case d.holding(now):
				return
			default:
				g = (climbRise + climbRiseMore*(now-d.holds).Seconds()) / max(climbLeast, d.constancy)
			}
		case d.within(calmCount, calmFactor):
			g = min(calmRiseMost, calmRise+calmRiseMore*calm)
		default:
			g = min(riseMost, wildRise+wildRiseMore*calm)
		}
	}
	if d.lossy() {
		g = lossyRise
	}
	g *= 1 + eagerness*max(0, 1-d.smooth/good)
	if d.rate < d.most {
		d.risen = now
	}
	d.rate *= 1 + g
	if d.safe > 0 && surePart*d.rate > d.safe {
		d.safe = surePart * d.rate
	}
}

// grew reports that the rate rose recently.
func (d *direction) grew(now time.Duration) bool { return d.risen != 0 && now-d.risen <= 2*time.Second }

// restore undoes a cut that had no effect.
func (d *direction) restore() {
	if d.most == 0 || !d.queued {
		return
	}
	d.queued, d.stubborn = false, false
	d.rate = max(d.rate, .8*d.rateBefore)
	d.safe = max(d.safe, d.safeBefore)
	d.clamp()
}

// blind controls without probes. Two signs show a queue beyond the box: the line carries less than the rate and the box has no
// backlog, or none of the residents' new connections is short any more. Only short ones allow the last tenth of the donated rate.
func (d *direction) blind(now time.Duration, e evidence) {
	top := d.most * blindPart
	if d.suspect > 0 {
		top = min(top, d.suspect)
	}
	waiting := d.drained(now) && d.mean() > busyPart*d.rate ||
		d.loaded != 0 && now-d.loaded < idle && !d.backlog && e.highs >= e.enough/2 && d.mean() > d.least/2
	if waiting && d.mean() < d.rate {
		d.dry++
	} else {
		d.dry = 0
	}
	if d.resume > 0 {
		if now < d.drainBy {
			return
		}
		d.rate, d.resume = max(d.rate, d.resume), 0
	}
	switch {
	case d.dry >= 2 && d.mean() < saturatedPart*d.rate || d.dry >= dryTicks:
		// The queue is about what arrived above the capacity in these ticks and in the round trip before them.
		m := d.mean()
		excess := min(2, (d.rate/m-1)*blindLag)
		d.doubtHigh(m)
		d.suspect = blindAgain * m
		d.resume = min(d.rate, blindCut*m)
		d.rate = min(d.rate, m*max(.25, blindCut-excess))
		d.drainBy = now + max(blindDrain, time.Duration(excess/(1-d.rate/m)*float64(time.Second)))
		d.last, d.hadQueue = now, true
		d.dry = 0
	case e.highs >= e.enough && d.active && now-d.last > blindHold:
		d.doubtHigh(.95 * d.rate)
		d.suspect = .95 * d.rate
		d.rate *= blindCut
		d.last, d.hadQueue = now, true
	case e.proof && d.backlog:
		if d.rate >= .97*top {
			// Near the donated rate, a line that carries exactly that shows no other sign.
			step := blindStep
			switch {
			case d.rate > blindNear*d.most:
				step = blindProof
			case d.suspect > 0 && d.rate > .9*d.suspect && !d.fell():
				step = 2 * blindProof
			}
			d.rate *= 1 + step
			if d.suspect > 0 {
				d.suspect = max(d.suspect, d.rate)
			}
		}
	case e.highs >= e.enough/2 && (d.rate > blindNear*d.most || d.suspect > 0 && d.rate > .9*d.suspect && !d.fell()):
		d.rate *= 1 - blindEasing
	case !d.backlog || e.highs >= e.enough/3 && (!d.fell() || e.highs >= e.enough/2):
	case d.rate < top:
		d.rate = min(top, d.rate*(1+blindRise))
	case d.suspect > 0 && d.rate < d.most*blindPart:
		if d.fell() {
			d.suspect *= 1 + blindReturn
			d.rate = min(d.suspect, d.rate*(1+blindReturn))
		} else {
			d.suspect *= 1 + min(blindRise, blindCreep*(now-d.last).Seconds())
		}
	}
}

// doubtHigh handles a queue without probes, at a rate in bit/s: what the line carried before it fell becomes less likely.
func (d *direction) doubtHigh(m float64) {
	m = max(m, d.least)
	d.high = max(d.high, d.rate, m)
	d.high *= math.Pow(m/d.high, blindTrust)
}

// fell reports that the line carried much more recently.
func (d *direction) fell() bool { return d.rate < blindFar*d.high }

// sharedFor is the longest duration of a queue that does not count against both directions.
const sharedFor = 1500 * time.Millisecond

const mtuBits = 1500 * 8

func (d *direction) held(now time.Duration, e evidence) Held {
	switch {
	case d.most == 0:
		return HeldNothing
	case e.known && !e.passive && e.delay > badMs && !d.active, d.stubborn:
		return HeldLender
	case !d.backlog && !d.queued || !d.active:
		return HeldNothing
	case d.rate >= .98*d.most:
		return HeldLimit
	}
	return HeldLine
}
