package daemon

import (
	"errors"
	"path/filepath"

	"passerelle/appliance"
	"passerelle/captive/records"
)

// pauseFile returns the file of a pause that ends on the next day.
func (p paths) pauseFile() records.File[appliance.Pause] {
	return records.File[appliance.Pause]{Path: filepath.Join(p.state, pauseFolder, "pause.json"), Version: 1}
}

// savePause stores a pause that ends on the next day. An unreadable file is set aside, and is not an error.
func (p paths) savePause(pause appliance.Pause) error {
	_, err := p.pauseFile().Update(func(stored *appliance.Pause) error {
		*stored = pause
		return nil
	})
	if _, aside := errors.AsType[*records.UnreadableError](err); aside {
		return nil
	}
	return err
}

// loadPause returns the stored pause.
func (d *Daemon) loadPause() appliance.Pause {
	p, err := d.pauseFile().Read()
	if err != nil {
		d.log.Warn("a pause until the next day cannot be read: it is over", "error", err)
		return appliance.Pause{}
	}
	return p
}
