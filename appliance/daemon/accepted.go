package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"passerelle/appliance/config"
	"passerelle/appliance/private"
)

// acceptedFolder is the folder of accepted configurations in the state folder: the last one of this release, and the last one
// of the release before it, which after a rollback could not read its successor's.
const (
	acceptedFolder = "accepted"
	acceptedLast   = "last.toml"
	acceptedBefore = "before.toml"
)

// acceptedHeader is the header of an accepted configuration: it names the release.
func (d *Daemon) acceptedHeader() []byte {
	return fmt.Appendf(nil, "# Passerelle %s accepted this configuration. It is a fallback for the configuration file:\n"+
		"# change that file instead.\n\n", d.release)
}

// refusal is the error of a technician's configuration that the box does not use. It says why, and what the box uses instead.
type refusal struct {
	file     string
	cause    error
	fallback string
	using    *config.Config
}

// whileUsing returns the refusal as an error if the box still uses the fallback, nil once it uses another configuration.
func (r *refusal) whileUsing(used *config.Config) error {
	if r == nil || r.using != used {
		return nil
	}
	return r
}

func (r *refusal) Unwrap() error { return r.cause }

// Error returns one line of text, with the first of several problems.
func (r *refusal) Error() string {
	var problems config.Problems
	switch {
	case errors.Is(r.cause, fs.ErrNotExist):
		return fmt.Sprintf("the configuration %s is missing; %s", r.file, r.fallback)
	case !errors.As(r.cause, &problems):
		return fmt.Sprintf("the configuration %s cannot be read: %v; %s", r.file, r.cause, r.fallback)
	}
	more := ""
	switch n := len(problems) - 1; {
	case n == 1:
		more = " (and 1 more problem: passerelle check)"
	case n > 1:
		more = fmt.Sprintf(" (and %d more problems: passerelle check)", n)
	}
	return fmt.Sprintf("the configuration %s is refused: %v%s; %s", r.file, problems[0], more, r.fallback)
}

// loadConfig chooses the configuration to start with. If the technician's is refused, it chooses the accepted one. If that is
// refused too, the box starts in State setup with the name and hotspot of one of them, so that pages can show the problem. If
// no configuration was accepted yet, the error is that of the technician's.
func (d *Daemon) loadConfig(setup bool) error {
	conf, err := config.File{Path: d.paths.config}.Load()
	if err == nil {
		d.config, d.configured = conf, true
		return nil
	}
	err = InputError{err}
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
		conf, loadErr := config.File{Path: path}.Load()
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
		text, _, readErr := config.File{Path: path}.Read()
		if readErr != nil {
			continue
		}
		if conf, readErr = config.Basics(path, text); readErr == nil {
			d.config = conf
			d.refused = &refusal{d.paths.config, err, "no accepted configuration can be read, so nothing is shared", conf}
			return nil
		}
	}
	return err
}

// accept stores an accepted configuration, unless it is stored already. A slot on trial stores none: its configuration may have
// words that the release before does not know. migrate calls accept again once the slot is proven.
func (d *Daemon) accept(c *config.Config) error {
	if !d.card.proven() {
		return nil
	}
	folder := filepath.Join(d.state, acceptedFolder)
	last, head := filepath.Join(folder, acceptedLast), d.acceptedHeader()
	text := slices.Concat(head, config.Format(c))
	write := private.WriteFile
	kept, err := os.ReadFile(last)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err = os.MkdirAll(folder, 0o700); err == nil {
			err = private.SyncFolder(d.state)
		}
	case err != nil:
	case bytes.Equal(kept, text):
		return nil
	case !bytes.HasPrefix(kept, head):
		write = func(path string, text []byte, mode os.FileMode) error {
			return private.ReplaceFile(path, filepath.Join(folder, acceptedBefore), text, mode)
		}
	}
	if err == nil {
		err = write(last, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("store accepted configuration: %w", err)
	}
	return nil
}
