package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance/fleet/content"
	"passerelle/appliance/fleet/mirror"
	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/trust"
	"passerelle/cmd/internal/cli"
	"passerelle/image/update/plan"
)

// describe prints what is staged of a role, for its signers.
func (t *tool) describe(r repository.Repository, role string) error {
	file := filepath.Join(r.Dir, "staged", role+".json")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return cli.Wrong(fmt.Errorf("nothing of the role %s is staged", role))
	}
	if err != nil {
		return err
	}
	if role == repository.Root {
		root, err := metadata.Root().FromBytes(text)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		fmt.Fprintf(t.out, "The root, version %d, good until %s:\n", root.Signed.Version, root.Signed.Expires.Format(time.DateOnly))
		for _, name := range slices.Sorted(maps.Keys(root.Signed.Roles)) {
			keys := root.Signed.Roles[name]
			fmt.Fprintf(t.out, "  %s: %d of %s\n", name, keys.Threshold, shortAll(keys.KeyIDs))
		}
		return nil
	}
	targets, err := metadata.Targets().FromBytes(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	fmt.Fprintf(t.out, "The targets of %s, version %d, good until %s:\n", role, targets.Signed.Version, targets.Signed.Expires.Format(time.DateOnly))
	for _, name := range slices.Sorted(maps.Keys(targets.Signed.Targets)) {
		file := targets.Signed.Targets[name]
		fmt.Fprintf(t.out, "  %s: %d bytes, SHA-256 %s%s\n", name, file.Length, file.Hashes["sha256"], summary(file.Custom))
	}
	if d := targets.Signed.Delegations; d != nil {
		for _, other := range d.Roles {
			fmt.Fprintf(t.out, "  %s may sign %s with key %s\n", other.Name, strings.Join(other.Paths, " "), shortAll(other.KeyIDs))
		}
	}
	return nil
}

func shortAll(ids []string) string {
	short := make([]string, 0, len(ids))
	for _, id := range ids {
		short = append(short, repository.Short(id))
	}
	return strings.Join(short, " ")
}

func summary(custom *json.RawMessage) string {
	if custom == nil {
		return ""
	}
	if s, err := plan.ParseSummary(*custom); err == nil {
		text := fmt.Sprintf("; release %s, its root %s", s.Version, s.Root.SHA256)
		if r := s.Rollout; r.Days != 0 {
			text += fmt.Sprintf("; in stages, for all boxes %d days after %s", r.Days, r.Day)
			if r.Key != "" {
				text += "; stages are those of " + r.Key
			}
		}
		return text
	}
	if s, err := content.ParseSummary(*custom); err == nil {
		return fmt.Sprintf("; the index of %d bytes, SHA-256 %s", s.Size, s.SHA256)
	}
	return "" // another kind of file
}

func verify(t *tool, args []string) error {
	var root, folder string
	words, err := cli.Parse(args, 1, func(f *flag.FlagSet) {
		f.StringVar(&folder, "folder", "", "read the packs and places of this `FOLDER`, too")
		f.StringVar(&root, "root", "", "begin with the root in this `FILE`, as a box that was built with it; without it, with version 1")
	})
	if err != nil {
		return err
	}
	if root == "" {
		root = filepath.Join(words[0], trust.MetadataFolder, "1.root.json")
	}
	text, err := os.ReadFile(root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "passerelle-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	box, err := trust.Open(trust.Options{Dir: dir, Root: text, Clock: trust.Clock{Now: func() (time.Time, bool) { return t.now(), true }}})
	if err != nil {
		return err
	}
	ctx := context.Background() // no timeout: this reads a local folder
	from := mirror.Folder{FS: os.DirFS(words[0])}
	if err := box.Refresh(ctx, from); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "Root version %d. A box believes this until %s.\n", box.RootVersion(), box.Until().Format(time.DateOnly))
	releases, err := box.Releases("os")
	if err != nil {
		return err
	}
	for _, target := range releases {
		text, err := trust.Fetch(ctx, from, target, plan.ManifestLimit)
		if err != nil {
			return err
		}
		m, err := plan.ParseManifest(text)
		if err != nil {
			return fmt.Errorf("%s: %w", target.Path, err)
		}
		fmt.Fprintf(t.out, "%s: release %s for %s, epoch %d, %d deltas\n", target.Path, m.Version, m.Board, m.Epoch, len(m.Deltas))
	}
	if folder != "" {
		return t.verifyContent(ctx, box, from, folder)
	}
	return nil
}
