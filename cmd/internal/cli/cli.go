// Package cli runs the commands of the programs for people who sign releases and run hubs. It finds the command, parses its flags, and
// turns its error into a text and an exit status. It must not know what a command does. The box's own command line does not use it: it
// has help in pages.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Exit statuses.
const (
	Failed = 1
	Misuse = 2 // a mistake in the command, or a wrong file
)

// misuse is an error that the person who typed the command made.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

// Wrong marks an error as a mistake in the command: its usage is shown.
func Wrong(err error) error { return misuse{err} }

// Command is a command of a program whose state is of type T.
type Command[T any] struct {
	Name, Args, About string // the name may be two words
	Run               func(t T, args []string) error
}

// Program is a program with commands.
type Program[T any] struct {
	Name, About string
	Commands    []Command[T]
	Out, Err    io.Writer
}

// Main runs the command that the words name, and returns the exit status.
func (p Program[T]) Main(t T, args []string) int {
	if len(args) == 0 {
		p.usage(p.Err)
		return Misuse
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		p.usage(p.Out)
		return 0
	}
	words := 1
	for _, c := range p.Commands {
		name := strings.Fields(c.Name)
		words = max(words, len(name))
		if len(args) < len(name) || !slices.Equal(args[:len(name)], name) {
			continue
		}
		err := c.Run(t, args[len(name):])
		switch _, wrong := errors.AsType[misuse](err); {
		case err == nil:
			return 0
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprintf(p.Out, "%s %s %s\n%s\n", p.Name, c.Name, c.Args, c.About)
			return 0
		case wrong:
			fmt.Fprintf(p.Err, "%s %s: %v\nusage: %[1]s %[2]s %[4]s\n", p.Name, c.Name, err, c.Args)
			return Misuse
		}
		fmt.Fprintf(p.Err, "%s %s: %v\n", p.Name, c.Name, err)
		return Failed
	}
	fmt.Fprintf(p.Err, "%s: there is no command %q\n", p.Name, strings.Join(args[:min(words, len(args))], " "))
	p.usage(p.Err)
	return Misuse
}

func (p Program[T]) usage(w io.Writer) {
	fmt.Fprintln(w, p.About)
	for _, c := range p.Commands {
		fmt.Fprintf(w, "\n  %s %s\n      %s\n", c.Name, c.Args, c.About)
	}
}

// Parse parses flags and this number of other words, or any number if words is negative. The error is flag.ErrHelp, or one of Wrong.
func Parse(args []string, words int, define func(*flag.FlagSet)) ([]string, error) {
	f := flag.NewFlagSet("", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	define(f)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, Wrong(err)
	}
	if words >= 0 && f.NArg() != words {
		return nil, Wrong(fmt.Errorf("%d words instead of %d", f.NArg(), words))
	}
	return f.Args(), nil
}
