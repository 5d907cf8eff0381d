package hw

import (
	"slices"
	"time"
)

// Gesture is what somebody asks for with the button.
type Gesture string

// The gestures, by how long the button is held when it is let go.
const (
	Nothing Gesture = "nothing"
	Press   Gesture = "press" // pause or resume
	Setup   Gesture = "setup" // a window for technicians
	Reset   Gesture = "reset" // as it left the factory
)

// Gestures lists those that ask for something.
var Gestures = []Gesture{Press, Setup, Reset}

// holds is what letting go does, by how long the button has been held. Between two gestures, and after the last, is
// room to change one's mind: a reset asks to be let go within its five seconds, neither early nor late.
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

const (
	// settle is how long a contact must keep its level to be believed. Most bounce for less than 10 ms, worn ones longer.
	settle = 30 * time.Millisecond
	// unseen is how long nobody may look while the button is held: what happened meanwhile is anybody's guess.
	unseen = 250 * time.Millisecond
	// stuck is how long nobody holds a button: something leans on it, or it is broken.
	stuck = 30 * time.Second
)

// Button turns the level of a contact, looked at again and again, into gestures. It is a pure function of what it is
// shown: it reads no clock and no pin.
//
//	let go after    0 to 2 s   press: pause or resume
//	                2 to 5 s   nothing
//	                5 to 10 s  setup: a window for technicians
//	               10 to 15 s  nothing
//	               15 to 20 s  reset
//	               longer      nothing
//
// A time belongs to the row that it begins. A button that is down when it is first seen counts once it has been up; one
// that nobody looked at for a quarter of a second while it was held asks for nothing.
type Button struct {
	offers []Gesture

	seen    time.Time // when it was looked at last
	level   bool      // then
	changed time.Time // since when
	up      bool      // it has been seen up
	down    bool      // it is held, bounces left out
	since   time.Time // it is held
	blind   bool      // nobody looked for too long: it asks for nothing until it has been up
}

// NewButton returns a button that asks for nothing but these gestures: the light must not promise what nobody does.
func NewButton(offers ...Gesture) *Button { return &Button{offers: offers} }

// Look takes what is seen now and returns what was asked for by letting go, Nothing mostly.
func (b *Button) Look(now time.Time, pressed bool) Gesture {
	if b.seen.IsZero() || pressed != b.level {
		b.level, b.changed = pressed, now
	}
	b.blind = b.blind || !b.seen.IsZero() && now.Sub(b.seen) > unseen
	b.seen = now
	switch {
	case now.Sub(b.changed) < settle:
	case pressed && b.up && !b.down:
		b.down, b.since = true, b.changed
	case !pressed:
		g := Nothing
		if b.down {
			g = b.does(b.changed)
		}
		b.up, b.down, b.blind = true, false, false
		return g
	}
	return Nothing
}

// Held returns what letting go would do now and since when it would, while somebody holds the button.
func (b *Button) Held() (does Gesture, since time.Time, held bool) {
	if !b.down || b.seen.Sub(b.since) >= stuck {
		return Nothing, time.Time{}, false
	}
	return b.does(b.seen), b.since.Add(holds[b.row(b.seen)].from), true
}

// row returns the row of holds that a time belongs to.
func (b *Button) row(at time.Time) int {
	held := at.Sub(b.since)
	i := len(holds) - 1
	for holds[i].from > held {
		i--
	}
	return i
}

func (b *Button) does(at time.Time) Gesture {
	g := holds[b.row(at)].does
	if b.blind || !slices.Contains(b.offers, g) {
		return Nothing
	}
	return g
}
