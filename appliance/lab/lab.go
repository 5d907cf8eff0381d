// Package lab runs the daemon's program on a netlab host, for tests, benchmarks, attacks and the demo. It owns where the program's files
// are, and how it is started, queried and stopped. It knows the box only from outside, and not what its callers do with it.
package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"passerelle/appliance/control"
	"passerelle/netctl/netlab"
)

// Daemon is the box's program on a host. Its Client talks to the running daemon.
type Daemon struct {
	control.Client
	Config, State string       // the configuration file, and the state folder
	Proc          *netlab.Proc // the daemon that Start started last; nil before

	host    *netlab.Host
	program Program
	log     string
	service *Service
}

// Service says how the daemon runs as a service, under a user other than root.
type Service struct {
	User         int       // user ID, and group ID; 0 is root again
	Capabilities []uintptr // as numbers, e.g. unix.CAP_NET_ADMIN
}

// AsService makes the daemons that are started from now on run as this service. It gives that user the folders, including what earlier
// daemons left in them, as systemd does for StateDirectory= and RuntimeDirectory=. Every user can run the program.
func (d *Daemon) AsService(s Service) error {
	own := func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, s.User, s.User))
	}
	for _, dir := range []string{filepath.Dir(d.Socket), d.State, filepath.Dir(d.Config)} {
		if err := errors.Join(os.MkdirAll(dir, 0o700), filepath.WalkDir(dir, own)); err != nil {
			return fmt.Errorf("prepare the service's folders: %w", err)
		}
	}
	d.service = &s
	return nil
}

// Program prepares the box's program with these arguments.
type Program func(args ...string) *exec.Cmd

// New returns the program on a host, not started and without a configuration.
func New(h *netlab.Host, p Program) (*Daemon, error) {
	top := h.Path("/")
	for _, dir := range []string{filepath.Dir(top), top, h.Path("/run")} {
		if err := os.Chmod(dir, 0o755); err != nil { // dnsmasq reads its servers file below it after dropping root
			return nil, fmt.Errorf("prepare the box: %w", err)
		}
	}
	return &Daemon{
		Client: control.Client{Socket: h.Path("/run/passerelle/passerelle.sock")},
		Config: h.Path("/passerelle.toml"), State: h.Path("/state"),
		host: h, program: p, log: h.Path("/log"),
	}, nil
}

// Configure writes the configuration, which the daemon reads when it starts or reloads.
func (d *Daemon) Configure(text string) error { return os.WriteFile(d.Config, []byte(text), 0o600) }

// Start starts the daemon, with further arguments.
func (d *Daemon) Start(args ...string) (err error) {
	d.Proc, err = d.Launch(args...)
	return err
}

// Launch starts another daemon. It does not replace the one that Start started.
func (d *Daemon) Launch(args ...string) (*netlab.Proc, error) {
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	defer log.Close()
	cmd := d.program(slices.Concat([]string{"run", "--config", d.Config, "--state", d.State, "--socket", d.Socket}, args)...)
	cmd.Stdout, cmd.Stderr = log, log
	if s := d.service; s != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: uint32(s.User), Gid: uint32(s.User)},
			AmbientCaps: s.Capabilities,
		}
	}
	p, err := d.host.StartCmd(cmd)
	if err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	return p, nil
}

// Crash kills the daemon (SIGKILL). Its children keep running.
func (d *Daemon) Crash() error {
	if err := d.Proc.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-d.Proc.Exited()
	return nil
}

// Do runs one of the program's commands against the daemon, and returns the command's output.
func (d *Daemon) Do(ctx context.Context, args ...string) (string, error) {
	cmd := d.program(append(slices.Clone(args), "--socket", d.Socket)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("passerelle %s: %w", strings.Join(args, " "), err)
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	stop()
	if err != nil {
		err = fmt.Errorf("passerelle %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out.Bytes()))
	}
	return out.String(), err
}

// Certificate returns the box's own certificate and its key, once the daemon has created it.
func (d *Daemon) Certificate() (tls.Certificate, error) {
	file := filepath.Join(d.State, "https.pem")
	c, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		return c, fmt.Errorf("read the box's certificate: %w", err)
	}
	return c, nil
}

// Log returns the output of all daemons on the host.
func (d *Daemon) Log() string {
	text, err := os.ReadFile(d.log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	return string(bytes.TrimSpace(text))
}
