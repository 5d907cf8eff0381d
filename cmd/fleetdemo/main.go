// Command fleetdemo plays the story of a fleet on this machine, and checks and measures each step: three hubs, two boxes behind NAT
// whose daemons, kernel and residents are real, and many simulated boxes, which run the same client in one process. It is a developer's
// program: `make demo-fleet`, or as root
//
//	go run ./cmd/fleetdemo [--boxes N] [--growth] [--plot FILE] [--hub FILE]
//
// It fails if a step fails, or if a figure is above its limit. With --growth it measures instead what 130, 1,300 and 5,000 boxes cost the
// hubs, and prints a table. Everything it creates is removed at the end, even after Ctrl-C.
//
// It owns the story and its limits. Hubs run as volunteers run them, and boxes as technicians run them; package netlab builds the namespaces.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"passerelle/cmd/internal/box"
)

// options are the command line's options, and the programs that were built.
type options struct {
	boxes   int // how many simulated boxes
	growth  bool
	plot    string    // a file, "" for none
	daemons [2]string // the daemon's programs: of the first release, and of the next one
	hub     string    // the hub's program
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills the program; the next run cleans up
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "fleetdemo:", err)
		os.Exit(1)
	}
}

// garbage is the process's GC percent (GOGC). It is above Go's default of 100 to save CPU time: the simulated boxes' memory is not measured,
// but they share the cores with the hubs.
const garbage = 400

func run(ctx context.Context, args []string, out, errs io.Writer) error {
	defer debug.SetGCPercent(debug.SetGCPercent(garbage))
	var o options
	f := flag.NewFlagSet("fleetdemo", flag.ContinueOnError)
	f.SetOutput(errs)
	f.IntVar(&o.boxes, "boxes", 1298, "`HOW MANY` boxes there are beside the two whose daemons are real")
	f.BoolVar(&o.growth, "growth", false, "measure 130, 1,300 and 5,000 boxes instead")
	f.StringVar(&o.plot, "plot", "", "with --growth: draw what was measured into this `FILE`, as SVG")
	f.StringVar(&o.hub, "hub", "", "run this `FILE` instead of building the hub from its source")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.boxes < 2 || f.NArg() > 0 {
		return errors.New("--boxes is at least 2, and there are no other words")
	}
	if err := box.Ready(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "passerelle-fleetdemo-")
	if err != nil {
		return fmt.Errorf("make a folder for the programs: %w", err)
	}
	defer os.RemoveAll(dir)
	if o.hub == "" {
		o.hub = filepath.Join(dir, "hub")
		err = box.Build(ctx, "hub", o.hub)
	}
	for i, version := range []string{firstVersion, goodVersion} {
		if o.daemons[i] = filepath.Join(dir, "passerelle-"+version); err == nil && !o.growth {
			err = box.Build(ctx, "passerelle", o.daemons[i], "-ldflags", "-X main.released=v"+version)
		}
	}
	if err != nil {
		return err
	}
	if o.growth {
		return growth(ctx, out, errs, o, []int{130, 1300, 5000})
	}
	return tell(ctx, out, o)
}

// tell plays the story.
func tell(ctx context.Context, out io.Writer, o options) (err error) {
	start := time.Now()
	d, err := newDemo(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	fmt.Fprintf(out, "A fleet: 3 hubs, 2 boxes behind NAT in network namespaces of this machine, and %d boxes of the same client in one\n"+
		"process. These are at a faster pace than real ones: %s.\n\n", o.boxes, paceText())
	if err := d.story().play(ctx, out); err != nil {
		return err
	}
	d.figure("the whole story", time.Since(start).Seconds(), 90, "s")
	fmt.Fprint(out, d.figures.table())
	return d.figures.missed()
}
