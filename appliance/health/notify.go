package health

import (
	"log/slog"
	"strings"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// Notifier reports the daemon's state to the service manager that started it (sd_notify(3)). If there is none, or if it doesn't listen,
// the box shares anyway.
type Notifier struct {
	log  *slog.Logger
	send func(state string) error // replaced by tests
}

// NewNotifier returns a notifier for the service manager that the environment names.
func NewNotifier(log *slog.Logger) Notifier {
	return Notifier{log, func(state string) error {
		_, err := systemd.SdNotify(false, state)
		return err
	}}
}

// Ready reports that the box has started, or has reloaded its configuration. status is what the box does.
func (n Notifier) Ready(status string) { n.notify(systemd.SdNotifyReady, statusLine(status)) }

// Status reports what the box does, for systemctl status.
func (n Notifier) Status(status string) { n.notify(statusLine(status)) }

// Reloading reports that the configuration is being reloaded. Ready reports the end of the reload.
func (n Notifier) Reloading() { n.notify(systemd.SdNotifyReloading) }

// Stopping reports that the daemon ends for good. systemd stops a service that reports it.
func (n Notifier) Stopping() { n.notify(systemd.SdNotifyStopping) }

// Alive feeds systemd's watchdog.
func (n Notifier) Alive() { n.notify(systemd.SdNotifyWatchdog) }

func (n Notifier) notify(lines ...string) {
	if err := n.send(strings.Join(lines, "\n")); err != nil {
		n.log.Warn("sd_notify failed", "what", lines[0], "error", err)
	}
}

// statusLine puts a status on one line: a second line would be another message.
func statusLine(status string) string { return "STATUS=" + strings.Join(strings.Fields(status), " ") }
