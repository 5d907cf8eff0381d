package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"passerelle/captive/search"
)

// declared is a command as its own code declares it.
type declared struct {
	command
	path  string        // its words, such as "wifi lend"
	flags *flag.FlagSet // nil if it only has subcommands
	words []*declared   // its subcommands
}

// describe returns the command with its flags and subcommands. To learn them, it runs the command until it declares them.
func (cmd command) describe(path string) *declared {
	d := &declared{command: cmd, path: path}
	_ = cmd.run(context.Background(), &cli{out: io.Discard, err: io.Discard, describing: d}, nil) // flag.ErrHelp
	return d
}

// describeAll returns all commands.
func (c *cli) describeAll() (all []*declared) {
	for _, cmd := range c.commands {
		all = append(all, cmd.describe(cmd.name))
	}
	return all
}

// find returns the command that the words name, and the remaining words.
func find(all []*declared, words []string) (d *declared, rest []string) {
	for len(words) > 0 {
		i := slices.IndexFunc(all, func(d *declared) bool { return d.name == words[0] })
		if i < 0 {
			break
		}
		d, all, words = all[i], all[i].words, words[1:]
	}
	return d, words
}

// print prints the command's usage, subcommands and flags.
func (d *declared) print(w io.Writer) {
	if len(d.words) > 0 {
		fmt.Fprintf(w, "passerelle %s: %s\n\n", d.path, d.about)
		for _, sub := range d.words {
			if sub.about != "" {
				fmt.Fprintf(w, "  %s\n      %s\n", sub.usage(), sub.about)
			}
		}
		return
	}
	fmt.Fprintln(w, d.usage())
	if d.about != "" {
		fmt.Fprintf(w, "    %s\n", d.about)
	}
	if hasFlags(d.flags) {
		fmt.Fprint(w, "\nFlags:\n", flagText(d.flags))
	}
}

// usage is how the command is typed.
func (d *declared) usage() string { return strings.TrimSpace("passerelle " + d.path + " " + d.args) }

func hasFlags(f *flag.FlagSet) (has bool) {
	f.VisitAll(func(*flag.Flag) { has = true })
	return has
}

// flagText describes flags with two dashes, as in the usage text. Package flag prints one dash.
func flagText(f *flag.FlagSet) string {
	out := f.Output()
	var list strings.Builder
	f.SetOutput(&list)
	f.PrintDefaults()
	f.SetOutput(out)
	return strings.ReplaceAll("\n"+list.String(), "\n  -", "\n  --")[1:]
}

// help prints the usage text, or the help of a command.
func (c *cli) help(words []string) error {
	if len(words) == 0 {
		c.usage(c.out)
		return nil
	}
	d, rest := find(c.describeAll(), words)
	if len(rest) > 0 {
		known := c.commands
		if d != nil {
			known = nil
			for _, sub := range d.words {
				known = append(known, sub.command)
			}
		}
		return usageError{fmt.Errorf("passerelle help: unknown command %q%s; see passerelle help",
			strings.Join(words, " "), suggestion(rest[0], namesOf(known)))}
	}
	d.print(c.out)
	return nil
}

// namesOf returns the names of commands that the usage text has.
func namesOf(all []command) (names []string) {
	for _, cmd := range all {
		if cmd.about != "" {
			names = append(names, cmd.name)
		}
	}
	return names
}

// mostMistakes is how many letters of a word may be wrong for a suggestion.
const mostMistakes = 2

// suggestion suggests what a word was meant to be, if a known word is similar.
func suggestion(word string, known []string) string {
	best, fewest := "", mostMistakes+1
	for _, k := range known {
		if d := search.Distance([]rune(word), []rune(k), mostMistakes); d < min(fewest, len(k)) {
			best, fewest = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// flagError says what is wrong with flags, and suggests the flag that was meant.
func flagError(f *flag.FlagSet, path string, err error) error {
	text := err.Error()
	if name, unknown := strings.CutPrefix(text, "flag provided but not defined: -"); unknown {
		var known []string
		f.VisitAll(func(f *flag.Flag) { known = append(known, "--"+f.Name) })
		text = fmt.Sprintf("unknown flag \"--%s\"%s", name, suggestion("--"+name, known))
	}
	return usageError{fmt.Errorf("passerelle %s: %s; see passerelle %s --help", path, text, path)}
}

// complete prints completions of the last word for a shell: one on each line, with its description after a tab.
func complete(_ context.Context, c *cli, args []string) error {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	var last string
	if len(args) > 0 {
		last, args = args[len(args)-1], args[:len(args)-1]
	}
	if len(args) > 0 && args[0] == "help" {
		args = args[1:]
	}
	all := c.describeAll()
	d, rest := find(all, args)
	offer := func(name, about string) {
		if about != "" && strings.HasPrefix(name, last) {
			fmt.Fprintf(c.out, "%s\t%s\n", name, about)
		}
	}
	switch {
	case d == nil && len(rest) == 0:
		for _, d := range all {
			offer(d.name, d.about)
		}
		offer("help", "show what the commands do")
	case d == nil:
	case len(d.words) > 0:
		for _, sub := range d.words {
			offer(sub.name, sub.about)
		}
	case strings.HasPrefix(last, "-"):
		d.flags.VisitAll(func(f *flag.Flag) {
			_, about := flag.UnquoteUsage(f)
			offer("--"+f.Name, about)
		})
	}
	return nil
}

// completions has the scripts that make shells query this program for completions. If it has none, they offer files.
//
//go:embed completions
var completions embed.FS

// completion prints a shell's script.
func completion(_ context.Context, c *cli, args []string) error {
	words, err := c.flags("completion", args, 1, func(*flag.FlagSet) {})
	if err != nil {
		return err
	}
	var script []byte
	if len(words) > 0 {
		script, _ = completions.ReadFile("completions/" + words[0])
	}
	if len(script) == 0 {
		return usageError{errors.New("passerelle completion: name the shell: bash, zsh or fish")}
	}
	_, err = c.out.Write(script)
	return err
}
