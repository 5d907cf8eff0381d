package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait for real processes.
const patience = 20 * time.Second

// daemonEnv makes the test binary a daemon that keeps one child, in the folder that the variable names.
const daemonEnv = "SUPERVISE_TEST_DAEMON"

func TestMain(m *testing.M) {
	if dir := os.Getenv(daemonEnv); dir != "" {
		s := New(Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err := s.Set([]Child{{Name: "child", Argv: []string{"/bin/sh", "-c", "exec sleep 1000"}}}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stderr, s.Run(context.Background()))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// alive tells whether a process exists and is not a zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

// live runs a supervisor with real processes until the test ends, and then checks that nothing stays.
func live(t *testing.T, opt Options) *Supervisor {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	}
	opt.Log = slog.New(slog.DiscardHandler)
	s := New(opt)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("Run doesn't end")
		}
		wantFiles(t, opt.Dir)
	})
	return s
}

func shell(name, script string, files ...File) Child {
	return Child{Name: name, Argv: []string{"/bin/sh", "-c", script}, Files: files}
}

// status waits until ok is true for the status of the only child.
func status(t *testing.T, s *Supervisor, what string, ok func(ChildStatus) bool) (st ChildStatus) {
	t.Helper()
	eventually(t, what, func() bool {
		all := s.Status()
		if len(all) == 1 {
			st = all[0]
		}
		return len(all) == 1 && ok(st)
	})
	return st
}

// said is true of a running child whose last line is the given one.
func said(line string) func(ChildStatus) bool {
	return func(st ChildStatus) bool {
		return st.PID != 0 && len(st.Lines) > 0 && st.Lines[len(st.Lines)-1] == line
	}
}

func TestWholeGroupEndsWithoutZombies(t *testing.T) {
	t.Parallel()
	s := live(t, Options{Redact: WithoutAddresses})
	if err := s.Set([]Child{shell("family", `sleep 1000 & echo $!; wait`)}); err != nil {
		t.Fatal(err)
	}
	st := status(t, s, "the child's line", func(st ChildStatus) bool { return st.PID != 0 && len(st.Lines) == 1 })
	grandchild, err := strconv.Atoi(st.Lines[0])
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(s.opt.Dir, "family.pid")); err != nil {
		t.Error(err)
	} else if pid, _, ok := parsePIDFile(data); !ok || pid != st.PID {
		t.Errorf("pid file %q, want process %d", data, st.PID)
	}

	// Only the leader is killed: the rest of its group ends too, and the child is restarted.
	if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	again := status(t, s, "a new start", func(st ChildStatus) bool { return st.Starts == 2 && st.PID != 0 })
	if again.LastExit != "signal: killed" || again.Failures != 1 {
		t.Errorf("status %+v", again)
	}
	if _, err := identity(st.PID); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("process %d is still there (%v): a zombie", st.PID, err)
	}
	eventually(t, "the grandchild's end", func() bool { return !alive(grandchild) })

	if err := s.Set(nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an empty list", func() bool { return len(s.Status()) == 0 })
	if _, err := identity(again.PID); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("process %d is still there (%v)", again.PID, err)
	}
}

func TestTermIgnoringChildIsKilled(t *testing.T) {
	t.Parallel()
	s := live(t, Options{Redact: WithoutAddresses, StopLimit: 50 * time.Millisecond})
	if err := s.Set([]Child{shell("deaf", `trap 'echo no' TERM; echo ready; while :; do sleep 1000; done`)}); err != nil {
		t.Fatal(err)
	}
	st := status(t, s, "its trap", said("ready"))
	if err := s.Set(nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an empty list", func() bool { return len(s.Status()) == 0 })
	if alive(st.PID) {
		t.Errorf("process %d is still there", st.PID)
	}
}

func TestReloadAndRestart(t *testing.T) {
	t.Parallel()
	s := live(t, Options{Redact: WithoutAddresses})
	path := filepath.Join(t.TempDir(), "names")
	script := fmt.Sprintf(`trap 'echo again $(cat %[1]s)' HUP; echo first $(cat %[1]s); while :; do sleep 0.01; done`, path)
	file := File{Path: path, Text: "one", Reload: true}
	if err := s.Set([]Child{shell("dns", script, file)}); err != nil {
		t.Fatal(err)
	}
	first := status(t, s, "the first line", said("first one"))
	file.Text = "two"
	if err := s.Set([]Child{shell("dns", script, file)}); err != nil {
		t.Fatal(err)
	}
	if st := status(t, s, "the reload", said("again two")); st.PID != first.PID {
		t.Errorf("process %d became %d", first.PID, st.PID)
	}
	file.Text, file.Reload = "three", false
	if err := s.Set([]Child{shell("dns", script, file)}); err != nil {
		t.Fatal(err)
	}
	if st := status(t, s, "the restart", said("first three")); st.PID == first.PID || st.Starts != 2 || st.Failures != 0 {
		t.Errorf("status %+v, want a second process", st)
	}
}

func TestLinesOfChildrenAreDroppedByDefault(t *testing.T) {
	t.Parallel()
	s := live(t, Options{})
	if err := s.Set([]Child{shell("loud", `echo out; echo err >&2`)}); err != nil {
		t.Fatal(err)
	}
	st := status(t, s, "two runs", func(st ChildStatus) bool { return st.Failures >= 2 })
	if len(st.Lines) > 0 || st.LastExit != "exit status 0" {
		t.Errorf("status %+v, want no lines", st)
	}
}

// TestEscapeeDoesNotHoldUpTheEnd: a process that left its group holds the pipe open, but the end of the child is still noticed.
func TestEscapeeDoesNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	setsid, err := exec.LookPath("setsid")
	if err != nil {
		t.Fatal(err)
	}
	s := live(t, Options{Redact: WithoutAddresses})
	if err := s.Set([]Child{shell("parent", setsid+` sh -c 'echo $$; exec sleep 1000' & sleep 0.05; exit 7`)}); err != nil {
		t.Fatal(err)
	}
	st := status(t, s, "the end", func(st ChildStatus) bool { return st.LastExit == "exit status 7" && len(st.Lines) > 0 })
	if err := s.Set(nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an empty list", func() bool {
		if now := s.Status(); len(now) > 0 {
			st = now[0]
			return false
		}
		return true
	})
	for _, line := range st.Lines {
		if pid, err := strconv.Atoi(line); err != nil {
			t.Errorf("unexpected line %q", line)
		} else if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Errorf("the escapee %d: %v", pid, err)
		}
	}
}

func TestUnwritablePIDFileDoesNotStopTheChild(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run")
	var once sync.Once
	ready := make(chan struct{})
	s := New(Options{Dir: dir, Log: slog.New(slog.DiscardHandler), Wake: func() { once.Do(func() { close(ready) }) }})
	s.spawn = func(p *program, line func(string)) (process, error) {
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
		return spawn(dir, p, line)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if err := s.Set([]Child{shell("a", "exec sleep 1000")}); err != nil {
		t.Fatal(err)
	}
	<-ready
	if st := s.Status(); len(st) != 1 || st[0].PID == 0 {
		t.Errorf("status %+v, want it running", st)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// leftover starts a process as a predecessor could have left it.
func leftover(t *testing.T, script string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("%q isn't ready: %v", script, err)
	}
	return cmd
}

func TestLeftoversOfAPredecessorAreEnded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pidFile := func(name string, pid int) string {
		path := filepath.Join(dir, name+".pid")
		if err := writePIDFile(path, pid); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mild := leftover(t, `echo; sleep 1000`)
	deaf := leftover(t, `trap '' TERM; echo; while :; do sleep 1000; done`)
	other := leftover(t, `echo; sleep 1000`)
	pidFile("mild", mild.Process.Pid)
	pidFile("deaf", deaf.Process.Pid)
	// The PID of a child that ended long ago now belongs to another process.
	id, err := identity(other.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"gone.pid":  fmt.Sprintf("%d\n1%s\n", other.Process.Pid, id),
		"boot.pid":  fmt.Sprintf("%d\n%s1\n", other.Process.Pid, id),
		"bare.pid":  fmt.Sprintf("%d\n", other.Process.Pid),
		"empty.pid": "", "odd.pid": "one\nx\n", "init.pid": "1\nx\n", "all.pid": "-1\nx\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	live(t, Options{Dir: dir, StopLimit: 50 * time.Millisecond})
	eventually(t, "the pid files' end", func() bool {
		left, _ := filepath.Glob(filepath.Join(dir, "*"))
		return len(left) == 0
	})
	for _, cmd := range []*exec.Cmd{mild, deaf} {
		eventually(t, "the end of a leftover", func() bool { return !alive(cmd.Process.Pid) })
	}
	if !alive(other.Process.Pid) {
		t.Error("a process that isn't ours was ended")
	}
}

// TestUnrecordedLeftovers: a child is stopped although its daemon was killed before it wrote the pid file.
func TestUnrecordedLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mild := leftover(t, `echo; sleep 1000`, ownerEnv+"="+dir)
	deaf := leftover(t, `trap '' TERM; echo; while :; do sleep 1000; done`, ownerEnv+"="+dir)
	others := leftover(t, `echo; sleep 1000`, ownerEnv+"="+dir+"2")
	live(t, Options{Dir: dir, StopLimit: 50 * time.Millisecond})
	for _, cmd := range []*exec.Cmd{mild, deaf} {
		eventually(t, "the end of a leftover", func() bool { return !alive(cmd.Process.Pid) })
	}
	if !alive(others.Process.Pid) {
		t.Error("another supervisor's child was ended")
	}
}

// TestChildrenDieWithTheDaemon: kill -9 of the daemon also ends its children.
func TestChildrenDieWithTheDaemon(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var stderr strings.Builder
	daemon := exec.Command(self)
	daemon.Env = append(os.Environ(), daemonEnv+"="+dir)
	daemon.Stderr = &stderr
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	defer func() {
		if !killed {
			daemon.Process.Kill()
			daemon.Wait()
		}
	}()
	var child int
	eventually(t, "the child", func() bool {
		data, _ := os.ReadFile(filepath.Join(dir, "child.pid"))
		pid, _, ok := parsePIDFile(data)
		child = pid
		return ok && alive(pid)
	})
	if st, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", child)); err != nil {
		t.Fatal(err)
	} else if want := fmt.Sprintf("PPid:\t%d\n", daemon.Process.Pid); !strings.Contains(string(st), want) {
		t.Errorf("the child isn't the daemon's: %s", st)
	}
	daemon.Process.Kill()
	daemon.Wait()
	killed = true
	eventually(t, "the child's end", func() bool { return !alive(child) })

	live(t, Options{Dir: dir}) // removes the pid file
	if stderr.Len() > 0 {
		t.Errorf("the daemon wrote %q", stderr.String())
	}
}
