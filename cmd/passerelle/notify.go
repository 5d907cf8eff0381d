package main

import (
	"log/slog"
	"strings"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// manager is the service manager that started the daemon, told how things are by systemd's protocol (sd_notify(3)). One
// that doesn't listen, or none at all, is no error: the box shares all the same.
type manager struct {
	log  *slog.Logger
	send func(state string) error // replaced by tests
}

func newManager(log *slog.Logger) manager {
	return manager{log, func(state string) error {
		_, err := systemd.SdNotify(false, state)
		return err
	}}
}

// ready tells that the box has been started, or has taken up its configuration again, and what it does.
func (m manager) ready(status string) { m.tell(systemd.SdNotifyReady, statusLine(status)) }

// status tells what the box does, for systemctl status.
func (m manager) status(status string) { m.tell(statusLine(status)) }

// reloading tells that the configuration is being taken up again; ready tells the end of it.
func (m manager) reloading() { m.tell(systemd.SdNotifyReloading) }

// stopping tells that the daemon ends for good. systemd stops a service that has said so.
func (m manager) stopping() { m.tell(systemd.SdNotifyStopping) }

// alive keeps the manager from restarting the daemon.
func (m manager) alive() { m.tell(systemd.SdNotifyWatchdog) }

func (m manager) tell(lines ...string) {
	if err := m.send(strings.Join(lines, "\n")); err != nil {
		m.log.Warn("the service manager cannot be told", "what", lines[0], "error", err)
	}
}

// statusLine makes sure that a status stays one line: the next would be another message.
func statusLine(status string) string { return "STATUS=" + strings.Join(strings.Fields(status), " ") }
