package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"passerelle/appliance/config"
)

// acceptedFolder is where the state folder has the configurations that the box last worked with: the one that this release
// took up last, and the last one of the release before it. When that one comes back, it cannot read what was written for
// its successor.
const (
	acceptedFolder = "accepted"
	acceptedLast   = "last.toml"
	acceptedBefore = "before.toml"
)

// acceptedHead begins an accepted configuration: it names the release.
func acceptedHead() []byte {
	return fmt.Appendf(nil, "# Passerelle %s worked with this configuration. It is used when the configuration itself cannot be:\n"+
		"# change that one.\n\n", release())
}

// refusal says why the box does not use the configuration that a technician wrote, and what it does instead.
type refusal struct {
	file    string
	cause   error
	instead string
	uses    *config.Config
}

// whileUsing returns the refusal as an error if the box still uses that configuration instead, nil once it has taken up
// another.
func (r *refusal) whileUsing(used *config.Config) error {
	if r == nil || r.uses != used {
		return nil
	}
	return r
}

func (r *refusal) Unwrap() error { return r.cause }

// Error is one line, with the first of several problems.
func (r *refusal) Error() string {
	var problems config.Problems
	switch {
	case errors.Is(r.cause, fs.ErrNotExist):
		return fmt.Sprintf("the configuration %s is missing; %s", r.file, r.instead)
	case !errors.As(r.cause, &problems):
		return fmt.Sprintf("the configuration %s cannot be read: %v; %s", r.file, r.cause, r.instead)
	}
	more := ""
	if n := len(problems) - 1; n > 0 {
		more = fmt.Sprintf(" (and %s: passerelle check)", plural(n, "more problem"))
	}
	return fmt.Sprintf("the configuration %s is refused: %v%s; %s", r.file, problems[0], more, r.instead)
}

// begin chooses the configuration to begin with. Where the technician's is refused, that is the accepted one; where that is
// refused, too, the box begins in State setup with the name and the hotspot that one of them says, so that there are pages to
// say so. The error is what is wrong with the technician's where nothing was accepted yet.
func (d *daemon) begin(setup bool) error {
	conf, err := load(d.paths.config)
	if err == nil {
		d.config, d.configured = conf, true
		return nil
	}
	if setup && errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("no technician has configured this box: passerelle init writes a configuration to start from", "missing", d.paths.config)
		d.config = config.Factory()
		return nil
	}
	var accepted []string
	for _, name := range []string{acceptedLast, acceptedBefore} {
		path := filepath.Join(d.state, acceptedFolder, name)
		info, statErr := os.Stat(path)
		if statErr != nil {
			continue
		}
		accepted = append(accepted, path)
		conf, loadErr := config.Load(path)
		if loadErr != nil {
			d.log.Warn("an accepted configuration is refused", "error", loadErr)
			continue
		}
		when := info.ModTime().In(conf.Box.Timezone).Format("2 Jan 2006 15:04")
		d.config, d.configured = conf, true
		d.refused = &refusal{d.paths.config, err, "the box uses the one accepted on " + when, conf}
		return nil
	}
	if len(accepted) == 0 {
		return err
	}
	for _, path := range append([]string{d.paths.config}, accepted...) {
		text, readErr := config.Read(path)
		if readErr != nil {
			continue
		}
		if conf, readErr = config.Basics(path, text); readErr == nil {
			d.config = conf
			d.refused = &refusal{d.paths.config, err, "none that was accepted before can be read, so nothing is shared", conf}
			return nil
		}
	}
	return err
}

// accept keeps a configuration that the box works with, unless it is kept already.
func (d *daemon) accept(c *config.Config) error {
	folder := filepath.Join(d.state, acceptedFolder)
	last, head := filepath.Join(folder, acceptedLast), acceptedHead()
	text := slices.Concat(head, config.Format(c))
	kept, err := os.ReadFile(last)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = os.MkdirAll(folder, 0o700)
	case err != nil:
	case bytes.Equal(kept, text):
		return nil
	case !bytes.HasPrefix(kept, head):
		err = os.Rename(last, filepath.Join(folder, acceptedBefore))
	}
	if err == nil {
		err = renameio.WriteFile(last, text, 0o600, renameio.WithTempDir(folder), renameio.WithStaticPermissions(0o600))
	}
	if err == nil {
		err = errors.Join(syncFolder(folder), syncFolder(d.state))
	}
	if err != nil {
		return fmt.Errorf("keep the configuration that was accepted: %w", err)
	}
	return nil
}

// syncFolder returns once the disk has a folder's names.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
