package agenda

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"passerelle/appliance/private"
)

// Store is the agenda on disk: the staff's events in agenda.json, and each imported calendar, with the events that could be
// interpreted, in calendars/NAME.ics. The calendar that a change replaced or removed is kept next to it, for one undo. Changes are
// atomic: after a power cut a calendar is the old one or the new one.
type Store struct {
	Dir string // STATE/voice
}

const (
	maxCalendars = 20
	maxName      = 40 // characters

	extension = ".ics"
	before    = ".before" // the suffix of a calendar's predecessor
)

// Calendar is an imported calendar.
type Calendar struct {
	Name     string
	Events   int
	Imported time.Time
	Undo     bool // it has a predecessor
}

// Report is the result of an import.
type Report struct {
	Calendar
	Warnings []Warning
	Replaced bool // there was a calendar of this name
	Same     bool // nothing is changed: the calendar already has these events
}

var calendarName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// NameOf derives a calendar's name from a file's; "" if that contains no letters a to z and no digits.
func NameOf(file string) string {
	base := filepath.Base(file)
	base = strings.TrimSuffix(base, filepath.Ext(base))
	words := strings.FieldsFunc(norm.NFD.String(strings.ToLower(base)), func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || unicode.Is(unicode.Mn, r))
	})
	name := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, strings.Join(words, "-"))
	return strings.Trim(name[:min(len(name), maxName)], "-")
}

func (s Store) calendars() string { return filepath.Join(s.Dir, "calendars") }

func (s Store) path(name string) string { return filepath.Join(s.calendars(), name+extension) }

// Events returns all events: the staff's, and those of the calendars. Of events with the same UID it returns the last revision. Events
// and files that cannot be read are left out, with an error for each.
func (s Store) Events() (all []*Event, problems []error) {
	own, err := ownFile(s.Dir).Read()
	if err != nil {
		problems = append(problems, err)
	}
	all, wrong := own.events()
	problems = append(problems, wrong...)
	names, err := s.names()
	if err != nil {
		problems = append(problems, err)
	}
	known := map[string]int{}
	for i, e := range all {
		known[e.UID] = i
	}
	for _, name := range names {
		events, err := s.read(name)
		if err != nil {
			problems = append(problems, err)
		}
		for _, e := range events {
			i, twice := known[e.UID]
			switch {
			case !twice:
				known[e.UID] = len(all)
				all = append(all, e)
			case newer(e.sequence, e.stamp, all[i].sequence, all[i].stamp):
				all[i] = e
			}
		}
	}
	return all, problems
}

// read reads a stored calendar.
func (s Store) read(name string) ([]*Event, error) {
	f, err := os.Open(s.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	events, _, err := Read(f) // the import has shown the warnings
	if err != nil {
		return nil, fmt.Errorf("calendar %s: %w: import it again, or remove it", name, err)
	}
	return events, nil
}

// names returns the calendars' names, sorted.
func (s Store) names() (all []string, err error) {
	entries, err := os.ReadDir(s.calendars())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), extension); ok && calendarName.MatchString(name) {
			all = append(all, name)
		}
	}
	return all, err
}

// Calendars lists the imported calendars. For each that cannot be read there is an error, too.
func (s Store) Calendars() (all []Calendar, problems []error) {
	names, err := s.names()
	if err != nil {
		problems = append(problems, err)
	}
	for _, name := range names {
		c, err := s.describe(name)
		if err != nil {
			problems = append(problems, err)
		}
		all = append(all, c)
	}
	return all, problems
}

func (s Store) describe(name string) (Calendar, error) {
	c := Calendar{Name: name}
	if info, err := os.Stat(s.path(name)); err == nil {
		c.Imported = info.ModTime()
	}
	_, err := os.Stat(s.path(name) + before)
	c.Undo = err == nil
	events, err := s.read(name)
	c.Events = len(events)
	return c, err
}

// Edition returns an identifier of the current content of the calendar of a name.
func (s Store) Edition(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	return private.Edition(s.path(name))
}

// Changes counts the differences of a calendar from the one that it replaces, in events. An event is identified by its UID.
type Changes struct {
	New, Gone, Changed int
	Replaces           bool   // there is a calendar of this name
	Edition            string // of that calendar
}

// Check reports what Import would do, and changes nothing.
func (s Store) Check(r io.Reader, name string) (report Report, c Changes, err error) {
	report, events, text, err := read(r, name)
	if err != nil {
		return report, c, err
	}
	if c.Edition, err = s.Edition(name); err != nil {
		return report, c, err
	}
	old, err := os.ReadFile(s.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return report, c, err
	}
	c.Replaces = err == nil
	report.Replaced, report.Same = c.Replaces, c.Replaces && bytes.Equal(old, text)
	known := make(map[string][]byte)
	if before, _, err := Read(bytes.NewReader(old)); err == nil {
		for _, e := range before {
			if known[e.UID], err = e.text(); err != nil {
				return report, c, err
			}
		}
	}
	for _, e := range events {
		was, found := known[e.UID]
		delete(known, e.UID)
		now, err := e.text()
		switch {
		case err != nil:
			return report, c, err
		case !found:
			c.New++
		case !bytes.Equal(was, now):
			c.Changed++
		}
	}
	c.Gone = len(known)
	return report, c, nil
}

// text returns the event as a calendar with that event only.
func (e *Event) text() ([]byte, error) {
	var b bytes.Buffer
	err := write(&b, []*Event{e}, nil, unknownTime)
	return b.Bytes(), err
}

// read reads a calendar from r, and returns its events and the text that would be stored under this name.
func read(r io.Reader, name string) (report Report, events []*Event, text []byte, err error) {
	report.Name = name
	if err := checkName(name); err != nil {
		return report, nil, nil, err
	}
	if events, report.Warnings, err = Read(r); err != nil {
		return report, nil, nil, err
	}
	report.Events = len(events)
	var b bytes.Buffer
	err = write(&b, events, nil, unknownTime)
	return report, events, b.Bytes(), err
}

// Import reads a calendar from r, and replaces the one with this name. After an error nothing is changed. The error is
// private.ErrReplaced if the calendar's edition is not the one that was seen; "" stands for any. The report has the warnings in either
// case.
func (s Store) Import(r io.Reader, name, seen string) (Report, error) {
	report, _, text, err := read(r, name)
	if err != nil {
		return report, err
	}
	unlock, err := s.lock()
	if err != nil {
		return report, err
	}
	defer unlock()
	path := s.path(name)
	if err := private.CheckEdition(path, seen); err != nil {
		return report, err
	}
	old, err := os.ReadFile(path)
	report.Replaced = err == nil
	switch {
	case err == nil && bytes.Equal(old, text):
		report.Same = true
		return report, nil
	case errors.Is(err, fs.ErrNotExist):
		var names []string
		if names, err = s.names(); err == nil && len(names) >= maxCalendars {
			err = fmt.Errorf("there are already %d calendars: remove one first", len(names))
		}
	}
	if err == nil {
		err = private.ReplaceFile(path, path+before, text, 0o600)
	}
	if err != nil {
		return report, err
	}
	report.Calendar, err = s.describe(name)
	return report, err
}

// unknownTime is the DTSTAMP in stored calendars of an event whose time of change is unknown.
var unknownTime = time.Unix(0, 0)

// Removed returns the names of calendars that were removed, and that Undo can restore.
func (s Store) Removed() (names []string, err error) {
	entries, err := os.ReadDir(s.calendars())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), extension+before)
		if !ok || checkName(name) != nil {
			continue
		}
		if _, err := os.Lstat(s.path(name)); errors.Is(err, fs.ErrNotExist) {
			names = append(names, name)
		}
	}
	return names, err
}

// Remove removes a calendar. The error is fs.ErrNotExist if there is none of this name, and private.ErrReplaced as for Import.
func (s Store) Remove(name, seen string) error {
	if err := checkName(name); err != nil {
		return err
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	path := s.path(name)
	if err := private.CheckEdition(path, seen); err != nil {
		return err
	}
	if err := os.Rename(path, path+before); err != nil {
		return err
	}
	return private.SyncFolder(s.calendars())
}

// ErrNothingToUndo is the error for a calendar without a predecessor.
var ErrNothingToUndo = errors.New("there is no earlier calendar to go back to")

// Undo restores a calendar's predecessor; a second Undo reverses the first. An empty name stands for the only calendar with a
// predecessor. The error is ErrNothingToUndo if there is none, and private.ErrReplaced as for Import.
func (s Store) Undo(name, seen string) (Calendar, error) {
	if name == "" {
		kept, err := filepath.Glob(filepath.Join(s.calendars(), "*"+extension+before))
		if err != nil {
			return Calendar{}, err
		}
		var names []string
		for _, path := range kept {
			names = append(names, strings.TrimSuffix(filepath.Base(path), extension+before))
		}
		switch len(names) {
		case 0:
			return Calendar{}, ErrNothingToUndo
		case 1:
			name = names[0]
		default:
			return Calendar{}, fmt.Errorf("several calendars have an earlier one; name one of %s", strings.Join(names, ", "))
		}
	}
	if err := checkName(name); err != nil {
		return Calendar{}, err
	}
	unlock, err := s.lock()
	if err != nil {
		return Calendar{}, err
	}
	defer unlock()
	// The calendar is complete at any moment. A power cut can only lose the predecessor.
	path := s.path(name)
	if err := private.CheckEdition(path, seen); err != nil {
		return Calendar{}, err
	}
	there, now := filepath.Join(s.calendars(), "."+name), filepath.Join(s.calendars(), ".."+name)
	err = os.Link(path+before, there)
	if errors.Is(err, fs.ErrNotExist) {
		return Calendar{}, ErrNothingToUndo
	}
	if err != nil {
		return Calendar{}, err
	}
	removed := false
	if err = os.Link(path, now); errors.Is(err, fs.ErrNotExist) {
		removed, err = true, nil
	}
	if err == nil {
		err = os.Rename(there, path)
	}
	if err == nil && removed {
		err = os.Remove(path + before)
	} else if err == nil {
		err = os.Rename(now, path+before)
	}
	if err == nil {
		err = private.SyncFolder(s.calendars())
	}
	if err != nil {
		return Calendar{}, err
	}
	return s.describe(name)
}

// Own returns the staff's events.
func (s Store) Own() (Own, error) { return ownFile(s.Dir).Read() }

// Change changes the staff's events. A damaged file is set aside; the error is then a *records.UnreadableError.
func (s Store) Change(change func(*Own) error) error {
	_, err := ownFile(s.Dir).Update(change)
	return err
}

// lock creates the folder of calendars, locks it against other changes, and removes temporary files that a killed change left.
func (s Store) lock() (unlock func(), err error) {
	return private.ClaimForImport(s.calendars(), "lock", ".*")
}

func checkName(name string) error {
	if !calendarName.MatchString(name) || len(name) > maxName || !slices.ContainsFunc([]rune(name), unicode.IsLetter) {
		return fmt.Errorf("%.60q cannot be a calendar's name: lower-case letters, digits and single -, %d at most, and a letter among them",
			name, maxName)
	}
	return nil
}
