// Command bench measures the box beside what it is compared with, and prints a table in Markdown. It is a developer's
// program: `make bench`, or as root
//
//	go run ./cmd/bench [--rows NAME,…] [--rounds N] [--quick] [--plots FOLDER] [--daemon FILE]
//
// It owns what is measured and how; how a world of namespaces is made it leaves to netlab. Every figure that has
// something beside it is the median of rounds in which all contestants take turns, so that whatever else the machine
// does hits them alike; a ratio is the median of the rounds' own ratios. Progress goes to standard error. Whatever it
// makes is gone at the end, also after Ctrl-C.
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
	"slices"
	"strings"
	"syscall"
	"time"

	"passerelle/cmd/internal/box"
)

// bench is what all measurements need.
type bench struct {
	rounds int
	quick  bool
	binary string // the daemon
	plots  string // folder for drawings, "" for none
	err    io.Writer
}

// say reports progress.
func (b *bench) say(format string, a ...any) { fmt.Fprintf(b.err, format+"\n", a...) }

// short returns the full value, or the one for a quick look.
func short[T any](b *bench, full, quick T) T {
	if b.quick {
		return quick
	}
	return full
}

// measurement fills some rows of the table.
type measurement struct {
	name, about string
	run         func(context.Context, *bench) ([]row, error)
	onRequest   bool // only when it is named
}

var measurements = []measurement{
	{"throughput", "through the gate, beside plain forwarding and a hand-made prototype", throughput, false},
	{"wired", "the same with nothing around the box", bareThroughput, true},
	{"limit", "a resident's limit", limit, false},
	{"fairness", "eight residents on one line, and another's ping through it", fairness, false},
	{"bystander", "the ping alone, on a slow line with one neighbour: for emulated machines", bystander, true},
	{"press", "from the button to the first byte from the internet", press, false},
	{"pages", "the first page, the redirect and a lesson, beside a bare Go handler", pages, false},
	{"daemon", "memory and idle CPU of the daemon", resources, false},
	{"apply", "applying an unchanged plan", apply, false},
	{"failover", "how long no new connection is answered when the line in use fails", failover, false},
	{"shares", "a month of a gift shared fairly, beside first come, first served: a simulation", shares, false},
	{"flash", "what the daemon writes, at a block device", flash, false},
}

func main() {
	if err := playPart(); err != errNoPart {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once; the next run sweeps up
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errNoPart = errors.New("no part to play")

// playPart does what this program started itself for in a namespace, if it did.
func playPart() error {
	if address := os.Getenv(bareVariable); address != "" {
		return serveBare(address, os.Stdin)
	}
	if queues := os.Getenv(applierVariable); queues != "" {
		return serveApplier(queues, os.Stdout)
	}
	return errNoPart
}

func run(ctx context.Context, args []string, out, errs io.Writer) error {
	b := &bench{err: errs}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errs)
	names := f.String("rows", "", "comma-separated `NAMES` of what to measure:\n"+describe())
	f.IntVar(&b.rounds, "rounds", 5, "how many times the contestants take turns")
	f.StringVar(&b.plots, "plots", "", "write drawings to this `FOLDER`")
	f.StringVar(&b.binary, "daemon", "", "measure this `FILE` instead of building the daemon from its source")
	f.BoolVar(&b.quick, "quick", false, "a look at whether it works: one round, short; its figures mean little")
	if err := f.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*names)
	if err != nil {
		return err
	}
	if b.quick {
		b.rounds = 1
	}
	if err := box.Ready(); err != nil {
		return err
	}
	if b.binary == "" {
		dir, err := os.MkdirTemp("", "passerelle-bench-")
		if err != nil {
			return fmt.Errorf("make a folder for the daemon: %w", err)
		}
		defer os.RemoveAll(dir)
		b.binary = filepath.Join(dir, "passerelle")
		if err := box.Build(ctx, b.binary); err != nil {
			return err
		}
	}

	started := time.Now()
	facts := machine()
	var rows []row
	for _, m := range chosen {
		b.say("%s: %s", m.name, m.about)
		more, err := m.run(ctx, b)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
		rows = append(rows, more...)
	}
	facts = append(facts, fmt.Sprintf("%d rounds, %s in all; load average %s at the end",
		b.rounds, time.Since(started).Round(time.Second), loadAverage()))
	_, err = io.WriteString(out, markdown(facts, rows))
	return err
}

func describe() string {
	var b strings.Builder
	for _, m := range measurements {
		note := ""
		if m.onRequest {
			note = " (only when named)"
		}
		fmt.Fprintf(&b, "  %-12s%s%s\n", m.name, m.about, note)
	}
	return b.String()
}

// choose returns the named measurements in the table's order.
func choose(names string) ([]measurement, error) {
	if names == "" {
		return slices.DeleteFunc(slices.Clone(measurements), func(m measurement) bool { return m.onRequest }), nil
	}
	asked := strings.Split(names, ",")
	var chosen []measurement
	for _, m := range measurements {
		if n := slices.Index(asked, m.name); n >= 0 {
			chosen = append(chosen, m)
			asked = slices.Delete(asked, n, n+1)
		}
	}
	if len(asked) > 0 {
		return nil, fmt.Errorf("--rows: nothing is named %q; there are:\n%s", asked[0], describe())
	}
	return chosen, nil
}
