package hw

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/host/v3/gpioioctl"
	"periph.io/x/host/v3/sysfs"
)

// Devices are a board's light and button. Close releases them.
type Devices struct {
	Board   Board
	Chips   []string // the kernel's GPIO chips, for display
	LEDs    []string // the names of the kernel's LEDs
	Lights  []Light
	Contact *Contact // nil: no button
	Errors  []error  // why devices that the board should have cannot be used
}

// kernel is the machine's interface to LEDs and GPIO.
type kernel interface {
	chips() []string
	leds() []string // the names in the LED class
	led(name string) (gpio.PinOut, func() error, error)
	line(GPIOLine) (gpio.PinIO, func() error, error)
}

// Open opens the lights and the button of a board. A device that cannot be opened is left out and reported in Errors, because a
// box shares without a light, too.
func Open(b Board) *Devices {
	// Not host.Init: its driver for the Pi's chips mistakes a Pi 5 for an older one. If a driver fails, its chips or LEDs are
	// missing below.
	if _, err := driverreg.Init(); err != nil {
		return &Devices{Board: b, Errors: []error{fmt.Errorf("find GPIO chips and LEDs: %w", err)}}
	}
	return open(b, linux{dir: "/sys/class/leds"})
}

func open(b Board, k kernel) *Devices {
	d := &Devices{Board: b, Chips: k.chips(), LEDs: k.leds()}
	for _, name := range d.LEDs {
		if c, ok := b.lights(name); ok {
			d.takeLED(k, name, c)
		}
	}
	if b.LED != "" && b.LED != StatusLEDs && !slices.Contains(d.LEDs, b.LED) {
		d.addError(fmt.Errorf("light %s: no such LED", b.LED))
	}
	if b.Light != nil {
		d.takeLight(k, *b.Light)
	}
	if b.Button != nil {
		d.takeButton(k, *b.Button)
	}
	return d
}

func (d *Devices) takeLED(k kernel, name string, c Colour) {
	pin, release, err := k.led(name)
	if err != nil {
		d.addError(fmt.Errorf("light %s: %w", name, err))
		return
	}
	d.Lights = append(d.Lights, Light{Name: "LED " + name, Pin: pin, Colour: c, release: release})
}

func (d *Devices) takeLight(k kernel, l GPIOLine) {
	pin, release, err := k.line(l)
	if err == nil {
		if err = pin.Out(gpio.Level(l.ActiveLow)); err != nil {
			err = errors.Join(err, release())
		}
	}
	if err != nil {
		d.addError(fmt.Errorf("light at %s: %w", l, err))
		return
	}
	d.Lights = append(d.Lights, Light{Name: l.String(), Pin: pin, Colour: White, ActiveLow: l.ActiveLow, release: release})
}

func (d *Devices) takeButton(k kernel, l GPIOLine) {
	pull := gpio.PullDown
	if l.ActiveLow {
		pull = gpio.PullUp
	}
	pin, release, err := k.line(l)
	if err == nil {
		if err = pin.In(pull, gpio.NoEdge); err != nil {
			err = errors.Join(err, release())
		}
	}
	if err != nil {
		d.addError(fmt.Errorf("button at %s: %w", l, err))
		return
	}
	d.Contact = &Contact{Name: l.String(), Pin: pin, ActiveLow: l.ActiveLow, release: release}
}

func (d *Devices) addError(err error) { d.Errors = append(d.Errors, err) }

// Empty tells whether there is neither a light nor a button.
func (d *Devices) Empty() bool { return len(d.Lights) == 0 && d.Contact == nil }

// Close releases everything: it gives pins back to the kernel, and LEDs their previous trigger.
func (d *Devices) Close() error {
	var errs []error
	for _, l := range d.Lights {
		errs = append(errs, l.release())
	}
	if d.Contact != nil {
		errs = append(errs, d.Contact.release())
	}
	return errors.Join(errs...)
}

// lights tells whether an LED of the LED class shows the box's State, and its colour. A device tree names LEDs
// device:colour:function (Documentation/leds/leds-class.rst). The function "status" is for an LED that the system may use
// (include/dt-bindings/leds/common.h). Boards with three colours have one such LED for each.
func (b Board) lights(led string) (Colour, bool) {
	if b.LED != StatusLEDs {
		return White, led == b.LED
	}
	parts := strings.Split(led, ":")
	if len(parts) < 2 || parts[len(parts)-1] != "status" {
		return Dark, false
	}
	switch parts[len(parts)-2] {
	case "red":
		return Red, true
	case "green":
		return Green, true
	case "blue":
		return Blue, true
	case "amber", "orange", "yellow":
		return Amber, true
	}
	return White, true
}

// linux is the running kernel; dir is the folder of its LED class.
type linux struct{ dir string }

func (linux) chips() (all []string) {
	for _, c := range gpioioctl.Chips {
		all = append(all, fmt.Sprintf("%s, %s, %d lines", c.Label(), c.Path(), c.LineCount()))
	}
	return all
}

func (linux) leds() (names []string) {
	for _, l := range sysfs.LEDs {
		names = append(names, l.Name())
	}
	return names
}

// led opens an LED. Writing 0 to it removes its trigger (Documentation/ABI/testing/sysfs-class-led), which may blink it on SD card
// access, for instance. release restores the trigger.
func (k linux) led(name string) (gpio.PinOut, func() error, error) {
	path := filepath.Join(k.dir, name, "trigger")
	trigger, err := readTrigger(path)
	if err != nil {
		return nil, nil, err
	}
	l, err := sysfs.LEDByName(name)
	if err != nil {
		return nil, nil, err
	}
	if err := l.Out(gpio.Low); err != nil {
		return nil, nil, fmt.Errorf("switch it off: %w", err)
	}
	return l, func() error { return writeTrigger(path, trigger) }, nil
}

// readTrigger returns the trigger in brackets in an LED's trigger file, e.g. "none timer [mmc0]".
func readTrigger(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read its trigger: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), "[")
	name, _, ok := strings.Cut(rest, "]")
	if !ok {
		return "", fmt.Errorf("read its trigger: %s has none in brackets", path)
	}
	return name, nil
}

func writeTrigger(path, trigger string) error {
	if err := os.WriteFile(path, []byte(trigger), 0o644); err != nil {
		return fmt.Errorf("restore the LED's trigger: %w", err)
	}
	return nil
}

func (linux) line(l GPIOLine) (gpio.PinIO, func() error, error) {
	for _, c := range gpioioctl.Chips {
		if c.Label() != l.Chip {
			continue
		}
		if l.Offset >= c.LineCount() {
			return nil, nil, fmt.Errorf("the chip has %d lines", c.LineCount())
		}
		line := c.ByNumber(l.Offset)
		if user := line.Consumer(); user != "" {
			return nil, nil, fmt.Errorf("%s uses it", user)
		}
		return line, func() error { line.Close(); return nil }, nil
	}
	return nil, nil, errors.New("no such chip")
}
