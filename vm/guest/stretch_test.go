package guest_test

import (
	"testing"
	"time"

	"passerelle/appliance/decide"
	"passerelle/hw"
	"passerelle/vm/guest"
)

// look is what a watch sees of a pattern, from some moment of it on.
func look(p hw.Pattern, from, length time.Duration) (seen []guest.Stretch) {
	const step = 5 * time.Millisecond
	for at := from; at <= from+length; at += step {
		c, _ := p.At(at)
		if on := c != hw.Dark; len(seen) == 0 || seen[len(seen)-1].On != on {
			seen = append(seen, guest.Stretch{On: on})
			continue
		}
		seen[len(seen)-1].For += step
	}
	return seen
}

// TestMatchTellsPatternsApart: whenever the watch begins, it sees the pattern that is shown and no other.
func TestMatchTellsPatternsApart(t *testing.T) {
	t.Parallel()
	for _, shown := range decide.States {
		for from := time.Duration(0); from < 8*time.Second; from += 145 * time.Millisecond {
			seen := look(hw.States[shown], from, 15*time.Second)
			for _, s := range decide.States {
				err := guest.Match(seen, hw.States[s], slack)
				if (err == nil) != (s == shown) {
					t.Fatalf("%s, seen %v after it began, matched with %s: %v", shown, from, s, err)
				}
			}
		}
	}
}

func TestMatchAllowsNoMoreThanSlack(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	blink := hw.Pattern{{Colour: hw.White, For: 500 * ms}, {Colour: hw.Dark, For: 300 * ms}}
	for _, c := range []struct {
		what string
		seen []guest.Stretch
		ok   bool
	}{
		{"exact", []guest.Stretch{{true, 100 * ms}, {false, 300 * ms}, {true, 500 * ms}, {false, 10 * ms}}, true},
		{"a little off", []guest.Stretch{{false, 350 * ms}, {true, 440 * ms}, {false, 360 * ms}, {true, 10 * ms}}, true},
		{"too short", []guest.Stretch{{false, 300 * ms}, {true, 400 * ms}, {false, 300 * ms}}, false},
		{"too long", []guest.Stretch{{false, 300 * ms}, {true, 600 * ms}, {false, 300 * ms}}, false},
		{"a part that is too long", []guest.Stretch{{false, 500 * ms}, {true, 500 * ms}, {false, 300 * ms}}, false},
		{"seen for too short a time", []guest.Stretch{{false, 300 * ms}, {true, 500 * ms}}, false},
		{"nothing", nil, false},
	} {
		if err := guest.Match(c.seen, blink, slack); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}
