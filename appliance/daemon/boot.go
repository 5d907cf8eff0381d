package daemon

import (
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"passerelle/appliance/config"
	"passerelle/captive/admin/journal"
	"passerelle/captive/admin/login"
)

// DroppedFile returns the path, in a state folder, of the note about a configuration that was dropped on the card.
func DroppedFile(state string) string { return filepath.Join(state, "dropped.json") }

// ReplaceConfig replaces the configuration while no daemon runs, with the code that a running one uses: the version before is
// kept, the file is written under its lock, a change that waits to be confirmed is forgotten, and the journal has an entry. A
// text that is in place already changes nothing. The error is of type config.Problems if the text is not valid.
func ReplaceConfig(o Options, text []byte, role config.Role) error {
	d := Daemon{paths: paths{config: o.Config, state: o.State}}
	before, revision, err := d.file().Read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c, err := config.Parse(o.Config, text)
	if err != nil {
		return err
	}
	u := configUpdater{
		file: d.file(), history: config.History{Dir: filepath.Join(o.State, versionsFolder)}, pending: newPending(o.State),
		applied: before, note: journal.New(filepath.Join(o.State, accessFolder), time.Now, o.Log).Note, now: time.Now, log: o.Log,
	}
	return u.save(c, text, revision, role, "")
}

// SetupCode returns the code with which the first technician chooses a password, and makes one if there is no password and no
// code. It returns "" once there is a password.
func SetupCode(state string, log *slog.Logger) string {
	logins, err := login.Open(filepath.Join(state, accessFolder), time.Now)
	if err != nil {
		log.Error("the technicians' password", "error", err)
	}
	return logins.Code()
}
