// Command passerelle is the box: the daemon, and the commands that a technician runs. It owns commands, flags, texts and
// exit statuses; other packages do the work.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"passerelle/appliance/control"
	"passerelle/appliance/daemon"
	"passerelle/image/slot"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1 // runtime error
	exitUsage  = 2 // usage or configuration error
)

const (
	defaultConfig = "/etc/passerelle/passerelle.toml"
	defaultState  = "/var/lib/passerelle"
	defaultSocket = "/run/passerelle/passerelle.sock"
)

// runCommand is the daemon's command. It alone reloads on SIGHUP; SIGHUP ends every other command.
const runCommand = "run"

// command is a command or a subcommand.
type command struct {
	name  string
	args  string // for the usage text
	about string // "" hides it from the usage text
	run   func(ctx context.Context, c *cli, args []string) error
}

// cli is where a command reads and writes.
type cli struct {
	out, err io.Writer
	machine  func() (machine, error)
	card     func() (slot.Card, error)
	hangups  chan os.Signal // SIGHUP, since the process started
}

// usageError is a usage or configuration error.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// isUsageError tells whether an error is a usage or configuration error.
func isUsageError(err error) bool {
	var usage usageError
	var input daemon.InputError
	return errors.As(err, &usage) || errors.As(err, &input) || errors.Is(err, control.ErrRefused)
}

var commands = []command{
	{runCommand, "[--setup] [--config FILE] [--state DIR] [--socket FILE]", "run the daemon: share the configured connections", run},
	{"check", "[--config FILE]", "validate the configuration; show its opening hours and what does not fit this machine", check},
	{"init", "[FILE]", "write a commented configuration for this machine", initialise},
	{"reload", "[--socket FILE]", "reload the configuration", reload},
	{"status", "[--json] [--socket FILE]", "show status", status},
	{"pause", "[--socket FILE]", "pause sharing until resume", pause},
	{"resume", "[--socket FILE]", "resume sharing", resume},
	{"clock", "[--confirm] [--socket FILE]", "show or confirm the clock", clockCommand},
	{"lender", "[--socket FILE] NAME", "create a lender link (revokes the old one)", lender},
	{"wifi", "scan | lend", "list the Wi-Fi networks in range, or lend one; see passerelle wifi help", wifi},
	{"tutorials", "import | list | remove | find", "import, list, remove or find packs of lessons; see passerelle tutorials help", tutorialsCommand},
	{"places", "import | list | remove | undo | find | fetch", "import, list, remove, find or download lists of places; see passerelle places help", placesCommand},
	{"needs", "show | check | install | remove", "show, check or replace the rules of \"Where do I go?\"; see passerelle needs help", needsCommand},
	{"board", "list | accept | refuse", "list, accept or refuse residents' notices of mutual aid; see passerelle board help", boardCommand},
	{"opinion", "question | results", "ask residents a question, or show what they answered; see passerelle opinion help", opinionCommand},
	{"agenda", "add | cancel | move | list | import | remove | undo | fetch", "what takes place at the centre; see passerelle agenda help", agendaCommand},
	{"poster", "[--size a4|a6|stickers] [--lang fr,en] [--config FILE] [--socket FILE] FILE.pdf", "write a poster or stickers to print, as a PDF", posterCommand},
	{"hw", "[--for DURATION]", "show the board's lights and button, and test them", hardware},
	{"slot", "status | other", "show or switch the two systems on the image's card; see passerelle slot help", slotCommand},
	{"demo", "[--once] [--listen ADDRESS]", "run the whole story in network namespaces on this machine", playDemo},
	{"boot", "take | code", "", bootCommand},
	{"forget", "[--after TIME] [--socket FILE]", "", forget},
	{"version", "", "show the version", version},
}

// main owns the process's signals from its first statement to its end: a signal without a handler ends a Go program at
// once, and there are moments in which no part of the daemon has installed one.
func main() {
	hangups := make(chan os.Signal, 1) // a pending one stands for all that follow
	signal.Notify(hangups, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := (&cli{out: os.Stdout, err: os.Stderr, machine: readMachine, card: findCard, hangups: hangups}).main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func (c *cli) main(ctx context.Context, args []string) int {
	if len(args) == 0 {
		usage(c.err)
		return exitUsage
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		usage(c.out)
		return exitOK
	case "--version":
		args = append([]string{"version"}, args[1:]...)
	}
	for _, cmd := range commands {
		if cmd.name != args[0] {
			continue
		}
		if cmd.name != runCommand {
			var stop context.CancelFunc
			ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP) // the terminal was closed
			defer stop()
		}
		err := cmd.run(ctx, c, args[1:])
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return exitOK
		case isUsageError(err):
			fmt.Fprintln(c.err, err)
			return exitUsage
		}
		fmt.Fprintf(c.err, "passerelle %s: %v\n", cmd.name, err)
		return exitFailed
	}
	fmt.Fprintf(c.err, "passerelle: unknown command %q\n\n", args[0])
	usage(c.err)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Passerelle shares lent connections with residents.\n\n")
	for _, c := range commands {
		if c.about == "" {
			continue
		}
		fmt.Fprintf(w, "  passerelle %s\n      %s\n", strings.TrimSpace(c.name+" "+c.args), c.about)
	}
}

// subcommand runs a command's subcommand.
func subcommand(ctx context.Context, c *cli, name string, words []command, args []string) error {
	var known []string
	for _, w := range words {
		if len(args) > 0 && args[0] == w.name {
			return w.run(ctx, c, args[1:])
		}
		known = append(known, fmt.Sprintf("passerelle %s %s %s\n      %s", name, w.name, w.args, w.about))
	}
	if len(args) > 0 && strings.TrimLeft(args[0], "-") == "help" {
		fmt.Fprintln(c.err, strings.Join(known, "\n"))
		return flag.ErrHelp
	}
	reason := "missing subcommand"
	if len(args) > 0 {
		reason = fmt.Sprintf("unknown command %q", args[0])
	}
	return usageError{fmt.Errorf("passerelle %s: %s; available:\n%s", name, reason, strings.Join(known, "\n"))}
}

// flags parses a command's flags, in any position, and returns its other arguments, at most so many.
func (c *cli) flags(name string, args []string, most int, declare func(*flag.FlagSet)) (words []string, err error) {
	f := flag.NewFlagSet("passerelle "+name, flag.ContinueOnError)
	f.SetOutput(c.err)
	f.Usage = func() { printFlags(f) }
	declare(f)
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError{fmt.Errorf("see passerelle %s --help", name)}
		}
		rest := f.Args()
		if read := len(args) - len(rest); read > 0 && args[read-1] == "--" {
			words = append(words, rest...) // the rest are not flags
			break
		}
		words = append(words, rest[:min(1, len(rest))]...)
		args = rest[min(1, len(rest)):]
	}
	if len(words) > most {
		return nil, usageError{fmt.Errorf("passerelle %s: unexpected argument %q; see passerelle %s --help", name, words[most], name)}
	}
	return words, becomeOwner(f)
}

// printFlags prints a command's flags with two dashes, as the usage text has them. Package flag prints one.
func printFlags(f *flag.FlagSet) {
	out := f.Output()
	var list strings.Builder
	f.SetOutput(&list)
	f.PrintDefaults()
	f.SetOutput(out)
	fmt.Fprintf(out, "Flags of %s:\n%s", f.Name(), strings.ReplaceAll("\n"+list.String(), "\n  -", "\n  --")[1:])
}
