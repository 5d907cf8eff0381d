// Command passerelle is the box: the daemon, and the words by which a technician speaks to it.
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
)

// Exit statuses.
const (
	exitFine   = 0
	exitFailed = 1 // it failed while running
	exitWrong  = 2 // wrong words or a wrong configuration
)

const (
	defaultConfig = "/etc/passerelle/passerelle.toml"
	defaultState  = "/var/lib/passerelle"
	defaultSocket = "/run/passerelle/passerelle.sock"
)

// wordRun is the daemon's command: to it alone SIGHUP says that its configuration changed, to all others that they end.
const wordRun = "run"

// command is a word of the command line.
type command struct {
	name  string
	args  string // for the usage
	about string // "" for one that people need not know
	run   func(ctx context.Context, c *cli, args []string) error
}

// cli is where a command reads and writes.
type cli struct {
	out, err io.Writer
	look     func() (machine, error)
	hangups  chan os.Signal // SIGHUP, from when the process began
}

// wrong is an error of the user's: words or configuration.
type wrong struct{ error }

func (w wrong) Unwrap() error { return w.error }

var commands = []command{
	{wordRun, "[--setup] [--config FILE] [--state DIR] [--socket FILE]", "share the connections that the configuration names", run},
	{"check", "[--config FILE]", "say every problem of a configuration, the hours that it means, and what does not fit this machine", check},
	{"init", "[FILE]", "write a commented configuration that fits this machine, to start from", initialise},
	{"reload", "[--socket FILE]", "take up the changed configuration, or say every problem of it", reload},
	{"status", "[--json] [--socket FILE]", "say what the box does, and why", status},
	{"pause", "[--socket FILE]", "stop sharing until resume", pause},
	{"resume", "[--socket FILE]", "share again", resume},
	{"clock", "[--confirm] [--socket FILE]", "say whether the time of day is trusted, or that it is right", clockCommand},
	{"lender", "[--socket FILE] NAME", "make a new link to the page of a donation's lender", lender},
	{"wifi", "scan | lend", "list the Wi-Fi networks in range, or lend one; passerelle wifi help says how", wifi},
	{"tutorials", "import | list | remove | find", "bring packs of lessons, and see which there are; passerelle tutorials help says how", tutorialsCommand},
	{"hw", "[--for LONG]", "say which light and button the board has, and try them", hardware},
	{"demo", "[--once] [--listen ADDRESS]", "play the whole story in network namespaces on this machine", demo},
	{"forget", "[--after TIME] [--socket FILE]", "", forget},
	{"version", "", "say which version this is", version},
}

// main owns the process's signals, from its first statement to its end: one that nobody asked for ends a Go program at
// once, and a daemon has moments in which no part of it could ask.
func main() {
	hangups := make(chan os.Signal, 1) // one that waits stands for all that come meanwhile
	signal.Notify(hangups, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := (&cli{out: os.Stdout, err: os.Stderr, look: lookAround, hangups: hangups}).main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// Main runs one command and returns the exit status.
func Main(ctx context.Context, args []string, out, errs io.Writer) int {
	return (&cli{out: out, err: errs, look: lookAround}).main(ctx, args)
}

func (c *cli) main(ctx context.Context, args []string) int {
	if len(args) == 0 {
		usage(c.err)
		return exitWrong
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		usage(c.out)
		return exitFine
	}
	for _, cmd := range commands {
		if cmd.name != args[0] {
			continue
		}
		if cmd.name != wordRun {
			var stop context.CancelFunc
			ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP) // its terminal was closed
			defer stop()
		}
		err := cmd.run(ctx, c, args[1:])
		var w wrong
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return exitFine
		case errors.As(err, &w):
			fmt.Fprintln(c.err, err)
			return exitWrong
		}
		fmt.Fprintf(c.err, "passerelle %s: %v\n", cmd.name, err)
		return exitFailed
	}
	fmt.Fprintf(c.err, "passerelle: there is no command %q.\n\n", args[0])
	usage(c.err)
	return exitWrong
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

// subcommand runs one of the words behind a command.
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
	return wrong{fmt.Errorf("passerelle %s: which of these?\n%s", name, strings.Join(known, "\n"))}
}

// flags reads a command's flags, wherever they stand, and returns its other words, of which there may be so many.
func (c *cli) flags(name string, args []string, most int, declare func(*flag.FlagSet)) (words []string, err error) {
	f := flag.NewFlagSet("passerelle "+name, flag.ContinueOnError)
	f.SetOutput(c.err)
	declare(f)
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, wrong{fmt.Errorf("passerelle %s: see passerelle %s --help", name, name)}
		}
		rest := f.Args()
		if read := len(args) - len(rest); read > 0 && args[read-1] == "--" {
			words = append(words, rest...) // what follows is no flag
			break
		}
		words = append(words, rest[:min(1, len(rest))]...)
		args = rest[min(1, len(rest)):]
	}
	if len(words) > most {
		return nil, wrong{fmt.Errorf("passerelle %s: %q is one word too many: see passerelle %s --help", name, words[most], name)}
	}
	return words, nil
}
