package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance/fleet/content"
	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/trust"
	"passerelle/cmd/internal/cli"
)

// contentFlags are the flags that name a pack or a list of places, and who signs it.
type contentFlags struct {
	level string // the folder of the boxes that get it
	kind  string
	name  string
	role  string
}

func (c *contentFlags) define(f *flag.FlagSet) {
	f.StringVar(&c.level, "folder", "", "whose boxes get it: layers/all, layers/region/NAME or layers/association/NAME")
	f.StringVar(&c.kind, "kind", "", "packs or places")
	f.StringVar(&c.name, "name", "", "the `NAME` of the pack or list on the box")
	f.StringVar(&c.role, "role", repository.Targets, "who signs it: an association's `NAME`; without it, the release role")
}

var levelForm = regexp.MustCompile(`^layers/(all|(region|association)/([^/]+))$`)

// checkLevel returns an error unless a folder is one in which boxes look for packs and places.
func checkLevel(folder string) error {
	m := levelForm.FindStringSubmatch(folder)
	if m == nil {
		return cli.Wrong(fmt.Errorf("--folder is layers/all, layers/region/NAME or layers/association/NAME, not %q", folder))
	}
	if m[3] != "" {
		if err := trust.CheckRole(m[3]); err != nil {
			return cli.Wrong(err)
		}
	}
	return nil
}

// folder returns the folder of the file's index and chunks. An error is a wrong flag.
func (c *contentFlags) folder() (string, error) {
	if err := checkLevel(c.level); err != nil {
		return "", err
	}
	if kind := content.Kind(c.kind); kind != content.Packs && kind != content.Places {
		return "", cli.Wrong(fmt.Errorf("--kind is packs or places, not %q", c.kind))
	}
	if err := content.CheckName(c.name); err != nil {
		return "", cli.Wrong(err)
	}
	return content.Folder(c.level, content.Kind(c.kind)), nil
}

// change stages a change of what the role signs.
func (c *contentFlags) change(t *tool, r repository.Repository, change func(*metadata.TargetsType) error) error {
	if c.role == repository.Targets {
		return r.Change(t.now(), change)
	}
	return r.ChangeOf(c.role, t.now(), change)
}

func stageContent(t *tool, args []string) error {
	var c contentFlags
	words, err := cli.Parse(args, 2, c.define)
	if err != nil {
		return err
	}
	folder, err := c.folder()
	if err != nil {
		return err
	}
	file, err := os.Open(words[1])
	if err != nil {
		return cli.Wrong(err)
	}
	defer file.Close()
	r := repository.Repository{Dir: words[0]}
	name, target, s, err := content.Stage(r, folder, c.name, bufio.NewReader(file))
	if err != nil {
		return fmt.Errorf("%s: %w", words[1], err)
	}
	if err := c.change(t, r, func(targets *metadata.TargetsType) error {
		if targets.Targets == nil {
			targets.Targets = map[string]*metadata.TargetFiles{}
		}
		targets.Targets[name] = target
		return nil
	}); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%s: %d bytes of %s.\n", name, s.Size, filepath.Base(words[1]))
	return t.next(r)
}

func removeContent(t *tool, args []string) error {
	var c contentFlags
	words, err := cli.Parse(args, 1, c.define)
	if err != nil {
		return err
	}
	folder, err := c.folder()
	if err != nil {
		return err
	}
	r := repository.Repository{Dir: words[0]}
	name := path.Join(folder, c.name)
	if err := c.change(t, r, func(targets *metadata.TargetsType) error {
		if targets.Targets[name] == nil {
			return cli.Wrong(fmt.Errorf("%s signs no %s", c.role, name))
		}
		delete(targets.Targets, name)
		return nil
	}); err != nil {
		return err
	}
	return t.next(r)
}

// verifyContent fetches a folder's packs and places as a box does, and prints them.
func (t *tool) verifyContent(ctx context.Context, box *trust.Trust, from trust.Source, folder string) error {
	files, err := content.List(ctx, box, from, folder, folder)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "passerelle-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, f := range files {
		err := f.Err
		if err == nil {
			err = f.Fetch(ctx, from, filepath.Join(dir, "file"), func(int64) error { return nil })
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", f.Kind, f, err)
		}
		fmt.Fprintf(t.out, "%s %s: %d bytes, SHA-256 %s\n", f.Kind, f, f.Size, f.SHA256)
	}
	return nil
}
