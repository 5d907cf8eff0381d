// Command bench benchmarks the box against baselines, and prints a table in Markdown. It is a developer's program: `make bench`, or as
// root
//
//	go run ./cmd/bench [--rows NAME,…] [--rounds N] [--quick] [--plots FOLDER] [--daemon FILE] [--beside FILE]
//
// With --beside it instead compares this build with another one, e.g. of the previous commit, whose daemon was built there by
//
//	go build -trimpath -o FILE ./cmd/passerelle
//
// Both programs do the same work in identical worlds and take turns. Bench fails if this build is worse. FILE only needs to be a
// passerelle daemon with these options and a control socket. All rows take about three quarters of an hour with openNDS.
//
// Where Debian's package opennds is installed, openNDS is measured too, taking turns with the box: forwarding, its pages, and the time
// from its button to the first byte. Its service need not run. In its own scene it changes nothing on the machine.
//
// It owns what is measured and how; netlab builds the namespaces. Every figure with a baseline is the median of rounds in which all
// variants take turns, so that other load on the machine affects them equally. A ratio is the median of the rounds' own ratios.
// Progress goes to standard error. Everything that bench creates is removed at the end, even after Ctrl-C.
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

// bench is the configuration of all measurements.
type bench struct {
	rounds int // how often the variants take turns
	quick  bool
	binary string // the daemon's program
	other  string // another build of it to compare with; "" if there is none
	plots  string // folder for drawings; "" for none
	peer   string // openNDS with its version; "" if it is left out
	err    io.Writer
}

// logf reports progress.
func (b *bench) logf(format string, a ...any) { fmt.Fprintf(b.err, format+"\n", a...) }

// orQuick returns the full value, or the one for --quick.
func orQuick[T any](b *bench, full, quick T) T {
	if b.quick {
		return quick
	}
	return full
}

// measurement fills some rows of a table.
type measurement[R any] struct {
	name, about string
	run         func(context.Context, *bench) ([]R, error)
	onRequest   bool          // only if it is named
	round       time.Duration // approximate duration of a round; 0 if it is not predicted
	peer        bool          // openNDS takes part
}

var measurements = []measurement[row]{
	{name: "throughput", about: "through the gate, beside plain forwarding and a hand-made prototype", run: throughput, peer: true},
	{name: "wired", about: "the same with nothing around the box", run: bareThroughput, onRequest: true, peer: true},
	{name: "limit", about: "a resident's limit", run: limit},
	{name: "fairness", about: "eight residents on one line, and another's ping through it", run: fairness},
	{name: "bystander", about: "the ping alone, on a slow line with one neighbour: for emulated machines", run: bystander, onRequest: true},
	{name: "lines", about: "rates that follow a line, beside the fixed rate: a simulation", run: lines},
	{name: "far", about: "a line that carries just what is lent, to an internet at a distance: ten minutes a round", run: far, onRequest: true},
	{name: "press", about: "from the button to the first byte from the internet", run: press, peer: true},
	{name: "pages", about: "the first page, the redirect and a lesson, beside a bare Go handler", run: pages, peer: true},
	{name: "technician", about: "residents' pages while a technician works, beside the same while nobody does", run: technician},
	{
		name: "fleet", about: "residents' throughput, hub on / off / flapping (taking turns)", run: fleet,
		round: 80 * time.Second,
	},
	{name: "daemon", about: "memory and idle CPU of the daemon", run: resources},
	{name: "apply", about: "applying an unchanged plan", run: apply},
	{name: "failover", about: "how long no new connection is answered when the line in use fails", run: failover},
	{name: "shares", about: "a month of a gift shared fairly, beside first come, first served: a simulation", run: shares},
	{name: "flash", about: "what the daemon writes, at a block device", run: flash},
}

func main() {
	if err := runHelper(); err != errNotHelper {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once; the next run cleans up
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errNotHelper = errors.New("not a helper process")

// runHelper does this program's work in a namespace, if it was started for that.
func runHelper() error {
	if address := os.Getenv(bareVariable); address != "" {
		return serveBare(address, os.Stdin)
	}
	if queues := os.Getenv(applierVariable); queues != "" {
		return serveApplier(queues, os.Stdout)
	}
	return errNotHelper
}

func run(ctx context.Context, args []string, out, errs io.Writer) error {
	b := &bench{err: errs}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errs)
	names := f.String("rows", "", "comma-separated `NAMES` of what to measure:\n"+describe(measurements))
	f.StringVar(&b.other, "beside", "", "hold this build against another one, the daemon's program in `FILE`, at these rows:\n"+describe(comparisons))
	f.IntVar(&b.rounds, "rounds", 0, fmt.Sprintf("how many times the contestants take turns (default 5, with --beside %d)", minRounds))
	f.StringVar(&b.plots, "plots", "", "write drawings to this `FOLDER`")
	f.StringVar(&b.binary, "daemon", "", "measure this `FILE` instead of building the daemon from its source")
	f.BoolVar(&b.quick, "quick", false, "a look at whether it works: one round, short; its figures mean little")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.rounds == 0 {
		b.rounds = 5
		if b.other != "" {
			b.rounds = minRounds
		}
	}
	if b.quick {
		b.rounds = 1
	}
	if err := box.Ready("ipset", "tc"); err != nil {
		return err
	}
	if b.binary == "" {
		dir, err := os.MkdirTemp("", "passerelle-bench-")
		if err != nil {
			return fmt.Errorf("make a folder for the daemon: %w", err)
		}
		defer os.RemoveAll(dir)
		b.binary = filepath.Join(dir, "passerelle")
		if err := box.Build(ctx, "passerelle", b.binary); err != nil {
			return err
		}
	}

	started := time.Now()
	facts := machine()
	more, table, err := b.tables(ctx, *names)
	if table == "" {
		return err
	}
	facts = append(append(facts, more...), fmt.Sprintf("%d rounds, %s in all; load average %s at the end",
		b.rounds, time.Since(started).Round(time.Second), loadAverage()))
	if _, writeErr := io.WriteString(out, markdown(facts)+table); writeErr != nil {
		return writeErr
	}
	return err
}

// tables runs the named measurements, and returns facts about the run and the table.
func (b *bench) tables(ctx context.Context, names string) (facts []string, table string, err error) {
	if b.other != "" {
		return b.compare(ctx, names)
	}
	chosen, err := choose(measurements, names)
	if err != nil {
		return nil, "", err
	}
	if slices.ContainsFunc(chosen, func(m measurement[row]) bool { return m.peer }) {
		b.findPeer()
	}
	var rows []row
	var failed error
	for _, m := range chosen { // one that fails costs no other
		more, err := m.measure(ctx, b)
		if err != nil {
			b.logf("  failed: %v", err)
			failed = errors.Join(failed, err)
		}
		rows = append(rows, more...)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, tableOf(rows), failed
}

// measure runs the measurement.
func (m measurement[R]) measure(ctx context.Context, b *bench) ([]R, error) {
	b.logf("%s: %s", m.name, m.about)
	rows, err := m.run(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", m.name, err)
	}
	return rows, nil
}

func describe[R any](all []measurement[R]) string {
	var b strings.Builder
	for _, m := range all {
		note := ""
		if m.onRequest {
			note = " (only when named)"
		}
		fmt.Fprintf(&b, "  %-12s%s%s\n", m.name, m.about, note)
	}
	return b.String()
}

// choose returns the named measurements in the table's order.
func choose[R any](all []measurement[R], names string) ([]measurement[R], error) {
	if names == "" {
		return slices.DeleteFunc(slices.Clone(all), func(m measurement[R]) bool { return m.onRequest }), nil
	}
	asked := strings.Split(names, ",")
	var chosen []measurement[R]
	for _, m := range all {
		if n := slices.Index(asked, m.name); n >= 0 {
			chosen = append(chosen, m)
			asked = slices.Delete(asked, n, n+1)
		}
	}
	if len(asked) > 0 {
		return nil, fmt.Errorf("--rows: nothing is named %q; there are:\n%s", asked[0], describe(all))
	}
	return chosen, nil
}
