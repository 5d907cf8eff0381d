package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestHistory: the last ten versions are kept, each readable only by root, and an incomplete version is ignored.
func TestHistory(t *testing.T) {
	t.Parallel()
	h := History{filepath.Join(t.TempDir(), "versions")}
	if all, err := h.Versions(); len(all) > 0 || err != nil {
		t.Errorf("an empty history: %v, %v", all, err)
	}
	add := func(i int) {
		t.Helper()
		text := fmt.Append(nil, "version ", i)
		v := Version{
			Revision: RevisionOf(text), Replaced: time.Unix(int64(i), 0), By: RoleTechnician, Side: SideWired,
			Changes: []Difference{{"", "box.name", `"A"`, `"B"`}},
		}
		if err := h.Add(v, text); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 25 {
		add(i)
	}
	if err := os.WriteFile(filepath.Join(h.Dir, "000099.toml"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	add(25)
	all, err := h.Versions()
	if err != nil || len(all) != maxVersions {
		t.Fatalf("%d versions, %v", len(all), err)
	}
	if all[0].Side != SideWired {
		t.Errorf("the last version is from %q", all[0].Side)
	}
	for n, v := range all {
		want := fmt.Sprint("version ", 25-n)
		text, err := h.Text(v.Revision)
		if err != nil || string(text) != want || v.Replaced.Unix() != int64(25-n) {
			t.Errorf("version %d is %q of %v, want %q; %v", n, text, v.Replaced, want, err)
		}
	}
	if _, err := h.Text(RevisionOf([]byte("version 3"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an old version: %v", err)
	}
	entries, err := os.ReadDir(h.Dir)
	if err != nil || len(entries) != 2*maxVersions+1 {
		t.Errorf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if err := os.WriteFile(h.path(26, textSuffix), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Text(all[0].Revision); err == nil {
		t.Error("a damaged version is read")
	}
}

// TestHistoryOfACutChange: a version that is added twice, because the change that should have replaced it was never made, is kept only
// once.
func TestHistoryOfACutChange(t *testing.T) {
	t.Parallel()
	h := History{filepath.Join(t.TempDir(), "versions")}
	for i, text := range []string{"A", "B", "B", "A", "A", "A"} {
		if err := h.Add(Version{Revision: RevisionOf([]byte(text)), Replaced: time.Unix(int64(i), 0)}, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := h.Versions()
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, v := range all {
		text, err := h.Text(v.Revision)
		if err != nil {
			t.Error(err)
		}
		got += fmt.Sprintf("%s of %d ", text, v.Replaced.Unix())
	}
	if want := "A of 5 B of 2 A of 0 "; got != want {
		t.Errorf("the versions are %q, want %q", got, want)
	}
}
