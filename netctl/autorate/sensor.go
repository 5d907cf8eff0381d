package autorate

import (
	"math"
	"time"
)

var inf = math.Inf(1)

// evidence is what an update knows about the queue beyond the box.
type evidence struct {
	delay    float64 // ms above the base
	known    bool
	late     bool          // an answer arrived late: not only one is missing
	last     float64       // ms above the base; of the most recently sent probe that was answered
	lastSent time.Duration // when that probe was sent
	passive  bool          // probes cannot be relied on
	proof    bool          // a flow's round trip was short: there is no queue
	doubt    bool          // a flow's round trip was long
	noise    float64       // ms
	highs    int           // long flows in a row
	enough   int           // this many of them in a row are evidence of a queue
}

// trip is one sample.
type trip struct {
	sent time.Duration
	ms   float64
	flow bool
}

const kept = 16

// sensor turns samples into evidence.
type sensor struct {
	base     float64 // ms; the lowest round trip of a probe
	flowBase float64 // likewise of a flow
	trips    [kept]trip
	n        int

	answered     time.Duration // when the last answer arrived
	answeredSent time.Duration // when the last answered probe was sent
	everAnswered bool
	waits        time.Duration // since when probes are sent without an answer; 0 if none is unanswered
	silent       bool          // probes get no answer, though the line carries traffic

	run    float64       // mean number of long flows between two short ones without a queue
	highs  int           // long flows in a row
	low    float64       // the lowest round trip of a flow since the last short one
	proved time.Duration // when the last short one arrived
	noise  float64       // ms; mean difference of two consecutive probes without a long queue
	blind  bool          // probes could not be relied on

	deaf      bool // the probes' delay does not follow the queue
	deafSince time.Duration
	contrary  int           // long flows in a row while probes were short
	shown     time.Duration // when a probe last showed a queue; 0 if none did
}

func newSensor() sensor {
	return sensor{base: inf, flowBase: inf, run: firstRun, low: inf}
}

// forget drops the measurements, but not the bases.
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

// fresh reports that a flow has just proved that there is no queue.
func (s *sensor) fresh(now time.Duration) bool {
	if s.n == 0 {
		return false
	}
	t := s.trips[(s.n-1)%kept]
	return t.flow && ms(now-t.sent) < proofMs
}

// newest returns the last probe's round trip in ms, infinity if there is none.
func (s *sensor) newest() float64 {
	for i := s.n - 1; i >= max(0, s.n-kept); i-- {
		if t := s.trips[i%kept]; !t.flow {
			return t.ms
		}
	}
	return inf
}

// still returns the lowest round trip of the probes that were sent after a time, in ms. It requires enough of them, and that their
// median is near the lowest.
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

// read evaluates the samples of an update. busy tells whether there is something to learn, flowing whether the line carries a good
// part of the rate.
func (s *sensor) read(in Input, busy, flowing bool) evidence {
	now := in.Now
	e := evidence{noise: s.noise}
	for _, x := range in.Samples {
		t := ms(x.Trip)
		if x.Trip <= 0 || x.Trip > time.Minute || x.Sent > now || x.Sent < 0 {
			continue // the sender's clock jumped
		}
		if x.Source != Flow {
			s.answered, s.waits = now, 0
			s.answeredSent = max(s.answeredSent, x.Sent)
			s.everAnswered, s.silent = true, false
			s.base = min(s.base, t)
			if t-s.base > badMs {
				e.late = true
				s.deaf, s.contrary = false, 0
				s.shown = now
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
			// A longer run is not chance, unless probes show that there is no queue.
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
		// All cuts had no effect: the nearest server is gone.
		s.flowBase, s.highs, s.contrary, s.low, s.proved = s.low, 0, 0, inf, now
	}
	e.highs, e.enough = s.highs, s.enough()
	// Do probes work?
	switch {
	case !flowing:
		if s.waits != 0 {
			s.waits = now // the line is dead, so a missing answer says nothing about the target
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

// enough returns the number of long flows in a row that is evidence of a queue.
func (s *sensor) enough() int {
	return int(math.Ceil(runFactor * (1 + s.run)))
}

const (
	// silence is how long a target may not answer while the line carries traffic: a queue of 1,000 packets lasts that long at 1.2
	// Mbit/s. firstSilence is the limit for a target that never answered.
	silence      = 10 * time.Second
	firstSilence = 3 * time.Second
	// stale is the age at which the last answer is worthless, if no more probes may be sent.
	stale = time.Second
	// deafFor is the time after which a target is believed again.
	deafFor = 10 * time.Minute
	// shownFor is how long a target that showed a queue is trusted.
	shownFor = time.Minute
	// longRun is the shortest time in which all flows must be long before their base is discarded.
	longRun = 90 * time.Second
)

// listen detects a target that answers from the lender's own modem or from a cache: its delay stays near zero while all new
// connections of the residents are slow.
func (s *sensor) listen(now time.Duration) {
	if s.deaf {
		if now-s.deafSince > deafFor {
			s.deaf, s.contrary = false, 0
		}
		return
	}
	// A target that answers without crossing the line is nearer than anything beyond it; if it is also next door, few flows are enough.
	// A target next door need not look nearer, since one flow whose start was read late was measured too short: then many flows decide.
	enough, nearer, nextDoor := 2*s.enough(), s.base < s.flowBase/2, s.base < nextDoorMs
	switch {
	case s.shown != 0 && now-s.shown < shownFor:
		// It has just shown a queue. So it is not suspected, unless there are many flows: a Wi-Fi link can delay the lender's own modem.
		enough = 3 * s.enough()
	case nearer && nextDoor:
		enough = (s.enough() + 1) / 2
	}
	if (nearer || nextDoor) && s.contrary >= enough && s.low-s.flowBase > deafMs {
		s.deaf, s.deafSince = true, now
	}
}
