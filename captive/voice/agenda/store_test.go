package agenda

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/private"
	"passerelle/captive/records"
)

// titles returns the titles of all events in a store.
func titles(t *testing.T, s Store) string {
	t.Helper()
	events, problems := s.Events()
	if len(problems) > 0 {
		t.Error(problems)
	}
	var all []string
	for _, e := range events {
		all = append(all, e.Title)
	}
	return strings.Join(all, ", ")
}

// TestStore: calendars with different names are kept side by side, one with the same name replaces the other, and undo restores that.
func TestStore(t *testing.T) {
	t.Parallel()
	s := Store{filepath.Join(t.TempDir(), "voice")}
	shows := func(want string) {
		t.Helper()
		if got := titles(t, s); got != want {
			t.Errorf("it shows %s; want %s", got, want)
		}
	}
	shows("")
	imports := func(name string, replaced, same bool, events ...string) {
		t.Helper()
		r, err := s.Import(strings.NewReader(calendar(events...)), name, "")
		if err != nil || r.Replaced != replaced || r.Same != same || r.Events != len(events) {
			t.Errorf("import: %+v, %v", r, err)
		}
	}
	one := anEvent("UID:1", "SUMMARY:one", "DTSTART:20261202T100000", "SEQUENCE:1")
	two := anEvent("UID:2", "SUMMARY:two", "DTSTART:20261202T100000")
	imports("ville", false, false, one, two)
	shows("one, two")
	imports("ville", true, true, one, two)
	if _, err := s.Undo("ville", ""); !errors.Is(err, ErrNothingToUndo) {
		t.Errorf("undo the first import: %v", err)
	}
	imports("ville", true, false, two)
	shows("two")
	imports("quartier", false, false, one, anEvent("UID:2", "SUMMARY:two, later", "SEQUENCE:2", "DTSTART:20261202T100000"))
	shows("one, two, later")

	for range 3 { // an undo is undone by the next one
		if c, err := s.Undo("", ""); err != nil || c.Name != "ville" || c.Events != 2 || !c.Undo {
			t.Errorf("undo: %+v, %v", c, err)
		}
		if c, err := s.Undo("ville", ""); err != nil || c.Events != 1 {
			t.Errorf("undo: %+v, %v", c, err)
		}
	}
	if err := s.Remove("ville", ""); err != nil {
		t.Error(err)
	}
	if err := s.Remove("ville", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := s.Undo("ville", ""); err != nil {
		t.Error(err)
	}
	if _, err := s.Undo("ville", ""); !errors.Is(err, ErrNothingToUndo) {
		t.Error("a removed calendar is undone twice", err)
	}
	all, problems := s.Calendars()
	if len(all) != 2 || len(problems) > 0 || all[0].Name != "quartier" || all[1].Events != 1 {
		t.Errorf("%+v, %v", all, problems)
	}

	// A bad file changes nothing.
	for _, file := range []string{"", "<html>", calendar(), calendar(one)[:50]} {
		if _, err := s.Import(strings.NewReader(file), "ville", ""); err == nil {
			t.Errorf("%q is imported", file)
		}
	}
	for _, name := range []string{"", "../x", "a/b", "Ville", "12", "a--b", "ville.ics", strings.Repeat("a", 50)} {
		if _, err := s.Import(strings.NewReader(calendar(one)), name, ""); err == nil {
			t.Errorf("the name %q is taken", name)
		}
	}
	shows("one, two, later")

	// A damaged calendar, or a file left by a crash, does not affect the other calendars.
	if err := os.WriteFile(s.path("quartier"), []byte("BEGIN:VCAL"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.calendars(), ".ville.ics123"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if events, problems := s.Events(); len(events) != 1 || len(problems) != 1 {
		t.Errorf("%d events, %v", len(events), problems)
	}
	imports("quartier", true, false, one)
	shows("one, two")
	files, err := os.ReadDir(s.calendars())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 || strings.HasPrefix(f.Name(), ".") {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

// TestOwnFile: the staff's events are kept on disk, and a damaged file is set aside.
func TestOwnFile(t *testing.T) {
	t.Parallel()
	s := Store{t.TempDir()}
	now := time.Date(2026, 11, 30, 9, 0, 0, 0, paris(t))
	add := func(own *Own) error {
		_, err := own.Add(Entry{Title: "one", On: "2026-12-02"}, "uid", now)
		return err
	}
	if err := s.Change(add); err != nil {
		t.Fatal(err)
	}
	if got := titles(t, s); got != "one" {
		t.Error(got)
	}
	file := filepath.Join(s.Dir, "agenda.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if events, problems := s.Events(); len(events) != 0 || len(problems) != 1 {
		t.Errorf("%d events, %v", len(events), problems)
	}
	err := s.Change(add)
	if _, aside := errors.AsType[*records.UnreadableError](err); !aside {
		t.Error(err)
	}
	if got := titles(t, s); got != "one" {
		t.Error(got)
	}
}

func TestNameOf(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"/media/x/Fêtes de l’École 2026.ics": "fetes-de-l-ecole-2026", "agenda": "agenda", "..ics": "", "ÉTÉ.ICS": "ete",
		"agenda (1).ics": "agenda-1", strings.Repeat("ab-", 30): strings.TrimSuffix(strings.Repeat("ab-", 14)[:40], "-"),
	} {
		if got := NameOf(file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

// TestCheckImport: a check reports what an import would do, and somebody else's import in between is noticed.
func TestCheckImport(t *testing.T) {
	t.Parallel()
	s := Store{filepath.Join(t.TempDir(), "voice")}
	event := func(uid, title string) string {
		return anEvent("UID:"+uid, "SUMMARY:"+title, "DTSTART:20261202T100000")
	}
	first, second := calendar(event("1", "one"), event("2", "two"), event("3", "three")), calendar(event("1", "one"), event("2", "deux"), event("4", "four"))
	r, c, err := s.Check(strings.NewReader(first), "ville")
	if err != nil || r.Events != 3 || r.Replaced || c != (Changes{New: 3, Edition: "none"}) {
		t.Errorf("the first one: %+v, %+v, %v", r, c, err)
	}
	if shown := titles(t, s); shown != "" {
		t.Errorf("a check has imported %s", shown)
	}
	if _, err := s.Import(strings.NewReader(first), "ville", c.Edition); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(strings.NewReader(second), "ville", c.Edition); !errors.Is(err, private.ErrReplaced) {
		t.Errorf("somebody else's import is answered %v", err)
	}
	r, c, err = s.Check(strings.NewReader(second), "ville")
	if want := (Changes{New: 1, Gone: 1, Changed: 1, Replaces: true, Edition: c.Edition}); err != nil || c != want || r.Same {
		t.Errorf("another one: %+v, %v", c, err)
	}
	if r, c, err := s.Check(strings.NewReader(first), "ville"); err != nil || !r.Same || c.New+c.Gone+c.Changed > 0 {
		t.Errorf("the same: %+v, %+v, %v", r, c, err)
	}
	if err := s.Remove("ville", "another"); !errors.Is(err, private.ErrReplaced) {
		t.Errorf("removing another edition is answered %v", err)
	}
	if _, err := s.Undo("ville", "another"); !errors.Is(err, private.ErrReplaced) {
		t.Errorf("undoing another edition is answered %v", err)
	}
	if _, err := s.Import(strings.NewReader(second), "ville", c.Edition); err != nil {
		t.Fatal(err)
	}
}
