package hw

import (
	"slices"
	"time"
)

// Gesture is what the user requests with the button.
type Gesture string

// The gestures, by how long the button is held before it is released.
const (
	Nothing Gesture = "nothing"
	Press   Gesture = "press" // pause or resume
	Setup   Gesture = "setup" // a window for technicians
	Reset   Gesture = "reset" // factory reset
)

// Gestures lists the gestures that request something.
var Gestures = []Gesture{Press, Setup, Reset}

// holds maps the time for which the button has been held to the gesture of a release. Between two gestures, and after the last,
// a release does nothing, so that one can still change one's mind: a reset needs a release within its five seconds.
var holds = []struct {
	from time.Duration
	does Gesture
}{
	{0, Press},
	{2 * time.Second, Nothing},
	{5 * time.Second, Setup},
	{10 * time.Second, Nothing},
	{15 * time.Second, Reset},
	{20 * time.Second, Nothing},
}

// Hold is what a release requests after the button was held for at least From and less than To. In the last one To is 0: it has
// no end.
type Hold struct {
	From, To time.Duration
	Does     Gesture
}

// AllHolds lists what a release requests, by how long the button was held: the table that [Button] follows.
func AllHolds() []Hold {
	all := make([]Hold, len(holds))
	for i, h := range holds {
		all[i] = Hold{From: h.from, Does: h.does}
		if i > 0 {
			all[i-1].To = h.from
		}
	}
	return all
}

const (
	// debounce is how long a contact must keep its level. Most bounce for less than 10 ms, worn ones longer.
	debounce = 30 * time.Millisecond
	// maxSampleGap is the longest time between two samples of a held button. What happened in a longer gap is unknown.
	maxSampleGap = 250 * time.Millisecond
	// stuckAfter is longer than anybody holds a button: after that, something leans on it, or it is broken.
	stuckAfter = 30 * time.Second
)

// Button turns samples of a contact's level into gestures. It is a pure function of its samples: it reads no clock and
// no pin.
//
//	released after  0 to 2 s   press: pause or resume
//	                2 to 5 s   nothing
//	                5 to 10 s  setup: a window for technicians
//	               10 to 15 s  nothing
//	               15 to 20 s  reset
//	               longer      nothing
//
// A boundary belongs to the row that it begins. A button that is pressed at the first sample counts only after it was released.
// If there was a gap of more than a quarter of a second between two samples while the button was held, it requests nothing.
type Button struct {
	gestures []Gesture

	sampledAt time.Time // last sample
	level     bool      // of the last sample
	changedAt time.Time // when the level changed
	released  bool      // it was seen released
	pressed   bool      // it is held, debounced
	pressedAt time.Time // since when it is held
	gap       bool      // the samples had a gap: it requests nothing until it was released
}

// NewButton returns a button with only these gestures. The light does not offer a gesture that has no effect.
func NewButton(gestures ...Gesture) *Button { return &Button{gestures: gestures} }

// Sample processes a sample and returns the gesture of a release, usually Nothing.
func (b *Button) Sample(now time.Time, pressed bool) Gesture {
	if b.sampledAt.IsZero() || pressed != b.level {
		b.level, b.changedAt = pressed, now
	}
	b.gap = b.gap || !b.sampledAt.IsZero() && now.Sub(b.sampledAt) > maxSampleGap
	b.sampledAt = now
	switch {
	case now.Sub(b.changedAt) < debounce:
	case pressed && b.released && !b.pressed:
		b.pressed, b.pressedAt = true, b.changedAt
	case !pressed:
		g := Nothing
		if b.pressed {
			g = b.does(b.changedAt)
		}
		b.released, b.pressed, b.gap = true, false, false
		return g
	}
	return Nothing
}

// Held returns what a release would request now and since when it would. held is false if the button is not held, or stuck.
func (b *Button) Held() (does Gesture, since time.Time, held bool) {
	if !b.pressed || b.sampledAt.Sub(b.pressedAt) >= stuckAfter {
		return Nothing, time.Time{}, false
	}
	return b.does(b.sampledAt), b.pressedAt.Add(holds[b.row(b.sampledAt)].from), true
}

// row returns the row of holds for a time.
func (b *Button) row(at time.Time) int {
	held := at.Sub(b.pressedAt)
	i := len(holds) - 1
	for holds[i].from > held {
		i--
	}
	return i
}

func (b *Button) does(at time.Time) Gesture {
	g := holds[b.row(at)].does
	if b.gap || !slices.Contains(b.gestures, g) {
		return Nothing
	}
	return g
}
