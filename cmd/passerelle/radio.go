package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/appliance"
	"passerelle/appliance/air"
	"passerelle/hw"
	"passerelle/netctl/plan"
	"passerelle/netctl/radio"
	"passerelle/netctl/wpa"
)

// radios are the tasks about the air.
type radios struct {
	keeper  *air.Keeper
	joiner  *wpa.Joiner
	hostapd *wpa.Hostapd
	serves  bool // the box is an access point: there is a hostapd
}

func (d *daemon) newRadios(board hw.Board, wake func()) radios {
	control := func(device string) wpa.HostapdOptions {
		return wpa.HostapdOptions{
			Socket: filepath.Join(d.runDir(), plan.HostapdControl, device), Dir: d.runDir(), Log: d.log,
		}
	}
	r := radios{
		keeper: air.New(air.Options{
			Log:  d.log,
			Wake: wake,
			Open: func() (air.Radios, error) {
				r, err := radio.Open()
				if err != nil {
					return nil, err // not a nil *Reader
				}
				return r, nil
			},
			Switch: func(ctx context.Context, device string, to wpa.Channel) error {
				return wpa.NewHostapd(control(device)).SwitchChannel(ctx, to)
			},
			Stations: func(device string) int {
				if device != board.Radio.Interface {
					return 0
				}
				return board.Radio.Stations
			},
		}),
		joiner: wpa.NewJoiner(wpa.JoinerOptions{Log: d.log, Dir: d.runDir(), Scan: plan.ScanInterval * time.Second, Wake: wake}),
	}
	o := control(d.config.Hotspot.Interface)
	o.On = func(e wpa.Event) {
		if e.Kind == wpa.APFull {
			r.keeper.TurnedAway()
		}
		r.keeper.Wake()
	}
	r.hostapd, r.serves = wpa.NewHostapd(o), d.config.Hotspot.Radio == "hostapd"
	return r
}

// start runs the tasks until ctx ends.
func (r radios) start(ctx context.Context, tasks *errgroup.Group) {
	tasks.Go(func() error { return r.keeper.Run(ctx) })
	tasks.Go(func() error { return r.joiner.Run(ctx) })
	if r.serves {
		tasks.Go(func() error { return r.hostapd.Run(ctx) })
	}
}

// boardStatus returns what tells how the board is.
func boardStatus(b hw.Board, s *hw.Sensors) func() appliance.BoardStatus {
	return func() appliance.BoardStatus {
		h := s.Read()
		status := appliance.BoardStatus{Model: b.Model, Complaints: h.Complaints()}
		if h.Known {
			status.Temperature = &h.Temperature
		}
		if h.PowerKnown {
			status.PowerWeak = &h.UnderVoltage
		}
		return status
	}
}

// board finds out which board this is.
func (d *daemon) board() hw.Board {
	b, err := hw.Identify(os.DirFS("/"))
	if err != nil {
		d.log.Warn("the board is not known", "error", err)
	}
	return b
}
