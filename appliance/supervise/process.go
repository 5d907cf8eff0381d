package supervise

import (
	"bytes"
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
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	hup  = unix.SIGHUP
	term = unix.SIGTERM
	kill = unix.SIGKILL
)

// drain is how long the last words of a process that ended are waited for, in case one that left its group holds on to
// the pipe.
const drain = 100 * time.Millisecond

// process is a started child.
type process interface {
	PID() int
	Signal(unix.Signal)      // to the process alone; none if it has ended
	SignalGroup(unix.Signal) // to it and what it started; none if it has ended
	Exited() <-chan struct{} // closed once the whole group is gone and reaped
	How() string             // "exit status 1", "signal: killed"; only after Exited
}

// osProcess is a process of the operating system, the leader of a group of its own.
type osProcess struct {
	cmd    *exec.Cmd
	exited chan struct{}

	mu     sync.Mutex
	reaped bool // its number may belong to another process
}

// spawn starts argv, with every line that it writes handed to line. To be called on a thread that outlives the process.
func spawn(argv []string, line func(string)) (process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &osProcess{cmd: exec.Command(argv[0], argv[1:]...), exited: make(chan struct{})}
	p.cmd.Dir = "/"
	p.cmd.Env = append(os.Environ(), "LC_ALL=C")
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		readLines(r, line)
	}()
	go func() {
		defer close(p.exited)
		p.wait()
		r.SetReadDeadline(time.Now().Add(drain))
		<-read
		r.Close()
	}()
	return p, nil
}

// wait returns when the process has ended, and with it the rest of its group. The group is killed before the leader is
// reaped: until then its number can't have become somebody else's.
func (p *osProcess) wait() {
	for {
		err := unix.Waitid(unix.P_PID, p.PID(), nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	unix.Kill(-p.PID(), kill)
	p.cmd.Wait()
	p.reaped = true
}

func (p *osProcess) PID() int                { return p.cmd.Process.Pid }
func (p *osProcess) Exited() <-chan struct{} { return p.exited }
func (p *osProcess) How() string             { return p.cmd.ProcessState.String() }

func (p *osProcess) Signal(sig unix.Signal)      { p.signal(p.PID(), sig) }
func (p *osProcess) SignalGroup(sig unix.Signal) { p.signal(-p.PID(), sig) }

// signal ignores the kernel's error: for a process of our own it can only say that it has ended.
func (p *osProcess) signal(pid int, sig unix.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		unix.Kill(pid, sig)
	}
}

// A pid file holds a process's number on its first line and its identity on the second: numbers are used again.

func writePIDFile(path string, pid int) error {
	id, err := identity(pid)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// At once, and without waiting for a disk: should the daemon be killed after the child has changed its user and before
	// its file is there, nobody would ever end it. A half-written file names nobody (parsePIDFile).
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n%s\n", pid, id), 0o600); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	return nil
}

func parsePIDFile(data []byte) (pid int, id string, ok bool) {
	lines := strings.Split(string(data), "\n")
	if len(lines) != 3 || lines[2] != "" {
		return 0, "", false
	}
	pid, err := strconv.Atoi(lines[0])
	return pid, lines[1], err == nil && pid > 1
}

// identity returns what no two processes with the same number share: the time when it started and the boot that it
// belongs to. Its command line would not do: the kernel shows none until some time after exec has closed the
// descriptors by which its parent sees that it succeeded.
func identity(pid int) (string, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	// The second field is the program's name in parentheses, with whatever it has in it; the start is field 22 (proc(5)).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("read when process %d started: /proc/%[1]d/stat has too few fields", pid)
	}
	return fields[19] + " " + strings.TrimSpace(string(boot)), nil
}

// endLeftovers ends the processes that the pid files in dir name, with their groups, and removes the files.
func endLeftovers(dir string, limit time.Duration, log *slog.Logger) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.pid"))
	if err != nil {
		return fmt.Errorf("look for pid files: %w", err)
	}
	var g errgroup.Group
	for _, path := range paths {
		g.Go(func() error {
			data, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("read a predecessor's pid file: %w", err)
			}
			if pid, id, ok := parsePIDFile(data); ok {
				ended, err := endLeftover(pid, id, limit)
				if err != nil {
					return fmt.Errorf("end process %d that %s names: %w", pid, path, err)
				}
				if ended {
					log.Warn("ended a child of a predecessor", "pid", pid, "file", path)
				}
			}
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove a predecessor's pid file: %w", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// endLeftover ends the group that pid leads, by TERM, then KILL, if it is still the process with that identity.
func endLeftover(pid int, id string, limit time.Duration) (ended bool, err error) {
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL): // gone, or its number is a thread's
		return false, nil
	case err != nil:
		return false, err
	}
	defer unix.Close(fd)
	if have, err := identity(pid); err != nil || have != id {
		return false, nil
	}
	for _, sig := range []unix.Signal{term, kill} {
		if err := unix.Kill(-pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return false, err
		}
		if gone, err := waitPidfd(fd, limit); gone || err != nil {
			unix.Kill(-pid, kill) // what is left of its group
			return true, err
		}
	}
	return false, fmt.Errorf("still there %v after SIGKILL", limit)
}

// waitPidfd waits until the process has ended, at most limit.
func waitPidfd(fd int, limit time.Duration) (gone bool, err error) {
	deadline := time.Now().Add(limit)
	for {
		left := max(0, time.Until(deadline))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n > 0, err
	}
}
