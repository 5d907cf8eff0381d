package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance"
	"passerelle/appliance/store"
)

// TestFactoryReset: it removes all of the box's own files, also quarantined and unfinished ones, and no others.
func TestFactoryReset(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	d := &Daemon{log: slog.New(slog.DiscardHandler), paths: paths{
		config: filepath.Join(top, "etc", "passerelle.toml"), state: filepath.Join(top, "state"),
		socket: filepath.Join(top, "run", "passerelle.sock"),
	}}
	d.shares, d.pending = Shares(d.state, d.log, nil, nil), newPending(d.state)
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
	// Damaged twice within a second, and a third time when a power cut interrupted the repair.
	ledger := filepath.Join(d.state, ledgerFile)
	for range 2 {
		write(ledger, "damaged")
		s, damage, err := store.Open(ledger, nil, time.Unix(0, 0))
		must(err)
		must(s.Close())
		if damage == nil {
			t.Fatal("a damaged ledger is opened without an error")
		}
	}
	write(ledger+".new", "")
	write(ledger+".newer-20261122-100000-1", "")
	write(filepath.Join(d.state, acceptedFolder, acceptedLast), "password")
	write(d.paths.config, "password")
	write(filepath.Join(top, "etc", ".passerelle.toml123"), "password")
	write(filepath.Join(d.state, certificateFile), "key")
	write(filepath.Join(d.state, downloadsFile), "{}")
	write(filepath.Join(d.state, ".https.pem456"), "key")
	write(filepath.Join(Content(d.state, "tutorials"), "jardin", "lesson.md"), "")
	write(filepath.Join(d.state, accessFolder, "access.json"), "hash")
	write(filepath.Join(d.state, versionsFolder, "000001.toml"), "password")
	write(filepath.Join(d.state, countsFolder, "refusals.json"), "{}")
	write(d.pending.path, "password")
	write(filepath.Join(d.state, "notes.txt"), "somebody's")
	write(filepath.Join(top, "etc", "other.toml"), "somebody's")
	must(os.MkdirAll(d.runDir(), 0o700))
	must(d.saveState(appliance.RuntimeState{PausedBy: "a test"}))
	must(d.savePause(appliance.Pause{By: "a test", Ends: true}))
	must(d.writeHandover(appliance.Handover{}))
	write(filepath.Join(d.runDir(), ".sessions.json789"), "addresses")

	must(d.factoryReset())
	must(d.factoryReset()) // missing files are not an error
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
