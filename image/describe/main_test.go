package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLines: a long line neither ends the list nor is left out.
func TestLines(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	path := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, []byte("# a comment\n\n a \r\n"+long+"\nb"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := lines(path); !slices.Equal(got, []string{"a", long, "b"}) || err != nil {
		t.Errorf("there are %d lines: %v", len(got), err)
	}
}
