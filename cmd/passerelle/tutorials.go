package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/daemon"
	"passerelle/captive/tutorials/lessons"
)

// tutorialsCommands are the subcommands of "passerelle tutorials".
var tutorialsCommands = []command{
	{"import", "[--name NAME] [--most SIZE] [--state DIR] [--socket FILE] FILE|DIR",
		"import a pack: a zip or a folder, of lessons or of static pages", tutorialsImport},
	{"list", "[--sources] [--stale] [--state DIR]",
		"list the packs; or the lessons with the sources of their facts; or those to look up again", tutorialsList},
	{"remove", "[--state DIR] [--socket FILE] NAME", "remove a pack", tutorialsRemove},
	{"find", "", "find packs on removable drives", tutorialsFind},
}

func tutorialsCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "tutorials", tutorialsCommands, args)
}

func tutorialsImport(ctx context.Context, c *cli, args []string) error {
	var name, state string
	var box control.Client
	maxSize := config.Size(lessons.DefaultMaxSize)
	words, err := c.flags("tutorials import", args, 1, func(f *flag.FlagSet) {
		f.StringVar(&name, "name", "", "the pack's `NAME` (default: the file's)")
		f.Func("most", fmt.Sprintf("the largest unpacked `SIZE` of a pack (default %s)", maxSize), func(s string) (err error) {
			maxSize, err = config.ParseSize(s)
			return err
		})
		changedStateFlag(f, &state)
		socketFlag(f, &box)
	})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{errors.New("passerelle tutorials import: name the zip or the folder; " +
			"passerelle tutorials find lists those on removable drives")}
	}
	i := lessons.Importer{
		Dir: packs(state), MaxSize: int64(maxSize), Now: time.Now, Progress: showProgress(c.err),
		LeftOut: func(names []string) { c.out.Write(describeLeftOut(names)) },
	}
	p, err := i.Import(ctx, words[0], name)
	if err != nil {
		return fmt.Errorf("nothing is changed: %w", err)
	}
	what := "static pages"
	if p.Kind == "lessons" {
		what = plural(p.Lessons, "lesson")
	}
	fmt.Fprintf(c.out, "%s: %q, %s, %s\n", p.Name, p.Title, what, round(uint64(p.Size)))
	return refresh(ctx, c, box, "tutorials")
}

// maxLeftOut is the most names of left-out files that are printed.
const maxLeftOut = 10

// describeLeftOut names the files of a pack that were left out.
func describeLeftOut(names []string) []byte {
	slices.Sort(names)
	var b bytes.Buffer
	fmt.Fprintf(&b, "left out, since no page or lesson needs it: %s", strings.Join(names[:min(len(names), maxLeftOut)], ", "))
	if more := len(names) - maxLeftOut; more > 0 {
		fmt.Fprintf(&b, ", and %d more", more)
	}
	b.WriteString("\n")
	return b.Bytes()
}

func tutorialsRemove(ctx context.Context, c *cli, args []string) error {
	var state string
	var box control.Client
	words, err := c.flags("tutorials remove", args, 1, func(f *flag.FlagSet) {
		changedStateFlag(f, &state)
		socketFlag(f, &box)
	})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{errors.New("passerelle tutorials remove: name the pack; passerelle tutorials list lists them")}
	}
	err = lessons.Remove(packs(state), words[0], "")
	if errors.Is(err, fs.ErrNotExist) {
		return usageError{fmt.Errorf("there is no pack %q; passerelle tutorials list lists them", words[0])}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s is removed\n", words[0])
	return refresh(ctx, c, box, "tutorials")
}

// packs returns the folder of the packs of tutorials in a state folder.
func packs(state string) string { return daemon.Content(state, "tutorials") }

// notRunning says when a change takes effect on a stopped daemon.
const notRunning = "passerelle is not running; the change takes effect at its next start."

// refresh tells the daemon that a share's content changed. A stopped daemon reads it at its next start.
func refresh(ctx context.Context, c *cli, box control.Client, share string) error {
	err := box.Refresh(ctx, share)
	if errors.Is(err, control.ErrNotRunning) {
		fmt.Fprintln(c.out, notRunning)
		return nil
	}
	return err
}

func tutorialsList(_ context.Context, c *cli, args []string) error {
	var state string
	var sources, stale bool
	if _, err := c.flags("tutorials list", args, 0, func(f *flag.FlagSet) {
		f.BoolVar(&sources, "sources", false, "list all lessons, when their facts were looked up, and where")
		f.BoolVar(&stale, "stale", false, fmt.Sprintf("list the lessons not looked up for %d years", lessons.CheckFor))
		f.StringVar(&state, "state", defaultState, "the daemon's state `DIR`")
	}); err != nil {
		return err
	}
	library, problems := lessons.Load(packs(state))
	if sources || stale {
		c.out.Write(describeFacts(library, time.Now(), sources, stale))
		return errors.Join(problems...)
	}
	if len(library.Packs()) == 0 {
		fmt.Fprintln(c.out, "There are no packs. To add one: passerelle tutorials import FILE")
	} else {
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "PACK\tKIND\tLESSONS\tSIZE\tIMPORTED\tTITLE")
		for _, p := range library.Packs() {
			lessons := "-"
			if p.Kind == "lessons" {
				lessons = fmt.Sprint(p.Lessons)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.Kind, lessons, round(uint64(p.Size)),
				p.Imported.Local().Format("2 Jan 2006 15:04"), p.Title)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return errors.Join(problems...)
}

func tutorialsFind(_ context.Context, c *cli, args []string) error {
	if _, err := c.flags("tutorials find", args, 0, func(*flag.FlagSet) {}); err != nil {
		return err
	}
	sticks, err := drives()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	found := 0
	for _, stick := range sticks {
		for _, path := range packsOn(stick) {
			kind, files, size, err := lessons.Inspect(path)
			if err != nil {
				fmt.Fprintf(c.err, "no pack: %v\n", err)
				continue
			}
			found++
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", path, kind, plural(files, "file"), round(uint64(size)))
		}
	}
	if found == 0 {
		fmt.Fprintln(c.out, "No pack found: a drive must be mounted below /media, /run/media or /mnt, "+
			"and have a PUBLIC folder or zip files.")
		return nil
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "To import one: passerelle tutorials import FILE")
	return nil
}

// drives returns the mount points of removable drives.
func drives() ([]string, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer mounts.Close()
	return removable(mounts)
}

// removable returns the mount points of removable drives in a mountinfo (proc_pid_mountinfo(5)).
func removable(mountinfo io.Reader) (dirs []string, err error) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		dir := unescape.Replace(fields[4])
		for _, below := range []string{"/media", "/run/media", "/mnt"} {
			if dir == below || strings.HasPrefix(dir, below+"/") {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs, lines.Err()
}

// packsOn returns what may be a pack on a drive: a PUBLIC folder, in upper or lower case, and zip files.
func packsOn(stick string) (paths []string) {
	entries, err := os.ReadDir(stick)
	if err != nil {
		return nil // the drive was removed
	}
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		isZip := e.Type().IsRegular() && strings.HasSuffix(name, ".zip") && !strings.HasPrefix(name, ".")
		if isZip || e.IsDir() && name == "public" {
			paths = append(paths, filepath.Join(stick, e.Name()))
		}
	}
	return paths
}

// showProgress writes an import's progress on a terminal, and nothing elsewhere.
func showProgress(w io.Writer) func(done, all int64) {
	f, ok := w.(*os.File)
	if ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		ok = err == nil
	}
	last := int64(-1)
	return func(done, all int64) {
		percent := done * 100 / max(all, 1)
		if !ok || percent == last {
			return
		}
		last = percent
		end := ""
		if done == all {
			end = "\n"
		}
		fmt.Fprintf(w, "\r%3d %% of %s%s", percent, round(uint64(all)), end)
	}
}
