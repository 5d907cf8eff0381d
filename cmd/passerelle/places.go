package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"passerelle/appliance/control"
	"passerelle/appliance/daemon"
	"passerelle/captive/places/directory"
)

// placesCommands are the subcommands of "passerelle places".
var placesCommands = []command{
	{"import", "[--name NAME] [--yes] [--state DIR] [--socket FILE] FILE",
		`import a list: a CSV file of the standard "lieux de médiation numérique"`, placesImport},
	{"list", "[--state DIR]", "list the lists", placesList},
	{"remove", "[--state DIR] [--socket FILE] NAME", "remove a list", placesRemove},
	{"undo", "[--state DIR] [--socket FILE] NAME", "bring back the list before the last import, or a removed one", placesUndo},
	{"find", "", "find lists on removable drives", placesFind},
	{"fetch", "[--socket FILE]", "download the list of [places] url now", fetchNow("places")},
}

func placesCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "places", placesCommands, args)
}

// placesFolder returns the folder of the lists of places in a state folder.
func placesFolder(state string) string { return daemon.Content(state, "places") }

func placesImport(ctx context.Context, c *cli, args []string) error {
	var name, state string
	var yes bool
	var box control.Client
	words, err := c.flags("places import", args, 1, func(f *flag.FlagSet) {
		f.StringVar(&name, "name", "", "the list's `NAME` (default: the file's)")
		f.BoolVar(&yes, "yes", false, "replace a list although the file has far fewer places")
		changedStateFlag(f, &state)
		socketFlag(f, &box)
	})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{errors.New("passerelle places import: name the CSV file; " +
			"passerelle places find lists those on removable drives")}
	}
	i := directory.Importer{Dir: placesFolder(state), Now: time.Now, Progress: showProgress(c.err), Yes: yes}
	report, err := i.Import(ctx, words[0], name)
	if errors.Is(err, directory.ErrFewer) {
		err = fmt.Errorf("%w; if that is right: --yes", err)
	}
	if err != nil {
		return fmt.Errorf("nothing is changed: %w", err)
	}
	warnOfPlaces(c.err, report.Warnings)
	fmt.Fprintf(c.out, "%s: %s, %d to go to, %d with a position", report.Name, plural(report.Places, "place"), report.Listed, report.Located)
	if !report.Updated.IsZero() {
		fmt.Fprintf(c.out, ", the newest is of %s", report.Updated.Format("2 Jan 2006"))
	}
	fmt.Fprintln(c.out)
	if report.Replaced >= 0 {
		fmt.Fprintf(c.out, "It replaces a list of %s; to bring that back: passerelle places undo %s\n", plural(report.Replaced, "place"), report.Name)
	}
	return refresh(ctx, c, box, "places")
}

// warnOfPlaces prints the warnings of an import.
func warnOfPlaces(w io.Writer, warnings []directory.Warning) {
	for _, warning := range warnings {
		column := ""
		if warning.Column != "" {
			column = ", " + warning.Column
		}
		fmt.Fprintf(w, "line %d%s: %s\n", warning.Line, column, warning.Text)
		if warning.More > 0 {
			fmt.Fprintf(w, "    and %d more like this\n", warning.More)
		}
	}
}

func placesList(_ context.Context, c *cli, args []string) error {
	var state string
	if _, err := c.flags("places list", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&state, "state", defaultState, "the daemon's state `DIR`")
	}); err != nil {
		return err
	}
	d, problems := directory.Open(placesFolder(state))
	defer d.Close()
	if len(d.Lists()) == 0 {
		fmt.Fprintln(c.out, "There are no lists. To add one: passerelle places import FILE")
	} else {
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "LIST\tPLACES\tTO GO TO\tNEWEST\tIMPORTED\tUNDO\tFILE")
		for _, l := range d.Lists() {
			newest, undo := "-", "no"
			if !l.Updated.IsZero() {
				newest = l.Updated.Format("2 Jan 2006")
			}
			if l.Undo {
				undo = "yes"
			}
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\n", l.Name, l.Places, l.Listed, newest,
				l.Imported.Local().Format("2 Jan 2006 15:04"), undo, l.File)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return errors.Join(problems...)
}

func placesRemove(ctx context.Context, c *cli, args []string) error {
	return changePlaces(ctx, c, "remove", args, directory.Remove,
		"there is no list %q; passerelle places list lists them", "%[1]s is removed; to bring it back: passerelle places undo %[1]s\n")
}

func placesUndo(ctx context.Context, c *cli, args []string) error {
	return changePlaces(ctx, c, "undo", args, directory.Undo,
		"there is nothing to bring back for a list %q; passerelle places list lists them", "%s is as it was before\n")
}

// changePlaces changes the named list.
func changePlaces(ctx context.Context, c *cli, command string, args []string, change func(dir, name, seen string) error, none, done string) error {
	var state string
	var box control.Client
	words, err := c.flags("places "+command, args, 1, func(f *flag.FlagSet) {
		changedStateFlag(f, &state)
		socketFlag(f, &box)
	})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{fmt.Errorf("passerelle places %s: name the list; passerelle places list lists them", command)}
	}
	err = change(placesFolder(state), words[0], "")
	if errors.Is(err, fs.ErrNotExist) {
		return usageError{fmt.Errorf(none, words[0])}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, done, words[0])
	return refresh(ctx, c, box, "places")
}

func placesFind(_ context.Context, c *cli, args []string) error {
	if _, err := c.flags("places find", args, 0, func(*flag.FlagSet) {}); err != nil {
		return err
	}
	sticks, err := drives()
	if err != nil {
		return err
	}
	found := 0
	for _, stick := range sticks {
		for _, path := range tablesOn(stick) {
			if err := directory.Inspect(path); err != nil {
				fmt.Fprintf(c.err, "no list of places: %s: %v\n", path, err)
				continue
			}
			found++
			fmt.Fprintln(c.out, path)
		}
	}
	if found == 0 {
		fmt.Fprintln(c.out, "No list of places found: a drive must be mounted below /media, /run/media or /mnt, and have a CSV file.")
		return nil
	}
	fmt.Fprintln(c.out, "To import one: passerelle places import FILE")
	return nil
}

// tablesOn returns the CSV files on a drive.
func tablesOn(stick string) (paths []string) {
	entries, err := os.ReadDir(stick)
	if err != nil {
		return nil // the drive was removed
	}
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if e.Type().IsRegular() && strings.HasSuffix(name, ".csv") && !strings.HasPrefix(name, ".") {
			paths = append(paths, filepath.Join(stick, e.Name()))
		}
	}
	return paths
}
