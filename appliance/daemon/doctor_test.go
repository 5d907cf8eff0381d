package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

// TestWriteTest: the test is written and removed, follows no link, and says what is wrong with a folder that is not there.
func TestWriteTest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, testFile)
	for range 2 {
		if err := writeTest(path); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is still there: %v", err)
		}
	}
	other := filepath.Join(dir, "ledger.db")
	if err := errors.Join(os.WriteFile(other, []byte("accounts"), 0o600), os.Symlink(other, path)); err != nil {
		t.Fatal(err)
	}
	if err := writeTest(path); err == nil {
		t.Error("it follows a link")
	}
	if text, err := os.ReadFile(other); err != nil || string(text) != "accounts" {
		t.Errorf("another file is now %q, %v", text, err)
	}
	if err := writeTest(filepath.Join(dir, "none", testFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a folder: %v", err)
	}
}

// TestServesDHCP: a socket at port 67 counts, also one that is bound to an address; a list that cannot be read says nothing.
func TestServesDHCP(t *testing.T) {
	t.Parallel()
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"
	row := func(port string) string {
		return "  17: 00000000:" + port + " 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0\n"
	}
	for list, want := range map[string]bool{
		head: false, head + row("0035"): false, head + row("0035") + row("0043"): true, head + row("4300"): false,
	} {
		e := examined{Daemon: &Daemon{root: fstest.MapFS{"proc/self/net/udp": {Data: []byte(list)}}}}
		if got := e.ServesDHCP(); got != want {
			t.Errorf("%t for\n%s", got, list)
		}
	}
	if e := (examined{Daemon: &Daemon{root: fstest.MapFS{}}}); !e.ServesDHCP() {
		t.Error("a list that cannot be read is a fault")
	}
}
