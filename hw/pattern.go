package hw

import (
	"math"
	"strings"
	"time"

	"passerelle/appliance/decide"
)

// Colour is a mix of the lights that are on.
type Colour uint8

// Colours. Dark is no light.
const (
	Dark Colour = 0
	Red  Colour = 1 << (iota - 1)
	Green
	Blue

	Amber = Red | Green
	White = Red | Green | Blue
)

func (c Colour) String() string {
	switch c {
	case Dark:
		return "dark"
	case Amber:
		return "amber"
	case White:
		return "white"
	}
	var names []string
	for _, p := range []struct {
		c    Colour
		name string
	}{{Red, "red"}, {Green, "green"}, {Blue, "blue"}} {
		if c&p.c != 0 {
			names = append(names, p.name)
		}
	}
	return strings.Join(names, "+")
}

// Step is a colour for a while.
type Step struct {
	Colour Colour
	For    time.Duration // 0 in a pattern of one step: for ever
}

// Pattern is repeated without end.
type Pattern []Step

const forever = time.Duration(math.MaxInt64)

// At returns what the pattern shows so long after it began, and for how long it will. Since it asks for the time and
// counts no steps, a late look is followed by the right one: nothing adds up.
func (p Pattern) At(elapsed time.Duration) (c Colour, left time.Duration) {
	var whole time.Duration
	for _, s := range p {
		whole += s.For
	}
	if whole == 0 {
		return p[0].Colour, forever
	}
	elapsed %= whole
	for _, s := range p {
		if elapsed < s.For {
			return s.Colour, s.For - elapsed
		}
		elapsed -= s.For
	}
	panic("hw: the steps of a pattern do not add up") // elapsed is less than their sum
}

// flashes are n short ones, then a pause that fills the period.
func flashes(c Colour, n int, each, period time.Duration) (p Pattern) {
	for range n {
		p = append(p, Step{c, each}, Step{Dark, each})
	}
	p[len(p)-1].For += period - time.Duration(2*n)*each
	return p
}

// sos is Morse's signal of distress, in the proportions of ITU-R M.1677-1: a dash is three dots long, dots and dashes
// of a letter are a dot apart, letters three, words seven.
func sos(c Colour, dot time.Duration) (p Pattern) {
	for _, letter := range []time.Duration{dot, 3 * dot, dot} {
		for range 3 {
			p = append(p, Step{c, letter}, Step{Dark, dot})
		}
		p[len(p)-1].For = 3 * dot
	}
	p[len(p)-1].For = 7 * dot
	return p
}

const ms = time.Millisecond

// asking is the pattern of State setup. Where there is one light, a long and a short flash alternate.
var asking = Pattern{{Blue, 700 * ms}, {Dark, 150 * ms}, {Amber, 150 * ms}, {Dark, 150 * ms}}

// States is what the light shows in each State. The rhythm alone tells them apart: colours help where there are any.
var States = map[decide.State]Pattern{
	decide.Starting:  {{Blue, 125 * ms}, {Dark, 125 * ms}},
	decide.Fault:     sos(Red, 200*ms),
	decide.Setup:     asking,
	decide.Paused:    {{Amber, 1000 * ms}, {Dark, 1000 * ms}},
	decide.Closed:    flashes(Amber, 1, 100*ms, 3000*ms),
	decide.Exhausted: flashes(Amber, 2, 150*ms, 2000*ms),
	decide.Offline:   flashes(Red, 3, 150*ms, 2000*ms),
	decide.Sharing:   {{Colour: Green}},
}

// Holds is what the light shows while the button is held: what letting go would do now. Dark: nothing.
var Holds = map[Gesture]Pattern{
	Nothing: {{Colour: Dark}},
	Press:   {{Dark, 250 * ms}, {White, 250 * ms}},
	Setup:   asking,
	Reset:   {{Red, 50 * ms}, {Dark, 50 * ms}},
}

// done confirms a gesture, for doneFor after the button was let go.
var done = Pattern{{Colour: White}}

const doneFor = time.Second
