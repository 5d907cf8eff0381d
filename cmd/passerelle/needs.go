package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"

	"passerelle/appliance/control"
	"passerelle/appliance/daemon"
	"passerelle/captive/places"
	"passerelle/captive/places/needs"
)

// needsCommands are the subcommands of "passerelle needs".
var needsCommands = []command{
	{"show", "[--table] [--state DIR]", "print the rules of /needs as a file to edit, or where each answer leads", needsShow},
	{"check", "FILE", "check a file of rules: every combination of answers leads somewhere, no rule is superfluous", needsCheck},
	{"install", "[--state DIR] [--socket FILE] FILE", "use a centre's own rules instead of the built-in ones", needsInstall},
	{"remove", "[--state DIR] [--socket FILE]", "use the built-in rules again", needsRemove},
}

func needsCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "needs", needsCommands, args)
}

// needsFolder returns the folder of a centre's own rules in a state folder.
func needsFolder(state string) string { return daemon.Content(state, "places") }

func needsShow(_ context.Context, c *cli, args []string) error {
	var state string
	var table bool
	if _, err := c.flags("needs show", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&state, "state", defaultState, "the daemon's state `DIR`")
		f.BoolVar(&table, "table", false, "show where each combination of answers leads")
	}); err != nil {
		return err
	}
	g, err := needs.Load(needsFolder(state), places.NeedsKnown())
	if table {
		return errors.Join(showNeeds(c.out, g), err)
	}
	_, writeErr := c.out.Write(g.File())
	return errors.Join(writeErr, err)
}

// showNeeds writes where each combination of answers leads.
func showNeeds(out io.Writer, g *needs.Guide) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ANSWERS\tLEAD TO")
	for a := range g.All() {
		var to []string
		for _, d := range g.Rule(a).To {
			to = append(to, d.String())
		}
		fmt.Fprintf(w, "%s\t%s\n", a.Path(), strings.Join(to, ", "))
	}
	return w.Flush()
}

func needsCheck(_ context.Context, c *cli, args []string) error {
	words, err := c.flags("needs check", args, 1, func(*flag.FlagSet) {})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{errors.New("passerelle needs check: name the file; passerelle needs show prints one to begin with")}
	}
	g, err := needs.Read(words[0], places.NeedsKnown())
	if err != nil {
		return usageError{err}
	}
	fmt.Fprintln(c.out, describeNeeds(words[0], g))
	return nil
}

// describeNeeds counts the contents of a file.
func describeNeeds(name string, g *needs.Guide) string {
	combinations := 0
	for range g.All() {
		combinations++
	}
	return fmt.Sprintf("%s: %s, %s, %s of answers, each with a destination; languages: %s", name, plural(len(g.Questions), "question"),
		plural(len(g.Rules), "rule"), plural(combinations, "combination"), strings.Join(g.Languages(), ", "))
}

func needsInstall(ctx context.Context, c *cli, args []string) error {
	var state string
	var box control.Client
	words, err := c.flags("needs install", args, 1, func(f *flag.FlagSet) {
		changedStateFlag(f, &state)
		socketFlag(f, &box)
	})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{errors.New("passerelle needs install: name the file; passerelle needs show prints one to begin with")}
	}
	g, err := needs.Install(needsFolder(state), words[0], places.NeedsKnown(), "")
	if err != nil {
		return usageError{fmt.Errorf("nothing is changed:\n%w", err)}
	}
	fmt.Fprintln(c.out, describeNeeds(words[0], g))
	return refresh(ctx, c, box, "places")
}

func needsRemove(ctx context.Context, c *cli, args []string) error {
	var state string
	var box control.Client
	if _, err := c.flags("needs remove", args, 0, func(f *flag.FlagSet) {
		changedStateFlag(f, &state)
		socketFlag(f, &box)
	}); err != nil {
		return err
	}
	err := needs.Remove(needsFolder(state), "")
	if errors.Is(err, fs.ErrNotExist) {
		return usageError{errors.New("the built-in rules are in use already")}
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, "the built-in rules are in use")
	return refresh(ctx, c, box, "places")
}
