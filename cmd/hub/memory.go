package main

import (
	"context"
	"runtime/debug"
	"time"
)

// garbage is how much more memory than it uses a hub may have before it collects, in percent, as long as the limit below allows it: each
// collection also drops what the server has read of its store, 4 MB around each message.
const garbage = 200

// Bounds of a hub's memory, in bytes as Go's runtime counts them; the program itself and what is around it take some 25 MB more. The budget
// is 150 MB with 1,300 boxes. What the server has read of the store stays until it collects: without a limit that may be all of a release.
const (
	memoryBoxes = 1300
	memoryBase  = 110 << 20 // for as many boxes
	memoryEach  = 80 << 10  // for each more: 5,000 boxes that came back at once had 325 MB, without a limit
	memoryEvery = 10 * time.Second
)

// memoryLimit returns the limit with so many connections.
func memoryLimit(connections int) int64 {
	return memoryBase + memoryEach*int64(max(0, connections-memoryBoxes))
}

// boundMemory has the limit follow the connections until ctx ends.
func (h *hub) boundMemory(ctx context.Context) {
	ticker := time.NewTicker(memoryEvery)
	defer ticker.Stop()
	for {
		debug.SetMemoryLimit(memoryLimit(h.node.Connections()))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
