package daemon

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/appliance/plan"
	"passerelle/appliance/radios"
	"passerelle/appliance/state"
	"passerelle/hw"
	"passerelle/netctl/radio"
	"passerelle/netctl/wpa"
)

// radioTasks are the tasks about the radios.
type radioTasks struct {
	manager     *radios.Manager
	joiner      *wpa.Joiner
	hostapd     *wpa.Hostapd
	accessPoint bool // the box is an access point: there is a hostapd
}

// newRadios returns the tasks. stations returns how many stations a radio serves, for radios where the kernel does not know.
func (d *Daemon) newRadios(stations func(device string) int, wake func()) radioTasks {
	control := func(device string) wpa.HostapdOptions {
		return wpa.HostapdOptions{
			Socket: filepath.Join(d.runDir(), plan.HostapdControl, device), Dir: d.runDir(), Log: d.log,
		}
	}
	r := radioTasks{
		manager: radios.New(radios.Options{
			Log:  d.log,
			Wake: wake,
			Open: func() (radios.Driver, error) {
				r, err := radio.Open()
				if err != nil {
					return nil, err // not a nil *Reader
				}
				return r, nil
			},
			SwitchChannel: func(ctx context.Context, device string, to wpa.Channel) error {
				return wpa.NewHostapd(control(device)).SwitchChannel(ctx, to)
			},
			Stations: stations,
		}),
		joiner: wpa.NewJoiner(wpa.JoinerOptions{Log: d.log, Dir: d.runDir(), Scan: plan.ScanInterval * time.Second, Wake: wake}),
	}
	o := control(d.config.Hotspot.Interface)
	o.On = func(e wpa.Event) {
		if e.Kind == wpa.APFull {
			r.manager.AssociationRejected()
		}
		r.manager.Wake()
	}
	r.hostapd, r.accessPoint = wpa.NewHostapd(o), d.config.Hotspot.Radio == "hostapd"
	return r
}

// start runs the tasks until ctx ends.
func (r radioTasks) start(ctx context.Context, tasks *errgroup.Group) {
	tasks.Go(func() error { return r.manager.Run(ctx) })
	tasks.Go(func() error { return r.joiner.Run(ctx) })
	if r.accessPoint {
		tasks.Go(func() error { return r.hostapd.Run(ctx) })
	}
}

// boardStatus returns a function that reads the board's status, and that of its disk.
func boardStatus(b hw.Board, s *hw.Sensors, disk func() []state.Problem) func() state.Board {
	return func() state.Board {
		h := s.Read()
		status := state.Board{Model: b.Model, Problems: append(h.Problems(), disk()...)}
		if h.Known {
			status.Temperature = &h.Temperature
		}
		if h.PowerKnown {
			status.PowerWeak = &h.UnderVoltage
		}
		return status
	}
}

// board identifies the board.
func (d *Daemon) board() hw.Board {
	b, err := hw.Identify(os.DirFS("/"))
	if err != nil {
		d.log.Warn("unknown board", "error", err)
	}
	return b
}
