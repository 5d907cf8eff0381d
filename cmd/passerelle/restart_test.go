package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance"
	"passerelle/appliance/store"
)

// TestForgetAll: a factory reset leaves nothing of the box's own, whatever was set aside or not finished, and what is
// somebody else's as it is.
func TestForgetAll(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	d := &daemon{log: slog.New(slog.DiscardHandler), paths: paths{
		config: filepath.Join(top, "etc", "passerelle.toml"), state: filepath.Join(top, "state"),
		socket: filepath.Join(top, "run", "passerelle.sock"),
	}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, text string) {
		t.Helper()
		must(os.MkdirAll(filepath.Dir(path), 0o700))
		must(os.WriteFile(path, []byte(text), 0o600))
	}
	// Twice damaged in a second, and a third time when a power cut ended the repair.
	ledger := filepath.Join(d.state, ledgerFile)
	for range 2 {
		write(ledger, "damaged")
		s, damage, err := store.Open(ledger, nil, time.Unix(0, 0))
		must(err)
		must(s.Close())
		if damage == nil {
			t.Fatal("a file that is no ledger is taken for one")
		}
	}
	write(ledger+".new", "")
	write(ledger+".newer-20261122-100000-1", "")
	write(filepath.Join(d.state, acceptedFolder, acceptedLast), "password")
	write(d.paths.config, "password")
	write(filepath.Join(top, "etc", ".passerelle.toml123"), "password")
	certificate := filepath.Join(d.state, certificateFile)
	must(writeCertificate(certificate, bytes.Repeat([]byte("key"), 100)))
	write(filepath.Join(d.state, ".https.pem456"), "key")
	write(filepath.Join(d.state, packsFolder, "jardin", "lesson.md"), "")
	write(filepath.Join(d.state, "notes.txt"), "somebody's")
	write(filepath.Join(top, "etc", "other.toml"), "somebody's")
	must(os.MkdirAll(d.runDir(), 0o700))
	must(d.keep(appliance.Kept{PausedBy: "a test"}))
	must(d.setAside(appliance.Aside{}))
	write(filepath.Join(d.runDir(), ".sessions.json789"), "addresses")

	must(d.forgetAll())
	must(d.forgetAll()) // where there is nothing it removes nothing
	var left []string
	for _, dir := range []string{"etc", "state", "run"} {
		entries, err := os.ReadDir(filepath.Join(top, dir))
		must(err)
		for _, e := range entries {
			left = append(left, filepath.Join(dir, e.Name()))
		}
	}
	if diff := cmp.Diff([]string{"etc/other.toml", "state/notes.txt"}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
