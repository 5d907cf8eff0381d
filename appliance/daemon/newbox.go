package daemon

import (
	"context"
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/netctl"
)

// radioEvery is how often a new box looks for its radio. Nobody waits for it but a technician who plugs one in.
const radioEvery = 3 * time.Second

// untouched tells whether nobody has configured the box yet: it has the factory default.
func (d *Daemon) untouched() bool { return !d.configured && d.refused == nil }

// factory returns the factory default for this machine. Its hotspot is on the radio that can make one, whatever the system calls
// that: a USB adapter, for instance, by its hardware address. Without a radio it is on the interface of the current one, which
// may come.
func (d *Daemon) factory() *config.Config {
	c := config.Factory()
	c.Hotspot.Interface = d.config.Hotspot.Interface
	name, err := hotspotRadio(openRadios, c.Hotspot.Interface)
	if err != nil {
		d.log.Warn("no radio for the factory default", "error", err)
	}
	if name != "" {
		c.Hotspot.Interface = name
	}
	return c
}

// hotspotRadio returns the interface of a radio for the hotspot of a new box: the current one if its radio can be an access
// point, else that of another one that can, "" if there is none. Another one that is in a network is not taken: it may be the
// machine's own way out.
func hotspotRadio(open func() (radioReader, error), current string) (name string, err error) {
	all, interfaces, err := readRadios(open)
	if err != nil {
		return "", err
	}
	found := radiosOf(all, interfaces, current)
	for _, x := range found {
		if x.Interface == current {
			return current, nil
		}
	}
	for _, x := range found {
		joined := slices.ContainsFunc(interfaces, func(i netctl.RadioInterface) bool {
			return i.Name == x.Interface && i.Kind == netctl.RadioStation && i.MHz != 0
		})
		if !joined {
			return x.Interface, nil
		}
	}
	return "", nil
}

// followRadio restarts a new box when its radio comes under another name than it had, until ctx ends.
func (d *Daemon) followRadio(ctx context.Context) error {
	look := time.NewTicker(radioEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		name, err := hotspotRadio(openRadios, d.config.Hotspot.Interface)
		if err == nil && name != "" && name != d.config.Hotspot.Interface {
			d.end(exitReason{action: restarts, why: "a radio was plugged in: " + name})
			return nil
		}
	}
}
