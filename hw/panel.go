package hw

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"periph.io/x/conn/v3/gpio"

	"passerelle/appliance/decide"
)

// poll is how often the button is read. Edges would save some of these reads, and cost more than they save: a bouncing
// contact overflows the kernel's queue of events (16 of a line, struct gpio_v2_line_request in linux/gpio.h), and a
// button that is held must be looked at anyway.
const poll = 10 * time.Millisecond

// Light is one LED.
type Light struct {
	Name      string
	Pin       gpio.PinOut
	Colour    Colour // White if it is not known
	ActiveLow bool   // it shines while the pin is low

	release func() error // gives it back
}

// Contact is the button's pin.
type Contact struct {
	Name      string
	Pin       gpio.PinIn
	ActiveLow bool // it is pressed while the pin is low

	release func() error
}

// Pressed reads the pin, bounces and all.
func (c *Contact) Pressed() bool { return bool(c.Pin.Read()) != c.ActiveLow }

// Panel is the light and the button of a box. Make one with NewPanel.
type Panel struct {
	lights   []Light
	contact  *Contact
	button   *Button
	log      *slog.Logger
	states   chan decide.State
	gestures chan Gesture

	// The rest is Run's alone.
	state  decide.State
	since  time.Time // of the state
	doneAt time.Time // a gesture was
	shown  Colour
	failed string // why the light could not be set when it was tried last
}

// NewPanel returns the panel of a box that is starting. Only the gestures that it offers are shown and told.
func NewPanel(d *Devices, log *slog.Logger, offers ...Gesture) *Panel {
	return &Panel{
		lights: d.Lights, contact: d.Contact, button: NewButton(offers...), log: log,
		states: make(chan decide.State, 1), gestures: make(chan Gesture, 1), state: decide.Starting,
	}
}

// Show has the light show a State. It never waits; one goroutine may call it.
func (p *Panel) Show(s decide.State) {
	select {
	case <-p.states: // an older one that was not taken yet
	default:
	}
	p.states <- s
}

// Gestures tells what is asked for with the button. Nobody waits for who does it: what is asked for while two gestures
// are not done yet is lost.
func (p *Panel) Gestures() <-chan Gesture { return p.gestures }

// Run drives the light and reads the button until ctx ends, then leaves the light dark.
func (p *Panel) Run(ctx context.Context) {
	p.since = time.Now()
	p.light(Dark)
	defer p.light(Dark)
	var ticks <-chan time.Time
	if p.contact != nil {
		t := time.NewTicker(poll)
		defer t.Stop()
		ticks = t.C
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-p.states:
			if s != p.state {
				p.state, p.since = s, time.Now()
			}
		case <-ticks:
			p.look(time.Now())
		case <-timer.C:
		}
		now := time.Now()
		pattern, since := p.scene(now)
		c, left := pattern.At(now.Sub(since))
		if c != p.shown {
			p.light(c)
		}
		timer.Reset(left - time.Since(now))
	}
}

// look reads the button and passes on what it asks for.
func (p *Panel) look(now time.Time) {
	g := p.button.Look(now, p.contact.Pressed())
	if g == Nothing {
		return
	}
	select {
	case p.gestures <- g:
		p.doneAt = now
	default:
		p.log.Warn("the button asks for more than is done", "gesture", g)
	}
}

// scene returns what is shown now, and since when.
func (p *Panel) scene(now time.Time) (Pattern, time.Time) {
	if g, since, held := p.button.Held(); held {
		return Holds[g], since
	}
	if now.Sub(p.doneAt) < doneFor {
		return done, p.doneAt
	}
	return States[p.state], p.since
}

// light sets all LEDs. Where none has any part of the colour, all stand in for it: one LED is enough.
func (p *Panel) light(c Colour) {
	p.shown = c
	var has Colour
	for _, l := range p.lights {
		has |= l.Colour
	}
	var errs []error
	for _, l := range p.lights {
		on := c&l.Colour != 0 || c != Dark && c&has == 0
		errs = append(errs, l.Pin.Out(gpio.Level(on != l.ActiveLow)))
	}
	failed := ""
	if err := errors.Join(errs...); err != nil {
		failed = err.Error()
	}
	if failed != "" && failed != p.failed {
		p.log.Warn("the light cannot be set", "error", failed)
	}
	p.failed = failed
}
