package guest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"passerelle/appliance/lab"
	"passerelle/appliance/state"
	"passerelle/image"
	"passerelle/netctl/netlab"
)

// Box is a host that runs the daemon.
type Box struct {
	*netlab.Host
	daemon    *lab.Daemon
	netnsArgs []string // the command that enters the box's network namespace, nil if that is the host's
}

// Program returns the path of a program in the same folder as this one.
func Program(name string) (string, error) {
	self, err := os.Executable()
	return filepath.Join(filepath.Dir(self), name), err
}

// StartBox starts the daemon on a host with a configuration, "" for none, and waits until the daemon has applied its first plan.
func StartBox(ctx context.Context, h *netlab.Host, configuration string) (*Box, error) {
	return startBox(ctx, h, nil, configuration)
}

func startBox(ctx context.Context, h *netlab.Host, within []string, configuration string) (*Box, error) {
	program, err := Program("passerelle")
	if err != nil {
		return nil, err
	}
	b := &Box{Host: h, netnsArgs: within}
	b.daemon, err = lab.New(h, func(words ...string) *exec.Cmd {
		argv := slices.Concat(within, []string{program}, words)
		return exec.Command(argv[0], argv[1:]...)
	})
	if err == nil && configuration != "" {
		err = b.Configure(configuration)
	}
	if err == nil {
		if within == nil {
			err = b.asService()
		} else { // only root may enter another network namespace; then root owns an earlier daemon's folders
			err = b.daemon.AsService(lab.Service{})
		}
	}
	if err != nil {
		return nil, err
	}
	return b, b.Start(ctx)
}

// serviceUser is the ID that stands for the service's user and group.
const serviceUser = 64321

// asService makes the daemon run as its service does. Its user may use the board's devices, as with image/deb/udev.
func (b *Box) asService() error {
	capabilities, err := image.Capabilities()
	if err != nil {
		return err
	}
	for _, pattern := range []string{
		"/dev/gpiochip*", "/dev/watchdog*", "/sys/class/leds/*/brightness", "/sys/class/leds/*/trigger",
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.Chown(path, serviceUser, serviceUser); err != nil {
				return err
			}
		}
	}
	return b.daemon.AsService(lab.Service{User: serviceUser, Capabilities: capabilities})
}

// Configure writes the configuration; Reload applies it.
func (b *Box) Configure(configuration string) error { return b.daemon.Configure(configuration) }

// Configured tells whether the box has a configuration.
func (b *Box) Configured() bool {
	_, err := os.Stat(b.daemon.Config)
	return err == nil
}

// Reload makes the daemon reload its configuration.
func (b *Box) Reload() error { return b.daemon.Proc.Signal(syscall.SIGHUP) }

// Start starts the daemon, possibly after Stop or Kill, and waits until it has applied its first plan.
func (b *Box) Start(ctx context.Context) error {
	if err := b.daemon.Start("--setup", "--verbose"); err != nil {
		return err
	}
	_, err := b.WaitFor(ctx, "its first plan is applied", func(s state.Status) bool {
		address, err := netip.ParsePrefix(s.Hotspot.Address)
		if err != nil {
			return false
		}
		return b.healthy(ctx, "http://"+address.Addr().String()+"/healthz")
	})
	return err
}

// healthy requests one of the box's pages from the box itself, and tells whether that succeeded.
func (b *Box) healthy(ctx context.Context, url string) bool {
	if b.netnsArgs == nil {
		page, err := b.Get(ctx, url)
		return err == nil && page.Status == http.StatusOK
	}
	_, err := b.Run(ctx, append(slices.Clone(b.netnsArgs), "curl", "--silent", "--fail", url)...)
	return err == nil
}

// StatusText runs `status --json` and returns its output.
func (b *Box) StatusText(ctx context.Context) (string, error) {
	return b.Do(ctx, "status", "--json", "--socket", b.daemon.Socket)
}

// Screen returns the status command's output for people.
func (b *Box) Screen(ctx context.Context) (string, error) {
	return b.Do(ctx, "status", "--socket", b.daemon.Socket)
}

// Status returns the daemon's status. It starts no program, which takes a second on an emulated processor.
func (b *Box) Status(ctx context.Context) (state.Status, error) {
	return b.daemon.Status(ctx)
}

// WaitFor waits until the daemon's status matches, and returns it.
func (b *Box) WaitFor(ctx context.Context, what string, wanted func(state.Status) bool) (state.Status, error) {
	for {
		s, err := b.Status(ctx)
		if err == nil && wanted(s) {
			return s, nil
		}
		select {
		case <-b.daemon.Proc.Exited():
			return s, fmt.Errorf("wait until %s: the daemon ended:\n%s", what, b.Log())
		default:
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return s, fmt.Errorf("wait until %s: %v; it is %s: %s\n%s", what, err, s.State, s.Why, b.Log())
		}
	}
}

// Do runs a command of the program on the box and returns its output.
func (b *Box) Do(ctx context.Context, words ...string) (string, error) {
	program, err := Program("passerelle")
	if err != nil {
		return "", err
	}
	return b.Run(ctx, append([]string{program}, words...)...)
}

// Scan returns the output of `wifi scan` on one of the box's interfaces.
func (b *Box) Scan(ctx context.Context, device string) (string, error) {
	return b.Do(ctx, "wifi", "scan", "--config", b.daemon.Config, "--interface", device)
}

// Lend adds a lender's network, given as the text of its QR code, on one of the box's interfaces; with "" the box chooses. The name
// is the donation's.
func (b *Box) Lend(ctx context.Context, code, name, device string) error {
	words := []string{"wifi", "lend", "--config", b.daemon.Config, "--socket", b.daemon.Socket, "--cap", "0", "--name", name}
	if device != "" {
		words = append(words, "--interface", device)
	}
	_, err := b.Do(ctx, append(words, code)...)
	return err
}

// Child returns the PID of one of the daemon's children.
func (b *Box) Child(name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(filepath.Dir(b.daemon.Socket), "pids", name+".pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(first)
}

// Log returns the output of the box's daemons.
func (b *Box) Log() string { return b.daemon.Log() }

// Stop stops the daemon, and fails if it exits with an error. A busy emulated machine takes longer to stop it than a world's processes
// are given.
func (b *Box) Stop() error {
	err := b.daemon.Proc.Signal(syscall.SIGTERM)
	select {
	case <-b.daemon.Proc.Exited():
	case <-time.After(30 * time.Second):
	}
	if err := errors.Join(err, b.daemon.Proc.Stop(), b.daemon.Proc.Wait()); err != nil {
		return fmt.Errorf("stop the daemon: %w\n%s", err, b.Log())
	}
	return nil
}

// Kill kills the daemon (SIGKILL). Its children keep running.
func (b *Box) Kill() error { return b.daemon.Crash() }
