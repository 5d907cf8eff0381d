package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"passerelle/appliance/backup"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// TestBackupToNewBox: a box is backed up while it shares; a new card, restored by the daemon while residents see its pages, is that
// box again, lends nothing until somebody states what was used meanwhile, and then serves residents. Restoring on a box that was
// changed since ends no session, and can be undone.
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
	b.waitState(state.Exhausted) // this ledger is not the one of the backup
	b.mustDo("restore", "--yes", "--undo")
	b.waitState(state.Sharing)
	if now, err := os.ReadFile(b.Config); err != nil || !strings.Contains(string(now), "Les Roses") {
		t.Errorf("%v, undone the configuration is\n%s", err, now)
	}
	b.waitOnline(second)

	// No backup has anything of them.
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
