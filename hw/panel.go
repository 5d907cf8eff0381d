package hw

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"periph.io/x/conn/v3/gpio"

	"passerelle/appliance/state"
)

// pollInterval is the interval of the button's samples. Edge events would save some of these reads, but cost more than they save:
// a bouncing contact overflows the kernel's event queue (16 events a line, struct gpio_v2_line_request in linux/gpio.h), and a
// held button must be sampled anyway.
const pollInterval = 10 * time.Millisecond

// Light is one LED.
type Light struct {
	Name      string
	Pin       gpio.PinOut
	Colour    Colour // White if unknown
	ActiveLow bool   // it is lit while the pin is low

	release func() error // releases the pin
}

// Contact is the button's pin.
type Contact struct {
	Name      string
	Pin       gpio.PinIn
	ActiveLow bool // it is pressed while the pin is low

	release func() error
}

// Pressed reads the pin, without debouncing.
func (c *Contact) Pressed() bool { return bool(c.Pin.Read()) != c.ActiveLow }

// Panel is the light and the button of a box. Make one with NewPanel.
type Panel struct {
	lights   []Light
	contact  *Contact
	button   *Button
	log      *slog.Logger
	states   chan state.State
	gestures chan Gesture

	// The fields below belong to Run.
	state  state.State
	since  time.Time // when the state began
	doneAt time.Time // when the last gesture was passed on
	shown  Colour
	failed string // why the light could not be set the last time; "": it could
}

// NewPanel returns the panel of a box that is starting. It shows and reports only the given gestures.
func NewPanel(d *Devices, log *slog.Logger, gestures ...Gesture) *Panel {
	return &Panel{
		lights: d.Lights, contact: d.Contact, button: NewButton(gestures...), log: log,
		states: make(chan state.State, 1), gestures: make(chan Gesture, 1), state: state.Starting,
	}
}

// Show shows a State with the light. It never blocks; one goroutine may call it.
func (p *Panel) Show(s state.State) {
	select {
	case <-p.states: // drops an older one that is still pending
	default:
	}
	p.states <- s
}

// Gestures returns the channel of the button's gestures. A gesture is dropped while an earlier one waits in the channel.
func (p *Panel) Gestures() <-chan Gesture { return p.gestures }

// Run drives the light and reads the button until ctx ends, then leaves the light dark.
func (p *Panel) Run(ctx context.Context) {
	p.since = time.Now()
	p.light(Dark)
	defer p.light(Dark)
	var ticks <-chan time.Time
	if p.contact != nil {
		t := time.NewTicker(pollInterval)
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
			p.sample(time.Now())
		case <-timer.C:
		}
		now := time.Now()
		pattern, since := p.current(now)
		c, left := pattern.At(now.Sub(since))
		if c != p.shown {
			p.light(c)
		}
		timer.Reset(left - time.Since(now))
	}
}

// sample samples the button and reports its gesture.
func (p *Panel) sample(now time.Time) {
	g := p.button.Sample(now, p.contact.Pressed())
	if g == Nothing {
		return
	}
	select {
	case p.gestures <- g:
		p.doneAt = now
	default:
		p.log.Warn("gesture dropped: earlier ones are pending", "gesture", g)
	}
}

// current returns the pattern to show now, and its start.
func (p *Panel) current(now time.Time) (Pattern, time.Time) {
	if g, since, held := p.button.Held(); held {
		return Holds[g], since
	}
	if now.Sub(p.doneAt) < confirmFor {
		return confirmation, p.doneAt
	}
	return States[p.state], p.since
}

// light sets all LEDs. If no LED has any part of the colour, it lights all of them, so that any one LED is enough.
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
		p.log.Warn("cannot set the light", "error", failed)
	}
	p.failed = failed
}
