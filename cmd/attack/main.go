// Command attack runs attacks and malformed traffic against the daemon's real program in a world of namespaces, and prints one table: the
// attack, what others kept, and the limit for that. It is a developer's program and a part of CI: `make attack`, or as root
//
//	go run ./cmd/attack [--only NAME,…] [--daemon FILE]
//
// It fails if others keep less than the limit. It measures latency, so each time limit is at least three times what was measured on a
// small machine, and nothing else should run. Progress is written to standard error. Everything it creates is removed at the end, also
// after Ctrl-C.
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

// attack is one row of the table, run in a world of its own.
type attack struct {
	name  string // for --only
	what  string // description
	limit string // of what others keep
	setup setup
	run   func(context.Context, *testbed) (outcome, error)
}

// outcome is what others kept.
type outcome struct {
	result string
	ok     bool
}

var attacks = slices.Concat(nameAttacks, deviceAttacks, trackingAttacks, pageAttacks, packetAttacks)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once; the next run cleans up
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, errs io.Writer) error {
	f := flag.NewFlagSet("attack", flag.ContinueOnError)
	f.SetOutput(errs)
	only := f.String("only", "", "comma-separated `NAMES` of attacks to run:\n"+describe())
	program := f.String("daemon", "", "attack this `FILE` instead of building the daemon from its source")
	if err := f.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if err := box.Ready(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "passerelle-attack-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	if *program == "" {
		*program = filepath.Join(dir, "passerelle")
		if err := box.Build(ctx, "passerelle", *program); err != nil {
			return err
		}
	}

	started := time.Now()
	var rows []string
	failed := 0
	for _, a := range chosen {
		fmt.Fprintf(errs, "%s: %s\n", a.name, a.what)
		begun := time.Now()
		o, err := a.execute(ctx, *program, dir)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			o = outcome{result: "could not run: " + oneLine(err)}
		}
		verdict := "yes"
		if !o.ok {
			verdict = "**no**"
			failed++
		}
		fmt.Fprintf(errs, "  %s (limit: %s): %s, %.0f s\n", o.result, a.limit, verdict, time.Since(begun).Seconds())
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s |\n", a.what, o.result, a.limit, verdict))
	}
	fmt.Fprintf(out, "\n| attack | what others kept | limit | ok |\n|---|---|---|---|\n%s", strings.Join(rows, ""))
	fmt.Fprintf(errs, "%d attacks in %.0f s\n", len(rows), time.Since(started).Seconds())
	if failed > 0 {
		return fmt.Errorf("%d of %d attacks exceeded their limit", failed, len(rows))
	}
	return nil
}

// attackTimeout is the timeout of an attack: one that hangs has failed.
const attackTimeout = 90 * time.Second

// execute runs the attack.
func (a attack) execute(ctx context.Context, program, dir string) (o outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, attackTimeout)
	defer cancel()
	s, err := newTestbed(ctx, program, dir, a.setup)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return a.run(ctx, s)
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func describe() string {
	var b strings.Builder
	for _, a := range attacks {
		fmt.Fprintf(&b, "  %-12s%s\n", a.name, a.what)
	}
	return b.String()
}

// choose returns the named attacks in the table's order.
func choose(names string) ([]attack, error) {
	if names == "" {
		return attacks, nil
	}
	asked := strings.Split(names, ",")
	var chosen []attack
	for _, a := range attacks {
		if n := slices.Index(asked, a.name); n >= 0 {
			chosen = append(chosen, a)
			asked = slices.Delete(asked, n, n+1)
		}
	}
	if len(asked) > 0 {
		return nil, fmt.Errorf("--only: nothing is named %q; there are:\n%s", asked[0], describe())
	}
	return chosen, nil
}
