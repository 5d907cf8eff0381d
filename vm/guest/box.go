package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"passerelle/appliance"
	"passerelle/netctl/netlab"
)

// Box is the daemon on a host.
type Box struct {
	*netlab.Host
	config, socket, state string
	proc                  *netlab.Proc
}

// Program returns the path of a program that lies beside this one, in the folder shared with the machine's host.
func Program(name string) (string, error) {
	self, err := os.Executable()
	return filepath.Join(filepath.Dir(self), name), err
}

// StartBox starts the daemon on a host with this configuration and waits until it has applied its first plan.
func StartBox(ctx context.Context, h *netlab.Host, configuration string) (*Box, error) {
	b := &Box{
		Host: h, config: h.Path("/passerelle.toml"), state: h.Path("/state"), socket: h.Path("/run/passerelle/passerelle.sock"),
	}
	err := errors.Join( // dnsmasq, no longer root, reads its servers below the last two
		os.WriteFile(b.config, []byte(configuration), 0o600), os.Chmod(h.Path("/"), 0o755), os.Chmod(h.Path("/run"), 0o755))
	if err != nil {
		return nil, fmt.Errorf("prepare the box: %w", err)
	}
	return b, b.Start(ctx)
}

// Start starts the daemon, anew after Stop or Kill, and waits until it has applied its first plan.
func (b *Box) Start(ctx context.Context) error {
	program, err := Program("passerelle")
	if err == nil {
		b.proc, err = b.Host.Start(program, "run", "--config", b.config, "--state", b.state, "--socket", b.socket)
	}
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	_, err = b.WaitFor(ctx, "its first plan is applied", func(s appliance.Status) bool {
		address, err := netip.ParsePrefix(s.Hotspot.Address)
		if err != nil {
			return false
		}
		page, err := b.Get(ctx, "http://"+address.Addr().String()+"/healthz")
		return err == nil && page.Status == http.StatusOK
	})
	return err
}

// Status asks the daemon what it does.
func (b *Box) Status(ctx context.Context) (s appliance.Status, err error) {
	program, err := Program("passerelle")
	if err != nil {
		return s, err
	}
	out, err := b.Run(ctx, program, "status", "--json", "--socket", b.socket)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return s, fmt.Errorf("read status %q: %w", out, err)
	}
	return s, nil
}

// WaitFor waits until the daemon's status is as wanted, and returns it.
func (b *Box) WaitFor(ctx context.Context, what string, wanted func(appliance.Status) bool) (appliance.Status, error) {
	for {
		s, err := b.Status(ctx)
		if err == nil && wanted(s) {
			return s, nil
		}
		select {
		case <-b.proc.Exited():
			return s, fmt.Errorf("wait until %s: the daemon ended:\n%s", what, b.proc.Output())
		default:
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return s, fmt.Errorf("wait until %s: %v; it is %s: %s\n%s", what, err, s.State, s.Why, b.proc.Output())
		}
	}
}

// Log returns the end of what the daemon wrote.
func (b *Box) Log() string { return b.proc.Output() }

// Stop asks the daemon to end, and fails if it does not end well.
func (b *Box) Stop() error {
	if err := b.proc.Stop(); err != nil {
		return fmt.Errorf("stop the daemon: %w\n%s", err, b.proc.Output())
	}
	return nil
}

// Kill ends the daemon as a crash does: its children stay.
func (b *Box) Kill() error {
	err := b.proc.Signal(syscall.SIGKILL)
	<-b.proc.Exited()
	return err
}
