package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/admin"
	"passerelle/captive/admin/journal"
)

const passphrase = "trois petits chats"

// testLoans are the loans of a box that uses the configuration of centre A.
func testLoans(t *testing.T) (loans, *testUpdater) {
	u := newTestUpdater(t)
	where := paths{config: u.file.Path, state: filepath.Dir(u.history.Dir)}
	d := &Daemon{paths: where, updater: u.configUpdater, log: u.configUpdater.log, backups: &Backups{paths: where}}
	return loans{Daemon: d}, u
}

// TestLenderLowersTheCap: a lender can only lower the cap. It changes in the file, whose other text stays as people wrote it, and in
// the text that the undo of an unconfirmed change would restore.
func TestLenderLowersTheCap(t *testing.T) {
	t.Parallel()
	l, u := testLoans(t)
	for _, wrong := range []uint64{0, 5e9, 6e9} {
		if err := l.LowerCap(t.Context(), "Chez Lucie", wrong, config.SideHotspot); !errors.Is(err, admin.ErrNotLower) {
			t.Errorf("%d: %v", wrong, err)
		}
	}
	if err := l.LowerCap(t.Context(), "Chez Jean", 1e9, config.SideHotspot); !errors.Is(err, state.ErrNoDonation) {
		t.Errorf("an unknown donation: %v", err)
	}
	if _, err := u.pending.begin(named("A"), config.RevisionOf(named("A"))); err != nil {
		t.Fatal(err)
	}
	if err := l.LowerCap(t.Context(), "Chez Lucie", 2_500_000_000, config.SideHotspot); err != nil {
		t.Fatal(err)
	}
	text, revision, err := u.file.Read()
	if want := strings.Replace(string(named("A")), `"5GB"`, `"2500MB"`, 1); err != nil || string(text) != want {
		t.Errorf("%v, the file is\n%s", err, text)
	}
	switch unconfirmed, err := u.pending.read(); {
	case err != nil || unconfirmed.After != revision:
		t.Errorf("the unconfirmed change is of %.8s, not %.8s: %v", unconfirmed.After, revision, err)
	case !strings.Contains(string(unconfirmed.Before), `"2500MB"`):
		t.Errorf("without a confirmation the cap is higher again:\n%s", unconfirmed.Before)
	}
	if n := len(u.notes); n != 1 || u.notes[0].By != config.RoleLender || u.notes[0].What != journal.Settings {
		t.Errorf("noted are %+v", u.notes)
	}
}

// TestLenderLowersTheReserve: a reserve that would be too large is lowered with its cap.
func TestLenderLowersTheReserve(t *testing.T) {
	t.Parallel()
	l, u := testLoans(t)
	text := strings.Replace(string(named("A")), `cap = "5GB"`, "cap = \"5GB\"\nreserve = \"2GB\"", 1)
	mustWrite(t, u.file.Path, text)
	if err := l.LowerCap(t.Context(), "Chez Lucie", 1e9, ""); err != nil {
		t.Fatal(err)
	}
	got, _, _ := u.file.Read()
	c := mustParse(t, got)
	if d := c.Donations[len(c.Donations)-1]; d.Cap != 1e9 || d.Reserve != 5e8 {
		t.Errorf("the cap is %v, the reserve %v", d.Cap, d.Reserve)
	}
}

// TestStopForgetsThePassword: after a stop no file of the box has the loan or its password, even if a power cut came in between.
func TestStopForgetsThePassword(t *testing.T) {
	t.Parallel()
	l, u := testLoans(t)
	for _, name := range []string{"B", "C", "A"} { // versions with the password
		_, revision, _ := u.file.Read()
		if r, err := u.Apply(t.Context(), named(name), revision, config.RoleTechnician); err != nil || r.Outcome != config.Applied {
			t.Fatal(r, err)
		}
	}
	if _, err := u.pending.begin(named("B"), config.RevisionOf(named("A"))); err != nil {
		t.Fatal(err)
	}
	accepted := filepath.Join(l.state, acceptedFolder)
	if err := os.Mkdir(accepted, 0o700); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(accepted, acceptedLast), "# head\n\n"+string(named("A")))
	mustWrite(t, filepath.Join(accepted, acceptedBefore), "not TOML "+passphrase)
	if err := os.Mkdir(l.backups.restoring(""), 0o700); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, l.backups.restoring(keptFile), passphrase)
	mustWrite(t, l.backups.restoring(undoFile), passphrase)
	if files := withPassphrase(t, l.state, u.file.Path); len(files) < 8 {
		t.Fatalf("only %q have the password", files)
	}
	if err := l.Close(t.Context(), "Chez Lucie", config.SideHotspot); err != nil {
		t.Fatal(err)
	}
	if files := withPassphrase(t, l.state, u.file.Path); len(files) > 0 {
		t.Errorf("%q still have the password", files)
	}
	if text, _, err := u.file.Read(); err != nil || strings.Contains(string(text), "Lucie") {
		t.Errorf("%v, the file is\n%s", err, text)
	}
	if unconfirmed, err := u.pending.read(); err != nil || strings.Contains(string(unconfirmed.Before), "Lucie") {
		t.Errorf("%v, without a confirmation the loan is back:\n%s", err, unconfirmed.Before)
	}
	versions, err := u.history.Versions()
	if err != nil || len(versions) < 3 {
		t.Fatalf("kept are %+v, %v", versions, err)
	}
	for _, v := range versions {
		if text, err := u.history.Text(v.Revision); err != nil || strings.Contains(string(text), "Lucie") {
			t.Errorf("%v, a version is\n%s", err, text)
		}
	}
	if err := l.Close(t.Context(), "Chez Lucie", config.SideHotspot); err != nil {
		t.Errorf("a second press: %v", err)
	}

	// A power cut after the configuration was changed: the next start completes the removal.
	mustWrite(t, filepath.Join(accepted, acceptedLast), string(named("A")))
	if err := l.closing(func(all *[]string) error { *all = append(*all, "Chez Lucie"); return nil }); err != nil {
		t.Fatal(err)
	}
	l.finishForgetting()
	if files := withPassphrase(t, l.state, u.file.Path); len(files) > 0 {
		t.Errorf("after a power cut %q still have the password", files)
	}
	if _, err := os.Stat(filepath.Join(l.state, closingFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the note stays: %v", err)
	}
	if strings.Contains(u.log.String(), passphrase) {
		t.Error("the log has the password")
	}
}

// TestUnstoppedIsKept: a donation that is still configured is not removed, whatever the note of an unfinished stop says.
func TestUnstoppedIsKept(t *testing.T) {
	t.Parallel()
	l, u := testLoans(t)
	last := filepath.Join(l.state, acceptedFolder, acceptedLast)
	if err := os.Mkdir(filepath.Dir(last), 0o700); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, last, string(named("A")))
	if err := l.closing(func(all *[]string) error { *all = append(*all, "Chez Lucie"); return nil }); err != nil {
		t.Fatal(err)
	}
	l.finishForgetting()
	if text, err := os.ReadFile(last); err != nil || string(text) != string(named("A")) {
		t.Errorf("%v, the accepted one is\n%s", err, text)
	}
	u.check(config.Result{}, "A")
}

// withPassphrase returns the files with the password, below a folder and at a path.
func withPassphrase(t *testing.T, folder, path string) (files []string) {
	t.Helper()
	look := func(path string) {
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), passphrase) {
			files = append(files, path)
		}
	}
	look(path)
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			look(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
