package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/hw"
)

// setupFor is how long technicians may come in after the button asked for it.
const setupFor = 15 * time.Minute

// panelPace is how often the light is told the state, at the cost of a glance at memory.
const panelPace = 200 * time.Millisecond

// servePanel has the board's light show the state, and does what its button asks for. A board without either has
// nothing to serve.
func (d *daemon) servePanel(ctx context.Context, board hw.Board) error {
	found := hw.Open(wired(board, d.config.Hardware))
	defer func() {
		if err := found.Close(); err != nil {
			d.log.Warn("the light and the button cannot be given back", "error", err)
		}
	}()
	for _, err := range found.Amiss {
		d.log.Warn("a light or button cannot be used", "board", found.Board.Name, "error", err)
	}
	if found.Empty() {
		return nil
	}
	panel := hw.NewPanel(found, d.log, hw.Gestures...)
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { panel.Run(ctx); return nil })
	tasks.Go(func() error {
		every(ctx, panelPace, func() { panel.Show(d.box.View().State) })
		return nil
	})
	tasks.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case g := <-panel.Gestures():
				if g == hw.Reset {
					return restart{why: "the button asked for a factory reset", reset: true}
				}
				d.asked(ctx, g)
			}
		}
	})
	return tasks.Wait()
}

// wired returns the board with what the configuration says of it.
func wired(b hw.Board, c config.Hardware) hw.Board {
	line := func(p config.Pin) *hw.Line {
		if p.Chip == "" {
			return nil
		}
		return &hw.Line{Chip: p.Chip, Offset: p.Line, ActiveLow: p.Low}
	}
	if c.LED != (config.Pin{}) {
		b.LED, b.Light = c.LED.LED, line(c.LED)
	}
	if c.Button != (config.Pin{}) {
		b.Button = line(c.Button)
	}
	return b
}

// asked does what somebody asked for with the button.
func (d *daemon) asked(ctx context.Context, g hw.Gesture) {
	var err error
	switch g {
	case hw.Press:
		err = d.box.TogglePause(ctx, "the button")
	case hw.Setup:
		err = d.box.ToggleSetup(ctx, setupFor)
	}
	if err != nil {
		d.log.Warn("what the button asked for is not done", "gesture", g, "error", err)
	}
}

// every calls f at once and then at this pace, until ctx ends.
func every(ctx context.Context, pace time.Duration, f func()) {
	t := time.NewTicker(pace)
	defer t.Stop()
	for {
		f()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// hardware shows which lights and buttons the board has, and tries them.
func hardware(ctx context.Context, c *cli, args []string) error {
	var length time.Duration
	var path string
	if _, err := c.flags("hw", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&path, "config", defaultConfig, "the configuration `FILE`, which may say where they are")
		f.DurationVar(&length, "for", 30*time.Second, "try the light and the button for so `LONG`; 0 to only look")
	}); err != nil {
		return err
	}
	board, err := hw.Identify(os.DirFS("/"))
	if err != nil {
		return err
	}
	conf, err := config.Load(path)
	switch {
	case err == nil:
		board = wired(board, conf.Hardware)
	case !errors.Is(err, fs.ErrNotExist):
		return wrong{err}
	}
	found := hw.Open(board)
	fmt.Fprint(c.out, describeHardware(found, hw.NewSensors(os.DirFS("/"), time.Now).Read()))
	if length > 0 && !found.Empty() {
		tryHardware(ctx, c.out, found, length)
	}
	return found.Close()
}

func describeHardware(d *hw.Devices, health hw.Health) string {
	var b strings.Builder
	fmt.Fprintf(&b, "board   %s", d.Board.Name)
	if d.Board.Model != "" {
		fmt.Fprintf(&b, " (%s)", d.Board.Model)
	}
	b.WriteString("\n")
	if r := d.Board.Radio; r != (hw.Radio{}) {
		fmt.Fprintf(&b, "radio   %s (%s) serves %d devices at a time, with the firmware that comes with it\n",
			r.Interface, r.Chip, r.Stations)
	}
	fmt.Fprintf(&b, "health  %v\n", health)
	for _, chip := range d.Chips {
		fmt.Fprintf(&b, "chip    %s\n", chip)
	}
	if len(d.LEDs) > 0 {
		fmt.Fprintf(&b, "leds    %s\n", strings.Join(d.LEDs, ", "))
	}
	for _, l := range d.Lights {
		fmt.Fprintf(&b, "light   %s, %s\n", l.Name, l.Colour)
	}
	if d.Contact != nil {
		fmt.Fprintf(&b, "button  %s", d.Contact.Name)
		if d.Contact.Pressed() {
			b.WriteString(", pressed")
		}
		b.WriteString("\n")
	}
	for _, err := range d.Amiss {
		fmt.Fprintf(&b, "amiss   %v\n", err)
	}
	for _, complaint := range health.Complaints() {
		fmt.Fprintf(&b, "amiss   %s\n", complaint)
	}
	if d.Empty() {
		b.WriteString("\nThere is no light and no button here that the box can use. It shares all the same.\n")
	}
	return b.String()
}

// tryHardware lights the pattern of each State for an equal part of a while, and says what the button asks for.
func tryHardware(ctx context.Context, out io.Writer, d *hw.Devices, length time.Duration) {
	ctx, stop := context.WithTimeout(ctx, length)
	defer stop()
	panel := hw.NewPanel(d, slog.New(slog.NewTextHandler(out, nil)), hw.Gestures...)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { panel.Run(ctx) })
	turn := time.NewTicker(max(time.Millisecond, length/time.Duration(len(decide.States))))
	defer turn.Stop()
	left := decide.States
	next := func() {
		if len(d.Lights) == 0 || len(left) == 0 {
			return
		}
		fmt.Fprintf(out, "shows   %s\n", left[0])
		panel.Show(left[0])
		left = left[1:]
	}
	for next(); ; {
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
			next()
		case g := <-panel.Gestures():
			fmt.Fprintf(out, "asks    %s\n", g)
		}
	}
}
