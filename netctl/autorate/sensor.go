package autorate

import (
	"math"
	"time"
)

var inf = math.Inf(1)

// evidence is what an update knows of the queue beyond the box.
type evidence struct {
	delay    float64 // ms above the base
	known    bool
	late     bool          // an answer just came late: it is not only one that is missing
	last     float64       // ms above the base; of the probe that was sent last among the answered ones
	lastSent time.Duration // when it was sent
	passive  bool          // there are no probes to rely on
	proof    bool          // a flow's trip was short: there is no queue
	doubt    bool          // a flow's trip was long
	noise    float64       // ms
	highs    int           // flows in a row that were long
	enough   int           // so many of them in a row are evidence of a queue
}

// trip is a sample in ms.
type trip struct {
	sent time.Duration
	ms   float64
	flow bool
}

const kept = 16

// sensor turns samples into evidence.
type sensor struct {
	base     float64 // ms; the least trip of a probe
	flowBase float64 // likewise of flows
	trips    [kept]trip
	n        int

	answered     time.Duration // the last answer came
	answeredSent time.Duration // the last answered probe was sent
	everAnswered bool
	waits        time.Duration // since when probes are asked for without an answer; 0: they are not
	silent       bool          // probes have no answer, though the line carries traffic

	run    float64       // mean number of long flows between two short ones while there is no queue
	highs  int           // long flows in a row
	low    float64       // the least trip of a flow since the last short one
	proved time.Duration // the last short one came
	noise  float64       // ms; mean difference of two probes in a row without a long queue
	blind  bool          // there were no probes to rely on

	deaf      bool // the probes' delay does not follow the queue
	deafSince time.Duration
	contrary  int // flows in a row that were long while probes were short
}

func newSensor() sensor {
	return sensor{base: inf, flowBase: inf, run: firstRun, low: inf}
}

// forget drops what was measured, but not the bases.
func (s *sensor) forget() {
	s.n = 0
	s.waits, s.proved = 0, 0
	s.highs, s.contrary, s.low = 0, 0, inf
}

// asked notes that a probe is sent.
func (s *sensor) asked(now time.Duration) {
	if s.waits == 0 {
		s.waits = now
	}
}

// fresh reports whether a flow just proved that there is no queue.
func (s *sensor) fresh(now time.Duration) bool {
	if s.n == 0 {
		return false
	}
	t := s.trips[(s.n-1)%kept]
	return t.flow && ms(now-t.sent) < proofMs
}

// newest is the last probe's trip.
func (s *sensor) newest() float64 {
	for i := s.n - 1; i >= max(0, s.n-kept); i-- {
		if t := s.trips[i%kept]; !t.flow {
			return t.ms
		}
	}
	return inf
}

// still returns the least trip of the probes that were sent after a time, if there are enough of them and their middle
// one is near the least.
func (s *sensor) still(after time.Duration) (float64, bool) {
	var v [kept]float64
	n := 0
	for i := max(0, s.n-kept); i < s.n; i++ {
		t := s.trips[i%kept]
		if t.flow || t.sent < after {
			continue
		}
		j := n
		for ; j > 0 && v[j-1] > t.ms; j-- {
			v[j] = v[j-1]
		}
		v[j] = t.ms
		n++
	}
	if n < stillCount || v[n/2]-v[0] > stillMs/2 {
		return inf, false
	}
	return v[0], true
}

// move adds to the bases.
func (s *sensor) move(ms float64) {
	s.base += ms
	s.flowBase += ms
}

// read takes the samples of an update. The line is busy if there is something to learn, and flowing if it carries a good
// part of the rate.
func (s *sensor) read(in Input, busy, flowing bool) evidence {
	now := in.Now
	e := evidence{noise: s.noise}
	for _, x := range in.Samples {
		t := ms(x.Trip)
		if x.Trip <= 0 || x.Trip > time.Minute || x.Sent > now || x.Sent < 0 {
			continue // the clock of the sender jumped
		}
		if x.Source != Flow {
			s.answered, s.waits = now, 0
			s.answeredSent = max(s.answeredSent, x.Sent)
			s.everAnswered, s.silent = true, false
			s.base = min(s.base, t)
			if t-s.base > badMs {
				e.late = true
				s.deaf, s.contrary = false, 0
			}
			if last := s.newest(); t-s.base < 2*badMs && last-s.base < 2*badMs {
				s.noise += .03 * (math.Abs(t-last) - s.noise)
			}
			s.push(trip{x.Sent, t, false})
			continue
		}
		s.flowBase = min(s.flowBase, t)
		if t-s.flowBase < goodMs {
			s.push(trip{x.Sent, t, true})
		} else {
			e.doubt = true
		}
		if t-s.flowBase < shortMs {
			e.proof = true
			// A longer run has another cause than chance, unless probes say that there is none.
			if most := s.enough(); s.highs < most || !s.blind {
				s.run += .1 * (float64(min(s.highs, 2*most)) - s.run)
			}
			s.highs, s.contrary, s.low, s.proved = 0, 0, inf, now
		} else {
			s.highs++
			s.low = min(s.low, t)
			if busy && !s.deaf {
				s.contrary++
			}
		}
	}
	if s.highs >= 3*s.enough() && now-s.proved > longRun {
		// All cuts were without effect: the nearest server is not there any more.
		s.flowBase, s.highs, s.contrary, s.low, s.proved = s.low, 0, 0, inf, now
	}
	e.highs, e.enough = s.highs, s.enough()
	// Do probes work?
	switch {
	case !flowing:
		if s.waits != 0 {
			s.waits = now // the line is dead: no answer says nothing about the target
		}
	case s.waits != 0:
		patience := silence
		if !s.everAnswered {
			patience = firstSilence
		}
		if now-s.waits >= patience {
			s.silent = true
		}
	}
	s.listen(now)
	e.passive = in.NoProbes && now-s.answered > stale || s.silent || s.deaf || !s.everAnswered
	s.blind = e.passive
	// The delay.
	e.delay = inf
	for i := max(0, s.n-kept); i < s.n; i++ {
		t := s.trips[i%kept]
		if !t.flow && t.sent >= e.lastSent {
			e.last, e.lastSent = t.ms-s.base, t.sent
		}
		if ms(now-t.sent) > freshMs || !t.flow && s.deaf {
			continue
		}
		base := s.base
		if t.flow {
			base = s.flowBase
		}
		e.delay, e.known = min(e.delay, t.ms-base), true
	}
	if e.passive && !e.proof {
		e.known = false
	}
	if !e.passive && in.Unanswered > 0 && now-in.Unanswered >= s.answeredSent {
		if late := ms(in.Unanswered) - s.base; late > badMs && (!e.known || late > e.delay) {
			e.delay, e.known = late, true
		}
	}
	if !e.known {
		e.delay = 0
	}
	return e
}

func (s *sensor) push(t trip) {
	s.trips[s.n%kept] = t
	s.n++
	if s.n >= 2*kept {
		s.n -= kept
	}
}

// enough is the number of long flows in a row that is evidence of a queue.
func (s *sensor) enough() int {
	return int(math.Ceil(runFactor * (1 + s.run)))
}

const (
	// silence is how long a target may be without an answer while the line carries traffic: a queue of 1,000 packets lasts
	// so long at 1.2 Mbit/s. firstSilence is for one that never answered.
	silence      = 10 * time.Second
	firstSilence = 3 * time.Second
	// stale is the age of the last answer at which it is worth nothing, if there are to be no more.
	stale = time.Second
	// deafFor is the time until a target is believed again.
	deafFor = 10 * time.Minute
	// longRun is the least time for which all flows are long before their base is not believed.
	longRun = 90 * time.Second
)

// listen notices a target that answers from the lender's own modem or from a cache: its delay stays near nothing while
// all new connections of the residents wait.
func (s *sensor) listen(now time.Duration) {
	if s.deaf {
		if now-s.deafSince > deafFor {
			s.deaf, s.contrary = false, 0
		}
		return
	}
	// What answers without crossing the line is nearer than what is beyond it.
	enough := 2 * s.enough()
	if s.base < nextDoorMs {
		enough = (s.enough() + 1) / 2
	}
	if s.base < s.flowBase/2 && s.contrary >= enough && s.low-s.flowBase > deafMs {
		s.deaf, s.deafSince = true, now
	}
}
