package main

import (
	"context"
	"runtime/debug"
	"time"
)

// garbage is a hub's GC percent (GOGC), as long as the memory limit below allows it. It is above Go's default of 100, since each collection
// also drops what the server has read from its store, 4 MB around each message.
const garbage = 200

// The memory limit (GOMEMLIMIT) of a hub, in bytes. It covers what Go's runtime counts; the program's binary and the rest of the process
// take some 25 MB more. The budget is 150 MB with 1,300 boxes. What the server has read from its store stays in memory until the next
// collection: without a limit that may be a whole release.
const (
	memoryBoxes = 1300
	memoryBase  = 110 << 20 // for up to memoryBoxes connections
	memoryEach  = 80 << 10  // for each further connection: without a limit, 5,000 boxes that came back at once took 325 MB
	memoryEvery = 10 * time.Second
)

// memoryLimit returns the memory limit for a number of connections, in bytes.
func memoryLimit(connections int) int64 {
	return memoryBase + memoryEach*int64(max(0, connections-memoryBoxes))
}

// boundMemory adjusts the memory limit to the number of connections every memoryEvery, until ctx ends.
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
