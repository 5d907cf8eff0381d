package main

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

// The board restarts when its watchdog has heard nothing for boardPatience: longer than systemd takes to notice that the
// daemon hangs (WatchdogSec in image/passerelle.service), to end it and to have the next one listen.
const boardPatience = time.Minute

// watchdog makes sure that a box which has ceased to work is started anew: by systemd, which restarts the daemon, and
// where that doesn't help by the board's hardware watchdog, which restarts the board. Both only hear from it while the
// box is healthy.
type watchdog struct {
	log     *slog.Logger
	manager manager
	hears   time.Duration                              // within which systemd must hear something; 0: it doesn't listen
	device  string                                     // of the hardware watchdog; "": none
	open    func(device string) (boardWatchdog, error) // replaced by tests
}

// boardWatchdog is a watchdog device (Documentation/watchdog/watchdog-api.rst). Each byte written restarts its clock;
// after a 'V' as the last one, Close stops it.
type boardWatchdog interface {
	io.WriteCloser
	// patience sets how long it waits before it restarts the board, and returns what it really will.
	patience(wanted time.Duration) (time.Duration, error)
	// stoppable says whether it can be stopped at all.
	stoppable() bool
}

// newWatchdog returns a watchdog for the daemon that systemd has started, and for a device, if that is not "".
func newWatchdog(log *slog.Logger, m manager, device string) (*watchdog, error) {
	hears, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("find out how often systemd wants to hear: %w", err)
	}
	return &watchdog{log: log, manager: m, hears: hears, device: device, open: openWatchdog}, nil
}

// looks is how often the box is checked in the time after which the first watchdog acts: one check that fails for a reason
// that passes, or two, has nobody act.
const looks = 8

// Run tells systemd and the hardware that the box works, as long as healthy returns nil, until ctx ends; then it stops
// the hardware's clock. healthy must return soon: as long as it doesn't, the box isn't healthy. A device that cannot be had
// ends nothing, but is logged: the box shares all the same.
func (w *watchdog) Run(ctx context.Context, healthy func() error) error {
	board, patience := w.start()
	if board != nil {
		defer board.Close()
	}
	var pace time.Duration
	for _, limit := range []time.Duration{w.hears, patience} {
		if limit > 0 && (pace == 0 || limit/looks < pace) {
			pace = limit / looks
		}
	}
	if pace == 0 {
		return nil // nobody listens
	}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for ill := error(nil); ; {
		err := healthy()
		switch {
		case err != nil && ill == nil:
			w.log.Error("the box is not healthy: it will be started anew unless that changes", "error", err)
		case err == nil && ill != nil:
			w.log.Info("the box is healthy again")
		}
		if ill = err; err == nil {
			if w.hears > 0 {
				w.manager.alive()
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

// start has the hardware watchdog begin.
func (w *watchdog) start() (board boardWatchdog, patience time.Duration) {
	if w.device == "" {
		return nil, 0
	}
	board, err := w.open(w.device)
	if err != nil {
		w.log.Error("the board has no watchdog", "error", err)
		return nil, 0
	}
	if patience, err = board.patience(boardPatience); err != nil || patience <= 0 {
		w.log.Error("the board's watchdog cannot be used", "device", w.device, "error", err)
		w.feed(board, "V")
		board.Close()
		return nil, 0
	}
	w.log.Info("the board's watchdog has begun", "device", w.device, "patience", patience)
	if !board.stoppable() {
		w.log.Warn("the board's watchdog cannot be stopped: without passerelle the board restarts", "device", w.device)
	}
	return board, patience
}

func (w *watchdog) feed(board boardWatchdog, what string) {
	if _, err := io.WriteString(board, what); err != nil {
		w.log.Error("the board's watchdog does not hear", "device", w.device, "error", err)
	}
}

// device is a watchdog of the kernel's.
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

// patience takes what it gets where the hardware cannot wait so long: 15 s on a Raspberry Pi with an older kernel.
func (d device) patience(wanted time.Duration) (time.Duration, error) {
	set := unix.IoctlSetPointerInt(int(d.Fd()), unix.WDIOC_SETTIMEOUT, int(wanted/time.Second))
	seconds, err := unix.IoctlGetInt(int(d.Fd()), unix.WDIOC_GETTIMEOUT)
	if err != nil {
		return 0, errors.Join(set, fmt.Errorf("ask how long it waits: %w", err))
	}
	return time.Duration(seconds) * time.Second, nil
}

// stoppable reads what the kernel's build or the driver's "nowayout" says.
func (d device) stoppable() bool {
	text, err := os.ReadFile(filepath.Join("/sys/class/watchdog", filepath.Base(d.Name()), "nowayout"))
	return err != nil || strings.TrimSpace(string(text)) != "1"
}
