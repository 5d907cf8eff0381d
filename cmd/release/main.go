// Command passerelle-release is for the signers: it makes keys, the root of trust, releases of the image, and what an association may
// publish. It owns the commands, their flags and their texts; package repository does the work. It runs on the signers' own machines,
// offline, never on a box.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"passerelle/appliance/fleet/repository"
	"passerelle/cmd/internal/cli"
)

// tool has what every command needs: where it reads and writes, and the clock.
type tool struct {
	in       *os.File
	out, err io.Writer
	now      func() time.Time
	work     int // the work factor for sealing a key with its passphrase
}

type command = cli.Command[*tool]

var commands = []command{
	{Name: "key", Args: "[--passphrase-file FILE] FILE", About: "make a key: FILE is sealed with a passphrase, FILE.pub is for the others", Run: makeKey},
	{Name: "root", Args: "--root A.pub,B.pub,C.pub --release D.pub,E.pub,F.pub --hub G.pub,... REPOSITORY", About: "stage the first root, or one with other keys", Run: stageRoot},
	{Name: "release", Args: "--version V --epoch N [--needs N] [--board NAME] [--days N [--stages KEY]] [--from IMAGE]... REPOSITORY IMAGE", About: "cut an image into chunks, and stage it as a release", Run: stageRelease},
	{Name: "withdraw", Args: "[--board NAME] --epoch N REPOSITORY", About: "stage that a release is no longer offered", Run: withdraw},
	{Name: "delegate", Args: "[--key A.pub --folders layers/association/A] --role A REPOSITORY", About: "stage what an association may publish; without a key, nothing any more", Run: delegate},
	{Name: "add", Args: "--folder layers/association/A --kind packs|places --name NAME [--role A] REPOSITORY FILE", About: "cut a pack or a list of places into chunks, and stage it for boxes", Run: stageContent},
	{Name: "remove", Args: "--folder layers/association/A --kind packs|places --name NAME [--role A] REPOSITORY", About: "stage that boxes remove it", Run: removeContent},
	{Name: "staged", Args: "REPOSITORY", About: "show what waits for signatures", Run: showStaged},
	{Name: "sign", Args: "--key FILE [--passphrase-file FILE] [--yes] REPOSITORY ROLE", About: "show what is staged of a role (root, targets, or an association's), and sign it", Run: sign},
	{Name: "publish", Args: "REPOSITORY", About: "publish what has its signatures", Run: publish},
	{Name: "seal", Args: "--key FILE [--passphrase-file FILE] REPOSITORY", About: "state, with a hub's key, that this is the newest; it holds for 30 days", Run: seal},
	{Name: "verify", Args: "[--root FILE] [--folder layers/association/A] REPOSITORY", About: "read the repository as a box does", Run: verify},
}

func main() {
	t := &tool{in: os.Stdin, out: os.Stdout, err: os.Stderr, now: time.Now, work: repository.Work}
	os.Exit(t.main(os.Args[1:]))
}

func (t *tool) main(args []string) int {
	return cli.Program[*tool]{
		Name: "passerelle-release", About: "passerelle-release makes and signs releases. cmd/release/CEREMONY.md says who does what.",
		Commands: commands, Out: t.out, Err: t.err,
	}.Main(t, args)
}

// passphraseFlags are the flags that say where a passphrase comes from.
type passphraseFlags struct{ file string }

func (p *passphraseFlags) define(f *flag.FlagSet) {
	f.StringVar(&p.file, "passphrase-file", "", "a `FILE` whose first line is the passphrase; without it, the terminal asks")
}

// read returns the passphrase, from the file or from the terminal. The terminal asks twice for a new one.
func (p *passphraseFlags) read(t *tool, new bool) (string, error) {
	if p.file != "" {
		text, err := os.ReadFile(p.file)
		if err != nil {
			return "", err
		}
		line, _, _ := strings.Cut(string(text), "\n")
		if line = strings.TrimSuffix(line, "\r"); line == "" {
			return "", cli.Wrong(fmt.Errorf("%s has no passphrase in its first line", p.file))
		}
		return line, nil
	}
	if !term.IsTerminal(int(t.in.Fd())) {
		return "", cli.Wrong(errors.New("there is no terminal to ask for the passphrase: use --passphrase-file"))
	}
	ask := func(what string) (string, error) {
		fmt.Fprint(t.err, what)
		text, err := term.ReadPassword(int(t.in.Fd()))
		fmt.Fprintln(t.err)
		return string(text), err
	}
	passphrase, err := ask("Passphrase of the key: ")
	if err != nil || !new {
		return passphrase, err
	}
	again, err := ask("Once more: ")
	if err == nil && again != passphrase {
		err = errors.New("these are two different passphrases; no key was made")
	}
	return passphrase, err
}

// minPassphrase is the least length of a key's passphrase, in characters. Anybody who holds the stick once may copy the key's file.
const minPassphrase = 12

func makeKey(t *tool, args []string) error {
	var p passphraseFlags
	words, err := cli.Parse(args, 1, p.define)
	if err != nil {
		return err
	}
	file := words[0]
	for _, name := range []string{file, file + ".pub"} {
		if _, err := os.Lstat(name); err == nil {
			return cli.Wrong(fmt.Errorf("%s is there already: a key is never overwritten", name))
		}
	}
	passphrase, err := p.read(t, true)
	if err != nil {
		return err
	}
	if len([]rune(passphrase)) < minPassphrase {
		return cli.Wrong(fmt.Errorf("the passphrase has fewer than %d characters; six words from a list are good", minPassphrase))
	}
	key, err := repository.NewKey()
	if err != nil {
		return err
	}
	sealed, err := key.Seal(passphrase, t.work)
	if err != nil {
		return err
	}
	public, err := key.Format()
	if err != nil {
		return err
	}
	if err := writeNew(file, sealed, 0o600); err != nil {
		return err
	}
	if err := writeNew(file+".pub", public, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "Key %s: keep %s and its passphrase apart, each twice, one of them on paper. Give %s.pub to who stages the root.\n",
		key.ID(), file, filepath.Base(file))
	return nil
}

// writeNew writes a new file. It is an error if the file exists.
func writeNew(name string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(name)) // an incomplete key file would block the next try
	}
	return err
}

// readKeys reads the public keys in a list of files, whose names are separated by commas.
func readKeys(list string) (keys []repository.PublicKey, err error) {
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		key, err := repository.ReadPublicKey(name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func stageRoot(t *tool, args []string) error {
	var root, release, hub string
	words, err := cli.Parse(args, 1, func(f *flag.FlagSet) {
		f.StringVar(&root, "root", "", "public keys of the root, as `FILES` with commas")
		f.StringVar(&release, "release", "", "public keys of releases, as `FILES` with commas")
		f.StringVar(&hub, "hub", "", "public keys of hubs, as `FILES` with commas")
	})
	if err != nil {
		return err
	}
	var keys repository.Keys
	for _, list := range []struct {
		files string
		keys  *[]repository.PublicKey
	}{{root, &keys.Root}, {release, &keys.Release}, {hub, &keys.Hub}} {
		if *list.keys, err = readKeys(list.files); err != nil {
			return err
		}
	}
	r := repository.Repository{Dir: words[0]}
	if err := r.StageRoot(keys, t.now()); err != nil {
		return cli.Wrong(err)
	}
	return t.next(r)
}

// next prints what waits for signatures.
func (t *tool) next(r repository.Repository) error {
	waiting, err := r.Staged()
	if err != nil {
		return err
	}
	if len(waiting) == 0 {
		fmt.Fprintln(t.out, "Nothing waits for signatures.")
	}
	for _, s := range waiting {
		var ids []string
		for _, id := range s.Signed {
			ids = append(ids, repository.Short(id))
		}
		fmt.Fprintf(t.out, "%s, version %d: ", s.Role, s.Version)
		switch {
		case s.Err == nil:
			fmt.Fprintf(t.out, "signed by %s; ready to publish\n", strings.Join(ids, " and "))
		case len(ids) == 0:
			fmt.Fprintln(t.out, "nobody has signed it")
		default:
			fmt.Fprintf(t.out, "signed by %s; %v\n", strings.Join(ids, " and "), s.Err)
		}
	}
	return nil
}

func delegate(t *tool, args []string) error {
	var role, file, folders string
	words, err := cli.Parse(args, 1, func(f *flag.FlagSet) {
		f.StringVar(&role, "role", "", "the association's `NAME`")
		f.StringVar(&file, "key", "", "its technician's public key, a `FILE`; without it, the delegation ends")
		f.StringVar(&folders, "folders", "", "what it may publish below, as `NAMES` with commas")
	})
	if err != nil {
		return err
	}
	var key *repository.PublicKey
	var below []string
	if file != "" {
		k, err := repository.ReadPublicKey(file)
		if err != nil {
			return err
		}
		key = &k
		below = strings.Split(folders, ",")
	}
	r := repository.Repository{Dir: words[0]}
	if err := r.Delegate(role, key, below, t.now()); err != nil {
		return cli.Wrong(err)
	}
	return t.next(r)
}

func showStaged(t *tool, args []string) error {
	words, err := cli.Parse(args, 1, func(*flag.FlagSet) {})
	if err != nil {
		return err
	}
	return t.next(repository.Repository{Dir: words[0]})
}

// openKey opens a sealed key, with the passphrase that the flags name.
func openKey(t *tool, file string, p *passphraseFlags) (repository.Key, error) {
	if file == "" {
		return repository.Key{}, cli.Wrong(errors.New("--key is missing"))
	}
	passphrase, err := p.read(t, false)
	if err != nil {
		return repository.Key{}, err
	}
	return repository.OpenKey(file, passphrase)
}

func sign(t *tool, args []string) error {
	var file string
	var yes bool
	var p passphraseFlags
	words, err := cli.Parse(args, 2, func(f *flag.FlagSet) {
		f.StringVar(&file, "key", "", "the sealed key, a `FILE`")
		f.BoolVar(&yes, "yes", false, "do not ask")
		p.define(f)
	})
	if err != nil {
		return err
	}
	r, role := repository.Repository{Dir: words[0]}, words[1]
	if err := t.describe(r, role); err != nil {
		return err
	}
	if !yes {
		fmt.Fprint(t.out, "Sign this? [y/N] ")
		var answer string
		fmt.Fscanln(t.in, &answer)
		if !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
			return cli.Wrong(errors.New("nothing was signed; --yes does not ask"))
		}
	}
	key, err := openKey(t, file, &p)
	if err != nil {
		return err
	}
	if err := r.Sign(role, key); err != nil {
		return err
	}
	return t.next(r)
}

func publish(t *tool, args []string) error {
	words, err := cli.Parse(args, 1, func(*flag.FlagSet) {})
	if err != nil {
		return err
	}
	r := repository.Repository{Dir: words[0]}
	published, err := r.Publish()
	for _, role := range published {
		fmt.Fprintf(t.out, "published: %s\n", role)
	}
	if err != nil {
		return err
	}
	if err := t.next(r); err != nil {
		return err
	}
	if len(published) == 0 {
		return errors.New("nothing was published")
	}
	fmt.Fprintln(t.out, "Boxes see it once a hub has sealed it.")
	return nil
}

func seal(t *tool, args []string) error {
	var file string
	var p passphraseFlags
	words, err := cli.Parse(args, 1, func(f *flag.FlagSet) {
		f.StringVar(&file, "key", "", "the hub's sealed key, a `FILE`")
		p.define(f)
	})
	if err != nil {
		return err
	}
	key, err := openKey(t, file, &p)
	if err != nil {
		return err
	}
	if err := (repository.Repository{Dir: words[0]}).Seal(key, t.now()); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "Sealed until %s.\n", t.now().Add(repository.TimestampValid).UTC().Format(time.DateOnly))
	return nil
}
