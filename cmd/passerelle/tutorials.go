package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/captive/tutorials"
)

// packsFolder is where packs of lessons are, in the state folder.
const packsFolder = "tutorials"

// readLessons reads our own lessons and the packs. A broken pack is left out.
func (d *daemon) readLessons() {
	library, problems := tutorials.Load(filepath.Join(d.state, packsFolder))
	for _, err := range problems {
		d.log.Warn("lessons are missing: import the pack again, or remove it", "error", err)
	}
	d.lessons.Store(library)
}

// tutorialsWords are the words behind "passerelle tutorials".
var tutorialsWords = []command{
	{"import", "[--name NAME] [--most SIZE] [--state DIR] [--socket FILE] FILE|DIR",
		"bring a pack: a zip or a folder, of lessons or of static pages", tutorialsImport},
	{"list", "[--state DIR]", "list the packs", tutorialsList},
	{"remove", "[--state DIR] [--socket FILE] NAME", "remove a pack", tutorialsRemove},
	{"find", "", "list the packs on USB sticks and the like", tutorialsFind},
}

func tutorialsCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "tutorials", tutorialsWords, args)
}

func tutorialsImport(ctx context.Context, c *cli, args []string) error {
	var name, state, socket string
	most := config.Size(tutorials.MostBytes)
	words, err := c.flags("tutorials import", args, 1, func(f *flag.FlagSet) {
		f.StringVar(&name, "name", "", "what to call the pack; else it is called as its file")
		f.Func("most", fmt.Sprintf("what a pack may have, unpacked (default %s)", most), func(s string) (err error) {
			most, err = config.ParseSize(s)
			return err
		})
		f.StringVar(&state, "state", defaultState, "the daemon's state `FOLDER`")
		f.StringVar(&socket, "socket", defaultSocket, "the daemon's control socket")
	})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return wrong{errors.New("passerelle tutorials import: name the zip or the folder; " +
			"passerelle tutorials find lists those on USB sticks")}
	}
	i := tutorials.Importer{
		Dir: filepath.Join(state, packsFolder), Most: int64(most), Now: time.Now, Progress: showProgress(c.err),
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
	return takeUpLessons(ctx, c, socket)
}

func tutorialsRemove(ctx context.Context, c *cli, args []string) error {
	var state, socket string
	words, err := c.flags("tutorials remove", args, 1, func(f *flag.FlagSet) {
		f.StringVar(&state, "state", defaultState, "the daemon's state `FOLDER`")
		f.StringVar(&socket, "socket", defaultSocket, "the daemon's control socket")
	})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return wrong{errors.New("passerelle tutorials remove: name the pack; passerelle tutorials list lists them")}
	}
	err = tutorials.Remove(filepath.Join(state, packsFolder), words[0])
	if errors.Is(err, fs.ErrNotExist) {
		return wrong{fmt.Errorf("there is no pack %q; passerelle tutorials list lists them", words[0])}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s is removed\n", words[0])
	return takeUpLessons(ctx, c, socket)
}

// takeUpLessons tells the daemon that packs changed. One that does not run reads them when it starts.
func takeUpLessons(ctx context.Context, c *cli, socket string) error {
	_, err := ask(ctx, socket, http.MethodPost, "/tutorials")
	if errors.Is(err, errNotRunning) {
		fmt.Fprintln(c.out, "Passerelle does not run; it will have it so when it starts.")
		return nil
	}
	return err
}

func tutorialsList(_ context.Context, c *cli, args []string) error {
	var state string
	if _, err := c.flags("tutorials list", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&state, "state", defaultState, "the daemon's state `FOLDER`")
	}); err != nil {
		return err
	}
	library, problems := tutorials.Load(filepath.Join(state, packsFolder))
	if len(library.Packs()) == 0 {
		fmt.Fprintln(c.out, "There are no packs: passerelle tutorials import brings one.")
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
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer mounts.Close()
	sticks, err := removable(mounts)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	found := 0
	for _, stick := range sticks {
		for _, path := range packsOn(stick) {
			kind, files, size, err := tutorials.Look(path)
			if err != nil {
				fmt.Fprintf(c.err, "no pack: %v\n", err)
				continue
			}
			found++
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", path, kind, plural(files, "file"), round(uint64(size)))
		}
	}
	if found == 0 {
		fmt.Fprintln(c.out, "No pack found: a stick must be mounted below /media, /run/media or /mnt, "+
			"and have a PUBLIC folder or zip files.")
		return nil
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "passerelle tutorials import FILE brings one.")
	return nil
}

// removable returns where sticks and the like are mounted, of a mountinfo (proc_pid_mountinfo(5)).
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

// packsOn returns what may be a pack on a stick: a PUBLIC folder, however it is written, and zip files.
func packsOn(stick string) (paths []string) {
	entries, err := os.ReadDir(stick)
	if err != nil {
		return nil // pulled out
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

// showProgress writes how far an import is on a terminal, and nothing elsewhere.
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
