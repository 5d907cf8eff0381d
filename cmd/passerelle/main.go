// Command passerelle is the box: the daemon, and the commands that a technician runs. It owns commands, flags, texts and exit statuses.
// Other packages do the work.
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

// runCommand is the daemon's command. Only this command reloads on SIGHUP; SIGHUP ends every other command.
const runCommand = "run"

// command is a command or a subcommand.
type command struct {
	name  string
	args  string // for the usage text
	about string // "" hides it from the usage text
	run   func(ctx context.Context, c *cli, args []string) error
}

// cli is a command's input and output.
type cli struct {
	out, err io.Writer
	machine  func() (machine, error)
	card     func() (slot.Card, error)
	hangups  chan os.Signal // SIGHUP, since the process started

	commands   []command
	describing *declared // the command declares its flags or subcommands here and does not run; nil: it runs
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
	{runCommand, "[--setup] [--root FILE] [--config FILE] [--state DIR] [--socket FILE]", "run the daemon: share the configured connections", run},
	{"check", "[--config FILE]", "validate the configuration; show its opening hours and what does not fit this machine", check},
	{"init", "[FILE]", "write a commented configuration for this machine", initialise},
	{"reload", "[--socket FILE]", "reload the configuration", reload},
	{"status", "[--json] [--socket FILE]", "show status", status},
	{"doctor", "[--json | --log | --bundle FILE.zip] [--config FILE] [--socket FILE]", "find what is wrong, and say what to do", doctorCommand},
	{"pause", "[--until-tomorrow] [--socket FILE]", "pause sharing until resume, or until the next day", pause},
	{"resume", "[--socket FILE]", "resume sharing", resume},
	{"clock", "[--confirm] [--socket FILE]", "show or confirm the clock", clockCommand},
	{"desk", "code | close", "make a new code for staff to sign in at the desk, or remove it", deskCommand},
	{"fleet", "join | leave | layers | accept | withdraw | take", "the box's membership, what its fleet changes of its configuration, and what a technician accepts", fleetCommand},
	{"lender", "[--socket FILE] NAME", "create a lender link (revokes the old one)", lender},
	{"wifi", "scan | lend", "list the Wi-Fi networks in range, or lend one", wifi},
	{"tutorials", "import | list | remove | find", "import, list, remove or find packs of lessons", tutorialsCommand},
	{"places", "import | list | remove | undo | find | fetch", "import, list, remove, find or download lists of places", placesCommand},
	{"needs", "show | check | install | remove", "show, check or replace the rules of \"Where do I go?\"", needsCommand},
	{"board", "list | accept | refuse", "list, accept or refuse residents' notices of mutual aid", boardCommand},
	{"opinion", "question | results", "ask residents a question, or show what they answered", opinionCommand},
	{"agenda", "add | cancel | move | list | import | remove | undo | fetch", "what takes place at the centre", agendaCommand},
	{"poster", "[--size a4|a6|stickers] [--lang fr,en] [--config FILE] [--socket FILE] FILE.pdf", "write a poster or stickers to print, as a PDF", posterCommand},
	{"hw", "[--for DURATION] [--config FILE]", "show the board's lights and button, and test them", hardware},
	{"slot", "status | other", "show or switch the two systems on the image's card", slotCommand},
	{"update", "--from FOLDER|ADDRESS [--check] [--expired] [--yes] [--root FILE] [--state DIR] [--socket FILE]", "install a signed release in the system that is not running", updateCommand},
	{"backup", "[--passphrase-file FILE] [--config FILE] [--state DIR] [--socket FILE] FILE", "write a backup of the box to a file; with a passphrase also its secrets, sealed", backupCommand},
	{"restore", "[--undo] [--yes] [--used NAME=SIZE]... [--passphrase-file FILE] [--config FILE] [--state DIR] [--socket FILE] [FILE]",
		"restore a backup: it is checked, and says what it changes; or undo that", restoreCommand},
	{"stick", "list | mark | write", "keep backups on a USB stick: the box writes one to it each night", stickCommand},
	{"demo", "[--once] [--listen ADDRESS]", "run the whole story in network namespaces on this machine", playDemo},
	{"completion", "bash | zsh | fish", "print what makes a shell complete these commands", completion},
	{"boot", "take | code", "", bootCommand},
	{"complete", "", "", complete},
	{"forget", "[--after TIME] [--socket FILE]", "", forget},
	{"version", "", "show the version", version},
}

// main handles the process's signals from its first statement to its end. A signal without a handler ends a Go program at once, and
// there are moments at which no part of the daemon has installed a handler.
func main() {
	hangups := make(chan os.Signal, 1) // a pending signal represents all that follow
	signal.Notify(hangups, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := (&cli{
		out: os.Stdout, err: os.Stderr, machine: readMachine, card: findCard, hangups: hangups, commands: commands,
	}).main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func (c *cli) main(ctx context.Context, args []string) int {
	if len(args) == 0 {
		c.usage(c.err)
		return exitUsage
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		if err := c.help(args[1:]); err != nil {
			fmt.Fprintln(c.err, err)
			return exitUsage
		}
		return exitOK
	case "--version":
		args = append([]string{"version"}, args[1:]...)
	}
	for _, cmd := range c.commands {
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
	fmt.Fprintf(c.err, "passerelle: unknown command %q%s\n\n", args[0], suggestion(args[0], namesOf(c.commands)))
	c.usage(c.err)
	return exitUsage
}

func (c *cli) usage(w io.Writer) {
	fmt.Fprint(w, "Passerelle shares lent connections with residents.\n\n")
	for _, cmd := range c.commands {
		if cmd.about == "" {
			continue
		}
		fmt.Fprintf(w, "  passerelle %s\n      %s\n", strings.TrimSpace(cmd.name+" "+cmd.args), cmd.about)
	}
	fmt.Fprint(w, "\npasserelle help COMMAND describes one of them.\n")
}

// subcommand runs a command's subcommand.
func subcommand(ctx context.Context, c *cli, name string, words []command, args []string) error {
	if c.describing != nil {
		for _, w := range words {
			c.describing.words = append(c.describing.words, w.describe(name+" "+w.name))
		}
		return flag.ErrHelp
	}
	if len(args) > 0 {
		if strings.TrimLeft(args[0], "-") == "help" || args[0] == "-h" {
			return c.help(append([]string{name}, args[1:]...))
		}
		for _, w := range words {
			if args[0] == w.name {
				return w.run(ctx, c, args[1:])
			}
		}
	}
	var known strings.Builder
	for _, w := range words {
		if w.about == "" {
			continue
		}
		fmt.Fprintf(&known, "\n%s\n      %s", strings.TrimSpace("passerelle "+name+" "+w.name+" "+w.args), w.about)
	}
	reason := "missing subcommand"
	if len(args) > 0 {
		reason = fmt.Sprintf("unknown command %q%s", args[0], suggestion(args[0], namesOf(words)))
	}
	return usageError{fmt.Errorf("passerelle %s: %s; available:%s", name, reason, known.String())}
}

// flags parses a command's flags, in any position, and returns its other arguments. The error says so if there are more than most.
func (c *cli) flags(name string, args []string, most int, declare func(*flag.FlagSet)) (words []string, err error) {
	f := flag.NewFlagSet("passerelle "+name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // the error says what is wrong
	declare(f)
	if c.describing != nil {
		c.describing.flags = f
		return nil, flag.ErrHelp
	}
	for len(args) > 0 {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, errors.Join(c.help(strings.Fields(name)), err)
		} else if err != nil {
			return nil, flagError(f, name, err)
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
