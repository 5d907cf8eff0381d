package main

import (
	"context"
	"errors"
	"syscall"

	"passerelle/appliance"
)

// takeUp has the configuration read and taken up again, and returns once it is, or why it is not: wrong for what the file
// is to blame for, with every problem of it, else appliance.ErrStopped where the daemon ends. served is the control
// socket's context, asker that of who asks.
func (d *daemon) takeUp(served, asker context.Context) error {
	answer := make(chan error, 1)
	select {
	case d.reloads <- answer:
		return <-answer
	case <-asker.Done():
		return asker.Err()
	case <-served.Done():
		return appliance.ErrStopped
	}
}

// awaitReloads takes the configuration up again on SIGHUP, and for each takeUp. A wrong one changes nothing. It ends with
// restart where a box that runs cannot take it up.
func (d *daemon) awaitReloads(ctx context.Context) error {
	for {
		var answer chan<- error
		select {
		case <-ctx.Done():
			return nil
		case <-d.hangups:
		case answer = <-d.reloads:
		}
		c, err := load(d.paths.config)
		if err == nil {
			err = d.box.Reconfigure(ctx, c)
		}
		var end error
		switch {
		case err == nil:
			d.log.Info("configuration taken up")
		case errors.Is(err, appliance.ErrRestart):
			end, err = restart{why: err.Error(), config: c, configured: true}, nil
		case errors.Is(err, appliance.ErrStopped), ctx.Err() != nil:
			err = appliance.ErrStopped
			if answer == nil { // the next daemon of this process follows the signal
				select {
				case d.hangups <- syscall.SIGHUP:
				default: // another one waits
				}
			}
		default:
			d.log.Error("the configuration is not taken up, the old one stays", "error", err)
		}
		if answer != nil {
			answer <- err
		}
		if end != nil {
			return end
		}
		if errors.Is(err, appliance.ErrStopped) {
			return nil
		}
	}
}
