package report

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"passerelle/appliance/private"
)

// KeepDays is how many days are kept that the hub has not shown. Beyond that the oldest are dropped.
const KeepDays = 60

// Days holds the reports that the hub has not shown yet, one small file each. The folder is created with the first report. Files are
// replaced atomically. The methods are not safe for concurrent use.
type Days struct{ Dir string }

const suffix = ".json"

func (d Days) path(day Day) string { return filepath.Join(d.Dir, string(day)+suffix) }

// Keep saves a report, in place of an earlier one of the same day.
func (d Days) Keep(r Report) error {
	text, err := r.Encode()
	if err != nil {
		return err
	}
	if !r.Day.Valid() {
		return fmt.Errorf("keep a report: %q is no day", r.Day)
	}
	if before, err := os.ReadFile(d.path(r.Day)); err == nil && bytes.Equal(before, text) {
		return nil
	}
	if err := private.Folder(d.Dir, 0o700); err != nil {
		return fmt.Errorf("keep a report: %w", err)
	}
	err = private.WriteFile(d.path(r.Day), text, 0o600)
	if err != nil {
		return fmt.Errorf("keep a report: %w", err)
	}
	days, err := d.List()
	for i, day := range days { // also remove one of another year with the same name at the hub
		if i < len(days)-KeepDays || day != r.Day && day.Report() == r.Day.Report() {
			err = errors.Join(err, os.Remove(d.path(day)))
		}
	}
	return errors.Join(err, private.SyncFolder(d.Dir))
}

// List returns the days whose reports are kept, oldest first.
func (d Days) List() (days []Day, err error) {
	entries, err := os.ReadDir(d.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && Day(name).Valid() && e.Type().IsRegular() {
			days = append(days, Day(name))
		}
	}
	slices.Sort(days)
	return days, err
}

// Text returns the text of a day's report. A damaged one is removed, and the error says so: no copy exists.
func (d Days) Text(day Day) ([]byte, error) {
	if !day.Valid() {
		return nil, fmt.Errorf("%q is no day", day)
	}
	text, err := os.ReadFile(d.path(day))
	if err != nil {
		return nil, err
	}
	if _, err := Parse(text); err != nil {
		return nil, errors.Join(fmt.Errorf("the report of %s is damaged: %w", day, err), os.Remove(d.path(day)))
	}
	return text, nil
}

// Shown removes the report of a day if the hub shows the same bytes, and tells whether it did. If the hub shows an older text of that
// day, the report stays and the newer text is sent again.
func (d Days) Shown(day Day, text []byte) (bool, error) {
	ours, err := d.Text(day)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil || !bytes.Equal(ours, text):
		return false, err
	}
	if err := os.Remove(d.path(day)); err != nil {
		return false, err
	}
	return true, private.SyncFolder(d.Dir)
}
