package guest_test

import (
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/hw"
	"passerelle/image/vm/guest"
)

// look returns the trace of the pattern shown, as recorded by an observer who waits for another pattern, from some moment on.
func look(shown hw.Pattern, from time.Duration, awaited hw.Pattern) (seen guest.Trace) {
	const step = 5 * time.Millisecond
	// The first second is dropped from the trace.
	for at := from - time.Second; at <= from+guest.TraceTime(awaited); at += step {
		c, _ := shown.At(at + time.Minute)
		seen.Add(c != hw.Dark, step, guest.TraceTime(awaited))
	}
	return seen
}

// TestMatchTellsPatternsApart checks that a trace that starts at any time matches the shown pattern and no other.
func TestMatchTellsPatternsApart(t *testing.T) {
	t.Parallel()
	for _, shown := range state.States {
		for from := time.Duration(0); from < 8*time.Second; from += 145 * time.Millisecond {
			for _, s := range state.States {
				seen := look(hw.States[shown], from, hw.States[s])
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
	blink := hw.Pattern{{Colour: hw.White, For: 600 * ms}, {Colour: hw.Dark, For: 400 * ms}}
	for _, c := range []struct {
		what string
		seen guest.Trace
		ok   bool
	}{
		{"exact", guest.Trace{{true, 100 * ms}, {false, 400 * ms}, {true, 600 * ms}, {false, 400 * ms}}, true},
		{"a little off", guest.Trace{{false, 450 * ms}, {true, 540 * ms}, {false, 460 * ms}, {true, 60 * ms}}, true},
		{"too short", guest.Trace{{false, 400 * ms}, {true, 500 * ms}, {false, 400 * ms}, {true, 200 * ms}}, false},
		{"too long", guest.Trace{{false, 400 * ms}, {true, 700 * ms}, {false, 400 * ms}}, false},
		{"a part that is too long", guest.Trace{{false, 500 * ms}, {true, 600 * ms}, {false, 400 * ms}}, false},
		{"seen for too short a time", guest.Trace{{false, 400 * ms}, {true, 600 * ms}, {false, 400 * ms}}, false},
		{"nothing", nil, false},
	} {
		if err := guest.Match(c.seen, blink, slack); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}
