package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"passerelle/hw"
)

// simulators is the configfs folder of gpio-sim (Documentation/admin-guide/gpio/gpio-sim.rst).
const simulators = "/sys/kernel/config/gpio-sim"

// Chip is a simulated GPIO chip for a button and a light.
type Chip struct {
	config string // its folder of settings
	lines  string // its folder of lines
}

// NewChip creates a chip with that many lines. The label identifies it to the daemon, and must be new.
func NewChip(label string, lines int) (*Chip, error) {
	c := &Chip{config: filepath.Join(simulators, label)}
	if err := c.build(label, lines); err != nil {
		return nil, fmt.Errorf("make GPIO chip %s: %w", label, errors.Join(err, c.Close()))
	}
	return c, nil
}

func (c *Chip) build(label string, lines int) error {
	bank := filepath.Join(c.config, "bank")
	err := os.MkdirAll(bank, 0o755)
	for _, setting := range [][2]string{{"bank/label", label}, {"bank/num_lines", strconv.Itoa(lines)}, {"live", "1"}} {
		if err == nil {
			err = os.WriteFile(filepath.Join(c.config, setting[0]), []byte(setting[1]), 0)
		}
	}
	if err != nil {
		return err
	}
	device, err := readWord(filepath.Join(c.config, "dev_name"))
	if err != nil {
		return err
	}
	chip, err := readWord(filepath.Join(bank, "chip_name"))
	c.lines = filepath.Join("/sys/devices/platform", device, chip)
	return err
}

// Close removes the chip.
func (c *Chip) Close() error {
	return errors.Join(
		os.WriteFile(filepath.Join(c.config, "live"), []byte("0"), 0),
		os.Remove(filepath.Join(c.config, "bank")),
		os.Remove(c.config),
	)
}

// line returns the path of one of a line's files.
func (c *Chip) line(offset int, file string) string {
	return filepath.Join(c.lines, fmt.Sprintf("sim_gpio%d", offset), file)
}

// Button is a contact that pulls its line to ground while it is pressed.
type Button struct{ pull string }

// Button connects a button to a line.
func (c *Chip) Button(offset int) *Button { return &Button{c.line(offset, "pull")} }

// Set presses or releases the button.
func (b *Button) Set(pressed bool) error {
	level := "pull-up"
	if pressed {
		level = "pull-down"
	}
	return os.WriteFile(b.pull, []byte(level), 0)
}

// Hold presses the button for a while.
func (b *Button) Hold(ctx context.Context, d time.Duration) error {
	return errors.Join(b.Set(true), pause(ctx, d), b.Set(false))
}

// Bounce makes the contact bounce for a while, then stay pressed or released.
func (b *Button) Bounce(d time.Duration, pressed bool) error {
	for level, until := pressed, time.Now().Add(d); time.Now().Before(until); level = !level {
		if err := b.Set(level); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return b.Set(pressed)
}

// Light is an LED that is lit while its line is high.
type Light struct{ value string }

// Light connects a light to a line.
func (c *Chip) Light(offset int) *Light { return &Light{c.line(offset, "value")} }

// On tells whether the light is lit.
func (l *Light) On() (bool, error) {
	level, err := readWord(l.value)
	return level == "1", err
}

// Await samples the light until it has shown a pattern for TraceTime. It fails when the context ends.
func (l *Light) Await(ctx context.Context, p hw.Pattern, slack time.Duration) error {
	const every = 5 * time.Millisecond
	var seen Trace
	for last := time.Now(); ; {
		on, err := l.On()
		if err != nil {
			return err
		}
		now := time.Now()
		seen.Add(on, now.Sub(last), TraceTime(p))
		last = now
		if err := Match(seen, p, slack); err == nil || pause(ctx, every) != nil {
			return err
		}
	}
}

// readWord reads a file of the kernel that holds one word.
func readWord(path string) (string, error) {
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}
