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

// Match says why what was seen of a light is not the pattern, each stretch at most slack too short or too long. It must
// have been seen for longer than the pattern takes once.
func Match(seen []Stretch, p hw.Pattern, slack time.Duration) error {
	want := stretches(p)
	for from := range want {
		if matchFrom(seen, want, from, slack) {
			return nil
		}
	}
	return fmt.Errorf("the light was %v, which is not %v again and again", seen, want)
}

// matchFrom says whether the pattern was seen, a part of its stretch number from first.
func matchFrom(seen, want []Stretch, from int, slack time.Duration) bool {
	if len(want) == 1 {
		return len(seen) == 1 && seen[0].On == want[0].On
	}
	if len(seen) < len(want)+1 { // the first and the last are parts
		return false
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
