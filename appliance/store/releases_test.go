package store

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"passerelle/appliance/ledger"
)

var writeRelease = flag.String("write-release", "", "write the ledger of this release to testdata/releases/`TAG`")

// ofRelease is the content of every release's ledger in testdata.
var ofRelease = map[string]ledger.Record{
	"Fibre": {
		Base: 7_000_000_000, Committed: 7_100_000_000, Boot: "0b6f", Counter: ledger.Counter{Name: "eth0", Index: 3},
		Today: ledger.Day{Date: 20261201, Bytes: 5_000_000}, LastDay: ledger.Day{Date: 20261130, Bytes: 4_000_000, Residents: 12},
	},
	"Téléphone d'Ana": {Base: 42},
}

const releaseFile = "ledger.db.gz"

// TestReleases: this release opens the ledger that each release wrote, and continues with it. So does the previous release, which the
// box may be rolled back to as long as nothing was migrated. Each tag of the repository has a ledger. As long as there is no tag, the
// ledger of the present format is the only one.
func TestReleases(t *testing.T) {
	t.Parallel()
	if *writeRelease != "" {
		writeLedger(t, filepath.Join("testdata/releases", *writeRelease))
	}
	out, err := exec.Command("git", "tag", "--list", "v*").Output()
	tags := strings.Fields(string(out))
	switch {
	case err != nil:
		t.Log("this is no repository: its tags are not known")
	case len(tags) == 0:
		t.Log("there is no release yet: the ledger of the present form stands for one")
	}
	for _, tag := range tags {
		if _, err := os.Stat(filepath.Join("testdata/releases", tag, releaseFile)); err != nil {
			t.Errorf("release %s has no ledger here: go test -run TestReleases ./appliance/store -args -write-release %s, in its source", tag, tag)
		}
	}
	files, err := filepath.Glob("testdata/releases/*/" + releaseFile)
	if err != nil || len(files) == 0 {
		t.Fatalf("no ledger of any release: %v", err)
	}
	before := *ledgerKind
	before.writes = max(1, formatWritten-1)
	before.reads = before.writes + 1
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ledger.db")
			if err := os.WriteFile(path, unpacked(t, file), 0o600); err != nil {
				t.Fatal(err)
			}
			want := ofRelease
			for _, step := range []struct {
				what string
				kind *kind
				put  map[string]ledger.Record
			}{
				{"this release", ledgerKind, map[string]ledger.Record{"Fibre": {Base: 8_000_000_000}}},
				{"the release before", &before, map[string]ledger.Record{"Fibre": {Base: 9_000_000_000}}},
				{"this release again", ledgerKind, nil},
			} {
				s, quarantined, err := openLedger(step.kind, path, []string{"Fibre"}, now)
				if err != nil || quarantined != nil {
					t.Fatalf("%s: %v, %v", step.what, err, quarantined)
				}
				all, err := s.Load()
				got := map[string]ledger.Record{}
				for name, a := range all {
					got[name] = a.Record
				}
				if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(ledger.Record{})); err != nil || diff != "" {
					t.Errorf("%s reads (-want +got), %v:\n%s", step.what, err, diff)
				}
				if step.put != nil {
					mustPut(t, s, step.put)
					want = map[string]ledger.Record{"Fibre": step.put["Fibre"], "Téléphone d'Ana": want["Téléphone d'Ana"]}
				}
				if err := errors.Join(s.check(), s.Close()); err != nil {
					t.Errorf("%s: %v", step.what, err)
				}
			}
		})
	}
}

// unpacked returns the content of a compressed file.
func unpacked(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if text, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	return text
}

// writeLedger writes the ledger of this release to a folder.
func writeLedger(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, _, err := Open(path, nil, now)
	if err == nil {
		err = errors.Join(s.Put(ofRelease), s.Close())
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, writeErr := z.Write(text)
	if err = errors.Join(err, writeErr, z.Close(), os.MkdirAll(dir, 0o755)); err == nil {
		err = os.WriteFile(filepath.Join(dir, releaseFile), b.Bytes(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
