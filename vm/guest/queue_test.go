package guest_test

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"
	"time"

	"passerelle/netctl/netlab"
	"passerelle/vm/guest"
)

// TestQueue: where the kernel has fq_codel, each resident's queue is one.
func TestQueue(t *testing.T) {
	needMachine(t)
	scene, err := netlab.Standard(patience(t, time.Minute), netlab.Options{Name: "queue"})
	must(t, err)
	closeWorld(t, scene.World)
	s, err := startBox(t, scene, "").Status(patience(t, 10*time.Second))
	must(t, err)
	if s.Hotspot.Queue != "fq_codel" {
		t.Errorf("residents' queues are %q", s.Hotspot.Queue)
	}
}

// TestBystander has the bench say what a full line is to somebody who only pings, with fq_codel.
func TestBystander(t *testing.T) {
	needMachine(t)
	path, err := guest.Program("bench")
	must(t, err)
	daemon, err := guest.Program("passerelle")
	must(t, err)
	ctx := patience(t, 4*time.Minute)
	var progress strings.Builder
	cmd := exec.CommandContext(ctx, path, "--rows", "fairness", "--rounds", "1", "--daemon", daemon)
	cmd.Stderr = &progress
	table, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	lines := bufio.NewScanner(strings.NewReader(string(table)))
	for lines.Scan() {
		t.Log(lines.Text())
	}
}
