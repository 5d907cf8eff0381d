package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"passerelle/appliance/backup"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// TestBackupToNewBox: a box is backed up while it shares. The daemon restores the backup on a new card while residents see its pages. The
// new box is then the same as the old one, lends nothing until somebody states what was used meanwhile, and then serves residents.
// Restoring on a box that was changed since the backup ends no session, and can be undone.
func TestBackupToNewBox(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{cap: "50GB"}, netlab.Options{Residents: 2})
	first, second := b.scene.Residents[0], b.scene.Residents[1]
	lease := b.newcomer(first)
	dir := t.TempDir()
	phrase, file := filepath.Join(dir, "phrase"), filepath.Join(dir, "a.backup")
	b.must(os.WriteFile(phrase, []byte("cheval correct pile agrafe\n"), 0o600))
	out := b.mustDo("backup", "--passphrase-file", phrase, file)
	if !strings.Contains(out, "sealed with the passphrase") {
		t.Errorf("backup says %q", out)
	}
	plain := filepath.Join(dir, "plain.backup")
	b.mustDo("backup", plain)
	text, err := os.ReadFile(b.Config)
	b.must(err)

	b.stop()
	b.must(os.RemoveAll(b.State))
	b.must(os.Remove(b.Config))
	b.must(b.Start("--setup", "--verbose"))
	b.waitState(state.Setup)
	out = b.mustDo("restore", "--yes", "--passphrase-file", phrase, file)
	if !strings.Contains(out, "Nobody knows what was used since") || !strings.Contains(out, "The backup is restored.") {
		t.Errorf("restore says %q", out)
	}
	s := b.waitState(state.Exhausted)
	if d := s.Donations[0]; !d.Lost || d.Cap != 50e9 || d.Used == 0 {
		t.Errorf("the donation is %+v", d)
	}
	if now, err := os.ReadFile(b.Config); err != nil || !bytes.Equal(now, text) {
		t.Errorf("%v, the configuration is\n%s", err, now)
	}
	b.mustDo("clock", "--confirm")
	out = b.mustDo("restore", "--used", lent+"=1GB")
	if !strings.Contains(out, "1GB are used of this period") {
		t.Errorf("stating says %q", out)
	}
	s = b.waitState(state.Sharing)
	if d := s.Donations[0]; d.Lost || d.Used < 1e9 {
		t.Errorf("the donation is %+v", d)
	}
	b.newcomer(second)

	b.must(b.Configure(strings.Replace(string(text), "Centre social des Lilas", "Les Roses", 1)))
	b.mustDo("reload")
	out = b.mustDo("restore", "--yes", plain)
	if !strings.Contains(out, "To undo that") {
		t.Errorf("restore says %q", out)
	}
	b.waitState(state.Exhausted) // this ledger is not the one in the backup
	b.mustDo("restore", "--yes", "--undo")
	b.waitState(state.Sharing)
	if now, err := os.ReadFile(b.Config); err != nil || !strings.Contains(string(now), "Les Roses") {
		t.Errorf("%v, undone the configuration is\n%s", err, now)
	}
	b.waitOnline(second)

	// No backup contains anything about residents.
	opened := t.TempDir()
	f, err := os.Open(plain)
	b.must(err)
	defer f.Close()
	_, err = backup.Unpack(f, "", opened)
	b.must(err)
	b.must(filepath.WalkDir(opened, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, of := range []string{lease.Address.Addr().String(), first.MAC.String()} {
			if bytes.Contains(text, []byte(of)) {
				t.Errorf("%s in the backup has %q", d.Name(), of)
			}
		}
		return err
	}))
}

// TestBackupKilled: a daemon that is killed at any moment of a restore leaves the old box or the restored one, complete.
func TestBackupKilled(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	calendar := filepath.Join(b.State, "voice/calendars/fetes.ics")
	b.must(os.MkdirAll(filepath.Dir(calendar), 0o700))
	b.must(os.WriteFile(calendar, []byte("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20991202T100000\r\nSUMMARY:Une\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"), 0o600))
	dir := t.TempDir()
	lilas, roses := filepath.Join(dir, "lilas.backup"), filepath.Join(dir, "roses.backup")
	b.mustDo("backup", lilas)
	text, err := os.ReadFile(b.Config)
	b.must(err)
	b.must(os.Remove(calendar))
	b.must(b.Configure(strings.Replace(string(text), "Centre social des Lilas", "Les Roses", 1)))
	b.mustDo("reload")
	b.mustDo("backup", roses)

	for n, sign := range []string{"checked-*", "next", "next/plan.json", "committed", "before.backup", "next/0", "next/1"} {
		from, was := lilas, "Les Roses"
		if now, err := os.ReadFile(b.Config); err != nil || !strings.Contains(string(now), was) {
			from, was = roses, "Lilas"
		}
		b.must(os.RemoveAll(filepath.Join(b.State, "restore/before.backup")))
		done := make(chan error, 1)
		go func() {
			_, err := b.Do(t.Context(), "restore", "--yes", from)
			done <- err
		}()
		wait(t, "a trace of restoring", func() error {
			found, _ := filepath.Glob(filepath.Join(b.State, "restore", sign))
			if now, err := os.ReadFile(b.Config); found == nil && err == nil && strings.Contains(string(now), was) {
				return fmt.Errorf("no %s yet", sign)
			}
			return nil
		})
		b.kill()
		b.must(b.Start("--verbose"))
		<-done // its daemon is gone, or it ended before that: the files show the result
		b.waitState(state.Sharing)
		now, err := os.ReadFile(b.Config)
		b.must(err)
		_, missing := os.Stat(calendar)
		if isLilas := strings.Contains(string(now), "Lilas"); isLilas != (missing == nil) {
			t.Errorf("killed at %q: the configuration is that of the Lilas: %t, the calendar: %v", sign, isLilas, missing)
		}
		left, err := os.ReadDir(filepath.Join(b.State, "restore"))
		b.must(err)
		for _, e := range left {
			if e.Name() == "committed" || strings.HasPrefix(e.Name(), "checked-") {
				t.Errorf("killed at %q: %s is left", sign, e.Name())
			}
		}
		t.Logf("%d: killed at %q, restored: %t", n, sign, !strings.Contains(string(now), was))
	}
}
