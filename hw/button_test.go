package hw

import (
	"math/rand/v2"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// finger gives a button levels and records the gestures that it returns.
type finger struct {
	*Button
	now   time.Time
	asked []Gesture
}

func newFinger(offers ...Gesture) *finger {
	f := &finger{Button: NewButton(offers...), now: start}
	f.hold(false, time.Second)
	return f
}

// hold keeps a level for a while, sampled every 10 ms.
func (f *finger) hold(pressed bool, length time.Duration) {
	for end := f.now.Add(length); f.now.Before(end); f.now = f.now.Add(pollInterval) {
		if g := f.Sample(f.now, pressed); g != Nothing {
			f.asked = append(f.asked, g)
		}
	}
}

func (f *finger) want(t *testing.T, what string, want ...Gesture) {
	t.Helper()
	if len(f.asked) != len(want) || len(want) == 1 && f.asked[0] != want[0] {
		t.Errorf("%s: asked for %q, not %q", what, f.asked, want)
	}
	f.asked = nil
}

func TestWhenLettingGoDoesWhat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		held time.Duration
		does []Gesture
	}{
		{20 * ms, nil},
		{30 * ms, nil}, // the level was not seen for longer than debounce
		{40 * ms, []Gesture{Press}},
		{1990 * ms, []Gesture{Press}},
		{2000 * ms, nil},
		{4990 * ms, nil},
		{5000 * ms, []Gesture{Setup}},
		{9990 * ms, []Gesture{Setup}},
		{10000 * ms, nil},
		{14990 * ms, nil},
		{15000 * ms, []Gesture{Reset}},
		{19990 * ms, []Gesture{Reset}},
		{20000 * ms, nil},
		{24 * time.Hour, nil},
	} {
		f := newFinger(Gestures...)
		f.hold(true, c.held)
		f.want(t, "while it is held "+c.held.String())
		f.hold(false, time.Second)
		f.want(t, "held "+c.held.String(), c.does...)
		f.hold(true, 100*ms)
		f.hold(false, time.Second)
		f.want(t, "pressed after it was held "+c.held.String(), Press)
	}
}

func TestOnlyWhatIsOffered(t *testing.T) {
	t.Parallel()
	f := newFinger(Press)
	for _, held := range []time.Duration{6 * time.Second, 16 * time.Second} {
		f.hold(true, held)
		if does, _, held := f.Held(); does != Nothing || !held {
			t.Errorf("the light promises %s", does)
		}
		f.hold(false, time.Second)
		f.want(t, "what nobody does")
	}
}

func TestStuckFromTheStart(t *testing.T) {
	t.Parallel()
	f := &finger{Button: NewButton(Gestures...), now: start}
	f.hold(true, 16*time.Second)
	if _, _, held := f.Held(); held {
		t.Error("a button that was never up is held")
	}
	f.hold(false, time.Second)
	f.want(t, "down since before the box began")
	f.hold(true, time.Second)
	f.hold(false, time.Second)
	f.want(t, "then pressed", Press)
}

func TestStuckShowsTheStateAgain(t *testing.T) {
	t.Parallel()
	f := newFinger(Gestures...)
	f.hold(true, 29*time.Second)
	if _, _, held := f.Held(); !held {
		t.Error("it is held")
	}
	f.hold(true, 2*time.Second)
	if _, _, held := f.Held(); held {
		t.Error("it is stuck")
	}
}

// TestUnseen checks that a button requests nothing if the box was too busy to sample it.
func TestUnseen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what                  string
		before, unseen, after time.Duration
	}{
		{"while it was held", time.Second, 15 * time.Second, time.Second},
		{"when it was pressed", 0, time.Second, time.Second},
		{"when it was let go", time.Second, time.Second, 0},
	} {
		f := newFinger(Gestures...)
		f.hold(true, c.before)
		f.now = f.now.Add(c.unseen)
		f.hold(true, c.after)
		f.hold(false, time.Second)
		f.want(t, c.what)
		f.hold(true, time.Second)
		f.hold(false, time.Second)
		f.want(t, "pressed after nobody looked "+c.what, Press)
	}
}

// TestBouncesChangeNothing checks that a contact that bounces for less than debounce, when it is pressed, held or released, still
// gives exactly the finger's gesture, and that the light announces the gesture before.
func TestBouncesChangeNothing(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[Gesture]int{}
	for range 3000 {
		f := newFinger(Gestures...)
		bounce := func(rest bool) {
			for range r.IntN(20) {
				f.hold(!rest, time.Duration(1+r.IntN(2))*pollInterval)
				f.hold(rest, time.Duration(1+r.IntN(2))*pollInterval)
			}
		}
		// The middle of a row of holds, so that bouncing, which takes up to 0.8 s each time, stays within the row.
		row := holds[r.IntN(len(holds))]
		begun := f.now
		f.hold(true, pollInterval)
		bounce(true)
		f.hold(true, 50*ms)
		bounce(true)
		f.hold(true, max(50*ms, begun.Add(row.from+800*ms).Sub(f.now)))
		if held := f.now.Sub(begun); row.from == 0 && held > 1900*ms {
			continue
		}
		if does, _, held := f.Held(); does != row.does || !held {
			t.Fatalf("after %v the light says %s, not %s", f.now.Sub(begun), does, row.does)
		}
		f.want(t, "before it is let go")
		f.hold(false, pollInterval)
		f.hold(false, 2*debounce)
		bounce(false)
		f.hold(false, time.Second)
		var want []Gesture
		if row.does != Nothing {
			want = []Gesture{row.does}
		}
		f.want(t, "bouncing, after "+row.from.String(), want...)
		seen[row.does]++
	}
	if len(seen) != 4 || seen[Press] < 100 {
		t.Fatalf("seen %v: the test looks away", seen)
	}
}

// TestAnyLevels checks for arbitrary levels of a contact that the gesture is the one that the light showed when the contact
// opened, and that two gestures are at least two debounce times apart.
func TestAnyLevels(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	seen := map[Gesture]int{}
	for range 300 {
		f := &finger{Button: NewButton(Gestures...), now: start}
		var down, before bool
		var last time.Time
		promised := Nothing
		for range 3000 {
			if r.IntN(150) == 0 {
				down = !down
			}
			pressed := down != (r.IntN(40) == 0) // now and then it chatters
			g := f.Sample(f.now, pressed)
			if g != Nothing {
				seen[g]++
				if f.now.Sub(last) < 2*debounce {
					t.Fatalf("%s %v after another", g, f.now.Sub(last))
				}
				if g != promised {
					t.Fatalf("%s, but the light promised %s", g, promised)
				}
				last = f.now
			}
			if before && !pressed {
				promised, _, _ = f.Held()
			}
			before = pressed
			f.now = f.now.Add(pollInterval)
		}
	}
	if seen[Press] < 100 {
		t.Fatalf("seen %v: the test looks away", seen)
	}
}
