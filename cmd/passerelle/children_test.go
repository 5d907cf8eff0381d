package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// TestNameServerFails: if a DNS server of the box is missing, keeps exiting or cannot read its files, that is a fault. It is reported with
// the last line that the server wrote, and by /healthz. The box recovers as soon as the server works.
func TestNameServerFails(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{})
	programs := b.scene.Box.Path("/programs")
	b.must(os.Mkdir(programs, 0o755))
	var real string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		b.must(err)
		for _, file := range files {
			if filepath.Base(file) == "dnsmasq" {
				real = file
			} else if err := os.Symlink(file, filepath.Join(programs, filepath.Base(file))); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
		}
	}
	b.env = []string{"PATH=" + programs}
	r := b.scene.Residents[0]
	fault := func(because ...string) {
		t.Helper()
		b.waitStatus("a fault", func(s state.Status) error {
			for _, words := range because {
				if s.State != state.Fault || !strings.Contains(s.Why, words) {
					return fmt.Errorf("%s: %s", s.State, s.Why)
				}
			}
			return nil
		})
		reply, err := b.scene.Box.HTTPClient().Get(portal + "/healthz")
		b.must(err)
		reply.Body.Close()
		if reply.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("monitors are told %d", reply.StatusCode)
		}
	}

	b.start()
	fault("dnsmasq", "executable file not found")

	dnsmasq := filepath.Join(programs, "dnsmasq")
	b.must(os.WriteFile(dnsmasq, []byte("#!/bin/sh\necho 'dnsmasq: junk found in command line'\nexit 1\n"), 0o755))
	fault("exit status 1", "junk found in command line")

	b.must(os.Remove(dnsmasq))
	b.must(os.Symlink(real, dnsmasq))
	b.waitState(state.Sharing)
	b.newcomer(r)
	b.waitSound()

	run := b.scene.Box.Path("/run/passerelle")
	b.must(os.Chmod(run, 0o700))
	for _, pid := range b.offspring() { // they have already read their files
		n, err := strconv.Atoi(pid)
		b.must(err)
		b.must(syscall.Kill(n, syscall.SIGKILL))
	}
	fault("cannot read", "Permission denied")
	b.must(os.Chmod(run, 0o711))
	b.waitState(state.Sharing)
	b.waitOnline(r)
	b.sessions(1)
	b.waitSound()
}
