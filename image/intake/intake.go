// Package intake takes a configuration file that somebody put on the card's FAT partition, which every PC can write. It owns the
// names of the files there, how a file is read, the answers that are written next to it, and the order of the steps. It must not
// know how the configuration is put in place, nor what a daemon does with it.
//
// A file is taken at boot, before the daemon starts. It is read, checked as `passerelle check` does, and put in place. Then it is
// overwritten and removed, whether it was accepted or refused: it may contain passwords, and any PC can read this partition,
// including files that were only removed. If a file is refused, a copy without the passwords and the errors by line stay there, so
// that it can be corrected and written again.
//
// # Power cuts
//
// The steps are: put the configuration in place; write a note to the state folder with the file's revision and the answers; remove
// the file; write the answers; remove the note. Each step is on the disk before the next one begins. After a power cut before the
// note, the first step is repeated, which then changes nothing. After a power cut later, the steps after the note are repeated. The
// note identifies the file. So a file that cannot be removed, from a damaged partition for instance, is never put in place a second
// time, which would overwrite later changes by technicians.
package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"passerelle/appliance/config"
	"passerelle/appliance/private"
)

// Names of the files on the FAT partition.
const (
	FileName     = "passerelle.toml"         // the file to take, in upper or lower case
	hiddenName   = FileName + ".txt"         // the same: Windows may add an extension and hide it
	acceptedName = "accepted.txt"            // the answer for an accepted file
	refusedName  = "refused.txt"             // the answer for a refused file, with the errors by line
	maskedName   = "passerelle-refused.toml" // the refused file, without passwords
	codeName     = "code.txt"                // the setup code
	takenName    = "passerelle-taken.tmp"    // a file that was taken, while its content is overwritten
)

// Intake takes the files of a partition. All its fields are required.
type Intake struct {
	FAT      string                                   // the folder where the partition is mounted
	Note     string                                   // the file of the note, in the state folder
	Writable func() (restore func() error, err error) // makes the partition writable for a while
	Put      func(text []byte) error                  // puts a valid configuration in place; it is idempotent
	Misfits  func(*config.Config) []string            // the settings that do not fit the machine
	Log      *slog.Logger

	step func(done string) error // called after each step, by tests
}

// note is the content of the note, as JSON.
type note struct {
	Of      config.Revision   `json:"of"`      // revision of the file's bytes
	Answers map[string]string `json:"answers"` // texts by file name; answer files that are not in it are removed
}

// Take takes the file, if there is one. An error leaves either everything as it was, or a note from which the next boot continues.
func (i Intake) Take() error {
	pending, err := i.read()
	if err != nil {
		return err
	}
	files, err := find(i.FAT)
	if err != nil {
		return fmt.Errorf("look for a configuration: %w", err)
	}
	if len(files) > 0 {
		raw, err := readFile(files[0])
		if err != nil {
			return fmt.Errorf("read a dropped configuration: %w", err)
		}
		if of := config.RevisionOf(raw); pending == nil || pending.Of != of {
			answers, err := i.decide(raw)
			if err != nil {
				return err
			}
			pending = &note{of, answers}
			if err := i.write(*pending); err != nil {
				return err
			}
		}
	}
	if pending == nil {
		return nil
	}
	if err := i.done("note"); err != nil {
		return err
	}
	if err := i.change(func() error { return i.finish(files, pending.Answers) }); err != nil {
		return fmt.Errorf("answer a dropped configuration: %w", err)
	}
	return i.forget()
}

func (i Intake) done(step string) error {
	if i.step == nil {
		return nil
	}
	return i.step(step)
}

// decide accepts or refuses a file, and returns the answers. An error is a failure of the box: then nothing was decided.
func (i Intake) decide(raw []byte) (map[string]string, error) {
	text, wrong := decode(raw)
	var masks config.Masks
	masked := masks.Mask(text)
	var conf *config.Config
	if wrong == "" {
		if _, err := new(config.Masks).Unmask(FileName, text); err != nil { // a refused file that still has masked passwords
			wrong = err.Error()
		} else if conf, err = config.Parse(FileName, text); err != nil {
			wrong = err.Error()
		}
	}
	if wrong != "" {
		i.Log.Warn("a dropped configuration is refused", "problems", strings.Count(wrong, "\n")+1)
		answers := map[string]string{refusedName: say(refusedWords, string(masks.Mask([]byte(wrong))))}
		if text != nil {
			answers[maskedName] = string(masked)
		}
		return answers, nil
	}
	if err := i.Put(text); err != nil {
		return nil, fmt.Errorf("put a dropped configuration in place: %w", err)
	}
	if err := i.done("put"); err != nil {
		return nil, err
	}
	i.Log.Info("a dropped configuration is accepted")
	if misfits := strings.Join(i.Misfits(conf), "\n"); misfits != "" {
		return map[string]string{acceptedName: say(misfitWords, string(masks.Mask([]byte(misfits))))}, nil
	}
	return map[string]string{acceptedName: say(acceptedWords, "")}, nil
}

// finish removes the files, and then writes the answers: in this order, because the partition may be full.
func (i Intake) finish(files []string, answers map[string]string) error {
	taken := filepath.Join(i.FAT, takenName)
	if err := i.overwrite(taken); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // the file is left from a power cut
	}
	for _, path := range files {
		// It is renamed first, so that a partly overwritten file is not taken as a configuration.
		err := os.Rename(path, taken)
		if err == nil {
			err = private.SyncFileSystem(i.FAT)
		}
		if err == nil {
			err = i.done("rename")
		}
		if err == nil {
			err = i.overwrite(taken)
		}
		if err != nil {
			return err
		}
	}
	if err := private.SyncFileSystem(i.FAT); err != nil {
		return err
	}
	if err := i.done("remove"); err != nil {
		return err
	}
	for _, name := range []string{acceptedName, refusedName, maskedName} {
		text, wanted := answers[name]
		if err := set(filepath.Join(i.FAT, name), text, wanted); err != nil {
			return err
		}
		if err := i.done(name); err != nil {
			return err
		}
	}
	return nil
}

// overwrite overwrites a file with zeros, and removes it.
func (i Intake) overwrite(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		_, err = io.CopyN(f, zeros{}, info.Size())
	}
	if err := errors.Join(err, f.Sync(), f.Close(), i.done("overwrite")); err != nil {
		return err
	}
	return os.Remove(path)
}

// zeros is an endless reader of zeros.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// SetCode writes the setup code and the address of its page to a file. If the code is "", which means that it was used, SetCode
// removes the file.
func (i Intake) SetCode(code, page string) error {
	path, text := filepath.Join(i.FAT, codeName), ""
	if code != "" {
		text = say(codeWords, page+"\n"+code)
	}
	now, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && code == "", err == nil && string(now) == text:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the setup code on the card: %w", err)
	}
	if err := i.change(func() error { return set(path, text, code != "") }); err != nil {
		return fmt.Errorf("the setup code on the card: %w", err)
	}
	return nil
}

// change makes a change on the partition, and returns once the change is on the disk. The partition is writable only meanwhile.
func (i Intake) change(what func() error) error {
	restore, err := i.Writable()
	if err != nil {
		return err
	}
	err = what()
	if err == nil {
		err = private.SyncFileSystem(i.FAT)
	}
	return errors.Join(err, restore())
}

// set writes a file, or removes it if it is not wanted. FAT cannot replace a file atomically; after a torn write, the note causes
// the write to be repeated.
func set(path, text string, wanted bool) error {
	if !wanted {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return errors.Join(err, os.Remove(path)) // a part of an answer would be misleading
	}
	return nil
}

// find returns the files to take. Only the first counts. It ignores case, because FAT keeps the case that somebody typed.
func find(folder string) (files []string, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{FileName, hiddenName} {
		for _, e := range entries {
			if strings.EqualFold(e.Name(), name) && e.Type().IsRegular() {
				files = append(files, filepath.Join(folder, e.Name()))
			}
		}
	}
	return files, nil
}

// readFile reads a file, but at most one byte more than a configuration may have.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, config.MaxFile+1))
}

// read returns the note, nil if there is none or it is damaged: then the file is decided again.
func (i Intake) read() (*note, error) {
	text, err := os.ReadFile(i.Note)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the note of a dropped configuration: %w", err)
	}
	var n note
	if err := json.Unmarshal(text, &n); err != nil {
		i.Log.Warn("the note of a dropped configuration is damaged", "error", err)
		return nil, nil
	}
	return &n, nil
}

func (i Intake) write(n note) error {
	text, err := json.Marshal(n)
	folder := filepath.Dir(i.Note)
	if err == nil {
		err = private.Folder(folder, 0o700)
	}
	if err == nil {
		err = private.WriteFile(i.Note, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("note a dropped configuration: %w", err)
	}
	return nil
}

func (i Intake) forget() error {
	if err := os.Remove(i.Note); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the note of a dropped configuration: %w", err)
	}
	return private.SyncFolder(filepath.Dir(i.Note))
}

// say returns an answer's text: words, with about in place of each "{}", indented. Its lines end in CR LF, as Windows expects.
func say(words, about string) string {
	text := strings.ReplaceAll(strings.TrimPrefix(words, "\n"), "{}", strings.ReplaceAll(about, "\n", "\n  "))
	return strings.ReplaceAll(text, "\n", "\r\n")
}
