package daemon

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/hw"
)

// setupFor is how long the button opens the setup window.
const setupFor = 15 * time.Minute

// servePanel shows the State on the board's light, and handles its button. It does nothing on a board without either.
func (d *Daemon) servePanel(ctx context.Context, board hw.Board) error {
	found := hw.Open(Wired(board, d.config.Hardware))
	defer func() {
		if err := found.Close(); err != nil {
			d.log.Warn("close light and button", "error", err)
		}
	}()
	d.seeLights(found)
	for _, err := range found.Errors {
		d.log.Warn("light or button unusable", "board", found.Board.Name, "error", err)
	}
	if found.Empty() {
		return nil
	}
	panel := hw.NewPanel(found, d.log, hw.Gestures...)
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { panel.Run(ctx); return nil })
	tasks.Go(func() error {
		for now := d.box.Site().State; ctx.Err() == nil; {
			panel.Show(lightState(d.box.Status()))
			waiting, stop := context.WithTimeout(ctx, diskShownWithin)
			now, _ = d.box.NextState(waiting, now)
			stop()
		}
		return nil
	})
	tasks.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case g := <-panel.Gestures():
				if g == hw.Reset {
					d.end(exitReason{action: resets, why: "the button asked for a factory reset"})
					return nil
				}
				d.handleGesture(ctx, g)
			}
		}
	})
	return tasks.Wait()
}

// diskShownWithin is the time within which the light shows that the disk fails or works again.
const diskShownWithin = 5 * time.Second

// lightState returns the State that the light shows. It shows a failing disk as a fault, whatever the box still shares: somebody
// must act before the record of what was used is lost.
func lightState(s state.Status) state.State {
	fails := func(p state.Problem) bool {
		return p.Code == state.DiskErrors || p.Code == state.DiskReadOnly || p.Code == state.DiskFails
	}
	if s.State != state.Starting && slices.ContainsFunc(s.Problems, fails) {
		return state.Fault
	}
	return s.State
}

// Wired returns the board, with the light and button of the configuration.
func Wired(b hw.Board, c config.Hardware) hw.Board {
	line := func(p config.Pin) *hw.GPIOLine {
		if p.Chip == "" {
			return nil
		}
		return &hw.GPIOLine{Chip: p.Chip, Offset: p.Line, ActiveLow: p.Low}
	}
	if c.LED != (config.Pin{}) {
		b.LED, b.Light = c.LED.LED, line(c.LED)
	}
	if c.Button != (config.Pin{}) {
		b.Button = line(c.Button)
	}
	return b
}

// handleGesture handles a gesture on the button.
func (d *Daemon) handleGesture(ctx context.Context, g hw.Gesture) {
	var err error
	switch g {
	case hw.Press:
		if err = d.box.TogglePause(ctx, "the button"); err == nil {
			what := journal.Resumed
			if d.box.Status().State == state.Paused {
				what = journal.Paused
			}
			d.journal.Note(journal.Entry{What: what, By: journal.Button})
		}
	case hw.Setup:
		err = d.box.ToggleSetup(ctx, setupFor)
	}
	if err != nil {
		d.log.Warn("button action failed", "gesture", g, "error", err)
	}
}
