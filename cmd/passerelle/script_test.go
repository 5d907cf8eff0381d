package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// machineSeen names the file of the machine that the program sees instead of the one that the tests run on.
const machineSeen = "PASSERELLE_TEST_MACHINE"

// readMachine reads a machine as JSON. One without a file has no interface.
func readMachine(path string) (m machine, err error) {
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

// TestScripts plays testdata/script: the command line as a technician meets it, without a box, on the machine that is
// written in the file machine.json.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits is the scripts' command `exits STATUS WORDS...`: the program must end with that status. What it says is in
// the files out and err.
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
	cmd.Env = append(os.Environ(), asProgram+"=1", machineSeen+"="+ts.MkAbs("machine.json"))
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
