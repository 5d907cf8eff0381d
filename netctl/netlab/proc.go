package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	stopGrace  = 5 * time.Second // between TERM and KILL
	pipeGrace  = time.Second     // how long to wait for output that a daemonised grandchild keeps open
	tailLength = 64 << 10        // bytes of a process's output that are kept
)

// Proc is a process on a host, leader of its own process group.
type Proc struct {
	cmd    *exec.Cmd
	name   string // for errors: the command and its host
	output *tail  // nil if the caller set the outputs
	exited chan struct{}
	err    error // set before exited is closed

	mu     sync.Mutex
	reaped bool // the PID may be another process's by now
}

// Run runs a command on the host to its end and returns the output of both streams. If the context ends first, the
// command's process group is killed. The error contains the output.
func (h *Host) Run(ctx context.Context, argv ...string) (string, error) {
	return h.run(ctx, "", argv...)
}

// run is like Run, with standard input.
func (h *Host) run(ctx context.Context, input string, argv ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := h.StartCmd(cmd)
	if err != nil {
		return "", err
	}
	select {
	case <-p.exited:
		err = p.err
	case <-ctx.Done():
		p.Kill()
		<-p.exited
		err = ctx.Err()
	}
	if err != nil {
		return out.String(), fmt.Errorf("run %s: %w: %s", p.name, err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// Start starts a command on the host. The end of its output is kept for Output. The world's Close stops it.
func (h *Host) Start(argv ...string) (*Proc, error) {
	return h.StartCmd(exec.Command(argv[0], argv[1:]...))
}

// StartCmd is like Start, for a command prepared with an environment, files or outputs. If no outputs are set, the end of its
// output is kept for Output. The caller must neither start nor wait for the command.
func (h *Host) StartCmd(cmd *exec.Cmd) (*Proc, error) {
	p := &Proc{
		cmd:    cmd,
		name:   fmt.Sprintf("%q on %s", strings.Join(cmd.Args, " "), h.name),
		exited: make(chan struct{}),
	}
	if cmd.Stdout == nil && cmd.Stderr == nil {
		p.output = new(tail)
		cmd.Stdout, cmd.Stderr = p.output, p.output
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.WaitDelay = pipeGrace
	if cmd.Dir == "" { // entering a mount namespace changes the working directory to its root
		dir, err := os.Getwd()
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", p.name, err)
		}
		cmd.Dir = dir
	}
	if err := h.addProc(p); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go p.wait(h)
	return p, nil
}

// wait reaps the process. Until wait holds the lock, an ended process stays a zombie, so that its PID is not reused.
func (p *Proc) wait(h *Host) {
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.mu.Lock()
	err := p.cmd.Wait()
	p.reaped = true
	p.mu.Unlock()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it succeeded; only its descendants still hold the pipe
	}
	p.err = err
	h.removeProc(p)
	close(p.exited)
}

// Pid returns the process's ID.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Output returns the end (64 kB) of what the process wrote, or "" if StartCmd was given outputs.
func (p *Proc) Output() string {
	if p.output == nil {
		return ""
	}
	return p.output.String()
}

// Exited returns a channel that is closed when the process has ended.
func (p *Proc) Exited() <-chan struct{} { return p.exited }

// Wait waits for the end of the process. The error is an *exec.ExitError if the process failed.
func (p *Proc) Wait() error {
	<-p.exited
	return p.err
}

// Signal signals the process alone, not its group. It is not an error if the process has exited.
func (p *Proc) Signal(sig syscall.Signal) error { return p.signal(p.Pid(), sig) }

// Kill sends KILL to the process's group. It does not wait.
func (p *Proc) Kill() error { return p.signal(-p.Pid(), syscall.SIGKILL) }

// Stop stops the process's group with TERM. If the process has not exited 5 s later, Stop sends KILL and returns an error. It is
// not an error if the process has exited already.
func (p *Proc) Stop() error {
	if err := p.signal(-p.Pid(), syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopGrace):
	}
	err := p.Kill()
	<-p.exited
	return errors.Join(err, fmt.Errorf("stop %s: it had to be killed", p.name))
}

func (p *Proc) signal(target int, sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return nil
	}
	if err := syscall.Kill(target, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %s with %v: %w", p.name, sig, err)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailLength; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
