package guest

import (
	"fmt"
	"time"

	"passerelle/hw"
)

// Stretch is a while that a light is on or off.
type Stretch struct {
	On  bool
	For time.Duration
}

func (s Stretch) String() string {
	if s.On {
		return fmt.Sprintf("on %d ms", s.For.Milliseconds())
	}
	return fmt.Sprintf("off %d ms", s.For.Milliseconds())
}

// Look is what was seen of a light. The first and the last stretch are cut off by the look.
type Look []Stretch

// Add adds that the light is on, or not, so long after the last look at it; what is longer ago than most is forgotten.
func (l *Look) Add(on bool, after, most time.Duration) {
	seen := *l
	if len(seen) == 0 {
		*l = Look{{On: on}}
		return
	}
	seen[len(seen)-1].For += after
	if seen[len(seen)-1].On != on {
		seen = append(seen, Stretch{On: on})
	}
	over := seen.length() - most
	for over > seen[0].For {
		over -= seen[0].For
		seen = seen[1:]
	}
	seen[0].For -= max(0, over)
	*l = seen
}

// length is how long the light was looked at.
func (l Look) length() (d time.Duration) {
	for _, s := range l {
		d += s.For
	}
	return d
}

// LookFor returns how long a light must be looked at to tell a pattern from all others: one and a half of its periods.
// What a gesture's confirmation lights, for a second, is no pattern.
func LookFor(p hw.Pattern) (d time.Duration) {
	for _, step := range p {
		d += step.For
	}
	return max(d*3/2, 1500*time.Millisecond)
}

// stretches returns how a pattern looks on one light, which has no colours.
func stretches(p hw.Pattern) (all []Stretch) {
	for _, step := range p {
		on := step.Colour != hw.Dark
		if n := len(all); n > 0 && all[n-1].On == on {
			all[n-1].For += step.For
			continue
		}
		all = append(all, Stretch{on, step.For})
	}
	return all
}

// Match says why what was seen of a light is not the pattern, each stretch at most slack too short or too long, for as
// long as it takes to tell.
func Match(seen Look, p hw.Pattern, slack time.Duration) error {
	want := stretches(p)
	if seen.length() < LookFor(p) {
		return fmt.Errorf("the light was %v, too short a time to see %v", seen, want)
	}
	for from := range want {
		if matchFrom(seen, want, from, slack) {
			return nil
		}
	}
	return fmt.Errorf("the light was %v, which is not %v again and again", seen, want)
}

// matchFrom says whether the pattern was seen, a part of its stretch number from first.
func matchFrom(seen Look, want []Stretch, from int, slack time.Duration) bool {
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
