package journal

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/config"
)

// TestJournal: the last 200 changes are kept, newest first, in a file that only its owner can read. Neither a damaged file nor a
// failing disk prevents a change.
func TestJournal(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	now := time.Unix(1_800_000_000, 5)
	dir := filepath.Join(t.TempDir(), "access")
	j := New(dir, func() time.Time { now = now.Add(time.Minute); return now }, slog.New(slog.NewTextHandler(&log, nil)))
	if all, err := j.Entries(); err != nil || len(all) > 0 {
		t.Errorf("without a file: %v, %v", all, err)
	}
	for range 250 {
		j.Note(Entry{What: Paused, By: config.RoleTechnician, Side: config.SideWired})
	}
	j.Note(Entry{What: Settings, By: config.RoleCommandLine, Keys: []string{"hotspot.ssid"}})
	all, err := New(dir, time.Now, slog.Default()).Entries()
	if err != nil || len(all) != maxEntries || all[0].What != Settings || all[1].What != Paused || all[1].Side != config.SideWired ||
		!all[0].At.After(all[1].At) || all[0].At.Nanosecond() != 0 {
		t.Errorf("%d entries, the last %+v, %+v; %v", len(all), all[0], all[1], err)
	}
	file := filepath.Join(dir, "journal.json")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if log.Len() > 0 {
		t.Errorf("the log: %s", &log)
	}

	if err := os.WriteFile(file, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Entries(); err == nil {
		t.Error("a damaged file is read")
	}
	j.Note(Entry{What: Clock, By: Button})
	if all, err := j.Entries(); err != nil || len(all) != 1 || !strings.Contains(log.String(), "begins again") {
		t.Errorf("after damage: %v, %v; %s", all, err, &log)
	}
	log.Reset()
	New(file, time.Now, slog.New(slog.NewTextHandler(&log, nil))).Note(Entry{What: Resumed}) // its folder is a file
	if !strings.Contains(log.String(), "not in the journal") {
		t.Errorf("the log: %s", &log)
	}
}
