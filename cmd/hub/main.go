// Command passerelle-hub is a hub of a fleet: the server that the boxes of a federation connect to, and the commands of the people who
// run it. This package owns the commands, their flags and their texts; the packages below it do the work. It never runs on a box.
package main

import (
	"flag"
	"io"
	"os"
	"os/user"
	"time"

	"passerelle/cmd/internal/cli"
)

// tool has what every command needs: where it writes, and the clock.
type tool struct {
	out, err io.Writer
	now      func() time.Time
}

type command = cli.Command[*tool]

var commands = []command{
	{Name: "init", Args: "FOLDER HOST [HOST HOST]", About: "make a fleet: a folder for each hub, what boxes need, and what stays offline", Run: initFleet},
	{Name: "run", Args: "[--dir FOLDER] [--verbose]", About: "be the hub of that folder", Run: run},
	{Name: "status", Args: "[--dir FOLDER]", About: "show boxes by association, and how the streams are", Run: status},
	{Name: "certificate make", Args: "OFFLINE HOST NEW", About: "make a hub's certificate, before the one that it has ends: OFFLINE is the folder of that name, NEW the file to put at the hub as tls.pem", Run: makeCertificate},
	{Name: "keys replace", Args: "[--as NAME] OFFLINE KEYS NEW", About: "make new keys for all hubs, since a secret was stolen: KEYS is a hub's keys.json, NEW the file to put at every hub in its place", Run: replaceKeys},
	{Name: "association add", Args: "[--dir FOLDER] [--as NAME] [--region REGION] ASSOCIATION", About: "add an association, or change its region", Run: addAssociation},
	{Name: "sticker make", Args: "[--dir FOLDER] [--as NAME] [--count N] [--days N] ASSOCIATION", About: "make codes, each for one new box", Run: makeSticker},
	{Name: "box list", Args: "[--dir FOLDER]", About: "show the boxes, with the words of those that wait", Run: listBoxes},
	{Name: "box confirm", Args: "[--dir FOLDER] [--as NAME] BOX WORD WORD WORD WORD", About: "make a box a member: the words are those that the box shows", Run: confirmBox},
	{Name: "box revoke", Args: "[--dir FOLDER] [--as NAME] BOX", About: "cut a box off for ever, or refuse one that waits", Run: revokeBox},
	{Name: "box place", Args: "[--dir FOLDER] [--as NAME] BOX DEPARTEMENT [CENTRE]", About: "say where a box is, for the map", Run: placeBox},
	{Name: "person add", Args: "[--dir FOLDER] [--as NAME] [--association ASSOCIATION] PERSON", About: "make a code for the pages, in place of the person's old one", Run: addPerson},
	{Name: "person list", Args: "[--dir FOLDER]", About: "show who has the pages", Run: listPeople},
	{Name: "person remove", Args: "[--dir FOLDER] [--as NAME] PERSON", About: "end a person's code", Run: removePerson},
	{Name: "command send", Args: "[--dir FOLDER] [--as NAME] BOX FILE", About: "send a command to a box", Run: sendCommand},
	{Name: "repository put", Args: "[--dir FOLDER] [--as NAME] REPOSITORY", About: "publish the signed files of a repository, for boxes to read through the hubs", Run: putRepository},
	{Name: "rollout key", Args: "[--dir FOLDER]", About: "show the key of stages, for passerelle-release release --stages", Run: rolloutKey},
	{Name: "rollout begin", Args: "[--dir FOLDER] [--as NAME] VERSION SHA256", About: "let one box of 100 take a release: VERSION as boxes report it, and the SHA-256 of its manifest, as passerelle-release sign shows it", Run: beginRollout},
	{Name: "rollout show", Args: "[--dir FOLDER]", About: "show how far the release may go; people raise and halt it on the pages", Run: showRollout},
	{Name: "backup", Args: "[--dir FOLDER] FILE", About: "write what nobody else has into a file", Run: backup},
	{Name: "restore", Args: "[--dir FOLDER] [--as NAME] [--check] FILE", About: "read a backup into hubs that lost their store", Run: restore},
	{Name: "audit", Args: "[--dir FOLDER] [--last N]", About: "show who did what", Run: showAudit},
}

func main() {
	t := &tool{out: os.Stdout, err: os.Stderr, now: time.Now}
	os.Exit(t.main(os.Args[1:]))
}

func (t *tool) main(args []string) int {
	return cli.Program[*tool]{
		Name: "passerelle-hub", About: "passerelle-hub runs a hub of a fleet. FOLDER is /etc/passerelle-hub unless --dir says otherwise.",
		Commands: commands, Out: t.out, Err: t.err,
	}.Main(t, args)
}

func dirFlag(f *flag.FlagSet, dir *string) {
	f.StringVar(dir, "dir", "/etc/passerelle-hub", "the hub's `FOLDER`")
}

// asFlag defines --as, the author for the audit. Its default is the user of the process, or under sudo the person who called sudo.
func asFlag(f *flag.FlagSet, author *string) {
	name := os.Getenv("SUDO_USER")
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	f.StringVar(author, "as", name, "the `NAME` for the audit")
}
