package sim

import "math"

// A flow is a greedy TCP connection with Cubic (RFC 9438) and HyStart (RFC 9406, simplified). Its unit is the full packet.
type flow struct {
	resident int // lender for flows that do not cross the box
	rtt      int // without queues, in ms
	number   int

	window, threshold float64
	inflight          int
	least             int // ms
	lastAck           int
	lossesUntil       int // losses of packets sent before it belong to an event that has been handled
	restarted         int // packets sent before it were given up by a timeout
	top, k            float64
	epoch             int

	leaf codel // its queue in the box
	on   bool  // the flow is among its resident's active flows
}

const (
	initialWindow = 10   // RFC 6928
	cubicC        = 0.4  // RFC 9438, section 5
	cubicBeta     = 0.7  // RFC 9438, section 4.6
	minRTO        = 1000 // ms; RFC 6298, section 2.4
)

func newFlow(resident, number, rtt int) *flow {
	return &flow{resident: resident, number: number, rtt: rtt, window: initialWindow, threshold: math.Inf(1)}
}

func (f *flow) acked(now, sent int) {
	rtt := now - sent
	f.lastAck = now
	if sent < f.restarted {
		return
	}
	f.inflight--
	if f.least == 0 || rtt < f.least {
		f.least = rtt
	}
	if f.window < f.threshold {
		f.window++
		// HyStart ends slow start when round trips become longer.
		if late := min(max(f.least/8, 4), 16); rtt > f.least+late && f.window > 16 {
			f.threshold = f.window
		}
		return
	}
	if f.epoch == 0 {
		f.epoch = now
		f.k = 0
		if f.top < f.window {
			f.top = f.window
		} else {
			f.k = math.Cbrt((f.top - f.window) / cubicC)
		}
	}
	t := float64(now-f.epoch+f.least)/1000 - f.k
	target := f.top + cubicC*t*t*t
	rise := (target - f.window) / f.window
	// At least as fast as Reno (section 4.3), and at most half a packet for each acknowledged one (section 4.4).
	f.window += min(max(rise, 0.53/f.window), 0.5)
}

func (f *flow) lost(now, sent int) {
	f.lastAck = now
	if sent < f.restarted {
		return
	}
	f.inflight--
	if sent < f.lossesUntil {
		return
	}
	f.lossesUntil = now
	f.top = f.window
	f.window = max(2, f.window*cubicBeta)
	f.threshold = f.window
	f.epoch = 0
}

// timeout restarts the flow after a time without any answer.
func (f *flow) timeout(now int) {
	if f.inflight == 0 || now-f.lastAck <= minRTO || now-f.lossesUntil <= minRTO {
		return
	}
	f.threshold = max(2, f.window/2)
	f.window = 2
	f.lossesUntil, f.restarted, f.lastAck = now, now, now
	f.epoch = 0
	f.inflight = 0
}
