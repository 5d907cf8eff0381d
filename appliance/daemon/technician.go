package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance"
	"passerelle/appliance/config"
	"passerelle/captive/admin"
	"passerelle/captive/admin/login"
	"passerelle/captive/places/directory"
)

// accessFolder, in the state folder, has the technicians' secrets.
const accessFolder = "access"

// openLogins opens the technicians' logins, once in the process: they outlive a restart within it. If the disk fails, the box
// shares without them.
func (d *Daemon) openLogins() {
	if d.logins != nil {
		return
	}
	var err error
	if d.logins, err = login.Open(filepath.Join(d.state, accessFolder), time.Now); err != nil {
		d.log.Error("the technicians' password", "error", err)
	}
}

// configuration is the configuration as technicians' pages see it.
type configuration struct {
	*configUpdater
}

var _ admin.Configuration = configuration{}

func (c configuration) Read() ([]byte, config.Revision, error) {
	text, r, err := c.file.Read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	return text, r, err
}

func (c configuration) Apply(ctx context.Context, text []byte, r config.Revision, from config.Side) (config.Result, error) {
	return c.applyFrom(ctx, text, r, config.RoleTechnician, from)
}

func (configuration) Effect(before, after *config.Config) admin.Effect {
	switch {
	case before.Hotspot == after.Hotspot && before.Box.Hostname == after.Box.Hostname && before.Admin != after.Admin &&
		!appliance.NeedsRestart(before, after):
		return admin.ShutsOut
	case mayCutOff(before, after):
		return admin.CutsOff
	case appliance.NeedsRestart(before, after):
		return admin.Restarts
	}
	return admin.Undisturbed
}

func (c configuration) Until() (time.Time, bool) { return c.pending.Until() }

func (c configuration) Versions() ([]config.Version, error) { return c.history.Versions() }

func (c configuration) Version(r config.Revision) ([]byte, error) { return c.history.Text(r) }

// disk returns the size and free space of the state folder's disk, zero if unknown.
func (d *Daemon) disk() admin.Disk {
	var s unix.Statfs_t
	if err := unix.Statfs(d.state, &s); err != nil {
		return admin.Disk{}
	}
	return admin.Disk{Free: s.Bavail * uint64(s.Bsize), Total: s.Blocks * uint64(s.Bsize)}
}

// lists are the lists of places in a folder. They are reloaded when the folder changes: each import replaces a file in it.
type lists struct {
	dir string

	mu   sync.Mutex
	read time.Time // the folder's modification time when it was read
	all  []admin.List
}

func newLists(dir string) *lists { return &lists{dir: dir} }

// get returns the lists, without broken ones: the share of places logs those.
func (l *lists) get() []admin.List {
	info, err := os.Stat(l.dir)
	if err != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.read.Equal(info.ModTime()) {
		return l.all
	}
	opened, _ := directory.Open(l.dir)
	defer opened.Close()
	l.read, l.all = info.ModTime(), nil
	for _, x := range opened.Lists() {
		updated := x.Updated
		if updated.IsZero() {
			updated = x.Imported
		}
		l.all = append(l.all, admin.List{Name: x.Name, Updated: updated})
	}
	return l.all
}
