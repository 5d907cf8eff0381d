package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"passerelle/netctl/netlab/labtest"
)

// TestCommandsLeaveTheOwnersFiles: what root's commands write in a state folder belongs to its owner, even if the owner cannot read the
// imported file. What they write elsewhere belongs to root.
func TestCommandsLeaveTheOwnersFiles(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	dir := t.TempDir()
	state, pack := filepath.Join(dir, "state"), filepath.Join(dir, "pack")
	configuration, results := filepath.Join(dir, "etc", "passerelle.toml"), filepath.Join(dir, "results.csv")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// The folders above belong to the test: without DAC_READ_SEARCH, the user nobody could not even reach these.
	must(errors.Join(
		os.Mkdir(state, 0o700), os.Chown(state, labtest.Nobody, labtest.Nobody),
		os.Mkdir(filepath.Dir(configuration), 0o755), os.Chown(filepath.Dir(configuration), labtest.Nobody, labtest.Nobody),
		os.Mkdir(pack, 0o700), os.WriteFile(filepath.Join(pack, "index.html"), []byte("<title>Pack</title>"), 0o600),
	))
	socket := filepath.Join(dir, "none.sock")
	for _, words := range [][]string{
		{"tutorials", "import", "--state", state, "--socket", socket, pack},
		{"agenda", "add", "--title", "Café", "--on", "2030-12-02", "--from", "14:00", "--to", "16:00",
			"--state", state, "--config", configuration, "--socket", socket},
		{"opinion", "results", "--csv", results, "--state", state, "--socket", socket},
		{"init", configuration},
	} {
		if out, err := program(words...).CombinedOutput(); err != nil {
			t.Fatalf("passerelle %s: %v: %s", strings.Join(words, " "), err, out)
		}
	}
	tried := 0
	is := func(path string, want uint32) {
		t.Helper()
		tried++
		info, err := os.Lstat(path)
		must(err)
		if st := info.Sys().(*syscall.Stat_t); st.Uid != want || st.Gid != want {
			t.Errorf("%s is %d:%d's, want %d's", path, st.Uid, st.Gid, want)
		}
	}
	must(filepath.WalkDir(state, func(path string, _ fs.DirEntry, err error) error {
		must(err)
		is(path, labtest.Nobody)
		return nil
	}))
	if tried < 5 {
		t.Errorf("there are only %d files in the state folder", tried)
	}
	is(configuration, labtest.Nobody)
	is(results, 0)
}
