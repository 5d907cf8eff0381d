package hostile

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Counter counts frames.
type Counter struct {
	socket *RawSocket
	cancel context.CancelFunc
	done   chan struct{}

	mu            sync.Mutex
	frames, bytes int
	err           error
}

// Count counts the matching frames from now on until the counter's Stop.
func (s *RawSocket) Count(wanted func(frame []byte) bool) *Counter {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Counter{socket: s, cancel: cancel, done: make(chan struct{})}
	s.dropped() // resets the count of drops
	go func() {
		defer close(c.done)
		for {
			frame, err := s.Receive(ctx, wanted)
			c.mu.Lock()
			if err != nil {
				if ctx.Err() == nil {
					c.err = err
				}
				c.mu.Unlock()
				return
			}
			c.frames++
			c.bytes += len(frame)
			c.mu.Unlock()
		}
	}()
	return c
}

// Count returns the frames counted so far, and their bytes with Ethernet headers.
func (c *Counter) Count() (frames, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames, c.bytes
}

// Stop ends the count and returns it. It is an error if frames were dropped, because the count is then too low.
func (c *Counter) Stop() (frames, bytes int, err error) {
	c.cancel()
	<-c.done
	lost, err := c.socket.dropped()
	if lost > 0 {
		err = fmt.Errorf("count frames at %s: %d were dropped", c.socket.name, lost)
	}
	frames, bytes = c.Count()
	return frames, bytes, errors.Join(c.err, err)
}

// dropped returns how many frames were dropped since the last call (PACKET_STATISTICS of packet(7)).
func (s *RawSocket) dropped() (int, error) {
	stats, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("read drops at %s: %w", s.name, err)
	}
	return int(stats.Drops), nil
}
