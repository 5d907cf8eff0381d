package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// machineSeen names the file that describes the machine that the program sees instead of the test machine.
const machineSeen = "PASSERELLE_TEST_MACHINE"

// machineFromFile reads a machine from JSON. If the file is missing, the machine has no interfaces.
func machineFromFile(path string) (m machine, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	defer file.Close()
	d := json.NewDecoder(file)
	d.DisallowUnknownFields()
	return m, d.Decode(&m)
}

// TestScripts runs testdata/script: the command line without a box, on the machine in machine.json.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "card": card, "install": install,
			"system": system, "holds": holds, "release": releaseSystem, "failed": failedSlot, "damage": damage},
	})
}

// cardSeen has the slot from which the program's machine was booted, "" for a machine without a card.
const cardSeen = "PASSERELLE_TEST_SLOT"

// cardFile is the scripts' card. Its partitions are the files next to it.
const cardFile = "card0"

// card is the scripts' command `card SLOT`: the machine was booted from that slot of the card.
func card(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: card SLOT")
	}
	ts.Setenv(cardSeen, args[0])
	for name, size := range map[string]int64{cardFile: 3 << 20, cardFile + "p2": 0, cardFile + "p3": 0} {
		f, err := os.OpenFile(ts.MkAbs(name), os.O_RDWR|os.O_CREATE, 0o600)
		ts.Check(err)
		if info, err := f.Stat(); err == nil && info.Size() == 0 {
			ts.Check(f.Truncate(size))
		}
		ts.Check(f.Close())
	}
}

// install is the scripts' command `install PARTITION`: it puts something into the partition.
func install(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: install PARTITION")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("hsqs"), 0o600))
}

// exits is the scripts' command `exits STATUS ARGUMENTS...`: the program must end with that status. Its output is written to the files out
// and err.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: exits STATUS WORDS...")
	}
	out, err := os.Create(ts.MkAbs("out"))
	ts.Check(err)
	defer out.Close()
	errs, err := os.Create(ts.MkAbs("err"))
	ts.Check(err)
	defer errs.Close()
	cmd := exec.Command(os.Args[0], args[1:]...)
	cmd.Env = append(os.Environ(), asProgram+"=1", machineSeen+"="+ts.MkAbs("machine.json"), cardSeen+"="+ts.Getenv(cardSeen))
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.Getenv("WORK"), out, errs
	got := 0
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("passerelle %q exits %d, want %s", args[1:], got, args[0])
	}
}

// runMain runs one command and returns the exit status.
func runMain(ctx context.Context, args []string, out, errs io.Writer) int {
	return (&cli{out: out, err: errs, machine: readMachine, card: findCard, commands: commands}).main(ctx, args)
}
