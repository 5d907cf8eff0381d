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
	"slices"
	"strings"
	"sync"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/daemon"
	"passerelle/appliance/state"
	"passerelle/hw"
	"passerelle/netctl/radio"
)

// hardware shows which lights and buttons the board has, and tests them.
func hardware(ctx context.Context, c *cli, args []string) error {
	var length time.Duration
	var path string
	if _, err := c.flags("hw", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&path, "config", defaultConfig, "the configuration `FILE`, which may name their GPIO lines")
		f.DurationVar(&length, "for", 30*time.Second, "how long to test the light and the button, as a `DURATION`; 0 to only list them")
	}); err != nil {
		return err
	}
	board, err := hw.Identify(os.DirFS("/"))
	if err != nil {
		return err
	}
	conf, err := config.File{Path: path}.Load()
	switch {
	case err == nil:
		board = daemon.Wired(board, conf.Hardware)
	case !errors.Is(err, fs.ErrNotExist):
		return usageError{err}
	}
	found := hw.Open(board)
	_, version := radio.Driver(board.Radio.Interface)
	fmt.Fprint(c.out, describeHardware(found, version, hw.NewSensors(os.DirFS("/"), time.Now).Read()))
	if length > 0 && !found.Empty() {
		tryHardware(ctx, c.out, found, length)
	}
	return found.Close()
}

// describeHardware returns the text of `passerelle hw`; version is that of the radio's firmware, as reported by its driver.
func describeHardware(d *hw.Devices, version string, health hw.Health) string {
	var b strings.Builder
	fmt.Fprintf(&b, "board   %s", d.Board.Name)
	if d.Board.Model != "" {
		fmt.Fprintf(&b, " (%s)", d.Board.Model)
	}
	b.WriteString("\n")
	if r := d.Board.Radio; r != (hw.Radio{}) {
		firmware := strings.Join(slices.DeleteFunc([]string{r.Firmware, version}, func(s string) bool { return s == "" }), ", ")
		if firmware != "" {
			firmware = " (" + firmware + ")"
		}
		fmt.Fprintf(&b, "radio   %s (%s) supports %d devices at a time with its firmware%s\n",
			r.Interface, r.Chip, r.Stations, firmware)
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
	for _, err := range d.Errors {
		fmt.Fprintf(&b, "problem %v\n", err)
	}
	for _, p := range health.Problems() {
		fmt.Fprintf(&b, "problem %s\n", p)
	}
	if d.Empty() {
		b.WriteString("\nNo light or button here that the box can use; sharing works without them.\n")
	}
	return b.String()
}

// tryHardware shows the light pattern of each State for an equal share of the time, and prints the button's gestures.
func tryHardware(ctx context.Context, out io.Writer, d *hw.Devices, length time.Duration) {
	ctx, stop := context.WithTimeout(ctx, length)
	defer stop()
	panel := hw.NewPanel(d, slog.New(slog.NewTextHandler(out, nil)), hw.Gestures...)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { panel.Run(ctx) })
	turn := time.NewTicker(max(time.Millisecond, length/time.Duration(len(state.States))))
	defer turn.Stop()
	left := state.States
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
