// Package labtest is the part of netlab that imports testing: it decides when tests may use the real kernel, and ties a
// world's lifetime to a test's.
package labtest

import (
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	"passerelle/netctl/netlab"
)

var root = flag.Bool("root", false, "run the tests that need root and the real kernel; fail if they cannot run")

// Root skips the test unless the flag -root is given. With the flag, the test fails if it does not run as root, or if a named
// tool is missing, so that a test that cannot run never passes by being skipped.
func Root(t testing.TB, tools ...string) {
	t.Helper()
	if !*root {
		t.Skip("needs root and the real kernel: run it as root with `go test PACKAGE -args -root`")
	}
	if os.Geteuid() != 0 {
		t.Fatalf("-root was given, but the user id is %d", os.Geteuid())
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("-root was given, but a tool is missing: %v", err)
		}
		if tool == "iptables" {
			needNfTables(t)
		}
	}
}

// needNfTables fails the test if iptables is the legacy variant: another iptables in the same namespace would not see its rules.
func needNfTables(t testing.TB) {
	t.Helper()
	version, err := exec.Command("iptables", "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(version), "nf_tables") {
		t.Fatalf("-root was given, but iptables does not use the nf_tables backend: %q, %v", version, err)
	}
}

// World creates a world that lives as long as the test. The caller has called Root.
func World(t testing.TB, name string) *netlab.World {
	t.Helper()
	w, err := netlab.New(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	Close(t, w)
	return w
}

// Scene creates a scene that lives as long as the test. The caller has called Root.
func Scene(t testing.TB, o netlab.Options) *netlab.Scene {
	t.Helper()
	s, err := netlab.Standard(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	Close(t, s.World)
	return s
}

// Close closes the world when the test ends, and fails the test if anything is left behind.
func Close(t testing.TB, w *netlab.World) {
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}
