package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// hardwareTimeout is the time without a write after which the hardware watchdog resets the board. It is longer than systemd takes to
// notice that the daemon hangs (WatchdogSec in image/passerelle.service), and to stop and restart it.
const hardwareTimeout = time.Minute

// Watchdog ensures that a box that has stopped working is restarted: by systemd, which restarts the daemon, and if that doesn't help by
// the board's hardware watchdog, which resets the board. Both are fed only while the box is healthy.
type Watchdog struct {
	log            *slog.Logger
	notifier       Notifier
	systemdTimeout time.Duration                              // of systemd's watchdog; 0: it has none
	device         string                                     // of the hardware watchdog; "": none
	open           func(device string) (boardWatchdog, error) // replaced by tests
}

// boardWatchdog is a watchdog device (Documentation/watchdog/watchdog-api.rst). Each byte written restarts its timer. If the last byte
// was a 'V', Close stops the timer.
type boardWatchdog interface {
	io.WriteCloser
	// setTimeout sets the time after which the board is reset, and returns the effective one.
	setTimeout(wanted time.Duration) (time.Duration, error)
	// stoppable tells whether the timer can be stopped at all.
	stoppable() bool
}

// NewWatchdog returns a watchdog for the daemon that systemd has started, and for the hardware watchdog, if device is not "".
func NewWatchdog(log *slog.Logger, n Notifier, device string) (*Watchdog, error) {
	hears, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("read systemd's watchdog timeout: %w", err)
	}
	return &Watchdog{log: log, notifier: n, systemdTimeout: hears, device: device, open: openWatchdog}, nil
}

// checksPerTimeout is how often the box is checked within the shorter timeout. One or two checks that fail for a temporary reason trigger
// nothing.
const checksPerTimeout = 8

// Run feeds systemd's and the hardware watchdog as long as healthy returns nil, until ctx ends. Then it stops the hardware's timer.
// healthy must return soon: until it does, the box isn't healthy. If the device cannot be opened, that is logged, but not an error: the
// box shares anyway.
func (w *Watchdog) Run(ctx context.Context, healthy func() error) error {
	board, timeout := w.start()
	if board != nil {
		defer board.Close()
	}
	var pace time.Duration
	for _, limit := range []time.Duration{w.systemdTimeout, timeout} {
		if limit > 0 && (pace == 0 || limit/checksPerTimeout < pace) {
			pace = limit / checksPerTimeout
		}
	}
	if pace == 0 {
		return nil // nothing to feed
	}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for last := error(nil); ; {
		err := healthy()
		switch {
		case err != nil && last == nil:
			w.log.Error("the box is not healthy: it will be restarted unless that changes", "error", err)
		case err == nil && last != nil:
			w.log.Info("the box is healthy again")
		}
		if last = err; err == nil {
			if w.systemdTimeout > 0 {
				w.notifier.Alive()
			}
			if board != nil {
				w.feed(board, "\x00")
			}
		}
		select {
		case <-ctx.Done():
			if board != nil {
				w.feed(board, "V")
			}
			return nil
		case <-tick.C:
		}
	}
}

// start starts the hardware watchdog.
func (w *Watchdog) start() (board boardWatchdog, timeout time.Duration) {
	if w.device == "" {
		return nil, 0
	}
	board, err := w.open(w.device)
	if err != nil {
		w.log.Error("the board has no watchdog", "error", err)
		return nil, 0
	}
	if timeout, err = board.setTimeout(hardwareTimeout); err != nil || timeout <= 0 {
		w.log.Error("the board's watchdog cannot be used", "device", w.device, "error", err)
		w.feed(board, "V")
		board.Close()
		return nil, 0
	}
	w.log.Info("the board's watchdog is active", "device", w.device, "timeout", timeout)
	if !board.stoppable() {
		w.log.Warn("the board's watchdog cannot be stopped: without passerelle the board restarts", "device", w.device)
	}
	return board, timeout
}

func (w *Watchdog) feed(board boardWatchdog, what string) {
	if _, err := io.WriteString(board, what); err != nil {
		w.log.Error("watchdog ping failed", "device", w.device, "error", err)
	}
}

// device is a watchdog device of the kernel.
type device struct {
	*os.File
}

func openWatchdog(path string) (boardWatchdog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%w: another program holds it; is it systemd, by RuntimeWatchdogSec?", err)
	}
	if err != nil {
		return nil, err
	}
	return device{f}, nil
}

// setTimeout accepts the timeout that it gets if the hardware does not support the wanted one: 15 s on a Raspberry Pi with an older
// kernel.
func (d device) setTimeout(wanted time.Duration) (time.Duration, error) {
	set := unix.IoctlSetPointerInt(int(d.Fd()), unix.WDIOC_SETTIMEOUT, int(wanted/time.Second))
	seconds, err := unix.IoctlGetInt(int(d.Fd()), unix.WDIOC_GETTIMEOUT)
	if err != nil {
		return 0, errors.Join(set, fmt.Errorf("read its timeout: %w", err))
	}
	return time.Duration(seconds) * time.Second, nil
}

// stoppable reads the nowayout setting of the kernel or the driver.
func (d device) stoppable() bool {
	text, err := os.ReadFile(filepath.Join("/sys/class/watchdog", filepath.Base(d.Name()), "nowayout"))
	return err != nil || strings.TrimSpace(string(text)) != "1"
}
