package hw

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"

	"passerelle/appliance/state"
)

// recorder is a pin that records when its level changes.
type recorder struct {
	gpiotest.Pin
	began time.Time

	mu    sync.Mutex
	slow  time.Duration // how long each write takes
	err   error
	notes []string
}

func (r *recorder) Out(l gpio.Level) error {
	r.mu.Lock()
	if l != r.Read() {
		r.notes = append(r.notes, fmt.Sprint(time.Since(r.began).Milliseconds()))
	}
	slow, err := r.slow, r.err
	r.mu.Unlock()
	time.Sleep(slow)
	return errors.Join(err, r.Pin.Out(l))
}

// take returns the notes since the last call.
func (r *recorder) take() string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := strings.Join(r.notes, " ")
	r.notes = nil
	return s
}

// becomes makes the pin slow or broken.
func (r *recorder) becomes(slow time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slow, r.err = slow, err
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// runs runs a panel within a synctest bubble until the test ends.
func runs(t *testing.T, p *Panel) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
}

func TestLightKeepsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		led := &recorder{began: time.Now()}
		p := NewPanel(&Devices{Lights: []Light{{Pin: led, Colour: White}}}, quiet())
		runs(t, p)
		time.Sleep(999 * ms)
		if got, want := led.take(), "0 125 250 375 500 625 750 875"; got != want {
			t.Errorf("starting: %s, not %s", got, want)
		}
		time.Sleep(1 * ms)
		p.Show(state.Offline)
		p.Show(state.Exhausted) // only the latest counts
		time.Sleep(2500 * ms)
		p.Show(state.Exhausted) // unchanged: the pattern continues
		time.Sleep(1400 * ms)
		if got, want := led.take(), "1000 1150 1300 1450 3000 3150 3300 3450"; got != want {
			t.Errorf("exhausted: %s, not %s", got, want)
		}
		p.Show(state.Sharing)
		time.Sleep(time.Hour)
		if got, want := led.take(), "4900"; got != want {
			t.Errorf("sharing: %s, not %s", got, want)
		}
	})
}

// TestLightKeepsTimeUnderLoad checks that delays in setting the light do not add up: after an hour the light is not later than
// one delay.
func TestLightKeepsTimeUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		led := &recorder{began: time.Now()}
		p := NewPanel(&Devices{Lights: []Light{{Pin: led, Colour: White}}}, quiet())
		runs(t, p)
		synctest.Wait()
		p.Show(state.Paused)
		synctest.Wait()
		led.becomes(70*ms, nil)
		time.Sleep(time.Hour + 500*ms)
		led.take()
		time.Sleep(3 * time.Second)
		if got, want := led.take(), "3601000 3602000 3603000"; got != want {
			t.Errorf("%s, not %s", got, want)
		}
	})
}

func TestLightIsDarkAfterwards(t *testing.T) {
	t.Parallel()
	for _, low := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			led := &recorder{}
			p := NewPanel(&Devices{Lights: []Light{{Pin: led, Colour: White, ActiveLow: low}}}, quiet())
			p.Show(state.Sharing)
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			go func() {
				time.Sleep(500 * ms)
				if bool(led.Read()) == low {
					t.Errorf("active low %t: it does not shine", low)
				}
			}()
			p.Run(ctx)
			if bool(led.Read()) != low {
				t.Errorf("active low %t: it shines", low)
			}
		})
	}
}

func TestColours(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		has  []Colour
		show Colour
		want string
	}{
		{[]Colour{White}, Red, "1"},
		{[]Colour{Green}, Red, "1"}, // better than nothing
		{[]Colour{Green}, Dark, "0"},
		{[]Colour{Red, Green, Blue}, Amber, "110"},
		{[]Colour{Red, Green, Blue}, White, "111"},
		{[]Colour{Red, Green, Blue}, Dark, "000"},
		{[]Colour{Red, Green}, Blue, "11"},
		{[]Colour{Red, Green}, Green, "01"},
		{[]Colour{White, White}, Blue, "11"}, // the board's own LED and one that was wired to it
	} {
		var lights []Light
		for _, x := range c.has {
			lights = append(lights, Light{Pin: &gpiotest.Pin{}, Colour: x})
		}
		p := NewPanel(&Devices{Lights: lights}, quiet())
		p.light(c.show)
		got := ""
		for _, l := range lights {
			got += map[gpio.Level]string{false: "0", true: "1"}[l.Pin.(*gpiotest.Pin).Read()]
		}
		if got != c.want {
			t.Errorf("%s on %s: %s, not %s", c.show, c.has, got, c.want)
		}
	}
}

// pressing is a panel with lights of three colours and a button between a pin and ground.
type pressing struct {
	*Panel
	leds [3]*recorder // red, green, blue
	pin  *gpiotest.Pin
}

func newPressing(t *testing.T, log *slog.Logger, offers ...Gesture) *pressing {
	p := &pressing{pin: &gpiotest.Pin{L: gpio.High}}
	d := &Devices{Contact: &Contact{Pin: p.pin, ActiveLow: true}}
	for i, c := range []Colour{Red, Green, Blue} {
		p.leds[i] = &recorder{}
		d.Lights = append(d.Lights, Light{Pin: p.leds[i], Colour: c})
	}
	p.Panel = NewPanel(d, log, offers...)
	p.Show(state.Sharing)
	runs(t, p.Panel)
	time.Sleep(time.Second)
	return p
}

// shows returns the colour that the lights show together.
func (p *pressing) shows() (c Colour) {
	synctest.Wait()
	for i, led := range p.leds {
		if led.Read() {
			c |= 1 << i
		}
	}
	return c
}

func (p *pressing) hold(d time.Duration) {
	_ = p.pin.Out(gpio.Low) // a test's pin never fails
	time.Sleep(d)
	_ = p.pin.Out(gpio.High)
}

// TestLightSaysWhatLettingGoDoes checks the light while the button is held through all rows of holds.
func TestLightSaysWhatLettingGoDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPressing(t, quiet(), Gestures...)
		pressed := time.Now()
		go p.hold(16 * time.Second)
		for _, s := range []struct {
			at   time.Duration // since the button was pressed
			want Colour
		}{
			{100 * ms, Dark}, {300 * ms, White}, {600 * ms, Dark}, {1900 * ms, White}, // press
			{2100 * ms, Dark}, {4900 * ms, Dark}, // nothing
			{5100 * ms, Blue}, {5900 * ms, Amber}, // setup
			{10100 * ms, Dark}, {14900 * ms, Dark},
			{15030 * ms, Red}, {15080 * ms, Dark}, {15130 * ms, Red}, // reset
			{16100 * ms, White}, // done
			{17200 * ms, Green}, // the state again
		} {
			time.Sleep(s.at - time.Since(pressed))
			if got := p.shows(); got != s.want {
				t.Errorf("after %v: %s, not %s", s.at, got, s.want)
			}
		}
		if g := <-p.Gestures(); g != Reset {
			t.Errorf("asked for %s", g)
		}
	})
}

func TestNobodyWaitsForGestures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPressing(t, quiet(), Press)
		for range 5 {
			p.hold(100 * ms)
			time.Sleep(100 * ms)
		}
		if g := <-p.Gestures(); g != Press {
			t.Errorf("asked for %s", g)
		}
		select {
		case g := <-p.Gestures():
			t.Errorf("%s is left of a press that nobody took", g)
		default:
		}
		p.hold(7 * time.Second)
		time.Sleep(time.Second)
		select {
		case g := <-p.Gestures():
			t.Errorf("%s, which is not offered", g)
		default:
		}
	})
}

// TestBrokenLight checks that a light that cannot be set is logged once, and that the button still works.
func TestBrokenLight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		p := newPressing(t, slog.New(slog.NewTextHandler(&said, nil)), Press)
		p.leds[0].becomes(0, errors.New("no such device"))
		p.hold(100 * ms)
		if g := <-p.Gestures(); g != Press {
			t.Errorf("asked for %s", g)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := strings.Count(said.String(), "no such device"); n != 1 {
			t.Errorf("said %d times: %s", n, said.String())
		}
	})
}
