// Command passerelle-hub is a hub of a fleet: the server that boxes of a federation connect to, and what the people of its
// associations do there. It owns commands, flags and texts; its rooms do the work. It never runs on a box.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"
)

// Exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a wrong word, or a wrong file.
type usageError struct{ error }

// tool is where a command writes, and the time.
type tool struct {
	out, err io.Writer
	now      func() time.Time
}

type command struct {
	name, args, about string // name may have two words
	run               func(t *tool, args []string) error
}

var commands = []command{
	{"init", "FOLDER HOST [HOST HOST]", "make a fleet: a folder for each hub, what boxes need, and what stays offline", initFleet},
	{"run", "[--dir FOLDER] [--verbose]", "be the hub of that folder", run},
	{"status", "[--dir FOLDER]", "show boxes by association, and how the streams are", status},
	{"association add", "[--dir FOLDER] [--as NAME] [--region REGION] ASSOCIATION", "add an association, or change its region", addAssociation},
	{"sticker make", "[--dir FOLDER] [--as NAME] [--count N] [--days N] ASSOCIATION", "make codes, each for one new box", makeSticker},
	{"box list", "[--dir FOLDER]", "show the boxes, with the words of those that wait", listBoxes},
	{"box confirm", "[--dir FOLDER] [--as NAME] BOX WORD WORD WORD WORD", "make a box a member: the words are those that the box shows", confirmBox},
	{"box revoke", "[--dir FOLDER] [--as NAME] BOX", "cut a box off for ever, or refuse one that waits", revokeBox},
	{"box place", "[--dir FOLDER] [--as NAME] BOX DEPARTEMENT [CENTRE]", "say where a box is, for the map", placeBox},
	{"person add", "[--dir FOLDER] [--as NAME] [--association ASSOCIATION] PERSON", "make a code for the pages, in place of the person's old one", addPerson},
	{"person list", "[--dir FOLDER]", "show who has the pages", listPeople},
	{"person remove", "[--dir FOLDER] [--as NAME] PERSON", "end a person's code", removePerson},
	{"command send", "[--dir FOLDER] [--as NAME] BOX FILE", "send a command to a box", sendCommand},
	{"repository put", "[--dir FOLDER] [--as NAME] REPOSITORY", "publish the signed files of a repository, for boxes to read through the hubs", putRepository},
	{"rollout key", "[--dir FOLDER]", "show the key of stages, for passerelle-release release --stages", rolloutKey},
	{"rollout begin", "[--dir FOLDER] [--as NAME] VERSION SHA256", "let one box of 100 take a release: VERSION as boxes report it, and the SHA-256 of its manifest, as passerelle-release sign shows it", beginRollout},
	{"rollout show", "[--dir FOLDER]", "show how far the release may go; people raise and halt it on the pages", showRollout},
	{"backup", "[--dir FOLDER] FILE", "write what nobody else has into a file", backup},
	{"restore", "[--dir FOLDER] [--as NAME] [--check] FILE", "read a backup into hubs that lost their store", restore},
	{"audit", "[--dir FOLDER] [--last N]", "show who did what", showAudit},
}

func main() {
	t := &tool{out: os.Stdout, err: os.Stderr, now: time.Now}
	os.Exit(t.main(os.Args[1:]))
}

func (t *tool) main(args []string) int {
	if len(args) == 0 {
		t.usage(t.err)
		return exitUsage
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		t.usage(t.out)
		return 0
	}
	for _, c := range commands {
		name := strings.Fields(c.name)
		if len(args) < len(name) || !slices.Equal(args[:len(name)], name) {
			continue
		}
		err := c.run(t, args[len(name):])
		var wrong usageError
		switch {
		case err == nil:
			return 0
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprintf(t.out, "passerelle-hub %s %s\n%s\n", c.name, c.args, c.about)
			return 0
		case errors.As(err, &wrong):
			fmt.Fprintf(t.err, "passerelle-hub %s: %v\nusage: passerelle-hub %s %s\n", c.name, err, c.name, c.args)
			return exitUsage
		}
		fmt.Fprintf(t.err, "passerelle-hub %s: %v\n", c.name, err)
		return exitFailed
	}
	fmt.Fprintf(t.err, "passerelle-hub: there is no command %q\n", strings.Join(args[:min(2, len(args))], " "))
	t.usage(t.err)
	return exitUsage
}

func (t *tool) usage(w io.Writer) {
	fmt.Fprintln(w, "passerelle-hub runs a hub of a fleet. FOLDER is /etc/passerelle-hub unless --dir says otherwise.")
	for _, c := range commands {
		fmt.Fprintf(w, "\n  %s %s\n      %s\n", c.name, c.args, c.about)
	}
}

// parse reads flags and so many other words, or any number if words is negative.
func parse(args []string, words int, define func(*flag.FlagSet)) ([]string, error) {
	f := flag.NewFlagSet("", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	define(f)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, usageError{err}
	}
	if words >= 0 && f.NArg() != words {
		return nil, usageError{fmt.Errorf("%d words instead of %d", f.NArg(), words)}
	}
	return f.Args(), nil
}

func dirFlag(f *flag.FlagSet, dir *string) {
	f.StringVar(dir, "dir", "/etc/passerelle-hub", "the hub's `FOLDER`")
}

// asFlag is who the audit names: behind sudo, the person who called it.
func asFlag(f *flag.FlagSet, author *string) {
	name := os.Getenv("SUDO_USER")
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	f.StringVar(author, "as", name, "the `NAME` for the audit")
}
