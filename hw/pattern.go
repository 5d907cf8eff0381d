package hw

import (
	"math"
	"strings"
	"time"

	"passerelle/appliance/state"
)

// Colour is a mix of the colours that are lit.
type Colour uint8

// Colours. Dark is off.
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

// Step is a colour and its duration.
type Step struct {
	Colour Colour
	For    time.Duration // 0 in a pattern of one step: forever
}

// Pattern is repeated endlessly.
type Pattern []Step

// Length returns how long a pattern takes until it repeats, 0 for one that never changes.
func (p Pattern) Length() (whole time.Duration) {
	for _, s := range p {
		whole += s.For
	}
	return whole
}

const forever = time.Duration(math.MaxInt64)

// At returns the colour at a time since the pattern's start, and for how long it is shown. It is computed from the
// time, not by counting steps, so a late call does not shift the pattern.
func (p Pattern) At(elapsed time.Duration) (c Colour, left time.Duration) {
	whole := p.Length()
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

// flashes returns a pattern of n short flashes, then a pause that fills the period.
func flashes(c Colour, n int, each, period time.Duration) (p Pattern) {
	for range n {
		p = append(p, Step{c, each}, Step{Dark, each})
	}
	p[len(p)-1].For += period - time.Duration(2*n)*each
	return p
}

// sos returns the Morse distress signal, in the proportions of ITU-R M.1677-1: a dash is three dots long, dots and dashes of a
// letter are one dot apart, letters three, words seven.
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

// setupPattern is the pattern of State setup. With one LED, a long and a short flash alternate.
var setupPattern = Pattern{{Blue, 700 * ms}, {Dark, 150 * ms}, {Amber, 150 * ms}, {Dark, 150 * ms}}

// States are the patterns of the States. Their rhythms alone distinguish them; colours only help.
var States = map[state.State]Pattern{
	state.Starting:  {{Blue, 125 * ms}, {Dark, 125 * ms}},
	state.Fault:     sos(Red, 200*ms),
	state.Setup:     setupPattern,
	state.Paused:    {{Amber, 1000 * ms}, {Dark, 1000 * ms}},
	state.Closed:    flashes(Amber, 1, 100*ms, 3000*ms),
	state.Exhausted: flashes(Amber, 2, 150*ms, 2000*ms),
	state.Offline:   flashes(Red, 3, 150*ms, 2000*ms),
	state.Sharing:   {{Colour: Green}},
}

// Holds are the patterns while the button is held: what a release would request now. Dark: nothing.
var Holds = map[Gesture]Pattern{
	Nothing: {{Colour: Dark}},
	Press:   {{Dark, 250 * ms}, {White, 250 * ms}},
	Setup:   setupPattern,
	Reset:   {{Red, 50 * ms}, {Dark, 50 * ms}},
}

// confirmation confirms a gesture, for confirmFor after the release.
var confirmation = Pattern{{Colour: White}}

const confirmFor = time.Second
