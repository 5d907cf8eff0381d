package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"passerelle/appliance/backup"
	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/daemon"
	"passerelle/appliance/state"
)

// backupFlags are the flags of the commands about backups.
type backupFlags struct {
	config, state, passphrase string
	box                       control.Client
}

func (b *backupFlags) declare(f *flag.FlagSet) {
	f.StringVar(&b.config, "config", defaultConfig, "the configuration `FILE`, of a box that does not run")
	socketFlag(f, &b.box)
	f.StringVar(&b.passphrase, "passphrase-file", "", "a `FILE` whose first line is the passphrase")
}

// readPassphrase returns the passphrase, "" if no passphrase file is given.
func (b *backupFlags) readPassphrase() (string, error) {
	if b.passphrase == "" {
		return "", nil
	}
	f, err := os.Open(b.passphrase)
	if err != nil {
		return "", usageError{err}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, backup.MaxPassphrase+3))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", usageError{fmt.Errorf("%s has no passphrase in its first line", b.passphrase)}
	}
	return line, nil
}

// stopped returns the backups of a box that is not running.
func (b *backupFlags) stopped(c *cli) (*daemon.Backups, error) {
	return daemon.StoppedBackups(daemon.Options{
		Config: b.config, State: b.state, Socket: b.box.Socket, Release: release(), Log: slog.New(slog.NewTextHandler(c.err, nil)),
	})
}

// blame returns an error of a box that is not running in the form that the socket's client has for a running one.
func blame(err error) error {
	if err != nil && daemon.RefusedBackup(err) {
		return usageError{err}
	}
	return err
}

func backupCommand(ctx context.Context, c *cli, args []string) error {
	var b backupFlags
	words, err := c.flags("backup", args, 1, func(f *flag.FlagSet) {
		b.declare(f)
		f.StringVar(&b.state, "state", defaultState, "the daemon's state `DIR`, of a box that does not run") // root can write to any stick
	})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{errors.New("passerelle backup: name the file to write")}
	}
	passphrase, err := b.readPassphrase()
	if err != nil {
		return err
	}
	if passphrase != "" {
		if err := backup.CheckPassphrase(passphrase); err != nil {
			return usageError{err}
		}
	}
	path := words[0]
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return usageError{fmt.Errorf("%s is a folder: name a file in it", path)}
	}
	// The file is complete, or the previous one stays, even on a stick that is pulled out.
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return fmt.Errorf("nothing is written: %w", err)
	}
	defer file.Cleanup()
	err = b.box.WriteBackup(ctx, file, passphrase)
	if errors.Is(err, control.ErrNotRunning) {
		var stopped *daemon.Backups
		if stopped, err = b.stopped(c); err == nil {
			err = blame(stopped.Write(file, passphrase))
		}
	}
	if err == nil {
		err = file.CloseAtomicallyReplace()
	}
	if err != nil {
		return fmt.Errorf("nothing is written: %w", err)
	}
	left, err := leftOut(path, passphrase)
	if err != nil {
		return fmt.Errorf("%s cannot be read again: %w", path, err)
	}
	fmt.Fprintf(c.out, "%s is written", path)
	if passphrase != "" {
		fmt.Fprintln(c.out, ", sealed with the passphrase. Nobody can open it without that.")
		return nil
	}
	fmt.Fprintln(c.out, ".")
	if len(left) > 0 {
		fmt.Fprintf(c.out, "It has no secrets, since it has no passphrase (--passphrase-file). These are left out:\n  %s\n", strings.Join(left, "\n  "))
	}
	return nil
}

// leftOut reads a backup that was just written, and returns the secrets that it does not contain.
func leftOut(path, passphrase string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := backup.Unpack(f, passphrase, "")
	return m.LeftOut, err
}

// statedUse is the flag for what donations have used: NAME=SIZE, repeated as needed.
type statedUse map[string]uint64

func (s statedUse) String() string { return "" }

func (s statedUse) Set(value string) error {
	i := strings.LastIndexByte(value, '=')
	if i <= 0 {
		return errors.New("write it as NAME=SIZE, such as \"Fibre du centre=12GB\"")
	}
	size, err := config.ParseSize(strings.TrimSpace(value[i+1:]))
	if err != nil {
		return err
	}
	s[value[:i]] = uint64(size)
	return nil
}

func restoreCommand(ctx context.Context, c *cli, args []string) error {
	var b backupFlags
	var undo, yes bool
	used := statedUse{}
	words, err := c.flags("restore", args, 1, func(f *flag.FlagSet) {
		b.declare(f)
		changedStateFlag(f, &b.state)
		f.BoolVar(&undo, "undo", false, "bring back the state before the last backup that was restored")
		f.BoolVar(&yes, "yes", false, "do not ask")
		f.Var(used, "used", "what a donation has used in the running period, its provider's figure: `NAME=SIZE`; without a file, of an earlier restore")
	})
	if err != nil {
		return err
	}
	passphrase, err := b.readPassphrase()
	if err != nil {
		return err
	}
	switch {
	case undo && len(words) > 0:
		return usageError{errors.New("passerelle restore: --undo needs no file")}
	case len(words) == 0 && !undo && len(used) > 0:
		for name, bytes := range used {
			if err := b.box.StateUse(ctx, name, bytes); err != nil {
				return err
			}
			fmt.Fprintf(c.out, "%s: %v are used of this period, or more if more was counted.\n", name, config.Size(bytes))
		}
		return nil
	case len(words) == 0 && !undo:
		return usageError{errors.New("passerelle restore: name the file of a backup")}
	}
	var file io.Reader = bytes.NewReader(nil)
	if !undo {
		f, err := os.Open(words[0])
		if errors.Is(err, fs.ErrNotExist) {
			return usageError{err}
		}
		if err != nil {
			return err
		}
		defer f.Close()
		file = f
	}
	check := func() (state.Restore, error) { return b.box.CheckBackup(ctx, file, passphrase) }
	if undo {
		check = func() (state.Restore, error) { return b.box.CheckUndo(ctx) }
	}
	restore := func(id string) error {
		r, err := b.box.RestoreBackup(ctx, id, used)
		if err == nil && r.Error != "" {
			err = errors.New(r.Error)
		}
		return err
	}
	_, err = b.box.StatusJSON(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		stopped, stoppedErr := b.stopped(c)
		if stoppedErr != nil {
			return stoppedErr
		}
		defer stopped.Drop()
		check = func() (state.Restore, error) {
			says, err := stopped.Check(file, passphrase)
			return says, blame(err)
		}
		if undo {
			check = func() (state.Restore, error) {
				says, err := stopped.CheckUndo()
				return says, blame(err)
			}
		}
		restore = func(id string) error { return blame(stopped.Restore(id, used)) }
	} else if err != nil {
		return err
	}
	says, err := check()
	if err != nil {
		return fmt.Errorf("nothing is changed: %w", err)
	}
	describeRestore(c.out, says, used)
	if !yes && !c.confirm("Restore it?") {
		return usageError{errors.New("nothing is changed; --yes does not ask")}
	}
	if err := restore(says.ID); err != nil {
		return err
	}
	if undo {
		fmt.Fprintln(c.out, "The state before is back.")
		return nil
	}
	fmt.Fprint(c.out, "The backup is restored.")
	if !says.First {
		fmt.Fprint(c.out, " To undo that: passerelle restore --undo")
	}
	fmt.Fprintln(c.out)
	return nil
}

// describeRestore says what restoring a backup changes.
func describeRestore(w io.Writer, says state.Restore, used statedUse) {
	if says.Undo {
		fmt.Fprintf(w, "The state of %s, before the last backup was restored:\n", says.Made.Format("2 Jan 2006 15:04"))
	} else {
		fmt.Fprintf(w, "A backup of %q of %s, made by release %s:\n", says.Centre, says.Made.Format("2 Jan 2006 15:04"), says.Release)
	}
	switch {
	case says.First:
		fmt.Fprintln(w, "  This box has no configuration; it gets that of the backup.")
	case len(says.Settings) == 0:
		fmt.Fprintln(w, "  The configuration stays as it is.")
	}
	for _, s := range says.Settings {
		key := s.Key
		if s.Donation != "" {
			key = fmt.Sprintf("%q %s", s.Donation, s.Key)
		}
		switch {
		case s.Before == "":
			fmt.Fprintf(w, "  %s: %s\n", key, s.After)
		case s.After == "":
			fmt.Fprintf(w, "  %s: no longer %s\n", key, s.Before)
		default:
			fmt.Fprintf(w, "  %s: %s, and not %s\n", key, s.After, s.Before)
		}
	}
	for _, name := range says.NewSecrets {
		fmt.Fprintf(w, "  %s is not in the backup: the box makes up another one; set it, or print the poster again\n", name)
	}
	for _, a := range says.Accounts {
		fmt.Fprintf(w, "  %q has used %v in the backup, %v here; %v count", a.Donation, config.Size(a.Saved), config.Size(a.Here), config.Size(max(a.Used, used[a.Donation])))
		if _, stated := used[a.Donation]; a.Unknown && !stated {
			fmt.Fprintf(w, "\n      Nobody knows what was used since: its cap counts as spent until its period ends, or until you state it:\n"+
				"      --used %q", a.Donation+"=SIZE")
		}
		fmt.Fprintln(w)
	}
	for _, change := range []state.FileChange{state.FileNew, state.FileChanged, state.FileGone} {
		var names []string
		for _, f := range says.Files {
			if f.Change == change {
				names = append(names, strings.TrimSpace(f.Kind+" "+f.Name))
			}
		}
		if len(names) > 0 {
			fmt.Fprintf(w, "  %s: %s\n", change, strings.Join(names, ", "))
		}
	}
	for _, why := range says.Unusable {
		fmt.Fprintf(w, "  cannot be used, and stays as it is on this box: %s\n", why)
	}
	if len(says.Kept) > 0 {
		fmt.Fprintf(w, "  stay as they are on this box: %s\n", strings.Join(says.Kept, ", "))
	}
	if len(says.Packs) > 0 {
		fmt.Fprintf(w, "  These packs are to be imported again: %s\n", strings.Join(says.Packs, ", "))
	}
}
