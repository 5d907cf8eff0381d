package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"passerelle/appliance"
	"passerelle/netctl/netlab"
)

// Box is the daemon on a host.
type Box struct {
	*netlab.Host
	config, socket, state string
	within                []string // what leads a program into the box's network, where that is not the host's
	proc                  *netlab.Proc
}

// Program returns the path of a program that lies beside this one.
func Program(name string) (string, error) {
	self, err := os.Executable()
	return filepath.Join(filepath.Dir(self), name), err
}

// StartBox starts the daemon on a host with this configuration, "" for none, and waits until it has applied its first
// plan.
func StartBox(ctx context.Context, h *netlab.Host, configuration string) (*Box, error) {
	return startBox(ctx, h, nil, configuration)
}

func startBox(ctx context.Context, h *netlab.Host, within []string, configuration string) (*Box, error) {
	b := &Box{
		within: within,
		Host:   h, config: h.Path("/passerelle.toml"), state: h.Path("/state"), socket: h.Path("/run/passerelle/passerelle.sock"),
	}
	// dnsmasq, no longer root, reads its servers below these.
	err := errors.Join(os.Chmod(h.Path("/"), 0o755), os.Chmod(h.Path("/run"), 0o755))
	if configuration != "" {
		err = errors.Join(err, b.Configure(configuration))
	}
	if err != nil {
		return nil, fmt.Errorf("prepare the box: %w", err)
	}
	return b, b.Start(ctx)
}

// Configure writes the configuration; Reload has the daemon take it up.
func (b *Box) Configure(configuration string) error {
	return os.WriteFile(b.config, []byte(configuration), 0o600)
}

// Configured tells whether the box has a configuration.
func (b *Box) Configured() bool {
	_, err := os.Stat(b.config)
	return err == nil
}

// Reload has the daemon take the configuration up.
func (b *Box) Reload() error { return b.proc.Signal(syscall.SIGHUP) }

// Start starts the daemon, anew after Stop or Kill, and waits until it has applied its first plan.
func (b *Box) Start(ctx context.Context) error {
	program, err := Program("passerelle")
	if err == nil {
		b.proc, err = b.Host.Start(append(slices.Clone(b.within), program, "run", "--setup", "--verbose",
			"--config", b.config, "--state", b.state, "--socket", b.socket)...)
	}
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	_, err = b.WaitFor(ctx, "its first plan is applied", func(s appliance.Status) bool {
		address, err := netip.ParsePrefix(s.Hotspot.Address)
		if err != nil {
			return false
		}
		return b.healthy(ctx, "http://"+address.Addr().String()+"/healthz")
	})
	return err
}

// healthy tells whether a page of the box's answers, to itself, that all is well.
func (b *Box) healthy(ctx context.Context, url string) bool {
	if b.within == nil {
		page, err := b.Get(ctx, url)
		return err == nil && page.Status == http.StatusOK
	}
	_, err := b.Run(ctx, append(slices.Clone(b.within), "curl", "--silent", "--fail", url)...)
	return err == nil
}

// StatusText has the program say what the daemon does.
func (b *Box) StatusText(ctx context.Context) (string, error) {
	return b.Do(ctx, "status", "--json", "--socket", b.socket)
}

// Status is what StatusText says, without the second that an emulated processor takes to start the program.
func (b *Box) Status(ctx context.Context) (s appliance.Status, err error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", b.socket)
		},
	}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://passerelle/status", nil)
	if err != nil {
		return s, err
	}
	reply, err := client.Do(r)
	if err != nil {
		return s, fmt.Errorf("ask for the status: %w", err)
	}
	defer reply.Body.Close()
	if err := json.NewDecoder(reply.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("read the status: %w", err)
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

// Do runs a command of the program's on the box and returns what it prints.
func (b *Box) Do(ctx context.Context, words ...string) (string, error) {
	program, err := Program("passerelle")
	if err != nil {
		return "", err
	}
	return b.Run(ctx, append([]string{program}, words...)...)
}

// Scan returns what the command to list the networks in range says, by one of the box's interfaces.
func (b *Box) Scan(ctx context.Context, device string) (string, error) {
	return b.Do(ctx, "wifi", "scan", "--config", b.config, "--interface", device)
}

// Lend has the box join a lender's network, given as the text of its QR code, by one of its interfaces: "" leaves the
// choice to the box. The name is the donation's.
func (b *Box) Lend(ctx context.Context, code, name, device string) error {
	words := []string{"wifi", "lend", "--config", b.config, "--socket", b.socket, "--cap", "0", "--name", name}
	if device != "" {
		words = append(words, "--interface", device)
	}
	_, err := b.Do(ctx, append(words, code)...)
	return err
}

// Child returns the process number of one of the daemon's children.
func (b *Box) Child(name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(filepath.Dir(b.socket), "pids", name+".pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(first)
}

// Log returns the end of what the daemon wrote.
func (b *Box) Log() string { return b.proc.Output() }

// Stop asks the daemon to end, and fails if it does not end well. On a busy emulated machine it takes longer than
// processes of a world are given.
func (b *Box) Stop() error {
	err := b.proc.Signal(syscall.SIGTERM)
	select {
	case <-b.proc.Exited():
	case <-time.After(30 * time.Second):
	}
	if err := errors.Join(err, b.proc.Stop(), b.proc.Wait()); err != nil {
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
