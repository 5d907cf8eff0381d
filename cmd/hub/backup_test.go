package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/internal/cli"
)

// TestBackup: a backup restores hubs that lost everything but their folder, and an incomplete or damaged backup is refused.
func TestBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	stop := w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "nord")
	good, stolen := w.box(quick), w.box(quick)
	good.enrol(d, "lilas")
	stolen.enrol(d, "lilas")
	good.report(protocol.Done, "fine")
	good.delivered()
	if err := errors.Join(
		d.Revoke(t.Context(), "ana", stolen.Status().Box),
		d.Place(t.Context(), "ana", good.Status().Box, "Centre des Lilas", "59"),
	); err != nil {
		t.Fatal(err)
	}
	person, err := d.AddPerson(t.Context(), "ana", "Ana", "lilas")
	if err != nil {
		t.Fatal(err)
	}
	before, err := d.Boxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lines, err := d.Audit(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	typed := func(want int, pattern string, words ...string) {
		t.Helper()
		var out bytes.Buffer
		command := append([]string{words[0], "--dir", w.dirs[0]}, words[1:]...)
		if code := (&tool{out: &out, err: &out, now: w.clock.now}).main(command); code != want || !regexp.MustCompile(pattern).Match(out.Bytes()) {
			t.Errorf("%q: %d, %s, want %d, %q", command, code, &out, want, pattern)
		}
	}
	file := filepath.Join(t.TempDir(), "backup.gz")
	typed(0, `entries are in`, "backup", file)
	typed(0, `has \d+ entries`, "restore", "--check", file)
	typed(cli.Failed, `have members already`, "restore", file)
	typed(cli.Failed, `no such file`, "backup", filepath.Join(t.TempDir(), "none", "x"))
	typed(cli.Misuse, `no such file`, "restore", file+".none")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if i, err := os.Stat(file); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("the backup is %v, %v", i.Mode(), err)
	}
	if bytes.Contains(whole, []byte(strings.ReplaceAll(person, "-", ""))) {
		t.Error("a backup has a code")
	}

	stop()
	if err := os.RemoveAll(filepath.Join(w.dirs[0], "store")); err != nil {
		t.Fatal(err)
	}
	w.inside(0)
	d = w.desk(0)
	half, damaged, other := file+".half", file+".damaged", file+".other"
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, text := range map[string][]byte{half: whole[:len(whole)-20], damaged: flipped, other: []byte("something else")} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		typed(cli.Failed, `no (whole )?backup|checksum|corrupt|invalid`, "restore", name)
	}
	if _, revision, err := d.Members(t.Context()); err != nil || revision != 0 {
		t.Fatalf("half a backup was restored: %d, %v", revision, err)
	}
	// The hubs have written lines of their own before somebody restores.
	if _, err := d.AddPerson(t.Context(), "ana", "Bea", ""); err != nil {
		t.Fatal(err)
	}
	typed(0, `has \d+ entries`, "restore", file)
	typed(cli.Failed, `have members already`, "restore", file)

	after, err := d.Boxes(t.Context())
	if err != nil || len(after) != len(before) {
		t.Fatalf("%d boxes, %v", len(after), err)
	}
	for i := range before {
		a, b := before[i], after[i]
		a.Seen, b.Seen = time.Time{}, time.Time{}
		if a != b {
			t.Errorf("a box was %+v and is %+v", a, b)
		}
	}
	if p, ok, err := d.Person(t.Context(), person); err != nil || !ok || p.Name != "Ana" {
		t.Errorf("the person is %+v, %v, %v", p, ok, err)
	}
	if text := w.show(d, good, protocol.Done); text != "fine" {
		t.Errorf("the report is %q", text)
	}
	now, err := d.Audit(t.Context(), 100)
	if n := len(lines); err != nil || len(now) != n+2 || !slices.Equal(now[1:n+1], lines) || now[n+1].Did != "restore backup" {
		t.Errorf("the audit has %d lines instead of %d and two: %v", len(now), n, err)
	}
	eventually(t, "the box is connected with its old token", func() bool {
		good.Look()
		return good.Status().Connected && good.Status().Region == "nord"
	})
	eventually(t, "the stolen box is refused", func() bool { return stolen.Status().Revoked })
}

// TestNights: there is one backup a night, and the oldest are removed, but no other file of the folder.
func TestNights(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inside(0)
	d := w.desk(0)
	dir := filepath.Join(t.TempDir(), "backups")
	h := &hub{now: w.clock.now, log: quiet()}
	h.Backups = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.backUpOnce(t.Context(), d)
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("hubs that have nothing make a backup: %d files, %v", len(all), err)
	}
	w.association(d, "lilas", "")
	for range keepBackups + 3 {
		h.backUpOnce(t.Context(), d)
		h.backUpOnce(t.Context(), d)
		w.clock.add(24 * time.Hour)
	}
	all, err := os.ReadDir(dir)
	if err != nil || len(all) != keepBackups+1 {
		t.Fatalf("%d files, %v", len(all), err)
	}
	if last := w.clock.now().UTC().Add(-26 * time.Hour).Format(time.DateOnly); all[keepBackups-1].Name() != "backup-"+last+".gz" || all[keepBackups].Name() != "notes" {
		t.Errorf("the last is %s, want that of %s", all[keepBackups-1].Name(), last)
	}
}
