package appliance

import (
	"context"
	"sync/atomic"
	"time"

	"passerelle/appliance/state"
)

// boardInterval is the time between two reads of the board's sensors.
const boardInterval = 2 * time.Second

// board holds the board's sensor readings. They are read outside the loop, since a sensor's driver may block on its bus.
type board struct {
	read func() state.Board
	last atomic.Pointer[state.Board]
}

// update reads the sensors now.
func (b *board) update() {
	s := b.read()
	b.last.Store(&s)
}

// run reads the sensors periodically until ctx ends.
func (b *board) run(ctx context.Context) {
	t := time.NewTicker(boardInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			b.update()
		}
	}
}
