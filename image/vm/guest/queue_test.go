package guest_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"passerelle/image/vm/guest"
)

// TestLowLimit runs the gate's test of that name on a kernel where residents' queues are fq_codel.
func TestLowLimit(t *testing.T) {
	needMachine(t)
	gate, err := guest.Program("gate.test")
	must(t, err)
	out, err := exec.CommandContext(patience(t, 4*time.Minute), gate, "-test.v", "-test.run", "^TestLowLimit$", "-root").CombinedOutput()
	for line := range strings.Lines(string(out)) {
		t.Log(strings.TrimSpace(line))
	}
	must(t, err)
	if !strings.Contains(string(out), "--- PASS: TestLowLimit ") {
		t.Error("it did not pass")
	}
}

// TestBystander runs the benchmark of what a full line means for somebody who only pings, on a kernel where residents' queues are
// fq_codel. It only prints the figures, because they include the pauses of an emulated processor.
func TestBystander(t *testing.T) {
	needMachine(t)
	bench, err := guest.Program("bench")
	must(t, err)
	daemon, err := guest.Program("passerelle")
	must(t, err)
	var table bytes.Buffer
	cmd := exec.CommandContext(patience(t, 4*time.Minute), bench, "--rows", "bystander", "--quick", "--daemon", daemon)
	cmd.Stdout, cmd.Stderr = &table, os.Stdout
	must(t, cmd.Run())
	if !strings.Contains(table.String(), "fq_codel") {
		t.Error("residents' queues are not fq_codel")
	}
	for line := range strings.Lines(table.String()) {
		t.Log(strings.TrimSpace(line))
	}
}
