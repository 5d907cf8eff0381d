package guest

import (
	"fmt"
	"time"

	"passerelle/hw"
)

// Interval is a time for which a light is on or off.
type Interval struct {
	On  bool
	For time.Duration
}

func (s Interval) String() string {
	if s.On {
		return fmt.Sprintf("on %d ms", s.For.Milliseconds())
	}
	return fmt.Sprintf("off %d ms", s.For.Milliseconds())
}

// Trace is the sampled state of a light. Its first and last interval are truncated.
type Trace []Interval

// Add adds a sample, which was taken the time after later than the last one. It drops samples that are older than most.
func (l *Trace) Add(on bool, after, most time.Duration) {
	seen := *l
	if len(seen) == 0 {
		*l = Trace{{On: on}}
		return
	}
	seen[len(seen)-1].For += after
	if seen[len(seen)-1].On != on {
		seen = append(seen, Interval{On: on})
	}
	over := seen.length() - most
	for over > seen[0].For {
		over -= seen[0].For
		seen = seen[1:]
	}
	seen[0].For -= max(0, over)
	*l = seen
}

// length is the duration of the trace.
func (l Trace) length() (d time.Duration) {
	for _, s := range l {
		d += s.For
	}
	return d
}

// TraceTime returns how long a light must be sampled to distinguish a pattern from all others: one and a half periods, but at least
// 1.5 s, so that the confirmation of a gesture, which lasts a second, is not mistaken for a pattern.
func TraceTime(p hw.Pattern) (d time.Duration) {
	for _, step := range p {
		d += step.For
	}
	return max(d*3/2, 1500*time.Millisecond)
}

// intervals returns a pattern as seen on one light, which has no colours.
func intervals(p hw.Pattern) (all []Interval) {
	for _, step := range p {
		on := step.Colour != hw.Dark
		if n := len(all); n > 0 && all[n-1].On == on {
			all[n-1].For += step.For
			continue
		}
		all = append(all, Interval{on, step.For})
	}
	return all
}

// Match returns why the trace does not match the pattern, nil if it matches. Each interval may be too short or too long by at most
// slack. A trace that is too short to decide does not match.
func Match(seen Trace, p hw.Pattern, slack time.Duration) error {
	want := intervals(p)
	if seen.length() < TraceTime(p) {
		return fmt.Errorf("the light was %v, too short a time to see %v", seen, want)
	}
	for from := range want {
		if matchFrom(seen, want, from, slack) {
			return nil
		}
	}
	return fmt.Errorf("the light was %v, which is not %v again and again", seen, want)
}

// matchFrom tells whether the trace matches the pattern if it starts within the pattern's interval number from.
func matchFrom(seen Trace, want []Interval, from int, slack time.Duration) bool {
	if len(want) == 1 {
		return len(seen) == 1 && seen[0].On == want[0].On
	}
	for i, s := range seen {
		w := want[(from+i)%len(want)]
		whole := i > 0 && i < len(seen)-1
		if s.On != w.On || s.For > w.For+slack || whole && s.For < w.For-slack {
			return false
		}
	}
	return true
}
