package records

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type book struct {
	Notes []string `json:"notes"`
}

func newFile(t *testing.T) File[book] {
	return File[book]{Path: filepath.Join(t.TempDir(), "voice", "book.json"), Version: 2, Upgrade: func(version int, content json.RawMessage) (b book, err error) {
		var note string
		err = json.Unmarshal(content, &note)
		return book{[]string{note}}, err
	}}
}

func add(note string) func(*book) error {
	return func(b *book) error { b.Notes = append(b.Notes, note); return nil }
}

func wantNotes(t *testing.T, f File[book], notes ...string) {
	t.Helper()
	b, err := f.Read()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(notes, b.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// TestUpdate: changes add up, a failed change has no effect, and an unchanged file is not written.
func TestUpdate(t *testing.T) {
	t.Parallel()
	f := newFile(t)
	wantNotes(t, f)
	for _, note := range []string{"a", "b"} {
		if _, err := f.Update(add(note)); err != nil {
			t.Fatal(err)
		}
	}
	wantNotes(t, f, "a", "b")
	refused := errors.New("no")
	if _, err := f.Update(func(b *book) error { b.Notes = nil; return refused }); !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
	before, err := os.Stat(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	if got := before.Mode().Perm(); got != 0o600 {
		t.Errorf("mode %v", got)
	}
	if _, err := f.Update(func(*book) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(f.Path); err != nil || !os.SameFile(before, after) {
		t.Error("an unchanged file is written")
	}
	wantNotes(t, f, "a", "b")
}

// TestConcurrent: no change is lost if many are made at once.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	f := newFile(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if _, err := f.Update(add(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if b, err := f.Read(); err != nil || len(b.Notes) != 20 {
		t.Errorf("%d notes, %v", len(b.Notes), err)
	}
}

// TestUnreadable: a file that cannot be read is set aside, and the next change begins without records; an older file is upgraded.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	for text, why := range map[string]string{
		"":                                     "is damaged",
		`{"version":2,"content":{"notes":["a"`: "is damaged",
		"\x00\x00\x00\x00":                     "is damaged",
		`{"version":2,"content":{"notes":7}}`:  "cannot unmarshal",
		`{"version":3,"content":{}}`:           "of a newer release",
		`{"version":0,"content":{}}`:           "unknown form 0",
		`{"version":1,"content":7}`:            "cannot unmarshal",
	} {
		f := newFile(t)
		if err := os.Mkdir(filepath.Dir(f.Path), 0o700); err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= 2; n++ {
			if err := os.WriteFile(f.Path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if b, err := f.Read(); err == nil || !strings.Contains(err.Error(), why) || len(b.Notes) > 0 {
				t.Errorf("%q: %v, error %v", text, b, err)
			}
			b, err := f.Update(add("new"))
			var unreadable *UnreadableError
			if !errors.As(err, &unreadable) || len(b.Notes) != 1 {
				t.Errorf("%q: %v, error %v", text, b, err)
				continue
			}
			if want := fmt.Sprintf("%s.unreadable-%d", f.Path, n); unreadable.Aside != want {
				t.Errorf("%q is now %s, want %s", text, unreadable.Aside, want)
			}
			if kept, err := os.ReadFile(unreadable.Aside); err != nil || string(kept) != text {
				t.Errorf("%q is kept as %q, %v", text, kept, err)
			}
			wantNotes(t, f, "new")
		}
	}
	f := newFile(t)
	if err := os.Mkdir(filepath.Dir(f.Path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Path, []byte(`{"version":1,"content":"old"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	wantNotes(t, f, "old")
	if _, err := f.Update(add("new")); err != nil {
		t.Fatal(err)
	}
	wantNotes(t, f, "old", "new")
}

// TestUnreadableStays: a file that cannot be read stays where it is if the new one cannot be written.
func TestUnreadableStays(t *testing.T) {
	t.Parallel()
	f := newFile(t)
	left := filepath.Join(filepath.Dir(f.Path), ".book.json1") // of an earlier change; a folder cannot be removed as a file
	if err := os.MkdirAll(filepath.Join(left, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := f.Update(add("new"))
	var unreadable *UnreadableError
	if err == nil || errors.As(err, &unreadable) || !strings.Contains(err.Error(), "is damaged") || !strings.Contains(err.Error(), left) {
		t.Errorf("error %v", err)
	}
	if kept, err := os.ReadFile(f.Path); err != nil || string(kept) != "damaged" {
		t.Errorf("the file is %q, %v", kept, err)
	}
	if aside, err := filepath.Glob(f.Path + ".unreadable-*"); err != nil || aside != nil {
		t.Errorf("set aside: %v, %v", aside, err)
	}
	if err := os.RemoveAll(left); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Update(add("new")); !errors.As(err, &unreadable) {
		t.Errorf("error %v", err)
	}
	wantNotes(t, f, "new")
}

// TestInterrupted: a file that a power cut left of a change is not read.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	f := newFile(t)
	if _, err := f.Update(add("a")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(f.Path), ".book.json123"), []byte(`{"version":2,"con`), 0o600); err != nil {
		t.Fatal(err)
	}
	wantNotes(t, f, "a")
	if _, err := f.Update(add("b")); err != nil {
		t.Fatal(err)
	}
	wantNotes(t, f, "a", "b")
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"version":2,"content":{"notes":["a"]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		file := newFile(t)
		b, err := file.decode(text)
		if err != nil && len(b.Notes) > 0 {
			t.Errorf("records %v next to %v", b, err)
		}
	})
}
