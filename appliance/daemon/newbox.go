package daemon

import (
	"context"
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/netctl"
)

// radioEvery is how often a new box looks for its radio. Only a technician who plugs one in waits for it.
const radioEvery = 3 * time.Second

// untouched tells whether nobody has configured the box yet: it has the factory default.
func (d *Daemon) untouched() bool { return !d.configured && d.refused == nil }

// factory returns the factory default for this machine. Its hotspot is on a radio that can be an access point, whatever the
// system names the interface: that of a USB adapter, for instance, after its hardware address. Without such a radio the hotspot
// stays on the current interface, which may appear later.
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
// point, otherwise that of another radio that can, "" if there is none. It does not return another one that has joined a network,
// since that may be the machine's own connection.
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

// followRadio restarts a new box when a radio for its hotspot appears under another interface name. It runs until ctx ends.
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
