package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestWriteTest: the file is written and removed, links are not followed, and a missing folder is reported.
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
