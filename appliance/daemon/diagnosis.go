package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/fleet/report"
	"passerelle/appliance/private"
	"passerelle/appliance/state"
)

// diagnoses runs the doctor when the box's fleet asks for it, and keeps the result until a hub shows it. It keeps at most one:
// the next one replaces it.
type diagnoses struct {
	file   string
	search func(context.Context) (state.Diagnosis, error)
	status func() state.Status
	news   func() // called when there is a result that somebody waits for
	log    *slog.Logger
	asked  chan struct{}

	mu sync.Mutex // held while the file is read or changed
}

func newDiagnoses(folder string, search func(context.Context) (state.Diagnosis, error), status func() state.Status, log *slog.Logger) *diagnoses {
	return &diagnoses{
		file: filepath.Join(folder, fleetFolder, "diagnosis.json"), search: search, status: status, news: func() {}, log: log,
		asked: make(chan struct{}, 1),
	}
}

// ask requests a search, and does not wait for it.
func (d *diagnoses) ask() {
	select {
	case d.asked <- struct{}{}:
	default: // a requested search has not begun yet: it will do
	}
}

// run carries out the requested searches, until ctx ends.
func (d *diagnoses) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.asked:
		}
		found, err := d.search(ctx)
		if err != nil {
			return nil // ctx's
		}
		if err := d.keep(found); err != nil {
			d.log.Warn("what was found for the fleet", "error", err)
			continue
		}
		d.news()
	}
}

// keep stores the result of a search.
func (d *diagnoses) keep(found state.Diagnosis) error {
	var donations []string
	for _, x := range d.status().Donations {
		donations = append(donations, x.Name)
	}
	text, err := report.DiagnosisOf(found, donations).Encode()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := private.Folder(filepath.Dir(d.file), 0o700); err != nil {
		return err
	}
	return private.WriteFile(d.file, text, 0o600)
}

// pending returns the result that a hub should show, if there is one.
func (d *diagnoses) pending() []fleet.Report {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, err := os.ReadFile(d.file)
	if err == nil {
		_, err = report.ParseDiagnosis(text)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil: // the card is damaged
		d.log.Warn("what was found for the fleet", "error", errors.Join(err, os.Remove(d.file)))
		return nil
	}
	return []fleet.Report{{Name: protocol.Diagnosis, Body: text}}
}

// shown removes the result that a hub shows, unless a newer one has replaced it.
func (d *diagnoses) shown(r fleet.Report) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, err := os.ReadFile(d.file)
	if err == nil && string(text) == string(r.Body) {
		err = os.Remove(d.file)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("what was found for the fleet", "error", err)
	}
}
