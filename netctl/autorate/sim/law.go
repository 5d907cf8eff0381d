package sim

import (
	"time"

	"passerelle/netctl/autorate"
)

// Law makes the law of package autorate a controller.
type Law struct {
	Limits autorate.Limits
	Last   autorate.Output // of the last tick

	state   autorate.State
	samples []autorate.Sample
	probe   bool
}

// Tick implements [Controller].
func (l *Law) Tick(s Seen) Rates {
	if s.Ms == 0 {
		l.state = autorate.New(l.Limits)
	}
	milliseconds := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	l.samples = l.samples[:0]
	for _, x := range s.Samples {
		source := autorate.Probe
		if x.Flow {
			source = autorate.Flow
		}
		l.samples = append(l.samples, autorate.Sample{Source: source, Sent: milliseconds(float64(x.Sent)), Trip: milliseconds(x.Trip)})
	}
	l.state, l.Last = autorate.Update(l.state, autorate.Input{
		Now:        milliseconds(float64(s.Now)),
		Down:       autorate.Traffic{Bytes: uint64(s.Down.Bytes), Backlog: uint64(s.Down.Backlog)},
		Up:         autorate.Traffic{Bytes: uint64(s.Up.Bytes), Backlog: uint64(s.Up.Backlog)},
		Samples:    l.samples,
		Unanswered: milliseconds(float64(s.Unanswered)),
		NoProbes:   s.NoProbes,
	})
	l.probe = l.Last.Probe
	return Rates{l.Last.Down, l.Last.Up}
}

// Wants implements [Controller].
func (l *Law) Wants(int) bool {
	probe := l.probe
	l.probe = false
	return probe
}
