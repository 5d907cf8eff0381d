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
	"regexp"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"passerelle/cmd/hub/registry"
	"passerelle/cmd/internal/cli"
)

const (
	keepBackups = 14 // nights
	nightly     = 2  // hour of the day, UTC, from which a night's backup is due
	lookAgain   = 10 * time.Minute
	longest     = 30 * time.Minute // timeout of a backup, and of a restore
)

var backupName = regexp.MustCompile(`^backup-\d{4}-\d{2}-\d{2}\.gz$`)

// writeBackup writes a backup to a temporary file, reads it back as a check, and then renames it to name. It returns the number of
// entries.
func writeBackup(ctx context.Context, r *registry.Registry, name string) (entries int, err error) {
	f, err := renameio.NewPendingFile(name, renameio.WithPermissions(0o600), renameio.WithTempDir(filepath.Dir(name)))
	if err != nil {
		return 0, fmt.Errorf("write a backup: %w", err)
	}
	defer f.Cleanup()
	if entries, err = r.Backup(ctx, f); err != nil {
		return 0, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("write a backup: %w", err)
	}
	read, err := registry.CheckBackup(f)
	if err == nil && read != entries {
		err = fmt.Errorf("%d entries instead of %d", read, entries)
	}
	if err != nil {
		return 0, fmt.Errorf("write a backup: it cannot be read again: %w", err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return 0, fmt.Errorf("write a backup: %w", err)
	}
	return entries, nil
}

// backUp makes a backup each night, and one at once if the last night's is missing, until ctx ends.
func (h *hub) backUp(ctx context.Context, r *registry.Registry) {
	for {
		h.backUpOnce(ctx, r)
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookAgain):
		}
	}
}

func (h *hub) backUpOnce(ctx context.Context, r *registry.Registry) {
	night := h.now().UTC().Add(-nightly * time.Hour).Format(time.DateOnly)
	name := filepath.Join(h.Backups, "backup-"+night+".gz")
	if _, err := os.Stat(name); err == nil {
		return
	}
	ctx, stop := context.WithTimeout(ctx, longest)
	defer stop()
	_, revision, err := r.Members(ctx)
	if err == nil && revision == 0 {
		return // the fleet is new, or the hubs lost everything: then the old backups must stay
	}
	entries := 0
	if err == nil {
		err = os.MkdirAll(h.Backups, 0o700)
	}
	if err == nil {
		entries, err = writeBackup(ctx, r, name)
	}
	if err == nil {
		err = dropBackups(h.Backups)
	}
	if err != nil && ctx.Err() == nil {
		h.log.Error("tonight's backup", "err", err)
	} else if err == nil {
		h.log.Info("tonight's backup is written", "file", name, "entries", entries)
	}
}

// dropBackups removes all but the newest keepBackups backups. It touches no other file.
func dropBackups(dir string) error {
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(e fs.DirEntry) bool { return !backupName.MatchString(e.Name()) || !e.Type().IsRegular() })
	for len(all) > keepBackups { // sorted by name, so by day
		err = errors.Join(err, os.Remove(filepath.Join(dir, all[0].Name())))
		all = all[1:]
	}
	return err
}

func backup(t *tool, args []string) error {
	return t.at(args, 1, none, func(_ context.Context, d *desk, words []string) error {
		ctx, stop := context.WithTimeout(context.Background(), longest)
		defer stop()
		entries, err := writeBackup(ctx, d.Registry, words[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(t.out, "%d entries are in %s\n", entries, words[0])
		return nil
	})
}

func restore(t *tool, args []string) error {
	var check bool
	return t.at(args, 1, func(f *flag.FlagSet) { f.BoolVar(&check, "check", false, "only read the file") },
		func(_ context.Context, d *desk, words []string) error {
			f, err := os.Open(words[0])
			if err != nil {
				return cli.Wrong(err)
			}
			defer f.Close()
			// The whole file is checked before anything is written.
			entries, err := registry.CheckBackup(f)
			if err == nil && !check {
				if _, err = f.Seek(0, io.SeekStart); err == nil {
					ctx, stop := context.WithTimeout(context.Background(), longest)
					defer stop()
					entries, err = d.RestoreBackup(ctx, d.author, f)
				}
			}
			if err != nil {
				return fmt.Errorf("%s: %w", words[0], err)
			}
			fmt.Fprintf(t.out, "%s has %d entries\n", words[0], entries)
			return nil
		})
}
