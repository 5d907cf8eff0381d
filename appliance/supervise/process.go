package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// drainTimeout bounds the wait for the last output of a process that exited: a process that left its group may still hold the
// pipe.
const drainTimeout = 100 * time.Millisecond

// process is a started child.
type process interface {
	PID() int
	Signal(unix.Signal)      // to the process alone; no effect once it has exited
	SignalGroup(unix.Signal) // to its process group; no effect once it has exited
	Exited() <-chan struct{} // closed once the whole group is gone and reaped
	How() string             // "exit status 1", "signal: killed"; only after Exited
}

// osProcess is a process of the operating system, the leader of a group of its own.
type osProcess struct {
	cmd    *exec.Cmd
	exited chan struct{}

	mu     sync.Mutex
	reaped bool // its PID may belong to another process
}

// ownerEnv is the environment variable of every child that names the folder of its supervisor's pid files.
const ownerEnv = "PASSERELLE_CHILD_OF"

// spawn starts a program as a child of the supervisor with this folder of pid files, and calls line for every line that it
// writes. The calling thread must outlive the process, and have no ambient capabilities.
func spawn(dir string, prog *program, line func(string)) (process, error) {
	who, err := lookUp(prog.user)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &osProcess{cmd: exec.Command(prog.argv[0], prog.argv[1:]...), exited: make(chan struct{})}
	p.cmd.Dir = "/"
	p.cmd.Env = append(os.Environ(), "LC_ALL=C", ownerEnv+"="+dir)
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if who == self {
		p.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	} else {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)}
	}
	if who.uid != 0 {
		p.cmd.SysProcAttr.AmbientCaps = prog.capabilities
	}
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
		r.SetReadDeadline(time.Now().Add(drainTimeout))
		<-read
		r.Close()
	}()
	return p, nil
}

// wait returns when the process has exited and the rest of its group is killed. The group is killed before the leader
// is reaped: until then its PID can't be reused.
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

// signal ignores the kernel's error: for our own process it can only mean that it has exited.
func (p *osProcess) signal(pid int, sig unix.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		unix.Kill(pid, sig)
	}
}

// clearAmbient removes the calling thread's ambient capabilities. restore sets them again.
func clearAmbient() (restore func(), err error) {
	var had []uintptr
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		set, err := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, c, 0, 0)
		if err == nil && set == 1 { // EINVAL: this kernel does not know the capability
			had = append(had, c)
		}
	}
	if len(had) == 0 {
		return func() {}, nil
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("clear the ambient capabilities: %w", err)
	}
	return func() {
		for _, c := range had {
			unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0)
		}
	}, nil
}

// errHidden says that /proc does not show a process that exists.
var errHidden = errors.New("/proc hides the process")

// A pid file holds a PID on its first line and the process's identity on the second, because PIDs are reused.

func writePIDFile(path string, pid int) error {
	id, err := identity(pid)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// Written in place, without fsync: a half-written file names no process (parsePIDFile). A child without its file is found by its
	// environment, if that can be read.
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

// identity returns the start time and the boot ID of a process, which differ between processes with the same PID. The command line
// is not usable: the parent learns from descriptors that exec closes that exec succeeded, and the kernel shows no command line until
// some time after that.
func identity(pid int) (string, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) && unix.Kill(pid, 0) == nil {
		return "", fmt.Errorf("process %d: %w", pid, errHidden)
	}
	if err != nil {
		return "", err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	// The second field is the program's name in parentheses, with arbitrary characters; the start time is field 22
	// (proc(5)).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("read when process %d started: /proc/%[1]d/stat has too few fields", pid)
	}
	return fields[19] + " " + strings.TrimSpace(string(boot)), nil
}

// stopStale stops the processes named by the pid files in dir, with their groups, and removes the files.
func stopStale(dir string, limit time.Duration, log *slog.Logger) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.pid"))
	if err != nil {
		return fmt.Errorf("list pid files: %w", err)
	}
	var g errgroup.Group
	for _, path := range paths {
		g.Go(func() error {
			data, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("read a predecessor's pid file: %w", err)
			}
			if pid, id, ok := parsePIDFile(data); ok {
				stopped, err := stopStaleGroup(pid, id, limit)
				if err != nil {
					return fmt.Errorf("stop process %d of %s: %w", pid, path, err)
				}
				if stopped {
					log.Warn("stopped a stale child", "pid", pid, "file", path)
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

// stopUnrecorded stops the children of a predecessor, with the same folder of pid files, that was killed before it wrote their pid
// files. It must be called before the first child is started. Processes whose environment cannot be read are left alone: a
// service manager ends those.
func stopUnrecorded(dir string, limit time.Duration, log *slog.Logger) error {
	folders, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	var g errgroup.Group
	for _, f := range folders {
		pid, err := strconv.Atoi(f.Name())
		if err != nil {
			continue
		}
		id, err := identity(pid)
		if err != nil || !isChildOf(pid, dir) {
			continue
		}
		if group, err := unix.Getpgid(pid); err != nil || group != pid {
			continue // a process of a child ends with its group
		}
		g.Go(func() error {
			stopped, err := stopStaleGroup(pid, id, limit)
			if err != nil {
				return fmt.Errorf("stop process %d, a predecessor's child: %w", pid, err)
			}
			if stopped {
				log.Warn("stopped a stale child without a pid file", "pid", pid)
			}
			return nil
		})
	}
	return g.Wait()
}

// isChildOf tells whether a process was started as a child of the supervisor with this folder of pid files.
func isChildOf(pid int, dir string) bool {
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && slices.Contains(strings.Split(string(environ), "\x00"), ownerEnv+"="+dir)
}

// stopStaleGroup stops the group that pid leads, by TERM, then KILL, if it is still the process with that identity.
func stopStaleGroup(pid int, id string, limit time.Duration) (stopped bool, err error) {
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL): // exited, or the PID is a thread's
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
			unix.Kill(-pid, kill) // the rest of its group
			return true, err
		}
	}
	return false, fmt.Errorf("still running %v after SIGKILL", limit)
}

// waitPidfd waits until the process has exited, for at most limit.
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
