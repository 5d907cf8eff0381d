package sim

import "math"

// Fixed is a constant rate in bit/s.
type Fixed Rates

// Tick implements [Controller].
func (f Fixed) Tick(Seen) Rates { return Rates(f) }

// Wants implements [Controller].
func (f Fixed) Wants(int) bool { return false }

// Cake is the law of cake-autorate (https://github.com/lynxthecat/cake-autorate), written from its documentation and the meaning of
// its settings, with their defaults of August 2026. It controls the downlink; the uplink has no limit.
//
// It asks six reflectors in turn, 20 times a second. With fping the one-way delay is half of the round trip. Each answer is compared
// with the base of its reflector.
type Cake struct {
	Min, Base, Max float64 // bit/s

	rate      float64
	load      float64 // received, as a fraction of the rate
	bases     [cakeReflectors]float64
	late      [cakeWindow]bool
	excess    [cakeWindow]float64 // ms
	n         int
	lastBloat int // ms
	lastDecay int
	lastRise  int
}

const (
	cakeReflectors = 6
	cakeEveryMs    = 50 // reflector_ping_interval_s / no_pingers
	cakeWindow     = 6  // bufferbloat_detection_window
	cakeLate       = 3  // bufferbloat_detection_thr
	cakeHoldMs     = 300
	cakeDecayMs    = 1000
)

// Tick implements [Controller].
func (c *Cake) Tick(s Seen) Rates {
	if s.Ms == 0 {
		*c = Cake{Min: c.Min, Base: c.Base, Max: c.Max, rate: c.Base}
		c.lastBloat = -cakeHoldMs
		for i := range c.bases {
			c.bases[i] = math.Inf(1)
		}
	} else {
		c.load = float64(s.Down.Bytes) * 8000 / float64(s.Ms) / c.rate
	}
	return Rates{c.rate, math.Inf(1)}
}

// Wants implements [Controller].
func (c *Cake) Wants(now int) bool { return now%cakeEveryMs == 0 }

// Answer implements [Answerer].
func (c *Cake) Answer(s Sample) Rates {
	rates := Rates{c.rate, math.Inf(1)}
	if s.Flow {
		return rates
	}
	now := s.Sent + int(s.Trip)
	base, oneWay := &c.bases[s.Number%cakeReflectors], s.Trip/2
	switch {
	case math.IsInf(*base, 1):
		*base = oneWay
	case oneWay > *base: // alpha_baseline_increase
		*base += 0.001 * (oneWay - *base)
	default: // alpha_baseline_decrease
		*base += 0.9 * (oneWay - *base)
	}
	// The transmission time of a packet is added to all thresholds.
	packet := MTU * 8 / c.rate * 1000
	up, bad, down := 10+packet, 30+packet, 60+packet
	c.late[c.n%cakeWindow], c.excess[c.n%cakeWindow] = oneWay-*base > bad, oneWay-*base
	c.n++
	late, mean := 0, 0.0
	for i := range c.late {
		if c.late[i] {
			late++
		}
		mean += c.excess[i] / cakeWindow
	}
	part := func(x float64) float64 { return max(0, min(1, x)) }
	switch {
	case late >= cakeLate:
		if now > c.lastBloat+cakeHoldMs {
			c.rate *= 0.99 - (0.99-0.75)*part((mean-bad)/(down-bad))
			c.lastBloat, c.lastDecay = now, now
		}
	case c.load > 0.75:
		// The rate rises once for each measurement of the load.
		if now >= c.lastRise+TickMs && now > c.lastBloat+cakeHoldMs {
			c.rate *= 1 + 0.04*part((bad-mean)/(bad-up))
			c.lastRise, c.lastDecay = now, now
		}
	case now > c.lastDecay+cakeDecayMs:
		if c.rate > c.Base {
			c.rate = max(c.Base, c.rate*0.99)
		} else {
			c.rate = min(c.Base, c.rate*1.01)
		}
		c.lastDecay = now
	}
	c.rate = max(c.Min, min(c.Max, c.rate))
	return Rates{c.rate, math.Inf(1)}
}
