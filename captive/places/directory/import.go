package directory

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/private"
	"passerelle/captive/search"
)

// Names of files in the folder of the lists.
const (
	listEnding     = ".list"
	previousEnding = ".previous" // the list that the last import replaced
	stagePattern   = ".import-*" // what an import writes
	lockFile       = ".lock"
)

// Bounds on lists.
const (
	maxNameLength = 40
	maxPlaces     = 60_000 // of all lists together: each place takes some 100 bytes of memory
	fewer         = 0.8    // a list with less than this part of the places of the list it replaces is refused
)

// ErrFewer says that a file has far fewer places than the list that it would replace.
var ErrFewer = errors.New("far fewer places than before")

// Importer imports lists into a folder.
type Importer struct {
	Dir      string // "places" in the state folder; created if missing
	Now      func() time.Time
	Progress func(done, all int64) // bytes; all is 0 if unknown; called often; nil for none
	Yes      bool                  // replace a list even if the file has far fewer places
	Edition  string                // of the list that may be replaced: see [Edition]; "" for any
}

// Report says what an import did, or would do.
type Report struct {
	List
	Replaced int     // the number of places in the list that it replaces; -1 if there is none
	Located  int     // the number of places with a position
	Fewer    bool    // it has far fewer places than the list that it replaces
	Changes  Changes // set by Check
	Edition  string  // of the list that Check compared with
}

// Changes counts the differences of a list from the one that it replaces, in places. A place is identified by its ID.
type Changes struct{ New, Gone, Changed int }

// Import imports a CSV file, and replaces the list of that name. Everything is checked first: if the file is refused or the import is
// killed, the old list stays in use. An empty name stands for the one derived from the file's: see [NameOf].
func (i Importer) Import(ctx context.Context, path, name string) (Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Report{}, err
	}
	if !info.Mode().IsRegular() {
		return Report{}, fmt.Errorf("%s is not a file", path)
	}
	return i.Read(ctx, f, info.Size(), filepath.Base(path), name)
}

// Check reports what Import would do. It changes nothing. Far fewer places are only reported, not an error.
func (i Importer) Check(ctx context.Context, path, name string) (Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	return i.stage(ctx, f, -1, filepath.Base(path), name, func(report *Report, stage string) (err error) {
		place := filepath.Join(i.Dir, report.Name+listEnding)
		if report.Edition, err = private.Edition(place); err != nil {
			return err
		}
		report.Changes, err = compare(place, stage)
		return err
	})
}

// compare returns how the list in the file after differs from that in the file before, which may be missing or broken.
func compare(before, after string) (c Changes, err error) {
	type record struct {
		list *list
		row  int
	}
	known := make(map[uint64]record)
	if old, err := openList(before, ""); err == nil {
		defer old.file.Close()
		for i := range old.rows {
			if r := &old.rows[i]; r.kept() {
				known[r.id] = record{old, i}
			}
		}
	}
	c.Gone = len(known)
	list, err := openList(after, "")
	if err != nil {
		return Changes{}, err
	}
	defer list.file.Close()
	for i := range list.rows {
		r := &list.rows[i]
		if !r.kept() {
			continue
		}
		was, found := known[r.id]
		if !found {
			c.New++
			continue
		}
		c.Gone--
		old, oldErr := was.list.record(was.row)
		now, err := list.record(i)
		if err := errors.Join(oldErr, err); err != nil {
			return Changes{}, err
		}
		if !bytes.Equal(old, now) {
			c.Changed++
		}
	}
	return c, nil
}

// Read is Import from a stream of size bytes (negative if unknown). from is the name of the file or the address that it comes from.
func (i Importer) Read(ctx context.Context, r io.Reader, size int64, from, name string) (Report, error) {
	return i.stage(ctx, r, size, from, name, func(report *Report, stage string) error {
		if report.Fewer && !i.Yes {
			return fmt.Errorf("%s has %d places, the list %s has %d: %w", from, report.Places, report.Name, report.Replaced, ErrFewer)
		}
		if err := private.CheckEdition(filepath.Join(i.Dir, report.Name+listEnding), i.Edition); err != nil {
			return err
		}
		if err := put(i.Dir, report.Name, stage); err != nil {
			return err
		}
		report.Undo = report.Replaced >= 0
		return nil
	})
}

// stage converts a stream to a list in a temporary file, and calls use with it. No other import runs meanwhile.
func (i Importer) stage(ctx context.Context, r io.Reader, size int64, from, name string, use func(report *Report, stage string) error) (Report, error) {
	name = cmp.Or(name, NameOf(from))
	if err := checkName(name); err != nil {
		return Report{}, err
	}
	if size > MaxFile {
		return Report{}, fmt.Errorf("%s: %w", from, errTooBig)
	}
	unlock, err := private.ClaimForImport(i.Dir, lockFile, stagePattern)
	if err != nil {
		return Report{}, err
	}
	defer unlock()
	stage, err := os.CreateTemp(i.Dir, stagePattern)
	if err != nil {
		return Report{}, fmt.Errorf("create a file: %w", err)
	}
	defer os.Remove(stage.Name())
	defer stage.Close()

	before, others, err := counts(i.Dir, name)
	if err != nil {
		return Report{}, err
	}
	report, err := i.write(ctx, &meter{ctx: ctx, in: r, all: max(size, 0), tell: i.Progress}, from, stage, maxPlaces-others)
	if err != nil {
		return Report{}, fmt.Errorf("%s: %w", from, err)
	}
	report.Name, report.Replaced = name, before
	report.Fewer = float64(report.Places) < fewer*float64(before)
	return report, use(&report, stage.Name())
}

// counts returns how many places the list of a name has, or -1 if there is none, and how many the other lists have.
func counts(dir, name string) (before, others int, err error) {
	d, _ := Open(dir) // a broken list is replaced
	before = -1
	for _, l := range d.lists {
		if l.name == name {
			before = l.Places
		} else {
			others += l.Places
		}
	}
	return before, others, d.Close()
}

// write reads a CSV file with at most that many places, and writes the list.
func (i Importer) write(ctx context.Context, in io.Reader, from string, out *os.File, most int) (Report, error) {
	lines, err := newLineReader(in)
	if err != nil {
		return Report{}, err
	}
	r := &csvReader{lines: *lines}
	header, err := r.header()
	if err != nil {
		return Report{}, err
	}
	c := newConverter(i.Now())
	if err := c.columns(header); err != nil {
		return Report{}, err
	}
	w := newWriter(out)
	skipped := 0
	for {
		rec, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Report{}, err
		}
		c.line = rec.line
		if rec.problem != "" {
			skipped++
			c.warn.add(rec.line, "", "skipped", rec.problem)
			continue
		}
		for _, repair := range rec.repairs {
			c.warn.add(rec.line, "", repair, repair)
		}
		p, ok := c.place(rec.cells)
		if !ok {
			continue
		}
		again, err := w.add(p)
		if err != nil {
			return Report{}, err
		}
		if again {
			c.note(colID, "again", "the file has %s twice: the newer is kept", quoted(p.Name))
		}
		if len(w.ids) > most {
			return Report{}, fmt.Errorf("it has more than the %d places that the box has room for: import the file of the département or the region", most)
		}
	}
	if len(w.ids) == 0 || skipped > len(w.ids) {
		err := fmt.Errorf("%d places and %d lines that cannot be read: it is not a list of places", len(w.ids), skipped)
		for _, warning := range c.warn.list() {
			err = fmt.Errorf("%w\nline %d: %s", err, warning.Line, warning.Text)
			break
		}
		return Report{}, err
	}
	var report Report
	a := about{File: from, Imported: c.now.UTC().Truncate(time.Second), Places: len(w.ids), Warnings: c.warn.list()}
	newest := uint32(0)
	for i := range w.rows {
		row := &w.rows[i]
		if row.listed() {
			a.Listed++
		}
		if row.kept() {
			newest = max(newest, row.updated)
			if row.located() {
				report.Located++
			}
		}
	}
	if newest > 0 {
		a.Updated = time.Unix(int64(newest)*24*60*60, 0).UTC()
	}
	report.List = a.list("", false)
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	return report, w.finish(a)
}

// columns finds the columns of a header.
func (c *converter) columns(header []string) error {
	for col := range c.at {
		c.at[col] = -1
		c.names[col] = column(col).String()
	}
	var unknown []string
	rank := func(col column, name string) int { // of several names of one column the standard's is preferred
		for i, n := range columnNames[col] {
			if plain(n) == plain(name) {
				return i
			}
		}
		return len(columnNames[col])
	}
	for i, name := range header {
		name = strings.TrimSpace(name)
		col, ok := columnOf(name)
		if !ok {
			unknown = append(unknown, quoted(name))
			continue
		}
		if col == colIgnored {
			continue
		}
		if other := c.at[col]; other >= 0 {
			if plain(header[other]) == plain(name) {
				return fmt.Errorf("the column %s is there twice, as number %d and %d: remove one of them", name, other+1, i+1)
			}
			c.warn.add(1, name, "alias", fmt.Sprintf("it is the same as %s: the standard's name counts", strings.TrimSpace(header[other])))
			if rank(col, name) > rank(col, header[other]) {
				continue
			}
		}
		c.at[col], c.names[col] = i, name
	}
	var missing []string
	for _, col := range requiredColumns {
		if c.at[col] < 0 {
			missing = append(missing, col.String())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("it is not in the format of the standard \"lieux de médiation numérique\": its first line has no %s",
			strings.Join(missing, ", no "))
	}
	if len(unknown) > 0 {
		c.warn.add(1, "", "columns", fmt.Sprintf("columns that the standard does not have are ignored: %s", strings.Join(unknown[:min(len(unknown), 20)], ", ")))
	}
	return nil
}

// Inspect checks whether a file begins as a CSV file of the standard. The error says what is wrong.
func Inspect(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines, err := newLineReader(io.LimitReader(f, 2*maxRecord))
	if err != nil {
		return err
	}
	header, err := (&csvReader{lines: *lines}).header()
	if err != nil {
		return err
	}
	return new(converter).columns(header)
}

// meter reads a file of at most MaxFile bytes, reports progress, and stops when ctx ends.
type meter struct {
	ctx       context.Context
	in        io.Reader
	done, all int64
	tell      func(done, all int64)
}

func (m *meter) Read(b []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.in.Read(b)
	m.done += int64(n)
	if m.done > MaxFile {
		return 0, errTooBig
	}
	if m.tell != nil && n > 0 {
		m.tell(m.done, m.all)
	}
	return n, err
}

var nameForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func checkName(name string) error {
	if !nameForm.MatchString(name) || len(name) > maxNameLength {
		return fmt.Errorf("%q cannot be a list's name (--name chooses one): lower-case letters, digits and single -, %d at most",
			name, maxNameLength)
	}
	return nil
}

// NameOf derives a list's name from a file's name.
func NameOf(file string) string {
	base := strings.TrimSuffix(search.Fold(filepath.Base(file)), ".csv")
	parts := strings.FieldsFunc(base, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	name := strings.Join(parts, "-")
	return strings.TrimRight(name[:min(len(name), maxNameLength)], "-")
}

// put moves a written list into place, and keeps the list that it replaces for Undo.
func put(dir, name, stage string) error {
	place, previous := filepath.Join(dir, name+listEnding), filepath.Join(dir, name+previousEnding)
	if err := private.KeepAs(place, previous); err != nil {
		return fmt.Errorf("keep the list %s: %w", name, err)
	}
	if err := os.Rename(stage, place); err != nil {
		return fmt.Errorf("move the list to %s: %w", place, err)
	}
	return private.SyncFolder(dir)
}

// Edition returns an identifier of the current content of the list of a name.
func Edition(dir, name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	return private.Edition(filepath.Join(dir, name+listEnding))
}

// Removed returns the names of lists that were removed, and that Undo can restore.
func Removed(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), previousEnding)
		if !ok || checkName(name) != nil {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, name+listEnding)); errors.Is(err, fs.ErrNotExist) {
			names = append(names, name)
		}
	}
	return names, err
}

// Remove removes a list; Undo restores it. The error is fs.ErrNotExist if there is no such list, and private.ErrReplaced if its edition
// is not the one that was seen; "" stands for any.
func Remove(dir, name, seen string) error {
	return change(dir, name, seen, func(place, previous string) error { return os.Rename(place, previous) })
}

// Undo restores the list that the last import of this name replaced, or that was removed. A second Undo restores the other one. The
// error is fs.ErrNotExist if there is none, and private.ErrReplaced if the list's edition is not the one that was seen; "" stands for
// any.
func Undo(dir, name, seen string) error {
	return change(dir, name, seen, func(place, previous string) error {
		err := unix.Renameat2(unix.AT_FDCWD, place, unix.AT_FDCWD, previous, unix.RENAME_EXCHANGE)
		if errors.Is(err, unix.ENOENT) {
			err = unix.Renameat2(unix.AT_FDCWD, previous, unix.AT_FDCWD, place, unix.RENAME_NOREPLACE)
			if errors.Is(err, unix.EEXIST) {
				err = unix.ENOENT
			}
		}
		return err
	})
}

func change(dir, name, seen string, do func(place, previous string) error) error {
	if err := checkName(name); err != nil {
		return err
	}
	unlock, err := private.ClaimForImport(dir, lockFile, stagePattern)
	if err != nil {
		return err
	}
	defer unlock()
	if err := private.CheckEdition(filepath.Join(dir, name+listEnding), seen); err != nil {
		return err
	}
	if err := do(filepath.Join(dir, name+listEnding), filepath.Join(dir, name+previousEnding)); err != nil {
		return fmt.Errorf("list %s: %w", name, err)
	}
	return private.SyncFolder(dir)
}
